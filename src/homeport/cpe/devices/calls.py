"""One declaration of a plug-in as it runs: its calls with their limits, what it gave last, and what becomes of its errors.

No data model here: rows and texts come and go as arguments.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from homeport.cpe.clock import Clock
from homeport.cpe.devices.declarations import Declaration, Row
from homeport.cpe.devices.worker import TooLong, Worker
from homeport.cpe.journal import LOG
from homeport.errors import Fault, HomeportError
from homeport.terms import FaultCode

PREPARED: Final = 1.0
"""Seconds for which an answer that was fetched ahead of a request counts."""

REPEAT: Final = 300.0
"""Seconds before the same failure of the same function is logged again."""

MOST_KEPT: Final = 10_000
"""Answers that one declaration keeps: more rows than any table of a device has."""


class Outcome:
    """What a call gave: a value or an error. at: monotonic seconds."""

    __slots__ = ("value", "error", "at")

    def __init__(self, value: Any, error: Exception | None, at: float) -> None:
        self.value = value
        self.error = error
        self.at = at

    def get(self) -> Any:
        """The value; raises the error."""
        if self.error is not None:
            raise self.error
        return self.value

    def differs(self, other: "Outcome | None") -> bool:
        """Whether this is news after the other one."""
        return other is None or (self.error is None and (other.error is not None or self.value != other.value))


class Calls:
    """The calls of one declaration."""

    def __init__(self, declaration: Declaration, worker: Worker, clock: Clock) -> None:
        self.declaration = declaration
        self.worker = worker
        self._clock = clock
        self._kept: dict[str, Outcome] = {}
        self._logged: dict[str, float] = {}
        self.failing: dict[str, str] = {}
        """Parameters that could not be had at the last look, with the reason, for people."""

    def read(self, row: Row | None) -> Any:
        """What the declaration's function says, for a row or without one. Raises what it raises, TooLong where it hangs.

        An answer that was fetched ahead, or by polling, is taken where it is fresh enough.
        """
        key = row.path if row is not None else ""
        kept = self.fresh(key)
        if kept is None:
            kept = self._called(row)
            if self.declaration.poll:
                self._keep(key, kept)
        return kept.get()

    def fresh(self, key: str) -> Outcome | None:
        """The kept answer for a row's path, where it still counts."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        poll = self.declaration.poll
        # A poller that fell behind, or does not run, must not freeze the value.
        good_for = 2 * poll + self.declaration.limit if poll else PREPARED
        return kept if self._clock.monotonic() - kept.at <= good_for else None

    async def fetch(self, row: Row | None) -> bool:
        """Call the function without blocking the loop and keep its answer; whether it differs from the one before."""
        key = row.path if row is not None else ""
        before = self._kept.get(key)
        outcome = self._called(row) if self.declaration.inline else await self._acalled(row)
        self._keep(key, outcome)
        return outcome.differs(before)

    def read_many(self, paths: Sequence[str]) -> dict[str, Outcome]:
        """What a bundle's function says of some parameters; one call for all that is not kept and fresh."""
        found = {path: kept for path in paths if (kept := self.fresh(path)) is not None}
        missing = [path for path in paths if path not in found]
        if missing:
            called = self._spread(missing, self._called(missing))
            if self.declaration.poll:
                for path, outcome in called.items():
                    self._keep(path, outcome)
            found |= called
        return found

    async def fetch_many(self, paths: Sequence[str]) -> bool:
        """Call a bundle's function without blocking the loop and keep what it says; whether any of it is news."""
        if self.declaration.inline:
            outcome = self._called(paths)
        else:
            outcome = await self._acalled(paths)
        news = False
        for path, each in self._spread(paths, outcome).items():
            news = each.differs(self._kept.get(path)) or news
            self._keep(path, each)
        return news

    @staticmethod
    def _spread(paths: Sequence[str], outcome: Outcome) -> dict[str, Outcome]:
        """A bundle's answer as one outcome for each path."""
        values, error = outcome.value, outcome.error
        if error is None and not isinstance(values, Mapping):
            error = TypeError(f"a dict of values by path was expected, not {type(values).__name__}")
        if error is not None:
            return dict.fromkeys(paths, Outcome(None, error, outcome.at))
        found = {}
        for path in paths:
            value = values.get(path)
            failed = value if isinstance(value, Exception) else None
            found[path] = Outcome(None if failed else value, failed, outcome.at)
        return found

    def forget_all(self) -> None:
        """What was kept no longer holds: something was written."""
        self._kept.clear()

    def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call one of the declaration's other functions. Raises Fault: 9007 for a ValueError, 9002 for the rest."""
        try:
            if self.declaration.inline:
                return function(*arguments)
            return self.worker.call(function, *arguments, limit=self.declaration.limit)
        except Fault:
            raise
        except ValueError as e:
            raise Fault(FaultCode.INVALID_PARAMETER_VALUE, str(e) or "the device does not take this value") from e
        except Exception as e:
            LOG.log(logging.WARNING, "%s failed: %s", function.__qualname__, sentence(e), exc_info=_trace(e))
            raise Fault(FaultCode.INTERNAL_ERROR, f"the device could not do it: {sentence(e)}") from e

    def later(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function that nobody waits for; its errors are logged."""
        if self.declaration.inline:
            self._guarded(function, *arguments)
            return
        try:
            self.worker.post(self._guarded, function, *arguments)
        except TooLong as e:
            LOG.warning("%s is not told of a change: %s", function.__qualname__, e)

    def complain(self, path: str, error: Exception) -> None:
        """Log that a value could not be had, once in a while."""
        if len(self.failing) < MOST_KEPT:
            self.failing[path] = sentence(error)
        text = f"{path} could not be read by {self.declaration.name}: {sentence(error)}"
        now = self._clock.monotonic()
        if now - self._logged.get(text, -REPEAT) >= REPEAT:
            if len(self._logged) > 200:
                self._logged.clear()
            self._logged[text] = now
            LOG.warning("%s", text)
            LOG.debug("%s", path, exc_info=_trace(error))

    def _guarded(self, function: Callable[..., Any], *arguments: Any) -> None:
        try:
            function(*arguments)
        except Exception as e:
            LOG.warning("%s failed after a change: %s", function.__qualname__, sentence(e), exc_info=_trace(e))

    async def _acalled(self, argument: Row | Sequence[str] | None) -> Outcome:
        declaration = self.declaration
        arguments = () if argument is None else (argument,)
        try:
            value = await self.worker.acall(declaration.function, *arguments, limit=declaration.limit)
        except Exception as e:
            return Outcome(None, e, self._clock.monotonic())
        return Outcome(value, None, self._clock.monotonic())

    def _called(self, argument: Row | Sequence[str] | None) -> Outcome:
        declaration = self.declaration
        arguments = () if argument is None else (argument,)
        try:
            if declaration.inline:
                value = declaration.function(*arguments)
            else:
                value = self.worker.call(declaration.function, *arguments, limit=declaration.limit)
        except Exception as e:
            return Outcome(None, e, self._clock.monotonic())
        return Outcome(value, None, self._clock.monotonic())

    def _keep(self, key: str, outcome: Outcome) -> None:
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        self._kept[key] = outcome


def sentence(error: BaseException) -> str:
    """An error in words: what a person reads in a log line or a fault."""
    if isinstance(error, HomeportError | TooLong):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _trace(error: Exception) -> Exception | None:
    return None if isinstance(error, HomeportError | TooLong) else error
