"""The named queries of an .sql file, and the migrations of a directory."""

import re
from importlib import resources
from types import MappingProxyType
from typing import Final

_PACKAGE = resources.files("homeport.acs.storage.sql")


def load(file: str) -> dict[str, str]:
    """SQL text by name."""
    text = _PACKAGE.joinpath(file).read_text(encoding="utf-8")
    found = re.findall(r"^-- name: (\w+)\n(.*?);\n", text, re.MULTILINE | re.DOTALL)
    return {name: " ".join(line.strip() for line in sql.splitlines()) for name, sql in found}


QUERIES: Final = MappingProxyType(load("queries.sql"))
"""The queries of SQLite."""


def migrations(directory: str = "migrations") -> list[tuple[int, str]]:
    """(number, SQL script) of every migration, in order."""
    files = [f for f in _PACKAGE.joinpath(directory).iterdir() if f.name.endswith(".sql")]
    return sorted((int(f.name[:4]), f.read_text(encoding="utf-8")) for f in files)
