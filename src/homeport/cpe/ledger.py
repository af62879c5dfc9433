"""What the agent owes: events and requests to the ACS, and the commands that it accepted from it. On disk before it is acknowledged.

A promise given to the ACS (Reboot, FactoryReset, ScheduleInform) must be on disk or is not given: those methods raise StoreError. What
the device itself has to tell is kept in memory also while the disk is full, and written as soon as there is room.
Source: TR-069a6 3.7.1.5; order of deeds "disk before reply".
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from homeport.codec.messages import (
    AutonomousDUStateChangeComplete,
    AutonomousTransferComplete,
    DUStateChangeComplete,
    EventStruct,
    Kicked,
    Request,
    RequestDownload,
    TransferComplete,
)
from homeport.cpe.clock import is_set
from homeport.cpe.event_queue import EventQueue
from homeport.cpe.schedule import ScheduledInform
from homeport.cpe.state import AGENT, COMMAND, EVENT, IDENTITY, OWED, Store, StoreTransaction
from homeport.errors import Fault, StoreError
from homeport.terms import EventCode, FaultCode, RpcName

MAX_SCHEDULED_INFORMS: Final = 32
"""ScheduleInform calls that may wait at once; the 33rd is answered 9004. Half of what one Inform can report."""

MAX_REBOOTS: Final = 32
"""Reboot calls that one session may make, each of which is reported with its key; the 33rd is answered 9004."""

_OWED_TYPES: Final[dict[str, type[Request]]] = {
    cls.element: cls
    for cls in (
        TransferComplete,
        AutonomousTransferComplete,
        DUStateChangeComplete,
        AutonomousDUStateChangeComplete,
        RequestDownload,
        Kicked,
    )
}

_REBOOT: Final = "reboot/"
_FACTORY_RESET: Final = "factory_reset"
_SCHEDULE: Final = "schedule_inform/"
_ACKNOWLEDGED_URL: Final = "acknowledged_url"


@dataclass(frozen=True, slots=True)
class Boot:
    """What a start found.

    factory_reset: everything but the identity was just wiped. reboot_keys: CommandKeys of the Reboots that led here.
    """

    factory_reset: bool
    reboot_keys: tuple[str, ...]


@dataclass(slots=True)
class _Owed:
    number: int
    request: Request
    tried: bool = False


class Ledger:
    """Events, owed requests and accepted commands of one agent."""

    def __init__(self, store: Store) -> None:
        """Raises StoreError where the state cannot be read."""
        self._store = store
        self.unsaved = False
        """True while something in memory has found no room on the disk."""
        self.queue = EventQueue(record for _, record in store.items(EVENT))
        self.scheduled: list[ScheduledInform] = []
        self._owed: dict[int, _Owed] = {}
        for key, value in store.items(OWED):
            try:
                request = msgspec.convert(value["fields"], _OWED_TYPES[value["rpc"]])
            except (msgspec.ValidationError, KeyError, TypeError) as e:
                raise StoreError(
                    f"a report that is owed to the ACS cannot be read in {store.directory} ({e}); "
                    "install the release that wrote it, or restore the factory settings"
                ) from e
            self._owed[int(key)] = _Owed(int(key), request)

    # --- starting -------------------------------------------------------------------------------------------------------------

    def boot(self) -> Boot:
        """Settle what was accepted before the restart, in one transaction, and owe the events that follow from it.

        A FactoryReset is carried out here and nowhere else, so that a crash at any moment leaves it either due or done.
        Raises StoreError.
        """
        commands = dict(self._store.items(COMMAND))
        keys = tuple(str(value) for name, value in commands.items() if name.startswith(_REBOOT))
        reset = _FACTORY_RESET in commands
        if not keys and not reset:
            self.queue.booted()
            self.save()  # a full disk does not keep the device from starting
            return Boot(factory_reset=False, reboot_keys=())
        with self.promise() as transaction:
            if reset:
                transaction.clear_all_but(IDENTITY)
                self.queue = EventQueue()
                self._owed = {}
                keys = ()
            self.queue.booted()
            for name in commands:
                if name.startswith(_REBOOT):
                    transaction.remove(COMMAND, name)
            for key in keys:
                self.queue.add(EventCode.M_REBOOT, key)
        return Boot(factory_reset=reset, reboot_keys=keys)

    # --- events ---------------------------------------------------------------------------------------------------------------

    @property
    def events(self) -> tuple[EventStruct, ...]:
        """All that is owed, in the order of an Inform."""
        return self.queue.entries

    def owe_event(self, code: str, command_key: str = "") -> bool:
        """Owe an event from now on; False where it was owed already."""
        added = self.queue.add(code, command_key)
        if added:
            self.save()
        return added

    def reconcile_bootstrap(self, url: str) -> bool:
        """Owe BOOTSTRAP where the ACS at url has never acknowledged this device, no longer where it has. True where it became owed.

        The last acknowledged URL says it all: first contact, factory reset, a changed URL, also across restarts.
        """
        if url and self._store.get(AGENT, _ACKNOWLEDGED_URL) != url:
            return self.owe_event(EventCode.BOOTSTRAP)
        if self.queue.withdraw(EventCode.BOOTSTRAP):
            self.save()
        return False

    @property
    def ever_acknowledged(self) -> bool:
        """Whether any ACS has answered an Inform of this device since its factory state."""
        return self._store.get(AGENT, _ACKNOWLEDGED_URL) is not None

    def value_change(self, owed: bool) -> None:
        """Bring `4 VALUE CHANGE` in line with whether there are changes to tell."""
        if owed:
            self.owe_event(EventCode.VALUE_CHANGE)
        elif self.queue.withdraw(EventCode.VALUE_CHANGE):
            self.save()

    def take_events(self) -> tuple[EventStruct, ...]:
        """The events for the Inform that goes out now."""
        for owed in self._owed.values():
            owed.tried = False
        return self.queue.take()

    def informed(self, url: str) -> None:
        """The ACS at url answered the Inform: its events are forgotten, on disk too."""
        self.queue.informed()
        self._settle(lambda t: t.put(AGENT, _ACKNOWLEDGED_URL, url))

    def session_ended(self, *, success: bool) -> None:
        """Nothing is in flight any more."""
        if self.queue.session_ended(success=success) or self.unsaved:
            self.save()

    # --- requests that the ACS must answer ------------------------------------------------------------------------------------

    def owe_request(self, request: Request, event: EventCode, command_key: str = "") -> None:
        """Owe a request (TransferComplete and its kin) together with its event."""
        number = max(self._owed, default=0) + 1
        self._owed[number] = _Owed(number, request)
        self.queue.add(event, command_key)
        self.save()

    def next_request(self) -> Request | None:
        """The next owed request that was not tried in this session; it stays owed until `answered`."""
        for owed in self._owed.values():
            if not owed.tried:
                owed.tried = True
                return owed.request
        return None

    @property
    def owes_requests(self) -> bool:
        """Whether any request is owed."""
        return bool(self._owed)

    def owes(self, element: str, command_key: str) -> bool:
        """Whether a request of that name with that CommandKey is owed."""
        requests = (owed.request for owed in self._owed.values())
        return any(r.element == element and getattr(r, "command_key", "") == command_key for r in requests)

    def answered(self, request: Request) -> None:
        """The ACS answered that request without a fault: it and its events are forgotten."""
        for number, owed in self._owed.items():
            if owed.request == request:
                del self._owed[number]
                break
        more = any(owed.request.element == request.element for owed in self._owed.values())
        self.queue.answered(RpcName(request.element), getattr(request, "command_key", ""), more=more)
        self.save()

    # --- commands of the ACS --------------------------------------------------------------------------------------------------

    @property
    def restart_accepted(self) -> bool:
        """Whether a Reboot or FactoryReset waits for the end of the session."""
        return any(name == _FACTORY_RESET or name.startswith(_REBOOT) for name, _ in self._store.items(COMMAND))

    def accept_reboot(self, command_key: str) -> None:
        """Promise a restart after the session, to be reported with `M Reboot`. Raises StoreError, or Fault 9004 after too many."""
        if sum(name.startswith(_REBOOT) for name, _ in self._store.items(COMMAND)) >= MAX_REBOOTS:
            raise Fault(FaultCode.RESOURCES_EXCEEDED, f"{MAX_REBOOTS} reboots were accepted in this session already")
        with self.promise() as transaction:
            transaction.put(COMMAND, f"{_REBOOT}{self._next_number(_REBOOT):06d}", command_key)

    def accept_factory_reset(self) -> None:
        """Promise factory defaults and a restart after the session. Raises StoreError."""
        with self.promise() as transaction:
            transaction.put(COMMAND, _FACTORY_RESET, True)

    def accept_schedule_inform(self, delay: int, command_key: str, *, wall: float, monotonic: float) -> None:
        """Promise a session after delay seconds. Raises StoreError, or Fault 9004 where too many wait."""
        if len(self.scheduled) >= MAX_SCHEDULED_INFORMS:
            raise Fault(FaultCode.RESOURCES_EXCEEDED, f"{MAX_SCHEDULED_INFORMS} scheduled informs are waiting already")
        number = self._next_number(_SCHEDULE)
        with self.promise() as transaction:
            transaction.put(
                COMMAND,
                f"{_SCHEDULE}{number:06d}",
                {"key": command_key, "delay": delay, "due": wall + delay if is_set(wall) else None},
            )
        self.scheduled.append(ScheduledInform(number=number, command_key=command_key, due=monotonic + delay))

    def resume_schedule(self, *, wall: float, monotonic: float) -> None:
        """Take up the scheduled informs of before the restart. Without a clock then or now a delay begins anew (unverified)."""
        self.scheduled = []
        for name, value in self._store.items(COMMAND):
            if name.startswith(_SCHEDULE):
                wait = float(value["delay"])
                if value["due"] is not None and is_set(wall):
                    wait = min(max(0.0, value["due"] - wall), wait)
                number = int(name.removeprefix(_SCHEDULE))
                self.scheduled.append(ScheduledInform(number=number, command_key=value["key"], due=monotonic + wait))

    def next_scheduled(self) -> float | None:
        """When the earliest scheduled inform is due, monotonic seconds."""
        return min((s.due for s in self.scheduled), default=None)

    def slept(self, seconds: float) -> None:
        """The machine slept so long: delays count that time too, though the monotonic clock stood still."""
        self.scheduled = [replace(s, due=s.due - seconds) for s in self.scheduled]

    def schedule_due(self, monotonic: float) -> int:
        """Turn the scheduled informs that are due into events; how many there were."""
        due = [s for s in self.scheduled if s.due <= monotonic]
        if not due:
            return 0
        self.scheduled = [s for s in self.scheduled if s.due > monotonic]
        for scheduled in due:
            self.queue.add(EventCode.M_SCHEDULE_INFORM, scheduled.command_key)
        names = [f"{_SCHEDULE}{s.number:06d}" for s in due]

        def settle(transaction: StoreTransaction) -> None:
            for name in names:
                transaction.remove(COMMAND, name)

        self._settle(settle)
        return len(due)

    # --- the disk -------------------------------------------------------------------------------------------------------------

    def save(self) -> bool:
        """Write events and owed requests; False where the disk does not take them now (they stay in memory, `unsaved` tells)."""
        return self._settle(lambda t: None)

    def _settle(self, more: Any) -> bool:
        """Write what is in memory, with more(transaction) in the same commit."""
        try:
            with self._store.transaction() as transaction:
                self._write(transaction)
                more(transaction)
        except StoreError:
            self.unsaved = True
            return False
        self.unsaved = False
        return True

    @contextmanager
    def promise(self) -> Iterator[StoreTransaction]:
        """Changes that count only if they are on disk when the block ends; memory goes back otherwise. Raises StoreError."""
        before = copy.deepcopy((self.queue, self._owed))
        try:
            with self._store.transaction() as transaction:
                yield transaction
                self._write(transaction)
        except BaseException:
            self.queue, self._owed = before
            raise

    def _write(self, transaction: StoreTransaction) -> None:
        transaction.replace(EVENT, [(f"{r['number']:09d}", r) for r in self.queue.to_record()])
        transaction.replace(
            OWED,
            [
                (f"{o.number:09d}", {"rpc": o.request.element, "fields": msgspec.to_builtins(o.request)})
                for o in self._owed.values()
            ],
        )

    def _next_number(self, prefix: str) -> int:
        taken = [int(name.removeprefix(prefix)) for name, _ in self._store.items(COMMAND) if name.startswith(prefix)]
        return max(taken, default=0) + 1
