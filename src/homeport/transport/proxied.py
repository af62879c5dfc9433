"""A listener behind load balancers that pass connections on and announce them by the PROXY protocol.

The header comes before everything, also before TLS. So a connection is accepted as a plain socket, the header is looked at where it lies in
the kernel and exactly its bytes are taken, and only then the loop gets the socket: TLS and the protocol behind it find their first byte
untouched, with asyncio and with uvloop. (`start_tls` on a transport that has read already could not be given what it has read too much.)

From a load balancer that is trusted a header must come; from anybody else none may.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Final

import structlog

from homeport.http.proxy_protocol import LONGEST, BadHeader, HeaderReader, Origin, resembles
from homeport.transport.addresses import address_of

HEADER_WITHIN: Final = 5.0
"""Seconds within which the header must have come: a load balancer sends it at once, and one packet may have to be sent again."""

MOST_AT_ONCE: Final = 64
"""Connections that are accepted before the loop turns to others."""

REST: Final = 1.0
"""Seconds without accepting after the system had no file or memory for a connection."""

TOLD_AGAIN: Final = 60.0
MOST_TOLD: Final = 1_000
"""Seconds after which a refusal of the same peer is told again, and how many peers are remembered for that."""

UNTRUSTED: Final = "a PROXY header came from an address that is not in trusted_proxies; if it is a load balancer of yours, name it there"
CURE: Final = (
    "the load balancer must send one (HAProxy: send-proxy-v2), or this listener must not stand in proxy_protocol"
)

_SCARCE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = structlog.get_logger("homeport.transport.proxied")


class _Arrival:
    """A connection of which it is not known yet where it comes from. reader: None where no header may come."""

    __slots__ = ("host", "reader", "sock", "timer", "watched")

    def __init__(self, sock: socket.socket, host: str, reader: HeaderReader | None) -> None:
        self.sock = sock
        self.host = host
        self.reader = reader
        self.timer: asyncio.TimerHandle | None = None
        self.watched = False


class ProxiedListener:
    """Accepts connections on a bound socket and gives each to a protocol of its own.

    made: the protocol of a connection; its origin is None where no load balancer announced it. trusts: whether an address is a load
    balancer's. name: the setting that says where it listens, for the log. most: connections of others that have no protocol yet.
    patience: seconds for the first byte of others than load balancers, and for the TLS handshake.
    """

    def __init__(
        self,
        listening: socket.socket,
        made: Callable[[Origin | None], asyncio.Protocol],
        *,
        trusts: Callable[[str], bool],
        name: str,
        tls: ssl.SSLContext | None = None,
        most: int = 10_000,
        patience: float = 30.0,
        header_within: float = HEADER_WITHIN,
    ) -> None:
        self._listening = listening
        self._made = made
        self._trusts = trusts
        self._name = name
        self._tls = tls
        self._most = most
        self._patience = patience
        self._header_within = header_within
        self._loop: asyncio.AbstractEventLoop
        self._arrivals: set[_Arrival] = set()
        self._handing: set[asyncio.Task[None]] = set()
        self._resting: asyncio.TimerHandle | None = None
        self._told: dict[str, float] = {}
        self._closed = False

    def start(self, backlog: int) -> None:
        """Take connections from now on."""
        self._loop = asyncio.get_running_loop()
        self._listening.listen(backlog)
        self._listening.setblocking(False)
        self._loop.add_reader(self._listening, self._accept)

    def close(self) -> None:
        """Take no more connections, and cut those that have no protocol yet."""
        if self._closed:
            return
        self._closed = True
        if self._resting is not None:
            self._resting.cancel()
        else:
            self._loop.remove_reader(self._listening)
        self._listening.close()
        for arrival in list(self._arrivals):
            self._drop(arrival)
        for task in self._handing:
            task.cancel()

    async def wait_closed(self) -> None:
        """Return when nothing is left of this listener."""
        await asyncio.gather(*self._handing, return_exceptions=True)

    # --- arrival ---

    def _accept(self) -> None:
        for _ in range(MOST_AT_ONCE):
            try:
                sock, peer = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as e:
                if e.errno not in _SCARCE:
                    raise
                _log.warning("no connection can be accepted for a moment", listener=self._name, reason=e.strerror)
                self._loop.remove_reader(self._listening)
                self._resting = self._loop.call_later(REST, self._rested)
                return
            sock.setblocking(False)
            host = address_of(peer).host
            trusted = self._trusts(host)
            if not trusted and len(self._arrivals) + len(self._handing) >= self._most:
                sock.close()  # strangers cannot keep load balancers out
                continue
            arrival = _Arrival(sock, host, HeaderReader() if trusted else None)
            arrival.timer = self._loop.call_later(
                self._header_within if trusted else self._patience, self._late, arrival
            )
            self._arrivals.add(arrival)
            self._look(arrival)

    def _rested(self) -> None:
        self._resting = None
        self._loop.add_reader(self._listening, self._accept)

    def _look(self, arrival: _Arrival) -> None:
        """See what has come, and take of it what is the header."""
        sock, reader = arrival.sock, arrival.reader
        try:
            data = sock.recv(LONGEST, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            if not arrival.watched:
                arrival.watched = True
                self._loop.add_reader(sock, self._look, arrival)
            return
        except OSError:
            self._drop(arrival)
            return
        if not data:
            if reader is not None and reader.begun:
                self._refuse(arrival, "the connection ended within the PROXY header")
            else:
                self._drop(arrival)  # a check whether somebody listens
            return
        if reader is None:
            if resembles(data):
                self._refuse(arrival, UNTRUSTED)
            else:
                self._hand_on(arrival, None)
            return
        try:
            sock.recv(reader.take(data))  # what is taken is there: this does not wait, and gives all of it
        except BadHeader as e:
            self._refuse(arrival, f"{e}; {CURE}")
            return
        except OSError:
            self._drop(arrival)
            return
        if reader.done:
            self._hand_on(arrival, reader.origin)
        elif not arrival.watched:
            arrival.watched = True
            self._loop.add_reader(sock, self._look, arrival)

    # --- what becomes of it ---

    def _forget(self, arrival: _Arrival) -> None:
        self._arrivals.discard(arrival)
        if arrival.watched:
            self._loop.remove_reader(arrival.sock)
        if arrival.timer is not None:
            arrival.timer.cancel()

    def _drop(self, arrival: _Arrival) -> None:
        self._forget(arrival)
        arrival.sock.close()

    def _late(self, arrival: _Arrival) -> None:
        if arrival.reader is not None:
            self._refuse(arrival, f"no PROXY header came within {self._header_within:g} s; {CURE}")
        else:
            self._drop(arrival)

    def _refuse(self, arrival: _Arrival, reason: str) -> None:
        self._drop(arrival)
        now = self._loop.time()
        if self._told.get(arrival.host, -TOLD_AGAIN) > now - TOLD_AGAIN:
            return
        while len(self._told) >= MOST_TOLD:
            del self._told[next(iter(self._told))]
        self._told[arrival.host] = now
        _log.warning("a connection was refused", listener=self._name, peer=arrival.host, reason=reason)

    def _hand_on(self, arrival: _Arrival, origin: Origin | None) -> None:
        self._forget(arrival)
        task = self._loop.create_task(self._connect(arrival.sock, arrival.host, origin))
        self._handing.add(task)
        task.add_done_callback(lambda done: self._handed(done, arrival.sock))

    def _handed(self, task: asyncio.Task[None], sock: socket.socket) -> None:
        self._handing.discard(task)
        if task.cancelled():
            sock.close()

    async def _connect(self, sock: socket.socket, host: str, origin: Origin | None) -> None:
        """Give the socket to the loop; with TLS this waits for the handshake."""
        try:
            if self._tls is None:
                await self._loop.connect_accepted_socket(lambda: self._made(origin), sock)
            else:
                await self._loop.connect_accepted_socket(
                    lambda: self._made(origin), sock, ssl=self._tls, ssl_handshake_timeout=self._patience
                )
        except (
            OSError,
            EOFError,
        ) as e:  # among them TLS's errors and timeouts: the peer's own business, as with any https
            _log.debug("a TLS connection was not made", listener=self._name, peer=host, reason=str(e))
