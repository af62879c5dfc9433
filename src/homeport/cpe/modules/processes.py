"""Child processes of execution units: started in a session of their own, ended with all their kin, found again after a crash of the agent.

Each start has a token in its environment, which its children inherit; by it, and by the process group, everything that a unit left behind
is found, also where a child has made itself independent. Linux only (/proc).
"""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from homeport.cpe.modules.interface import Ended, Limits, Usage
from homeport.cpe.modules.unit_log import UnitLog
from homeport.errors import Fault
from homeport.terms import FaultCode

LAUNCHER: Final = Path(__file__).with_name("launch.py")
TOKEN: Final = "HOMEPORT_RUN"
NOT_STARTED: Final = 127
"""Exit status of the launcher where the command cannot be run."""

KILL_LIMIT: Final = 5.0
"""Seconds in which a process must be gone after SIGKILL; one that hangs in the kernel for longer is given up."""

BLOCK: Final = 1 << 14
MOST_BLOCKS: Final = 16
"""Of BLOCK bytes that are read from one unit at a time: a unit that never stops printing must not keep the agent from its work."""

USAGE_KEPT: Final = 0.5
"""Seconds for which a look at what a unit uses counts: each one reads all of /proc."""

_LOOK: Final = 0.02
_PAGE: Final = os.sysconf("SC_PAGE_SIZE") // 1024
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class ProcessRow(msgspec.Struct, frozen=True):
    """What is remembered of a started unit. start: clock ticks after the boot; tells a process from a later one of the same number."""

    pid: int
    start: int
    token: str


async def launch(
    command: Sequence[str],
    *,
    directory: Path,
    environment: Mapping[str, str],
    limits: Limits,
    log: UnitLog,
    note: Path,
    user: tuple[int, int] | None,
) -> "UnitProcess":
    """A started unit. note: file that remembers it until it has ended. Raises Fault 9001 where it cannot be started."""
    token = secrets.token_hex(16)
    spec = {"parent": os.getpid(), "limits": msgspec.to_builtins(limits), "user": user}
    try:
        # Not asyncio's subprocess: its end waits for the end of the pipe, which children that escaped may hold for ever.
        process = subprocess.Popen(  # noqa: ASYNC220 - returns after the exec of the launcher, a few milliseconds
            (sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(spec), *command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={**environment, TOKEN: token},
            start_new_session=True,
            bufsize=0,
        )
    except OSError as e:
        raise Fault(FaultCode.REQUEST_DENIED, f"cannot start {command[0]}: {e.strerror or e}") from e
    row = ProcessRow(process.pid, _stat(process.pid).get("start", 0), token)
    _remember(note, row)
    return UnitProcess(process, row, log, note)


class UnitProcess:
    """A unit that was started. Fulfils `Running`."""

    def __init__(self, process: subprocess.Popen[bytes], row: ProcessRow, log: UnitLog, note: Path) -> None:
        self._process = process
        self._row = row
        self._log = log
        self._note = note
        self._stopping = False
        self._seen = (time.monotonic(), 0)
        self._usage: Usage | None = None
        self._end = asyncio.ensure_future(self._follow())

    async def wait(self) -> Ended:
        return await asyncio.shield(self._end)

    async def stop(self, grace: float) -> None:
        self._stopping = True
        try:
            os.killpg(self._row.pid, signal.SIGTERM)
        except (ProcessLookupError, PermissionError):
            pass  # it has ended, or its last member belongs to another user by now and is killed below
        try:
            await asyncio.wait_for(asyncio.shield(self._end), grace)
            return
        except TimeoutError:
            end_kin(self._row, signal.SIGKILL)
        try:
            await asyncio.wait_for(asyncio.shield(self._end), KILL_LIMIT)
        except TimeoutError as e:
            raise Fault(FaultCode.REQUEST_DENIED, "a process of the unit does not end, not even by force") from e

    def usage(self) -> Usage:
        """Of the unit and all its kin; what was found a moment ago counts still.

        One request asks for memory and processor apart: the second answer must not be about the microseconds since the first.
        """
        if self._usage is not None and time.monotonic() - self._seen[0] < USAGE_KEPT:
            return self._usage
        memory = ticks = 0
        for pid in kin(self._row):
            stat = _stat(pid)
            memory += stat.get("pages", 0) * _PAGE
            ticks += stat.get("ticks", 0)
        now = time.monotonic()
        then, before = self._seen
        self._seen = (now, ticks)
        passed = now - then
        percent = round(100 * (ticks - before) / _TICKS / passed) if passed > 0.01 else 0
        self._usage = Usage(memory=memory, cpu=min(100, max(0, percent)))
        return self._usage

    async def _follow(self) -> Ended:
        """Its output into its log until it ends; then whatever it left behind is ended too."""
        pipe = self._process.stdout
        assert pipe is not None
        loop = asyncio.get_running_loop()
        os.set_blocking(pipe.fileno(), False)
        loop.add_reader(pipe.fileno(), self._read, loop)
        try:
            status = await _exit_of(self._process)
            if self._stopping:
                end_kin(self._row, signal.SIGTERM)
                await _gone(self._row, 1.0)
            end_kin(self._row, signal.SIGKILL)
            await _gone(self._row, KILL_LIMIT)
            self._read(loop)
        finally:
            if not pipe.closed:
                loop.remove_reader(pipe.fileno())
                pipe.close()
        self._note.unlink(missing_ok=True)
        return Ended(failed=status != 0, why=self._why(status))

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """What is in the pipe now, into the log; at its end it is closed."""
        pipe = self._process.stdout
        assert pipe is not None
        for _ in range(MOST_BLOCKS):
            if pipe.closed:
                return
            try:
                block = os.read(pipe.fileno(), BLOCK)
            except BlockingIOError:
                return  # nothing more for the moment
            if not block:
                loop.remove_reader(pipe.fileno())
                pipe.close()
                return
            self._log.write(block)

    def _why(self, status: int) -> str:
        last = self._log.last_line
        if status == NOT_STARTED and last.startswith("cannot start"):
            return last
        if status < 0:
            how = f"it was ended by {_signal(-status)}"
        else:
            how = f"it ended with status {status}"
        return f"{how}; it said: {last}" if last and status else how


async def _exit_of(process: subprocess.Popen[bytes]) -> int:
    """Its exit status, once it has ended; negative for a signal."""
    try:
        handle = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        handle = -1  # a kernel before 5.3
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    try:
        if handle >= 0:
            loop.add_reader(handle, over.set)
        while (status := process.poll()) is None:
            if over.is_set():
                # The kernel says that it has ended and gives no status yet: look again soon, but let others work meanwhile.
                await asyncio.sleep(_LOOK)
                continue
            try:
                await asyncio.wait_for(over.wait(), None if handle >= 0 else 0.1)
            except TimeoutError:
                continue  # looks again
        return status
    finally:
        if handle >= 0:
            loop.remove_reader(handle)
            os.close(handle)


def _remember(note: Path, row: ProcessRow) -> None:
    try:
        note.write_bytes(msgspec.json.encode(row))
    except OSError:
        pass  # on a full disk the kernel's own signal at our death still ends it


def clean_up(notes: Iterable[Path]) -> int:
    """End what was started before a crash of the agent; how many units still had processes."""
    found = 0
    for note in notes:
        try:
            row = msgspec.json.decode(note.read_bytes(), type=ProcessRow)
        except (OSError, msgspec.MsgspecError):
            note.unlink(missing_ok=True)  # cut off by a power cut: nothing of that time runs any more
            continue
        if kin(row):
            found += 1
            end_kin(row, signal.SIGKILL)
            deadline = time.monotonic() + KILL_LIMIT
            while kin(row) and time.monotonic() < deadline:
                time.sleep(_LOOK)
        note.unlink(missing_ok=True)
    return found


def end_kin(row: ProcessRow, number: int) -> None:
    """Send a signal to every process of a unit, repeatedly while new ones appear (a fork bomb makes some while we look)."""
    told: set[int] = set()
    for _ in range(5):
        fresh = kin(row) - told
        if not fresh:
            return
        for pid in fresh:
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                continue  # gone, or not ours to end
        told |= fresh


def kin(row: ProcessRow) -> set[int]:
    """The unit's processes that live: its own, those of its group and session, and those that have its token; zombies do not count.

    A group or session counts only while its leader lives and is the process that was started: numbers are used again.
    """
    leads = _stat(row.pid).get("start") == row.start
    mark = f"{TOKEN}={row.token}".encode()
    found = set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        stat = _stat(int(name))
        if not stat or stat["zombie"]:
            continue
        if (leads and row.pid in (stat["group"], stat["session"])) or _has(int(name), mark):
            found.add(int(name))
    return found


def _has(pid: int, mark: bytes) -> bool:
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False  # it ended, or is another user's


def _stat(pid: int) -> dict[str, int]:
    """Group, session, start (ticks after the boot), ticks of processor time, resident pages, zombie (0, 1); empty: no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    fields = text[text.rindex(")") + 2 :].split()  # the name before it may hold blanks and brackets
    return {
        "zombie": int(fields[0] in "ZX"),
        "group": int(fields[2]),
        "session": int(fields[3]),
        "ticks": int(fields[11]) + int(fields[12]),
        "start": int(fields[19]),
        "pages": max(0, int(fields[21])),
    }


async def _gone(row: ProcessRow, limit: float) -> None:
    """Wait until all of its kin are gone, at most so many seconds; nobody tells us of a stranger's end, so we look."""
    for _ in range(int(limit / _LOOK)):
        if not kin(row):
            return
        await asyncio.sleep(_LOOK)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def user_of(name: str) -> tuple[int, int]:
    """Number and group of a user. Raises KeyError where there is none."""
    import pwd

    row: Any = pwd.getpwnam(name)
    return row.pw_uid, row.pw_gid
