"""The sockets of lightweight notifications: the device sends, the ACS receives; nothing is ever answered.

Source: TR-069a6 Annex M; TR-181 2.19 ManagementServer.LightweightNotificationProtocolsUsed and UDPLightweightNotification*.
"""

import asyncio
import secrets
import time
import zlib
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from homeport.codec.messages import ParameterValueStruct
from homeport.errors import HomeportError, MessageRefused
from homeport.transport import lightweight_messages
from homeport.transport.addresses import Address
from homeport.transport.lightweight_messages import (
    DEFAULT_PORT,
    LightweightNotification,
    LightweightSender,
    LightweightVerdict,
    ReceivedNotification,
)
from homeport.transport.source_limits import SourceLimiter
from homeport.transport.udp_sockets import UdpSocket, resolve


@dataclass(frozen=True, slots=True)
class LightweightSettings:
    """What the data model says at this moment.

    protocols_used: LightweightNotificationProtocolsUsed, a list with commas; without `UDP` in it nothing is sent, whatever the
    parameters' attributes say. host: UDPLightweightNotificationHost, or the host of the ACS's URL where that is empty.
    """

    protocols_used: str
    host: str
    sender: LightweightSender
    port: int = DEFAULT_PORT

    @property
    def enabled(self) -> bool:
        """Whether notifications go out by UDP."""
        return "UDP" in (name.strip() for name in self.protocols_used.split(","))


@dataclass(frozen=True, slots=True)
class LightweightSent:
    """datagrams: how many left. left_out: names of values that no datagram can carry. last_timestamp: to be kept over a restart."""

    datagrams: int
    left_out: tuple[str, ...]
    last_timestamp: int | None


class LightweightNotifier:
    """The device's half.

    settings: asked anew for each notification. last_timestamp: as kept from before a restart, so that the ACS takes the next one even
    where the clock went back.
    """

    def __init__(
        self,
        settings: Callable[[], LightweightSettings],
        *,
        last_timestamp: int | None = None,
        wall_clock: Callable[[], float] = time.time,
        cnonce: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._settings = settings
        self._wall_clock = wall_clock
        self._cnonce = cnonce
        self.last_timestamp = last_timestamp

    async def notify(self, values: Sequence[ParameterValueStruct]) -> LightweightSent:
        """What became of the values: sent, but nobody says whether they arrived.

        Raises TransportError where the ACS's host has no address, LocalProtocolError for characters that XML cannot carry.
        """
        settings = self._settings()
        if not settings.enabled or not values:
            return LightweightSent(0, (), self.last_timestamp)
        to = await resolve(settings.host, settings.port)
        now = int(self._wall_clock())
        batch = lightweight_messages.encode(
            values,
            sender=settings.sender,
            to=to,
            timestamp=now if self.last_timestamp is None else max(now, self.last_timestamp + 1),
            cnonce=self._cnonce,
        )
        if batch.datagrams:
            self.last_timestamp = batch.last_timestamp
            socket = UdpSocket(lambda datagram, source: None)
            await socket.open("::" if ":" in to.host else "0.0.0.0", 0)
            try:
                for datagram in batch.datagrams:
                    socket.send(datagram, to)
            finally:
                socket.close()
        return LightweightSent(len(batch.datagrams), batch.left_out, self.last_timestamp)


@dataclass(frozen=True, slots=True)
class LightweightCredentials:
    """What the ACS knows of the device that a notification names.

    username, password: what the device gives to the ACS. last_timestamp: of the last notification stored from it, None for none.
    """

    username: str
    password: str
    last_timestamp: int | None = None


class LightweightReceiver:
    """The ACS's half: hands over each notification that is signed, newer and from a known device; counts the others by reason.

    credentials: looks the device up, None where it is not known. deliver: stores the values; what it raises of Homeport's errors is
    counted and the notification lost, as UDP may lose it anyway. Notifications of one device are delivered in the order in which they
    came. queue: how many may wait per lane before further ones are dropped. limiter: how often one source is read.
    """

    def __init__(
        self,
        *,
        credentials: Callable[[LightweightNotification], Awaitable[LightweightCredentials | None]],
        deliver: Callable[[LightweightNotification], Awaitable[None]],
        host: str = "0.0.0.0",
        port: int = DEFAULT_PORT,
        lanes: int = 8,
        queue: int = 256,
        remembered: int = 100_000,
        limiter: SourceLimiter | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credentials = credentials
        self._deliver = deliver
        self._host = host
        self._port = port
        self._monotonic = monotonic
        self._remembered = remembered
        # Devices behind one carrier's NAT share a source.
        if limiter is None:
            limiter = SourceLimiter(rate=50.0, burst=500, total_rate=5_000.0, total_burst=20_000)
        self._limiter = limiter
        self._queues: list[asyncio.Queue[ReceivedNotification]] = [asyncio.Queue(queue) for _ in range(lanes)]
        self._latest: OrderedDict[tuple[str, str, str], int] = OrderedDict()
        self._tasks: list[asyncio.Task[None]] = []
        self._socket: UdpSocket | None = None
        self.counts: Counter[str] = Counter()

    async def start(self) -> Address:
        """The address bound. Raises TransportError where the port cannot be had."""
        socket = UdpSocket(self._receive)
        address = await socket.open(self._host, self._port)
        self._socket = socket
        self._tasks = [asyncio.ensure_future(self._work(lane)) for lane in self._queues]
        return address

    async def stop(self) -> None:
        """Closes the socket; notifications that still wait are lost. Safe more than once."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def _receive(self, datagram: bytes, source: Address) -> None:
        if not self._limiter.allows(source.host, self._monotonic()):
            self.counts[LightweightVerdict.TOO_OFTEN] += 1
            return
        try:
            received = lightweight_messages.decode(datagram)
        except MessageRefused:
            self.counts[LightweightVerdict.MALFORMED] += 1
            return
        lane = zlib.crc32("\0".join(_device(received.notification)).encode()) % len(self._queues)
        try:
            self._queues[lane].put_nowait(received)
        except asyncio.QueueFull:
            self.counts[LightweightVerdict.OVERLOADED] += 1

    async def _work(self, lane: "asyncio.Queue[ReceivedNotification]") -> None:
        while True:
            received = await lane.get()
            try:
                verdict = await self._judge(received)
                if verdict is LightweightVerdict.ACCEPTED:
                    await self._deliver(received.notification)
                self.counts[verdict] += 1
            except HomeportError:
                self.counts["not stored"] += 1

    async def _judge(self, received: ReceivedNotification) -> LightweightVerdict:
        notification = received.notification
        known = await self._credentials(notification)
        if known is None:
            return LightweightVerdict.UNKNOWN_DEVICE
        device = _device(notification)
        stamps = [t for t in (known.last_timestamp, self._latest.get(device)) if t is not None]
        verdict = lightweight_messages.judge(
            received,
            username=known.username,
            password=known.password,
            last_timestamp=max(stamps, default=None),
        )
        if verdict is LightweightVerdict.ACCEPTED:
            self._latest[device] = notification.timestamp
            self._latest.move_to_end(device)
            if len(self._latest) > self._remembered:
                self._latest.popitem(last=False)
        return verdict


def _device(notification: LightweightNotification) -> tuple[str, str, str]:
    return notification.manufacturer_oui, notification.product_class, notification.serial_number
