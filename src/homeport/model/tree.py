"""A device's data model: the whole interface that the agent, the simulator and the diagnostics use.

    model = DataModel(load_profile("dkt-797xx"), persist=journal.write)
    model.source("Device.DeviceInfo.UpTime", read=lambda path: int(uptime()))
    model.hook("Device.Ethernet.Interface.", apply=switch_interfaces)
    model.get("Device.DeviceInfo.")

Devices of one profile share everything in which they do not differ from the factory. Nothing here keeps time or does IO; `persist` is
how a commit reaches the disk before it is visible.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from homeport.errors import Fault
from homeport.model import recording
from homeport.model.changes import (
    EVERYBODY,
    REPORTED,
    Change,
    CommitRecord,
    Op,
    PendingChange,
    notification_of,
)
from homeport.model.nodes import Blueprint, Node, Shape, Table, blueprint_of
from homeport.model.profile import ProfileDef
from homeport.model.reading import ParameterAttribute, ParameterName, ParameterValue, View, no_such
from homeport.model.schema import ParameterDef, Schema
from homeport.model.sources import Read, ReadGroup, ReadOf, Refresh, Registry
from homeport.model.state import State
from homeport.model.tables import ACTIVE_BELOW, FORCED_BELOW
from homeport.model.transaction import Transaction
from homeport.terms import Notification, Writer

Listener = Callable[[Sequence[Change]], None]
"""Called after a commit with all its changes, oldest first."""


class DataModel:
    """One device's parameters, instances, attributes and what it still has to report.

    source:   a schema (all of it) or a profile. persist: gets a CommitRecord before a commit becomes visible; if it raises, the commit
              is taken back. registry: shared sources and hooks, for fleets. lightweight: notifications 3 to 6 are supported.
    """

    __slots__ = (
        "blueprint",
        "state",
        "registry",
        "listeners",
        "persist",
        "lightweight",
        "asked",
        "_still",
        "__weakref__",
    )

    def __init__(
        self,
        source: Schema | ProfileDef | Blueprint,
        *,
        persist: Callable[[CommitRecord], None] | None = None,
        registry: Registry | None = None,
        lightweight: bool = False,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self.blueprint = source if isinstance(source, Blueprint) else blueprint_of(source)
        self.state = _factory_state(self.blueprint)
        self.registry = registry
        self.listeners: tuple[Listener, ...] = ()
        self.persist = persist
        self.lightweight = lightweight
        self.asked: frozenset[str] = frozenset()
        """While values are read for somebody: the parameters that were named in full."""
        self._still = 0
        """More than 0 while rows must stay as they are: in a commit, and while rows are brought up to date."""
        if state is not None:
            self.load_state(state)

    def __repr__(self) -> str:
        return f"DataModel({self.blueprint.name!r}, commit {self.state.number})"

    @property
    def root(self) -> str:
        """`Device.` or `InternetGatewayDevice.`"""
        return self.blueprint.root_path

    @property
    def schema(self) -> Schema:
        return self.blueprint.schema

    @property
    def profile(self) -> ProfileDef | None:
        return self.blueprint.profile

    def _view(self) -> View:
        return View(self.blueprint, self.state.root, self.registry, self)

    # --- reading ----------------------------------------------------------------------------------------------------------------

    def get(self, path: str) -> list[ParameterValue]:
        """The values that a path names, in document order; one name, a partial path, or "" for all. Raises Fault 9005."""
        return self.get_many([path])

    def get_many(self, paths: Sequence[str], *, insist: bool = True) -> list[ParameterValue]:
        """The values of one GetParameterValues; each source is asked once. Raises Fault 9005 if any path is wrong.

        insist: somebody wants to know of a parameter that cannot be read now; without, it has its stored value.
        """
        self.freshen(paths)
        if self.registry is None or self.asked or not insist:
            return self._view().values(paths)
        self.asked = frozenset([path for path in paths if path and path[-1] != "."])
        try:
            return self._view().values(paths)
        finally:
            self.asked = frozenset()

    def names(self, path: str, next_level: bool) -> list[ParameterName]:
        """What GetParameterNames answers. Raises Fault 9005, and 9003 for a parameter with next_level."""
        self.freshen([path])
        return self._view().names(path, next_level)

    def value(self, path: str, *, reveal: bool = False) -> str:
        """The text of one parameter. reveal: hidden ones too, for the device's own code. Raises Fault 9005."""
        found = self._view().values([path], reveal=reveal)
        if path.endswith(".") or len(found) != 1:
            raise no_such(path, "value() needs one parameter")
        return found[0].value

    def definition(self, path: str) -> ParameterDef:
        """What the model says of one parameter. Raises Fault 9005."""
        place = self._view().locate(path)
        if place.at < 0:
            raise no_such(path, "it is an object")
        return place.parameter

    def shape_at(self, path: str) -> Shape | None:
        """What the object or row at a path may hold, None where there is none."""
        try:
            found = self._view().locate(path).found
        except Fault:
            return None  # the answer, not an error
        return found.shape

    def exists(self, path: str) -> bool:
        """Whether a parameter, object or row is there."""
        try:
            self._view().locate(path)
        except Fault:
            return False  # the answer, not an error
        return True

    def count(self, path: str) -> int:
        """How many parameters a path names, without reading any. Raises Fault 9005."""
        return len(self._view().parameters(path))

    def instances(self, table: str) -> list[int]:
        """Instance numbers of a table's rows, oldest first. Raises Fault 9005 where the path is no table."""
        place = self._view().locate(table)
        if not isinstance(place.found, Table):
            raise no_such(table, "it is not a table")
        return list(place.found.rows)

    def attributes(self, paths: Sequence[str]) -> list[ParameterAttribute]:
        """What GetParameterAttributes answers: an entry per parameter. Raises Fault 9005."""
        self.freshen(paths)
        view, out = self._view(), []
        by_alias = view.capability("InstanceMode") == "InstanceAlias"
        for path in paths:
            for name, parameter in view.parameters(path):
                kept = self.state.attributes.get(name)
                allowed = EVERYBODY if kept is None or kept.access_list is None else kept.access_list
                shown = view.with_aliases(view.locate(name)) if by_alias else name
                out.append(ParameterAttribute(shown, notification_of(parameter, kept), allowed))
        return out

    def freshen(self, paths: Sequence[str]) -> None:
        """Brings the rows of live tables up to date, where these paths depend on them; not while a commit runs."""
        if self.registry is None or self._still:
            return
        tables = self.registry.live_for(paths)
        if tables:
            with self.still():
                for table in tables:
                    table.refresh(self)

    @contextmanager
    def still(self) -> Iterator[None]:
        """Rows of live tables stay as they are inside."""
        self._still += 1
        try:
            yield
        finally:
            self._still -= 1

    # --- writing ----------------------------------------------------------------------------------------------------------------

    def transaction(self, writer: Writer) -> Transaction:
        """A transaction: the only door for writing. writer: who wants the changes; the ACS is not told of its own."""
        return Transaction(self, writer)

    def set_local(self, path: str, text: str, writer: Writer = Writer.SYSTEM) -> int:
        """Sets one value in a transaction of its own and gives its Status. The device itself (SYSTEM) may write read-only ones.

        Raises the Fault of that one parameter.
        """
        with self.transaction(writer) as change:
            change.set(path, text)
            try:
                return change.commit()
            except Fault as fault:
                if fault.parameters:
                    raise Fault(fault.parameters[0].code, fault.parameters[0].text) from None
                raise

    def factory_reset(self) -> None:
        """Puts everything back as it left the factory: values, rows, attributes, ParameterKey, and what was to be reported."""
        before = self.state
        self.persist_record(CommitRecord(before.number + 1, Writer.SYSTEM.value, True, (("reset",),)))
        self.state = _factory_state(self.blueprint, before.number + 1)

    # --- sources, hooks, listeners ----------------------------------------------------------------------------------------------

    def _own_registry(self) -> Registry:
        if self.registry is None:
            self.registry = Registry()
        return self.registry

    def source(
        self,
        pattern: str,
        read: Read | None = None,
        *,
        read_group: ReadGroup | None = None,
        read_of: ReadOf | None = None,
    ) -> None:
        """Computes the values at a pattern; see `Registry.source`."""
        self._own_registry().source(pattern, read, read_group=read_group, read_of=read_of)

    def hook(
        self,
        pattern: str,
        *,
        validate: Callable[[Change, Transaction], None] | None = None,
        apply: Callable[[Sequence[Change], Transaction], int | None] | None = None,
        undo: Callable[[Sequence[Change], Transaction], object] | None = None,
        notify: Callable[[Sequence[Change], Transaction], None] | None = None,
    ) -> None:
        """Has a say in changes at a pattern; see `Hook`."""
        self._own_registry().hook(pattern, validate=validate, apply=apply, undo=undo, notify=notify)

    def live(self, pattern: str, refresh: Refresh, *, count: str = "") -> None:
        """Has a table's rows brought up to date before they are read; see `Registry.live`."""
        self._own_registry().live(pattern, refresh, count=count)

    def deny_active(self, pattern: str) -> None:
        """Refuses active notification for `canDeny` parameters at a pattern."""
        self._own_registry().deny_active(pattern)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Has a listener told of every commit; gives the function that ends it."""
        self.listeners = (*self.listeners, listener)

        def unsubscribe() -> None:
            self.listeners = tuple(x for x in self.listeners if x is not listener)

        return unsubscribe

    # --- what the ACS is to be told ---------------------------------------------------------------------------------------------

    def forced_inform(self) -> list[str]:
        """Paths of the parameters that every Inform carries, as far as this device has them.

        Of an InternetGatewayDevice's ExternalIPAddress only that of the default connection belongs to them; it is the one that
        Layer3Forwarding.DefaultConnectionService names, or the first.
        """
        out: list[str] = []
        _forced(self.state.root, self.root, out)
        external = [p for p in out if p.endswith(".ExternalIPAddress")]
        if external:
            try:
                default = self.value(self.root + "Layer3Forwarding.DefaultConnectionService").removesuffix(".") + "."
            except Fault:
                default = "."  # this device does not say which one is the default
            keep = next((p for p in external if p.startswith(default)), external[0])
            out = [p for p in out if p not in external or p == keep]
        view = self._view()
        if view.capability("InstanceMode") == "InstanceAlias":
            return [view.with_aliases(view.locate(p)) for p in out]
        return out

    def poll(self) -> list[str]:
        """Looks for changes that nobody wrote: computed values with a notification, and what a new firmware changed.

        Gives the paths that changed since the last look. The first look at a parameter only remembers its value.
        """
        self.freshen([path for path, kept in self.state.attributes.items() if kept.notification])
        view = self._view()
        watched = self._watched(view)
        if not watched:
            return []
        current = {p: v.value for p, v in zip(watched, view.values(watched), strict=True)}
        baseline, pending = dict(self.state.baseline), dict(self.state.pending)
        ops: list[Op] = []
        changed = []
        for path, text in current.items():
            known = baseline.get(path)
            if known == text:
                continue
            baseline[path] = text
            ops.append(("baseline", path, text))
            if known is not None:
                changed.append(path)
                if path not in pending:
                    pending[path] = known
                    ops.append(("pending", path, known))
        for path in baseline.keys() - current.keys():
            del baseline[path]
            ops.append(("baseline", path, None))
        self._commit_bookkeeping(pending, baseline, ops)
        return changed

    def watched(self) -> list[str]:
        """What `poll` is going to read or to count, for who wants to fetch it ahead."""
        marked = [path for path, kept in self.state.attributes.items() if kept.notification]
        return list(dict.fromkeys([*self._watched(self._view()), *marked]))

    def _watched(self, view: View) -> list[str]:
        """Reported parameters whose changes come from nowhere in the tree, in a stable order."""
        registry = self.registry
        found: dict[str, None] = {}
        for path, parameter in _always_active(self.state.root, self.root):
            if notification_of(parameter, self.state.attributes.get(path)):
                found[path] = None
        if registry is not None:
            for path, kept in self.state.attributes.items():
                if not kept.notification or path in found:
                    continue
                try:
                    place = view.locate(path)
                except Fault:
                    continue  # the row is gone in a newer firmware
                if any(at == place.at for at, _ in registry.sources_of(place.node.shape)):
                    found[path] = None
        return list(found)

    def pending_changes(self, *, poll: bool = True) -> list[PendingChange]:
        """What changed without the ACS's doing and was not reported, with the values of now; what changed back is left out.

        Inform carries those whose notification is 1, 2, 4 or 6; 2 also opens a session. poll: look for unwritten changes first.
        """
        if poll:
            self.poll()
        if not self.state.pending:
            return []
        view, out = self._view(), []
        by_alias = view.capability("InstanceMode") == "InstanceAlias"
        for path, old in self.state.pending.items():
            try:
                place = view.locate(path)
            except Fault:
                continue  # deleted meanwhile
            notification = notification_of(place.parameter, self.state.attributes.get(path))
            now = view.values([path])[0]
            if notification and (now.value != old or place.at in place.node.shape.hidden):
                shown = view.with_aliases(place) if by_alias else path
                out.append(PendingChange(shown, now.value, now.type, Notification(notification), old))
        return out

    def to_inform(self) -> list[PendingChange]:
        """The pending changes that an Inform carries with `4 VALUE CHANGE`."""
        return [c for c in self.pending_changes() if c.notification in REPORTED]

    def clear_reported(self, reported: Iterable[PendingChange | ParameterValue] | None = None) -> None:
        """Forgets what the ACS has been told. reported: the changes as they were sent; one that changed again since stays pending,
        against the value that was sent. None forgets all."""
        if not self.state.pending:
            return
        pending = dict(self.state.pending)
        ops: list[Op] = []
        if reported is None:
            ops = [("pending", path, None) for path in pending]
            pending.clear()
        else:
            view = self._view()
            for sent in reported:
                try:
                    path = view.locate(sent.name).path
                    now = view.values([path])[0].value
                except Fault:
                    continue  # deleted meanwhile, and forgotten with its row
                if path not in pending:
                    continue
                if now == sent.value:
                    del pending[path]
                    ops.append(("pending", path, None))
                elif pending[path] != sent.value:
                    pending[path] = sent.value
                    ops.append(("pending", path, sent.value))
        self._commit_bookkeeping(pending, self.state.baseline, ops)

    def _commit_bookkeeping(self, pending: dict[str, str], baseline: dict[str, str], ops: list[Op]) -> None:
        if not ops:
            return
        before = self.state
        durable = any(op[0] == "pending" for op in ops)
        self.persist_record(CommitRecord(before.number + 1, Writer.SYSTEM.value, durable, tuple(ops)))
        self.state = State(before.root, before.attributes, pending, baseline, before.number + 1)

    # --- disk -------------------------------------------------------------------------------------------------------------------

    def persist_record(self, record: CommitRecord) -> None:
        """Hands a record to `persist`, where there is one."""
        if self.persist is not None:
            self.persist(record)

    def dump_state(self) -> dict[str, Any]:
        """Everything that differs from the factory: plain values for msgpack or JSON, to be given to `load_state`."""
        return recording.dump(self.blueprint, self.state)

    def load_state(self, state: Mapping[str, Any]) -> list[str]:
        """Takes over a dumped state, also of an older or newer firmware; gives a sentence for each thing that no longer fits.

        Raises StoreError where the dump is of an unknown format.
        """
        self.state, left_out = recording.load(self.blueprint, state)
        return left_out

    def replay(self, record: CommitRecord | Sequence[Any]) -> list[str]:
        """Does a recorded commit again, at start, without checks, hooks or notices; gives a sentence for each thing that no longer
        fits. A record that the state already contains (by its number) is passed over."""
        self.state, left_out = recording.replay(self.blueprint, self.state, record)
        return left_out


def _factory_state(blueprint: Blueprint, number: int = 0) -> State:
    """The state of a device as it leaves the factory; all devices of a blueprint share one until they differ."""
    if number:
        return State(blueprint.factory, {}, {}, {}, number)
    shared = blueprint.factory_state
    if not isinstance(shared, State):
        shared = blueprint.factory_state = State(blueprint.factory, {}, {}, {}, 0)
    return shared


def _forced(place: Node | Table, prefix: str, out: list[str]) -> None:
    if not place.shape.definition.below & FORCED_BELOW:
        return
    if isinstance(place, Table):
        for number, row in place.rows.items():
            _forced(row, f"{prefix}{number}.", out)
        return
    out.extend([prefix + place.shape.names[at] for at in place.shape.forced])
    for child in place.children:
        _forced(child, f"{prefix}{child.shape.definition.name}.", out)


def _always_active(place: Node | Table, prefix: str) -> list[tuple[str, ParameterDef]]:
    """Parameters whose notification is active without the ACS's doing."""
    if not place.shape.definition.below & ACTIVE_BELOW:
        return []
    found: list[tuple[str, ParameterDef]] = []
    if isinstance(place, Table):
        for number, row in place.rows.items():
            found.extend(_always_active(row, f"{prefix}{number}."))
        return found
    shape: Shape = place.shape
    found.extend([(prefix + shape.names[at], shape.parameters[at]) for at in shape.active])
    for child in place.children:
        found.extend(_always_active(child, f"{prefix}{child.shape.definition.name}."))
    return found
