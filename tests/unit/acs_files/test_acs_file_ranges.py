"""Which bytes a Range header wants, and how a rate is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.acs.files.limits import Pace
from homeport.acs.files.ranges import Unsatisfiable, wanted_range
from homeport.acs.services.shares import Slots


@given(st.text(max_size=30) | st.from_regex(r"bytes=\d{0,4}-\d{0,4}", fullmatch=True), st.integers(0, 2000))
def test_a_range_lies_within_the_file(header: str, size: int) -> None:
    """Whatever is asked: a part that exists, the whole, or unsatisfiable."""
    try:
        part = wanted_range(header, size)
    except Unsatisfiable:
        return
    if part is not None:
        assert part[1] > 0
        assert part[0] >= 0
        assert part[0] + part[1] <= size


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=-0", "bytes=10-20", "Bytes=10-"])
def test_a_range_behind_the_end_is_unsatisfiable(header: str) -> None:
    """RFC 9110 14.1.2."""
    with pytest.raises(Unsatisfiable):
        wanted_range(header, 10)


def test_a_rate_is_kept_over_many_pieces() -> None:
    """10,000 bytes at 1,000 a second take ten seconds, less the burst."""
    now = [0.0]
    pace = Pace(1000, lambda: now[0])
    for _ in range(100):
        now[0] += pace.wait(100)
    assert 9.5 < now[0] <= 10.0


def test_slots_are_counted_of_all_and_of_each_address() -> None:
    """One given back can be taken again."""
    slots = Slots(3, 2)
    assert [slots.take(a) for a in "aaabc"] == [True, True, False, True, False]
    slots.free("a")
    assert slots.take("c")
