"""Long work on the event loop in slices, between which everybody else has their turn.

Work on a message of many megabytes is nearly all Python's own. In a thread it fights with the event loop for the interpreter: whoever
gives it up for a moment, as every read of a socket does, has it back only after the switch interval, or after a call that takes 100 ms.
In slices nobody waits for longer than one of them.
"""

import asyncio
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from traceback import clear_frames
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

SLICE: Final = 0.002
"""Seconds of work until the others have their turn."""

ROWS: Final = 1_000
"""Rows of a list in one piece of work: well under a millisecond."""

_turns: "Final[WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]]" = WeakKeyDictionary()

_beside: Final = ThreadPoolExecutor(1, thread_name_prefix="homeport-beside")
"""One thread is enough: such messages are few, and each takes memory."""

T = TypeVar("T")

Work = Generator[Callable[[], Any] | None, Any, T]
"""Yields None where it may rest, or a function that is to be called in a thread, whose value or error it is given."""


async def in_slices(work: Work[T]) -> T:
    """What the work returns; raises what it raises. However many such works there are, one has a slice until the others have their turn."""
    loop = asyncio.get_running_loop()
    turn = _turns.get(loop)
    if turn is None:
        turn = _turns[loop] = asyncio.Lock()
    resume: Callable[[], Any] = partial(work.send, None)
    try:
        while True:
            async with turn:
                step = _slice(work, resume)
                if step is None:
                    await asyncio.sleep(0)  # before another has the turn
            if step is None:
                resume = partial(work.send, None)
                continue
            try:
                given = await loop.run_in_executor(_beside, _called, step)
            except Exception as e:
                resume = partial(work.throw, e)
            else:
                resume = partial(work.send, given)
    except StopIteration as stop:
        result: T = stop.value
        return result


def _slice(work: Work[Any], resume: Callable[[], Any]) -> Callable[[], Any] | None:
    """The function that the work wants to be called in a thread; None where its time is over. Raises StopIteration at its end."""
    until = time.perf_counter() + SLICE
    step: Callable[[], Any] | None = resume()
    while step is None and time.perf_counter() < until:
        step = work.send(None)
    return step


def _called(step: Callable[[], Any]) -> Any:
    """Its value. An error takes along where it was raised, but not what was read there, which may be a tree of many megabytes."""
    try:
        return step()
    except Exception as e:
        error: BaseException | None = e
        while error is not None:
            clear_frames(error.__traceback__)
            error = error.__context__
        raise


def pieces(rows: Iterable[T], length: int = ROWS) -> Iterator[list[T]]:
    """The rows in lists of this length."""
    left = iter(rows)
    while piece := list(islice(left, length)):
        yield piece
