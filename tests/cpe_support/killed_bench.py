"""A Bench whose agent is a process, and whose power cuts are kill -9: what `Month` plays on when the machine itself must be real."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Self

from cpe_support.killed_agent import Pipe
from homeport.codec.messages import Inform, Message, Request
from homeport.terms import EventCode, Writer
from homeport.transport.loopback import LoopbackAcs

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
        self._socket_path = str(directory / "agents")
        self._starter: subprocess.Popen[bytes] | None = None
        self._pipe: Pipe | None = None
        self._pid = 0
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
        here = Path(__file__)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HOMEPORT_")}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(here.parents[1]), os.environ.get("PYTHONPATH"))))
        with Path(self._socket_path).with_suffix(".log").open("wb") as log:
            self._starter = subprocess.Popen(
                [sys.executable, str(here.with_name("killed_agent.py")), self._socket_path],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        assert self._starter.stdout is not None
        assert self._starter.stdout.readline() == b"ready\n", Path(self._socket_path).with_suffix(".log").read_text()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pipe is not None:
            self._kill()
        assert self._starter is not None and self._starter.stdout is not None
        self._starter.kill()
        self._starter.wait()
        self._starter.stdout.close()

    @property
    def informs(self) -> list[Inform]:
        return self.acs.informs

    async def start(self) -> None:
        """Switch on, and let the first session run."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._socket_path)
        self._pipe = Pipe(connection)
        _, self._pid = self._pipe.receive()
        self._pipe.send(str(self._directory), self.time, self.asleep, self.wall)
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
        os.kill(self._pid, signal.SIGKILL)
        self._instant = None
        self._hang_up()

    def _hang_up(self) -> None:
        """Wait until the process is gone: its end of the pipe closes with it."""
        assert self._pipe is not None
        try:
            while True:
                self._pipe.socket.settimeout(30)
                self._pipe.receive()
        except EOFError:
            pass
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
