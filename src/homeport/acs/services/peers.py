"""The other processes on the same database: told of what happens here, and asked for what only one of them has.

What is told is no truth of its own (that is in the database) but a reason to look there, so a word that is lost does no harm.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
import structlog

from homeport.acs.storage.interface import Channel
from homeport.errors import StoreUnavailable

ASK_WITHIN: Final = 3.0
"""Seconds within which another process answers; a device waits 30 s for its reply."""

LOOK_AFTER: Final = 0.2
"""Seconds without an answer after which is looked whether the other process still lives; answers come within milliseconds."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode

Word = dict[str, Any]

_GAP: Final = "gap"
_log = structlog.get_logger("homeport.acs.peers")


class Peers:
    """The way to the other processes. node: the name of this one."""

    def __init__(self, channel: Channel, node: str) -> None:
        self.node = node
        self._channel = channel
        self._handlers: dict[str, Callable[[Word], None]] = {}
        self._servers: dict[str, Callable[[Word], Awaitable[Any]]] = {}
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._jobs: set[asyncio.Task[None]] = set()
        self._gap_handlers: list[Callable[[], None]] = []
        self._owes = False  # the others have to be told that words of ours were lost
        channel.heard = self._heard
        channel.resumed = self._missed
        channel.lost = self._lost
        self.on(_GAP, lambda _: self._missed())

    def on(self, kind: str, handler: Callable[[Word], None]) -> None:
        """Call the handler with each word of this kind that another process says."""
        self._handlers[kind] = handler

    def on_gap(self, handler: Callable[[], None]) -> None:
        """Call the handler when words of others may have been lost, so that it looks for itself."""
        self._gap_handlers.append(handler)

    def _missed(self) -> None:
        for handler in self._gap_handlers:
            handler()

    def _lost(self) -> None:
        self._owes = True

    def own_up(self) -> None:
        """Tell the others where words of ours were lost; called every few seconds."""
        if self._owes:
            self._owes = False
            self.say(_GAP)

    def serve(self, kind: str, handler: Callable[[Word], Awaitable[Any]]) -> None:
        """Answer what other processes ask this one."""
        self._servers[kind] = handler

    def say(self, kind: str, **word: Any) -> None:
        """Tell all others. What is too long for one word is not told."""
        self._channel.say(_encode({"k": kind, **word}).decode())

    async def alive(self, node: str) -> bool:
        """Whether the process works now. Raises StoreUnavailable."""
        return await self._channel.alive(node)

    async def others(self) -> tuple[list[str], bool]:
        """The other processes, and whether one has ended lately without a goodbye. Raises StoreUnavailable."""
        return await self._channel.others()

    async def ask_all(self, nodes: Sequence[str], kind: str, *, within: float = ASK_WITHIN, **word: Any) -> list[Any]:
        """The answers of these processes, in their order; None of one that gives none in time. within: seconds."""
        return await asyncio.gather(*(self.ask(node, kind, within=within, **word) for node in nodes))

    async def ask(self, node: str, kind: str, *, within: float = ASK_WITHIN, **word: Any) -> Any:
        """The other process's answer; None where it gives none in time. within: seconds."""
        number = next(self._numbers)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            self.say(kind, to=node, by=self.node, n=number, **word)
            # Not asyncio.timeout, which needs a task around it. A process that was killed in this moment still seemed to live.
            await asyncio.wait((future,), timeout=min(within, LOOK_AFTER))
            if not future.done() and within > LOOK_AFTER and await self.alive(node):
                await asyncio.wait((future,), timeout=within - LOOK_AFTER)
            return future.result() if future.done() else None
        finally:
            del self._asked[number]

    def _heard(self, text: str) -> None:
        try:
            word = _decode(text)
        except msgspec.MsgspecError:
            return  # of a version that speaks otherwise
        kind = word.get("k", "")
        if "to" not in word:
            handler = self._handlers.get(kind)
            if handler is not None:
                try:
                    handler(word)
                except Exception:
                    _log.exception("a word of another process was not understood", kind=kind)
        elif word["to"] != self.node:
            return
        elif kind == "re":
            future = self._asked.get(word.get("n", 0))
            if future is not None and not future.done():
                future.set_result(word.get("answer"))
        elif kind in self._servers:
            job = asyncio.get_running_loop().create_task(self._answer(word))
            self._jobs.add(job)
            job.add_done_callback(self._jobs.discard)

    async def _answer(self, word: Word) -> None:
        try:
            answer = await self._servers[word["k"]](word)
            self.say("re", to=word["by"], n=word["n"], answer=answer)
        except StoreUnavailable as e:
            _log.warning("another process was given no answer", kind=word["k"], reason=str(e))
        except Exception:
            # Who asked has a time limit.
            _log.exception("another process was given no answer", kind=word["k"])
