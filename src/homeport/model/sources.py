"""Where a value lives, and who has a say in it: computed values, and hooks that validate, apply and notify.

Stored and constant values are the tree's own; counts of rows are computed by it. Everything here is registered by path pattern:
`Device.DeviceInfo.UpTime`, `Device.Ethernet.Interface.*.Stats.` (all below), `Device.Ethernet.Interface.1.Enable` (one instance).
A registry belongs to one device, or to a fleet of them, which then share its callbacks.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from homeport.errors import Fault
from homeport.model.path import Alias, Path, Wildcard

if TYPE_CHECKING:
    from homeport.model.changes import Change
    from homeport.model.nodes import Shape
    from homeport.model.transaction import Transaction
    from homeport.model.tree import DataModel

Read = Callable[[str], object]
"""(path) -> value: text, int, bool, datetime ...; None means "the stored value"."""
ReadGroup = Callable[[Sequence[str]], Mapping[str, object]]
"""(paths) -> values by path; a path that is left out keeps its stored value. Called once per RPC with all its paths."""
ReadOf = Callable[["DataModel", Sequence[str]], Mapping[str, object]]
"""The same, told which device is read: for registries that many devices share."""
Refresh = Callable[["DataModel"], None]
"""(model) -> None: brings the rows of a live table up to date, in transactions of its own."""


_REMEMBERED: Final = 8192  # paths whose hooks are remembered; a device that is written has a few hundred


class Source:
    """One registered way to compute values."""

    __slots__ = ("pattern", "read")

    def __init__(self, pattern: "Pattern", read: ReadOf) -> None:
        self.pattern = pattern
        self.read = read


class Hook:
    """What a device does about changes at and below a pattern.

    validate(change, view):  raises Fault to refuse one change; view.value(path) is how things will be. Runs before anything is done.
    apply(changes, view):    does them together; returns 1 where they take effect later (Status 1); raises Fault to refuse.
    undo(changes, view):     takes an apply back because a later one, or the disk, refused; changes come reversed, old and new swapped.
                             Without it, `apply` is called with the reversed changes.
    notify(changes, view):   learns of them after the commit; its errors are logged and change nothing.
    """

    __slots__ = ("pattern", "validate", "apply", "undo", "notify")

    def __init__(
        self,
        pattern: "Pattern",
        validate: "Callable[[Change, Transaction], None] | None",
        apply: "Callable[[Sequence[Change], Transaction], int | None] | None",
        undo: "Callable[[Sequence[Change], Transaction], object] | None",
        notify: "Callable[[Sequence[Change], Transaction], None] | None",
    ) -> None:
        self.pattern = pattern
        self.validate = validate
        self.apply = apply
        self.undo = undo
        self.notify = notify


class Pattern:
    """A path with `*` or `{i}` for any instance; a trailing dot means everything below."""

    __slots__ = ("text", "path", "exact")

    def __init__(self, text: str) -> None:
        self.text = text
        self.path = Path.parse(text)
        self.exact = any(isinstance(s, int) for s in self.path.segments)
        """Whether it names particular instances, so that a shape alone cannot decide."""

    def covers(self, segments: tuple[object, ...]) -> bool:
        """Whether a path, given as its segments, is this pattern's or lies below it."""
        own = self.path.segments
        if len(segments) < len(own) or (not self.path.partial and len(segments) != len(own)):
            return False
        for mine, theirs in zip(own, segments, strict=False):
            if isinstance(mine, Wildcard):
                if isinstance(theirs, str):
                    return False
            elif isinstance(theirs, Wildcard):
                if isinstance(mine, str):
                    return False
            elif mine != theirs:
                return False
        return True


class LiveTable:
    """A table whose rows come and go by themselves. pattern: of its rows. count: path of its number of rows, "" where there is none."""

    __slots__ = ("pattern", "count", "refresh")

    def __init__(self, pattern: Pattern, count: str, refresh: Refresh) -> None:
        self.pattern = pattern
        self.count = Path.parse(count).segments if count else ()
        self.refresh = refresh

    def concerns(self, path: Path) -> bool:
        """Whether what a path names depends on which rows there are."""
        segments = path.segments
        return meet(self.pattern.path.segments, segments) or bool(
            self.count and len(segments) == len(self.count) and not path.partial and meet(self.count, segments)
        )


def meet(own: tuple[object, ...], other: tuple[object, ...]) -> bool:
    """Whether one of two paths can lie on the way to the other."""
    for mine, theirs in zip(own, other, strict=False):
        loose = isinstance(mine, Wildcard | int) and isinstance(theirs, Wildcard | int | Alias)
        if mine != theirs and not (loose and (isinstance(mine, Wildcard) or not isinstance(theirs, int))):
            return False
    return True


class Registry:
    """The sources, hooks, live tables and notification refusals of a device, or of many that share it."""

    def __init__(self) -> None:
        self._sources: list[Source] = []
        self._live: list[LiveTable] = []
        self._hooks: list[Hook] = []
        self._denied: list[Pattern] = []
        self._by_shape: dict[Shape, tuple[tuple[int, Source], ...]] = {}
        self._by_path: dict[str, tuple[Hook, ...]] = {}

    def source(
        self,
        pattern: str,
        read: Read | None = None,
        *,
        read_group: ReadGroup | None = None,
        read_of: ReadOf | None = None,
    ) -> None:
        """Computes the values at a pattern. Give exactly one of the three; where patterns overlap, the later one counts."""
        given = [f for f in (read, read_group, read_of) if f is not None]
        if len(given) != 1:
            raise TypeError("source() needs exactly one of read, read_group and read_of")
        if read_group is not None:
            group = read_group
            found: ReadOf = lambda model, paths: group(paths)  # noqa: E731
        elif read is not None:
            single = read
            found = lambda model, paths: {p: single(p) for p in paths}  # noqa: E731
        else:
            assert read_of is not None
            found = read_of
        self._sources.insert(0, Source(Pattern(pattern), found))
        self._by_shape.clear()

    def hook(
        self,
        pattern: str,
        *,
        validate: "Callable[[Change, Transaction], None] | None" = None,
        apply: "Callable[[Sequence[Change], Transaction], int | None] | None" = None,
        undo: "Callable[[Sequence[Change], Transaction], object] | None" = None,
        notify: "Callable[[Sequence[Change], Transaction], None] | None" = None,
    ) -> None:
        """Has a say in changes at a pattern. Hooks run in the order in which they were registered."""
        self._hooks.append(Hook(Pattern(pattern), validate, apply, undo, notify))
        self._by_path.clear()

    def live(self, pattern: str, refresh: Refresh, *, count: str = "") -> None:
        """Has a table's rows brought up to date before they are read, outer tables first; see `LiveTable`."""
        self._live.append(LiveTable(Pattern(pattern), count, refresh))
        self._live.sort(key=lambda table: len(table.pattern.path.segments))

    def live_for(self, paths: Sequence[str]) -> list[LiveTable]:
        """The live tables on which the answer to these paths depends, outer ones first."""
        if not self._live:
            return []
        parsed = []
        for text in paths:
            try:
                parsed.append(Path.parse(text))
            except Fault:
                continue  # whoever reads it refuses it with the same Fault
        return [table for table in self._live if any(table.concerns(path) for path in parsed)]

    def deny_active(self, pattern: str) -> None:
        """Refuses active notification (9009) for parameters at a pattern that the model marks `canDeny`."""
        self._denied.append(Pattern(pattern))

    def denies_active(self, path: str) -> bool:
        """Whether active notification of this parameter is refused."""
        segments = Path.parse(path).segments
        return any(p.covers(segments) for p in self._denied)

    def hooks_for(self, path: str) -> "tuple[Hook, ...]":
        """The hooks that have a say in a change of this parameter or object, in the order of their registration."""
        found = self._by_path.get(path)
        if found is None:
            segments = Path.parse(path).segments
            found = tuple(h for h in self._hooks if h.pattern.covers(segments))
            if len(self._by_path) >= _REMEMBERED:
                self._by_path.clear()
            self._by_path[path] = found
        return found

    def batches(self, changes: "Sequence[Change]") -> "list[tuple[Hook, tuple[Change, ...]]]":
        """Each hook that is concerned with its changes, in the order of registration."""
        if not self._hooks:
            return []
        mine: dict[Hook, list[Change]] = {}
        for change in changes:
            for hook in self.hooks_for(change.path):
                mine.setdefault(hook, []).append(change)
        return [(hook, tuple(mine[hook])) for hook in self._hooks if hook in mine]

    def sources_of(self, shape: "Shape") -> tuple[tuple[int, Source], ...]:
        """(parameter index, source) of a shape, strongest first for each index; () for most shapes, quickly."""
        if not self._sources:
            return ()
        found = self._by_shape.get(shape)
        if found is None:
            found = self._by_shape[shape] = tuple(self._find(shape))
        return found

    def _find(self, shape: "Shape") -> list[tuple[int, Source]]:
        head = Path.parse(shape.path).segments
        rows = []
        for at, name in enumerate(shape.names):
            for source in self._sources:
                own = source.pattern.path.segments
                loose = (
                    tuple(
                        mine if isinstance(theirs, Wildcard) and isinstance(mine, int) else theirs
                        for mine, theirs in zip(own, (*head, name), strict=False)
                    )
                    + (*head, name)[len(own) :]
                )
                if source.pattern.covers(loose):
                    rows.append((at, source))
                    if not source.pattern.exact:
                        break
        return rows
