"""A coroutine that was begun by hand."""

from collections.abc import Coroutine, Generator
from typing import Any

from homeport.acs.endpoint.exchange import HttpReply


class Started:
    """A coroutine that has taken its first step by hand, for a task to bring to its end.

    Most answers never wait: those cost no task. One that waits has given out its future, which is given out again here.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, HttpReply], first: Any) -> None:
        self._coroutine = coroutine
        self._first = first

    def __await__(self) -> Generator[Any, Any, HttpReply]:
        given: Any = self._first
        while True:
            try:
                value = yield given
            except BaseException as e:
                try:
                    given = self._coroutine.throw(e)
                except StopIteration as stop:
                    return stop.value  # type: ignore[no-any-return]
            else:
                try:
                    given = self._coroutine.send(value)
                except StopIteration as stop:
                    return stop.value  # type: ignore[no-any-return]
