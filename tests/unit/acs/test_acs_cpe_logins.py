"""Logins of devices, as an attacker writes them."""

import asyncio

import pytest

from homeport.acs.auth import CpeAuth
from homeport.acs.config import AcsSettings
from homeport.acs.storage.memory import MemoryStore
from homeport.http.auth import basic_header


class Strict(MemoryStore):
    """A store that cannot be asked for a text with a NUL, as PostgreSQL cannot."""

    async def credential(self, username: str):  # type: ignore[no-untyped-def]
        assert "\0" not in username
        return await super().credential(username)


@pytest.mark.parametrize("username", ["boot\0", "\0", "one\0two"])
def test_a_name_that_no_database_can_hold_is_nobody_s(username: str) -> None:
    """Base64 brings what no header could; it is refused like any wrong login, and is no error of ours."""
    auth = CpeAuth(Strict(), AcsSettings(basic_over_http=True), b"s" * 32, lambda: 1_000.0)
    header = basic_header(username, "x")
    login = asyncio.run(auth.check(header, method="POST", uri="/", body=b"", secure=False))
    assert login.refused and login.credential is None
