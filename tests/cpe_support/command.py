"""`homeport` commands in this process: the same code as the program's, without half a second of imports each time."""

import asyncio
import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path

from homeport.cli.main import run


@dataclass(frozen=True)
class Said:
    """What a command came to."""

    returncode: int
    stdout: str
    stderr: str


async def homeport(directory: Path, *words: str, stdin: str = "") -> Said:
    """`homeport cpe WORDS --state-dir DIRECTORY`, in a thread beside the loop that serves its peers. Nothing else may print meanwhile."""
    out, err = io.StringIO(), io.StringIO()

    def act() -> int:
        before, sys.stdin = sys.stdin, io.StringIO(stdin)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                return run(["cpe", *words, "--state-dir", str(directory)])
        finally:
            sys.stdin = before

    code = await asyncio.to_thread(act)
    return Said(code, out.getvalue(), err.getvalue())
