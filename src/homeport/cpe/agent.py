"""The agent: what it is made of, and what others may ask of it.

Everything that decides is elsewhere and pure (event_queue, schedule) or owns its facts (ledger, model_store); this file puts the pieces
together. Waiting and sessions are the run loop's (loop.py), signals and restarting the process's (process.py).
Source: TR-069a6 3.2.
"""

import functools
import logging
import os
import random as _random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from homeport.cpe import status as status_file
from homeport.cpe.change_log import ChangeLog
from homeport.cpe.clock import Clock, SystemClock, date_time, is_set
from homeport.cpe.config import CpeSettings
from homeport.cpe.control import ControlServer
from homeport.cpe.devices import Device, close_device, device_for
from homeport.cpe.discovery import option_bytes, url_problem
from homeport.cpe.enable import remember_profile, switched_off, take_up
from homeport.cpe.handlers import Handlers
from homeport.cpe.journal import LOG, Journal
from homeport.cpe.leases.desk import LeaseDesk
from homeport.cpe.ledger import Ledger
from homeport.cpe.loop import NOTICE_EVERY, ChannelFactory, Exit, RunLoop
from homeport.cpe.management import Management
from homeport.cpe.model_store import ModelStore
from homeport.cpe.parts.choose import parts_of
from homeport.cpe.parts.part import Part, Parts
from homeport.cpe.reachability import Doors
from homeport.cpe.recorder import Recorder
from homeport.cpe.rings import Ring, Rings
from homeport.cpe.schedule import SessionPolicy
from homeport.cpe.startup import RANKS, SOURCES, apply_factory_values, apply_identity, apply_settings, url_source
from homeport.cpe.state import Store
from homeport.cpe.status import AgentStatus
from homeport.cpe.transfers.rules import RowFiles
from homeport.cpe.verbs import verbs_of
from homeport.errors import ConfigError, Fault, StoreError
from homeport.model.changes import ACTIVE, Change
from homeport.model.profile import ProfileDef, load_profile, load_profile_file
from homeport.model.transaction import Transaction
from homeport.model.tree import DataModel
from homeport.terms import EventCode, FaultCode, Writer
from homeport.transport.driver import Channel

_COMPRESSIONS: Final = {"GZIP": "gzip", "Deflate": "deflate"}
"""HTTPCompression as the channel names it; an ACS that answers 415 gets plain bodies until the next start."""


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
            self.model_store = ModelStore(self.store, self.ledger, f"{root}ManagementServer.URL")
            lightweight = "LightweightNotificationProtocolsUsed" in profile.parameters_of(f"{root}ManagementServer.")
            self.model = DataModel(profile, persist=self.model_store.persist, lightweight=lightweight)
            for sentence in self.model_store.restore(self.model):
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
        self.uncompressed = ""
        """An ACS URL that refused compressed bodies."""
        self._rings = Rings(settings.connection_request_limit)
        self.loop = RunLoop(
            self,
            channel or self._http_channel,
            doors=Doors(self, self.store, settings) if doors else None,
            control=self._control_server() if doors else None,
            notice_every=notice_every,
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
        self.loop.stop()

    def restart(self, reason: str = "") -> None:
        """Ask `run` to return for a restart after the session (a wish of the device: the next Inform says `1 BOOT` only)."""
        if reason:
            self.client_log.write(f"restarting: {reason}")
        self.loop.leave(Exit.RESTART)

    def contact(self) -> None:
        """Open a session as soon as none runs: something is owed to the ACS."""
        self.policy.want()
        self.loop.wake.set()

    def trigger(self, code: str, command_key: str = "") -> None:
        """Owe an event and open a session for it as soon as none runs."""
        self.ledger.owe_event(code, command_key)
        self.contact()

    def connection_requested(self, way: str = "HTTP") -> bool | str:
        """Whether an authenticated connection request is accepted; a text says why not (answered 503).

        The next Inform that is made answers all that came before, by whatever way; one that comes later, also during that session or
        just after it, gets a session of its own: the ACS may have something new (TR-069a6 3.2.2). way: HTTP, UDP or XMPP, for the log.
        """
        now = self.clock.monotonic()
        reason = self.obstacle() if self.loop.exit is None else "the device restarts"
        judged = self._rings.judge(now, waits=self.ledger.queue.waits(EventCode.CONNECTION_REQUEST))
        if reason or judged is Ring.TOO_MANY:
            reason = reason or f"over {self.settings.connection_request_limit} in a minute"
            self.status.connection_requests_refused += 1
            if self._rings.worth_a_line(now):
                self.client_log.write(f"<- connection request by {way} refused: {reason}")
            return reason
        self.status.connection_requests_accepted += 1
        if judged is Ring.ANSWERED_SOON:
            LOG.debug("connection request by %s, which the coming session answers", way)
            self.contact()
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

    async def run(self) -> Exit:
        """Sessions until `stop` or an accepted restart. Raises ConfigError where a listener's address cannot be used."""
        return await self.loop.run()

    def obstacle(self) -> str:
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

    # --- changes of the data model --------------------------------------------------------------------------------------------------

    def changed(self, changes: Sequence[Change]) -> None:
        """The model committed something: open a session where the ACS wants to know at once, follow what steers the agent."""
        self.loop.wake.set()
        self.parts.changed(changes)
        self._tell_changes({c.path for c in changes if c.writer is not Writer.ACS})
        if not self.loop.in_session and self.ledger.reconcile_bootstrap(self.management.url):
            self.tell_url()
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
                self.loop.wake.set()
                return

    # --- small things ---------------------------------------------------------------------------------------------------------------

    def _control_server(self) -> ControlServer:
        verbs, settings = verbs_of(self) | self.parts.verbs(), self.settings
        return ControlServer(settings.directory, verbs, path=settings.control_socket, group=settings.control_group)

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
            if self.uncompressed == url
            else _COMPRESSIONS.get(self.management.text("HTTPCompression"), ""),
            allow_basic_over_http=settings.allow_basic_over_http,
            proxy=settings.proxy,
            now=self.clock.now,
        )

    def tell_url(self) -> None:
        url = self.management.url
        if url:
            source = self._url_source
            self.config_log.write(f"ACS URL {url}, {source}")
            self.status.acs_url, self.status.acs_url_source = url, source
        else:
            self.config_log.write(self.obstacle(), level=logging.WARNING)

    @property
    def _url_source(self) -> str:
        detail = self.leases.url_detail
        return f"from {detail}" if detail else SOURCES[url_source(self.store)]

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
