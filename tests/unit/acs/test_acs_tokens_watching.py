"""Tokens that watch the ACS, while no token can be looked up."""

import asyncio

import pytest

from homeport.acs.records import Scope, TokenRecord
from homeport.acs.services.tokens import MOST_REMEMBERED, REMEMBERED, Watchers
from homeport.errors import StoreUnavailable


class Desk:
    """Knows some tokens, or is away; with a clock of its own."""

    def __init__(self) -> None:
        self.known: set[str] = {"Bearer a"}
        self.away = False
        self.now = 1_000.0
        self.expires: float | None = None
        self.watchers = Watchers(self.ask, lambda: self.now)

    async def ask(self, header: str | None) -> TokenRecord | None:
        if self.away:
            raise StoreUnavailable("the server does not answer")
        known = header in self.known
        return (
            TokenRecord(digest="d", name="prometheus", created=0.0, scope=Scope.READ, expires=self.expires)
            if known
            else None
        )

    def opens(self, header: str | None) -> bool:
        return asyncio.run(self.watchers.holder(header)) is not None


def test_a_token_that_was_good_opens_while_the_database_is_away() -> None:
    """Only one that this process has seen, and not for ever."""
    desk = Desk()
    assert desk.opens("Bearer a") and not desk.opens("Bearer b") and not desk.opens(None)
    desk.away = True
    assert desk.opens("Bearer a")
    for other in ("Bearer b", None):
        with pytest.raises(StoreUnavailable):
            desk.opens(other)
    desk.now += REMEMBERED + 1
    with pytest.raises(StoreUnavailable):
        desk.opens("Bearer a")


def test_a_token_that_was_taken_back_or_has_ended_is_not_remembered() -> None:
    """What was last known of it counts, and its own end."""
    desk = Desk()
    assert desk.opens("Bearer a")
    desk.known.clear()
    assert not desk.opens("Bearer a")
    desk.away = True
    with pytest.raises(StoreUnavailable):
        desk.opens("Bearer a")
    desk = Desk()
    desk.expires = desk.now + 10
    assert desk.opens("Bearer a")
    desk.away, desk.now = True, desk.now + 11
    assert not desk.opens("Bearer a")


def test_only_so_many_tokens_are_remembered() -> None:
    """The one that was looked up longest ago is forgotten first."""
    desk = Desk()
    desk.known |= {f"Bearer {n}" for n in range(MOST_REMEMBERED)}
    assert all(desk.opens(header) for header in ["Bearer a", *sorted(desk.known - {"Bearer a"})])
    desk.away = True
    with pytest.raises(StoreUnavailable):
        desk.opens("Bearer a")
    assert desk.opens("Bearer 9")
