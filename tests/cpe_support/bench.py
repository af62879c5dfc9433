"""One agent on a virtual clock, talking to an ACS in memory: what most tests of the agent stand on."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from cpe_support.bench_profile import bench_profile
from cpe_support.virtual_clock import VirtualClock
from homeport.codec.messages import Inform, Message, Request
from homeport.cpe.agent import Agent
from homeport.cpe.config import CpeSettings
from homeport.cpe.loop import Exit
from homeport.cpe.parts.part import Part
from homeport.errors import TransportError
from homeport.model.profile import ProfileDef
from homeport.transport.driver import HttpAnswer
from homeport.transport.loopback import LoopbackAcs, LoopbackChannel

URL = "http://acs.example:7547/"

_DEFAULTS = {"acs_url": URL, "connection_request_limit": 1_000_000}
"""The throttle has its own tests; others ring as often as they like."""


class Bench:
    """Start, stop, power-cut and restart one agent; `acs` answers it.

    refuse: while set, the ACS cannot be reached. on_post: sees each body before the ACS answers it; what it raises is the answer.
    silent: "before" lets the agent wait for ever for an answer that the ACS never gave, "after" for one that got lost.
    """

    ways_to_cut = ("before", "after")

    def __init__(
        self,
        directory: Path,
        *,
        clock: VirtualClock | None = None,
        profile: ProfileDef | None = None,
        acs: LoopbackAcs | None = None,
        parts: Callable[[Agent], Sequence[Part]] | None = None,
        **settings: object,
    ) -> None:
        self.clock = clock or VirtualClock()
        self.profile = profile or bench_profile()
        self.acs = acs or LoopbackAcs(clock=self.clock.monotonic)
        self.parts = parts
        self.refuse = False
        self.on_post: Callable[[bytes], None] | None = None
        self.silent = ""
        self.attempts: list[tuple[float, str]] = []
        self.settings = CpeSettings(**{**_DEFAULTS, "state_dir": directory, **settings})  # type: ignore[arg-type]
        self.agent: Agent | None = None
        self._task: asyncio.Task[Exit] | None = None
        self._open_channels = 0
        self.most_open_channels = 0

    # --- power --------------------------------------------------------------------------------------------------------------------

    async def start(self) -> Agent:
        """Switch on, and let the first session run."""
        self.agent = Agent(
            self.settings,
            clock=self.clock,
            random=lambda: 0.5,
            channel=self._channel,
            profile=self.profile,
            doors=False,
            parts=self.parts,
            notice_every=1e9,
        )
        self._task = asyncio.ensure_future(self.agent.run())
        await self.clock.settle()
        return self.agent

    async def power_cut(self) -> None:
        """What is in memory is lost; the disk stays."""
        assert self._task is not None and self.agent is not None
        self._task.cancel()
        # The agent must not tidy up: a cut has no finally.
        self.agent.loop.close = _nothing  # type: ignore[method-assign]
        try:
            await self._task
        except asyncio.CancelledError:
            pass
        self.agent.store.close()
        self._open_channels = 0
        self._task = None

    async def restarted(self) -> Agent:
        """The agent ended for a restart; start it again."""
        assert self._task is not None
        assert await self._task is Exit.RESTART
        return await self.start()

    async def stop(self) -> None:
        """An orderly end."""
        if self._task is not None and self.agent is not None:
            self.agent.stop()
            await self._task
            self._task = None

    # --- what happened ------------------------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the agent's loop has returned."""
        return self._task is not None and self._task.done()

    @property
    def informs(self) -> list[Inform]:
        return self.acs.informs

    def events(self, number: int = -1) -> list[str]:
        """Event codes of an Inform that the ACS received."""
        return [e.event_code for e in self.informs[number].event]

    def values(self, number: int = -1) -> dict[str, str]:
        """Parameters of an Inform."""
        return {p.name: p.value for p in self.informs[number].parameter_list}

    async def ask(self, *requests: Request) -> list[Message]:
        """The answers to requests of the ACS, sent in one session that a connection request opens."""
        assert self.agent is not None
        before = len(self.acs.answers)
        self.acs.requests.extend(requests)
        self.agent.connection_requested()
        await self.clock.settle()
        return [answer for _, answer in self.acs.answers[before:]]

    def _channel(self, url: str) -> "_CountingChannel":
        self.attempts.append((self.clock.monotonic(), url))
        return _CountingChannel(self)

    def serve(self, body: bytes) -> HttpAnswer | asyncio.Future[HttpAnswer]:
        if self.refuse:
            raise TransportError("the ACS cannot be reached", kind="refused")
        if self.on_post is not None:
            self.on_post(body)
        if self.silent == "before":
            return asyncio.get_running_loop().create_future()
        answer = self.acs(body)
        if self.silent == "after":
            return asyncio.get_running_loop().create_future()
        return answer


class _CountingChannel(LoopbackChannel):
    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.serve)
        self._bench = bench
        bench._open_channels += 1
        bench.most_open_channels = max(bench.most_open_channels, bench._open_channels)

    async def close(self) -> None:
        if not self.closed:
            self._bench._open_channels -= 1
        await super().close()


async def _nothing() -> None:
    return None
