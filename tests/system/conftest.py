"""Fixtures of the tests that start the real programs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.ends import Acs


@pytest.fixture
def open_acs(tmp_path: Path) -> Iterator[Acs]:
    """An ACS that admits everybody."""
    server = Acs(tmp_path / "acs", "--cpe-auth", "open")
    try:
        yield server.start()
    finally:
        server.kill()
