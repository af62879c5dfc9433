"""What the command line shows of a real ACS besides devices' values: order, people, tokens, its health."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from homeport.cli.common import complete_names
from homeport.cli.main import run as command
from support.acs_wire import Bed, acs, id_of, run

pytestmark = pytest.mark.system

Say = Callable[..., Awaitable[tuple[int, str, str]]]


def with_acs(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[Bed, Say], Awaitable[None]],
) -> None:
    """Let act speak with an ACS in this process, whose log is kept apart, by command lines: exit code, stdout, stderr."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            monkeypatch.setenv("HOMEPORT_ACS", bed.app.http_url)
            monkeypatch.setenv("HOMEPORT_TOKEN", bed.token)

            async def say(*words: str) -> tuple[int, str, str]:
                capsys.readouterr()
                code = await asyncio.to_thread(command, list(words))
                out = capsys.readouterr()
                return code, out.out, out.err

            await act(bed, say)

    with capture_logs():
        run(scene())


def test_devices_are_listed_in_the_order_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers in a text count as numbers; a minus turns a field round; the limit is of the order, not of the ids."""

    async def act(bed: Bed, say: Say) -> None:
        for serial in ("S10", "S2", "S1"):
            await (await bed.device(serial)).session("1 BOOT")
        await bed.rest("PUT", f"devices/{id_of('S2')}/tags/gold")

        async def order(*words: str) -> list[str]:
            code, out, err = await say("device", "list", "--columns", "serial_number", *words)
            assert code == 0, err
            return out.split()[2:]

        assert await order() == ["S1", "S10", "S2"]
        assert await order("--sort", "serial_number") == ["S1", "S2", "S10"]
        assert await order("--sort", "-last_inform", "--limit", "2") == ["S1", "S2"]
        assert await order("--sort", "-tags,-serial_number") == ["S2", "S10", "S1"]
        code, _, err = await say("device", "list", "--sort", "colour")
        assert (code, "not sorted by 'colour'; there are id, oui" in err) == (2, True)

    with_acs(tmp_path, capsys, monkeypatch, act)


def test_what_is_listed_is_shown_by_name_and_completed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users, tokens, groups, webhooks: made and removed as JSON says, shown one by one, and named by the TAB key."""
    makes: dict[str, list[str]] = {
        "user": ["add", "eve", "--password", "long enough to be one"],
        "token": ["make", "eve"],
        "group": ["add", "eve", "--oui", "00D0F1"],
        "webhook": ["add", "eve", "http://192.0.2.1/", "--event", "task"],
    }

    async def act(bed: Bed, say: Say) -> None:
        for thing, words in makes.items():
            code, out, _ = await say(thing, *words, "--json")
            assert (code, json.loads(out)["name"]) == (0, "eve")
            code, out, _ = await say(thing, "show", "eve")
            assert (code, out.startswith("name\teve\n")) == (0, True)
            assert await asyncio.to_thread(complete_names(f"/{thing}s"), "e") == ["eve"]
            gone = "revoke" if thing == "token" else "remove"
            assert json.loads((await say(thing, gone, "eve", "--yes", "--json"))[1]) == {"name": "eve", "removed": True}
            code, _, err = await say(thing, "show", "eve")
            assert (code, f"see homeport {thing} list" in err) == (1, True)

    with_acs(tmp_path, capsys, monkeypatch, act)


def test_what_becomes_of_several_devices_is_one_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each device as it is afterwards; where one of them fails, those before it are told, and the exit code says so."""

    async def act(bed: Bed, say: Say) -> None:
        for serial in ("S1", "S2"):
            await (await bed.device(serial)).session("1 BOOT")

        async def told(*words: str) -> list[Any]:
            code, out, err = await say("device", *words, "--json")
            assert code == 0, err
            found: list[Any] = json.loads(out)
            return found

        assert [d["tags"] for d in await told("tag", "S1", "S2", "gold")] == [["gold"], ["gold"]]
        assert [d["state"] for d in await told("refuse", "S1", "--yes")] == ["refused"]
        assert [d["removed"] for d in await told("forget", "S1", "S2", "--yes")] == [True, True]

    with_acs(tmp_path, capsys, monkeypatch, act)


def test_the_health_of_an_acs_is_told_without_a_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 0 where it works, 1 where something is wrong, which is told."""

    async def act(bed: Bed, say: Say) -> None:
        monkeypatch.setenv("HOMEPORT_TOKEN", "none")
        code, out, _ = await say("acs", "health")
        assert (code, out.startswith("status\tok\n")) == (0, True)
        monkeypatch.setattr(type(bed.app.hub.store), "trouble", "the disk is full")
        code, out, _ = await say("acs", "health", "--json")
        assert (code, json.loads(out)["trouble"]) == (1, "the disk is full")

    with_acs(tmp_path, capsys, monkeypatch, act)
