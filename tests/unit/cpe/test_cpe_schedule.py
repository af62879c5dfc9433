"""When sessions begin: periodic phase, retries, throttled notifications."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.cpe.schedule import NOW, PeriodicTimer, SessionPolicy, next_in_phase, phase_of
from homeport.terms import UNKNOWN_TIME

WALL = 1_800_000_000.0  # a moment in 2027


def ticks(timer: PeriodicTimer, *, seconds: int, wall: float = WALL) -> list[float]:
    """Wall times of the ticks while a second passes at a time."""
    return [wall + s for s in range(seconds) if timer.ticked(wall=wall + s, monotonic=float(s))]


@pytest.mark.case("S53")
@pytest.mark.case("S54")
@pytest.mark.parametrize("time", ["2000-01-01T00:00:00Z", "2099-01-01T00:00:00Z"])
def test_ticks_are_in_phase_with_the_periodic_inform_time(time: str):
    """Interval 30 and a phase of full minutes: ticks at seconds 0 and 30, whether the phase lies behind or ahead."""
    timer = PeriodicTimer(lambda: 0.5)
    timer.configure(True, 30, time, wall=WALL + 7, monotonic=0.0)
    assert [t % 30 for t in ticks(timer, seconds=100, wall=WALL + 7)] == [0.0, 0.0, 0.0]


@pytest.mark.case("S55")
def test_with_unknown_phase_the_spacing_is_the_interval():
    """The first tick is anywhere within the interval, so that a fleet spreads."""
    timer = PeriodicTimer(lambda: 0.5)
    timer.configure(True, 30, UNKNOWN_TIME, wall=WALL, monotonic=0.0)
    assert [t - WALL for t in ticks(timer, seconds=100)] == [15, 45, 75]


@pytest.mark.case("S56")
def test_a_disabled_timer_never_ticks():
    """PeriodicInformEnable=false."""
    timer = PeriodicTimer(lambda: 0.5)
    timer.configure(False, 30, UNKNOWN_TIME, wall=WALL, monotonic=0.0)
    assert timer.deadline(wall=WALL, monotonic=0.0) is None
    assert ticks(timer, seconds=100) == []


def test_a_changed_interval_counts_from_the_change():
    """Changing the interval at run time takes effect at once, without a random first wait."""
    timer = PeriodicTimer(lambda: 0.5)
    timer.configure(True, 1000, UNKNOWN_TIME, wall=WALL, monotonic=0.0)
    timer.configure(True, 5, UNKNOWN_TIME, wall=WALL + 10, monotonic=10.0)
    assert timer.deadline(wall=WALL + 10, monotonic=10.0) == 15.0


def test_configuring_the_same_values_does_not_move_the_tick():
    """The run loop configures at every turn."""
    timer = PeriodicTimer(lambda: 0.5)
    for s in range(10):
        timer.configure(True, 30, UNKNOWN_TIME, wall=WALL + s, monotonic=float(s))
    assert timer.deadline(wall=WALL + 10, monotonic=10.0) == 15.0


def test_without_a_clock_the_phase_waits_for_it():
    """Before the time is known ticks are spaced freely; when the clock is set they fall into phase."""
    timer = PeriodicTimer(lambda: 0.5)
    timer.configure(True, 60, "2000-01-01T00:00:00Z", wall=100.0, monotonic=0.0)
    assert timer.deadline(wall=100.0, monotonic=0.0) == 30.0
    assert timer.deadline(wall=WALL + 7, monotonic=10.0) == 10.0 + (60 - (WALL + 7) % 60)


def test_a_clock_that_is_put_back_does_not_silence_the_timer():
    """After a step back by a day the next tick is at most an interval away."""
    timer = PeriodicTimer(lambda: 0.5)
    timer.configure(True, 60, "2000-01-01T00:00:00Z", wall=WALL, monotonic=0.0)
    deadline = timer.deadline(wall=WALL - 86_400, monotonic=5.0)
    assert deadline is not None
    assert deadline <= 65.0


def test_missed_ticks_count_as_one():
    """A long session or a suspended machine is not followed by a burst."""
    timer = PeriodicTimer(lambda: 0.5)
    timer.configure(True, 10, UNKNOWN_TIME, wall=WALL, monotonic=0.0)
    assert timer.ticked(wall=WALL + 1000, monotonic=1000.0)
    assert not timer.ticked(wall=WALL + 1000, monotonic=1000.0)


@given(wall=st.floats(0, 4e9), interval=st.integers(1, 10**6), phase=st.floats(0, 1e10))
def test_the_next_moment_in_phase_is_later_and_within_an_interval(wall: float, interval: int, phase: float):
    """next = T + n * I with the smallest n that lies ahead."""
    due = next_in_phase(wall, interval, phase)
    assert wall - 1e-3 < due <= wall + interval + 1e-3


@pytest.mark.parametrize("text", ["", UNKNOWN_TIME, "0001-01-02T03:04:05", "soon"])
def test_unknown_and_boot_relative_times_give_no_phase(text: str):
    """The CPE chooses then."""
    assert phase_of(text) is None


@pytest.mark.case("S23")
@pytest.mark.case("S24")
def test_waits_double_up_to_the_tenth_retry():
    """m=5, k=2000: 5-10 s, 10-20 s, ... and 2560-5120 s from the tenth on; the count goes on."""
    policy = SessionPolicy(lambda: 0.999999)
    waits = []
    for _ in range(12):
        policy.started()
        policy.failed(0.0, minimum=5, multiplier=2000)
        waits.append(policy.retry_at)
    assert waits == pytest.approx([5 * 2 ** min(n, 10) for n in range(1, 13)], rel=1e-4)
    assert policy.retry_count == 12


@pytest.mark.case("S27")
def test_a_new_event_during_the_wait_starts_an_attempt_at_once():
    """The count of failures stays."""
    policy = SessionPolicy(lambda: 0.5)
    policy.failed(0.0, minimum=5, multiplier=2000)
    assert policy.next_start() == 7.5
    policy.want()
    assert policy.next_start() == NOW
    assert policy.retry_count == 1


@pytest.mark.case("S29")
def test_success_resets_the_count():
    """After three failures and a success the next Inform says 0."""
    policy = SessionPolicy(lambda: 0.5)
    for _ in range(3):
        policy.failed(0.0, minimum=5, multiplier=2000)
    policy.started()
    policy.succeeded(10.0)
    assert policy.retry_count == 0
    assert policy.next_start() is None


@pytest.mark.case("N04")
def test_the_throttle_delays_only_what_is_opened_for_notifications():
    """60 s after the last success for a notification alone; at once where anything else asks."""
    policy = SessionPolicy(lambda: 0.5)
    policy.succeeded(100.0)
    policy.want_notification()
    assert policy.next_start(throttle=60) == 160.0
    policy.want()
    assert policy.next_start(throttle=60) == NOW


def test_the_throttle_never_delays_a_retry():
    """A retry due earlier goes out earlier, and carries the notification."""
    policy = SessionPolicy(lambda: 0.0)
    policy.succeeded(100.0)
    policy.failed(101.0, minimum=5, multiplier=2000)
    policy.want_notification()
    assert policy.next_start(throttle=60) == 106.0


def test_the_first_notification_after_a_start_is_not_throttled():
    """The throttle is not tracked over a restart."""
    policy = SessionPolicy(lambda: 0.5)
    policy.want_notification()
    assert policy.next_start(throttle=60) == NOW


def test_what_arises_during_a_session_asks_for_the_next_one():
    """started() answers only the wishes up to then."""
    policy = SessionPolicy(lambda: 0.5)
    policy.want()
    policy.started()
    assert policy.next_start() is None
    policy.want()
    policy.succeeded(1.0)
    assert policy.next_start() == NOW
