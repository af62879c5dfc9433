"""What a part of the agent may do, and how the agent looks after its parts.

A part lives from before the first Inform to the agent's end. It answers RPCs that the core does not, learns of sessions and of changes of
the data model, and may work in the background. A part that fails is logged, and its background work begun anew after a rest: the sessions
go on without it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from homeport.codec.messages import Request, Response
from homeport.cpe.journal import LOG
from homeport.cpe.transfers.rules import TransferStatus
from homeport.errors import HomeportError
from homeport.model.changes import Change
from homeport.terms import CwmpVersion

REST: Final = 30.0
"""Seconds before a part whose background work failed begins it anew."""


class Part:
    """Does nothing by default; override what the part is about."""

    name = "part"
    connection_request_method = ""
    """How SupportedConnReqMethods names the way in that this part is, "" where it is none."""

    def handlers(self) -> Mapping[type[Request], Callable[[Any], Response]]:
        """The answers to RPCs of this part; GetRPCMethods names them."""
        return {}

    def verbs(self) -> Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Any]]]:
        """What people on the device can ask of this part over the control socket."""
        return {}

    async def start(self) -> None:
        """Before the first Inform. Raises HomeportError where the part cannot work."""

    async def run(self) -> None:
        """Beside the sessions, until cancelled."""

    async def stop(self) -> None:
        """At the agent's end, after `run` was cancelled."""

    async def prepare(self, paths: Sequence[str], *, rows_only: bool = False) -> None:
        """Values at these paths are going to be read: what takes its time may be fetched now. rows_only: their names, not their values."""

    def session_opened(self) -> None:
        """A session begins."""

    def session_closed(self) -> None:
        """The session is over, however it went."""

    def session_ended(self, *, success: bool, kind: str) -> None:
        """How the session went. kind: one word for what failed, "" for nothing (errors.TransportError)."""

    async def acs_reached(self) -> None:
        """The ACS answered the Inform."""

    def heard(self) -> None:
        """The ACS sent a request, or ended the session well: our last answer reached it."""

    def in_words_of(self, request: Request, version: CwmpVersion) -> Request:
        """An owed request as an ACS of that version understands it."""
        return request

    def acknowledged(self, request: Request) -> bool:
        """The ACS confirmed an owed request. True where the part has settled it itself, so that the core need not."""
        return False

    def changed(self, changes: Sequence[Change]) -> None:
        """The data model committed changes; must be quick."""

    def transfers(self) -> Sequence[TransferStatus]:
        """File transfers that are under way or not yet confirmed, for the status."""
        return ()


class Parts:
    """All parts of one agent."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = tuple(parts)
        self._tasks: list[asyncio.Task[None]] = []

    def handlers(self) -> dict[type[Request], Callable[[Any], Response]]:
        """All RPCs of all parts."""
        found: dict[type[Request], Callable[[Any], Response]] = {}
        for part in self._parts:
            found.update(part.handlers())
        return found

    def verbs(self) -> dict[str, Callable[[Mapping[str, Any]], Awaitable[Any]]]:
        """All verbs of all parts."""
        return {name: verb for part in self._parts for name, verb in part.verbs().items()}

    @property
    def connection_request_methods(self) -> list[str]:
        """The ways in, as SupportedConnReqMethods names them; HTTP is the core's."""
        return ["HTTP", *(p.connection_request_method for p in self._parts if p.connection_request_method)]

    @property
    def transfers(self) -> tuple[TransferStatus, ...]:
        """All file transfers."""
        return tuple(row for part in self._parts for row in part.transfers())

    async def start(self) -> None:
        """Start every part; one that cannot work is logged and left out of the background."""
        for part in self._parts:
            try:
                await part.start()
            except HomeportError as e:
                LOG.error("%s does not work: %s", part.name, e)
                continue
            except Exception:
                LOG.exception("%s does not work", part.name)
                continue
            self._tasks.append(asyncio.ensure_future(_guarded(part)))

    async def stop(self) -> None:
        """End every part."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for part in self._parts:
            try:
                await part.stop()
            except HomeportError as e:
                LOG.warning("%s did not end cleanly: %s", part.name, e)
            except Exception:
                LOG.exception("%s did not end cleanly; the others are ended all the same", part.name)

    async def prepare(self, paths: Sequence[str], *, rows_only: bool = False) -> None:
        """Let every part fetch what a reading of these paths will need; its failures come out in the reading."""
        for part in self._parts:
            try:
                await part.prepare(paths, rows_only=rows_only)
            except HomeportError as e:
                LOG.warning("%s: %s", part.name, e)
            except Exception:
                LOG.exception("%s could not prepare what is going to be read", part.name)

    def session_opened(self) -> None:
        for part in self._parts:
            part.session_opened()

    def session_closed(self) -> None:
        for part in self._parts:
            part.session_closed()

    def session_ended(self, *, success: bool, kind: str) -> None:
        for part in self._parts:
            part.session_ended(success=success, kind=kind)

    async def acs_reached(self) -> None:
        for part in self._parts:
            try:
                await part.acs_reached()
            except HomeportError as e:
                LOG.warning("%s: %s", part.name, e)
            except Exception:
                LOG.exception("%s could not take note that the ACS was reached", part.name)

    def heard(self) -> None:
        for part in self._parts:
            part.heard()

    def in_words_of(self, request: Request, version: CwmpVersion) -> Request:
        """An owed request as an ACS of that version understands it."""
        for part in self._parts:
            request = part.in_words_of(request, version)
        return request

    def acknowledged(self, request: Request) -> bool:
        """Whether a part has settled a confirmed request itself."""
        return any(part.acknowledged(request) for part in self._parts)

    def changed(self, changes: Sequence[Change]) -> None:
        for part in self._parts:
            part.changed(changes)


async def _guarded(part: Part) -> None:
    """Run a part, and once more after a while where it failed: what it has promised the ACS must not wait for the next restart."""
    while True:
        try:
            await part.run()
            return
        except HomeportError as e:
            LOG.error("%s ended: %s; it is started again in %.0f s", part.name, e, REST)
        except Exception:
            LOG.exception("%s ended by a defect; it is started again in %.0f s", part.name, REST)
        await asyncio.sleep(REST)
