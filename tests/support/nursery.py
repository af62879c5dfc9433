"""Starts `homeport` processes quickly: forked from one that has imported everything already.

A start costs a second of CPU for imports alone, which is most of the time of a run with hundreds of kills. What is forked is the real
program, with its own process id, log, sockets and files; only its modules were loaded before.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = """
import json, os, signal, sys
import homeport.acs.app, homeport.acs.storage.sql.postgres, homeport.cli.acs, homeport.cli.main, uvloop
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are nobody's to look at
for line in sys.stdin:
    wish = json.loads(line)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        log = os.open(wish["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for fd, to in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(fd, to)
        sys.argv = ["homeport", *wish["arguments"]]
        code = 70
        try:
            code = homeport.cli.main.run(wish["arguments"])
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 1
        except BaseException:
            import traceback
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(code or 0)
    print(pid, flush=True)
"""


class Nursery:
    """The process that the others are forked from."""

    def __enter__(self) -> "Nursery":
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HOMEPORT_")}
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def start(self, log: Path, arguments: tuple[str, ...]) -> "Child":
        """A new `homeport ARGUMENTS`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"log": str(log), "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        return Child(int(self._process.stdout.readline()))


class Child:
    """One of them, as much like a Popen as `Program` needs. Its exit code is nobody's: only whether it lives."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        """None while it lives."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return 0
        return None

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it lives."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def wait(self, timeout: float) -> int:
        """0 once it has ended. Raises TimeoutExpired."""
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.002)  # it is another process's child; there is nothing to be notified by
        return 0
