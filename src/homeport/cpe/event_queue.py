"""Events that the ACS has yet to hear of: one rule per code, and the queue that keeps to the rules.

Pure: no clock, no disk. Whoever changes the queue stores `to_record()` before the cause is acknowledged (see state.py).
Source: TR-069a6 3.7.1.5; the rows for 13 and 14, and what BOOTSTRAP discards, are (unverified).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple

from homeport.codec.messages import EventStruct
from homeport.terms import EventCode, RpcName

MAX_EVENTS: Final = 64
"""An Inform carries at most so many events (cwmp-1-4.xsd)."""


class OnFailure(Enum):
    """What becomes of an event when the session that carried it fails."""

    RETRY = "retry"
    NEVER = "never"


class EventRule(NamedTuple):
    """The life of one event code.

    multiple: every occurrence has its own entry (M events); else one entry however often it happened.
    on_failure: kept for the next attempt or dropped. cleared_by: the RPC whose response from the ACS makes the event forgotten.
    over_reboot: whether it is still owed after a restart. yields_to_bootstrap: dropped when BOOTSTRAP arises.
    triggers: whether it opens a session by itself.
    numbered: for an M event, the numbered event that goes with it.
    """

    multiple: bool
    on_failure: OnFailure
    cleared_by: RpcName
    over_reboot: bool
    yields_to_bootstrap: bool
    triggers: bool = True
    numbered: EventCode | None = None


_INFORM = RpcName.INFORM
_RETRY, _NEVER = OnFailure.RETRY, OnFailure.NEVER
_E = EventCode

#                                                     multiple on_failure cleared_by                      over_reboot yields
RULES: Final[dict[str, EventRule]] = {
    _E.BOOTSTRAP: EventRule(False, _RETRY, _INFORM, True, False),
    _E.BOOT: EventRule(False, _RETRY, _INFORM, False, False),
    _E.PERIODIC: EventRule(False, _RETRY, _INFORM, True, True),
    _E.SCHEDULED: EventRule(False, _RETRY, _INFORM, True, True),
    # A passive change waits for another cause; whoever adds the event says with `wake` whether a session is wanted.
    _E.VALUE_CHANGE: EventRule(False, _RETRY, _INFORM, True, True, triggers=False),
    _E.KICKED: EventRule(False, _RETRY, RpcName.KICKED, True, True),
    _E.CONNECTION_REQUEST: EventRule(False, _NEVER, _INFORM, False, True),
    # Outcomes of transfers and of software changes are facts that the ACS waits for, whoever it is now: BOOTSTRAP leaves them.
    _E.TRANSFER_COMPLETE: EventRule(False, _RETRY, RpcName.TRANSFER_COMPLETE, True, False),
    _E.DIAGNOSTICS_COMPLETE: EventRule(False, _RETRY, _INFORM, False, True),
    _E.REQUEST_DOWNLOAD: EventRule(False, _RETRY, RpcName.REQUEST_DOWNLOAD, True, True),
    _E.AUTONOMOUS_TRANSFER_COMPLETE: EventRule(False, _RETRY, RpcName.AUTONOMOUS_TRANSFER_COMPLETE, True, False),
    _E.DU_STATE_CHANGE_COMPLETE: EventRule(False, _RETRY, RpcName.DU_STATE_CHANGE_COMPLETE, True, False),
    _E.AUTONOMOUS_DU_STATE_CHANGE_COMPLETE: EventRule(
        False, _RETRY, RpcName.AUTONOMOUS_DU_STATE_CHANGE_COMPLETE, True, False
    ),
    _E.WAKEUP: EventRule(False, _RETRY, _INFORM, False, True),
    _E.HEARTBEAT: EventRule(False, _NEVER, _INFORM, False, True),
    _E.M_REBOOT: EventRule(True, _RETRY, _INFORM, True, False, numbered=_E.BOOT),
    _E.M_SCHEDULE_INFORM: EventRule(True, _RETRY, _INFORM, True, True, numbered=_E.SCHEDULED),
    _E.M_DOWNLOAD: EventRule(True, _RETRY, RpcName.TRANSFER_COMPLETE, True, False, numbered=_E.TRANSFER_COMPLETE),
    _E.M_SCHEDULE_DOWNLOAD: EventRule(
        True, _RETRY, RpcName.TRANSFER_COMPLETE, True, False, numbered=_E.TRANSFER_COMPLETE
    ),
    _E.M_UPLOAD: EventRule(True, _RETRY, RpcName.TRANSFER_COMPLETE, True, False, numbered=_E.TRANSFER_COMPLETE),
    _E.M_CHANGE_DU_STATE: EventRule(
        True, _RETRY, RpcName.DU_STATE_CHANGE_COMPLETE, True, False, numbered=_E.DU_STATE_CHANGE_COMPLETE
    ),
}

_VENDOR_M: Final = EventRule(True, _RETRY, _INFORM, True, True)
_VENDOR_X: Final = EventRule(False, _RETRY, _INFORM, True, True)
_ORDER: Final = {code: place for place, code in enumerate(RULES)}


def rule_of(code: str) -> EventRule:
    """The rule of an event code; a vendor's `M X_...` is multiple, a vendor's `X ...` single, both cleared by InformResponse."""
    rule = RULES.get(code)
    if rule is not None:
        return rule
    return _VENDOR_M if code.startswith("M ") else _VENDOR_X


@dataclass(slots=True)
class OwedEvent:
    """One entry of the queue. number: grows with every entry; in_flight: part of the Inform of the session that runs now."""

    number: int
    code: str
    command_key: str = ""
    in_flight: bool = False


class EventQueue:
    """The events owed to the ACS, oldest first.

    A session takes a snapshot with `take()`; what arises while it runs waits for the next one, even where the same code is in flight.
    """

    def __init__(self, record: Iterable[dict[str, Any]] = ()) -> None:
        self._entries = [OwedEvent(int(r["number"]), str(r["code"]), str(r.get("command_key", ""))) for r in record]
        self._next = max((e.number for e in self._entries), default=0) + 1

    def __len__(self) -> int:
        return len(self._entries)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __contains__(self, code: str) -> bool:
        return any(e.code == code for e in self._entries)

    def waits(self, code: str) -> bool:
        """Whether that event waits for an Inform that is still to be made."""
        return any(e.code == code and not e.in_flight for e in self._entries)

    @property
    def entries(self) -> tuple[EventStruct, ...]:
        """All that is owed, as an Inform would name it."""
        return tuple(_struct(e) for e in self._ordered(self._entries))

    def to_record(self) -> list[dict[str, Any]]:
        """What must be on disk: the entries that outlive a restart."""
        return [
            {"number": e.number, "code": e.code, "command_key": e.command_key}
            for e in self._entries
            if rule_of(e.code).over_reboot
        ]

    def add(self, code: str, command_key: str = "") -> bool:
        """Owe an event; False where it was owed already (and is not in flight, for then the ACS might miss the second one).

        For an M event its numbered companion is added too, except BOOT, which only a boot may add.
        """
        rule = rule_of(code)
        if code == EventCode.BOOTSTRAP:
            self._entries = [e for e in self._entries if e.in_flight or not rule_of(e.code).yields_to_bootstrap]
        if not rule.multiple and self.waits(code):
            return False
        if rule.numbered is not None and rule.numbered != EventCode.BOOT:
            self.add(rule.numbered)
        self._entries.append(OwedEvent(self._next, str(code), command_key if rule.multiple else ""))
        self._next += 1
        self._keep_limit()
        return True

    def withdraw(self, code: str) -> bool:
        """Forget an event that is no longer true (the ACS URL went back before anybody was told); in-flight entries stay."""
        before = len(self._entries)
        self._entries = [e for e in self._entries if e.code != code or e.in_flight]
        return len(self._entries) != before

    def take(self) -> tuple[EventStruct, ...]:
        """The events for an Inform that goes out now; they are in flight from here on.

        A heartbeat travels alone and only when nothing else is owed (TR-069a6 Annex O).
        """
        others = [e for e in self._entries if e.code != EventCode.HEARTBEAT]
        chosen = others or self._entries
        for entry in chosen:
            entry.in_flight = True
        return tuple(_struct(e) for e in self._ordered(chosen))

    def informed(self) -> bool:
        """The InformResponse arrived: forget the in-flight events that it clears. True where something changed."""
        return self._forget(lambda e: e.in_flight and rule_of(e.code).cleared_by is RpcName.INFORM)

    def answered(self, rpc: RpcName, command_key: str = "", *, more: bool = False) -> bool:
        """The ACS answered a request of ours: forget the events that it clears.

        The M entry with that key goes; the numbered one goes with the last of its kind. more: another such request is still owed.
        """
        for entry in self._entries:
            rule = rule_of(entry.code)
            if rule.multiple and rule.cleared_by is rpc and entry.command_key == command_key:
                self._entries.remove(entry)
                break
        if more or any(rule_of(e.code).multiple and rule_of(e.code).cleared_by is rpc for e in self._entries):
            return True
        return self._forget(lambda e: rule_of(e.code).cleared_by is rpc)

    def session_ended(self, *, success: bool) -> bool:
        """Nothing is in flight any more; after a failure the events that are never retried go. True where something changed."""
        changed = False
        if not success:
            changed = self._forget(lambda e: e.in_flight and rule_of(e.code).on_failure is OnFailure.NEVER)
        seen: set[str] = set()
        kept = []
        for entry in self._entries:
            entry.in_flight = False
            if not rule_of(entry.code).multiple:
                if entry.code in seen:
                    changed = True
                    continue
                seen.add(entry.code)
            kept.append(entry)
        self._entries = kept
        return changed

    def booted(self) -> None:
        """The device restarted: what a restart makes void goes, BOOT comes."""
        self._entries = [e for e in self._entries if rule_of(e.code).over_reboot]
        self.add(EventCode.BOOT)

    def _forget(self, condition: Any) -> bool:
        before = len(self._entries)
        self._entries = [e for e in self._entries if not condition(e)]
        return len(self._entries) != before

    def _keep_limit(self) -> None:
        """More than an Inform can hold: the oldest M entries go, never a numbered one (TR-069a6 3.7.1.5)."""
        excess = len(self._entries) - MAX_EVENTS
        if excess <= 0:
            return
        victims = [e for e in self._entries if rule_of(e.code).multiple and not e.in_flight][:excess]
        self._entries = [e for e in self._entries if e not in victims]

    def _ordered(self, entries: list[OwedEvent]) -> list[OwedEvent]:
        """Numbered codes by number, then M and vendor events in the order in which they happened."""
        return sorted(entries, key=lambda e: (rule_of(e.code).multiple, _ORDER.get(e.code, len(_ORDER)), e.number))


def _struct(entry: OwedEvent) -> EventStruct:
    return EventStruct(event_code=entry.code, command_key=entry.command_key)
