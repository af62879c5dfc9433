"""A Bench whose agent is a process, and whose power cuts are kill -9: what `Month` plays on when the machine itself must be real."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Self

from homeport.codec.messages import Inform, Message, Request
from homeport.terms import EventCode, Writer
from homeport.transport.loopback import LoopbackAcs
from support.nursery import Child, Pipe, shared_nursery

LONGEST_INSTANT = 0.004
"""Seconds after an answer within which the process is killed; an agent needs about as long to handle it and store what follows."""


class KilledBench:
    """Looks like a Bench as far as `Month` uses one.

    silent: "before" kills the agent instead of answering it, "after" right after an answer was given to nobody, "instant" lets the
    agent have the answer and kills it at a random moment of its work on it.
    """

    ways_to_cut = ("before", "after", "instant", "instant")

    def __init__(self, directory: Path, seed: int) -> None:
        self._directory = directory / "state"
        self._dice = random.Random(seed)
        self._log = directory / "agents.log"
        self._child: Child | None = None
        self._pipe: Pipe | None = None
        self._instant: float | None = None
        self.time, self.asleep, self.wall = 0.0, 0.0, 1_800_000_000.0
        self.acs = LoopbackAcs(clock=lambda: self.time)
        self.on_post: Callable[[bytes], None] | None = None
        self.silent = ""
        self.ended = False
        self.kills_by_way: dict[str, int] = {}
        self.most_open_channels = 0
        self.clock = SimpleNamespace(
            monotonic=lambda: self.time,
            settle=self._nothing,
            advance=self._advance,
            standby=lambda seconds: self._tell("standby", seconds),
        )
        self.agent = SimpleNamespace(
            trigger=lambda code, key="": self._tell("trigger", code, key),
            connection_requested=lambda: self._tell("ring"),
            contact=lambda: None,  # "owe" makes contact itself
            ledger=_Ledger(self),
            model=SimpleNamespace(
                set_local=lambda path, text, _writer=Writer.LOCAL: self._tell("set_local", path, text),
                value=lambda path: self._tell("value", path),
            ),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pipe is not None:
            self._kill()

    @property
    def informs(self) -> list[Inform]:
        return self.acs.informs

    async def start(self) -> None:
        """Switch on, and let the first session run."""
        times = (self.time, self.asleep, self.wall)
        self._child = shared_nursery().start(
            str(self._directory), *times, target="cpe_support.killed_agent:live", log=self._log, talks=True
        )
        self._pipe = self._child.pipe
        self.ended = False
        self._listen()

    async def power_cut(self) -> None:
        """The process is gone already; this is the moment at which that is noticed."""
        assert self._pipe is None
        self.kills_by_way[self.silent] = self.kills_by_way.get(self.silent, 0) + 1

    async def restarted(self) -> None:
        """The agent ended for a restart; start it again."""
        await self.stop()
        await self.start()

    async def stop(self) -> None:
        """An orderly end."""
        if self._pipe is not None:
            self._pipe.send("end")
            self._hang_up()

    async def ask(self, *requests: Request) -> list[Message]:
        """The answers to requests of the ACS, sent in one session that a connection request opens."""
        before = len(self.acs.answers)
        self.acs.requests.extend(requests)
        self.agent.connection_requested()
        await self._advance(0.0)
        return [answer for _, answer in self.acs.answers[before:]]

    # --- the conversation with the process ------------------------------------------------------------------------------------------

    async def _nothing(self) -> None:
        """The process comes to rest before it says that it is done."""

    async def _advance(self, seconds: float) -> None:
        self._tell("advance", seconds)

    def _tell(self, *message: object) -> Any:
        """What the agent says to a command; None where it died of it."""
        if self._pipe is None:
            return None
        self._pipe.send(*message)
        return self._listen()

    def _listen(self) -> Any:
        """Serve the agent until it has done what it was told, or is dead."""
        while self._pipe is not None:
            left = None if self._instant is None else max(self._instant - time.perf_counter(), 0.0)
            if left == 0.0:
                return self._kill()
            self._pipe.socket.settimeout(left)
            try:
                word, *args = self._pipe.receive()
            except TimeoutError:
                return self._kill()
            if word == "time":
                self.time, self.asleep, self.wall = args
            elif word == "post":
                self._serve(args[0])
            else:
                value, self.ended, most = args
                self.most_open_channels = max(self.most_open_channels, most)
                return value if self._instant is None else self._kill()
        return None

    def _serve(self, body: bytes) -> None:
        assert self._pipe is not None
        if self._instant is not None:
            # It was faster than the end that was meant for it: this message is one that nobody hears.
            self._kill()
            return
        if self.on_post is not None:
            self.on_post(body)
        if self.silent == "before":
            self._kill()
            return
        answer = self.acs(body)
        if self.silent == "after":
            self._kill()
            return
        self._pipe.send(answer)
        if self.silent == "instant":
            self._instant = time.perf_counter() + self._dice.uniform(0.0, LONGEST_INSTANT)

    def _kill(self) -> None:
        assert self._child is not None
        self._child.kill()
        self._instant = None
        self._hang_up()

    def _hang_up(self) -> None:
        """Wait until the process is gone."""
        assert self._pipe is not None and self._child is not None
        self._child.wait(30)
        self._pipe.socket.close()
        self._pipe = None


class _Ledger:
    """What the agent owes."""

    def __init__(self, bench: KilledBench) -> None:
        self._bench = bench

    def owe_request(self, request: Request, event: EventCode, key: str) -> None:
        self._bench._tell("owe", request, event, key)

    @property
    def owes_requests(self) -> bool:
        return bool(self._bench._tell("owes_requests"))
