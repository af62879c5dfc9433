"""What a firmware engineer writes: plain functions, marked with the parameters that they give a life.

    from homeport.cpe.devices.plugin import Plugin

    box = Plugin("box")

    @box.parameter("Device.DeviceInfo.UpTime")
    def uptime() -> int:
        return int(float(open("/proc/uptime").read().split()[0]))

    @box.parameter("Device.DeviceInfo.ProvisioningCode")
    def code() -> str: ...

    @code.apply
    def code(value: str) -> None: ...

The same decorators at module level (`parameter`, `group`, `table`, `listen` ...) work on functions and on the methods of a class;
`Plugin.of(module or object)` collects them, which the loader does by itself. Only declarations live here: no thread, no data model.
`plugin_host` brings them to a model, `worker` calls them with a time limit.
Source of what the parameters mean: TR-181.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, Final, Self, TypeVar

from homeport.errors import ConfigError, Fault
from homeport.model.path import Path, Wildcard, segment_text
from homeport.terms import FaultCode

__all__ = [
    "LATER", "Fault", "FaultCode", "Plugin", "Reference", "Row", "bundle", "group", "listen", "parameter", "refer", "start", "stop",
    "table",
]  # fmt: skip

Function = Callable[..., Any]
Key = str | tuple[str, ...]
D = TypeVar("D", bound="Declaration")

LATER: Final = 1
"""What an `apply` returns where the change takes effect after its answer: the ACS sees Status 1."""

LIMIT: Final = 5.0
"""Seconds that one call of a plug-in may take, unless it says otherwise. The ACS waits 30 s for its answer."""


_FUNCTIONS: Final = ("function", "validator", "applier", "undoer", "notifier", "adder", "deleter")
"""What of a declaration is called, and therefore bound to an object where it was declared in a class."""


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
    """A function that gives one parameter's value: `read()`, or `read(row)` for a parameter of a table's rows."""


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
    """A function for one moment in the life of a plug-in: `start` or `stop`."""

    def __init__(self, function: Callable[..., object], when: str) -> None:
        self.function = function
        self.when = when

    def __call__(self, *arguments: Any) -> object:
        return self.function(*arguments)

    def bound(self, owner: object) -> "Moment":
        return Moment(self.function.__get__(owner), self.when)


# --- decorators -----------------------------------------------------------------------------------------------------------------


def parameter(
    path: str, *, poll: float = 0.0, limit: float = LIMIT, inline: bool = False
) -> Callable[[Function], Parameter]:
    """Marks a function that gives a parameter's value: `read()`, or `read(row)` where the path has `{i}`.

    It returns text, a number, a bool, a datetime, bytes or a list of these; None leaves the stored value. poll: seconds between looks
    at it, for values that change by themselves and take long to find out; without it the function is called when somebody asks.
    limit: seconds that one call may take. inline: it never waits for anything, so it needs neither thread nor limit.
    """
    return lambda function: Parameter(function, path, limit=limit, inline=inline, poll=poll)


def group(path: str, *, poll: float = 0.0, limit: float = LIMIT, inline: bool = False) -> Callable[[Function], Group]:
    """Marks a function that gives many values of an object at once: `{"Total": 1, "Free": 2}`, deeper ones as `"Stats.BytesSent"`.

    One request calls it once. Names that it leaves out keep their stored value. poll, limit, inline: as for `parameter`.
    """
    if not path.endswith("."):
        raise ConfigError(f"a group is an object; its path ends with a dot: {path}.")
    return lambda function: Group(function, path, limit=limit, inline=inline, poll=poll)


def bundle(*paths: str, poll: float = 0.0, limit: float = LIMIT, inline: bool = False) -> Callable[[Function], Bundle]:
    """Marks a function for parameters of many objects: `read(paths)` gets those that are asked for, with instance numbers, and returns
    values by path. One request calls it once. poll, limit, inline: as for `parameter`.
    """
    return lambda function: Bundle(function, paths, limit=limit, inline=inline, poll=poll)


def table(
    path: str,
    *,
    key: str | Sequence[str] | Function,
    columns: Sequence[str] = (),
    volatile: bool = False,
    poll: float = 0.0,
    limit: float = LIMIT,
    inline: bool = False,
) -> Callable[[Function], Table]:
    """Marks a function that gives a table's rows as they are now: a list of `{"PhysAddress": ..., "IPAddress": ...}`.

    key: the column or columns that identify a row, or a function of a row; a row keeps its instance number for as long as its key is
    there, over restarts too where the key is made of columns. In a table inside another one the function gets the row around it.
    columns: what a row has, for a profile that does not have the table yet. volatile: rows come and go all the time, and the disk is
    spared. poll, limit, inline: as for `parameter`.
    """
    return lambda function: Table(
        function, path, key=key, columns=columns, volatile=volatile, limit=limit, inline=inline, poll=poll
    )


def listen(function: Callable[..., AsyncIterator[Any]]) -> Listener:
    """Marks an async generator that waits for the system's events and yields the path, or paths, of what changed by each."""
    return Listener(function)


def start(function: Callable[..., object]) -> Moment:
    """Marks a function, plain or async, that is called before the first session."""
    return Moment(function, "start")


def stop(function: Callable[..., object]) -> Moment:
    """Marks a function, plain or async, that is called when the agent ends."""
    return Moment(function, "stop")


# --- plug-ins -------------------------------------------------------------------------------------------------------------------


class Plugin:
    """A collection of declarations that belongs together.

    name: for messages. extends: a profile gets the declared parameters that it lacks; False leaves it to the profile what there is.
    """

    def __init__(self, name: str, *, extends: bool = True) -> None:
        self.name = name
        self.extends = extends
        self.declarations: list[Declaration] = []
        self.listeners: list[Listener] = []
        self.moments: list[Moment] = []
        self.restarts: Callable[[], int] | None = None
        """How often its process was started again, for one that has a process."""
        self.closers: list[Callable[[], object]] = []
        """What ends with the agent: processes, files."""
        self._host: Host | None = None
        self._included: list[Plugin] = []

    def __repr__(self) -> str:
        return f"Plugin({self.name!r}, {len(self.declarations)} declarations)"

    @property
    def host(self) -> "Host | None":
        """What runs the plug-in, None before the agent does."""
        return self._host

    @host.setter
    def host(self, host: "Host | None") -> None:
        self._host = host
        for plugin in self._included:
            plugin.host = host

    @classmethod
    def of(cls, *sources: ModuleType | object, name: str = "") -> "Plugin":
        """A plug-in with everything that modules, objects or plug-ins declare."""
        made = cls(name or getattr(sources[0], "__name__", type(sources[0]).__name__))
        for source in sources:
            made.include(source)
        return made

    def include(self, source: ModuleType | object) -> Self:
        """Takes over what a module, an object or another plug-in declares."""
        for plugin in _plugins_in(source):
            if plugin not in self._included:
                self._included.append(plugin)
                self.closers.extend(plugin.closers)
        for found in _declared(source):
            if isinstance(found, Listener):
                if found not in self.listeners:
                    self.listeners.append(found)
            elif isinstance(found, Moment):
                if found not in self.moments:
                    self.moments.append(found)
            elif found not in self.declarations:
                self.declarations.append(found)
        return self

    def parameter(
        self, path: str, *, poll: float = 0.0, limit: float = LIMIT, inline: bool = False
    ) -> Callable[[Function], Parameter]:
        """See `parameter`."""
        return self._kept(parameter(path, poll=poll, limit=limit, inline=inline))

    def group(
        self, path: str, *, poll: float = 0.0, limit: float = LIMIT, inline: bool = False
    ) -> Callable[[Function], Group]:
        """See `group`."""
        return self._kept(group(path, poll=poll, limit=limit, inline=inline))

    def bundle(
        self, *paths: str, poll: float = 0.0, limit: float = LIMIT, inline: bool = False
    ) -> Callable[[Function], Bundle]:
        """See `bundle`."""
        return self._kept(bundle(*paths, poll=poll, limit=limit, inline=inline))

    def table(
        self,
        path: str,
        *,
        key: str | Sequence[str] | Function,
        columns: Sequence[str] = (),
        volatile: bool = False,
        poll: float = 0.0,
        limit: float = LIMIT,
        inline: bool = False,
    ) -> Callable[[Function], Table]:
        """See `table`."""
        return self._kept(
            table(path, key=key, columns=columns, volatile=volatile, poll=poll, limit=limit, inline=inline)
        )

    def listen(self, function: Callable[..., AsyncIterator[Any]]) -> Listener:
        """See `listen`."""
        self.listeners.append(listen(function))
        return self.listeners[-1]

    def start(self, function: Callable[..., object]) -> Moment:
        """See `start`."""
        self.moments.append(start(function))
        return self.moments[-1]

    def stop(self, function: Callable[..., object]) -> Moment:
        """See `stop`."""
        self.moments.append(stop(function))
        return self.moments[-1]

    def changed(self, *paths: str) -> None:
        """Says that something changed by itself; from any thread. The ACS is told where it asked for notifications.

        paths: parameters, objects or tables; without any, everything may have changed.
        """
        if self.host is not None:
            self.host.changed(*paths)

    def event(self, code: str, command_key: str = "") -> None:
        """Owes the ACS an event, such as `X 00256D Button`, and opens a session for it; from any thread."""
        if self.host is not None:
            self.host.event(code, command_key)

    def path_of(self, path: str, key: Key) -> str:
        """`Device.Ethernet.Interface.2` for the row of a live table with this key, for references; "" where there is none.

        path: the table's, as it was declared; for a table inside another one with the numbers of the rows around it.
        """
        return self.host.path_of(path, key) if self.host is not None else ""

    def _kept(self, make: Callable[[Function], D]) -> Callable[[Function], D]:
        def decorate(function: Function) -> D:
            declaration = make(function)
            self.declarations.append(declaration)
            return declaration

        return decorate


class Host:
    """What a plug-in can ask of the agent that runs it."""

    def changed(self, *paths: str) -> None:
        raise NotImplementedError

    def event(self, code: str, command_key: str = "") -> None:
        raise NotImplementedError

    def path_of(self, path: str, key: Key) -> str:
        raise NotImplementedError


def normal(path: str) -> str:
    """A path with `{i}` for every `*`. Raises ConfigError where it is no path."""
    try:
        parsed = Path.parse(path)
        parts = ["{i}" if isinstance(s, Wildcard) else segment_text(s) for s in parsed.segments]
        return ".".join(parts) + ("." if parsed.partial else "")
    except Fault as e:
        raise ConfigError(f"a plug-in names {path!r}: {e.text}") from e


def _declared(source: object) -> Iterator[Declaration | Listener | Moment]:
    """What a module, class instance or plug-in declares, in the order in which it was written."""
    if isinstance(source, Plugin):
        yield from source.declarations
        yield from source.listeners
        yield from source.moments
        return
    if isinstance(source, ModuleType):
        for value in list(vars(source).values()):
            if isinstance(value, Declaration | Listener | Moment | Plugin):
                yield from _declared(value)
            elif isinstance(value, type) and value.__module__ == source.__name__ and _has_declarations(value):
                yield from _declared(_instance(value))
        return
    if isinstance(source, Declaration | Listener | Moment):
        yield source
        return
    for cls in reversed(type(source).__mro__):
        for name, value in list(vars(cls).items()):
            if isinstance(value, Declaration | Listener | Moment) and getattr(type(source), name) is value:
                yield value.bound(source)


def _plugins_in(source: object) -> list[Plugin]:
    if isinstance(source, Plugin):
        return [source]
    return [v for v in vars(source).values() if isinstance(v, Plugin)] if isinstance(source, ModuleType) else []


def _has_declarations(cls: type) -> bool:
    return any(isinstance(v, Declaration | Listener | Moment) for c in cls.__mro__ for v in vars(c).values())


def _instance(cls: type) -> object:
    try:
        return cls()
    except TypeError as e:
        raise ConfigError(
            f"{cls.__module__}.{cls.__name__} declares parameters, but cannot be made without arguments ({e}); "
            "make an object of it in the module"
        ) from e


def _refuse_async(function: Function, path: str) -> None:
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is not None and code.co_flags & 0x280:  # CO_COROUTINE, CO_ASYNC_GENERATOR
        raise ConfigError(
            f"{function.__qualname__} for {path} is async; a plain function is wanted, it runs in a thread of its own. "
            "For events of the system there is @listen"
        )


async def finished(result: object) -> None:
    """Waits for what an async function gave; nothing to do for a plain one."""
    if isinstance(result, Awaitable):
        await result
