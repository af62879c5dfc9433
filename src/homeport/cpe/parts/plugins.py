"""What plug-ins do beside the sessions: they are asked ahead of requests, looked at from time to time, and listened to.

A listener or poller that fails is logged and started again later; the agent goes on without it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from homeport.cpe.devices.calls import Calls, sentence
from homeport.cpe.devices.declarations import Listener, Moment, Table
from homeport.cpe.devices.plugin import finished
from homeport.cpe.devices.plugin_host import PluginHost
from homeport.cpe.journal import LOG
from homeport.cpe.parts.part import Part
from homeport.errors import Fault
from homeport.model.path import Path
from homeport.model.sources import meet
from homeport.terms import EventCode

if TYPE_CHECKING:
    from homeport.cpe.agent import Agent

FIRST_REST: Final = 1.0
LONGEST_REST: Final = 300.0
"""Seconds before a listener that ended is started again: first, and doubled up to the longest."""

GATHER: Final = 0.1
"""Seconds in which changes are gathered before they are looked at: one event of the system often brings several."""


_VENDOR: Final = ("X ", "M X_")
"""How the event codes begin that a vendor may define (TR-069a6 3.7.1.5)."""


REST: Final = 0.4
"""Seconds between two looks, so that a plug-in that says `changed` all the time costs no more than that."""


class PluginsPart(Part):
    """The plug-ins of one agent."""

    name = "plug-ins"

    def __init__(self, agent: "Agent", host: PluginHost) -> None:
        self._agent = agent
        self._host = host
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._host.on_changed = self._changed
        self._host.on_event = self._event
        await self._moments("start")

    async def run(self) -> None:
        tasks = [asyncio.ensure_future(self._look())]
        tasks += [asyncio.ensure_future(self._poll(calls)) for calls in self._host.all if calls.declaration.poll]
        tasks += [asyncio.ensure_future(self._listen(x)) for plugin in self._host.plugins for x in plugin.listeners]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def stop(self) -> None:
        await self._moments("stop")

    async def prepare(self, paths: Sequence[str], *, rows_only: bool = False) -> None:
        await self._host.prepare(paths, rows_only=rows_only)

    # --- what plug-ins say ------------------------------------------------------------------------------------------------------

    def _changed(self, paths: Sequence[str]) -> None:
        """From any thread."""
        self._soon(self._note, tuple(paths))

    def _event(self, code: str, command_key: str) -> None:
        self._soon(self._owe, code, command_key)

    def _soon(self, function: Callable[..., object], *arguments: object) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            pass  # the agent has ended meanwhile; there is nobody to tell

    def _note(self, paths: Iterable[str]) -> None:
        for calls in self._host.all:
            if not paths or any(_meets(calls, p) for p in paths):
                calls.forget_all()
        self._news.set()

    def _owe(self, code: str, command_key: str) -> None:
        if code != EventCode.DIAGNOSTICS_COMPLETE and not code.startswith(_VENDOR):
            LOG.warning(
                "a plug-in raised the event %r, which is not its to raise; a vendor's own is `X OUI NAME`", code
            )
            return
        self._agent.trigger(code, command_key)

    # --- in the background --------------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Look for changes that the ACS wants to know, soon after somebody said that there are some."""
        clock = self._agent.clock
        while True:
            await self._news.wait()
            await clock.sleep_until(clock.monotonic() + GATHER)
            self._news.clear()
            try:
                await self._host.prepare(self._agent.model.watched())
                self._agent.look_for_changes()
            except Exception:
                LOG.exception("changes of plug-ins could not be looked for")
            await clock.sleep_until(clock.monotonic() + REST)

    async def _poll(self, calls: Calls) -> None:
        clock, model = self._agent.clock, self._agent.model
        while True:
            begun = clock.monotonic()
            try:
                news = await self._host.fetch(calls, again=True)
                if isinstance(calls.declaration, Table):
                    model.freshen([calls.declaration.path.removesuffix("{i}.").replace("{i}", "*")])
                if news:
                    self._agent.look_for_changes()
            except Exception:
                LOG.exception("%s could not be polled", calls.declaration.name)
            await clock.sleep_until(begun + calls.declaration.poll)

    async def _listen(self, listener: Listener) -> None:
        clock, rest = self._agent.clock, FIRST_REST
        while True:
            begun = clock.monotonic()
            try:
                events: AsyncIterator[object] = listener()
                async for said in events:
                    self._note([said] if isinstance(said, str) else [str(p) for p in _each(said)])
                LOG.info("%s has ended; it is started again in %.0f s", listener.name, rest)
            except Exception as e:
                LOG.warning("%s failed (%s); it is started again in %.0f s", listener.name, sentence(e), rest)
            if clock.monotonic() - begun > LONGEST_REST:
                rest = FIRST_REST
            await clock.sleep_until(clock.monotonic() + rest)
            rest = min(rest * 2, LONGEST_REST)

    async def _moments(self, when: str) -> None:
        for plugin in self._host.plugins:
            for moment in plugin.moments:
                if moment.when == when:
                    await self._moment(moment)

    async def _moment(self, moment: Moment) -> None:
        try:
            await finished(moment())
        except Exception as e:
            LOG.error("%s of a plug-in failed: %s", moment.when, sentence(e))


def _each(said: object) -> Iterable[object]:
    return said if isinstance(said, list | tuple | set | frozenset) else ()


def _meets(calls: Calls, path: str) -> bool:
    try:
        segments = Path.parse(path).segments
        return any(meet(Path.parse(own).segments, segments) for own in calls.declaration.paths)
    except Fault:
        return False  # no path at all: nothing that it could mean
