"""Programs that are told of events: signed, in order, again until they answer, also after a restart."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from homeport.acs.services import webhooks
from homeport.acs.services.webhooks import signature
from homeport.acs.worker import Worker
from homeport.cli.main import run as command
from support.acs_wire import Bed, acs, id_of, run

pytestmark = pytest.mark.system


@dataclass
class Receiver:
    """A program that takes POSTs. status: what it answers."""

    status: int = 200
    heard: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = [line.partition(":") for line in head.split("\r\n")[1:] if line]
            headers = {name.lower(): value.strip() for name, _, value in lines}
            body = await reader.readexactly(int(headers["content-length"]))
            self.headers.append(headers)
            self.bodies.append(body)
            self.heard.append(json.loads(body))
            writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
        writer.close()

    async def until(self, good: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not good():
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def receiver(**fields: Any) -> AsyncIterator[Receiver]:
    made = Receiver(**fields)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield made
    finally:
        server.close()


async def a_hook(bed: Bed, url: str, name: str = "billing", **more: Any) -> Any:
    answer = await bed.rest("POST", "webhooks", {"name": name, "url": url, **more})
    assert answer.status == 201, answer.body
    return answer.json


def test_a_webhook_is_told_of_what_it_asked_for_with_a_signature(tmp_path: Path) -> None:
    """In the order in which it happened; the signature is over the time and the very bytes."""

    async def scene() -> None:
        async with receiver() as there, acs(tmp_path, write_behind=0.05) as bed:
            hook = await a_hook(bed, there.url, events=["inform", "device"])
            await (await bed.device()).session("1 BOOT")
            await bed.rest("PUT", f"devices/{id_of()}/tags/gold")
            await there.until(lambda: len(there.heard) >= 2)
            assert [e["kind"] for e in there.heard] == ["inform", "device"]
            assert there.heard[0]["data"]["device"] == id_of()
            for headers, body in zip(there.headers, there.bodies, strict=True):
                at = int(headers["homeport-signature"].partition(",")[0].removeprefix("t="))
                assert headers["homeport-signature"] == signature(hook["secret"], at, body)
                assert headers["homeport-delivery"] == json.loads(body)["id"]
            async with asyncio.timeout(20):
                while (shown := (await bed.rest("GET", "webhooks/billing")).json)["last"] is None:
                    await asyncio.sleep(0.02)
            assert (shown["last"]["status"], shown["last"]["trouble"]) == (200, None)
            assert "secret" not in shown

    run(scene())


def test_an_event_waits_for_a_receiver_that_fails_and_for_a_restart(tmp_path: Path) -> None:
    """What was not taken comes again, first of all; a restart of the ACS loses nothing; another webhook is not held up."""

    async def scene() -> None:
        async with receiver(status=500) as sick, receiver() as well:
            async with acs(tmp_path, write_behind=0.05) as bed:
                await a_hook(bed, sick.url, events=["inform"])
                await a_hook(bed, well.url, "other", events=["inform"])
                device = await bed.device()
                await device.session("1 BOOT")
                await device.session("4 VALUE CHANGE")
                await well.until(lambda: len(well.heard) == 2)
                await sick.until(lambda: len(sick.heard) >= 1)
                async with asyncio.timeout(20):
                    while (last := (await bed.rest("GET", "webhooks/billing")).json["last"]) is None:
                        await asyncio.sleep(0.02)  # the answer is known here before the ACS has written it down
                assert last["trouble"] == "it answered 500"
            sick.status = 200
            tried = len(sick.heard)
            async with acs(tmp_path, write_behind=0.05):
                await sick.until(lambda: len(sick.heard) >= tried + 2)
            taken = sick.heard[tried:]
            assert [e["data"]["events"] for e in taken] == [["1 BOOT"], ["4 VALUE CHANGE"]]
            assert taken[0]["id"] == sick.heard[0]["id"], "the same event has the same id"

    run(scene())


def test_what_waits_for_a_webhook_and_when_it_is_tried_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over REST and at the command line; a webhook that rests is tried at once when it is enabled, and then nothing waits."""

    async def scene() -> None:
        async with receiver(status=503) as there, acs(tmp_path, write_behind=0.05) as bed:
            await a_hook(bed, there.url, events=["device"])

            async def shown(*words: str) -> str:
                capsys.readouterr()
                where = ["--acs", bed.app.http_url, "--token", bed.token]
                assert await asyncio.to_thread(command, ["webhook", *words, "billing", *where]) == 0
                return capsys.readouterr().out

            async def until(good: Callable[[Any], bool]) -> Any:
                async with asyncio.timeout(20):
                    while not good(hook := (await bed.rest("GET", "webhooks/billing")).json):
                        await asyncio.sleep(0.02)
                return hook

            assert "waiting\tnothing" in await shown("show")
            await (await bed.device()).session("1 BOOT")
            for tag in ("gold", "silver"):
                await bed.rest("PUT", f"devices/{id_of()}/tags/{tag}")
            hook = await until(lambda h: h["waiting"] == 2 and h["next_try"])
            assert (hook["failures"], hook["last"]["status"]) == (1, 503)
            assert hook["last"]["at"] < hook["next_try"] and hook["waiting_since"] < hook["next_try"]
            text = await shown("show")
            assert "taken\tno: it answered 503" in text
            assert "waiting\t2 events, the oldest" in text
            assert "next try\tin " in text or "next try\tnow" in text
            there.status = 200
            await shown("enable")
            hook = await until(lambda h: h["waiting"] == 0 and h["last"]["status"] == 200)
            assert (hook["failures"], hook["next_try"], hook["waiting_since"]) == (0, None, None)
            assert "taken\tyes, it answered 200" in await shown("show")
            assert "told of all events" in await shown("change", "--all-events")

    run(scene())


def test_what_happens_while_the_acs_starts_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices are served before the start is over; what they tell then must not be lost for want of the list of webhooks."""

    async def in_this_moment(worker: Worker) -> None:
        worker._hub.bus.publish("inform", {"device": "early"})

    async def scene() -> None:
        async with receiver() as there:
            async with acs(tmp_path) as bed:
                await a_hook(bed, there.url, events=["inform"])
            monkeypatch.setattr(Worker, "recall", in_this_moment)
            async with acs(tmp_path):
                await there.until(lambda: len(there.heard) == 1)
            assert there.heard[0]["data"]["device"] == "early"

    run(scene())


def test_a_receiver_that_answers_410_is_told_nothing_more(tmp_path: Path) -> None:
    """It says itself that it has gone; an operator switches the webhook on again."""

    async def scene() -> None:
        async with receiver(status=410) as there, acs(tmp_path, write_behind=0.05) as bed:
            await a_hook(bed, there.url)
            assert (await bed.rest("POST", "webhooks/billing/ping")).json["enabled"] is False
            there.status = 200
            assert (await bed.rest("PATCH", "webhooks/billing", {"enabled": True})).json["enabled"] is True
            assert (await bed.rest("POST", "webhooks/billing/ping")).json["last"]["status"] == 200
            assert (await bed.rest("DELETE", "webhooks/billing")).status == 204
            assert (await bed.rest("GET", "webhooks/billing")).status == 404

    run(scene())


def test_a_receiver_that_is_not_there_is_named_in_words(tmp_path: Path) -> None:
    """What the operator needs: no answer, and why."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await a_hook(bed, "http://127.0.0.1:1/none")
            last = (await bed.rest("POST", "webhooks/billing/ping")).json["last"]
            assert last["status"] is None
            assert last["trouble"] == "cannot connect to 127.0.0.1:1: connection refused"
            await bed.rest("PATCH", "webhooks/billing", {"url": "http://no-such-host.invalid/x"})
            last = (await bed.rest("POST", "webhooks/billing/ping")).json["last"]
            assert last["trouble"] == "the name no-such-host.invalid has no address"

    run(scene())


@pytest.mark.parametrize("url", ["ftp://x/y", "file:///etc/passwd", "http://", "http://[::1", "javascript:alert(1)"])
def test_an_address_that_cannot_be_posted_to_is_refused(tmp_path: Path, url: str) -> None:
    """Only http and https, with a host."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            assert (await bed.rest("POST", "webhooks", {"name": "x", "url": url})).status == 422

    run(scene())


def test_a_password_in_an_address_is_shown_to_nobody(tmp_path: Path) -> None:
    """Not in the list, nor with what came of a delivery, and what the list shows is not taken for it."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            assert (
                await bed.rest("POST", "webhooks", {"name": "y", "url": "http://u:geheim@m\u00fcn..de/"})
            ).status == 201
            last = (await bed.rest("POST", "webhooks/y/ping")).json["last"]
            assert "geheim" not in last["trouble"]
            assert "host" in last["trouble"]
            assert (await bed.rest("DELETE", "webhooks/y")).status == 204
            made = await bed.rest("POST", "webhooks", {"name": "x", "url": "https://u:geheim@x.example/y"})
            assert made.status == 201
            listed = await bed.rest("GET", "webhooks")
            assert b"geheim" not in made.body + listed.body
            shown = listed.json["items"][0]["url"]
            assert (await bed.rest("PATCH", "webhooks/x", {"url": shown})).status == 422
            assert (await bed.rest("PATCH", "webhooks/x", {"enabled": False})).status == 200

    run(scene())


def test_no_more_than_so_many_events_wait_and_the_oldest_go(tmp_path: Path) -> None:
    """A receiver that does not answer loses the oldest; that is in its status, in the metrics, and in what the command line shows."""

    async def scene() -> None:
        async with receiver(status=500) as sick, receiver() as well:
            async with acs(tmp_path, write_behind=0.02, webhook_keep_events=64) as bed:
                await a_hook(bed, sick.url, events=["inform"])
                await a_hook(bed, well.url, "other", events=["inform"])
                for n in range(100):
                    bed.app.hub.bus.publish("inform", {"device": f"d{n}"})
                    if n % 25 == 24:
                        await well.until(lambda told=n + 1: len(well.heard) == told)
                assert bed.app.webhooks is not None
                bed.app.webhooks._looked = float("-inf")  # five seconds have passed
                bed.app.hub.bus.publish("inform", {"device": "last"})

                async def dropped() -> int:
                    while True:
                        hook = (await bed.rest("GET", "webhooks/billing")).json
                        gone = (hook["dropped"] or {"events": 0})["events"]
                        if hook["waiting"] <= 65 and hook["waiting"] + gone == 101:
                            return int(gone)
                        await asyncio.sleep(0.02)

                assert await asyncio.wait_for(dropped(), 20) >= 36
                assert (await bed.rest("GET", "webhooks/other")).json["dropped"] is None
                metrics = (await bed.rest("GET", "/metrics")).body.decode()
                assert 'homeport_webhook_events_dropped_total{webhook="billing"} 3' in metrics
            sick.status = 200
            tried = len(sick.heard)
            async with acs(tmp_path, write_behind=0.02):
                await sick.until(lambda: sick.heard[-1]["data"]["device"] == "last")
            assert len({e["id"] for e in sick.heard[tried:]}) <= 65

    run(scene())


def test_the_kinds_of_events_are_those_that_are_told() -> None:
    """The list in the API is the list in the service."""
    from typing import get_args

    from homeport.acs.api.webhooks import Kind

    assert get_args(Kind) == webhooks.EVENTS
