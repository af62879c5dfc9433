"""The agent's run loop: waits for what is due next, and runs one session at a time.

When a session is wanted is decided in schedule, what it tells in conversation; the agent (agent.py) owns everything that is used here.
Source: TR-069a6 3.2, 3.7.1.
"""

import asyncio
import logging
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final

from homeport.cpe import status as status_file
from homeport.cpe.clock import date_time
from homeport.cpe.conversation import Conversation
from homeport.cpe.devices import close_device
from homeport.cpe.journal import LOG
from homeport.cpe.management import identifier
from homeport.cpe.recorder import Tape
from homeport.cpe.schedule import PeriodicTimer
from homeport.cpe.standby import StandbyWatch
from homeport.cpe.status import SessionReport
from homeport.errors import ConfigError, StoreError, TransportError
from homeport.session.events import Outcome, SessionEnded
from homeport.session.session import Session
from homeport.terms import CwmpVersion, EventCode, Role
from homeport.transport.driver import Channel, run_cpe_session

if TYPE_CHECKING:
    from homeport.cpe.agent import Agent
    from homeport.cpe.control import ControlServer
    from homeport.cpe.reachability import Doors

LONGEST_NAP: Final = 300.0
"""Seconds after which the loop looks at the wall clock again even if nothing is due: it may have been set meanwhile."""

NOTICE_EVERY: Final = 30.0
"""Seconds between looks at computed parameters that the ACS wants to be told about."""

STOP_GRACE: Final = 2.0
"""Seconds that a running session has to end when the agent is told to stop: a service manager waits longer than that."""

ChannelFactory = Callable[[str], Channel]


class Exit(Enum):
    """Why the agent ended."""

    STOPPED = "stopped"
    RESTART = "restart"


class RunLoop:
    """The loop of one agent. wake: set it after a change that the loop must look at now."""

    def __init__(
        self,
        agent: "Agent",
        channel: ChannelFactory,
        *,
        doors: "Doors | None",
        control: "ControlServer | None",
        notice_every: float,
    ) -> None:
        """channel: makes the way to the ACS for a URL. doors, control: opened and closed here. notice_every: seconds."""
        self.agent = agent
        self.channel = channel
        self.wake = asyncio.Event()
        self.exit: Exit | None = None
        self.in_session = False
        """From the moment at which a session is prepared to its end."""
        self._doors, self._control = doors, control
        self._periodic = PeriodicTimer(agent.random)
        self._heartbeat = PeriodicTimer(agent.random)
        self._standby = StandbyWatch(agent.clock.asleep())
        self._known: dict[str, str] | None = {} if agent.settings.minimal_inform else None
        self._session_task: asyncio.Task[SessionEnded] | None = None
        self._notice_every = notice_every
        self._next_notice = 0.0

    # --- asked by the agent ---------------------------------------------------------------------------------------------------

    def leave(self, how: Exit) -> None:
        """Have `run` return once no session runs; the first reason counts."""
        if self.exit is None:
            self.exit = how
        self.wake.set()

    def stop(self) -> None:
        """Have `run` return; a session that runs may end within STOP_GRACE."""
        self.leave(Exit.STOPPED)
        if self._session_task is not None:
            asyncio.get_running_loop().call_later(STOP_GRACE, self._session_task.cancel)

    # --- the loop ---------------------------------------------------------------------------------------------------------------

    async def run(self) -> Exit:
        """Sessions until `stop` or an accepted restart. Raises ConfigError where a listener's address cannot be used."""
        try:
            await self._open()
            while self.exit is None:
                await self._turn()
        finally:
            await self.close()
        return self.exit

    async def _open(self) -> None:
        agent = self.agent
        management = agent.management
        if self._doors is not None:
            await self._doors.open()
        if self._control is not None:
            await self._control.start()
            agent.leases.look()
        management.set("SupportedConnReqMethods", ",".join(agent.parts.connection_request_methods))
        await agent.parts.start()
        first = agent.ledger.reconcile_bootstrap(management.url)
        if self._doors is not None:
            await self._doors.follow_address(management.url)  # DHCP may have named the ACS meanwhile
        if EventCode.BOOTSTRAP in agent.ledger.queue:
            self._drop_old_news()
        agent.status.device_id = identifier(management.device_id(product_class=agent.product_class))
        agent.client_log.write(f"agent of {agent.status.device_id} started{', first contact' if first else ''}")
        if agent.boot.factory_reset:
            agent.config_log.write("factory defaults restored")
        agent.tell_url()
        agent.model.subscribe(agent.changed)
        agent.policy.want()

    def _drop_old_news(self) -> None:
        """What the start itself wrote is no news to an ACS that has never seen the device."""
        agent = self.agent
        try:
            agent.model.clear_reported()
        except StoreError as e:
            LOG.warning("the first Inform tells more than it need: %s", e)
            return
        agent.policy.forget_notification()
        if agent.ledger.queue.withdraw(EventCode.VALUE_CHANGE):
            agent.ledger.save()

    async def close(self) -> None:
        """End everything and let go of the state directory."""
        agent = self.agent
        try:
            await agent.parts.stop()
            close_device(agent.device)
            if self._doors is not None:
                await self._doors.close()
            if self._control is not None:
                await self._control.stop()
            agent.model_store.fold(force=True)
            agent.recorder.save()
            agent.status.state = "restarting" if self.exit is Exit.RESTART else "stopped"
            agent.status.next_contact = agent.status.next_contact_reason = ""
            agent.save_status()
        finally:
            agent.store.close()  # whatever went wrong: the next start needs its lock

    async def _turn(self) -> None:
        """One round: note what is due, then run a session or wait for the next thing."""
        agent = self.agent
        self.wake.clear()
        if agent.clock.monotonic() >= self._next_notice:
            await agent.parts.prepare(agent.model.watched())
        now = agent.clock.monotonic()
        self._note_due(now)
        if agent.ledger.unsaved:
            agent.ledger.save()
        if self._doors is not None and not self._doors.in_step:
            await self._doors.follow_address(agent.management.url)
        obstacle = agent.obstacle()
        start = None if obstacle else agent.policy.next_start(agent.management.throttle)
        if start is not None and start <= now:
            await self._session()
            return
        self._show_waiting(obstacle, start, now)
        await self._wait(start, now)

    def _note_due(self, now: float) -> None:
        agent = self.agent
        wall = agent.clock.now()
        slept = self._standby.slept(agent.clock.asleep())
        if slept:
            self._woke(slept, wall, now)
        enable, interval, time = agent.management.periodic
        self._periodic.configure(enable, interval, time, wall=wall, monotonic=now)
        if self._periodic.ticked(wall=wall, monotonic=now):
            agent.trigger(EventCode.PERIODIC)
        enable, interval, time = agent.management.heartbeat
        self._heartbeat.configure(enable, interval, time, wall=wall, monotonic=now)
        if self._heartbeat.ticked(wall=wall, monotonic=now) and agent.policy.retry_at is None:
            agent.trigger(EventCode.HEARTBEAT)
        if agent.ledger.schedule_due(now):
            agent.policy.want()
        if now >= self._next_notice:
            self._next_notice = now + self._notice_every
            agent.look_for_changes()

    def _woke(self, slept: float, wall: float, now: float) -> None:
        """The machine comes out of standby: make up for the time, and tell the ACS where its StandbyPolicy says so."""
        agent = self.agent
        agent.client_log.write(f"out of standby after {slept:.0f} s")
        agent.ledger.slept(slept)
        scheduled = sum(s.due <= now for s in agent.ledger.scheduled)
        periodic = self._periodic.missed(slept, wall=wall)
        if agent.management.standby.wants_wakeup(slept, missed_periodic=periodic, missed_scheduled=scheduled):
            agent.trigger(EventCode.WAKEUP)

    async def _wait(self, start: float | None, now: float) -> None:
        deadlines = [now + LONGEST_NAP]
        wall = self.agent.clock.now()
        candidates = (
            start,
            self._periodic.deadline(wall=wall, monotonic=now),
            self._heartbeat.deadline(wall=wall, monotonic=now),
            self.agent.ledger.next_scheduled(),
            self._next_notice,
        )
        deadlines += [deadline for deadline in candidates if deadline is not None]
        if self.wake.is_set() or self.exit is not None:
            return
        sleep = asyncio.ensure_future(self.agent.clock.sleep_until(min(deadlines)))
        wake = asyncio.ensure_future(self.wake.wait())
        try:
            await asyncio.wait((sleep, wake), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleep, wake):
                task.cancel()

    # --- one session --------------------------------------------------------------------------------------------------------------

    async def _session(self) -> None:
        agent = self.agent
        url = agent.management.url
        agent.policy.started()
        tape = agent.recorder.tape()
        conversation = Conversation(
            model=agent.model,
            management=agent.management,
            ledger=agent.ledger,
            handlers=agent.handlers,
            journal=agent.client_log,
            clock=agent.clock,
            product_class=agent.product_class,
            retry_count=agent.policy.retry_count,
            parts=agent.parts,
            known=self._known,
            tape=tape,
            taken=agent.policy.started,
        )
        started = agent.clock.now()
        agent.status.state, agent.status.reason = "in session", f"A session with {url} runs."
        agent.save_status()
        # From here on a changed ACS URL waits for the session's end: its BOOTSTRAP is for the new one, not for this one.
        self.in_session = True
        agent.parts.session_opened()
        try:
            await self._prepare(url)
            if self.exit is not None:
                return  # told to stop meanwhile; what is owed stays owed
            self._session_task = asyncio.ensure_future(self._talk(url, conversation))
            ended = await self._session_task
            if ended.outcome is Outcome.SUCCESS:
                agent.parts.heard()
        except asyncio.CancelledError:
            if self.exit is None:
                raise
            ended = SessionEnded(Outcome.ABORTED, "the agent was told to stop", "aborted")
        except Exception as e:
            # A defect of ours ends this session, not the device's last way to be reached: it is tried again like any that failed.
            LOG.exception("the session with %s failed inside the device", url)
            ended = SessionEnded(Outcome.FAILED, f"the agent failed: {type(e).__name__}; see its log", "internal")
        finally:
            self._session_task = None
            self.in_session = False
            agent.parts.session_closed()
        self._after(ended, conversation, url, started, tape)

    async def _prepare(self, url: str) -> None:
        """What the Inform will need."""
        agent = self.agent
        if self._doors is not None:
            await self._doors.follow_address(url)
            if not agent.ledger.ever_acknowledged:
                self._drop_old_news()
        await agent.parts.prepare([*agent.model.forced_inform(), *agent.model.watched()])

    async def _talk(self, url: str, conversation: Conversation) -> SessionEnded:
        settings = self.agent.settings
        versions = tuple(v for v in CwmpVersion if str(v) <= settings.cwmp_version)
        session = Session(Role.CPE, timeout=settings.session_timeout, cwmp_versions=versions)
        conversation.version = lambda: session.version
        try:
            channel = self.channel(url)
        except TransportError as e:
            conversation.could_not_begin()
            return session.end(Outcome.FAILED, str(e), e.kind)
        except ConfigError as e:
            conversation.could_not_begin()
            return session.end(Outcome.FAILED, str(e), "config")
        try:
            ended = await run_cpe_session(session, conversation, channel, clock=self.agent.clock.monotonic)
        except ConfigError as e:
            return SessionEnded(Outcome.FAILED, str(e), "config")  # a file of the settings, such as the CA's, is gone
        if getattr(channel, "compression_refused", False):
            self.agent.uncompressed = url
        return ended

    def _after(self, ended: SessionEnded, conversation: Conversation, url: str, started: float, tape: Tape) -> None:
        """Settle what the session's end means: events, retry, status, and what was promised for after it."""
        agent = self.agent
        now = agent.clock.monotonic()
        success = ended.outcome is Outcome.SUCCESS
        agent.ledger.session_ended(success=success)
        if success:
            agent.policy.succeeded(now)
        elif ended.outcome is Outcome.FAILED and conversation.events != (EventCode.HEARTBEAT,):
            minimum, multiplier = agent.management.retry
            agent.policy.failed(now, minimum=minimum, multiplier=multiplier)
        self._report(ended, conversation, url, started)
        if agent.status.last_session is not None:
            agent.recorder.finished(tape, agent.status.last_session, secret=conversation.is_secret)
        agent.parts.session_ended(success=success, kind=ended.kind)
        if agent.ledger.reconcile_bootstrap(agent.management.url):
            agent.tell_url()
            agent.policy.want()
        agent.model_store.fold()
        if agent.ledger.restart_accepted:
            agent.client_log.write("restarting, as the ACS asked")
            self.leave(Exit.RESTART)

    def _report(self, ended: SessionEnded, conversation: Conversation, url: str, started: float) -> None:
        agent = self.agent
        status = agent.status
        finished = date_time(agent.clock.now())
        status_file.connection_is(status, ended.outcome is Outcome.SUCCESS, finished)
        status.last_session = SessionReport(
            started=date_time(started),
            ended=finished,
            acs_url=url,
            events=conversation.events,
            outcome=str(ended.outcome),
            reason=ended.reason,
            kind=ended.kind,
            requests_answered=conversation.requests_answered,
        )
        if status.connected:
            status.sessions_succeeded += 1
            status.last_success = finished
            status.reason = f"The last session, at {finished}, went well."
            agent.client_log.write(f"session with {url} done: {ended.reason}")
        else:
            status.sessions_failed += 1
            status.reason = ended.reason
            agent.client_log.write(f"session with {url} failed: {ended.reason}", level=logging.WARNING)

    def _show_waiting(self, obstacle: str, start: float | None, now: float) -> None:
        agent = self.agent
        status = agent.status
        status.retry_count = agent.policy.retry_count
        wall = agent.clock.now()
        candidates = [
            (
                start,
                f"retry {agent.policy.retry_count} after a failed session"
                if agent.policy.retry_at
                else "a notification",
            ),
            (self._periodic.deadline(wall=wall, monotonic=now), "the periodic contact"),
            (agent.ledger.next_scheduled(), "a contact that the ACS scheduled"),
        ]
        due = min(((at, why) for at, why in candidates if at is not None), default=None)
        if obstacle:
            status.state = "disabled" if not agent.enabled else "no ACS URL"
            status.reason = obstacle[0].upper() + obstacle[1:] + "."
            status_file.connection_is(status, False, date_time(wall))
            due = None
        else:
            status.state = "waiting"
        before = (status.next_contact, status.next_contact_reason)
        status.next_contact = date_time(wall + max(0.0, due[0] - now)) if due else ""
        status.next_contact_reason = due[1] if due else ""
        if (status.next_contact, status.next_contact_reason) != before and due:
            LOG.info("next contact in %.0f s (%s)", max(0.0, due[0] - now), due[1])
        agent.save_status()
