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
`Plugin.of(module or object)` collects them, which the loader does by itself. The declarations themselves are
`declarations`'; `plugin_host` brings them to a model, `worker` calls them with a time limit.
Source of what the parameters mean: TR-181.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, Final, Self, TypeVar

from homeport.cpe.devices.declarations import (
    Bundle,
    Declaration,
    FileHandler,
    Function,
    Group,
    Key,
    Listener,
    Moment,
    Parameter,
    Reference,
    Row,
    Table,
    refer,
)
from homeport.errors import ConfigError, Fault
from homeport.terms import FaultCode

__all__ = [
    "LATER", "Fault", "FaultCode", "Plugin", "Reference", "Row", "bundle", "downloaded", "group", "idle", "listen", "parameter", "refer",
    "start", "stop", "table", "uploaded",
]  # fmt: skip

D = TypeVar("D", bound="Declaration")

LATER: Final = 1
"""What an `apply` returns where the change takes effect after its answer: the ACS sees Status 1."""

LIMIT: Final = 5.0
"""Seconds that one call of a plug-in may take, unless it says otherwise. The ACS waits 30 s for its answer."""


# --- decorators -----------------------------------------------------------------------------------------------------------------


def parameter(
    path: str, *, type: str = "", poll: float = 0.0, limit: float = LIMIT, inline: bool = False
) -> Callable[[Function], Parameter]:
    """Marks a function that gives a parameter's value: `read()`, or `read(row)` where the path has `{i}`.

    It returns text, a number, a bool, a datetime, bytes or a list of these; None leaves the stored value. poll: seconds between looks
    at it, for values that change by themselves and take long to find out; without it the function is called when somebody asks.
    limit: seconds that one call may take. inline: it never waits for anything, so it needs neither thread nor limit.
    type: of a vendor's own parameter (`Device.DeviceInfo.X_00256D_BoardTemperature`), where the function's annotation does not say it.
    """
    return lambda function: Parameter(function, path, type=type, limit=limit, inline=inline, poll=poll)


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


def idle(function: Callable[[], object]) -> Moment:
    """Marks a function that says whether an interruption would hurt nobody now (ScheduleDownload's `3 When Idle`); it must be quick."""
    return Moment(function, "idle")


def downloaded(file_type: str) -> Callable[[Callable[..., object]], FileHandler]:
    """Marks `take(file, name)`, which puts a downloaded file of that type to use, such as `5 Ringer File` or `X 00256D Splash`.

    file: a Path, gone afterwards. name: TargetFileName or the name in the URL. It runs in a thread; ValueError refuses the file (9018).
    """
    return lambda function: FileHandler(function, "download", file_type)


def uploaded(file_type: str) -> Callable[[Callable[..., object]], FileHandler]:
    """Marks `give(file)`, which writes what an Upload of that type sends into the file (a Path). It runs in a thread."""
    return lambda function: FileHandler(function, "upload", file_type)


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
        self, path: str, *, type: str = "", poll: float = 0.0, limit: float = LIMIT, inline: bool = False
    ) -> Callable[[Function], Parameter]:
        """See `parameter`."""
        return self._kept(parameter(path, type=type, poll=poll, limit=limit, inline=inline))

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

    def idle(self, function: Callable[[], object]) -> Moment:
        """See `idle`."""
        self.moments.append(idle(function))
        return self.moments[-1]

    def downloaded(self, file_type: str) -> Callable[[Callable[..., object]], FileHandler]:
        """See `downloaded`."""
        return lambda function: self._handles(downloaded(file_type)(function))

    def uploaded(self, file_type: str) -> Callable[[Callable[..., object]], FileHandler]:
        """See `uploaded`."""
        return lambda function: self._handles(uploaded(file_type)(function))

    def _handles(self, handler: FileHandler) -> FileHandler:
        self.moments.append(handler)
        return handler

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


async def finished(result: object) -> None:
    """Waits for what an async function gave; nothing to do for a plain one."""
    if isinstance(result, Awaitable):
        await result
