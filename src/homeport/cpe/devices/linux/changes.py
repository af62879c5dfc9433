"""Changes of the machine that an ACS asks for: made together or not at all, on trial where they can cut the line, kept over restarts.

The order of deeds: what was true before goes to disk, then the machine is changed, then the data model commits, then the change is on
trial until the ACS was reached over it (`confirm`), or is undone (`roll_back`). Whoever finds a record on disk at a start, after a kill -9
or a power cut, undoes it: nothing counts that was not confirmed. Confirmed facts are kept by the back end (UCI), or here, to be made
true again at each start.
"""

from collections.abc import Callable, Sequence, Set
from typing import Any, Final, Protocol

import msgspec

from homeport.cpe.devices.linux.facts import GONE, KEPT, OFF, ON, RISKY, Fact, Picture, System
from homeport.cpe.devices.linux.netlink import Refused
from homeport.errors import Fault, StoreError
from homeport.terms import FaultCode

_OURS: Final = frozenset({1, 13, 17, 30})
"""EPERM, EACCES, EEXIST and EROFS: the device cannot do it, whatever the value is (9002). Other refusals are the value's (9007)."""


class Keep(Protocol):
    """What outlives a restart. `put` returns when it is on disk, and raises StoreError where it cannot be."""

    def get(self, key: str) -> Any: ...

    def put(self, changes: dict[str, Any]) -> None:
        """All of them at one stroke; None removes."""


class MemoryKeep:
    """Keeps nothing beyond the process, for a device without an agent around it."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        return self._kept.get(key)

    def put(self, changes: dict[str, Any]) -> None:
        self._kept.update(changes)


class Backend(Protocol):
    """Where confirmed facts are written so that the machine itself keeps them."""

    name: str

    def keep(self, facts: Sequence[Fact], before: dict[str, Any]) -> list[Fact]:
        """Write them; gives those that it has no place for. Raises Refused where it fails, with nothing written."""


class Record(msgspec.Struct):
    """What takes changes back. before: key -> value, in the order in which they were made. facts: what was made of them."""

    boot: str
    before: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    picture: Picture = Picture()

    @property
    def risky(self) -> bool:
        return any(key.partition(" ")[0] in RISKY for key in self.before)

    @property
    def kinds(self) -> set[str]:
        return {key.partition(" ")[0] for key in self.before}

    def describe(self) -> str:
        """The facts in words, for logs."""
        return ", ".join(f"{key} {_shown(value)}" for key, value in self.facts.items())


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ", ".join(value) if isinstance(value, list) else str(value)


class Changes:
    """The changes of one machine. on_trial: called when a change waits for its confirmation."""

    def __init__(self, system: System, *, boot: str, keep: Keep | None = None, backend: Backend | None = None) -> None:
        self.system = system
        self.keep: Keep = keep or MemoryKeep()
        self.backend = backend
        self.on_trial: Callable[[Record], bool] = lambda record: False
        """Told of a committed change that can cut the line; whether it is to be confirmed. False: it counts at once."""
        self.on_trouble: Callable[[str], None] = lambda text: None
        """Told, in a sentence, of what could not be undone or kept."""
        self.on_made: Callable[[set[str]], None] = lambda kinds: None
        """Told of the kinds of facts that were made or undone: services may have to read their files anew."""
        self._boot = boot
        self._batch: Record | None = None
        self._spelled: dict[str, dict[str, Any]] = {}
        self.trial: Record | None = None

    # --- what the tables ask ----------------------------------------------------------------------------------------------------------

    @property
    def held(self) -> dict[str, Any]:
        """Facts that were asked for and are kept here, with those on trial: key -> value."""
        found = dict(self.keep.get("held") or {})
        for record in (self.trial, self._batch):
            if record is not None:
                found.update(record.facts)
        return found

    @property
    def spelled(self) -> dict[str, dict[str, Any]]:
        """How the ACS wrote the columns of a row, by the row's fact, where the machine would write them otherwise."""
        return {**(self.keep.get("spelled") or {}), **self._spelled}

    def asked(self, key: str) -> Any:
        """What was asked for and does not count yet, None where nothing was."""
        for record in (self._batch, self.trial):
            if record is not None and key in record.facts:
                return record.facts[key]
        return None

    def do(self, facts: Sequence[Fact], *, spelled: dict[str, dict[str, Any]] | None = None) -> None:
        """Make facts true, as part of the transaction that runs. Raises Fault with a sentence; all of the transaction is undone then.

        spelled: by fact, how its row's columns were written; see the property.
        """
        if not facts:
            return
        self._spelled.update(spelled or {})
        try:
            before = {fact.key: self._now(fact.key) for fact in facts}
            batch = self._batch or Record(self._boot, picture=self.system.picture())
            batch.before = {**before, **batch.before}
            batch.facts = {**batch.facts, **{fact.key: fact.value for fact in facts}}
            self.keep.put({"batch": msgspec.to_builtins(batch)})
            self._batch = batch
            self.system.make(facts)
            if batch.kinds & {"address"}:
                # A new address may have taken ways along with the old one; those that are still possible stay.
                self.system.restore(batch.picture, addresses=False, besides=batch.facts)
        except Refused as e:
            self.take_back()
            code = FaultCode.INTERNAL_ERROR if e.code in _OURS else FaultCode.INVALID_PARAMETER_VALUE
            raise Fault(code, str(e)) from e

    def _now(self, key: str) -> Any:
        """The value before: what is held where the machine itself does not know (an address that is switched off)."""
        value = self.system.value(key)
        if value == GONE or key == "dns_off":
            return self.held.get(key, value)
        return value

    def take_back(self) -> None:
        """The transaction that runs is refused: everything is as before. Safe to call for nothing."""
        batch, self._batch = self._batch, None
        if batch is not None:
            self._undo(batch)
            self.keep.put({"batch": None})

    def committed(self) -> None:
        """The transaction that ran is on disk: what it changed is on trial, or counts at once. Safe to call for nothing."""
        batch, self._batch = self._batch, None
        if batch is None:
            return
        earlier = self.trial
        if earlier is not None:
            batch.before = {**batch.before, **earlier.before}
            batch.facts = {**earlier.facts, **batch.facts}
            batch.picture = earlier.picture
        self.trial = batch
        self.keep.put({"batch": None, "trial": msgspec.to_builtins(batch)})
        self.on_made(batch.kinds)
        if not batch.risky or not self.on_trial(batch):
            self.confirm()

    # --- the end of a trial -------------------------------------------------------------------------------------------------------------

    def confirm(self) -> Record | None:
        """The ACS was reached: what was on trial counts. Gives what it was."""
        trial, self.trial = self.trial, None
        if trial is None:
            return None
        facts = [Fact(key, value) for key, value in trial.facts.items()]
        left: Sequence[Fact] = facts
        if self.backend is not None:
            try:
                left = self.backend.keep(facts, trial.before)
            except Refused as e:
                self.on_trouble(f"{e}; Homeport makes the change again at each start instead")
        held, ours = dict(self.keep.get("held") or {}), set(self.keep.get("ours") or ())
        for fact in facts:
            if fact.value in (ON, OFF) and fact.key not in held and trial.before.get(fact.key) == GONE:
                ours.add(fact.key)
            held.pop(fact.key, None)
        for fact in left:
            if fact.value == GONE and fact.key in ours:
                continue  # what the ACS added and took away again needs no remembering
            if fact.kind in KEPT:
                held[fact.key] = fact.value
        ours &= held.keys()
        spelled = {k: v for k, v in self.spelled.items() if held.get(k, ON) != GONE}
        kept = {"trial": None, "held": held or None, "ours": sorted(ours) or None, "spelled": spelled or None}
        try:
            self.keep.put(kept)
        except StoreError as e:
            self.on_trouble(f"a change that counts could not be written down, and is undone at the next start: {e}")
        self._spelled = {}
        return trial

    def roll_back(self) -> Record | None:
        """The ACS was not reached in time: everything is as before. Gives what was undone."""
        trial, self.trial = self.trial, None
        if trial is None:
            return None
        self._undo(trial)
        try:
            self.keep.put({"trial": None})
        except StoreError as e:
            self.on_trouble(f"that a change was undone could not be written down; the next start undoes it again: {e}")
        return trial

    # --- the start ----------------------------------------------------------------------------------------------------------------------

    def resume(self) -> Record | None:
        """What an earlier life left unconfirmed is undone; then what is kept here is made true again. Gives what was undone, or None."""
        undone = None
        for name in ("batch", "trial"):
            kept = self.keep.get(name)
            if kept is None:
                continue
            record = msgspec.convert(kept, Record)
            self._undo(record)
            undone = record if undone is None else _joined(record, undone)
            self.keep.put({name: None})
        self._make_held(lambda key: True)
        return undone

    def renew(self, links: Set[str]) -> None:
        """Links that have just appeared get what is kept here for them."""
        self._make_held(
            lambda key: key.startswith(("up ", "mtu ", "address ", "route ")) and not links.isdisjoint(key.split(" "))
        )

    def _make_held(self, wanted: Callable[[str], bool]) -> None:
        for key, value in (self.keep.get("held") or {}).items():
            if not wanted(key):
                continue
            try:
                if self.system.value(key) != (GONE if value == OFF else value):
                    self.system.make([Fact(key, value)])
            except Refused as e:
                self.on_trouble(f"a change that the ACS made earlier does not hold any more: {e}")

    def _undo(self, record: Record) -> None:
        """Make true what was. After a restart of the machine only what is in files is left of a change."""
        same_boot = record.boot == self._boot
        late: list[Fact] = []
        for key, value in reversed(record.before.items()):
            kind = key.partition(" ")[0]
            if kind in RISKY - {"dns"} and not same_boot:
                continue
            if kind == "route" and value == ON:
                late.append(Fact(key, value))  # the picture knows more of it: who made it, its source address
            else:
                self._try([Fact(key, value)])
        if same_boot and record.kinds & {"up", "address", "route"}:
            wanted = {key for key, value in record.before.items() if value != ON}
            for sentence in self.system.restore(record.picture, addresses=True, besides=wanted):
                self.on_trouble(f"a change could not be undone: {sentence}")
        self._try(late)
        self.on_made(record.kinds)

    def _try(self, facts: Sequence[Fact]) -> None:
        try:
            self.system.make([fact for fact in facts if self.system.value(fact.key) != fact.value])
        except Refused as e:
            self.on_trouble(f"a change could not be undone: {e}")


def _joined(later: Record, earlier: Record) -> Record:
    return Record(earlier.boot, {**later.before, **earlier.before}, {**earlier.facts, **later.facts}, earlier.picture)
