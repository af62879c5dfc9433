"""Whether an interruption would hurt nobody now, for the window mode `3 When Idle`: what the device says, or how quiet it has been.

Quiet is: hardly any traffic on its interfaces and a processor with little to do, for a while. What counts as quiet is the device maker's
choice (unverified). Source: TR-069a6 A.4.1.8.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from homeport.cpe.transfers.work import LOG

TRAFFIC: Final = Path("/proc/net/dev")
LOAD: Final = Path("/proc/loadavg")


class QuietWatch:
    """Looks at traffic and load whenever it is asked, and knows since when they have been low.

    after: seconds of quiet that make the device idle. traffic: bytes a second, in and out together, that are still quiet. load: of the
    last minute, per processor. now: seconds, monotonic.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        after: float,
        traffic: float,
        load: float,
        traffic_file: Path = TRAFFIC,
        load_file: Path = LOAD,
    ) -> None:
        self._now, self._after, self._traffic, self._load = now, after, traffic, load
        self._traffic_file, self._load_file = traffic_file, load_file
        self._last: tuple[float, int] | None = None
        self._since: float | None = None

    @property
    def works(self) -> bool:
        """Whether this system says what is needed."""
        return self._traffic_file.exists() and self._load_file.exists()

    def __call__(self) -> bool:
        """Whether it has been quiet for long enough. The first look only begins to watch."""
        now, total, last = self._now(), self._bytes(), self._last
        if last is not None and now <= last[0]:
            return self._since is not None and now - self._since >= self._after
        self._last = (now, total)
        quiet = self._busy() <= self._load
        if last is not None:
            quiet = quiet and abs(total - last[1]) / (now - last[0]) <= self._traffic
        if not quiet:
            self._since = None
        elif self._since is None:
            self._since = now
        return last is not None and self._since is not None and now - self._since >= self._after

    def _bytes(self) -> int:
        """Received and sent on all interfaces but loopback. Source: proc(5), /proc/net/dev."""
        total = 0
        for line in self._traffic_file.read_text(encoding="ascii", errors="replace").splitlines():
            name, colon, counts = line.partition(":")
            fields = counts.split()
            if colon and name.strip() != "lo" and len(fields) > 8:
                total += int(fields[0]) + int(fields[8])
        return total

    def _busy(self) -> float:
        return float(self._load_file.read_text(encoding="ascii").split()[0]) / (os.cpu_count() or 1)


def idle_of(words: Sequence[Callable[[], object]], quiet: QuietWatch | None) -> Callable[[], bool] | None:
    """How idleness is found out; None where nobody can tell. words: what plug-ins say, which counts before quiet."""
    if words:
        return lambda: all(_said(word) for word in words)
    if quiet is None or not quiet.works:
        return None

    def looked() -> bool:
        try:
            return quiet()
        except (OSError, ValueError, IndexError) as e:
            LOG.warning("whether the device is idle cannot be found out: %s", e)
            return False

    return looked


def _said(word: Callable[[], object]) -> bool:
    try:
        return bool(word())
    except Exception:
        LOG.exception("a plug-in could not say whether the device is idle; it counts as busy")
        return False
