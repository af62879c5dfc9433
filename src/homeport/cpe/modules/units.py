"""Execution units at work: the state machine of each, its restarts, and how they all are started and stopped together.

A unit that is wanted has one task, which lives as long as it is not Idle for good. Whoever wants something else says so (`told`) and the
task acts on it: so there is never more than one process of a unit.
Source: TR-181 2.19 SoftwareModules.ExecutionUnit (Status, RequestedState, ExecutionFaultCode, AutoRestart).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final

from homeport.cpe.clock import Clock, date_time
from homeport.cpe.modules.interface import Ended, Environment, PackageSpec, Place, Running, UnitSpec, Usage
from homeport.cpe.modules.records import EU_STEPS, EuFault, EuStatus
from homeport.cpe.modules.rows import RestartRules, UnitPicture
from homeport.errors import Fault, LocalProtocolError

LOG: Final = logging.getLogger("homeport.cpe.modules")


class Then(Enum):
    """What comes after a run."""

    OVER = "over"
    AGAIN = "again"
    AS_WANTED = "as wanted"


class Seen(Enum):
    """What happened to a running unit other than its end."""

    TIME = "time"
    WISH = "wish"


class ExecutionUnit:
    """One execution unit. row: of its table. stop_after: seconds that it has to end by itself, asked when it is stopped."""

    def __init__(
        self,
        row: int,
        *,
        environment: Environment,
        place: Place,
        spec: PackageSpec,
        unit: UnitSpec,
        clock: Clock,
        rules: Callable[[], RestartRules],
        stop_after: Callable[[], float],
        obstacle: Callable[[], tuple[EuFault, str] | None],
        changed: Callable[[], None],
    ) -> None:
        """obstacle: why it cannot be started now. changed: its picture is another one; must not wait."""
        self.row = row
        self.unit = unit
        self.environment = environment
        self.place, self.spec = place, spec
        self._clock = clock
        self._rules, self._stop_after, self._obstacle, self._changed = rules, stop_after, obstacle, changed
        self._status, self._fault, self._message = EuStatus.IDLE, EuFault.NO_FAULT, ""
        self._wanted = False
        self._auto = False
        self._grace: float | None = None
        self._told = asyncio.Event()
        """Somebody wants something else than before."""
        self._calm = asyncio.Event()
        """Nobody need wait for its end any more."""
        self._task: asyncio.Task[None] | None = None
        self._running: Running | None = None
        self._since: float | None = None
        self._restarts = 0
        self._last_restart = self._next_restart = ""

    @property
    def status(self) -> EuStatus:
        return self._status

    @property
    def wanted(self) -> bool:
        """Whether it is to run, also while it waits for its next start."""
        return self._wanted

    @property
    def picture(self) -> UnitPicture:
        """How it is now."""
        return UnitPicture(
            self._status, self._fault, self._message, self._restarts, self._last_restart, self._next_restart
        )

    @property
    def uptime(self) -> int:
        """Seconds since it became Active, 0 where it is not."""
        return int(self._clock.monotonic() - self._since) if self._since is not None else 0

    def usage(self) -> Usage:
        return self._running.usage() if self._running is not None else Usage(memory=0)

    def start(self, *, auto: bool = False) -> None:
        """Have it run; nothing changes where it does. auto: by AutoStart, for the name of the fault."""
        if self._wanted and self._status is not EuStatus.IDLE:
            return
        self._wanted, self._auto, self._restarts = True, auto, 0
        self._calm.set()
        self._told.set()  # also where it waits for its next start, or is being stopped
        if self._task is None or self._task.done():
            self._told.clear()
            self._task = asyncio.get_running_loop().create_task(self._live())

    async def stop(self, grace: float | None = None) -> None:
        """Have it Idle; returns when it is, when it turns out that it does not end, or when somebody wants it to run again.

        grace: seconds that it has to end by itself, default the unit's own.
        """
        self._wanted, self._grace = False, grace
        if self._task is None or self._task.done():
            return
        self._calm.clear()
        self._told.set()
        await self._calm.wait()

    # --- its life -----------------------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        try:
            while self._wanted:
                fault, message, then = await self._run_once()
                if fault is not EuFault.NO_FAULT:
                    LOG.warning("execution unit %s.%s: %s", self.place.duid, self.unit.name, message)
                self._show(EuStatus.IDLE, fault, message)
                if then is Then.OVER:
                    break
                if then is Then.AGAIN:
                    await self._pause()
        except Exception:
            # A defect in a plug-in must not leave a unit in between: what is known of it is said.
            LOG.exception("execution unit %s.%s failed inside its environment", self.place.duid, self.unit.name)
            self._status, self._fault = EuStatus.IDLE, EuFault.UN_STARTABLE
            self._message = "its environment failed; see the agent's log"
            self._changed()
        finally:
            self._wanted = False
            self._running = self._since = None
            self._calm.set()

    async def _run_once(self) -> tuple[EuFault, str, Then]:
        """From Starting to the end: the fault that remains, its sentence, and what comes next."""
        on_start = EuFault.FAILURE_ON_AUTO_START if self._auto else EuFault.FAILURE_ON_START
        self._show(EuStatus.STARTING, EuFault.NO_FAULT, "")
        obstacle = self._obstacle()
        if obstacle is not None:
            return *obstacle, Then.OVER
        try:
            running = self._running = await self.environment.start(self.place, self.spec, self.unit)
        except Fault as e:
            return on_start, e.text, self._next(failed=True)
        try:
            ended = await self._watch(running, self.unit.ready_after)
            if ended is Seen.TIME:
                self._since = self._clock.monotonic()
                self._show(EuStatus.ACTIVE, EuFault.NO_FAULT, "")
                on_start = EuFault.FAILURE_WHILE_ACTIVE
                ended = await self._watch(running, None)
            while not isinstance(ended, Ended):
                if await self._end(running):
                    return EuFault.NO_FAULT, "", Then.AS_WANTED
                ended = await self._watch(running, None)
            if self.uptime >= self._rules().reset_after > 0:
                self._restarts = 0
            if not self._wanted:
                return EuFault.NO_FAULT, "", Then.AS_WANTED  # it ended just when it was told to
            if not ended.failed:
                return EuFault.NO_FAULT, "", self._next(failed=False)
            return on_start, ended.why, self._next(failed=True)
        except Exception:
            await running.stop(0)  # whatever went wrong in the environment, nothing goes on in secret
            raise
        finally:
            self._running = self._since = None

    async def _end(self, running: Running) -> bool:
        """Stop it; False where it does not end and so stays Active."""
        self._show(EuStatus.STOPPING, EuFault.NO_FAULT, "")
        try:
            await running.stop(self._stop_after() if self._grace is None else self._grace)
        except Fault as e:
            LOG.error("execution unit %s.%s does not end: %s", self.place.duid, self.unit.name, e.text)
            self._wanted = True
            self._show(EuStatus.ACTIVE, EuFault.FAILURE_ON_STOP, e.text)
            self._calm.set()
            return False
        return True

    async def _watch(self, running: Running, limit: float | None) -> "Ended | Seen":
        """How it ended by itself, or that it is to stop, or that the limit (seconds) is over."""
        end = asyncio.ensure_future(running.wait())
        sleep = None
        if limit is not None:
            sleep = asyncio.ensure_future(self._clock.sleep_until(self._clock.monotonic() + limit))
        try:
            while True:
                told = asyncio.ensure_future(self._told.wait())
                try:
                    waits = {end, told} if sleep is None else {end, told, sleep}
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    told.cancel()
                if end.done():
                    return end.result()
                if self._told.is_set():
                    self._told.clear()
                    if not self._wanted:
                        return Seen.WISH
                if sleep is not None and sleep.done():
                    return Seen.TIME
        finally:
            end.cancel()
            if sleep is not None:
                sleep.cancel()

    def _next(self, *, failed: bool) -> Then:
        """What comes after it ended by itself."""
        rules = self._rules()
        if not rules.enable or not (failed or rules.always) or (rules.most and self._restarts >= rules.most):
            return Then.OVER
        return Then.AGAIN

    async def _pause(self) -> None:
        """Wait for the next start; shorter where somebody wants something."""
        if not self._wanted:
            return
        rules = self._rules()
        wait = min(rules.longest_wait, rules.first_wait * rules.multiplier ** min(self._restarts, 64))
        restarts = self._restarts + 1
        self._next_restart = date_time(self._clock.now() + wait)
        self._told.clear()
        self._changed()
        sleep = asyncio.ensure_future(self._clock.sleep_until(self._clock.monotonic() + wait))
        told = asyncio.ensure_future(self._told.wait())
        try:
            await asyncio.wait({sleep, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            told.cancel()
        if not self._told.is_set():
            self._restarts, self._auto = restarts, True
            self._last_restart = date_time(self._clock.now())
        self._told.clear()

    def _show(self, status: EuStatus, fault: EuFault, message: str) -> None:
        if status is not self._status and (self._status, status) not in EU_STEPS:
            raise LocalProtocolError(f"an execution unit does not go from {self._status} to {status}")
        self._status, self._fault, self._message = status, fault, message
        self._changed()


async def stop_all(units: Iterable[ExecutionUnit], grace: float | None = None) -> None:
    """Have all of them Idle, at the same time."""
    await asyncio.gather(*(unit.stop(grace) for unit in units))
