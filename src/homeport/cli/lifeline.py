"""A process that must not outlive the one that started it: it holds the read end of a pipe and ends when the pipe does.

The starter keeps the write end and never writes. The kernel closes it when the starter ends, however it ends, so that even `kill -9`
of the starter takes its children along. Used by `homeport demo`.
"""

import os
import signal
import stat
import threading
import time

ENVIRONMENT = "HOMEPORT_LIFELINE"
"""`FD:INODE` of the pipe's read end. It stays in the environment, because an agent that reboots executes itself anew and keeps the
descriptor; a grandchild inherits the variable but not the pipe, which the inode tells."""

GRACE = 2.0
"""Seconds between the polite signal and the end of the whole process group."""


class Lifeline:
    """The starter's half: `fd` is for `subprocess.Popen(pass_fds=...)`, `text` for the child's environment."""

    def __init__(self) -> None:
        self.fd, self._held = os.pipe()
        self.text = f"{self.fd}:{os.fstat(self.fd).st_ino}"

    def let_go(self) -> None:
        """End whatever still holds on."""
        for fd in (self._held, self.fd):
            os.close(fd)


def hold() -> None:
    """Start watching the lifeline if the environment names one that this process really has."""
    fd, _, inode = os.environ.get(ENVIRONMENT, "").partition(":")
    if not fd.isdigit():
        return
    try:
        status = os.fstat(int(fd))
    except OSError:
        return  # inherited the variable from a process that had the pipe, but not the pipe
    if stat.S_ISFIFO(status.st_mode) and str(status.st_ino) == inode:
        threading.Thread(target=_watch, args=(int(fd),), name="lifeline", daemon=True).start()


def _watch(fd: int) -> None:
    while os.read(fd, 64):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
