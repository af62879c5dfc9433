"""How long a CPE waits before it tries again after an unsuccessful session.

Source: TR-069a6 3.2.1.1 (retry table), ManagementServer.CWMPRetryMinimumWaitInterval and .CWMPRetryIntervalMultiplier.
"""

from collections.abc import Callable
from typing import Final

SATURATES_AT: Final = 10
"""From this attempt on, the range of waits no longer grows."""

_LARGEST: Final = 65535


def retry_range(attempt: int, *, minimum: int = 5, multiplier: int = 2000) -> tuple[float, float]:
    """The shortest and longest wait before retry number `attempt`, in seconds.

    attempt: 1 for the first retry; less counts as 1.
    minimum: m, 1 to 65535 seconds. multiplier: k, 1000 to 65535, in thousandths. Values outside are drawn to the nearest bound.
    Both results are finite: the largest is 65535 * 65.535**10 seconds, which a float holds and 64-bit integers do not.
    """
    m = float(min(max(minimum, 1), _LARGEST))
    factor = min(max(multiplier, 1000), _LARGEST) / 1000.0
    step = min(max(attempt, 1), SATURATES_AT)
    return m * factor ** (step - 1), m * factor**step


def retry_wait(attempt: int, *, minimum: int = 5, multiplier: int = 2000, random: Callable[[], float]) -> float:
    """Seconds to wait before retry number `attempt`, drawn evenly from `retry_range`.

    random: gives floats from 0 to 1, as `random.random` does.
    """
    low, high = retry_range(attempt, minimum=minimum, multiplier=multiplier)
    return low + (high - low) * min(max(random(), 0.0), 1.0)
