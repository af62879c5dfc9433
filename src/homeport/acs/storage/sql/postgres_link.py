"""Connections to PostgreSQL: made when needed, lent to one statement at a time, dropped when they break; its errors as ours."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

import asyncpg

from homeport.acs.storage.sql.queries import load
from homeport.errors import StoreError, StoreUnavailable

SQL: Final = load("postgres.sql")

CONNECT_TIMEOUT: Final = 5.0
"""Seconds until a server that does not answer counts as away: a CPE waits 30 s for its reply."""

STATEMENT_TIMEOUT: Final = 15.0
"""Seconds that one statement may take; longer ones mean that something holds a lock or the network is gone."""

_SETTINGS: Final = {
    "application_name": "homeport",
    # A node that is paused in a transaction must not hold others up: it is ended before those who wait for its locks give up, and
    # does its work once more when it goes on.
    "idle_in_transaction_session_timeout": "4s",
    "lock_timeout": "10s",
    # A machine that was switched off says no goodbye: its locks go with its connections, within half a minute.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25000",
    "jit": "off",  # compiling costs more than these small statements
}

_AWAY: Final = ("08", "53", "54000", "57", "58", "40", "55", "XX")
"""SQLSTATEs and classes of them that pass by themselves or by an operator's hand: the connection, resources, a full queue of notices,
shutdown, the system, locks."""

BROKEN: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.InternalClientError,  # the driver's word where the server's last one met it between two statements
)
"""What says nothing about the statement: the way to the server is gone."""

ENDED: Final = (
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.DatabaseDroppedError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""The server's last word on a connection: it was told to stop, to end this one, or is no longer the one that writes."""

Connection: TypeAlias = Any
"""An asyncpg.Connection; the package has no types."""

Row = Sequence[Any]


def translated(e: BaseException) -> StoreError:
    """The error as the store's interface tells it."""
    if isinstance(e, StoreError):
        return e
    if isinstance(e, BROKEN):
        reason = str(e) or type(e).__name__
        return StoreUnavailable(f"the database server does not answer: {reason}; start it, or look at the network")
    state = getattr(e, "sqlstate", None) or ""
    if state.startswith(_AWAY) or state == "25006":
        return StoreUnavailable(f"the database does not take this now: {e}; look at the PostgreSQL server's log")
    return StoreError(f"the database refused a statement: {e}")


class Link:
    """All reading connections of a store to one database. most: how many statements may run at once.

    made: told of each new connection: the server behind it may be another one, or have lost its last transactions.
    """

    def __init__(self, url: str, *, most: int = 4) -> None:
        self.made: Callable[[], None] = lambda: None
        self._url = url
        self._silent = ""  # why the last statement or connection had no answer
        self._idle: list[Connection] = []
        self._slots = asyncio.Semaphore(most)
        self._closed = False

    async def connect(self) -> Connection:
        """A new connection, the caller's own. Raises StoreUnavailable, StoreError."""
        try:
            connection: Connection = await asyncpg.connect(
                self._url,
                timeout=CONNECT_TIMEOUT,
                command_timeout=STATEMENT_TIMEOUT,
                server_settings=dict(_SETTINGS),
                max_cached_statement_lifetime=0,  # the statements are few and known
            )
            self.made()
            return connection
        except asyncpg.CannotConnectNowError as e:
            raise StoreUnavailable(f"the database server is just starting or stopping: {e}") from e
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as e:
            raise StoreError(f"cannot log in to the database: {e}; correct the setting database") from e
        except asyncpg.ClientConfigurationError as e:
            # It tells of the options behind the "?", where no password stands, unless the password is taken for their beginning.
            if "?" in self._url.rpartition("@")[2]:
                raise StoreError(f"the options of the URL in the setting database: {e}") from None
            raise StoreError(_UNREADABLE) from None
        except (ValueError, OverflowError):
            # What the driver says of it may be a piece of the password.
            raise StoreError(_UNREADABLE) from None
        except FileNotFoundError as e:
            missing = _missing_file(self._url)
            if missing:
                raise StoreError(f"the setting database names a file that is not there: {missing}") from e
            raise translated(e) from e
        except (*BROKEN, asyncpg.PostgresError) as e:
            raise translated(e) from e

    async def fetch(self, sql: str, *values: Any) -> list[Row]:
        """The rows of one statement. Raises StoreUnavailable, StoreError.

        A text that PostgreSQL cannot hold (NUL, half a surrogate pair) is in no row, so asking for it gives none.
        """
        if any(isinstance(v, str) and not storable(v) for v in values):
            return []
        waits = self._slots.locked() and not self._silent
        async with self._slots:
            if waits and self._silent:
                raise StoreUnavailable(self._silent)  # who queued before that was known needs no time limit of his own
            while True:
                used = bool(self._idle)
                try:
                    # In a task of its own: a device's request takes its first steps in none, and the driver's time limit needs one.
                    connection = self._idle.pop() if used else await asyncio.create_task(self.connect())
                except StoreUnavailable as e:
                    if isinstance(e.__cause__, TimeoutError):
                        self._silent = str(e)
                    raise
                try:
                    found: list[Row] = await connection.fetch(sql, *values)
                except BROKEN as e:
                    connection.terminate()
                    if isinstance(e, TimeoutError):
                        self.drop_idle()  # the way to the server is gone without a word: the others are as dead
                        self._silent = str(translated(e))
                    if not used or isinstance(e, TimeoutError):
                        raise translated(e) from e
                    continue  # it broke while nobody used it: the server may be back already
                except asyncpg.PostgresError as e:
                    gone = connection.is_closed() or isinstance(e, ENDED)
                    if gone:
                        connection.terminate()
                        if used:
                            continue
                    else:
                        self.give(connection)
                    raise translated(e) from e
                except BaseException:
                    connection.terminate()
                    raise
                self.give(connection)
                self._silent = ""
                return found

    def drop_idle(self) -> None:
        """Cut the connections that nobody uses."""
        while self._idle:
            self._idle.pop().terminate()

    def give(self, connection: Connection) -> None:
        """A connection that nobody uses now: it serves the next statement, or ends where it cannot."""
        if self._closed or connection.is_closed():
            connection.terminate()
        else:
            self._idle.append(connection)

    async def close(self) -> None:
        """Let go of all connections."""
        self._closed = True
        while self._idle:
            await farewell(self._idle.pop())


_UNREADABLE: Final = (
    "the URL in the setting database cannot be read: in a user name or password write / as %2F, : as %3A, @ as %40; a port is a number"
    " up to 65535"
)


def _missing_file(url: str) -> str:
    """Which of the files that the URL's options name does not exist; "" where all do."""
    options = parse_qs(urlsplit(url).query)
    named = [path for name in ("sslrootcert", "sslcert", "sslkey", "sslcrl") for path in options.get(name, ())]
    return next((path for path in named if not Path(path).exists()), "")


async def unhurried(connection: Connection) -> Connection:
    """The same, for a long transaction of a program that reads or writes a file meanwhile, in which it may have to wait."""
    await connection.execute("SET idle_in_transaction_session_timeout = 0")
    return connection


async def farewell(connection: Connection) -> None:
    """Close a connection, politely where the server still listens."""
    try:
        await connection.close(timeout=1.0)
    except (*BROKEN, asyncpg.PostgresError):
        connection.terminate()


def storable(text: str) -> bool:
    """Whether PostgreSQL can hold the text: no NUL, no half of a surrogate pair."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text))


def cleaned(text: str) -> str:
    """The text without what PostgreSQL cannot hold: U+FFFD stands where it was."""
    return text if storable(text) else "".join("\ufffd" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in text)


def safe_url(url: str) -> str:
    """The database URL without its password, for messages."""
    scheme, separator, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}{at}{place.partition('?')[0]}"


def facts(rows: Sequence[Row]) -> Mapping[Any, Any]:
    """Rows of two columns as a dictionary."""
    return {row[0]: row[1] for row in rows}
