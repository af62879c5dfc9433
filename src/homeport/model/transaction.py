"""The only door for writing: stage, check everything, do it or nothing, tell once.

    with model.transaction(Writer.ACS) as change:
        change.set("Device.ManagementServer.PeriodicInformInterval", "300", "unsignedInt")
        change.parameter_key("k1")
        status = change.commit()

Order of deeds at commit: keys, references and validate hooks; apply hooks; the disk (`persist`); then the new state becomes visible; then
notify hooks and listeners. Whatever refuses before that point leaves no trace: hooks that had been applied are undone in reverse.
"""

from collections.abc import Sequence
from typing import TypeVar

from homeport.errors import Fault, LocalProtocolError, ParameterFault
from homeport.model import constraints
from homeport.model.changes import Attributes, Change, ChangeKind, CommitRecord, Op, notification_of
from homeport.model.nodes import Node, Table
from homeport.model.path import Path
from homeport.model.sources import Hook
from homeport.model.staging import Staging, listed
from homeport.model.state import State
from homeport.terms import FaultCode, Writer

T = TypeVar("T")


class Transaction(Staging):
    """Changes of one device that happen together or not at all."""

    __slots__ = ()

    # --- checking ---------------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises what `commit` would raise before it does anything: types, keys, references, validate hooks. Nothing changes."""
        self._check_open()
        staged = list(self.errors)
        try:
            with self.model.still():
                self._check_staged()
            if self.errors:
                raise self._refusal()
        finally:
            self.errors = staged

    # --- commit -----------------------------------------------------------------------------------------------------------------

    def commit(self) -> int:
        """Does everything that was staged, and gives Status: 0 done, 1 accepted and done later.

        Raises Fault 9003 with one ParameterFault per refused parameter where values were set, and the plain Fault where only rows
        or attributes were concerned; nothing is changed then. What `persist` raises passes through, with everything taken back.
        """
        with self.model.still():
            return self._commit()

    def _commit(self) -> int:
        self._check_open()
        self._open = False
        if self.model.state is not self._start:
            raise LocalProtocolError(
                "another transaction of this device was committed since this one began; begin again"
            )
        if not self.errors:
            self._check_staged()
        if self.errors:
            raise self._refusal()
        changes = self._changes()
        self._open = True  # hooks may add the device's own values
        done: list[tuple[Hook, tuple[Change, ...]]] = []
        try:
            status = self._apply(changes, done)
            self._open = False
            if self.model.state is not self._start:
                raise LocalProtocolError("an apply hook wrote to the model by itself; let it use view.also(path, text)")
            changes = self._changes()
            state, ops, durable = self._next_state(changes)
            if ops:
                self.model.persist_record(CommitRecord(state.number, self.writer.value, durable, tuple(ops)))
        except BaseException:
            self._open = False
            self._undo(done)
            raise
        for node in self._touched:
            node.values, node.children, node.owner = tuple(node.values), tuple(node.children), None
        self.model.state = state
        self._tell(changes)
        return status

    def _refusal(self) -> Fault:
        if not self._set_used and len(self.errors) >= 1:
            return Fault(self.errors[0].code, self.errors[0].text)
        return Fault(FaultCode.INVALID_ARGUMENTS, FaultCode.INVALID_ARGUMENTS.text, tuple(self.errors))

    def _blame(self, path: str, fault: Fault) -> None:
        self.errors.append(ParameterFault(self._spelled.get(path, path), listed(fault.code), fault.text))

    def _check_staged(self) -> None:
        for path, staged in self._values.items():
            try:
                constraints.check_reference(self, staged.parameter, staged.new)
                constraints.check_value_reference(self, path, staged.parameter, staged.new)
                constraints.check_inform_parameter(self, path, staged.new)
            except Fault as fault:
                self._blame(path, fault)
        if self.reports:
            return
        self._check_keys()
        if self.registry is None:
            return
        for change in self._changes():
            for hook in self.registry.hooks_for(change.path):
                if hook.validate is not None:
                    try:
                        hook.validate(change, self)
                    except Fault as fault:
                        self._blame(change.path, fault)
                    except Exception as error:
                        text = f"{hook.pattern.text} could not be checked: {type(error).__name__}: {error}"
                        self._blame(change.path, Fault(FaultCode.INTERNAL_ERROR, text))
                        _log_failure("a validate hook at %s failed", hook.pattern.text)

    def _check_keys(self) -> None:
        rows: dict[str, set[int]] = {}
        for path in (*self._values, *self._new_rows):
            segments = Path.parse(path).segments
            above = segments if path.endswith(".") else segments[:-1]
            if above and isinstance(above[-1], int):
                rows.setdefault(".".join(map(str, above[:-1])) + ".", set()).add(above[-1])
        for table_path, touched in rows.items():
            try:
                table = self.locate(table_path).found
            except Fault:
                continue  # the row was deleted again together with its table
            assert isinstance(table, Table)
            for key, earlier, later in constraints.key_clashes(table):
                guilty = later if later in touched else earlier
                if guilty not in touched:
                    continue
                fault = Fault(
                    FaultCode.INVALID_PARAMETER_VALUE,
                    f"{table_path}{guilty}. would have the same {', '.join(key.parameters)} as row {earlier if guilty == later else later}",
                )
                names = [f"{table_path}{guilty}.{n}" for n in (*key.parameters, table.shape.definition.enable)]
                staged = [n for n in names if n in self._spelled] or names[:1]
                for name in staged:
                    self._blame(name, fault)

    def _changes(self) -> list[Change]:
        """Everything that differs from the start, structure first."""
        changes = [change for _, change in self._structure]
        for table_path, rows in self._lengths.items():
            changes.extend(self._count_change(table_path, rows))
        for path, staged in self._values.items():
            if staged.new != staged.old or staged.parameter.command:
                changes.append(Change(path, staged.old, staged.new, staged.writer))
        return changes

    def _count_change(self, table_path: str, before: int) -> list[Change]:
        try:
            place = self.locate(table_path)
        except Fault:
            return []  # its parent row is gone
        name = place.found.shape.definition.count
        parent = table_path.removesuffix(".").rpartition(".")[0] + "."
        assert isinstance(place.found, Table)
        after = len(place.found.rows)
        above = self.locate(parent)
        if before == after or not isinstance(above.found, Node) or name not in above.found.shape.index:
            return []
        return [Change(parent + name, str(before), str(after), self.writer)]

    def _apply(self, changes: list[Change], done: list[tuple[Hook, tuple[Change, ...]]]) -> int:
        if self.registry is None or self.reports:
            return 0
        status = 0
        for hook, mine in self.registry.batches(changes):
            if hook.apply is None:
                continue
            done.append((hook, mine))
            try:
                status = max(status, int(hook.apply(mine, self) or 0))
            except Fault as fault:
                raise self._blamed_on(mine, fault) from fault
            except Exception as error:
                text = f"{hook.pattern.text} could not be applied: {type(error).__name__}: {error}"
                raise self._blamed_on(mine, Fault(FaultCode.INTERNAL_ERROR, text)) from error
        return status

    def _blamed_on(self, changes: Sequence[Change], fault: Fault) -> Fault:
        if not self._set_used or fault.parameters:
            return fault
        for change in changes:
            if change.path in self._spelled:
                self._blame(change.path, fault)
        return self._refusal() if self.errors else fault

    def _undo(self, done: list[tuple[Hook, tuple[Change, ...]]]) -> None:
        for hook, changes in reversed(done):
            back = tuple(c.reversed() for c in reversed(changes))
            take_back = hook.undo or hook.apply
            assert take_back is not None
            try:
                take_back(back, self)
            except Exception:
                # The refusal that caused this is on its way to the caller already; the others must still be undone.
                _log_failure("undoing a change at %s failed", hook.pattern.text)

    def _next_state(self, changes: list[Change]) -> "tuple[State, list[Op], bool]":
        ops: list[Op] = [op for op, _ in self._structure]
        durable = bool(ops) and not self.volatile
        if self._key is not None:
            self._stage_key()
        for path, staged in self._values.items():
            if staged.new != staged.old and not staged.parameter.command:
                ops.append(("set", path, staged.new))
                durable = durable or (not self.volatile and (staged.parameter.writable or staged.writer is Writer.ACS))
        gone = [str(op[1]) for op, _ in self._structure if op[0] == "delete"]
        attributes = _kept(self._start.attributes, gone)
        for path, wanted in self._attributes.items():
            if attributes.get(path) != wanted and not any(path.startswith(g) for g in gone):
                attributes = attributes if attributes is not self._start.attributes else dict(attributes)
                attributes[path] = wanted
                ops.append(
                    (
                        "attribute",
                        path,
                        wanted.notification,
                        None if wanted.access_list is None else list(wanted.access_list),
                    )
                )
                durable = True
        pending, baseline = _kept(self._start.pending, gone), _kept(self._start.baseline, gone)
        for change in changes:
            if change.kind is not ChangeKind.VALUE:
                continue
            path = change.path
            known = path in baseline
            if change.writer is Writer.ACS:
                if path in pending:
                    pending = pending if pending is not self._start.pending else dict(pending)
                    del pending[path]
                    ops.append(("pending", path, None))
            elif path not in pending and self._notifies(path, attributes):
                pending = pending if pending is not self._start.pending else dict(pending)
                pending[path] = change.old
                ops.append(("pending", path, change.old))
                durable = True
            if known:
                baseline = baseline if baseline is not self._start.baseline else dict(baseline)
                baseline[path] = change.new
                ops.append(("baseline", path, change.new))
        number = self._start.number + 1 if ops else self._start.number
        return State(self.root, attributes, pending, baseline, number), ops, durable

    def _notifies(self, path: str, attributes: dict[str, Attributes]) -> bool:
        staged = self._values.get(path)
        parameter = staged.parameter if staged else self.locate(path).parameter
        return not parameter.command and notification_of(parameter, attributes.get(path)) != 0

    def _stage_key(self) -> None:
        path = self.blueprint.root_path + "ManagementServer.ParameterKey"
        try:
            place = self.locate(path)
        except Fault:
            return  # a device without ManagementServer.ParameterKey has nowhere to keep it
        self._write(place, self._key or "", Writer.ACS)

    def _tell(self, changes: list[Change]) -> None:
        if not changes:
            return
        told = tuple(changes)
        if self.registry is not None:
            for hook, mine in self.registry.batches(told):
                if hook.notify is not None:
                    try:
                        hook.notify(mine, self)
                    except Exception:
                        _log_failure("a notify hook at %s failed; the commit stands", hook.pattern.text)
        for listener in self.model.listeners:
            try:
                listener(told)
            except Exception:
                _log_failure("a listener of the data model failed; the commit stands")


def _kept(values: "dict[str, T]", gone: list[str]) -> "dict[str, T]":
    if not gone or not values:
        return values
    return {path: v for path, v in values.items() if not any(path.startswith(g) for g in gone)}


def _log_failure(text: str, *arguments: object) -> None:
    """Writes the exception that is being handled to the log; logging is imported only when something fails."""
    import logging

    logging.getLogger("homeport.model").exception(text, *arguments)
