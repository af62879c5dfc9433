"""Lightweight notifications from a device to an ACS over loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from homeport.codec.messages import ParameterValueStruct
from homeport.errors import StoreUnavailable, TransportError
from homeport.transport.addresses import Address
from homeport.transport.lightweight import (
    LightweightCredentials,
    LightweightNotifier,
    LightweightReceiver,
    LightweightSettings,
)
from homeport.transport.lightweight_messages import LightweightNotification, LightweightSender, LightweightVerdict
from homeport.transport.source_limits import SourceLimiter
from homeport.transport.udp_sockets import UdpSocket

pytestmark = pytest.mark.system

LOOPBACK = "127.0.0.1"
VALUES = [ParameterValueStruct("Device.WiFi.SSID.1.SSID", "home", "string")]


async def until(condition: Callable[[], object]) -> None:
    """Waits for something that loopback brings within moments."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


class Line:
    """One ACS that knows one device."""

    def __init__(self, **options: Any) -> None:
        self.known = LightweightCredentials("user", "secret")
        self.stored: list[LightweightNotification] = []
        self.full = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.wall = 1_700_000_000.0
        self.receiver = LightweightReceiver(
            credentials=self._credentials, deliver=self._deliver, host=LOOPBACK, port=0, **options
        )
        self.settings = LightweightSettings(
            "UDP", LOOPBACK, LightweightSender("user", "secret", "00256D", "797xx", "S1"), port=0
        )
        self.notifier = LightweightNotifier(lambda: self.settings, wall_clock=lambda: self.wall)

    async def _credentials(self, notification: LightweightNotification) -> LightweightCredentials | None:
        await self.gate.wait()
        return self.known if notification.serial_number == "S1" else None

    async def _deliver(self, notification: LightweightNotification) -> None:
        if self.full:
            raise StoreUnavailable("the disk is full")
        self.stored.append(notification)


@asynccontextmanager
async def line(**options: Any) -> AsyncIterator[Line]:
    """An ACS that listens, and a device that knows where."""
    both = Line(**options)
    address = await both.receiver.start()
    both.settings = replace(both.settings, port=address.port)
    try:
        yield both
    finally:
        await both.receiver.stop()


@pytest.mark.case("N12")
@pytest.mark.case("N14")
def test_notification_arrives_and_is_stored() -> None:
    """Signed with the credentials that the device gives to the ACS; two in one second both count."""

    async def story() -> None:
        async with line() as both:
            first = await both.notifier.notify(VALUES)
            second = await both.notifier.notify(VALUES)
            assert (first.datagrams, first.last_timestamp, second.last_timestamp) == (1, 1_700_000_000, 1_700_000_001)
            await until(lambda: len(both.stored) == 2)
            assert list(both.stored[0].parameters) == VALUES

    asyncio.run(story())


@pytest.mark.case("N13")
@pytest.mark.parametrize("used", ["", "TCP", "XUDP"])
def test_nothing_is_sent_unless_udp_is_among_the_protocols(used: str) -> None:
    """TR-181: LightweightNotificationProtocolsUsed without UDP switches them off, whatever the attributes say."""

    async def story() -> None:
        async with line() as both:
            both.settings = replace(both.settings, protocols_used=used)
            assert (await both.notifier.notify(VALUES)).datagrams == 0
            both.settings = replace(both.settings, protocols_used="TCP, UDP")
            assert (await both.notifier.notify(VALUES)).datagrams == 1
            assert (await both.notifier.notify([])).datagrams == 0
            await until(lambda: both.stored)
            assert both.receiver.counts.total() == 1

    asyncio.run(story())


@pytest.mark.case("N14")
def test_forged_old_and_unknown_ones_are_dropped_and_counted() -> None:
    """Nothing is answered; nothing is stored; the genuine one afterwards is."""

    async def story() -> None:
        async with line() as both:
            sender = both.settings.sender
            heard: list[bytes] = []
            for wrong, verdict in (
                (replace(sender, password="guess"), LightweightVerdict.WRONG_SIGNATURE),
                (replace(sender, username="other"), LightweightVerdict.WRONG_USERNAME),
                (replace(sender, serial_number="S2"), LightweightVerdict.UNKNOWN_DEVICE),
            ):
                both.settings = replace(both.settings, sender=wrong)
                await both.notifier.notify(VALUES)
                await until(lambda verdict=verdict: both.receiver.counts[verdict] == 1)
            both.settings = replace(both.settings, sender=sender)
            both.known = replace(both.known, last_timestamp=1_800_000_000)
            await both.notifier.notify(VALUES)
            await until(lambda: both.receiver.counts[LightweightVerdict.NOT_NEWER] == 1)
            stranger = UdpSocket(lambda datagram, source: heard.append(datagram))
            await stranger.open(LOOPBACK, 0)
            stranger.send(b"POST / HTTP/1.1\r\n\r\n<a/>", Address(LOOPBACK, both.settings.port))
            await until(lambda: both.receiver.counts[LightweightVerdict.MALFORMED] == 1)
            assert both.stored == []
            both.known = replace(both.known, last_timestamp=None)
            await both.notifier.notify(VALUES)
            await until(lambda: both.stored)
            assert heard == []
            stranger.close()

    asyncio.run(story())


def test_copy_is_stored_once_even_while_the_first_is_looked_up() -> None:
    """The receiver remembers what it believed, before the store does."""

    async def story() -> None:
        async with line() as both:
            both.gate.clear()
            await both.notifier.notify(VALUES)
            again = LightweightNotifier(lambda: both.settings, wall_clock=lambda: both.wall, cnonce=lambda: "same time")
            await again.notify(VALUES)
            both.gate.set()
            await until(lambda: both.receiver.counts.total() == 2)
            assert len(both.stored) == 1
            assert both.receiver.counts[LightweightVerdict.NOT_NEWER] == 1

    asyncio.run(story())


def test_clock_that_went_back_does_not_silence_the_device() -> None:
    """The last timestamp is kept over a restart, and the next one is later."""

    async def story() -> None:
        async with line() as both:
            both.notifier.last_timestamp = 1_700_000_500
            sent = await both.notifier.notify(VALUES)
            assert sent.last_timestamp == 1_700_000_501

    asyncio.run(story())


def test_store_that_fails_loses_one_notification_and_not_the_receiver() -> None:
    """UDP may lose it anyway; normal notifications still report the value."""

    async def story() -> None:
        async with line() as both:
            both.full = True
            await both.notifier.notify(VALUES)
            await until(lambda: both.receiver.counts["not stored"] == 1)
            both.full = False
            await both.notifier.notify(VALUES)
            await until(lambda: both.stored)

    asyncio.run(story())


def test_more_than_can_wait_are_dropped() -> None:
    """A slow store must not make the memory grow."""

    async def story() -> None:
        async with line(queue=2, lanes=1) as both:
            both.gate.clear()
            for _ in range(6):
                await both.notifier.notify(VALUES)
            await until(lambda: both.receiver.counts[LightweightVerdict.OVERLOADED] >= 3)
            both.gate.set()
            await until(lambda: len(both.stored) >= 2)

    asyncio.run(story())


def test_flood_from_one_source_is_dropped_before_it_is_read() -> None:
    """The limit per source comes before parsing and signatures."""

    async def story() -> None:
        async with line(limiter=SourceLimiter(rate=0.001, burst=2)) as both:
            flood = UdpSocket(lambda datagram, source: None)
            await flood.open(LOOPBACK, 0)
            to = Address(LOOPBACK, both.settings.port)
            for _ in range(6):
                flood.send(b"x", to)
            await until(lambda: both.receiver.counts.total() == 6)
            flood.close()
            assert both.receiver.counts[LightweightVerdict.MALFORMED] == 2
            assert both.receiver.counts[LightweightVerdict.TOO_OFTEN] == 4

    asyncio.run(story())


def test_acs_without_an_address_is_a_transport_error() -> None:
    """The device's log can say what is wrong."""

    async def story() -> None:
        async with line() as both:
            both.settings = replace(both.settings, host="host.invalid")
            with pytest.raises(TransportError, match=r"host\.invalid"):
                await both.notifier.notify(VALUES)
        await both.receiver.stop()

    asyncio.run(story())
