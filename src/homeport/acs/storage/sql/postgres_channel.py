"""How the processes on one PostgreSQL database hear of each other: LISTEN/NOTIFY, and a lock that each holds while it lives.

Two kinds of notices: what was committed (sent with the commit, by the writer), and what is only said (nobody needs it after a crash).
"""

import asyncio
from collections.abc import Callable
from typing import Final

import asyncpg

from homeport.acs.storage.interface import LONGEST_WORD
from homeport.acs.storage.sql.postgres_link import BROKEN, Connection, Link
from homeport.acs.storage.sql.postgres_writer import SQL
from homeport.errors import StoreError

COMMITTED: Final = "homeport"
SAID: Final = "homeport_said"

NODE_LOCKS: Final = 0x484F4E44
"""The class of the advisory locks by which nodes show that they live."""

LATELY: Final = 15.0
"""Seconds after its last sign of life for which a process that ended without a goodbye is told of."""

RELISTEN: Final = 1.0

GATHER: Final = 0.002
"""Seconds in which words are gathered: each notification is a commit that all nodes queue for."""

MOST_WAITING: Final = 2_000
"""Words that wait while the database is away; older ones are lost."""


class PostgresChannel:
    """One connection that listens, for ever. noted: a notice of what another node committed. cleared: notices may have been missed."""

    def __init__(self, link: Link, node: str, noted: Callable[[list[str]], None], cleared: Callable[[], None]) -> None:
        self.heard: Callable[[str], None] | None = None
        self.listening = False
        self._link = link
        self._node = node
        self._noted = noted
        self._cleared = cleared
        self._listener: asyncio.Task[None] | None = None
        self._words: list[str] = []
        self._sending: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._listener = asyncio.get_running_loop().create_task(self._listen())

    async def stop(self) -> None:
        """End; what was said before still goes out where the database answers."""
        if self._sending is not None:
            await asyncio.gather(self._sending, return_exceptions=True)
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)

    def say(self, text: str) -> None:
        if "\n" in text or len(text.encode()) > LONGEST_WORD:
            return  # nothing that is told this way is so long; it would not reach anybody
        self._words.append(text)
        del self._words[:-MOST_WAITING]
        if self._sending is None or self._sending.done():
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def alive(self, node: str) -> bool:
        found = await self._link.fetch(SQL["node_alive"], node, NODE_LOCKS)
        return bool(found[0][0])

    async def others(self) -> tuple[list[str], bool]:
        found = await self._link.fetch(SQL["nodes"], self._node, NODE_LOCKS, LATELY)
        return [name for name, living in found if living], any(not living for _, living in found)

    async def _send(self) -> None:
        """All words that wait, as many in one notification as fit."""
        while self._words:
            await asyncio.sleep(GATHER)
            note, count = self._node, 0
            for word in self._words:
                if count and len(note.encode()) + len(word.encode()) >= LONGEST_WORD:
                    break
                note += f"\n{word}"
                count += 1
            del self._words[:count]
            try:
                await self._link.fetch(SQL["say"], note)
            except StoreError:
                pass  # lost: who waits for an answer has a time limit

    async def _listen(self) -> None:
        """Hear what others commit and say; while that does not work, nothing that was read serves twice."""
        while True:
            connection: Connection | None = None
            ended = asyncio.Event()
            try:
                connection = await self._link.connect()
                connection.add_termination_listener(lambda *_, ended=ended: ended.set())
                await connection.fetch(SQL["node_lock"], self._node, NODE_LOCKS)
                await connection.add_listener(COMMITTED, self._received)
                await connection.add_listener(SAID, self._received)
                self._cleared()
                self.listening = True
                await ended.wait()
            except (StoreError, asyncpg.PostgresError, *BROKEN):
                pass  # the writer tells of the same trouble; here only the next try counts
            finally:
                self.listening = False
                self._cleared()
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(RELISTEN)

    def _received(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        node, *lines = str(payload).split("\n")
        if node == self._node:
            return
        if channel == COMMITTED:
            self._noted(lines)
        elif self.heard is not None:
            for line in lines:
                self.heard(line)
