"""The UDP sockets of both ends: the device's, which STUN and connection requests share, and the ACS's STUN server.

Here is only what awaits: what to send and when is decided in stun_client, stun_server and udp_connection_request.
Source: TR-069a6 Annex G.
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from homeport.errors import HomeportError, LocalProtocolError, TransportError
from homeport.transport import udp_connection_request
from homeport.transport.addresses import Address, is_ip
from homeport.transport.source_limits import SourceLimiter
from homeport.transport.stun_client import (
    BindingKnown,
    BindingRefused,
    LifetimeKnown,
    Output,
    ServerSilent,
    StunClient,
    StunSettings,
)
from homeport.transport.stun_exchange import Port, SendDatagram
from homeport.transport.stun_messages import looks_like_stun
from homeport.transport.stun_server import BindingReport, Question, StunServer
from homeport.transport.udp_connection_request import UdpRequestGate, Verdict
from homeport.transport.udp_sockets import Timer, Timers, UdpSocket, local_address_towards, resolve

STUN_PORT = 3478
"""STUN's registered port, the default of STUNServerPort."""

COPIES = 3
COPY_SPACING = 0.1
"""How many copies of a connection request are sent, and how many seconds apart: one lost burst must not lose them all."""


class UdpRequestListener:
    """The device's UDP port for connection requests, with a STUN client on the same port where one is wanted.

    credentials: ConnectionRequestUsername and ConnectionRequestPassword of this moment.
    on_request: called once per accepted request; must be quick. on_binding: called with what the model is to show
    (UDPConnectionRequestAddress, NATDetected). on_trouble: a sentence for logs and status pages.
    last_request: timestamp and id of the last accepted request, where kept from before a restart.
    """

    def __init__(
        self,
        *,
        credentials: Callable[[], tuple[str, str]],
        on_request: Callable[[], None],
        on_binding: Callable[[BindingKnown], None],
        on_trouble: Callable[[str], None] = lambda sentence: None,
        host: str = "0.0.0.0",
        port: int = 0,
        last_request: tuple[int, int] | None = None,
        timers: Timers | None = None,
    ) -> None:
        # A genuine ACS sends a few requests a minute, each in a few copies; signatures are computed for no more than this.
        limiter = SourceLimiter(rate=2.0, burst=20, sources=1024, total_rate=50.0, total_burst=200)
        self.gate = UdpRequestGate(credentials, last=last_request, allows=limiter.allows)
        self._on_request = on_request
        self._on_binding = on_binding
        self._on_trouble = on_trouble
        self._host = host
        self._port = port
        self._timers = timers
        self._timer: Timer | None = None
        self._sockets: dict[Port, UdpSocket] = {}
        self._client: StunClient | None = None
        self._server: tuple[str, int] = ("", 0)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def binding(self) -> StunClient | None:
        """The STUN client in use, for status pages: its mapped address, period and whether it is searching."""
        return self._client

    async def start(self) -> Address:
        """The address bound. Raises TransportError where the port cannot be had."""
        if self._timers is None:
            self._timers = asyncio.get_running_loop()
        socket = UdpSocket(self._primary)
        self._sockets[Port.PRIMARY] = socket
        try:
            return await socket.open(self._host, self._port)
        except TransportError:
            del self._sockets[Port.PRIMARY]
            raise

    async def stop(self) -> None:
        """Closes all sockets and ends all timers; safe more than once."""
        self._forget_client()
        for socket in self._sockets.values():
            socket.close()
        self._sockets.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def without_stun(self, *, towards: str = "", port: int = 7547) -> None:
        """Uses no STUN from now on and reports the local address.

        towards: host of the ACS, so that the address is the one of the interface that leads there. A name that cannot be looked up
        leaves the bound address.
        """
        self._forget_client()
        primary = self._started()
        local = primary.local
        if towards:
            try:
                local = local_address_towards(local, await resolve(towards, port, primary.family))
            except TransportError as e:
                self._on_trouble(str(e))
        self._on_binding(BindingKnown(mapped=local, local=local, nat_detected=False, changed=False))

    async def use_stun(
        self,
        settings: StunSettings,
        *,
        server_host: str,
        server_port: int = STUN_PORT,
        last_reported: Address | None = None,
    ) -> None:
        """Uses this STUN server from now on; reports through `on_binding` as soon as it answers.

        server_host: STUNServerAddress, or the ACS's host where that is empty. last_reported: the mapped address that the ACS knows.
        A name that cannot be looked up now is tried again after the minimum period.
        """
        self._forget_client()
        self._server = (server_host, server_port)
        await self._begin(settings, last_reported)

    # --- the client's wishes --------------------------------------------------------------------------------------------------

    async def _begin(self, settings: StunSettings, last_reported: Address | None) -> None:
        primary = self._started()
        assert self._timers is not None
        wanted = self._server
        try:
            server = await resolve(*wanted, primary.family)
        except TransportError as e:
            self._on_trouble(f"STUN server: {e}")
            if self._server == wanted and Port.PRIMARY in self._sockets:
                again = self._timers.time() + settings.shortest
                self._timer = self._timers.call_at(again, lambda: self._spawn(self._begin(settings, last_reported)))
            return
        if self._server != wanted or Port.PRIMARY not in self._sockets:
            return  # stopped, or given another server, while the name was looked up
        local = local_address_towards(primary.local, server)
        self._client = StunClient(settings, server=server, local=local, last_reported=last_reported)
        await self._carry_out(self._client, self._client.start(self._timers.time()))

    def _started(self) -> UdpSocket:
        """The primary socket. Raises LocalProtocolError where there is none."""
        socket = self._sockets.get(Port.PRIMARY)
        if socket is None:
            raise LocalProtocolError("the listener is not started; call start() before it is told about STUN")
        return socket

    def _forget_client(self) -> None:
        self._client = None
        self._server = ("", 0)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._close_extra_ports()

    def _primary(self, datagram: bytes, source: Address) -> None:
        assert self._timers is not None
        now = self._timers.time()
        if looks_like_stun(datagram):
            self._stun(Port.PRIMARY, datagram, source)
        elif self.gate.look(datagram, source=source, now=now) is Verdict.ACCEPTED:
            self._on_request()

    def _stun(self, port: Port, datagram: bytes, source: Address) -> None:
        if self._client is not None and self._timers is not None:
            outputs = self._client.receive(datagram, source=source, port=port, now=self._timers.time())
            if outputs:
                self._spawn(self._carry_out(self._client, outputs))

    def _deadline(self) -> None:
        self._timer = None
        client = self._client
        if client is not None and self._timers is not None:
            client.local = local_address_towards(self._sockets[Port.PRIMARY].local, client.server)
            self._spawn(self._carry_out(client, client.deadline_passed(self._timers.time())))

    async def _carry_out(self, client: StunClient, outputs: list[Output]) -> None:
        try:
            for output in outputs:
                if client is not self._client:
                    return
                await self._do(client, output)
        finally:
            # Even where the owner's callback failed: keep-alives must not end by its mistake.
            self._set_timer(client)

    async def _do(self, client: StunClient, output: Output) -> None:
        match output:
            case SendDatagram(port, datagram, to):
                socket = await self._socket(port)
                if socket is not None:
                    socket.send(datagram, to)
            case BindingKnown():
                self._on_binding(output)
            case BindingRefused(code, reason):
                self._on_trouble(f"STUN server {client.server} refuses the request: {code} {reason}".rstrip())
            case ServerSilent(tries):
                self._on_trouble(f"STUN server {client.server} does not answer ({tries} tries)")
                self._spawn(self._look_up_again(client))
            case LifetimeKnown():
                self._close_extra_ports()

    def _set_timer(self, client: StunClient) -> None:
        if client is not self._client or self._timers is None:
            return
        if not client.searching:
            self._close_extra_ports()
        if self._timer is not None:
            self._timer.cancel()
        deadline = client.next_deadline()
        self._timer = None if deadline is None else self._timers.call_at(deadline, self._deadline)

    async def _socket(self, port: Port) -> UdpSocket | None:
        socket = self._sockets.get(port)
        if socket is None:
            socket = UdpSocket(lambda datagram, source: self._stun(port, datagram, source))
            try:
                await socket.open(self._host, 0)
            except TransportError as e:
                self._on_trouble(str(e))  # no second port: the search meets silence and gives up
                return None
            if self._client is None or port in self._sockets:
                socket.close()  # stopped, or opened twice, while the system was asked
                return self._sockets.get(port)
            self._sockets[port] = socket
        return socket

    def _close_extra_ports(self) -> None:
        for port in (Port.SECONDARY, Port.PROBE):
            socket = self._sockets.pop(port, None)
            if socket is not None:
                socket.close()

    async def _look_up_again(self, client: StunClient) -> None:
        try:
            server = await resolve(*self._server, self._sockets[Port.PRIMARY].family)
        except (TransportError, KeyError):
            return  # the old address stays; the next silence asks again
        if client is self._client:
            client.server_moved(server)

    def _spawn(self, work: "Awaitable[None]") -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class StunEndpoint:
    """The ACS's STUN server on one UDP port, from which it also sends connection requests, so that they pass the device's NAT.

    password_of: STUNPassword of a STUNUsername, None where it is not known. on_binding: called for every report that a device gives;
    see BindingReport.verified before believing it.
    """

    def __init__(
        self,
        *,
        password_of: Callable[[str], Awaitable[str | None]],
        on_binding: Callable[[BindingReport], None],
        host: str = "0.0.0.0",
        port: int = STUN_PORT,
        server: StunServer | None = None,
        timers: Timers | None = None,
        wall_clock: Callable[[], float] = time.time,
        pending: int = 256,
    ) -> None:
        self.server = server or StunServer()
        self._password_of = password_of
        self._on_binding = on_binding
        self._host = host
        self._port = port
        self._timers = timers
        self._wall_clock = wall_clock
        self._pending = pending
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket: UdpSocket | None = None
        self._timestamps: OrderedDict[tuple[str, Address], int] = OrderedDict()

    async def start(self) -> Address:
        """The address bound. Raises TransportError where the port cannot be had."""
        if self._timers is None:
            self._timers = asyncio.get_running_loop()
        socket = UdpSocket(self._receive)
        address = await socket.open(self._host, self._port)
        self._socket = socket
        return address

    async def stop(self) -> None:
        """Closes the socket; questions that wait for a password get no answer."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def request_connection(self, to: Address, *, username: str, password: str, copies: int = COPIES) -> None:
        """Asks a device for a session, in several copies; that it came is only seen by the session.

        to: the device's reported address; must be an IP. username, password: its ConnectionRequest credentials.
        Raises LocalProtocolError where the request cannot be built, or the endpoint is not started.
        """
        if self._socket is None or self._timers is None:
            raise LocalProtocolError("the STUN endpoint is not started; connection requests leave from its socket")
        if not is_ip(to.host):
            raise LocalProtocolError(f"{to} is not an IP address; look the name up first")
        key = (username, to)
        timestamp = udp_connection_request.next_timestamp(self._timestamps.get(key), self._wall_clock())
        self._timestamps[key] = timestamp
        self._timestamps.move_to_end(key)
        if len(self._timestamps) > 10_000:
            self._timestamps.popitem(last=False)
        datagram = new_connection_request(to, username=username, password=password, timestamp=timestamp)
        send_copies(self._socket, datagram, to, timers=self._timers, copies=copies)

    def _receive(self, datagram: bytes, source: Address) -> None:
        assert self._timers is not None
        question = self.server.examine(datagram, source=source, now=self._timers.time())
        if question is None:
            return
        if question.needs_password is None:
            self._reply(question, None)
        elif len(self._tasks) < self._pending:
            task = asyncio.ensure_future(self._look_up(question, question.needs_password))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self.server.counts["too many pending"] += 1  # the device repeats its request

    async def _look_up(self, question: Question, username: str) -> None:
        try:
            password = await self._password_of(username)
        except HomeportError:
            self.server.counts["password not available"] += 1  # no answer: the device repeats its request
            return
        self._reply(question, password)

    def _reply(self, question: Question, password: str | None) -> None:
        if self._socket is None or self._timers is None:
            return
        local = local_address_towards(self._socket.local, question.source)
        reply = self.server.answer(question, local=local, password=password)
        self._socket.send(reply.datagram, reply.to)
        if reply.report is not None:
            self._on_binding(reply.report)


def new_connection_request(to: Address, *, username: str, password: str, timestamp: int) -> bytes:
    """The datagram of a connection request with a fresh id and nonce."""
    return udp_connection_request.encode(
        to,
        timestamp=timestamp,
        message_id=secrets.randbelow(2**31 - 1) + 1,
        username=username,
        cnonce=secrets.token_hex(8),
        password=password,
    )


def send_copies(socket: UdpSocket, datagram: bytes, to: Address, *, timers: Timers, copies: int = COPIES) -> None:
    """Sends the first copy now and the others COPY_SPACING seconds apart."""
    socket.send(datagram, to)
    now = timers.time()
    for n in range(1, copies):
        timers.call_at(now + n * COPY_SPACING, lambda: socket.send(datagram, to))


async def request_connection_by_udp(
    to: Address, *, username: str, password: str, copies: int = COPIES, wall_clock: Callable[[], float] = time.time
) -> None:
    """Asks a device that is not behind a NAT, from a port of its own, where the ACS runs no STUN server; returns when all copies left.

    to: a name is looked up. Raises TransportError where it has no address, LocalProtocolError where the request cannot be built.
    """
    target = await resolve(to.host, to.port)
    datagram = new_connection_request(target, username=username, password=password, timestamp=int(wall_clock()))
    socket = UdpSocket(lambda datagram, source: None)
    await socket.open("::" if ":" in target.host else "0.0.0.0", 0)
    try:
        for n in range(copies):
            if n:
                await asyncio.sleep(COPY_SPACING)
            socket.send(datagram, target)
    finally:
        socket.close()
