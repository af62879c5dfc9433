"""A process that must not outlive the one that started it: it holds the read end of a pipe and ends when the pipe does.

The starter keeps the write end and never writes. The kernel closes it when the starter ends, however it ends, so that even `kill -9`
of the starter takes its children along. Used by `homeport demo`.
"""

import os
import signal
import threading
import time

ENVIRONMENT = "HOMEPORT_LIFELINE"
"""Names the file descriptor of the pipe's read end."""

GRACE = 2.0
"""Seconds between the polite signal and the end of the whole process group."""


def hold() -> None:
    """Start watching the lifeline if the environment names one; the variable is removed, so that children are not tied to it."""
    text = os.environ.pop(ENVIRONMENT, "")
    if not text.isdigit():
        return
    threading.Thread(target=_watch, args=(int(text),), name="lifeline", daemon=True).start()


def _watch(fd: int) -> None:
    try:
        while os.read(fd, 64):
            pass
    except OSError:
        return  # the descriptor is not ours (started by hand with a stale variable): nothing to be tied to
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
