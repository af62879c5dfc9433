"""What a process takes before it serves: its data directory for itself alone, and its listening sockets.

With several workers the parent takes them, and its children inherit them: a connection that waits to be accepted belongs to no worker,
so that none is lost when one dies.
"""

import contextlib
import errno
import fcntl
import os
import resource
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

import structlog
from msgspec import Struct

from homeport.acs.config import AcsSettings, host_port
from homeport.errors import ConfigError

SPARE_FILES: Final = 512
"""Open files beside connections of devices and transfers: the database, REST, calls of devices."""

_log = structlog.get_logger("homeport.acs")


class Ports(Struct, frozen=True):
    """Bound sockets, not listening yet."""

    cwmp: socket.socket
    http: socket.socket
    files: socket.socket
    secure: bool
    cwmp_tls: socket.socket | None = None
    """https for devices, beside the plain `cwmp`."""

    @classmethod
    def bind(cls, settings: AcsSettings) -> "Ports":
        """Take the ports of the settings; port 0 takes a free one. Raises ConfigError."""
        with contextlib.ExitStack() as taken:
            cwmp, http, files = (
                taken.enter_context(_bound(getattr(settings, name), name))
                for name in ("cwmp_listen", "http_listen", "file_listen")
            )
            tls = None
            if settings.cwmp_tls_listen:
                tls = taken.enter_context(_bound(settings.cwmp_tls_listen, "cwmp_tls_listen"))
            taken.pop_all()  # all are there: they stay open
        return cls(cwmp=cwmp, http=http, files=files, secure=settings.tls_certificate is not None, cwmp_tls=tls)

    @property
    def cwmp_url(self) -> str:
        """Where devices find this ACS, as this machine itself reaches it."""
        scheme = "http" if self.cwmp_tls is not None else self.scheme
        return f"{scheme}://{_reachable(self.cwmp)}/"

    @property
    def cwmp_tls_url(self) -> str:
        """Where they find it by https, too; "" where they do not."""
        return f"https://{_reachable(self.cwmp_tls)}/" if self.cwmp_tls is not None else ""

    @property
    def http_url(self) -> str:
        """Where the REST API is."""
        return f"http://{_reachable(self.http)}"

    @property
    def file_url(self) -> str:
        """Where the file server is."""
        return f"{self.scheme}://{_reachable(self.files)}/"

    @property
    def scheme(self) -> str:
        """Of what devices use."""
        return "https" if self.secure else "http"

    def close(self) -> None:
        """Let go of them in this process."""
        for taken in (self.cwmp, self.http, self.files, self.cwmp_tls):
            if taken is not None:
                taken.close()


def _bound(where: str, name: str) -> socket.socket:
    host, port = host_port(where, name)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named asyncio switches Nagle's algorithm off, which else holds the second write of an answer for 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as e:
        listening.close()
        who = _named(_users(*_listening_sockets(port))) if e.errno == errno.EADDRINUSE else ""
        raise ConfigError(f"{name}: cannot listen on {where}: {why_not(e)}{who}") from e
    listening.setblocking(False)
    return listening


_CURES: Final = {
    errno.EADDRINUSE: "choose another port, or stop what uses it",
    errno.EADDRNOTAVAIL: "this machine has no such address; choose one that it has, or 0.0.0.0 for all",
    errno.EACCES: "ports below 1024 are for root; choose one above, or give the program CAP_NET_BIND_SERVICE",
}


def why_not(error: OSError) -> str:
    """Why a port cannot be had, and what to do."""
    if isinstance(error, socket.gaierror):
        return f"{error.strerror}; write an address of this machine, or a name that the system knows"
    fact = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
    return f"{fact}; {_CURES.get(error.errno or 0, 'choose another address or port')}"


def _reachable(listening: socket.socket) -> str:
    """host:port at which this machine itself reaches the socket."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def file_base(scheme: str, public_host: str, listening: socket.socket) -> Callable[[str], str]:
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


def allow_connections(settings: AcsSettings) -> None:
    """Have the system allow as many open files as the settings promise connections; a shell's own limit is often 1,024.

    Says in the log where it allows fewer: at the limit nobody can connect any more, operators included.
    """
    https = bool(settings.cwmp_tls_listen or settings.tls_certificate)  # handshakes that are not done count beside
    wanted = settings.max_connections * (1 + https) + settings.file_max_transfers + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        _log.warning(
            "the system allows fewer open files than there may be connections",
            allowed=allowed,
            wanted=wanted,
            advice="raise the limit (ulimit -Hn, LimitNOFILE=), or lower max_connections",
        )


def take_directory(directory: Path) -> IO[str]:
    """The data directory for this process alone, as long as the file is open. Raises ConfigError.

    Two writers on one SQLite database would each believe to know all.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _taken(directory / _LOCK, f"in {directory}", "data_dir")
    except OSError as e:
        raise ConfigError(
            f"cannot use the data directory {directory}: {e.strerror}; choose another with data_dir"
        ) from e


def take_database(path: Path, taken: Path | None = None) -> IO[str] | None:
    """The same for an SQLite database, which may lie anywhere; None where it has the lock of the directory that is `taken` already.

    Raises ConfigError. The lock is never the database itself: to close that file a second time would end SQLite's own locks.
    """
    lock = path.resolve().with_suffix(".lock")
    if taken is not None and lock == taken.resolve() / _LOCK:
        return None
    try:
        lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _taken(lock, f"with the database {path}", "database")
    except OSError as e:
        raise ConfigError(f"cannot use the database {path}: {lock}: {e.strerror}; choose another database") from e


ORPHANS_END_WITHIN: Final = 5.0
"""Seconds that a start waits for the workers of an ACS whose parent was killed: they end their sessions and let go of lock and ports."""

_LOCK: Final = "acs.lock"  # and so that of a database acs.db beside it


def _taken(file: Path, where: str, setting: str) -> IO[str]:
    """The lock. Raises OSError where there can be none, ConfigError where another process has it."""
    lock = file.open("a")
    patience = time.monotonic() + ORPHANS_END_WITHIN
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            if e.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                lock.close()
                raise
            if time.monotonic() < patience and _left_behind(file):
                time.sleep(0.05)
                continue
            lock.close()
            users = _users(str(file.resolve()))
            raise ConfigError(f"another ACS works {where}{_named(users)}; stop it, or choose another {setting}") from e
        with contextlib.suppress(OSError):  # the disk is full: then nobody is waited for
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
        return lock


def _left_behind(file: Path) -> bool:
    """Whether who took the lock is gone: its workers, which have it too, then end by themselves."""
    try:
        os.kill(int(file.read_text()), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        pass  # another user's, or nothing is written there
    return False


def _named(processes: list[int]) -> str:
    """For a message; "" where nobody is known."""
    return f" (process {', '.join(map(str, processes))})" if processes else ""


def _users(*links: str) -> list[int]:
    """The other processes that have one of these open, as far as this one may see them. links: a file, or socket:[NUMBER], as in /proc."""
    found = []
    for process in Path("/proc").glob("[0-9]*") if links else ():
        with contextlib.suppress(OSError):  # another user's, or it has just ended
            if int(process.name) != os.getpid() and any(os.readlink(fd) in links for fd in (process / "fd").iterdir()):
                found.append(int(process.name))
    return sorted(found)


def _listening_sockets(port: int) -> list[str]:
    """The TCP sockets of this machine that listen on the port, as /proc names them."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    found.append(f"socket:[{fields[9]}]")
    return found


_LISTENS: Final = "0A"
