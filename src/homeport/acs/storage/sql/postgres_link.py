"""Connections to PostgreSQL: made when needed, lent to one statement at a time, dropped when they break; its errors as ours."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import asyncpg

from homeport.errors import StoreError, StoreUnavailable

CONNECT_TIMEOUT: Final = 5.0
"""Seconds until a server that does not answer counts as away: a CPE waits 30 s for its reply."""

STATEMENT_TIMEOUT: Final = 15.0
"""Seconds that one statement may take; longer ones mean that something holds a lock or the network is gone."""

_SETTINGS: Final = {
    "application_name": "homeport",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "30s",  # a node that hangs in a transaction must not hold others up
    "jit": "off",  # compiling costs more than these small statements
}

_AWAY: Final = ("08", "53", "57", "58", "40", "55", "XX")
"""Classes of SQLSTATE that pass by themselves or by an operator's hand: the connection, resources, shutdown, the system, locks."""

BROKEN: Final = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError)
"""What says nothing about the statement: the way to the server is gone."""

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
    """All reading connections of a store to one database. most: how many statements may run at once."""

    def __init__(self, url: str, *, most: int = 4) -> None:
        self._url = url
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
            return connection
        except asyncpg.CannotConnectNowError as e:
            raise StoreUnavailable(f"the database server is just starting or stopping: {e}") from e
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as e:
            raise StoreError(f"cannot log in to the database: {e}; correct the setting database") from e
        except ValueError:
            # What the driver says of it may be a piece of the password.
            raise StoreError(
                "the URL in the setting database cannot be read: in a user name or password write / as %2F, : as %3A, @ as %40"
            ) from None
        except (*BROKEN, asyncpg.PostgresError) as e:
            raise translated(e) from e

    async def fetch(self, sql: str, *values: Any) -> list[Row]:
        """The rows of one statement. Raises StoreUnavailable, StoreError.

        A text that PostgreSQL cannot hold (NUL, half a surrogate pair) is in no row, so asking for it gives none.
        """
        if any(isinstance(v, str) and not storable(v) for v in values):
            return []
        async with self._slots:
            while True:
                used = bool(self._idle)
                # In a task of its own: a device's request takes its first steps in none, and the driver's time limit needs one.
                connection = self._idle.pop() if used else await asyncio.create_task(self.connect())
                try:
                    found: list[Row] = await connection.fetch(sql, *values)
                except BROKEN as e:
                    connection.terminate()
                    if not used or isinstance(e, TimeoutError):
                        raise translated(e) from e
                    continue  # it broke while nobody used it: the server may be back already
                except asyncpg.PostgresError as e:
                    self.give(connection)
                    if used and connection.is_closed():
                        continue
                    raise translated(e) from e
                except BaseException:
                    connection.terminate()
                    raise
                self.give(connection)
                return found

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
