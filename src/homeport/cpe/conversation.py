"""The agent's part in one session: what it tells the ACS, what it forgets when the ACS has heard it, how it answers.

Implements the owner that `transport.driver.run_cpe_session` drives. What may be said when is the session's matter, not ours.
Source: TR-069a6 3.7.1.
"""

import logging
from collections.abc import Callable
from typing import Final

from homeport.codec.messages import (
    AddObject,
    AutonomousDUStateChangeComplete,
    CancelTransfer,
    ChangeDUState,
    DeleteObject,
    Download,
    DUStateChangeComplete,
    FaultMessage,
    GetParameterAttributes,
    GetParameterNames,
    GetParameterValues,
    GetParameterValuesResponse,
    Inform,
    Message,
    Operation,
    ParameterValueStruct,
    Reboot,
    Request,
    Response,
    ScheduleDownload,
    ScheduleInform,
    SetParameterAttributes,
    SetParameterValues,
    TransferComplete,
    Upload,
    VendorMessage,
)
from homeport.codec.rpc_table import entry_of
from homeport.cpe.clock import Clock, date_time
from homeport.cpe.handlers import Handlers
from homeport.cpe.journal import LOG, MASK, Journal, is_secret, masked, masked_body
from homeport.cpe.ledger import Ledger
from homeport.cpe.management import Management
from homeport.cpe.parts.part import Parts
from homeport.cpe.recorder import Tape
from homeport.errors import Fault, StoreError
from homeport.http.redirects import shown_url
from homeport.model.changes import REPORTED, PendingChange
from homeport.model.tree import DataModel
from homeport.model.values import split_list
from homeport.session.events import InformAnswered
from homeport.terms import CwmpVersion, EventCode, FaultCode
from homeport.transport.driver import fault_message

_SHOWN: Final = 6
"""Names that one log line lists before it says how many more there are."""


class Conversation:
    """One session's owner; make a new one for each session."""

    def __init__(
        self,
        *,
        model: DataModel,
        management: Management,
        ledger: Ledger,
        handlers: Handlers,
        journal: Journal,
        clock: Clock,
        product_class: str,
        retry_count: int,
        parts: Parts,
        known: dict[str, str] | None = None,
        tape: Tape | None = None,
        taken: Callable[[], None] = lambda: None,
    ) -> None:
        """tape: keeps what is said, for people. taken: told when the Inform is made; what is wished for until then is in it.

        known: values of forced parameters that the ACS has, for minimal Informs; None where every Inform carries all of them.
        """
        self._model = model
        self._management = management
        self._ledger = ledger
        self._handlers = handlers
        self._journal = journal
        self._clock = clock
        self._product_class = product_class
        self._retry_count = retry_count
        self._parts = parts
        self._known = known
        self._tape = tape
        self._taken = taken
        self._forced: dict[str, str] = {}
        self._url = management.url
        self._reported: tuple[PendingChange, ...] = ()
        self.events: tuple[str, ...] = ()
        self.requests_answered = 0
        self._owed: Request | None = None
        self.version: Callable[[], CwmpVersion] = lambda: max(CwmpVersion)
        """The CWMP version that this session speaks by now."""
        self.heard = False
        """Whether the ACS answered the Inform."""

    def inform(self) -> Inform:
        """The session's Inform; its events are in flight from here on."""
        changes = self._changes()
        # The event stands in an Inform exactly where a changed parameter does: a value that changed back leaves nothing to tell.
        self._ledger.value_change(bool(changes))
        events = self._ledger.take_events()
        self.events = tuple(e.event_code for e in events)
        self._taken()
        names = dict.fromkeys(self._model.forced_inform())
        if EventCode.HEARTBEAT not in self.events:
            self._reported = tuple(changes)
            names.update((change.name, None) for change in changes)
            names.update(dict.fromkeys(self._asked_for(self.events)))
        self._say("->", f"Inform {', '.join(self.events) or 'without events'}")
        return Inform(
            device_id=self._management.device_id(product_class=self._product_class),
            event=events,
            current_time=date_time(self._clock.now()),
            retry_count=self._retry_count,
            parameter_list=self._news(self._values(list(names))),
        )

    def could_not_begin(self) -> None:
        """There is no way to the ACS at all: the attempt counts as one whose Inform was lost."""
        self.events = tuple(e.event_code for e in self._ledger.take_events())

    async def informed(self, answer: InformAnswered) -> None:
        """The ACS has heard the events: they are forgotten, in memory and on disk."""
        self.heard = True
        self._ledger.informed(self._url)
        if self._known is not None:
            self._known.update(self._forced)
        if self._reported:
            try:
                self._model.clear_reported(self._reported)
            except StoreError as e:
                # They are reported once more when there is room on the disk; better twice than not at all.
                LOG.warning("the reported changes could not be marked as reported: %s", e)
        self._say("<-", "InformResponse")
        await self._parts.acs_reached()

    async def next_request(self) -> Request | None:
        """What the device still owes the ACS in this session (TransferComplete and its kin)."""
        while (request := self._ledger.next_request()) is not None:
            version = self.version()
            entry = entry_of(request)
            if entry is not None and entry.since > version:
                self._journal.write(
                    f"{request.element} stays owed: the ACS speaks CWMP {version}, which does not have it"
                )
                continue
            self._owed = request
            spoken = self._parts.in_words_of(request, version)
            self._say("->", describe(spoken))
            return spoken
        return None

    async def handle(self, request: Request | VendorMessage) -> Response | FaultMessage:
        """The answer to a request of the ACS; everything that must survive is on disk when this returns."""
        self._say("<-", describe(request, secret=self.is_secret))
        self.requests_answered += 1
        self._parts.heard()
        answer: Response | FaultMessage
        if isinstance(request, GetParameterValues):
            await self._parts.prepare(request.parameter_names)
        elif isinstance(request, SetParameterValues | SetParameterAttributes):
            await self._parts.prepare([p.name for p in request.parameter_list])
        elif isinstance(request, GetParameterAttributes):
            await self._parts.prepare(request.parameter_names, rows_only=True)
        elif isinstance(request, GetParameterNames):
            await self._parts.prepare([request.parameter_path], rows_only=True)
        try:
            answer = self._handlers.handle(request)
        except Fault as e:
            answer = fault_message(e)
        except Exception:
            # A defect in a device's own code must not end the session: the ACS gets 9002, the log the trace.
            LOG.exception("the request %s failed inside the device", describe(request))
            answer = fault_message(Fault(FaultCode.INTERNAL_ERROR))
        self._say("->", describe(answer))
        return answer

    async def answered(self, request: Request | VendorMessage, answer: Response | VendorMessage | FaultMessage) -> None:
        """The ACS answered one of our requests; a fault leaves it owed for another session (unverified)."""
        self._say("<-", describe(answer))
        owed = self._owed
        if owed is None or isinstance(answer, FaultMessage):
            return
        try:
            if not self._parts.acknowledged(owed):
                self._ledger.answered(owed)
        except StoreError as e:
            # It is told once more when there is room on the disk; better twice than not at all.
            LOG.warning("the ACS's answer to %s could not be written down: %s", owed.element, e)

    def trace(self, direction: str, body: bytes, note: str) -> None:
        """One HTTP body as it went over the wire, for the debug log and the ladders; secrets are masked."""
        if self._tape is not None:
            self._tape.add(direction, body, note)
        if LOG.isEnabledFor(logging.DEBUG):
            LOG.debug("%s %s %s", direction, note, masked_body(body).decode("utf-8", "replace"))

    def _changes(self) -> list[PendingChange]:
        """What the ACS is to be told; on a full disk what is known already, without looking for more."""
        try:
            return self._model.to_inform()
        except StoreError as e:
            LOG.warning("changes of computed parameters are not looked for now: %s", e)
            return [c for c in self._model.pending_changes(poll=False) if c.notification in REPORTED]

    def _news(self, values: list[ParameterValueStruct]) -> tuple[ParameterValueStruct, ...]:
        """The parameters of the Inform; in a minimal one without forced parameters whose value the ACS has."""
        known = self._known
        if known is None:
            return tuple(values)
        reported = {change.name for change in self._reported}
        self._forced = {v.name: v.value for v in values}
        if EventCode.BOOT in self.events or EventCode.BOOTSTRAP in self.events:
            return tuple(values)
        return tuple(v for v in values if v.name in reported or known.get(v.name) != v.value)

    def _values(self, names: list[str]) -> list[ParameterValueStruct]:
        try:
            values = self._model.get_many(names, insist=False)
        except Fault:
            # A row was deleted after its change was noted: report the others.
            values = []
            for name in names:
                try:
                    values += self._model.get_many([name], insist=False)
                except Fault:
                    LOG.debug("%s is gone and is not reported", name)
        return [ParameterValueStruct(name=v.name, value=v.value, type=v.type) for v in values]

    def _asked_for(self, events: tuple[str, ...]) -> list[str]:
        """Parameters that the InformParameter table wants in an Inform with these events (TR-181 2.8 and up)."""
        table = f"{self._management.prefix}InformParameter."
        try:
            rows = [n.name for n in self._model.names(table, True)]
        except Fault:
            return []
        found: list[str] = []
        for row in rows:
            if self._management.value(row + "Enable", "0") not in ("1", "true"):
                continue
            wanted = [e for e in split_list(self._management.value(row + "EventList")) if e]
            name = self._management.value(row + "ParameterName")
            if not name or (wanted and not set(wanted) & set(events)):
                continue
            if not wanted and set(events) == {EventCode.VALUE_CHANGE}:
                continue
            try:
                found += [v.name for v in self._model.get_many([name])]
            except Fault:
                LOG.debug("InformParameter names %s, which this device does not have", name)
        return found

    def is_secret(self, name: str) -> bool:
        """Whether a value must not be shown: by its name, or because the model says that it is hidden."""
        if is_secret(name):
            return True
        try:
            definition = self._model.definition(name)
        except Fault:
            return False  # no such parameter: it will be refused, and its value means nothing
        return definition.hidden or definition.secured

    def _say(self, direction: str, text: str) -> None:
        self._journal.write(f"{direction} {text}")


def describe(message: Message, *, secret: Callable[[str], bool] = is_secret) -> str:
    """A message in one line, without secrets. secret: whether the value of a parameter of that name is one."""
    if isinstance(message, FaultMessage):
        inner = "".join(f"; {p.parameter_name}: {p.fault_code}" for p in message.set_parameter_values_faults[:_SHOWN])
        return f"Fault {message.fault_code} {message.fault_string}{inner}"
    if isinstance(message, VendorMessage):
        return message.method
    detail = ""
    if isinstance(message, SetParameterValues):
        detail = _listed(
            [f"{p.name}={MASK if secret(p.name) else masked(p.name, p.value)}" for p in message.parameter_list]
        )
    elif isinstance(message, GetParameterValues | GetParameterAttributes):
        detail = _listed([name or "(everything)" for name in message.parameter_names])
    elif isinstance(message, SetParameterAttributes):
        detail = _listed([p.name for p in message.parameter_list])
    elif isinstance(message, GetParameterNames):
        detail = f"{message.parameter_path or '(root)'}{' next level' if message.next_level else ''}"
    elif isinstance(message, AddObject | DeleteObject):
        detail = message.object_name
    elif isinstance(message, Reboot | ScheduleInform | CancelTransfer):
        detail = f"key {message.command_key!r}"
    elif isinstance(message, Download | Upload | ScheduleDownload):
        # The query may hold the key to the file.
        detail = f"{message.file_type} {shown_url(message.url)}, key {message.command_key!r}"
    elif isinstance(message, TransferComplete):
        fault = message.fault_struct
        detail = f"key {message.command_key!r} " + (
            f"failed: {fault.fault_code} {fault.fault_string}" if fault.fault_code else "done"
        )
    elif isinstance(message, ChangeDUState):
        operations = [f"{type(o).__name__.removesuffix('OpStruct')} {_unit_of(o)}".rstrip() for o in message.operations]
        detail = f"{_listed(operations)}, key {message.command_key!r}"
    elif isinstance(message, DUStateChangeComplete | AutonomousDUStateChangeComplete):
        states = [
            f"{r.current_state} {r.fault.fault_code}" if r.fault.fault_code else r.current_state
            for r in message.results
        ]
        detail = _listed(states)
    elif isinstance(message, GetParameterValuesResponse):
        detail = f"{len(message.parameter_list)} values"
    return f"{message.element} {detail}".rstrip()


def _unit_of(operation: Operation) -> str:
    """What an operation on a deployment unit names: the URL without its query, which may hold a key, or the UUID."""
    url = getattr(operation, "url", "")
    return shown_url(url) if url else operation.uuid


def _listed(items: list[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
