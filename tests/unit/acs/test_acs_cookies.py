"""The cookies that name sessions: made, recognised, and not to be forged."""

import pytest

from homeport.acs.endpoint.cookies import Cookies, given

KEY = b"k" * 32


def test_a_process_that_is_alone_makes_short_cookies() -> None:
    """16 characters are all that a restrictive client has to keep."""
    alone = Cookies()
    made = {alone.new(managed=True) for _ in range(1_000)}
    assert len(made) == 1_000
    assert {len(c) for c in made} == {16}
    assert alone.owner(made.pop()) == ""
    assert alone.owner("x" * 17) is None


def test_a_shared_cookie_names_its_process_and_says_whether_the_device_is_managed() -> None:
    """Every process with the same key reads it."""
    a, b = Cookies("nodea", KEY), Cookies("nodeb", KEY)
    managed, waiting = a.new(managed=True), a.new(managed=False)
    assert [b.owner(c) for c in (managed, waiting, b.new(managed=True))] == ["nodea", "nodea", "nodeb"]
    assert b.managed(f"x=1; hp={managed}")
    assert not b.managed(f"hp={waiting}")
    assert list(given(f'a=1; hp="{managed}"; hp={waiting}')) == [managed, waiting]


def test_a_forged_cookie_is_nobodys() -> None:
    """Any changed character, another key, or a guess: the process does not even look for such a session."""
    a = Cookies("nodea", KEY)
    good = a.new(managed=False)
    for at in range(len(good)):
        other = "A" if good[at] != "A" else "B"
        assert a.owner(good[:at] + other + good[at + 1 :]) is None
    assert Cookies("nodea", b"l" * 32).owner(good) is None
    assert a.owner("x" * 16) is None
    assert not a.managed("hp=" + "m" * 40)


def test_of_many_cookies_few_are_looked_for() -> None:
    """A head has room for hundreds, each of which would be a question to the database, from anybody."""
    assert list(given("; ".join(f"hp={i:016}" for i in range(700)))) == [f"{i:016}" for i in range(4)]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("a=1; hp=ONE", ["ONE"]),
        ("a=1;hp=ONE;", ["ONE"]),
        ('hp="ONE"; b=x=y', ["ONE"]),
        ('$Version="1"; hp="ONE"; $Path="/", b=2', ["ONE"]),
        ("a=1,hp=ONE", ["ONE"]),
        ("junk; =x; hp=ONE", ["ONE"]),
        ("xhp=ONE; a=hp; hp=; HP=ONE", []),
        ("", []),
    ],
)
def test_a_cookie_of_ours_is_found_however_its_header_is_written(header: str, found: list[str]) -> None:
    """Also in the older form with $Version, which some devices send (RFC 2965)."""
    one = "0123456789abcdef"
    assert list(given(header.replace("ONE", one))) == [name.replace("ONE", one) for name in found]
