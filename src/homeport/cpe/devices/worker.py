"""Calls a plug-in's functions one after another in a thread, so that none of them can hold up the agent for longer than its limit.

A call that does not come back in time is given up: its thread is left behind, to end when the function ends, and another one goes on.
The function is not called again before that. A plug-in's functions never run beside each other, except beside a given-up one.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final

MOST_STUCK: Final = 8
"""Calls that hang at the same time before a plug-in is not called any more: each keeps a thread."""


class TooLong(Exception):
    """A call did not come back in time, or an earlier one of the same function has not come back yet."""


class _Call:
    """One call and its outcome. told: called from the thread when it is done."""

    __slots__ = ("function", "arguments", "done", "result", "error", "told")

    def __init__(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], told: Callable[[], object] | None
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None
        self.told = told

    def run(self) -> None:
        try:
            self.result = self.function(*self.arguments)
        except BaseException as e:  # SystemExit too: it must not end the thread, and goes to the caller as an error
            self.error = e
        self.done.set()
        if self.told is not None:
            try:
                self.told()
            except RuntimeError:
                pass  # the event loop is closed: nobody waits any more

    def outcome(self) -> Any:
        if self.error is None:
            return self.result
        if isinstance(self.error, Exception):
            raise self.error
        raise RuntimeError(f"the function ended with {type(self.error).__name__}") from self.error


class _Lane:
    """A thread and the calls that wait for it."""

    def __init__(self, name: str) -> None:
        self.queue: SimpleQueue[_Call | None] = SimpleQueue()
        self.running: _Call | None = None
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while (call := self.queue.get()) is not None:
            self.running = call
            call.run()
            self.running = None
            del call


class Worker:
    """The calls of one plug-in. name: for the thread's name."""

    def __init__(self, name: str) -> None:
        self._name = f"plugin-{name}"
        self._lane: _Lane | None = None
        self._stuck: dict[Callable[..., Any], _Call] = {}
        self._lock = threading.Lock()

    def call(self, function: Callable[..., Any], *arguments: Any, limit: float) -> Any:
        """The function's result. Blocks for at most limit seconds; raises TooLong, or what the function raised."""
        call = self._begin(function, arguments, None)
        if not call.done.wait(limit):
            self._give_up(call, limit)
        return call.outcome()

    async def acall(self, function: Callable[..., Any], *arguments: Any, limit: float) -> Any:
        """The same without blocking the event loop."""
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        call = self._begin(function, arguments, lambda: loop.call_soon_threadsafe(over.set))
        try:
            async with asyncio.timeout(limit):
                await over.wait()
        except TimeoutError:
            self._give_up(call, limit)
        return call.outcome()

    def post(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Has a function called when its turn comes; nobody waits for it. Raises TooLong where nothing can be called any more."""
        self._begin(function, arguments, None)

    def close(self) -> None:
        """End the thread after the calls that wait."""
        if self._lane is not None:
            self._lane.queue.put(None)
            self._lane = None

    def _begin(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], told: Callable[[], object] | None
    ) -> _Call:
        with self._lock:
            if self._stuck:
                self._stuck = {f: c for f, c in self._stuck.items() if not c.done.is_set()}
                if function in self._stuck:
                    raise TooLong("an earlier call has not come back yet")
                if len(self._stuck) >= MOST_STUCK:
                    raise TooLong(f"{MOST_STUCK} calls of this plug-in hang; it is not called until one comes back")
            if self._lane is None:
                self._lane = _Lane(self._name)
            call = _Call(function, arguments, told)
            self._lane.queue.put(call)
            return call

    def _give_up(self, call: _Call, limit: float) -> None:
        """Leave the thread behind with what it is doing; what waits goes to a new one. Raises TooLong unless the call is done now."""
        with self._lock:
            lane = self._lane
            culprit = lane.running if lane is not None else None
            if call.done.is_set():
                return
            if lane is not None and culprit is not None:
                self._leave(lane, culprit, call)
        if culprit is not None and culprit is not call:
            name = getattr(culprit.function, "__qualname__", "another function")
            raise TooLong(f"no answer within {limit:g} s, because {name} hangs")
        raise TooLong(f"no answer within {limit:g} s")

    def _leave(self, lane: _Lane, culprit: _Call, call: _Call) -> None:
        """A thread stays behind with its call; what waits behind it goes to a new one, except the call that nobody waits for any more."""
        self._lane = None
        self._stuck[culprit.function] = culprit
        waiting = []
        while not lane.queue.empty():
            waiting.append(lane.queue.get())
        lane.queue.put(None)
        rest = [c for c in waiting if c is not None and c is not call]
        if rest:
            self._lane = _Lane(self._name)
            for c in rest:
                self._lane.queue.put(c)
