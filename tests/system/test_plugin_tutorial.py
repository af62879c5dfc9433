"""The plug-in tutorial, line by line: every file saved, every command typed, every promised output looked for."""

from pathlib import Path

import pytest

from support.tutorial import Reader

pytestmark = pytest.mark.system

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "plug-ins.md"


def test_the_tutorial_works_as_it_stands(tmp_path: Path) -> None:
    """From nothing to parameters alive on hardware, seen at the ACS, as docs/how-to/plug-ins.md tells it."""
    reader = Reader(tmp_path, (7547, 8080, 7567))
    reader.follow(PAGE.read_text(encoding="utf-8"))
    assert reader.done > 40, "the page has become shorter, or is not understood"
