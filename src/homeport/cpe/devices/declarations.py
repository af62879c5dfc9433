"""What a plug-in declares: parameters, groups, bundles and tables with their functions, listeners, and the rows that functions get.

Declarations only: no thread, no data model. `plugin` has the decorators that make them, `calls` calls them.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, Self

from homeport.errors import ConfigError, Fault
from homeport.model.path import Path, Wildcard, segment_text
from homeport.terms import ValueType

Function = Callable[..., Any]
Key = str | tuple[str, ...]

_FUNCTIONS: Final = ("function", "validator", "applier", "undoer", "notifier", "adder", "deleter")
"""What of a declaration is called, and therefore bound to an object where it was declared in a class."""


_TYPES: Final = {
    "str": "string",
    "int": "int",
    "bool": "boolean",
    "float": "decimal",
    "bytes": "hexBinary",
    "datetime": "dateTime",
}
"""What a function returns, as the wire calls it."""


class Row:
    """One row of a table, as functions of its parameters get it.

    path: `Device.Hosts.Host.3.`. number: 3. key: what tells it from others, "" where the table has no live rows.
    values: what the table's function said of it last. parent: the row around it, or None.
    """

    __slots__ = ("path", "number", "key", "values", "parent", "_read")

    def __init__(
        self,
        path: str,
        number: int,
        key: Key = "",
        values: Mapping[str, Any] | None = None,
        parent: "Row | None" = None,
        read: Callable[[str], str] | None = None,
    ) -> None:
        self.path = path
        self.number = number
        self.key = key
        self.values: Mapping[str, Any] = values or {}
        self.parent = parent
        self._read = read

    def __repr__(self) -> str:
        return f"Row({self.path!r}, key={self.key!r})"

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def get(self, name: str, default: Any = None) -> Any:
        """What the table's function said of a column."""
        return self.values.get(name, default)

    def stored(self, name: str) -> str:
        """The text that the data model keeps for a column, with the changes of the request that is being done; "" where it has none."""
        if self._read is None:
            return ""
        try:
            return self._read(self.path + name)
        except Fault:
            return ""


class Reference:
    """A value that refers to the row of a live table: `refer("Device.Ethernet.Interface.{i}.", "eth0")`."""

    __slots__ = ("path", "key")

    def __init__(self, path: str, key: Key) -> None:
        self.path = path
        self.key = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and (self.path, self.key) == (other.path, other.key)

    def __hash__(self) -> int:
        return hash((self.path, self.key))


def refer(path: str, key: Key) -> Reference:
    """A value for a parameter that refers to a row: becomes its path without the last dot, "" where there is no such row.

    path: the live table's, `Device.Ethernet.Interface.{i}.`; inside other tables with the numbers of the rows around it. key: of the row.
    """
    return Reference(path, key)


class Declaration:
    """One thing that a plug-in declares. path: with `{i}` for rows; `*` means the same."""

    def __init__(self, function: Function, path: str, *, limit: float, inline: bool, poll: float) -> None:
        self.function = function
        self.path = normal(path)
        self.paths: tuple[str, ...] = (self.path,)
        self.limit = limit
        self.inline = inline
        self.poll = poll
        self.validator: Function | None = None
        self.applier: Function | None = None
        self.undoer: Function | None = None
        self.notifier: Function | None = None
        self.__doc__ = function.__doc__
        _refuse_async(function, self.path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    def __call__(self, *arguments: Any) -> Any:
        """The function itself, so that tests and other functions can call it."""
        return self.function(*arguments)

    @property
    def name(self) -> str:
        """The function, for messages: `box.uptime`."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    def type_of(self, path: str) -> str:
        """The type of a vendor's own parameter, such as `int`. Raises ConfigError where nothing says it."""
        return self._known_type(path, "")

    def _known_type(self, path: str, found: str) -> str:
        known = [t.value for t in ValueType]
        if found in known:
            return found
        raise ConfigError(
            f"{self.name}: {path} is in no model, so its type must be said: let the function return str, int, bool, float, bytes or "
            f"datetime, or give the type, one of {', '.join(known)}"
        )

    def validate(self, function: Function) -> Self:
        """Marks the function that checks a new value before anything is done: `check(value)`, with rows `check(row, value)`.

        It refuses by raising ValueError with a sentence (fault 9007), or a Fault.
        """
        _refuse_async(function, self.path)
        self.validator = function
        return self

    def apply(self, function: Function) -> Self:
        """Marks the function that does a change: `set(value)`, with rows `set(row, value)`. Returns None, or LATER.

        Raising refuses the change: ValueError is 9007, anything else 9002; what was applied before is then taken back.
        """
        _refuse_async(function, self.path)
        self.applier = function
        return self

    def undo(self, function: Function) -> Self:
        """Marks the function that takes an apply back; without it `apply` is called with the old value."""
        _refuse_async(function, self.path)
        self.undoer = function
        return self

    def notify(self, function: Function) -> Self:
        """Marks the function that learns of a change after it is on disk; nobody waits for it, and its errors are logged."""
        _refuse_async(function, self.path)
        self.notifier = function
        return self

    @property
    def functions(self) -> tuple[Function, ...]:
        """All functions of the declaration."""
        return tuple(
            f for f in (self.function, self.validator, self.applier, self.undoer, self.notifier) if f is not None
        )

    @property
    def writes(self) -> bool:
        """Whether it has a say in changes."""
        return len(self.functions) > 1

    def bound(self, owner: object) -> Self:
        """The same declaration whose functions are methods of an object."""
        made = self.__class__.__new__(self.__class__)
        made.__dict__.update(self.__dict__)
        for slot in _FUNCTIONS:
            if self.__dict__.get(slot) is not None:
                made.__dict__[slot] = self.__dict__[slot].__get__(owner)
        return made


class Parameter(Declaration):
    """A function that gives one parameter's value: `read()`, or `read(row)` for a parameter of a table's rows.

    type: of a vendor's own parameter, which no model has; "" takes it from what the function returns.
    """

    def __init__(self, function: Function, path: str, *, type: str, limit: float, inline: bool, poll: float) -> None:
        super().__init__(function, path, limit=limit, inline=inline, poll=poll)
        self.type = type

    def type_of(self, path: str) -> str:
        returned = getattr(self.function, "__annotations__", {}).get("return")
        found = self.type or _TYPES.get(
            returned if isinstance(returned, str) else getattr(returned, "__name__", ""), ""
        )
        return self._known_type(path, found)


class Group(Declaration):
    """A function that gives many values at once, by their names below the path; called once however many of them are asked for."""


class Bundle(Declaration):
    """A function that gives the values of any of its parameters: `read(paths)` returns values by path.

    `validate(path, value)`, and `apply({path: value, ...})` once for all that one request changes. A value may be an Exception.
    """

    def __init__(self, function: Function, paths: Sequence[str], *, limit: float, inline: bool, poll: float) -> None:
        if not paths or any(p.endswith(".") for p in paths):
            raise ConfigError(f"{function.__qualname__}: a bundle names at least one parameter, and parameters only")
        super().__init__(function, paths[0], limit=limit, inline=inline, poll=poll)
        self.paths = tuple(dict.fromkeys([normal(p) for p in paths]))
        self.types: dict[str, str] = {}
        """Types of a vendor's own parameters, by path."""

    def type_of(self, path: str) -> str:
        return self._known_type(path, self.types.get(path, ""))


class Table(Declaration):
    """A function that gives a table's rows as they are now."""

    def __init__(
        self,
        function: Function,
        path: str,
        *,
        key: str | Sequence[str] | Function,
        columns: Sequence[str],
        volatile: bool,
        limit: float,
        inline: bool,
        poll: float,
    ) -> None:
        super().__init__(function, path, limit=limit, inline=inline, poll=poll)
        segments = Path.parse(self.path).segments
        if not self.path.endswith(".") or not isinstance(segments[-1], Wildcard):
            raise ConfigError(
                f"{self.name}: a table's path ends with its rows, such as Device.Hosts.Host.{{i}}. not {path}"
            )
        self.key = key
        self.columns = tuple(columns)
        self.volatile = volatile
        self.adder: Function | None = None
        self.deleter: Function | None = None

    def add(self, function: Function) -> Self:
        """Marks the function that learns of a row that the ACS adds: `add(row)`; values come afterwards, through `apply`."""
        _refuse_async(function, self.path)
        self.adder = function
        return self

    def delete(self, function: Function) -> Self:
        """Marks the function that removes a row that the ACS deletes: `delete(row)`."""
        _refuse_async(function, self.path)
        self.deleter = function
        return self

    @property
    def functions(self) -> tuple[Function, ...]:
        return (*super().functions, *(f for f in (self.adder, self.deleter) if f is not None))

    @property
    def key_columns(self) -> tuple[str, ...]:
        """Columns that identify a row; () where a function does."""
        if callable(self.key):
            return ()
        return (self.key,) if isinstance(self.key, str) else tuple(self.key)

    def key_of(self, values: Mapping[str, Any]) -> Key:
        """What identifies a row among the others: a text, or a tuple of texts."""
        if callable(self.key):
            found = self.key(values)
            return found if isinstance(found, tuple) else str(found)
        if isinstance(self.key, str):
            return str(values[self.key])
        return tuple([str(values[name]) for name in self.key])


class Listener:
    """An async generator that yields the paths of what changed, for as long as the agent runs."""

    def __init__(self, function: Callable[..., AsyncIterator[Any]]) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> AsyncIterator[Any]:
        return self.function(*arguments)

    @property
    def name(self) -> str:
        return f"{self.function.__module__}.{self.function.__qualname__}"

    def bound(self, owner: object) -> "Listener":
        return Listener(self.function.__get__(owner))


class Moment:
    """A function for one moment in the life of a plug-in: `start`, `stop`, or `idle` whenever that is asked."""

    def __init__(self, function: Callable[..., object], when: str) -> None:
        self.function = function
        self.when = when

    def __call__(self, *arguments: Any) -> object:
        return self.function(*arguments)

    def bound(self, owner: object) -> "Moment":
        return Moment(self.function.__get__(owner), self.when)


class FileHandler(Moment):
    """A function for one type of files. when: `download` or `upload`. file_type: such as `5 Ringer File`."""

    def __init__(self, function: Callable[..., object], when: str, file_type: str) -> None:
        super().__init__(function, when)
        self.file_type = file_type

    def bound(self, owner: object) -> "FileHandler":
        return FileHandler(self.function.__get__(owner), self.when, self.file_type)


def normal(path: str) -> str:
    """A path with `{i}` for every `*`. Raises ConfigError where it is no path."""
    try:
        parsed = Path.parse(path)
        parts = ["{i}" if isinstance(s, Wildcard) else segment_text(s) for s in parsed.segments]
        return ".".join(parts) + ("." if parsed.partial else "")
    except Fault as e:
        raise ConfigError(f"a plug-in names {path!r}: {e.text}") from e


def _refuse_async(function: Function, path: str) -> None:
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is not None and code.co_flags & 0x280:  # CO_COROUTINE, CO_ASYNC_GENERATOR
        raise ConfigError(
            f"{function.__qualname__} for {path} is async; a plain function is wanted, it runs in a thread of its own. "
            "For events of the system there is @listen"
        )
