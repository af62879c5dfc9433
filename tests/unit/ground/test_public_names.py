"""The names that `homeport` offers: they exist, they are typed, and asking for none costs nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import homeport


@pytest.mark.parametrize("name", homeport.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """Each name is found in the room that the table says."""
    assert getattr(homeport, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that is not offered is refused as Python does."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = homeport.nothing  # type: ignore[attr-defined]


def test_importing_homeport_imports_nothing_else() -> None:
    """A device does not load an ACS for having said `import homeport`."""
    code = "import sys; import homeport; print(sorted(m for m in sys.modules if m.startswith('homeport.')))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
        == "[]\n"
    )


def test_type_checkers_see_the_same_names() -> None:
    """The imports for type checkers and the table of names list the same."""
    tree = ast.parse(Path(str(homeport.__file__)).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {
        (alias.name, node.module) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert typed == {(name, f"homeport.{home}") for name, home in homeport._HOMES.items()}
