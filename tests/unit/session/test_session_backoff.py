"""The retry policy."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.session.backoff import retry_range, retry_wait


@pytest.mark.case("S24")
@pytest.mark.parametrize("attempt", range(1, 13))
def test_default_waits_double_up_to_the_tenth_attempt(attempt):
    """With m=5 and k=2000 retry n waits 5*2**(n-1) to 5*2**n seconds, n counted up to 10."""
    step = min(attempt, 10)
    assert retry_wait(attempt, random=lambda: 0.0) == 5 * 2 ** (step - 1)
    assert retry_wait(attempt, random=lambda: 1.0) == 5 * 2**step


@pytest.mark.case("S25")
@pytest.mark.parametrize(("attempt", "low", "high"), [(1, 2, 3), (2, 3, 4.5), (3, 4.5, 6.75)])
def test_minimum_and_multiplier_shape_the_waits(attempt, low, high):
    """m is the first lower bound, k/1000 the factor between the bounds."""
    assert retry_range(attempt, minimum=2, multiplier=1500) == pytest.approx((low, high))


@pytest.mark.case("S26")
def test_multiplier_1000_gives_constant_waits():
    """A factor of one leaves every wait at m."""
    assert {retry_wait(n, minimum=7, multiplier=1000, random=lambda: 0.4) for n in range(1, 20)} == {7.0}


def test_largest_settings_stay_finite_and_saturate():
    """m and k at 65535 would overflow 64-bit integers."""
    low, high = retry_range(10_000, minimum=65535, multiplier=65535)
    assert math.isfinite(high) and low < high
    assert (low, high) == retry_range(10, minimum=65535, multiplier=65535)


@given(
    attempt=st.integers(-5, 10**9),
    minimum=st.integers(-10, 10**6),
    multiplier=st.integers(-10, 10**6),
    draw=st.floats(-1, 2, allow_nan=False),
)
def test_any_setting_gives_a_wait_inside_its_range(attempt, minimum, multiplier, draw):
    """Settings outside of their range are drawn to the nearest bound, and the wait is never negative or endless."""
    low, high = retry_range(attempt, minimum=minimum, multiplier=multiplier)
    wait = retry_wait(attempt, minimum=minimum, multiplier=multiplier, random=lambda: draw)
    assert 1 <= low <= high < math.inf
    assert low <= wait <= high * (1 + 1e-12)
