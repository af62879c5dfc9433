"""How often one source may make us work."""

from homeport.transport.source_limits import SourceLimiter


def test_burst_passes_then_the_rate_counts() -> None:
    """A token bucket: burst at once, rate afterwards."""
    limiter = SourceLimiter(rate=2.0, burst=3)
    assert [limiter.allows("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert not limiter.allows("a", 0.4)
    assert limiter.allows("a", 0.5)
    assert not limiter.allows("a", 0.5)


def test_one_source_does_not_use_up_anothers_share() -> None:
    """Each source has its own bucket."""
    limiter = SourceLimiter(rate=1.0, burst=1)
    assert limiter.allows("a", 0.0)
    assert not limiter.allows("a", 0.0)
    assert limiter.allows("b", 0.0)


def test_forged_sources_do_not_fill_the_memory() -> None:
    """Only so many sources are remembered; the quietest goes first."""
    limiter = SourceLimiter(rate=1.0, burst=1, sources=100)
    for n in range(10_000):
        limiter.allows(f"source {n}", 0.0)
    assert len(limiter) == 100


def test_all_sources_together_have_a_limit_too() -> None:
    """A forger has as many sources as it likes."""
    limiter = SourceLimiter(rate=1.0, burst=1, total_rate=10.0, total_burst=5)
    assert sum(limiter.allows(f"source {n}", 0.0) for n in range(100)) == 5
    assert sum(limiter.allows(f"other {n}", 0.2) for n in range(100)) == 2


def test_clock_that_steps_back_gives_no_tokens() -> None:
    """Only time that passed counts."""
    limiter = SourceLimiter(rate=1.0, burst=1)
    assert limiter.allows("a", 100.0)
    assert not limiter.allows("a", 50.0)
