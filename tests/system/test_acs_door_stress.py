"""The devices' door in a crowd that keeps to no rule, while tasks and devices come and go over REST: nothing of it stays, all are served.

HOMEPORT_TEST_DOOR_SECONDS=N goes on for so long on each loop, with more of them, and looks at the memory.
"""

import asyncio
import contextlib
import gc
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from homeport.acs.endpoint.connection import Connection as Served
from homeport.acs.endpoint.live import Live
from homeport.acs.storage.sql import hot_devices
from homeport.codec.envelope import Envelope, encode
from support.acs_wire import Bed, Connection, Device, acs, an_inform, id_of, values
from support.hostile import BODIES, RAW

pytestmark = pytest.mark.system

SECONDS = float(os.environ.get("HOMEPORT_TEST_DOOR_SECONDS", "0"))
AT_ONCE = 120 if SECONDS else 30
FLEET = tuple(f"C{n}" for n in range(40 if SECONDS else 12))
MOST_GROWTH = 6.0
"""Megabytes that the process may grow by in the second half of a long crowd."""

LOOPS: list[Any] = [pytest.param(asyncio.new_event_loop, id="asyncio")]
with contextlib.suppress(ImportError):
    import uvloop

    LOOPS.append(pytest.param(uvloop.new_event_loop, id="uvloop"))

LOST = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ValueError)


def posted(body: bytes, *fields: str, version: str = "1.1") -> bytes:
    """A request as it is on the wire."""
    lines = (f"POST / HTTP/{version}", "Host: x", *fields, f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def informs(serial: str) -> bytes:
    return encode(Envelope(body=an_inform(serial), id="1"))


class Crowd:
    """Devices and others. seen: what was done, how often."""

    def __init__(self, bed: Bed, chance: random.Random) -> None:
        self.bed, self.chance = bed, chance
        self.seen: Counter[str] = Counter()
        self.queued: list[str] = []
        self.slow: list[Connection] = []

    async def to_door(self) -> Connection:
        return await Connection.to(self.bed.app.cwmp_url)

    async def one(self) -> None:
        """One visitor, from its connection to its end."""
        manners: tuple[Callable[[Connection, str], Any], ...] = (
            *(self.well, self.well, self.well, self.in_pieces, self.ahead, self.hangs_up, self.hangs_up),
            *(self.half_closed, self.crawls, self.garbles, self.old, self.in_the_turn, self.too_many_ahead),
        )
        manner = self.chance.choice(manners)
        connection = await self.to_door()
        try:
            await manner(connection, self.chance.choice(FLEET))
        except LOST:
            self.seen["lost"] += 1
        finally:
            self.seen[manner.__name__] += 1
            if connection not in self.slow:
                connection.writer.transport.abort() if self.chance.random() < 0.3 else connection.writer.close()

    async def well(self, connection: Connection, serial: str) -> None:
        device = Device(connection, serial, cookies=self.chance.random() < 0.8)
        answer = await device.inform()
        if answer.status == 200:
            last = await device.serve(await device.post(None), values)
            self.seen[f"ended {last.status}"] += 1

    async def in_pieces(self, connection: Connection, serial: str) -> None:
        whole = posted(informs(serial)) + posted(b"") * self.chance.randrange(2)
        while whole:
            length = self.chance.choice((1, 7, 100, 1_000))
            connection.writer.write(whole[:length])
            whole = whole[length:]
            await asyncio.sleep(0)
        self.seen[f"pieces {(await connection.answer()).status}"] += 1

    async def ahead(self, connection: Connection, serial: str) -> None:
        connection.writer.write(posted(informs(serial)) + posted(b"") + posted(informs(serial)))
        for _ in range(self.chance.randrange(4)):
            await connection.answer()

    async def too_many_ahead(self, connection: Connection, serial: str) -> None:
        connection.writer.write(posted(informs(serial)) * 12)
        with contextlib.suppress(asyncio.IncompleteReadError):
            for _ in range(12):
                await connection.answer()

    async def hangs_up(self, connection: Connection, serial: str) -> None:
        whole = posted(informs(serial)) + posted(b"")
        connection.writer.write(whole[: self.chance.randrange(len(whole) + 1)])
        for _ in range(self.chance.randrange(5)):
            await asyncio.sleep(0)
        connection.writer.transport.abort()

    async def half_closed(self, connection: Connection, serial: str) -> None:
        connection.writer.write(posted(informs(serial)))
        connection.writer.write_eof()
        await connection.answer()

    async def crawls(self, connection: Connection, serial: str) -> None:
        whole = posted(informs(serial))
        connection.writer.write(whole[: self.chance.randrange(1, len(whole))])
        if len(self.slow) < AT_ONCE:
            self.slow.append(connection)  # and never goes on

    async def garbles(self, connection: Connection, serial: str) -> None:
        if self.chance.random() < 0.5:
            connection.writer.write(self.chance.choice([raw for raw, _ in RAW.values() if len(raw) < 30_000]))
        else:
            body = self.chance.choice([body for body in BODIES.values() if len(body) < 5_000])
            connection.writer.write(posted(body))
        await connection.answer()

    async def old(self, connection: Connection, serial: str) -> None:
        connection.writer.write(posted(informs(serial), "Connection: keep-alive", version="1.0"))
        if (await connection.answer()).headers.get("connection") == "keep-alive":
            connection.writer.write(posted(b"", version="1.0"))
            await connection.answer()

    async def in_the_turn(self, connection: Connection, serial: str) -> None:
        """The same device on several connections, and others, in one turn of the loop."""
        others = [await self.to_door() for _ in range(3)]
        connection.writer.write(posted(informs(serial)))
        for other, name in zip(others, (serial, *self.chance.sample(FLEET, 2)), strict=True):
            other.writer.write(posted(informs(name)))
        try:
            for each in (connection, *others):
                await each.answer()
        finally:
            for other in others:
                other.writer.close()

    async def rest(self) -> None:
        """An operator who cannot make up their mind."""
        rest, chance = self.bed.rest, self.chance
        while True:
            serial = quote(id_of(chance.choice(FLEET)))
            what = chance.random()
            if what < 0.5:
                args = {"parameter_names": [f"Device.P{n}" for n in range(chance.choice((3, 40)))]}
                body = {"rpc": "GetParameterValues", "args": args, "connection_request": False}
                answer = await rest("POST", f"devices/{serial}/tasks", body)
                if answer.status == 201:
                    self.queued.append(answer.json["id"])
            elif what < 0.75 and self.queued:
                answer = await rest("DELETE", f"tasks/{self.queued.pop(chance.randrange(len(self.queued)))}")
            elif what < 0.85:
                answer = await rest("DELETE", f"devices/{serial}")
            elif what < 0.95:
                answer = await rest("PUT", f"devices/{serial}/tags/t{chance.randrange(3)}")
            else:
                answer = await rest("GET", "devices")
            assert answer.status < 500, answer
            self.seen[f"rest {answer.status}"] += 1

    async def last(self, seconds: float) -> None:
        """Visitors and the operator for so long."""
        until = time.monotonic() + seconds

        async def visitors() -> None:
            while time.monotonic() < until:
                await self.one()

        operator = asyncio.ensure_future(self.rest())
        try:
            async with asyncio.timeout(seconds + 60):
                await asyncio.gather(*[visitors() for _ in range(AT_ONCE)])
            assert not operator.done(), operator
        finally:
            operator.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await operator
        # The operator's last call may have been cut off in the middle.
        await self.bed.rest_connection.close()
        self.bed.rest_connection = await Connection.to(self.bed.app.http_url)
        for connection in self.slow:
            connection.writer.transport.abort()
        self.slow.clear()


def megabytes() -> float:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


async def nothing_is_left(bed: Bed) -> None:
    """Who has gone has left no connection, no session, no bytes and no answer."""
    door, [server] = bed.app.door, bed.app._cwmp
    async with asyncio.timeout(20):
        while server.connections or server._answers:
            await asyncio.sleep(0.005)
    assert not door.gathering._waiting
    assert not door.gathering._wanted
    assert not door.gathering._readings
    assert not door.gathering.by_hand
    assert (door.held.bytes, door.held._of) == (0, {})
    clock, door._clock = door._clock, lambda: time.monotonic() + 1e6
    await door.expire()  # those who hung up in the middle
    door._clock = clock
    live = door.live
    assert (len(live), live._by_device, live._by_peer, live._by_host) == (0, {}, {}, {})
    store: Any = bed.app.store
    async with asyncio.timeout(10):
        while store._pending or store._on_way or store._dirty:  # the ACS's own work goes on
            await store.flush()
    assert (store.trouble, store._pending, store._on_way, store._leaving) == (None, {}, [], 0)


def objects() -> list[Any]:
    """The door's objects that are still alive."""
    gc.collect()
    return [o for o in gc.get_objects() if isinstance(o, Served | Live)]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_crowd_without_manners_leaves_nothing_behind(
    tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces, requests ahead of their answers, resets anywhere, twins, and rows that have to be read at every Inform."""
    monkeypatch.setattr(hot_devices, "CACHED_DEVICES", 4)
    monkeypatch.setattr(hot_devices, "EVICTED_AT_ONCE", 4)
    unhandled: list[dict[str, Any]] = []

    async def scene() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        async with acs(tmp_path) as bed:
            crowd = Crowd(bed, random.Random(time.time_ns() if SECONDS else 5))
            grown = 0.0
            for round in range(4 if SECONDS else 1):
                await crowd.last(SECONDS / 4 if SECONDS else 0.25)
                await nothing_is_left(bed)
                grown = (megabytes() - grown) if round == 3 else (megabytes() if round == 1 else grown)
            assert grown < MOST_GROWTH or not SECONDS, f"{grown:.1f} MB"
            for serial in FLEET:
                device = await bed.device(serial)
                assert (await device.session(handler=values)).status == 204, serial
                await device.close()
            assert crowd.seen["well"] and crowd.seen["rest 201"], crowd.seen
            if SECONDS:
                sys.stdout.write(f"\n{crowd.seen}\n{grown:.1f} MB in the second half\n")
            await nothing_is_left(bed)
            assert not objects()

    with capture_logs() as logs, asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scene())
    assert not unhandled
    assert not [entry for entry in logs if entry["log_level"] in ("error", "critical")]
