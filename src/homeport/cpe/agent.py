"""The agent: what it is made of, and the loop that opens one session after another.

Everything that decides is elsewhere and pure (event_queue, schedule) or owns its facts (ledger, model_store); this file puts the pieces
together, waits, and runs one session at a time. The process around it (signals, restarting) is process.py's.
Source: TR-069a6 3.2, 3.7.1.
"""

import asyncio
import functools
import logging
import os
import random as _random
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Final

from homeport.cpe import status as status_file
from homeport.cpe.change_log import ChangeLog
from homeport.cpe.clock import Clock, SystemClock, date_time, is_set
from homeport.cpe.config import CpeSettings
from homeport.cpe.control import ControlServer
from homeport.cpe.conversation import Conversation
from homeport.cpe.devices import Device, close_device, device_for
from homeport.cpe.discovery import option_bytes, url_problem
from homeport.cpe.enable import remember_profile, switched_off, take_up
from homeport.cpe.handlers import Handlers
from homeport.cpe.journal import LOG, Journal
from homeport.cpe.leases.desk import LeaseDesk
from homeport.cpe.ledger import Ledger
from homeport.cpe.management import Management, identifier
from homeport.cpe.model_store import ModelStore
from homeport.cpe.parts.choose import parts_of
from homeport.cpe.parts.part import Part, Parts
from homeport.cpe.reachability import Doors
from homeport.cpe.recorder import Recorder, Tape
from homeport.cpe.rings import Ring, Rings
from homeport.cpe.schedule import PeriodicTimer, SessionPolicy
from homeport.cpe.standby import StandbyWatch
from homeport.cpe.startup import RANKS, SOURCES, apply_factory_values, apply_identity, apply_settings, url_source
from homeport.cpe.state import Store
from homeport.cpe.status import AgentStatus, SessionReport
from homeport.cpe.transfers.rules import RowFiles
from homeport.cpe.verbs import verbs_of
from homeport.errors import ConfigError, Fault, StoreError, TransportError
from homeport.model.changes import ACTIVE, Change
from homeport.model.profile import ProfileDef, load_profile, load_profile_file
from homeport.model.transaction import Transaction
from homeport.model.tree import DataModel
from homeport.session.events import Outcome, SessionEnded
from homeport.session.session import Session
from homeport.terms import CwmpVersion, EventCode, FaultCode, Role, Writer
from homeport.transport.driver import Channel, run_cpe_session

LONGEST_NAP: Final = 300.0
"""Seconds after which the loop looks at the wall clock again even if nothing is due: it may have been set meanwhile."""

NOTICE_EVERY: Final = 30.0
"""Seconds between looks at computed parameters that the ACS wants to be told about."""

STOP_GRACE: Final = 2.0
"""Seconds that a running session has to end when the agent is told to stop: a service manager waits longer than that."""

_COMPRESSIONS: Final = {"GZIP": "gzip", "Deflate": "deflate"}
"""HTTPCompression as the channel names it; an ACS that answers 415 gets plain bodies until the next start."""

ChannelFactory = Callable[[str], Channel]


class Exit(Enum):
    """Why `Agent.run` returned."""

    STOPPED = "stopped"
    RESTART = "restart"


def _check_url(change: Change, view: Transaction) -> None:
    """An ACS URL that cannot be one is refused (9007), so that a slip of the pen does not cut the device off. "" is none at all."""
    problem = url_problem(change.new) if change.new else None
    if problem:
        raise Fault(FaultCode.INVALID_PARAMETER_VALUE, problem)


def profile_of(name: str) -> ProfileDef:
    """The profile of that name, or in that file where the name ends with .toml. Raises ConfigError where there is none."""
    if not name.endswith(".toml"):
        return load_profile(name)
    try:
        return load_profile_file(Path(name).expanduser())
    except OSError as e:
        raise ConfigError(f"cannot read the profile {name}: {e.strerror}") from e


class Agent:
    """One device's agent, from its start to its stop or restart. Make a new one for the next start: it reads everything from disk."""

    def __init__(
        self,
        settings: CpeSettings,
        *,
        clock: Clock | None = None,
        random: Callable[[], float] = _random.random,
        channel: ChannelFactory | None = None,
        profile: ProfileDef | None = None,
        doors: bool = True,
        parts: Callable[["Agent"], Sequence[Part]] | None = None,
        notice_every: float = NOTICE_EVERY,
    ) -> None:
        """Reads the state directory and settles what was accepted before the restart.

        channel: makes the way to the ACS for a URL; default HTTP. profile: default the one that the settings name.
        doors: False opens no listener and no control socket (tests, fleets). parts: what works beside the sessions; default what the
        model has parameters for, nothing without doors. notice_every: seconds between looks at computed parameters.
        Raises ConfigError for settings that do not fit the device, StoreError where the state directory cannot be used.
        """
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self._channel = channel or self._http_channel
        self.started_at = self.clock.monotonic()
        self.store = Store(settings.directory)
        try:
            self.client_log = Journal("client", settings.directory, self.clock)
            self.config_log = Journal("config", settings.directory, self.clock)
            self.ledger = Ledger(self.store)
            self.boot = self.ledger.boot()
            profile = profile or profile_of(settings.profile)
            self.device: Device = device_for(profile.name, settings, self.clock, started=self.started_at)
            profile = self.device.fitted(profile)
            root = profile.schema.root
            self._model_store = ModelStore(self.store, self.ledger, f"{root}ManagementServer.URL")
            lightweight = "LightweightNotificationProtocolsUsed" in profile.parameters_of(f"{root}ManagementServer.")
            self.model = DataModel(profile, persist=self._model_store.persist, lightweight=lightweight)
            for sentence in self._model_store.restore(self.model):
                self.config_log.write(f"not taken over: {sentence}", level=logging.WARNING)
            self.changes = ChangeLog(self.config_log, self.model)
            self.recorder = Recorder(settings.directory, self.clock.monotonic)
            self.management = Management(self.model)
            apply_identity(settings, self.management, self.store, self.device.identity())
            apply_factory_values(profile, self.management, self.store)
            self.device.attach(self.model)
            self.model.hook(f"{root}ManagementServer.URL", validate=_check_url)
            with self.changes.acting("the agent's settings"):
                apply_settings(settings, self.management, self.store, product_class=self.product_class)
            say = functools.partial(self.config_log.write, level=logging.WARNING)
            remember_profile(self.store, settings.profile)
            with self.changes.acting("homeport cpe enable"):
                take_up(self.model, self.store, say)
            self.leases = LeaseDesk(
                self.management,
                self.store,
                form=settings.option43_form,
                clock=self.clock,
                say=say,
                directory=settings.directory,
                acting=self.changes.acting,
            )
            self.leases.start(option_bytes(settings.option43))
        except BaseException:
            close_device(getattr(self, "device", None))
            self.store.close()
            raise
        self.ledger.resume_schedule(wall=self.clock.now(), monotonic=self.started_at)
        self.random = random
        self.vendor_files = RowFiles()
        self.parts = Parts((parts or (parts_of if doors else _no_parts))(self))
        self.handlers = Handlers(self.model, self, self.parts.handlers())
        self.policy = SessionPolicy(random)
        self._known: dict[str, str] | None = {} if settings.minimal_inform else None
        self._uncompressed = ""
        self._periodic = PeriodicTimer(random)
        self._heartbeat = PeriodicTimer(random)
        self._standby = StandbyWatch(self.clock.asleep())
        self._rings = Rings(settings.connection_request_limit)
        self._rung_session = False
        self._wake = asyncio.Event()
        self._exit: Exit | None = None
        self._session_task: asyncio.Task[SessionEnded] | None = None
        self._notice_every = notice_every
        self._next_notice = 0.0
        self._doors = Doors(self, self.store, settings) if doors else None
        self._control = (
            ControlServer(
                settings.directory,
                verbs_of(self) | self.parts.verbs(),
                path=settings.control_socket,
                group=settings.control_group,
            )
            if doors
            else None
        )
        self._saved_status = b""
        self.status = AgentStatus(pid=os.getpid(), started=date_time(self.clock.now()), profile=profile.name)

    # --- what others ask ------------------------------------------------------------------------------------------------------

    @property
    def product_class(self) -> str:
        """ProductClass for devices whose model lacks that parameter."""
        return self.settings.product_class or self.device.product_class

    @property
    def enabled(self) -> bool:
        """Whether sessions are wanted at all: EnableCWMP, or the switch of a device that has no such parameter."""
        return self.management.enabled and not switched_off(self.store)

    def stop(self) -> None:
        """Ask `run` to return; a session that runs may end within STOP_GRACE. Nothing that was acknowledged is lost either way."""
        self._leave(Exit.STOPPED)
        if self._session_task is not None:
            asyncio.get_running_loop().call_later(STOP_GRACE, self._session_task.cancel)

    def restart(self, reason: str = "") -> None:
        """Ask `run` to return for a restart after the session (a wish of the device: the next Inform says `1 BOOT` only)."""
        if reason:
            self.client_log.write(f"restarting: {reason}")
        self._leave(Exit.RESTART)

    def contact(self) -> None:
        """Open a session as soon as none runs: something is owed to the ACS."""
        self.policy.want()
        self._wake.set()

    def trigger(self, code: str, command_key: str = "") -> None:
        """Owe an event and open a session for it as soon as none runs."""
        self.ledger.owe_event(code, command_key)
        self.contact()

    def connection_requested(self, way: str = "HTTP") -> bool | str:
        """Whether an authenticated connection request is accepted; a text says why not (answered 503).

        Several before the session begins, or during one, lead to one session (TR-069a6 3.2.2). way: HTTP, UDP or XMPP; the same wish
        that comes by several of them opens one session.
        """
        now = self.clock.monotonic()
        reason = self._obstacle() if self._exit is None else "the device restarts"
        judged = self._rings.judge(way, now, in_session=self._rung_session) if not reason else Ring.TOO_MANY
        if judged is Ring.TOO_MANY:
            reason = reason or f"over {self.settings.connection_request_limit} in a minute"
            self.status.connection_requests_refused += 1
            if self._rings.worth_a_line(now):
                self.client_log.write(f"<- connection request by {way} refused: {reason}")
            return reason
        self.status.connection_requests_accepted += 1
        if judged is Ring.SAME_WISH:
            self.client_log.write(f"<- connection request, again by {way}")
            return True
        self.client_log.write(f"<- connection request by {way}")
        self.trigger(EventCode.CONNECTION_REQUEST)
        return True

    def accept_reboot(self, command_key: str) -> None:
        """Promises for the handlers: see ledger."""
        self.ledger.accept_reboot(command_key)

    def accept_factory_reset(self) -> None:
        self.ledger.accept_factory_reset()

    def accept_schedule_inform(self, delay: int, command_key: str) -> None:
        self.ledger.accept_schedule_inform(delay, command_key, wall=self.clock.now(), monotonic=self.clock.monotonic())

    # --- the loop ---------------------------------------------------------------------------------------------------------------

    async def run(self) -> Exit:
        """Sessions until `stop` or an accepted restart. Raises ConfigError where a listener's address cannot be used."""
        try:
            await self._open()
            while self._exit is None:
                await self._turn()
        finally:
            await self._close()
        return self._exit

    async def _open(self) -> None:
        management = self.management
        if self._doors is not None:
            await self._doors.open()
        if self._control is not None:
            await self._control.start()
            self.leases.look()
        management.set("SupportedConnReqMethods", ",".join(self.parts.connection_request_methods))
        await self.parts.start()
        first = self.ledger.reconcile_bootstrap(management.url)
        if self._doors is not None:
            await self._doors.follow_address(management.url)  # DHCP may have named the ACS meanwhile
        if EventCode.BOOTSTRAP in self.ledger.queue:
            self._drop_old_news()
        self.status.device_id = identifier(management.device_id(product_class=self.product_class))
        self.client_log.write(f"agent of {self.status.device_id} started{', first contact' if first else ''}")
        if self.boot.factory_reset:
            self.config_log.write("factory defaults restored")
        self._tell_url()
        self.model.subscribe(self._changed)
        self.policy.want()

    def _drop_old_news(self) -> None:
        """What the start itself wrote is no news to an ACS that has never seen the device."""
        self.model.clear_reported()
        self.policy.forget_notification()
        if self.ledger.queue.withdraw(EventCode.VALUE_CHANGE):
            self.ledger.save()

    async def _close(self) -> None:
        await self.parts.stop()
        close_device(self.device)
        if self._doors is not None:
            await self._doors.close()
        if self._control is not None:
            await self._control.stop()
        self._model_store.fold(force=True)
        self.recorder.save()
        self.status.state = "restarting" if self._exit is Exit.RESTART else "stopped"
        self.status.next_contact = self.status.next_contact_reason = ""
        self.save_status()
        self.store.close()

    async def _turn(self) -> None:
        """One round: note what is due, then run a session or wait for the next thing."""
        self._wake.clear()
        if self.clock.monotonic() >= self._next_notice:
            await self.parts.prepare(self.model.watched())
        now = self.clock.monotonic()
        self._note_due(now)
        if self.ledger.unsaved:
            self.ledger.save()
        if self._doors is not None and not self._doors.in_step:
            await self._doors.follow_address(self.management.url)
        obstacle = self._obstacle()
        start = None if obstacle else self.policy.next_start(self.management.throttle)
        if start is not None and start <= now:
            await self._session()
            return
        self._show_waiting(obstacle, start, now)
        await self._wait(start, now)

    def _note_due(self, now: float) -> None:
        wall = self.clock.now()
        slept = self._standby.slept(self.clock.asleep())
        if slept:
            self._woke(slept, wall, now)
        enable, interval, time = self.management.periodic
        self._periodic.configure(enable, interval, time, wall=wall, monotonic=now)
        if self._periodic.ticked(wall=wall, monotonic=now):
            self.trigger(EventCode.PERIODIC)
        enable, interval, time = self.management.heartbeat
        self._heartbeat.configure(enable, interval, time, wall=wall, monotonic=now)
        if self._heartbeat.ticked(wall=wall, monotonic=now) and self.policy.retry_at is None:
            self.trigger(EventCode.HEARTBEAT)
        if self.ledger.schedule_due(now):
            self.policy.want()
        if now >= self._next_notice:
            self._next_notice = now + self._notice_every
            self.look_for_changes()

    def _woke(self, slept: float, wall: float, now: float) -> None:
        """The machine comes out of standby: make up for the time, and tell the ACS where its StandbyPolicy says so."""
        self.client_log.write(f"out of standby after {slept:.0f} s")
        self.ledger.slept(slept)
        scheduled = sum(s.due <= now for s in self.ledger.scheduled)
        periodic = self._periodic.missed(slept, wall=wall)
        if self.management.standby.wants_wakeup(slept, missed_periodic=periodic, missed_scheduled=scheduled):
            self.trigger(EventCode.WAKEUP)

    async def _wait(self, start: float | None, now: float) -> None:
        deadlines = [now + LONGEST_NAP]
        wall = self.clock.now()
        candidates = (
            start,
            self._periodic.deadline(wall=wall, monotonic=now),
            self._heartbeat.deadline(wall=wall, monotonic=now),
            self.ledger.next_scheduled(),
            self._next_notice,
        )
        deadlines += [deadline for deadline in candidates if deadline is not None]
        if self._wake.is_set() or self._exit is not None:
            return
        sleep = asyncio.ensure_future(self.clock.sleep_until(min(deadlines)))
        wake = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait((sleep, wake), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleep, wake):
                task.cancel()

    def _obstacle(self) -> str:
        """Why no session can be opened at all, "" where one can."""
        if not self.enabled:
            return "CWMP is switched off (EnableCWMP, or homeport cpe disable); switch it on at the device: homeport cpe enable"
        if not self.management.url:
            asks = self.settings.dhcp_query != "off"
            who = "the agent asks for one" if asks else "a DHCP client's hook brings one: homeport cpe hook list"
            return (
                f"there is no ACS URL: waiting for a DHCP lease that names one ({who}), or for homeport cpe enable URL"
            )
        return ""

    # --- one session --------------------------------------------------------------------------------------------------------------

    async def _session(self) -> None:
        management = self.management
        url = management.url
        self.policy.started()
        self._rung_session = EventCode.CONNECTION_REQUEST in self.ledger.queue
        heartbeat = not [e for e in self.ledger.events if e.event_code != EventCode.HEARTBEAT] and bool(
            self.ledger.events
        )
        tape = self.recorder.tape()
        conversation = Conversation(
            model=self.model,
            management=management,
            ledger=self.ledger,
            handlers=self.handlers,
            journal=self.client_log,
            clock=self.clock,
            product_class=self.product_class,
            retry_count=self.policy.retry_count,
            parts=self.parts,
            known=self._known,
            tape=tape,
        )
        started = self.clock.now()
        self.status.state, self.status.reason = "in session", f"A session with {url} runs."
        self.save_status()
        if self._doors is not None:
            await self._doors.follow_address(url)
            if not self.ledger.ever_acknowledged:
                self._drop_old_news()
        self.parts.session_opened()
        await self.parts.prepare([*self.model.forced_inform(), *self.model.watched()])
        try:
            self._session_task = asyncio.ensure_future(self._talk(url, conversation))
            ended = await self._session_task
            if ended.outcome is Outcome.SUCCESS:
                self.parts.heard()
        except asyncio.CancelledError:
            if self._exit is None:
                raise
            ended = SessionEnded(Outcome.ABORTED, "the agent was told to stop", "aborted")
        finally:
            self._session_task = None
            self._rung_session = False
            self.parts.session_closed()
        self._after(ended, conversation, url, started, tape, heartbeat=heartbeat)

    async def _talk(self, url: str, conversation: Conversation) -> SessionEnded:
        versions = tuple(v for v in CwmpVersion if str(v) <= self.settings.cwmp_version)
        session = Session(Role.CPE, timeout=self.settings.session_timeout, cwmp_versions=versions)
        conversation.version = lambda: session.version
        try:
            channel = self._channel(url)
        except TransportError as e:
            return session.end(Outcome.FAILED, str(e), e.kind)
        except ConfigError as e:
            return session.end(Outcome.FAILED, str(e), "config")
        ended = await run_cpe_session(session, conversation, channel, clock=self.clock.monotonic)
        if getattr(channel, "compression_refused", False):
            self._uncompressed = url
        return ended

    def _after(
        self,
        ended: SessionEnded,
        conversation: Conversation,
        url: str,
        started: float,
        tape: Tape,
        *,
        heartbeat: bool,
    ) -> None:
        """Settle what the session's end means: events, retry, status, and what was promised for after it."""
        now = self.clock.monotonic()
        success = ended.outcome is Outcome.SUCCESS
        self.ledger.session_ended(success=success)
        if success:
            self.policy.succeeded(now)
        elif ended.outcome is Outcome.FAILED and not heartbeat:
            minimum, multiplier = self.management.retry
            self.policy.failed(now, minimum=minimum, multiplier=multiplier)
        self._report(ended, conversation, url, started)
        if self.status.last_session is not None:
            self.recorder.finished(tape, self.status.last_session, secret=conversation.is_secret)
        self.parts.session_ended(success=success, kind=ended.kind)
        if self.ledger.reconcile_bootstrap(self.management.url):
            self._tell_url()
            self.policy.want()
        self._model_store.fold()
        if self.ledger.restart_accepted:
            self.client_log.write("restarting, as the ACS asked")
            self._leave(Exit.RESTART)

    def _report(self, ended: SessionEnded, conversation: Conversation, url: str, started: float) -> None:
        status = self.status
        finished = date_time(self.clock.now())
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
            self.client_log.write(f"session with {url} done: {ended.reason}")
        else:
            status.sessions_failed += 1
            status.reason = ended.reason
            self.client_log.write(f"session with {url} failed: {ended.reason}", level=logging.WARNING)

    # --- changes of the data model --------------------------------------------------------------------------------------------------

    def _changed(self, changes: Sequence[Change]) -> None:
        """The model committed something: open a session where the ACS wants to know at once, follow what steers the agent."""
        self._wake.set()
        self.parts.changed(changes)
        self._tell_changes({c.path for c in changes if c.writer is not Writer.ACS})
        if not self._in_talk and self.ledger.reconcile_bootstrap(self.management.url):
            self._tell_url()
            self.policy.want()

    def look_for_changes(self) -> None:
        """Computed parameters that the ACS wants to be told about."""
        try:
            self._tell_changes(set(self.model.poll()))
        except StoreError as e:
            LOG.warning("changes of computed parameters are not looked for now: %s", e)

    def _tell_changes(self, paths: set[str]) -> None:
        """Want a session where one of these changed parameters has active notification."""
        if not paths:
            return
        for change in self.model.pending_changes(poll=False):
            if change.notification in ACTIVE and change.name in paths:
                self.policy.want_notification()
                self._wake.set()
                return

    @property
    def _in_talk(self) -> bool:
        return self._session_task is not None

    # --- small things ---------------------------------------------------------------------------------------------------------------

    def _leave(self, how: Exit) -> None:
        if self._exit is None:
            self._exit = how
        self._wake.set()

    def _http_channel(self, url: str) -> Channel:
        from homeport.transport.acs_client import HttpChannel
        from homeport.transport.tls import TlsSettings

        settings = self.settings
        return HttpChannel(
            url,
            username=self.management.username,
            password=self.management.password,
            tls=TlsSettings(
                ca_file=settings.ca_file,
                client_certificate=settings.client_certificate,
                client_key=settings.client_key,
                check_dates=is_set(self.clock.now()),
            ),
            timeout=settings.session_timeout,
            compression=""
            if self._uncompressed == url
            else _COMPRESSIONS.get(self.management.text("HTTPCompression"), ""),
            allow_basic_over_http=settings.allow_basic_over_http,
            proxy=settings.proxy,
            now=self.clock.now,
        )

    def _tell_url(self) -> None:
        url = self.management.url
        if url:
            source = self._url_source
            self.config_log.write(f"ACS URL {url}, {source}")
            self.status.acs_url, self.status.acs_url_source = url, source
        else:
            self.config_log.write(self._obstacle(), level=logging.WARNING)

    @property
    def _url_source(self) -> str:
        detail = self.leases.url_detail
        return f"from {detail}" if detail else SOURCES[url_source(self.store)]

    def _show_waiting(self, obstacle: str, start: float | None, now: float) -> None:
        status = self.status
        status.retry_count = self.policy.retry_count
        wall = self.clock.now()
        candidates = [
            (
                start,
                f"retry {self.policy.retry_count} after a failed session" if self.policy.retry_at else "a notification",
            ),
            (self._periodic.deadline(wall=wall, monotonic=now), "the periodic contact"),
            (self.ledger.next_scheduled(), "a contact that the ACS scheduled"),
        ]
        due = min(((at, why) for at, why in candidates if at is not None), default=None)
        if obstacle:
            status.state = "disabled" if not self.enabled else "no ACS URL"
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
        self.save_status()

    def save_status(self) -> None:
        """Bring the status record up to date and write it for other processes."""
        status = self.status
        status.acs_url = self.management.url
        status.acs_url_source = self._url_source if status.acs_url else ""
        status.acs_url_from = RANKS[url_source(self.store)] if status.acs_url else ""
        status.leases = self.leases.seen
        status.connection_request_url = self.management.text("ConnectionRequestURL")
        status.pending_events = tuple(e.event_code for e in self.ledger.events)
        status.transfers = self.parts.transfers
        status.storage = "events wait for room on the disk" if self.ledger.unsaved else "ok"
        self._saved_status = status_file.save(status, self.settings.directory, self._saved_status)


def _no_parts(agent: Agent) -> list[Part]:
    return []


def main(settings: CpeSettings) -> int:
    """Run the agent as this process until it is told to stop; the exit status. See process.py."""
    from homeport.cpe import process

    return process.main(settings)
