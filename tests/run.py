"""Runs the tests in two parts and says at the end what each took. `make test` calls it.

With --lint `make lint` runs beside the first part, because mypy keeps only one core busy; where it complains the run ends there.
Parts: rooms (those with a floor of branch coverage, which makes a test take twice as long: what tries thousands of messages is therefore
in tests/unit/codec_properties) and rest: processes and sockets on loopback, fuzz and browser first, which also wait, then what only
reckons and fills the gaps.
Extra arguments go to pytest: `python tests/run.py -k inform`.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

ROOMS = ["tests/unit/codec", "tests/unit/session", "tests/unit/http", "tests/pair", "tests/golden"]

# A file's tests share what they have started; the order of tests/conftest.py is kept.
BY_FILE = ["--dist", "loadfile", "--no-loadscope-reorder"]

PARTS = {
    "rooms": {
        "paths": ROOMS,
        "options": ["-n", "2", *BY_FILE, "--cov", "--cov-branch", "--cov-report="],
    },
    # Three at a time on two cores: most of these tests also wait, for sockets, processes and clocks.
    "rest": {
        "paths": ["tests/system", "tests/browser", "tests/fuzz", "tests/contract", "tests/unit"],
        "options": ["-n", "3", *BY_FILE, *(f"--ignore={room}" for room in ROOMS)],
    },
}

NO_TESTS = 5  # pytest's exit status when nothing was collected

# Floors of branch coverage per room, in per cent.
COVERAGE = {"codec": 95, "session": 95, "http": 95}


def main() -> int:
    """0 when every part passed."""
    results: list[tuple[str, float, int]] = []
    arguments = [word for word in sys.argv[1:] if word != "--lint"]
    lint = Lint() if "--lint" in sys.argv else None
    for name, part in PARTS.items():
        paths = [p for p in part["paths"] if any((ROOT / p).glob("**/test_*.py"))]
        if not paths:
            continue
        print(f"== {name}: {' '.join(paths)}", flush=True)
        start = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", *part["options"], *paths, *arguments]
        environment = {**os.environ, "COVERAGE_CORE": "sysmon"} if sys.version_info >= (3, 12) else dict(os.environ)
        status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        results.append((name, time.monotonic() - start, 0 if status == NO_TESTS and arguments else status))
        if lint is not None and not lint.passed():
            return 1
    failed = any(status for _, _, status in results)
    if not arguments:
        failed |= not coverage_holds()
    for name, seconds, status in results:
        print(f"{name}: {'passed' if status == 0 else f'FAILED (exit {status})'} in {seconds:.0f} s")
    return 1 if failed else 0


class Lint:
    """`make lint`, from now on, beside what else is done."""

    def __init__(self) -> None:
        self._run = subprocess.Popen(
            ["make", "--no-print-directory", "lint"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._status: int | None = None

    def passed(self) -> bool:
        """True when nothing was found; waits for the end, and prints what was said when it is first asked."""
        if self._status is None:
            said, _ = self._run.communicate()
            self._status = self._run.returncode
            print(f"== lint: {'passed' if self._status == 0 else 'FAILED'}\n{said}", flush=True)
        return self._status == 0


def coverage_holds() -> bool:
    """True when every room with a floor reaches it; prints one line a room."""
    held = True
    for room, floor in COVERAGE.items():
        command = [sys.executable, "-m", "coverage", "report", f"--include=src/homeport/{room}/*", "--format=total"]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        total = int(run.stdout.strip() or 0) if run.returncode == 0 else 0
        enough = total >= floor
        held &= enough
        print(f"branch coverage of {room}: {total} % (floor {floor} %){'' if enough else '  <-- too low'}")
    return held


if __name__ == "__main__":
    sys.exit(main())
