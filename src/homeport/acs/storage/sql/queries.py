"""The named queries of queries.sql, and the migrations."""

import re
from importlib import resources
from types import MappingProxyType
from typing import Final

_PACKAGE = resources.files("homeport.acs.storage.sql")


def _load() -> dict[str, str]:
    text = _PACKAGE.joinpath("queries.sql").read_text(encoding="utf-8")
    found = re.findall(r"^-- name: (\w+)\n(.*?);\n", text, re.MULTILINE | re.DOTALL)
    return {name: " ".join(line.strip() for line in sql.splitlines()) for name, sql in found}


QUERIES: Final = MappingProxyType(_load())
"""SQL text by name."""


def migrations() -> list[tuple[int, str]]:
    """(number, SQL script) of every migration, in order."""
    files = [f for f in _PACKAGE.joinpath("migrations").iterdir() if f.name.endswith(".sql")]
    return sorted((int(f.name[:4]), f.read_text(encoding="utf-8")) for f in files)
