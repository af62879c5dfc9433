"""Groups' logins: which devices they speak for, and which passwords open."""

import asyncio
import re
from collections.abc import Coroutine
from typing import Any

import pytest

from homeport.acs.auth import CpeAuth, Login
from homeport.acs.config import AcsSettings
from homeport.acs.engine.groups import fits, outside, pattern_problem
from homeport.acs.records import DeviceState, GroupLogin
from homeport.acs.services.groups import MOST_REFUSALS, Groups, group_of
from homeport.acs.services.hub import Hub, Refused
from homeport.acs.storage.memory import MemoryStore
from homeport.http.auth import basic_header
from homeport.http.digest import DigestClient

DEVICE = {"id": "00D0F1-XR500-DKT0042", "oui": "00D0F1", "product_class": "XR500", "serial_number": "DKT0042"}
WAYS = ("SHA-256", "MD5", "rfc2069", "Basic")


@pytest.mark.parametrize(
    ("pattern", "text", "fit"),
    [
        ("DKT*", "DKT0042", True),
        ("DKT*", "XDKT", False),
        ("DKT00??", "DKT0042", True),
        ("DKT00?", "DKT0042", False),
        ("*", "", True),
        ("a*b*c", "aXbYc", True),
        ("a*b*c", "aXbYcd", False),
        ("*ab*ab", "ab", False),
        ("a.c", "abc", False),
        ("[A-Z]*", "A1", False),
        ("DKT*", "DKT\n", True),
        ("DKT", "DKT\n", False),
    ],
)
def test_a_pattern_is_the_whole_text(pattern: str, text: str, fit: bool) -> None:
    """A star is any text and a question mark one character; everything else is itself, capitals and small letters apart."""
    assert fits((pattern,), text) is fit


def test_a_pattern_cannot_be_made_slow() -> None:
    """Every piece is looked for once: the worst pattern that is taken reads the longest serial number in well under a millisecond."""
    assert pattern_problem("a" + "*a" * 8) == ""
    assert not fits(("a" + "*a" * 8 + "b",), "a" * 200)
    assert pattern_problem("*" * 9) != ""
    assert pattern_problem("") != "" != pattern_problem("a\x00")


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({}, ""),
        ({"ouis": ("00D0F1",), "serial_numbers": ("AB*", "DKT*")}, ""),
        ({"ids": ("00D0F1-*-DKT*",)}, ""),
        ({"ouis": ("02D797",)}, "OUI"),
        ({"ouis": ("00D0F1",), "product_classes": ("797xx",)}, "ProductClass"),
        ({"serial_numbers": ("AB*",)}, "SerialNumber"),
        ({"ids": ("*-AB*",)}, "id"),
    ],
)
def test_a_device_is_the_group_s_where_each_kind_has_a_pattern_that_fits(limits: dict[str, Any], why: str) -> None:
    """A list without patterns leaves that part open; the reason names the part that does not fit."""
    said = outside(GroupLogin(name="g", **limits), **DEVICE)
    assert why in said
    assert bool(said) == bool(why)
    assert outside(GroupLogin(name="g", ouis=("00D0F1",)), **(DEVICE | {"oui": "00d0f1"})) == ""


class Bench:
    """Groups and the check of logins on a store in memory, with a clock that stands still."""

    def __init__(self, **settings: Any) -> None:
        self.now = 1_000_000.0
        self.store = MemoryStore()
        chosen = AcsSettings(cpe_auth="required", basic_over_http=True, **settings)
        self.hub = Hub(self.store, chosen, clock=lambda: self.now)
        self.groups = Groups(self.hub)
        self.auth = CpeAuth(self.store, chosen, b"k" * 32, lambda: self.now)

    async def check(self, way: str, username: str, password: str) -> Login:
        """What a device's login with this password comes to."""
        if way == "Basic":
            header = basic_header(username, password)
        else:
            algorithm = "MD5" if way == "rfc2069" else way
            offered = [c for c in self.auth.challenges(secure=False) if f"algorithm={algorithm}," in c]
            if way == "rfc2069":
                offered = [re.sub(r' qop="[^"]*",', "", c) for c in offered]
            answer = DigestClient(username, password).answer(offered, method="POST", uri="/", cnonce="c")
            assert answer is not None
            assert ("qop" in answer) is (way != "rfc2069")
            header = answer
        return await self.auth.check(header, method="POST", uri="/", body=b"", secure=False)


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


@pytest.mark.parametrize("way", WAYS)
def test_a_rotated_password_opens_until_its_overlap_is_over(way: str) -> None:
    """Both open meanwhile, and which of them it was is told; afterwards the old one is as wrong as any, and its hash is forgotten."""

    async def scene() -> None:
        bench = Bench()
        made, first = await bench.groups.make("fibre", username="dkt", state=DeviceState.APPROVED)
        assert await bench.check(way, "dkt", first) == Login(made)
        rotated, second = await bench.groups.rotate("fibre", overlap=3_600.0)
        assert second != first
        assert await bench.check(way, "dkt", first) == Login(rotated, old=True)
        assert await bench.check(way, "dkt", second) == Login(rotated)
        assert (await bench.check(way, "dkt", "neither")).refused
        bench.now += 3_600.0
        assert (await bench.check(way, "dkt", first)).refused
        assert not (await bench.check(way, "dkt", second)).refused
        await bench.groups.sweep()
        left = group_of(await bench.groups.get("fibre"))
        assert (left.old_md5, left.old_sha256, left.old_until) == ("", "", 0.0)
        assert not (await bench.check(way, "dkt", second)).refused

    play(scene())


@pytest.mark.parametrize("way", WAYS)
def test_a_refused_login_says_who_it_claims_to_be_and_what_is_wrong(way: str) -> None:
    """For the log, where a person looks for the device that cannot come in; the answer to the device is the same for all."""

    async def scene() -> None:
        bench = Bench()
        await bench.groups.make("fibre", username="dkt", state=DeviceState.APPROVED)
        wrong, nobody = await bench.check(way, "dkt", "guess"), await bench.check(way, "dtk", "guess")
        assert (wrong.refused, wrong.username, wrong.reason) == (True, "dkt", "the password is wrong")
        assert (nobody.refused, nobody.username, nobody.reason) == (True, "dtk", "nobody has this user name")

    play(scene())


@pytest.mark.parametrize("way", WAYS)
def test_a_login_that_is_switched_off_or_gone_opens_nothing(way: str) -> None:
    """Also without an overlap: the password before is out at once."""

    async def scene() -> None:
        bench = Bench()
        _, password = await bench.groups.make("fibre", state=DeviceState.APPROVED)
        await bench.groups.change("fibre", enabled=False)
        assert "switched off" in (await bench.check(way, "fibre", password)).reason
        await bench.groups.change("fibre", enabled=True)
        assert not (await bench.check(way, "fibre", password)).refused
        _, newer = await bench.groups.rotate("fibre", overlap=0.0)
        assert (await bench.check(way, "fibre", password)).refused
        await bench.groups.remove("fibre")
        assert (await bench.check(way, "fibre", newer)).refused

    play(scene())


def test_a_used_nonce_stays_used_whichever_password_is_tried() -> None:
    """The check with the password before must not open what the check with the present one has refused as repeated."""

    async def scene() -> None:
        bench = Bench()
        _, first = await bench.groups.make("fibre", state=DeviceState.APPROVED)
        await bench.groups.rotate("fibre", overlap=60.0)
        client = DigestClient("fibre", first)
        offered = [c for c in bench.auth.challenges(secure=False) if "MD5" in c]
        offered = [re.sub(r' qop="[^"]*",', "", c) for c in offered]
        header = client.answer(offered, method="POST", uri="/", cnonce="c")
        seen = [await bench.auth.check(header, method="POST", uri="/", body=b"", secure=False) for _ in range(2)]
        assert [(s.refused, s.stale) for s in seen] == [(False, False), (True, True)]

    play(scene())


def test_two_groups_never_share_a_name_or_a_user_name() -> None:
    """Nor is a user name taken that a device has, or that the settings name; what is refused leaves nothing behind."""

    async def scene() -> None:
        bench = Bench(cpe_username="boot", cpe_password="strap")
        await bench.groups.make("fibre", username="dkt", state=DeviceState.APPROVED)
        for name, username in (("fibre", "other"), ("radio", "dkt"), ("radio", "boot"), ("Radio", "r"), ("r", "a:b")):
            with pytest.raises(Refused):
                await bench.groups.make(name, username=username, state=DeviceState.APPROVED)
        results = await asyncio.gather(
            *(bench.groups.make(n, username="same", state=DeviceState.APPROVED) for n in ("a", "b")),
            return_exceptions=True,
        )
        assert sorted(isinstance(r, Refused) for r in results) == [False, True]
        assert len(await bench.groups.all()) == 2
        with pytest.raises(Refused):
            await bench.groups.change("fibre", ouis=("",))

    play(scene())


def test_the_refusals_that_are_kept_are_the_youngest_and_each_device_once() -> None:
    """A device that comes every minute is told once an hour; a group keeps the last few devices."""

    async def scene() -> None:
        bench = Bench()
        login, _ = await bench.groups.make("fibre", ouis=("02D797",), state=DeviceState.APPROVED)
        for number in range(MOST_REFUSALS + 5):
            for _ in range(2):
                await bench.groups.refused(login, f"d{number}", None, address="192.0.2.1", why="other OUI")
        kept = await bench.groups.refusals("fibre")
        assert [r.device for r in kept] == [f"d{n}" for n in range(MOST_REFUSALS + 4, 4, -1)]
        bench.now += 7_200.0
        await bench.groups.refused(login, "d7", None, address="192.0.2.9", why="other OUI")
        kept = await bench.groups.refusals("fibre")
        assert (kept[0].device, kept[0].address, len(kept)) == ("d7", "192.0.2.9", MOST_REFUSALS)

    play(scene())
