"""The composition root: makes the store, the services and the doors. Nothing else names a concrete store."""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import structlog

from homeport.acs import tls
from homeport.acs.api.app import Services, build
from homeport.acs.api.listener import RestServer, serve
from homeport.acs.auth import CpeAuth
from homeport.acs.config import AcsSettings, host_port
from homeport.acs.endpoint.connection import Connection
from homeport.acs.endpoint.door import Door
from homeport.acs.endpoint.live import CountedSessions, LiveSessions
from homeport.acs.endpoint.server import ACCEPTED_AT_ONCE, CwmpServer
from homeport.acs.files.server import FileServer
from homeport.acs.files.tftp import TftpDoor
from homeport.acs.ports import Ports, file_base, take_database, take_directory
from homeport.acs.services.audit import Audit
from homeport.acs.services.brake import LoginBrake
from homeport.acs.services.contacts import Answer, Contacts
from homeport.acs.services.devices import Devices
from homeport.acs.services.files import Files
from homeport.acs.services.groups import Groups
from homeport.acs.services.hub import Hub
from homeport.acs.services.leases import Leases
from homeport.acs.services.notifications import Notifications
from homeport.acs.services.overdue import REST as OVERDUE_REST
from homeport.acs.services.overdue import Overdue
from homeport.acs.services.relay import ANNOUNCE_EVERY, Relay
from homeport.acs.services.sessions import Sessions
from homeport.acs.services.shares import CONNECTIONS, SESSIONS, TLS_CONNECTIONS, Board, CountedSet
from homeport.acs.services.snapshots import Snapshot, Snapshots, taken
from homeport.acs.services.tasks import Tasks
from homeport.acs.services.timekeeper import NOTED_EVERY, uptime
from homeport.acs.services.tokens import ADMIN, make_token, token_digest, token_holder
from homeport.acs.services.udp_calls import UdpCalls
from homeport.acs.services.users import Throttle, Users
from homeport.acs.services.webhook_post import post
from homeport.acs.services.webhooks import Webhooks
from homeport.acs.services.xmpp_calls import ANNOUNCE_EVERY as XMPP_ANNOUNCE_EVERY
from homeport.acs.services.xmpp_calls import XmppCalls, link_settings
from homeport.acs.storage.blobs import Blobs
from homeport.acs.storage.interface import Store
from homeport.acs.storage.memory import MemoryStore
from homeport.acs.storage.sql.sqlite import SqliteStore
from homeport.acs.worker import Worker
from homeport.errors import ConfigError, StoreError, TransportError
from homeport.http.forwarded import TrustedProxies
from homeport.transport.addresses import Address
from homeport.transport.connection_request import request_connection
from homeport.transport.xmpp import XmppRequester

TOKEN_FILE: Final = "admin.token"

_log = structlog.get_logger("homeport.acs")


class AcsApp:
    """One ACS in this process. After `start`, the addresses are known; port 0 in the settings takes a free one.

    clock: the time of day. steady: the clock by which that one is judged; the machine's own where both are left out.
    ports, number, board: what the parent of several workers gives to each of them.
    """

    def __init__(
        self,
        settings: AcsSettings,
        *,
        store: Store | None = None,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] | None = None,
        ports: Ports | None = None,
        number: int | None = None,
        board: Board | None = None,
    ) -> None:
        settings.check()
        self._first = not number
        self.ports: Ports
        self._number = number
        self._board = board
        self._given = ports
        self.settings = settings
        self.cwmp_url = ""
        self.http_url = ""
        self.file_url = ""
        self.token_file = settings.data_dir / TOKEN_FILE
        self._file: Path | None = None  # of an SQLite database
        self.store = store if store is not None else self._make_store()
        if steady is None and clock is time.time:
            steady = uptime
        self.hub = Hub(self.store, settings, clock=clock, steady=steady)
        self.door: Door
        self.contacts: Contacts
        self.udp: UdpCalls | None = None
        self.xmpp: XmppCalls | None = None
        self.lightweight: Notifications | None = None
        self.lightweight_address: Address | None = None
        self.files: Files
        self.tftp: TftpDoor | None = None
        self.worker: Worker
        self.overdue: Overdue
        self.users: Users
        self.webhooks: Webhooks
        self._sender: asyncio.Task[None] | None = None
        self._locks: list[IO[str]] = []
        self._jobs: list[asyncio.Task[None]] = []
        self._servers: list[RestServer] = []
        self._cwmp: list[CwmpServer] = []
        self._file_server: FileServer | None = None
        self._renewal = tls.Renewal(settings)
        stats = self.hub.stats
        self._handshakes = tls.Handshakes(
            lambda why: stats.count(stats.tls_failures, why),
            time.monotonic,
            most=settings.max_connections,
            within=settings.read_timeout + 1.0,
        )
        self._looking: asyncio.Task[None] | None = None

    def _make_store(self) -> Store:
        settings = self.settings
        where = settings.database
        if where == "memory:":
            return MemoryStore()
        if where.startswith(("postgresql://", "postgres://")):
            from homeport.acs.storage.sql.postgres import PostgresStore  # asyncpg only where it is used

            store = PostgresStore(where, write_behind=settings.write_behind)
            store.on_change = self._changed_elsewhere
            return store
        if where and not where.startswith("sqlite:///"):
            scheme = where.partition(":")[0]
            raise ConfigError(
                f"database begins with {scheme!r}; expected nothing, sqlite:///PATH, postgresql://USER@HOST/NAME or memory:"
            )
        path = Path(where.removeprefix("sqlite:///")) if where else settings.data_dir / "acs.db"
        self._file = path
        return SqliteStore(path, write_behind=settings.write_behind)

    def _changed_elsewhere(self, task: str, device: str) -> None:
        """Another process has committed something: who waits for it here looks again."""
        if task:
            self.hub.bus.wake(task)

    async def start(self) -> None:
        """Open everything; when it returns, devices and people are served. Raises ConfigError, StoreError."""
        settings = self.settings
        if self._given is None:
            self._locks.append(take_directory(settings.data_dir))
            if self._file is not None:
                lock = take_database(self._file, taken=settings.data_dir)
                self._locks += [lock] if lock is not None else []
        self.ports = self._given or Ports.bind(settings)
        await self.store.open()
        await self.hub.time.recall()
        await self._start_files()
        leases = Leases(self.hub)
        sessions = Sessions(self.hub, self.files, leases)
        auth = CpeAuth(self.store, settings, await self.store.secret("nonce"), self.hub.clock, self.hub.peers)
        board, number = self._board, self._number or 0
        live = CountedSessions(board.tally(SESSIONS, number)) if board is not None else LiveSessions()
        brake = LoginBrake(
            settings.cpe_login_failures,
            max(100, settings.max_connections // 10),
            cells=board.logins if board is not None else None,
        )
        self.door = Door(self.hub, sessions, leases, auth, await self.store.secret("cookie"), live=live, brake=brake)
        self.worker = Worker(
            self.hub, self.door.expire, self.door.handover.sweep, lambda *wish: self.contacts.ask(*wish)
        )
        await self.worker.mend()
        if settings.stun_listen:
            self.udp = UdpCalls(self.hub.clock)
        if self.udp is not None and self._first:
            try:
                await self.udp.start(*host_port(settings.stun_listen, "stun_listen"))
            except TransportError as e:
                raise ConfigError(f"stun_listen: {e}; choose another port, or stop what uses it") from e
        if self.hub.peers is not None:
            self.worker.also(Relay(self.hub, self.udp).announce, every=ANNOUNCE_EVERY)
        if settings.lightweight_listen and self._first:
            self.lightweight = Notifications(self.hub, settings)
            try:
                self.lightweight_address = await self.lightweight.start()
            except TransportError as e:
                raise ConfigError(f"lightweight_listen: {e}; choose another port, or stop what uses it") from e
        if settings.xmpp_jid:
            self.xmpp = self._xmpp_calls()
        self.contacts = Contacts(
            *(self.hub, _call),
            in_session=self.door.in_session,
            udp=self.udp,
            xmpp=self.xmpp,
            shared=board.slots("calls", number, most_per_key=1) if board is not None else None,
        )
        tasks = Tasks(self.hub, self.contacts.ask, self.files)
        self.overdue = tasks.overdue
        if self._first:
            self.worker.also(self.hub.time.note, every=NOTED_EVERY)
        self.worker.also(self.overdue.watch, every=OVERDUE_REST)
        if self._first:
            await self._admin_token()
        self.users = Users(self.hub, Throttle(board.failures, board.lock) if board is not None else None)
        networks = [ip_network(n, strict=False) for n in settings.webhook_networks]
        self.webhooks = Webhooks(self.hub, partial(post, networks=networks), monotonic=time.monotonic)
        await self.webhooks.reload()  # before the first device is served, of whom they are to be told
        audit = Audit(self.hub)
        groups = Groups(self.hub)
        self.worker.also(self.users.sweep, every=600.0)
        self.worker.also(groups.sweep, every=3_600.0)
        self.worker.also(audit.prune, every=3_600.0)
        api = build(
            Services(
                hub=self.hub,
                devices=Devices(self.hub, self.door.in_session, self.contacts.ask),
                tasks=tasks,
                files=self.files,
                groups=groups,
                users=self.users,
                webhooks=self.webhooks,
                audit=audit,
                token_holder=lambda header: token_holder(self.store, header, self.hub.clock()),
                snapshots=self._snapshots(),
                workers=board.states if board is not None else list,
            )
        )
        ports = self.ports
        self.cwmp_url, self.http_url = ports.cwmp_url, ports.http_url
        if ports.cwmp_tls is not None:
            secured = self._secured(laboratory=True)
            await self._serve_devices(ports.cwmp_tls, secured, self._announced("cwmp_tls_listen"))
        plain = None if ports.cwmp_tls is not None else self._secured()
        await self._serve_devices(ports.cwmp, plain, self._announced("cwmp_listen"))
        trusts = TrustedProxies(settings.trusted_proxies).trusts
        rest = await serve(api, ports.http, trusts=trusts, announced=self._announced("http_listen"))
        self._servers.append(rest)
        self._jobs.append(asyncio.create_task(rest.main_loop()))
        if self.xmpp is not None:
            self.xmpp.start()
        if settings.tls_certificate is not None:
            await self._renewal.look()
            self.worker.also(self._renewal.look, every=tls.LOOKED_AT_EVERY)
        await self.worker.recall()
        self.worker.start()
        self._sender = asyncio.create_task(self.webhooks.run())
        if self._given is None:
            try:
                write_addresses(settings, ports, os.getpid())
            except OSError as e:
                raise no_room(settings, e) from e

    def renew(self) -> None:
        """Look now whether there is a new certificate."""
        if self.settings.tls_certificate is not None:
            self._looking = asyncio.get_running_loop().create_task(self._renewal.look())

    def _secured(self, *, laboratory: bool = False) -> ssl.SSLContext | None:
        """A listener's context, which learns of a new certificate. Raises ConfigError."""
        made = tls.context(self.settings, laboratory=laboratory)
        if made is not None:
            self._handshakes.watch(made)
            self._renewal.follow(made)
        return made

    async def stop(self) -> None:
        """Let running answers out, end the sessions, write what waits, close.

        Whatever fails on the way, what waits to be written is written, and the ports and files are free.
        """
        try:
            await self._stop_services()
        finally:
            try:
                await self.store.close()
            finally:
                if hasattr(self, "ports"):
                    self.ports.close()
                while self._locks:
                    self._locks.pop().close()

    async def _stop_services(self) -> None:
        self.hub.bus.end()
        for job in self._jobs:
            job.cancel()
        for server in self._servers:
            server.should_exit = True
        await asyncio.gather(*self._jobs, return_exceptions=True)
        if hasattr(self, "door"):
            self.door.brake.end()
        await asyncio.gather(*(door.stop() for door in self._cwmp))
        if self.tftp is not None:
            await self.tftp.stop()
        if self._file_server is not None:
            await self._file_server.stop()
            self.files.close()
        await asyncio.gather(*(server.shutdown() for server in self._servers))
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        if self.lightweight is not None:
            await self.lightweight.stop()
        if hasattr(self, "users"):
            self.users.close()
        if hasattr(self, "contacts"):
            await self.worker.stop()
            await self.contacts.stop()
            if self.udp is not None:
                self.udp.stop()
            if self.xmpp is not None:
                await self.xmpp.stop()
            await self.door.handover.all()

    # --- start ---

    def _xmpp_calls(self) -> XmppCalls:
        """The way of XMPP; the connection is the first worker's. Raises ConfigError."""
        wanted = link_settings(self.settings)
        calls = XmppCalls(
            self.hub, (lambda on_state: XmppRequester(wanted, on_state=on_state)) if self._first else None
        )
        if self._first and self.hub.peers is not None:
            self.worker.also(calls.announce, every=XMPP_ANNOUNCE_EVERY)
        return calls

    def _snapshots(self) -> Callable[[], list[tuple[str, Snapshot]]]:
        """The counters of all workers; alone, only our own, without a number."""

        def now() -> Snapshot:
            return taken(self.hub.stats, len(self.door.live))

        if self._number is None:
            return lambda: [("", now())]
        snapshots = Snapshots(self.settings.data_dir, self._number, self.settings.workers, now)
        snapshots.write()
        self.worker.also(snapshots.writing, every=1.0)
        return snapshots.all

    def udp_ports(self) -> dict[str, int]:
        """The ports that this process has taken for UDP, by their settings."""
        found = {
            "stun_listen": self.udp.address.port if self.udp is not None and self._first else 0,
            "tftp_listen": self.tftp.port if self.tftp is not None else 0,
            "lightweight_listen": self.lightweight_address.port if self.lightweight_address is not None else 0,
        }
        return {name: port for name, port in found.items() if port}

    async def _start_files(self) -> None:
        """The file store and its doors."""
        settings = self.settings
        listening = self.ports.files
        self.file_url = self.ports.file_url
        directory = settings.data_dir / "files"
        base = file_base(self.ports.scheme, settings.public_host, listening)
        self.files = Files(self.hub, Blobs(directory), await self.store.secret("files"), base)
        await self.files.open()
        self._file_server = FileServer(self.files, self.hub, self._board, self._number or 0)
        await self._file_server.start(listening, self._secured(), announced=self._announced("file_listen"))
        if settings.tftp_listen and self._first:
            host, port = host_port(settings.tftp_listen, "tftp_listen")
            door = TftpDoor(self.files, directory / "tftp", host, port)
            await door.start()
            self.tftp = door

    async def _admin_token(self) -> None:
        """A token for the first person, in a file that only the owner can read; made anew where the file is gone."""
        try:
            token = self.token_file.read_text(encoding="ascii").strip()
            if await self.store.token(token_digest(token)) is not None:
                return
        except (OSError, UnicodeDecodeError):
            pass  # there is none that can be read: a new one is made
        name = ADMIN
        if self.settings.database.startswith("postgres"):
            # Several nodes may share the database: each has a token of its own, and none ends another's.
            name = f"{ADMIN} of {socket.gethostname()}:{self.settings.data_dir.resolve()}"
        token = await make_token(self.store, name, self.hub.clock())
        try:
            _write_private(self.token_file, token + "\n")
        except OSError as e:
            raise no_room(self.settings, e) from e

    def _announced(self, name: str) -> str:
        """The name of a listener's setting where load balancers announce its connections, else ""."""
        return name if name in self.settings.proxy_protocol else ""

    async def _serve_devices(self, listening: socket.socket, secured: ssl.SSLContext | None, announced: str) -> None:
        settings = self.settings
        connections: set[Connection] = set()
        others: Callable[[], int] | None = None
        if self._board is not None:
            tallies = [self._board.tally(kind, self._number or 0) for kind in (CONNECTIONS, TLS_CONNECTIONS)]
            connections = CountedSet(tallies[len(self._cwmp)])

            def others() -> int:
                return sum(tally.all() for tally in tallies) - len(connections)

        elif settings.cwmp_tls_listen:

            def others() -> int:
                return sum(len(server.connections) for server in self._cwmp) - len(connections)

        server = CwmpServer(
            self.door,
            connections=connections,
            others=others,
            read_timeout=settings.read_timeout,
            keep_alive=settings.keep_alive,
            max_connections=settings.max_connections,
            secure=secured is not None,
            client_certificates=secured is not None and settings.tls_client_ca is not None,
            proxies=TrustedProxies(settings.trusted_proxies),
            # A connection wakes every worker that waits, and each of them tries all its handles.
            accepted_at_once=max(2, ACCEPTED_AT_ONCE // settings.workers),
        )
        await server.start(listening, secured, announced=announced)
        self._cwmp.append(server)


async def _call(
    url: str, credentials: Sequence[tuple[str, str]], timeout: float, allowed: Callable[[str], bool]
) -> Answer:
    return await request_connection(url, credentials, timeout=timeout, allowed=allowed)


def write_addresses(settings: AcsSettings, ports: Ports, pid: int, workers: Sequence[int] = ()) -> None:
    """DIR/acs.json: where this ACS is, for other programs. workers: their process ids, where there are several."""
    facts: dict[str, Any] = {
        "cwmp_url": ports.cwmp_url,
        "http_url": ports.http_url,
        "file_url": ports.file_url,
        "pid": pid,
    }
    if ports.cwmp_tls is not None:
        facts["cwmp_tls_url"] = ports.cwmp_tls_url
    if workers:
        facts["workers"] = list(workers)
    _write_private(settings.data_dir / "acs.json", msgspec.json.encode(facts).decode() + "\n")


def _write_private(path: Path, text: str) -> None:
    """The file, whole or not at all, readable by its owner only."""
    temporary = path.with_name(path.name + ".new")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def no_room(settings: AcsSettings, e: OSError) -> StoreError:
    """The data directory takes no file: no fault of the settings, and it may pass."""
    return StoreError(f"cannot write in the data directory {settings.data_dir}: {e.strerror}; make room there")
