"""What a person on the device can ask a running agent through the control socket; `homeport cpe show|get|set-param|inform|...` call these.

Writes go through the same transaction as everybody's, as a local person's: types, ranges and read-only parameters are refused alike,
and what the ACS wants to be told about becomes a VALUE CHANGE.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from homeport.cpe.journal import masked
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
        "get": made.get,
        "set-param": made.set_param,
        "inform": made.inform,
        "restart": made.restart,
        "reboot": made.reboot,
        "factory-reset": made.factory_reset,
        "log": made.log,
        "client-log": made.client_log,
        "support": made.support,
    }


class _Verbs:
    def __init__(self, agent: "Agent") -> None:
        self._agent = agent

    async def status(self, args: Mapping[str, Any]) -> Any:
        """The AgentStatus record."""
        self._agent.save_status()
        return msgspec.to_builtins(self._agent.status)

    async def config(self, args: Mapping[str, Any]) -> Any:
        """Settings in force and the ManagementServer parameters, secrets masked: `{"settings": {...}, "parameters": {...}}`."""
        settings = self._agent.settings
        shown = {}
        for row in describe(type(settings)):
            value = getattr(settings, row.name)
            shown[row.name] = masked("password", str(value)) if row.secret else _plain(value)
        shown["state_dir"] = str(settings.directory)
        values = self._agent.model.get(self._agent.management.prefix)
        return {"settings": shown, "parameters": {v.name: masked(v.name, v.value) for v in values}}

    async def params(self, args: Mapping[str, Any]) -> Any:
        """`path` (default: everything): rows `{path, value, type, writable, notification}`."""
        path = str(args.get("path") or "")
        model = self._agent.model
        writable = {n.name: n.writable for n in model.names(path, False)}
        notification = {a.name: int(a.notification) for a in model.attributes([path])}
        return [
            {
                "path": v.name,
                "value": masked(v.name, v.value),
                "type": v.type,
                "writable": writable.get(v.name, False),
                "notification": notification.get(v.name, 0),
            }
            for v in model.get(path)
        ]

    async def get(self, args: Mapping[str, Any]) -> Any:
        """`paths`: values by path, as GetParameterValues gives them."""
        paths = [str(p) for p in args.get("paths") or ()]
        if not paths:
            raise HomeportError("name at least one path, for example Device.DeviceInfo.")
        return {v.name: masked(v.name, v.value) for v in self._agent.model.get_many(paths)}

    async def set_param(self, args: Mapping[str, Any]) -> Any:
        """`values`: path -> text, all or nothing. Answers `{"status": 0 | 1}`."""
        values = args.get("values")
        if not isinstance(values, dict) or not values:
            raise HomeportError("name at least one PATH=VALUE, for example Device.Ethernet.Interface.1.Enable=false")
        transaction = self._agent.model.transaction(Writer.LOCAL)
        for path, text in values.items():
            transaction.set(str(path), str(text), None)
        status = transaction.commit()
        for path, text in values.items():
            self._agent.config_log.write(f"{path} = {masked(str(path), str(text))}, set on this device")
        return {"status": int(status)}

    async def inform(self, args: Mapping[str, Any]) -> Any:
        """Contact the ACS now; `event` may name another code than `2 PERIODIC`."""
        code = str(args.get("event") or EventCode.PERIODIC)
        if code not in (EventCode.PERIODIC, EventCode.CONNECTION_REQUEST, EventCode.VALUE_CHANGE, EventCode.SCHEDULED):
            raise HomeportError(f"{code!r} cannot be asked for; leave it out, or take 2 PERIODIC")
        self._agent.trigger(EventCode(code))
        return {"events": [e.event_code for e in self._agent.ledger.events]}

    async def restart(self, args: Mapping[str, Any]) -> Any:
        """Restart the agent; values stay."""
        self._agent.restart()
        return {}

    async def reboot(self, args: Mapping[str, Any]) -> Any:
        """Restart the device as a person at the power switch does: `1 BOOT` without `M Reboot`."""
        self._agent.restart()
        return {}

    async def factory_reset(self, args: Mapping[str, Any]) -> Any:
        """Restore factory defaults and restart."""
        self._agent.accept_factory_reset()
        self._agent.restart()
        return {}

    async def log(self, args: Mapping[str, Any]) -> Any:
        """The configuration log, oldest line first."""
        return self._agent.config_log.lines()

    async def client_log(self, args: Mapping[str, Any]) -> Any:
        """The log of what was exchanged with the ACS, oldest line first."""
        return self._agent.client_log.lines()

    async def support(self, args: Mapping[str, Any]) -> Any:
        """All of the above in one answer, to be sent to whoever helps."""
        return {
            "status": await self.status({}),
            "config": await self.config({}),
            "log": await self.log({}),
            "client_log": await self.client_log({}),
        }


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple):
        return list(value)
    if dataclasses.is_dataclass(value):
        return repr(value)
    return str(value)
