"""What a person on the device can ask of its software modules; `homeport cpe module ...` calls these over the control socket.

Changes made here are not asked for by the ACS: they are reported to it as DUStateChangeComplPolicy says.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from homeport.cpe.modules.records import DeploymentUnit, Kind, Operation
from homeport.cpe.modules.service import ModuleService
from homeport.cpe.modules.units import ExecutionUnit
from homeport.errors import HomeportError
from homeport.terms import Writer

Verb = Callable[[Mapping[str, Any]], Awaitable[Any]]

MOST_LOG: Final = 1 << 20
"""Bytes of a unit's log in one answer."""


def verbs_of(service: Callable[[], ModuleService]) -> dict[str, Verb]:
    """The verbs, by name. service: raises StoreError where it could not take up its state."""
    made = _Verbs(service)
    return {
        "modules": made.modules,
        "module-change": made.change,
        "module-result": made.result,
        "module-state": made.state,
        "module-environment": made.environment,
        "module-log": made.log,
    }


class _Verbs:
    def __init__(self, service: Callable[[], ModuleService]) -> None:
        self._service = service

    async def modules(self, args: Mapping[str, Any]) -> Any:
        """`{"environments": [...], "units": [{..., "units": [...]}], "requests": [...]}`."""
        service = self._service()
        estate = service.estate
        return {
            "environments": [
                {
                    "name": e.facts.name,
                    "type": e.facts.type,
                    "status": service.rows.text(estate.rows.environment(e.row) + "Status"),
                    "run_level": e.run_level,
                    "problem": e.problem,
                    **msgspec.to_builtins(e.environment.space() if e.environment is not None else {}),
                }
                for e in estate.entries.values()
            ],
            "deployment_units": [_shown(service, unit) for unit in service.shelf.units.values() if not unit.retired],
            "requests": [
                {
                    "number": r.number,
                    "command_key": r.command_key,
                    "autonomous": r.autonomous,
                    "operations": [{"kind": o.kind.value, "url": o.url.partition("?")[0]} for o in r.operations],
                    "at": r.at,
                }
                for r in service.shelf.requests.values()
            ],
        }

    async def change(self, args: Mapping[str, Any]) -> Any:
        """`operations`: one or more of Operation's fields; `name` in place of `uuid` is looked up. Answers `{"request": NUMBER}`."""
        service = self._service()
        operations = []
        for given in args.get("operations") or ():
            fields = dict(given)
            name = fields.pop("name", "")
            if name:
                unit = _named(service, name)
                fields |= {"uuid": unit.uuid, "version": fields.get("version") or unit.version}
                if fields.get("kind") == Kind.UNINSTALL.value:
                    entry = service.estate.entries[unit.environment]
                    fields["execution_env_ref"] = service.rows.environment(entry.row)
            environment = fields.pop("environment", "")
            if environment:
                fields["execution_env_ref"] = _environment(service, environment)
            operations.append(msgspec.convert(fields, Operation))
        return {"request": service.start_own(operations)}

    async def result(self, args: Mapping[str, Any]) -> Any:
        """`request`: its results, None while it is under way."""
        service, number = self._service(), int(args.get("request") or 0)
        if number in service.shelf.requests:
            return None
        found = next((r.results for r in service.finished if r.number == number), None)
        if found is None:
            raise HomeportError(f"there is no request {number}; the results of the last ones only are kept")
        return [msgspec.to_builtins(r) for r in found]

    async def state(self, args: Mapping[str, Any]) -> Any:
        """`unit`, `active`: start or stop an execution unit, and answer with what came of it within a few seconds."""
        service = self._service()
        row = _unit(service, str(args.get("unit") or ""))
        service.request_state(row, active=bool(args.get("active")))
        for _ in range(100):
            await asyncio.sleep(0.05)
            found = service.estate.running.get(row)
            if found is None or found.status.value in (("Active", "Idle") if args.get("active") else ("Idle",)):
                break
        return _running(found) if (found := service.estate.running.get(row)) is not None else {}

    async def environment(self, args: Mapping[str, Any]) -> Any:
        """`environment`, `enable`: as if the person had set ExecEnv.{i}.Enable."""
        service = self._service()
        path = _environment(service, str(args.get("environment") or ""))
        service.model.set_local(path + "Enable", "true" if args.get("enable") else "false", writer=Writer.LOCAL)
        return {}

    async def log(self, args: Mapping[str, Any]) -> Any:
        """`unit`: the lines that it printed, oldest first."""
        service = self._service()
        row = _unit(service, str(args.get("unit") or ""))
        unit = service.estate.running[row]
        text = b""
        for file in unit.environment.logs(unit.place.duid, unit.unit.name):
            try:
                text += await asyncio.to_thread(file.read_bytes)
            except FileNotFoundError:
                continue  # it has not printed anything, or never so much that an older file exists
        return text[-MOST_LOG:].decode("utf-8", "replace").splitlines()


def _shown(service: ModuleService, unit: DeploymentUnit) -> dict[str, Any]:
    spec = unit.spec
    return {
        "duid": unit.duid,
        "row": unit.row,
        "name": spec.name if spec else "",
        "vendor": spec.vendor if spec else "",
        "version": unit.version,
        "uuid": unit.uuid,
        "status": unit.status.value,
        "environment": unit.environment,
        "url": unit.url.partition("?")[0],
        "units": [_running(eu) for eu in service.estate.of(unit)],
    }


def _running(unit: ExecutionUnit) -> dict[str, Any]:
    picture = unit.picture
    return {
        "unit": f"{unit.place.duid}.{unit.unit.name}",
        "row": unit.row,
        "status": picture.status.value,
        "fault": picture.fault.value,
        "message": picture.message,
        "restarts": picture.restarts,
        "uptime": unit.uptime,
        "memory": unit.usage().memory,
    }


def _named(service: ModuleService, name: str) -> DeploymentUnit:
    """The deployment unit with that DUID, UUID or name. Raises HomeportError where it is none, or one of several."""
    units = [u for u in service.shelf.units.values() if not u.retired and u.spec is not None]
    found = [u for u in units if name in (u.duid, u.uuid)] or [u for u in units if u.spec and u.spec.name == name]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{u.duid} ({u.spec.name} {u.version})" for u in (found or units) if u.spec)
    what = "several units are called" if found else "no deployment unit is called"
    raise HomeportError(f"{what} {name!r}; there are {names or 'none'}")


def _unit(service: ModuleService, name: str) -> int:
    """The row of an execution unit: its number, DUID and name, or its name alone. Raises HomeportError."""
    units = list(service.estate.running.values())
    found = [u for u in units if name in (str(u.row), f"{u.place.duid}.{u.unit.name}")] or [
        u for u in units if name == u.unit.name
    ]
    if len(found) == 1:
        return found[0].row
    names = ", ".join(f"{u.place.duid}.{u.unit.name}" for u in found or units)
    what = "several execution units are called" if found else "no execution unit is called"
    raise HomeportError(f"{what} {name!r}; there are {names or 'none'}")


def _environment(service: ModuleService, name: str) -> str:
    """The path of an environment's row. Raises HomeportError."""
    entry = service.estate.entries.get(name)
    if entry is None:
        raise HomeportError(
            f"there is no execution environment {name!r}; there are {', '.join(service.estate.entries) or 'none'}"
        )
    return service.rows.environment(entry.row)
