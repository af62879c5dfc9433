"""Deployment units and requests on the disk: one bucket of the agent's state, changed together with what the ACS is owed.

A result, the unit that it is about and, at the end of a request, its report are one commit: whichever moment the device dies at, each
operation has one result, and each request one report.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from homeport.codec.messages import AutonOpResultStruct
from homeport.cpe.modules.records import DU_STEPS, ChangeRequest, DeploymentUnit
from homeport.cpe.transfers.queue import Facts, Outbox
from homeport.errors import LocalProtocolError, StoreError
from homeport.terms import EventCode

MODULE: Final = "module"
"""The bucket; a factory reset empties it."""

_UNIT: Final = "unit/"
_REQUEST: Final = "request/"
_NEXT: Final = "next/"
_SETTINGS: Final = "settings/"


class Shelf:
    """units, requests: by number, in the order in which they came. settings: what environments were set to at the last `0 BOOTSTRAP`.

    Methods raise StoreError; memory is as before then.
    """

    def __init__(self, facts: Facts, outbox: Outbox) -> None:
        self._outbox = outbox
        self.units: dict[int, DeploymentUnit] = {}
        self.requests: dict[int, ChangeRequest] = {}
        self.settings: dict[str, dict[str, str]] = {}
        self._next = {_UNIT: 1, _REQUEST: 1}
        try:
            for key, value in facts.items(MODULE):
                if key.startswith(_UNIT):
                    unit = msgspec.convert(value, DeploymentUnit)
                    self.units[unit.number] = unit
                elif key.startswith(_REQUEST):
                    request = msgspec.convert(value, ChangeRequest)
                    self.requests[request.number] = request
                elif key.startswith(_SETTINGS):
                    self.settings[key.removeprefix(_SETTINGS)] = msgspec.convert(value, dict[str, str])
                elif key.startswith(_NEXT):
                    self._next[key.removeprefix(_NEXT)] = int(value)
        except (msgspec.ValidationError, TypeError, ValueError) as e:
            raise StoreError(f"the stored software modules cannot be read ({e}); restore the factory settings") from e

    def new_unit(self) -> int:
        """A number that was never given to a deployment unit before."""
        return self._number(_UNIT)

    def new_request(self) -> int:
        """A number that was never given to a request before."""
        return self._number(_REQUEST)

    def _number(self, kind: str) -> int:
        number = self._next[kind]
        with self._outbox.promise() as changes:
            changes.put(MODULE, _NEXT + kind, number + 1)
        self._next[kind] = number + 1
        return number

    def save(
        self,
        *units: DeploymentUnit,
        request: ChangeRequest | None = None,
        gone: Iterable[DeploymentUnit] = (),
        settings: Mapping[str, dict[str, str]] | None = None,
    ) -> None:
        """Put units, a request and settings of environments (by name) on disk, and forget units that are gone."""
        gone = tuple(gone)
        self._check(units)
        with self._outbox.promise() as changes:
            for unit in units:
                changes.put(MODULE, _key(_UNIT, unit.number), msgspec.to_builtins(unit))
            for unit in gone:
                changes.remove(MODULE, _key(_UNIT, unit.number))
            if request is not None:
                changes.put(MODULE, _key(_REQUEST, request.number), msgspec.to_builtins(request))
            for name, values in (settings or {}).items():
                changes.put(MODULE, _SETTINGS + name, values)
        self._keep(units, gone)
        self.settings.update(settings or {})
        if request is not None:
            self.requests[request.number] = request

    def finish(
        self,
        request: ChangeRequest,
        told: tuple[AutonOpResultStruct, ...],
        *units: DeploymentUnit,
        gone: Iterable[DeploymentUnit] = (),
    ) -> None:
        """As `save`, with the end of a request: it is forgotten and its report is owed. told: the results of the report; none, none."""
        gone = tuple(gone)
        self._check(units)
        with self._outbox.promise() as changes:
            for unit in units:
                changes.put(MODULE, _key(_UNIT, unit.number), msgspec.to_builtins(unit))
            for unit in gone:
                changes.remove(MODULE, _key(_UNIT, unit.number))
            changes.remove(MODULE, _key(_REQUEST, request.number))
            if told and request.autonomous:
                self._outbox.owe_request(request.report(told), EventCode.AUTONOMOUS_DU_STATE_CHANGE_COMPLETE)
            elif told:
                self._outbox.owe_request(request.report(told), EventCode.M_CHANGE_DU_STATE, request.command_key)
        self._keep(units, gone)
        self.requests.pop(request.number, None)

    def _check(self, units: Iterable[DeploymentUnit]) -> None:
        """Raises LocalProtocolError for a step that a deployment unit does not take."""
        for unit in units:
            before = self.units.get(unit.number)
            step = (before.status if before is not None else None, unit.status)
            if step not in DU_STEPS and step[0] is not step[1]:
                raise LocalProtocolError(f"a deployment unit does not go from {step[0]} to {step[1]}")

    def _keep(self, units: Iterable[DeploymentUnit], gone: Iterable[DeploymentUnit]) -> None:
        for unit in units:
            self.units[unit.number] = unit
        for unit in gone:
            self.units.pop(unit.number, None)


def _key(kind: str, number: int) -> str:
    return f"{kind}{number:09d}"
