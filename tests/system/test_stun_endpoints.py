"""The UDP drivers of both ends on loopback, time by a virtual clock: the device's port and the ACS's STUN server."""

import asyncio
import gc
import heapq
import itertools
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from homeport.errors import HomeportError, LocalProtocolError, StoreUnavailable, TransportError
from homeport.transport.addresses import Address
from homeport.transport.stun import StunEndpoint, UdpRequestListener, request_connection_by_udp
from homeport.transport.stun_client import BindingKnown, StunSettings
from homeport.transport.stun_server import BindingReport
from homeport.transport.udp_connection_request import Verdict
from homeport.transport.udp_sockets import UdpSocket, local_address_towards, resolve

pytestmark = pytest.mark.system

LOOPBACK = "127.0.0.1"


class VirtualTimers:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._queue: list[tuple[float, int, Callable[[], object], list[bool]]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object]) -> "_Handle":
        alive = [True]
        heapq.heappush(self._queue, (when, next(self._numbers), callback, alive))
        return _Handle(alive)

    async def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            when, _, callback, alive = heapq.heappop(self._queue)
            self.now = max(self.now, when)
            if alive[0]:
                callback()
                await settle()
        self.now = end


class _Handle:
    def __init__(self, alive: list[bool]) -> None:
        self._alive = alive

    def cancel(self) -> None:
        self._alive[0] = False


async def settle() -> None:
    """Lets datagrams on loopback arrive and their consequences happen."""
    for _ in range(40):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Waits for something that loopback brings within moments."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


class Line:
    """A device and an ACS that heard of each other by STUN only."""

    def __init__(self) -> None:
        self.timers = VirtualTimers()
        self.passwords: dict[str, str] = {}
        self.asked = 0
        self.reports: list[BindingReport] = []
        self.requests = 0
        self.bindings: list[BindingKnown] = []
        self.troubles: list[str] = []
        self.wall = 1_700_000_000.0
        self.acs = StunEndpoint(
            password_of=self._password_of,
            on_binding=self.reports.append,
            host=LOOPBACK,
            port=0,
            timers=self.timers,
            wall_clock=lambda: self.wall,
        )
        self.device = UdpRequestListener(
            credentials=lambda: ("user", "secret"),
            on_request=self._on_request,
            on_binding=self.bindings.append,
            on_trouble=self.troubles.append,
            host=LOOPBACK,
            timers=self.timers,
        )
        self.acs_address = Address("", 0)
        self.device_address = Address("", 0)

    async def _password_of(self, username: str) -> str | None:
        self.asked += 1
        return self.passwords.get(username)

    def _on_request(self) -> None:
        self.requests += 1

    async def use_stun(self, settings: StunSettings, last_reported: Address | None = None) -> None:
        await self.device.use_stun(
            settings, server_host=self.acs_address.host, server_port=self.acs_address.port, last_reported=last_reported
        )


@asynccontextmanager
async def line() -> AsyncIterator[Line]:
    """Both ends started, and stopped at the end."""
    both = Line()
    try:
        both.acs_address = await both.acs.start()
        both.device_address = await both.device.start()
        yield both
    finally:
        await both.device.stop()
        await both.acs.stop()


FIXED = StunSettings(minimum_keep_alive_period=20, maximum_keep_alive_period=20)


@pytest.mark.case("C14")
def test_device_learns_its_address_and_the_acs_learns_it_too() -> None:
    """Annex G over real sockets: Binding Request from the port of connection requests, no password asked for."""

    async def story() -> None:
        async with line() as both:
            await both.use_stun(FIXED)
            await until(lambda: both.bindings)
            here = both.device_address
            assert both.bindings == [BindingKnown(here, here, nat_detected=False, changed=False)]
            assert both.reports == [BindingReport("", here, binding_change=False, verified=False)]
            assert both.asked == 0

    asyncio.run(story())


@pytest.mark.case("C17")
def test_keep_alives_come_at_the_fixed_period() -> None:
    """STUNMinimum = STUNMaximum = 20: one every 20 s."""

    async def story() -> None:
        async with line() as both:
            await both.use_stun(FIXED)
            await until(lambda: both.bindings)
            for count in (2, 3, 4):
                await both.timers.advance(19.9)
                assert len(both.reports) == count - 1
                await both.timers.advance(0.1)
                await until(lambda count=count: len(both.bindings) == count)

    asyncio.run(story())


@pytest.mark.case("C16")
@pytest.mark.case("C15")
def test_change_is_signed_when_the_server_demands_it() -> None:
    """401, then MESSAGE-INTEGRITY with the password that the ACS knows: the report is verified."""

    async def story() -> None:
        async with line() as both:
            both.passwords["user"] = "secret"
            await both.use_stun(StunSettings("user", "secret", 20, 20), last_reported=Address("192.0.2.9", 1))
            await until(lambda: [r for r in both.reports if r.binding_change])
            assert both.reports[-1] == BindingReport("user", both.device_address, binding_change=True, verified=True)
            assert both.bindings[0].changed
            assert both.asked == 2

    asyncio.run(story())


@pytest.mark.case("C16")
def test_wrong_password_becomes_a_sentence() -> None:
    """The device's status page can say why it is not reachable; the ACS believes nothing."""

    async def story() -> None:
        async with line() as both:
            both.passwords["user"] = "another"
            await both.use_stun(StunSettings("user", "secret", 20, 20), last_reported=Address("192.0.2.9", 1))
            await until(lambda: both.troubles)
            assert "refuses" in both.troubles[0] and "431" in both.troubles[0]
            assert not [r for r in both.reports if r.binding_change]

    asyncio.run(story())


def test_password_store_that_fails_means_no_answer() -> None:
    """The device repeats its request; the server counts."""

    async def story() -> None:
        async with line() as both:

            async def fails(username: str) -> str | None:
                raise StoreUnavailable("the disk is full")

            both.acs._password_of = fails
            await both.use_stun(StunSettings("user", "secret", 20, 20), last_reported=Address("192.0.2.9", 1))
            await until(lambda: both.acs.server.counts["password not available"])
            assert len(both.reports) == 1 and not both.reports[0].binding_change

    asyncio.run(story())


def test_lifetime_is_searched_on_two_more_ports_which_are_closed_afterwards() -> None:
    """On loopback nothing forgets, so the search ends at the maximum."""

    async def story() -> None:
        async with line() as both:
            await both.use_stun(StunSettings(minimum_keep_alive_period=20, maximum_keep_alive_period=80))
            await until(lambda: both.bindings)
            client = both.device.binding
            assert client is not None
            # Ports are opened in real time while the clock is virtual, so how many turns it takes depends on the machine.
            for _ in range(5000):
                await both.timers.advance(1.0)
                await settle()
                if (client.period, client.searching) == (80.0, False):
                    break
            assert (client.period, client.searching) == (80.0, False)
            assert len(both.device._sockets) == 1

    asyncio.run(story())


def test_server_that_does_not_answer_becomes_a_sentence() -> None:
    """9.5 s after the first of nine tries; then the name is looked up again."""

    async def story() -> None:
        async with line() as both:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
                deaf.bind((LOOPBACK, 0))
                await both.device.use_stun(FIXED, server_host=LOOPBACK, server_port=deaf.getsockname()[1])
                await both.timers.advance(9.4)
                assert not both.troubles
                await both.timers.advance(0.2)
                assert both.troubles == [f"STUN server 127.0.0.1:{deaf.getsockname()[1]} does not answer (9 tries)"]

    asyncio.run(story())


def test_server_without_an_address_is_looked_up_again() -> None:
    """A name that cannot be looked up is a sentence and another try after the minimum period."""

    async def story() -> None:
        async with line() as both:
            await both.device.use_stun(FIXED, server_host="host.invalid")
            assert both.troubles[0].startswith("STUN server: cannot find an address for host.invalid")
            both.device._server = (both.acs_address.host, both.acs_address.port)
            await both.timers.advance(20)
            await until(lambda: both.bindings)

    asyncio.run(story())


def test_without_stun_the_local_address_is_reported() -> None:
    """STUNEnable = false: NATDetected false, the address is the one towards the ACS; a STUN client in use ends."""

    async def story() -> None:
        async with line() as both:
            await both.use_stun(FIXED)
            await until(lambda: both.bindings)
            await both.device.without_stun(towards=LOOPBACK)
            assert both.device.binding is None
            assert both.bindings[-1] == BindingKnown(both.device_address, both.device_address, False, False)
            await both.timers.advance(100)
            assert len(both.reports) == 1
            await both.device.without_stun(towards="host.invalid")
            assert both.troubles and both.bindings[-1].mapped == both.device_address

    asyncio.run(story())


@pytest.mark.case("C12")
@pytest.mark.case("C13")
@pytest.mark.case("C20")
def test_acs_reaches_the_device_from_its_stun_port() -> None:
    """Three identical copies, one session; a second request of the same second counts again; a wrong one is met with silence."""

    async def story() -> None:
        async with line() as both:
            await both.use_stun(FIXED)
            await until(lambda: both.reports)
            where = both.reports[0].address
            both.acs.request_connection(where, username="user", password="secret")
            await until(lambda: both.requests)
            await both.timers.advance(1)
            await until(lambda: both.device.gate.counts[Verdict.REPEATED] == 2)
            assert both.requests == 1
            both.acs.request_connection(where, username="user", password="secret", copies=1)
            await until(lambda: both.requests == 2)
            both.acs.request_connection(where, username="user", password="guess", copies=1)
            both.acs.request_connection(where, username="other", password="secret", copies=1)
            await until(lambda: both.device.gate.counts[Verdict.WRONG_USERNAME])
            assert both.device.gate.counts[Verdict.WRONG_SIGNATURE] == 1
            assert both.requests == 2

    asyncio.run(story())


@pytest.mark.case("C12")
def test_device_never_answers_a_connection_request() -> None:
    """Good or bad: not one datagram comes back."""

    async def story() -> None:
        async with line() as both:
            heard: list[bytes] = []
            asker = UdpSocket(lambda datagram, source: heard.append(datagram))
            await asker.open(LOOPBACK, 0)
            await request_connection_by_udp(both.device_address, username="user", password="secret", copies=1)
            asker.send(b"GET http://h?ts=1 HTTP/1.1\r\n\r\n", both.device_address)
            asker.send(b"\x00\x01\x00\x00" + bytes(16), both.device_address)
            await until(lambda: both.requests and both.device.gate.counts[Verdict.MALFORMED])
            await settle()
            asker.close()
            assert heard == []

    asyncio.run(story())


def test_acs_without_a_stun_server_asks_from_any_port() -> None:
    """A device that is not behind a NAT hears it all the same; names are looked up."""

    async def story() -> None:
        async with line() as both:
            to = Address("localhost", both.device_address.port)
            await request_connection_by_udp(to, username="user", password="secret", copies=2)
            await until(lambda: both.device.gate.counts[Verdict.REPEATED])
            assert both.requests == 1
            with pytest.raises(TransportError):
                await request_connection_by_udp(Address("host.invalid", 1), username="user", password="secret")

    asyncio.run(story())


def test_more_questions_than_can_wait_for_passwords_are_dropped() -> None:
    """A slow store must not make the memory grow; answers come again when it is done."""

    async def story() -> None:
        async with line() as both:
            gate = asyncio.Event()

            async def slow(username: str) -> str | None:
                await gate.wait()
                return None

            both.acs._password_of = slow
            both.acs._pending = 3
            asker = UdpSocket(lambda datagram, source: None)
            await asker.open(LOOPBACK, 0)
            for n in range(5):
                asker.send(
                    b"\x00\x01\x00\x0c" + bytes(15) + bytes([n]) + b"\x00\x06\x00\x04user\xc0\x02\x00\x00",
                    both.acs_address,
                )
            await until(lambda: both.acs.server.counts["too many pending"] == 2)
            assert not both.reports
            gate.set()
            await until(lambda: len(both.reports) == 3)
            asker.close()

    asyncio.run(story())


def test_mistakes_of_the_caller_are_told() -> None:
    """Not started, a name in place of an address, a port that is taken."""

    async def story() -> None:
        async with line() as both:
            with pytest.raises(LocalProtocolError, match="look the name up"):
                both.acs.request_connection(Address("example.org", 1), username="user", password="secret")
            with pytest.raises(LocalProtocolError, match="empty"):
                both.acs.request_connection(both.device_address, username="user", password="")
            second = UdpSocket(lambda datagram, source: None)
            with pytest.raises(TransportError, match="cannot listen on UDP"):
                await second.open(LOOPBACK, both.acs_address.port)
            second.send(b"never", both.acs_address)
        with pytest.raises(LocalProtocolError, match="not started"):
            both.acs.request_connection(both.device_address, username="user", password="secret")
        await both.device.stop()
        with pytest.raises(LocalProtocolError, match="not started"):
            await both.use_stun(FIXED)
        with pytest.raises(LocalProtocolError, match="not started"):
            await both.device.without_stun()

    asyncio.run(story())


def test_keep_alives_go_on_when_the_owner_fails() -> None:
    """A mistake in a callback is the owner's; the device must stay reachable all the same."""

    async def story() -> None:
        failures: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
        async with line() as both:

            def fails(binding: BindingKnown) -> None:
                both.bindings.append(binding)
                raise ZeroDivisionError

            both.device._on_binding = fails
            await both.use_stun(FIXED)
            await until(lambda: both.bindings)
            await settle()
            await both.timers.advance(20)
            await until(lambda: len(both.bindings) == 2)
        gc.collect()
        assert failures and isinstance(failures[0]["exception"], ZeroDivisionError)

    asyncio.run(story())


def test_second_port_that_cannot_be_had_only_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """The binding itself is kept alive at the minimum period."""

    async def story() -> None:
        async with line() as both:

            async def taken(self: UdpSocket, host: str, port: int) -> Address:
                raise TransportError("cannot listen on UDP: no port is free", kind="refused")

            monkeypatch.setattr(UdpSocket, "open", taken)
            await both.use_stun(StunSettings(minimum_keep_alive_period=20, maximum_keep_alive_period=80))
            await until(lambda: both.troubles)
            for _ in range(45):
                await both.timers.advance(1.0)
                await settle()
            assert set(both.troubles) == {"cannot listen on UDP: no port is free"}
            assert len(both.reports) == 3

    asyncio.run(story())


def test_local_address_towards_a_peer_is_the_routes() -> None:
    """A socket bound to all addresses is seen from the peer's side as one of them."""
    assert local_address_towards(Address("0.0.0.0", 7547), Address(LOOPBACK, 3478)) == Address(LOOPBACK, 7547)
    assert local_address_towards(Address("192.0.2.4", 7547), Address(LOOPBACK, 3478)) == Address("192.0.2.4", 7547)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_socket_whose_opening_is_cancelled_is_closed(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A device that is switched off meanwhile leaves nothing behind: the port is free, and uvloop can end."""

    async def story() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((LOOPBACK, 0))
            port = probe.getsockname()[1]
        for patience in range(6):
            opening = UdpSocket(lambda datagram, source: None)
            task = asyncio.ensure_future(opening.open(LOOPBACK, port))
            for _ in range(patience):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            opening.close()
            await settle()
        again = UdpSocket(lambda datagram, source: None)
        assert (await again.open(LOOPBACK, port)).port == port
        again.close()
        await settle()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(story())


def test_dual_socket_talks_to_ipv4() -> None:
    """A socket for IPv6 and IPv4 shows IPv4 peers as such, and reaches them."""

    async def story() -> None:
        heard: list[tuple[bytes, Address]] = []
        here = UdpSocket(lambda datagram, source: heard.append((datagram, source)))
        there = UdpSocket(lambda datagram, source: there.send(datagram, source))
        try:
            address = await there.open("::", 0)
            await here.open(LOOPBACK, 0)
        except TransportError as e:
            pytest.skip(f"this machine has no IPv6: {e}")
        here.send(b"echo", Address(LOOPBACK, address.port))
        await until(lambda: heard)
        assert heard == [(b"echo", Address(LOOPBACK, address.port))]
        here.close()
        there.close()

    asyncio.run(story())


def test_lookup_of_a_hopeless_name_is_a_transport_error() -> None:
    """Foreign errors are translated at the rim."""

    async def story() -> None:
        for name in ("host.invalid", "a" * 70 + ".example", "\udc80"):
            with pytest.raises(HomeportError) as caught:
                await resolve(name, 1)
            assert caught.value.kind == "dns"

    asyncio.run(story())
