"""How often one source may make us work: a token bucket per source in bounded memory. No clock here; `now` is an argument."""

from collections import OrderedDict


class SourceLimiter:
    """Lets each source through `rate` times a second, after a first burst; forgets the quietest sources first.

    rate: per second. burst: how many at once. sources: how many are remembered, so that forged addresses cannot fill the memory.
    total_rate: for all sources together, because a forger has as many sources as it likes; None for no such limit.
    """

    def __init__(
        self, *, rate: float, burst: int, sources: int = 4096, total_rate: float | None = None, total_burst: int = 1000
    ) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._sources = sources
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._total_rate = total_rate
        self._total: tuple[float, float] | None = None
        self._total_burst = float(total_burst)

    def allows(self, source: str, now: float) -> bool:
        """Whether this source may have one more now; it is counted when it may.

        source: an IP address without port, for a sender chooses its port freely. now: seconds, monotonic.
        """
        tokens, ok = _take(self._buckets.get(source), self._rate, self._burst, now)
        if ok and self._total_rate is not None:
            total, ok = _take(self._total, self._total_rate, self._total_burst, now)
            self._total = (total, now)
        self._buckets[source] = (tokens, now)
        self._buckets.move_to_end(source)
        if len(self._buckets) > self._sources:
            self._buckets.popitem(last=False)
        return ok

    def __len__(self) -> int:
        """How many sources are remembered."""
        return len(self._buckets)


def _take(bucket: tuple[float, float] | None, rate: float, burst: float, now: float) -> tuple[float, bool]:
    """Tokens left, and whether one could be taken."""
    if bucket is None:
        tokens = burst
    else:
        before, at = bucket
        tokens = min(burst, before + max(0.0, now - at) * rate)
    if tokens < 1.0:
        return tokens, False
    return tokens - 1.0, True
