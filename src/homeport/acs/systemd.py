"""What systemd is told of this process (`Type=notify`): that it serves, that it lives, that it ends. Where nobody asks, nothing.

The protocol is a datagram of lines to the socket that NOTIFY_SOCKET names. Source: sd_notify(3), sd_watchdog_enabled(3).
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, MutableMapping

_PARTS = 2.0
"""Signs of life in the time after which systemd would end a silent process."""


class Notifier:
    """Made once, by the process that systemd has started. environment: what it says is taken from it, so that no child speaks, too.

    every: seconds between two signs of life that systemd waits for; 0.0 where it waits for none.
    """

    def __init__(
        self, environment: MutableMapping[str, str] = os.environ, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._next = 0.0
        self._address = environment.pop("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        patience = environment.pop("WATCHDOG_USEC", "")
        meant = environment.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self.every = int(patience) / 1e6 / _PARTS if self._address and meant and patience.isdecimal() else 0.0

    def ready(self) -> None:
        """All listeners are open."""
        self._say("READY=1")

    def alive(self) -> None:
        """A sign of life, if it is time for one."""
        if self.every and self._clock() >= self._next:
            self._next = self._clock() + self.every
            self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._say("STOPPING=1")

    def _say(self, word: str) -> None:
        if not self._address:
            return
        # Where systemd does not listen just now it asks nobody to live, either.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.connect(self._address)
            out.send(word.encode())
