"""The two processes of the demo: started in their own process groups, tied to this one by a lifeline, ended together."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType

from homeport.cli import lifeline
from homeport.cli.exits import CliError

PATIENCE = 4.0
"""Seconds that a child has to end by itself before it is killed."""


class ChildDied(CliError):
    """A child ended although nobody asked it to; the message holds its last log lines."""


class Child:
    """One process. name: what the person sees. log: the file with all that it prints."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, line: lifeline.Lifeline) -> None:
        self.name = name
        self.argv = tuple(argv)
        self.log = log
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HOMEPORT_") or k == "HOMEPORT_DEBUG"}
        environment |= {lifeline.ENVIRONMENT: line.text, "PYTHONUNBUFFERED": "1"}
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "homeport", *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=(line.fd,),
                start_new_session=True,  # Ctrl-C reaches the demo alone, which then ends its children in order
            )

    def require_alive(self) -> None:
        """Raise ChildDied if the process has ended."""
        status = self.process.poll()
        if status is not None:
            how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
            raise ChildDied(f"the {self.name} ended ({how}); its last lines:\n{self.last_lines()}")

    def last_lines(self, count: int = 12) -> str:
        """The end of the log, indented."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        return "\n".join(f"    {line}" for line in lines[-count:]) or "    (it printed nothing)"

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and all that it started."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass  # all of the group is gone already, which is what was wanted


class Household:
    """A directory and the children that live in it; leaving the `with` block ends them and, if it is temporary, removes it.

    SIGTERM and SIGHUP become SystemExit, so that a demo that is told to stop cleans up like one that was interrupted.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._temporary = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="homeport-demo-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.children: list[Child] = []
        self._line = lifeline.Lifeline()
        self._old: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Household":
        for number in (signal.SIGTERM, signal.SIGHUP):
            self._old[number] = signal.signal(number, _leave)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave half of the children behind
        try:
            self.stop()
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for number, handler in self._old.items():
                signal.signal(number, handler)  # type: ignore[arg-type]  # exactly what signal.signal gave back

    def start(self, name: str, argv: Sequence[str]) -> Child:
        """A new child; its log is NAME.log in the directory."""
        child = Child(name, argv, self.directory / f"{name.replace(' ', '-')}.log", self._line)
        self.children.append(child)
        return child

    def require_alive(self) -> None:
        """Raise ChildDied if any child has ended."""
        for child in self.children:
            child.require_alive()

    def stop(self) -> None:
        """End all children, last started first, politely and then not; nothing of theirs is left when this returns."""
        for child in reversed(self.children):
            if child.process.poll() is None:
                child.signal_group(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        for child in reversed(self.children):
            try:
                child.process.wait(timeout=max(0.05, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass  # the next line ends it
            child.signal_group(signal.SIGKILL)
            child.process.wait()
        self._line.let_go()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
