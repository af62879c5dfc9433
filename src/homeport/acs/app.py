"""The composition root: makes the store, the services, the doors, and the process around them. Nothing else names a concrete store."""

import asyncio
import contextlib
import fcntl
import gc
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec
import structlog
import uvicorn

from homeport.acs.api.app import Services, build
from homeport.acs.auth import CpeAuth
from homeport.acs.config import AcsSettings, host_port
from homeport.acs.endpoint.door import Door
from homeport.acs.endpoint.server import CwmpServer
from homeport.acs.files.server import FileServer
from homeport.acs.files.tftp import TftpDoor
from homeport.acs.services.contacts import Answer, Contacts
from homeport.acs.services.devices import Devices
from homeport.acs.services.files import Files
from homeport.acs.services.hub import Hub
from homeport.acs.services.leases import Leases
from homeport.acs.services.sessions import Sessions
from homeport.acs.services.tasks import Tasks
from homeport.acs.services.tokens import ADMIN, make_token, token_digest, token_holder
from homeport.acs.services.udp_calls import UdpCalls
from homeport.acs.storage.blobs import Blobs
from homeport.acs.storage.interface import Store
from homeport.acs.storage.memory import MemoryStore
from homeport.acs.storage.sql.sqlite import SqliteStore
from homeport.acs.worker import Worker
from homeport.errors import ConfigError, HomeportError, TransportError
from homeport.transport.connection_request import request_connection


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the application stops both servers in its own order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class AcsApp:
    """One ACS in this process. After `start`, the addresses are known; port 0 in the settings takes a free one."""

    def __init__(
        self, settings: AcsSettings, *, store: Store | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        settings.check()
        self.settings = settings
        self.cwmp_url = ""
        self.http_url = ""
        self.file_url = ""
        self.token_file = settings.data_dir / "admin.token"
        self.store = store if store is not None else self._make_store()
        self.hub = Hub(self.store, settings, clock=clock)
        self.door: Door
        self.contacts: Contacts
        self.udp: UdpCalls | None = None
        self.files: Files
        self.tftp: TftpDoor | None = None
        self.worker: Worker
        self._lock: IO[str] | None = None
        self._jobs: list[asyncio.Task[None]] = []
        self._servers: list[_Server] = []
        self._cwmp: CwmpServer | None = None
        self._file_server: FileServer | None = None

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
        return SqliteStore(path, write_behind=settings.write_behind)

    def _changed_elsewhere(self, task: str, device: str) -> None:
        """Another process has committed something: who waits for it here looks again."""
        if task:
            self.hub.bus.wake(task)

    async def start(self) -> None:
        """Open everything; when it returns, devices and people are served. Raises ConfigError, StoreError."""
        settings = self.settings
        self._take_directory()
        await self.store.open()
        await self._start_files()
        leases = Leases(self.hub)
        sessions = Sessions(self.hub, self.files, leases)
        auth = CpeAuth(self.store, settings, await self.store.secret("nonce"), self.hub.clock)
        self.door = Door(self.hub, sessions, leases, auth, await self.store.secret("cookie"))
        self.worker = Worker(self.hub, self.door.expire, self.door.handover.sweep)
        await self.worker.mend()
        if settings.stun_listen:
            self.udp = UdpCalls(self.hub.clock)
            try:
                await self.udp.start(*host_port(settings.stun_listen, "stun_listen"))
            except TransportError as e:
                raise ConfigError(f"stun_listen: {e}; choose another port, or stop what uses it") from e
        self.contacts = Contacts(self.hub, _call, in_session=self.door.in_session, udp=self.udp)
        tasks = Tasks(self.hub, self.contacts.ask, self.files)
        await self._admin_token()
        api = build(
            Services(
                hub=self.hub,
                devices=Devices(self.hub),
                tasks=tasks,
                files=self.files,
                token_holder=lambda header: token_holder(self.store, header),
                live_sessions=lambda: len(self.door.live),
            )
        )
        cwmp = _listen(settings.cwmp_listen, "cwmp_listen")
        http = _listen(settings.http_listen, "http_listen")
        scheme = "https" if settings.tls_certificate else "http"
        self.cwmp_url = f"{scheme}://{_reachable(cwmp)}/"
        self.http_url = f"http://{_reachable(http)}"
        self._cwmp = CwmpServer(
            self.door,
            read_timeout=settings.read_timeout,
            keep_alive=settings.keep_alive,
            max_connections=settings.max_connections,
            secure=scheme == "https",
        )
        await self._cwmp.start(cwmp, _tls(settings))
        await self._serve(api, http, timeout_keep_alive=30)
        self.worker.start()
        self._write_addresses()

    async def stop(self) -> None:
        """Let running answers out, end the sessions, write what waits, close."""
        for job in self._jobs:
            job.cancel()
        for server in self._servers:
            server.should_exit = True
        await asyncio.gather(*self._jobs, return_exceptions=True)
        if self._cwmp is not None:
            await self._cwmp.stop()
        if self.tftp is not None:
            await self.tftp.stop()
        if self._file_server is not None:
            await self._file_server.stop()
            self.files.close()
        await asyncio.gather(*(server.shutdown() for server in self._servers))
        if hasattr(self, "contacts"):
            await self.worker.stop()
            await self.contacts.stop()
            if self.udp is not None:
                self.udp.stop()
            await self.door.handover.all()
        await self.store.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # --- start ---

    def _take_directory(self) -> None:
        """The data directory for this process alone: two writers on one database would each believe to know all."""
        directory = self.settings.data_dir
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = (directory / "acs.lock").open("w")
        except OSError as e:
            raise ConfigError(
                f"cannot use the data directory {directory}: {e.strerror}; choose another with data_dir"
            ) from e
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise ConfigError(f"another ACS works in {directory}; stop it, or choose another data_dir") from e

    async def _start_files(self) -> None:
        """The file store and its doors."""
        settings = self.settings
        listening = _listen(settings.file_listen, "file_listen")
        scheme = "https" if settings.tls_certificate else "http"
        self.file_url = f"{scheme}://{_reachable(listening)}/"
        directory = settings.data_dir / "files"
        base = _file_base(scheme, settings.public_host, listening)
        self.files = Files(self.hub, Blobs(directory), await self.store.secret("files"), base)
        await self.files.open()
        self._file_server = FileServer(self.files, self.hub)
        await self._file_server.start(listening, _tls(settings))
        if settings.tftp_listen:
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
        _write_private(self.token_file, token + "\n")

    def _write_addresses(self) -> None:
        facts = {"cwmp_url": self.cwmp_url, "http_url": self.http_url, "file_url": self.file_url, "pid": os.getpid()}
        _write_private(self.settings.data_dir / "acs.json", msgspec.json.encode(facts).decode() + "\n")

    async def _serve(self, app: Any, listening: socket.socket, **options: Any) -> None:
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=3,
            **options,
        )
        config.load()
        server = _Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[listening])
        self._servers.append(server)
        self._jobs.append(asyncio.create_task(server.main_loop()))


async def _call(
    url: str, credentials: Sequence[tuple[str, str]], timeout: float, allowed: Callable[[str], bool]
) -> Answer:
    return await request_connection(url, credentials, timeout=timeout, allowed=allowed)


def _listen(where: str, name: str) -> socket.socket:
    host, port = host_port(where, name)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as e:
        listening.close()
        raise ConfigError(
            f"{name}: cannot listen on {where}: {e.strerror}; choose another port, or stop what uses it"
        ) from e
    listening.setblocking(False)
    return listening


def _file_base(scheme: str, public_host: str, listening: socket.socket) -> Callable[[str], str]:
    """The file server's address for a device: as told by the settings, or found by asking the kernel for the way to it."""
    bound, port = listening.getsockname()[:2]

    def base(device: str) -> str:
        if public_host:
            has_port = public_host.rpartition("]")[2].count(":") == 1
            return f"{scheme}://{public_host}" if has_port else f"{scheme}://{_bracketed(public_host)}:{port}"
        host = _own_address(device) if bound in ("0.0.0.0", "::") else bound
        return f"{scheme}://{_bracketed(host)}:{port}"

    return base


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _own_address(peer: str) -> str:
    """Our address on the way to the peer; connecting a UDP socket sends nothing."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in peer else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((peer, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()


def _tls(settings: AcsSettings) -> ssl.SSLContext | None:
    """The context of the https listener; None without a certificate. TLS 1.2 is the least (X05)."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except OSError as e:
        raise ConfigError(f"cannot use tls_certificate {settings.tls_certificate} with tls_key: {e}") from e
    return context


def _reachable(listening: socket.socket) -> str:
    """host:port at which this machine itself reaches the socket."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _write_private(path: Path, text: str) -> None:
    """The file, whole or not at all, readable by its owner only."""
    temporary = path.with_name(path.name + ".new")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _configure_logs() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def main(settings: AcsSettings) -> int:
    """Run an ACS until SIGTERM or SIGINT; the exit code."""
    import uvloop

    _configure_logs()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(settings))
    except HomeportError as e:
        print(f"homeport acs: {e}", file=sys.stderr)  # noqa: T201 - the process's last word to its operator
        return 2 if isinstance(e, ConfigError) else 1
    return 0


async def _run(settings: AcsSettings) -> None:
    app = AcsApp(settings)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    try:
        await app.start()
        lines = [
            f"CWMP for devices   {app.cwmp_url}",
            f"REST API           {app.http_url}/api/v1",
            f"files for devices  {app.file_url}",
            f"admin token        {app.token_file}",
        ]
        if settings.cpe_auth == "open":
            lines.append(
                "WARNING            cpe_auth is open: every device that comes is managed; for laboratories only"
            )
        print("\n".join(lines), flush=True)  # noqa: T201 - what the operator needs to go on
        # What lives now lives for ever; the default thresholds make large messages collect garbage again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        await ended.wait()
    finally:
        await app.stop()
