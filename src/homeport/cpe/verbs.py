"""What a person on the device can ask a running agent through the control socket; `homeport cpe show|get|set-param|inform|...` call these.

Writes go through the same transaction as everybody's, as a local person's: types, ranges and read-only parameters are refused alike,
and what the ACS wants to be told about becomes a VALUE CHANGE.
"""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from homeport._version import __version__
from homeport.cpe import gateway_settings
from homeport.cpe.change_log import entry
from homeport.cpe.journal import MASK, Journal, is_secret, masked
from homeport.cpe.readable import readable
from homeport.cpe.recorder import session_as_data, session_in_short
from homeport.errors import HomeportError
from homeport.settings import describe
from homeport.terms import EventCode, Writer

if TYPE_CHECKING:
    from homeport.cpe.agent import Agent

Verb = Callable[[Mapping[str, Any]], Awaitable[Any]]


def verbs_of(agent: "Agent") -> dict[str, Verb]:
    """The verbs of one agent, by name."""
    made = _Verbs(agent)
    return {
        "status": made.status,
        "config": made.config,
        "params": made.params,
        "plugins": made.plugins,
        "browse": made.browse,
        "get": made.get,
        "set-param": made.set_param,
        "settings": made.settings,
        "set": made.set,
        "inform": made.inform,
        "restart": made.restart,
        "reboot": made.reboot,
        "factory-reset": made.factory_reset,
        "log": made.log,
        "client-log": made.client_log,
        "follow": made.follow,
        "sessions": made.sessions,
        "session": made.session,
        "support": made.support,
        "lease": made.lease,
        "enable": made.enable,
        "doctor": made.doctor,
    }


class _Verbs:
    def __init__(self, agent: "Agent") -> None:
        self._agent = agent

    async def status(self, args: Mapping[str, Any]) -> Any:
        """The AgentStatus record."""
        self._agent.save_status()
        return msgspec.to_builtins(self._agent.status)

    async def config(self, args: Mapping[str, Any]) -> Any:
        """What is in force, secrets masked: `{"settings": {...}, "parameters": {...}, "readable": [{path, value, name, said}]}`."""
        settings = self._agent.settings
        shown = {}
        for row in describe(type(settings)):
            value = getattr(settings, row.name)
            shown[row.name] = masked("password", str(value)) if row.secret else _plain(value)
        shown["state_dir"] = str(settings.directory)
        model, prefix = self._agent.model, self._agent.management.prefix
        values = {v.name: masked(v.name, v.value) for v in model.get(prefix)}
        for path in values:
            if model.definition(path).hidden and model.value(path, reveal=True):
                values[path] = MASK  # it reads as empty; a person wants to know that there is one
        rows = [{"path": path, "value": value, **readable(path, value)} for path, value in values.items()]
        return {"settings": shown, "parameters": values, "readable": rows}

    async def params(self, args: Mapping[str, Any]) -> Any:
        """`path` (default: everything): rows `{path, value, type, writable, notification, secret}`."""
        path = str(args.get("path") or "")
        await self._agent.parts.prepare([path])
        names = {n.name: n.writable for n in self._agent.model.names(path, False)}
        return self._rows([path], names)

    async def plugins(self, args: Mapping[str, Any]) -> Any:
        """The device's plug-ins: rows `{name, serves: [path], failing: [{path, error}], restarts: number | null}`."""
        host = getattr(self._agent.device, "host", None)
        return host.report() if host is not None else []

    async def browse(self, args: Mapping[str, Any]) -> Any:
        """One level below `path` (default: the root): `{"objects": [{path, writable, parameters}], "parameters": [rows as params]}`.

        parameters of an object: how many there are below it.
        """
        model = self._agent.model
        names = {n.name: n.writable for n in model.names(str(args.get("path") or model.root), True)}
        objects = [
            {"path": name, "writable": writable, "parameters": model.count(name)}
            for name, writable in names.items()
            if name.endswith(".")
        ]
        here = [name for name in names if not name.endswith(".")]
        return {"objects": objects, "parameters": self._rows(here, names) if here else []}

    def _rows(self, paths: list[str], writable: Mapping[str, bool]) -> list[dict[str, Any]]:
        model = self._agent.model
        notification = {a.name: int(a.notification) for a in model.attributes(paths)}
        rows = []
        for v in model.get_many(paths):
            definition = model.definition(v.name)
            secret = definition.hidden or definition.secured or is_secret(v.name)
            rows.append(
                {
                    "path": v.name,
                    "value": masked(v.name, v.value),
                    "type": v.type,
                    "writable": writable.get(v.name, False),
                    "notification": notification.get(v.name, 0),
                    "secret": secret,
                }
            )
        return rows

    async def get(self, args: Mapping[str, Any]) -> Any:
        """`paths`: values by path, as GetParameterValues gives them."""
        paths = [str(p) for p in args.get("paths") or ()]
        if not paths:
            raise HomeportError("name at least one path, for example Device.DeviceInfo.")
        await self._agent.parts.prepare(paths)
        return {v.name: masked(v.name, v.value) for v in self._agent.model.get_many(paths)}

    async def set_param(self, args: Mapping[str, Any]) -> Any:
        """`values`: path -> text, all or nothing; `check`: only look whether they could be. Answers `{"status": 0 | 1}`."""
        values = args.get("values")
        if not isinstance(values, dict) or not values:
            raise HomeportError("name at least one PATH=VALUE, for example Device.Ethernet.Interface.1.Enable=false")
        await self._agent.parts.prepare([str(path) for path in values])
        with self._agent.model.transaction(Writer.LOCAL) as transaction:
            for path, text in values.items():
                transaction.set(str(path), str(text), None)
            if args.get("check"):
                transaction.check()
                return {"status": 0}
            with self._agent.changes.acting(_who(args)):
                return {"status": int(transaction.commit())}

    async def settings(self, args: Mapping[str, Any]) -> Any:
        """The connection to the ACS as a Vega gateway names it, see gateway_settings."""
        return gateway_settings.shown(self._agent)

    async def set(self, args: Mapping[str, Any]) -> Any:
        """`values`: setting (`cwmp.acs_url` ...) -> text, all or nothing; `check`: only look. Answers `{"status": 0 | 1}`."""
        values = args.get("values")
        if not isinstance(values, dict) or not values:
            raise HomeportError("name at least one NAME=VALUE, for example cwmp.acs_url=https://acs.example.com/")
        texts = {str(name): str(text) for name, text in values.items()}
        return {"status": gateway_settings.change(self._agent, texts, who=_who(args), check=bool(args.get("check")))}

    async def inform(self, args: Mapping[str, Any]) -> Any:
        """Contact the ACS now; `event` may name another code than `2 PERIODIC`."""
        code = str(args.get("event") or EventCode.PERIODIC)
        if code not in (EventCode.PERIODIC, EventCode.CONNECTION_REQUEST, EventCode.VALUE_CHANGE, EventCode.SCHEDULED):
            raise HomeportError(f"{code!r} cannot be asked for; leave it out, or take 2 PERIODIC")
        self._agent.client_log.write(f"contact asked for by {_who(args)}")
        self._agent.trigger(EventCode(code))
        return {"events": [e.event_code for e in self._agent.ledger.events]}

    async def restart(self, args: Mapping[str, Any]) -> Any:
        """Restart the agent; values stay."""
        self._agent.restart(f"asked for by {_who(args)}")
        return {}

    async def reboot(self, args: Mapping[str, Any]) -> Any:
        """Restart the device as a person at the power switch does: `1 BOOT` without `M Reboot`."""
        self._agent.restart(f"a reboot asked for by {_who(args)}")
        return {}

    async def factory_reset(self, args: Mapping[str, Any]) -> Any:
        """Restore factory defaults and restart."""
        self._agent.accept_factory_reset()
        self._agent.config_log.write(f"{_who(args)} asked for the factory configuration")
        self._agent.restart(f"factory reset asked for by {_who(args)}")
        return {}

    async def log(self, args: Mapping[str, Any]) -> Any:
        """The configuration log, oldest line first; with `entries` as data: `{time, text, who?, path?, old?, new?}`."""
        lines = self._agent.config_log.lines()
        return [entry(line) for line in lines] if args.get("entries") else lines

    async def client_log(self, args: Mapping[str, Any]) -> Any:
        """The log of what was exchanged with the ACS, oldest line first."""
        return self._agent.client_log.lines()

    async def follow(self, args: Mapping[str, Any]) -> Any:
        """`log`: `config` or `client`; its `last` lines and then each new one, until the asker goes away.

        First `{"run": NAME}` of this run of the agent and how many lines follow at once; then `{"n": NUMBER, "line": TEXT}`.
        """
        logs = {"config": self._agent.config_log, "client": self._agent.client_log}
        log = logs.get(str(args.get("log")))
        if log is None:
            raise HomeportError("name the log: config or client")
        last = args.get("last", 0)
        last = min(last, log.fresh) if isinstance(last, int) and last > 0 else 0
        return self._followed(log, last)

    async def _followed(self, log: Journal, last: int) -> AsyncIterator[Any]:
        # A restart within one second keeps the pid and the date: the monotonic start tells the runs apart.
        yield {"run": f"{self._agent.status.pid} {self._agent.started_at:.6f}", "lines": last}
        async for number, line in log.follow(last=last):
            yield {"n": number, "line": line}

    async def sessions(self, args: Mapping[str, Any]) -> Any:
        """The last sessions, newest first, without their messages: `{number, messages, ...}` and all of a SessionReport."""
        return [session_in_short(record) for record in reversed(self._agent.recorder.sessions)]

    async def session(self, args: Mapping[str, Any]) -> Any:
        """`number`: one session with its messages `{at, direction, note, size, body}`, secrets masked."""
        number = args.get("number")
        found = self._agent.recorder.session(number) if isinstance(number, int) else None
        if found is None:
            raise HomeportError(
                f"there is no session {number!r} any more; see which there are: homeport cpe show sessions"
            )
        return session_as_data(found)

    async def support(self, args: Mapping[str, Any]) -> Any:
        """All of the above in one answer, to be sent to whoever helps; the sessions' messages are had one by one with `session`."""
        return {
            "versions": versions(),
            "status": await self.status({}),
            "config": await self.config({}),
            "log": await self.log({}),
            "client_log": await self.client_log({}),
            "sessions": await self.sessions({}),
        }

    async def doctor(self, args: Mapping[str, Any]) -> Any:
        """What keeps this device from its ACS: rows `{check, mark, said, do}`; mark is ok, warn, fail or skipped."""
        from homeport.cpe.doctor.case import case_of_agent
        from homeport.cpe.doctor.examine import examine

        return msgspec.to_builtins(await examine(case_of_agent(self._agent)))

    async def enable(self, args: Mapping[str, Any]) -> Any:
        """Carry out an enable.Order: switch on or off, an ACS, a configuration file. Answers `{"url": ..., "source": ...}`."""
        from homeport.cpe.enable import Order, carry_out

        try:
            order = msgspec.convert({k: v for k, v in args.items() if k != "who"}, Order)
        except msgspec.ValidationError as e:
            raise HomeportError(f"this is no order: {e}") from e
        agent = self._agent
        with agent.changes.acting(_who(args)):
            carry_out(order, agent.model, agent.store, lambda text: agent.config_log.write(f"{text}, by {_who(args)}"))
        agent.contact()
        agent.save_status()
        return {"url": agent.management.url, "source": agent.status.acs_url_source, "leases": len(agent.leases.seen)}

    async def lease(self, args: Mapping[str, Any]) -> Any:
        """A DHCP client hands over a lease: `interface`, `family` (4 or 6), `options` (code -> hexadecimal), `origin`; or `released`: true.

        Answers `{"said": SENTENCE, "url": the ACS URL now}`.
        """
        from homeport.cpe.leases.lease import HOOK, QUERY, lease_of

        agent = self._agent
        interface, family = str(args.get("interface") or "")[:40], 6 if args.get("family") == 6 else 4
        if args.get("released"):
            said = agent.leases.release(interface, family)
        else:
            options = args.get("options")
            origin = QUERY if args.get("origin") == QUERY else HOOK
            asked = tuple(code for code in args.get("asked") or () if isinstance(code, int))
            given = options if isinstance(options, dict) else {}
            said = agent.leases.take(lease_of(interface, family, given, asked=asked, origin=origin))
        agent.client_log.write(f"<- DHCP lease of {interface}: {said}")
        return {"said": said, "url": agent.management.url}


def versions() -> dict[str, str]:
    """Homeport, Python, system."""
    import platform

    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return {"homeport": __version__, "python": platform.python_version(), "system": system}


def _who(args: Mapping[str, Any]) -> str:
    """Who asks, for the logs: the control socket and the web page say it, not the person."""
    return str(args.get("who") or "a person at the device")


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple):
        return list(value)
    if dataclasses.is_dataclass(value):
        return repr(value)
    return str(value)
