"""The configuration log's lines about values: who changed what, when, from what to what.

A line stays readable with any pager and can be read back as data: `TIME WHO set PATH: "OLD" -> "NEW"`, texts quoted as JSON quotes them.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from homeport.cpe.journal import MASK, Journal, masked
from homeport.errors import Fault
from homeport.model.changes import Change, ChangeKind
from homeport.model.tree import DataModel
from homeport.terms import Writer

ACS: Final = "the ACS"
DEVICE: Final = "the device itself"
PERSON: Final = "a person at the device"

_WRITERS: Final = {Writer.LOCAL: PERSON, Writer.SYSTEM: DEVICE}

MOST_AT_ONCE: Final = 50
"""Lines for one commit; an ACS that writes thousands of values must not push everything else out of the log."""

_LONGEST: Final = 200
_LINE: Final = re.compile(r'(\S+) (.{1,200}?) set (\S+): ("(?:[^"\\]|\\.)*") -> ("(?:[^"\\]|\\.)*")')


class ChangeLog:
    """Listens to a data model and writes what changed; `acting` says who the writer is where it is not the ACS."""

    def __init__(self, journal: Journal, model: DataModel) -> None:
        self._journal = journal
        self._model = model
        self._who = ""
        model.subscribe(self.changed)

    @contextmanager
    def acting(self, who: str) -> Iterator[None]:
        """Inside the block changes are those of `who`, such as `root on the command line` or DHCP. The block must not await."""
        before, self._who = self._who, " ".join(who.split())[:_LONGEST]
        try:
            yield
        finally:
            self._who = before

    def changed(self, changes: Sequence[Change]) -> None:
        """One commit. Rows that come and go with the system (hosts, processes) are its state, not its configuration."""
        rows = tuple(c.path for c in changes if c.kind is not ChangeKind.VALUE and c.writer is Writer.SYSTEM)
        told = [c for c in changes if not (rows and c.writer is Writer.SYSTEM and c.path.startswith(rows))]
        lines = [line for change in told if (line := self._line(change))]
        for line in lines[:MOST_AT_ONCE]:
            self._journal.write(line)
        if len(lines) > MOST_AT_ONCE:
            self._journal.write(f"and {len(lines) - MOST_AT_ONCE} more changes in the same request")

    def _line(self, change: Change) -> str:
        who = ACS if change.writer is Writer.ACS else self._who or _WRITERS[change.writer]
        if change.kind is not ChangeKind.VALUE:
            return f"{who} {'added' if change.kind is ChangeKind.ADD else 'deleted'} {change.path}"
        try:
            definition = self._model.definition(change.path)
        except Fault:
            return ""  # its row was deleted in the same commit
        if not definition.writable:
            return ""  # a counter or a state, no configuration
        hidden = definition.hidden or definition.secured
        old, new = (_shown(change.path, value, hidden) for value in (change.old, change.new))
        return f"{who} set {change.path}: {old} -> {new}"


def _shown(path: str, value: str, hidden: bool) -> str:
    value = MASK if hidden and value else masked(path, value)
    return msgspec.json.encode(value if len(value) <= _LONGEST else value[: _LONGEST - 1] + "…").decode()


def entry(line: str) -> dict[str, Any]:
    """A line of the log as data: `{time, text}`, and `{who, path, old, new}` where it tells of a value."""
    time, _, text = line.partition(" ")
    found = _LINE.fullmatch(line)
    if found is None:
        return {"time": time, "text": text}
    try:
        old, new = (msgspec.json.decode(found.group(i), type=str) for i in (4, 5))
    except msgspec.DecodeError:
        return {"time": time, "text": text}
    return {"time": time, "text": text, "who": found.group(2), "path": found.group(3), "old": old, "new": new}
