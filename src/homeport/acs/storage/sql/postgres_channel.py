"""How the processes on one PostgreSQL database hear of each other: LISTEN/NOTIFY, and a lock that each holds while it lives.

Two kinds of notices: what was committed (sent with the commit, by the writer), and what is only said (nobody needs it after a crash).
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

import asyncpg
import structlog

from homeport.acs.storage.interface import LONGEST_WORD
from homeport.acs.storage.sql.postgres_link import BROKEN, SQL, Connection, Link
from homeport.errors import StoreError

COMMITTED: Final = "homeport"
SAID: Final = "homeport_said"

NODE_LOCKS: Final = 0x484F4E44
"""The class of the advisory locks by which nodes show that they live."""

LATELY: Final = 15.0
"""Seconds after its last sign of life for which a process that ended without a goodbye is told of."""

RELISTEN: Final = 1.0
"""Seconds before the next try to listen, where the last one did not last longer."""

PROBE_EVERY: Final = 5.0
PROBE_WITHIN: Final = 5.0
"""Seconds between two questions on the listening connection, and for the answer: a network that swallows all says nothing of it."""

CLOCKS_AGREE: Final = 1.0
"""Seconds by which this machine's clock may differ from the database server's before that is heeded."""

FIRST_WITHIN: Final = 2.0
"""Seconds that a start waits until this process listens."""

LAST_WORDS: Final = 2.0
"""Seconds for what was said just before the end."""

GATHER: Final = 0.002
"""Seconds in which words are gathered: each notification is a commit that all nodes queue for."""

MOST_WAITING: Final = 2_000
"""Words that wait while the database is away; older ones are lost."""

_log = structlog.get_logger("homeport.acs.store")


class PostgresChannel:
    """One connection that listens, for ever. noted: a notice of what another node committed. cleared: notices may have been missed."""

    def __init__(self, link: Link, node: str, noted: Callable[[list[str]], None], cleared: Callable[[], None]) -> None:
        self.heard: Callable[[str], None] | None = None
        self.resumed: Callable[[], None] | None = None
        self.lost: Callable[[], None] | None = None
        self.ahead = 0.0
        self.listening = False
        self._begun = asyncio.Event()
        self._link = link
        self._node = node
        self._noted = noted
        self._cleared = cleared
        self._listener: asyncio.Task[None] | None = None
        self._words: list[str] = []
        self._sending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen; returns when that works, or after a moment: a process that does not listen counts as dead to the others."""
        self._listener = asyncio.get_running_loop().create_task(self._listen())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._begun.wait(), FIRST_WITHIN)

    async def stop(self) -> None:
        """End; what was said before still goes out where the database answers."""
        if self._sending is not None:
            await asyncio.wait((self._sending,), timeout=LAST_WORDS)
            self._sending.cancel()
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)

    def say(self, text: str) -> None:
        if "\n" in text or len(text.encode()) > LONGEST_WORD:
            return  # nothing that is told this way is so long; it would not reach anybody
        self._words.append(text)
        if len(self._words) > MOST_WAITING:
            del self._words[:-MOST_WAITING]
            self._were_lost()
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
                self._were_lost()  # who waits for an answer has a time limit

    async def look_at_the_clock(self, connection: Connection) -> None:
        """Ask the server for its time; where it is not this machine's, what is written here goes by the server's.

        Sessions, leases and the order of tasks are made at one process and judged at another.
        """
        began, before = time.monotonic(), time.time()
        there = float(await connection.fetchval(SQL["clock"], timeout=PROBE_WITHIN))
        took = time.monotonic() - began
        ahead = there - before - took / 2
        if took > CLOCKS_AGREE or abs(ahead - self.ahead) <= CLOCKS_AGREE:
            return
        self.ahead = ahead if abs(ahead) > CLOCKS_AGREE else 0.0
        if self.ahead:
            advice = "all times are the database server's; set both clocks by NTP"
            _log.warning("this machine's clock is not the database server's", seconds=round(ahead, 1), advice=advice)

    def _were_lost(self) -> None:
        if self.lost is not None:
            self.lost()

    async def _listen(self) -> None:
        """Hear what others commit and say; while that does not work, nothing that was read serves twice."""
        loop = asyncio.get_running_loop()
        while True:
            connection: Connection | None = None
            ended = asyncio.Event()
            began = loop.time()
            try:
                connection = await self._link.connect()
                connection.add_termination_listener(lambda *_, ended=ended: ended.set())
                await connection.fetch(SQL["node_lock"], self._node, NODE_LOCKS)
                await connection.add_listener(COMMITTED, self._received)
                await connection.add_listener(SAID, self._received)
                self._cleared()
                self.listening = True
                self._begun.set()
                if self.resumed is not None:
                    self.resumed()
                while not ended.is_set():
                    try:
                        await asyncio.wait_for(ended.wait(), PROBE_EVERY)
                    except TimeoutError:
                        await self.look_at_the_clock(connection)
            except (StoreError, asyncpg.PostgresError, *BROKEN):
                pass  # the writer tells of the same trouble; here only the next try counts
            except Exception:
                _log.exception("listening to the other processes failed; it is begun anew")
            finally:
                self.listening = False
                self._cleared()
                if connection is not None:
                    connection.terminate()
            # A connection that has lasted is made again at once: meanwhile this process counts as dead to the others.
            if loop.time() - began < RELISTEN:
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
