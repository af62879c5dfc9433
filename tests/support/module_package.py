"""Native packages made in a test."""

import io
import json
import tarfile
from typing import Any

STEADY = "#!/bin/sh\ntrap 'exit 0' TERM\necho steady\nwhile :; do sleep 0.05; done\n"
"""A unit that runs until it is told to end."""


def native_package(
    name: str = "app",
    version: str = "1.0",
    *,
    script: str = STEADY,
    files: dict[str, str] | None = None,
    unit: dict[str, Any] | None = None,
    **fields: Any,
) -> bytes:
    """A gzipped package with one unit `main` that is the script `run`. unit: its other fields; fields: of the manifest."""
    described = {"name": "main", "command": ["./run"], **(unit or {})}
    manifest = {
        "format": "homeport-module/1",
        "name": name,
        "vendor": "Tests",
        "version": version,
        "unit": [described],
        **fields,
    }
    content = {"module.json": json.dumps(manifest), "run": script, **(files or {})}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path, text in content.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(text.encode()), 0o755 if text.startswith("#!") else 0o644
            archive.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()
