"""The generated reference pages are what the program would write now."""

from pathlib import Path

import pytest

from homeport.cli.docs_reference import pages
from homeport.cli.exits import ExitCode
from homeport.settings import describe

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["cli.md", "exit-codes.md", "rest.md", "settings-acs.md", "settings-cpe.md"])
def test_generated_page_is_up_to_date(name: str) -> None:
    """`make docs` would change nothing."""
    assert (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8") == pages()[name], "run: make docs"


def test_every_exit_code_is_documented() -> None:
    """The page of exit codes has each code with its meaning."""
    page = pages()["exit-codes.md"]
    assert all(f"| {int(code)} | {code.meaning} |" in page for code in ExitCode)


def test_every_setting_is_documented_with_flag_key_and_variable() -> None:
    """One dataclass makes flag, key, variable and row; none is missing on the page."""
    from homeport.acs.config import AcsSettings
    from homeport.cpe.config import CpeSettings

    for cls, program in ((AcsSettings, "acs"), (CpeSettings, "cpe")):
        page = pages()[f"settings-{program}.md"]
        for row in describe(cls):
            assert row.flag in page
            assert f"`{row.name}`" in page
            assert row.environment_name(program) in page
