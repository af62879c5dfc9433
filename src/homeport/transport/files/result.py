"""What a file transfer is given and gives back, and how its failures are told apart: one table from trouble to fault code.

No sockets here. The protocols (http, ftp, sftp, tftp) translate their own errors into `FileTransferError` at their rim.
Source: TR-069a6 A.3.2.8, A.5.1; TransferCompleteCPEFaultCodeType in cwmp-1-2.xsd.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from homeport.errors import TransportError
from homeport.http.redirects import shown_url as shown_url
from homeport.terms import FaultCode

Progress = Callable[[int, int | None], None]
"""Called now and then with the bytes so far and the whole size, None where nobody said it."""


class Trouble(StrEnum):
    """Why a transfer failed."""

    SCHEME = "scheme"  # a URL whose protocol is not supported here
    UNREACHABLE = "unreachable"  # name lookup, connection, TLS, host key
    CREDENTIALS = "credentials"  # the server refused who we are
    NOT_ACCESSIBLE = "not accessible"  # no such file, or not for anybody
    INCOMPLETE = "incomplete"  # cut, stalled, or over the time limit
    CORRUPT = "corrupt"  # complete, but not the file that was meant
    UNTRUSTED = "untrusted"  # the signature is missing or wrong
    SPACE = "space"  # larger than allowed, or than the disk has room for
    SERVER = "server"  # the server failed, or redirects where nobody may follow
    LOCAL = "local"  # the file system on this side


class FaultRow(NamedTuple):
    """Codes of one trouble, for a download and for an upload."""

    download: FaultCode
    upload: FaultCode


_F = FaultCode

FAULTS: Final[dict[Trouble, FaultRow]] = {
    # 9013 is an answer to the RPC only; a TransferComplete must not carry it, so late discoveries become 9010.
    Trouble.SCHEME: FaultRow(_F.DOWNLOAD_FAILURE, _F.UPLOAD_FAILURE),
    Trouble.UNREACHABLE: FaultRow(_F.FILE_SERVER_UNREACHABLE, _F.FILE_SERVER_UNREACHABLE),
    Trouble.CREDENTIALS: FaultRow(_F.FILE_SERVER_AUTHENTICATION, _F.FILE_SERVER_AUTHENTICATION),
    Trouble.NOT_ACCESSIBLE: FaultRow(_F.FILE_INACCESSIBLE, _F.UPLOAD_FAILURE),
    Trouble.INCOMPLETE: FaultRow(_F.DOWNLOAD_INCOMPLETE, _F.UPLOAD_FAILURE),
    Trouble.CORRUPT: FaultRow(_F.FILE_CORRUPTED, _F.UPLOAD_FAILURE),
    Trouble.UNTRUSTED: FaultRow(_F.FILE_AUTHENTICATION, _F.UPLOAD_FAILURE),
    # 9004 is not among the codes of TransferComplete (cwmp-1-2.xsd).
    Trouble.SPACE: FaultRow(_F.DOWNLOAD_FAILURE, _F.UPLOAD_FAILURE),
    Trouble.SERVER: FaultRow(_F.DOWNLOAD_FAILURE, _F.UPLOAD_FAILURE),
    Trouble.LOCAL: FaultRow(_F.INTERNAL_ERROR, _F.INTERNAL_ERROR),
}


_PASSING: Final = frozenset({Trouble.UNREACHABLE, Trouble.INCOMPLETE})
"""Troubles of the line or of a server that restarts, as a rule."""


class FileTransferError(TransportError):
    """A transfer that failed; trouble says why, the message says it to a person.

    passing: whether the same transfer may succeed a little later, by default what is usual for the trouble.
    retry_after: seconds that the server asks to be left alone, 0 where it said nothing.
    """

    def __init__(
        self, trouble: Trouble, message: str, *, passing: bool | None = None, retry_after: float = 0.0
    ) -> None:
        super().__init__(message, kind=trouble.value)
        self.trouble = trouble
        self.passing = trouble in _PASSING if passing is None else passing
        self.retry_after = retry_after


def fault_code(trouble: Trouble, *, upload: bool = False) -> FaultCode:
    """The code that TransferComplete carries for this trouble; what an older ACS is told instead is the sender's matter."""
    row = FAULTS[trouble]
    return row.upload if upload else row.download


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an RPC gave for the file server; both empty: none."""

    username: str = ""
    password: str = ""

    def __bool__(self) -> bool:
        return bool(self.username or self.password)


NO_CREDENTIALS: Final = Credentials()


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Limits of one transfer.

    connect, stall, total: seconds; until the connection stands, without one byte, altogether. rate: bytes a second, 0 for none.
    max_size: bytes, an endless body ends here. resumes: how often a cut download is taken up again where it stopped.
    reserve: bytes that must stay free on the disk.
    """

    connect: float = 30.0
    stall: float = 60.0
    total: float = 3600.0  # TR-069 lets a download take an hour after its start (unverified)
    rate: int = 0
    max_size: int = 1 << 30
    resumes: int = 3
    reserve: int = 1 << 20


DEFAULT_LIMITS: Final = FileLimits()


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How a device speaks to file servers.

    schemes: what is offered, lower case. tls: None for the system's certificates. known_hosts: an OpenSSH file; without it sftp
    trusts no server. ssh_keys: private keys of the device, tried beside the password. basic_over_http: whether a password may go
    to a server that asks for Basic without TLS; allowed by default, for it is the transfer's own password and many file servers
    know nothing else. refuse_html: a web page in place of the file is an error page. tftp_block_size: what is asked for, bytes.
    tftp_timeout: seconds before the first repetition.
    """

    schemes: tuple[str, ...] = ("http", "https", "ftp", "sftp", "tftp")
    tls: ssl.SSLContext | None = None
    known_hosts: Path | None = None
    ssh_keys: tuple[Path, ...] = ()
    basic_over_http: bool = True
    refuse_html: bool = True
    tftp_block_size: int = 1428  # fits one Ethernet frame
    tftp_timeout: float = 2.0  # seconds before the first repetition


DEFAULT_OPTIONS: Final = FileOptions()


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is complete, on disk and synced.

    sha256: hexadecimal. url: where it came from at last. resumed: how often a cut was mended.
    """

    path: Path
    size: int
    sha256: str
    url: str
    content_type: str = ""
    resumed: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """A file that the server has taken. size: bytes."""

    size: int
    url: str


@dataclass(frozen=True, slots=True)
class Place:
    """A file URL in its parts: port 0 where it is the scheme's own; path percent-decoded, with its leading slash."""

    scheme: str
    host: str
    port: int
    path: str


def parse_file_url(url: str) -> Place:
    """The parts of a file URL. Raises ValueError with a sentence; user information is refused (TR-069a6 A.3.2.8)."""
    if any(c <= " " or c == "\x7f" for c in url):
        raise ValueError(f"the URL {shown_url(url)!r} holds blanks or control characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as e:
        raise ValueError(f"the URL {shown_url(url)!r} cannot be read") from e
    if not parts.scheme or not parts.hostname:
        raise ValueError(f"the URL {shown_url(url)!r} is not of the form scheme://host/path")
    if "@" in parts.netloc:
        raise ValueError("the URL holds a user name; the arguments Username and Password carry it")
    path = unquote(parts.path) or "/"
    if any(c < " " or c == "\x7f" for c in path):
        # A line end would become a command of its own in FTP.
        raise ValueError("the path of the URL holds control characters")
    return Place(parts.scheme.lower(), parts.hostname, port or 0, path)
