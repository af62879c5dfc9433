"""Writes the pins of the OpenWrt package: the part of requirements.lock that the agent needs there, with its hashes.

.venv/bin/python packaging/openwrt/pins.py > packaging/openwrt/homeport/requirements.txt
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "packaging/debian"))

from build import closure  # noqa: E402


def pins() -> str:
    """The lines of the lock file for the agent and the command line, in its order."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = closure([*project["dependencies"], *project["optional-dependencies"]["linux"]])
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    found = re.finditer(r"^([A-Za-z0-9_.-]+)==(\S+)[^\n]*\\\n((?:    --hash=[^\n]*\n)+)", lock, re.MULTILINE)
    lines = [
        f"{pin.group(1)}=={pin.group(2)} \\\n{pin.group(3).rstrip()}"
        for pin in found
        if re.sub(r"[-_.]+", "-", pin.group(1)).lower() in wanted
    ]
    lines.insert(0, "# Made by pins.py from requirements.lock.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(pins())
