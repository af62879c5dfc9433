"""Programs of the machine that are asked or told something: never through a shell, each with a time limit, output capped."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Final

from homeport.cpe.devices.linux.netlink import Refused

LIMIT: Final = 4.0
"""Seconds that a program may take."""

_MOST: Final = 1 << 20
"""Characters of output that are looked at."""

_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"
"""Where programs are looked for, after the agent's own PATH: an ordinary user's has no sbin."""


def program(name: str) -> str:
    """Where a program is, "" where it is not installed."""
    return shutil.which(name) or shutil.which(name, path=_PATH) or ""


def output(name: str, *arguments: str, limit: float = LIMIT) -> str:
    """What a program prints, "" where it is missing, fails or takes too long: it is asked again later."""
    path = program(name)
    if not path:
        return ""
    try:
        done = subprocess.run(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit,
            check=False,
            env=_environment(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")[:_MOST] if done.returncode == 0 else ""


def run(name: str, arguments: Sequence[str], *, text: str = "", limit: float = LIMIT) -> str:
    """The same for what must succeed. text: for its standard input. Raises Refused with what it said."""
    path = program(name)
    if not path:
        raise Refused(f"{name} is not installed", 2)
    try:
        done = subprocess.run(
            [path, *arguments], input=text.encode(), capture_output=True, timeout=limit, check=False, env=_environment()
        )
    except subprocess.TimeoutExpired as e:
        raise Refused(f"{name} {' '.join(arguments)} took more than {limit:g} s", 110) from e
    except OSError as e:
        raise Refused(f"{name} could not be run", e.errno or 0) from e
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Refused(f"{name} {' '.join(arguments)} failed ({said[-1] if said else f'status {done.returncode}'})", 5)
    return done.stdout.decode("utf-8", "replace")[:_MOST]


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}
