"""The tables of SoftwareModules in the data model: made to agree with what is installed and what runs.

The records (shelf.py) are the truth; the rows are their picture. What the ACS may set (Enable, AutoStart, run levels, AutoRestart) lives
in the rows alone. A profile need not have every parameter: what it lacks is left out.
Source: TR-181 2.19 SoftwareModules, DeviceInfo.VendorLogFile, DeviceInfo.VendorConfigFile.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from homeport.cpe.modules.interface import EnvironmentFacts, PackageSpec, Restarts, UnitSpec
from homeport.cpe.modules.records import DeploymentUnit, EuFault, EuStatus, UnitRow
from homeport.errors import Fault
from homeport.model.transaction import Transaction
from homeport.model.tree import DataModel
from homeport.model.values import join_list
from homeport.terms import Writer

OURS: Final = "module/"
"""Beginning of the names of our rows in VendorLogFile and VendorConfigFile; others have other owners."""

DEFAULT_WAIT: Final = 5
LONGEST_WAIT: Final = 300
MULTIPLIER: Final = 2000
RESET_PERIOD: Final = 300
"""AutoRestart's factory values: seconds, and thousandths for the multiplier (the model leaves them to the device)."""

RUN_LEVEL: Final = 0

_SETTABLE: Final = ("Enable", "InitialRunLevel", "InitialExecutionUnitRunLevel")
"""Parameters of ExecEnv that a Reset brings back."""


@dataclass(frozen=True, slots=True)
class RestartRules:
    """AutoRestart of one execution unit; seconds, multiplier as a factor, most 0 for as often as it takes."""

    enable: bool
    always: bool
    first_wait: float
    longest_wait: float
    multiplier: float
    most: int
    reset_after: float


@dataclass(frozen=True, slots=True)
class UnitPicture:
    """How an execution unit is now. last_restart, next_restart: dateTimes, "" for never."""

    status: EuStatus = EuStatus.IDLE
    fault: EuFault = EuFault.NO_FAULT
    message: str = ""
    restarts: int = 0
    last_restart: str = ""
    next_restart: str = ""


@dataclass(frozen=True, slots=True)
class EnvironmentPicture:
    """How an environment is now. row: ExecEnv."""

    row: int
    facts: EnvironmentFacts
    status: str
    run_level: int


class Rows:
    """The rows of one device."""

    def __init__(self, model: DataModel) -> None:
        self._model = model
        self.root = f"{model.root}SoftwareModules."
        self._info = f"{model.root}DeviceInfo."
        self._shown: dict[str, str] = {}
        self._missing: set[tuple[str, str]] = set()

    # --- paths --------------------------------------------------------------------------------------------------------------------

    def environment(self, row: int) -> str:
        """Path of an ExecEnv, with the dot at the end."""
        return f"{self.root}ExecEnv.{row}."

    def deployment_unit(self, row: int) -> str:
        return f"{self.root}DeploymentUnit.{row}."

    def execution_unit(self, row: int) -> str:
        return f"{self.root}ExecutionUnit.{row}."

    # --- making rows ----------------------------------------------------------------------------------------------------------------

    def environment_row(self, facts: EnvironmentFacts) -> int:
        """The row of an environment, made where it is missing. Raises StoreError."""
        table = f"{self.root}ExecEnv."
        for number in self._model.instances(table):
            if self.text(f"{table}{number}.Name") == facts.name:
                return number
        with self._model.transaction(Writer.SYSTEM) as change:
            number = change.add_object(table)
            path = f"{table}{number}."
            self._set(change, path, "Name", facts.name)
            self._set(change, path, "Enable", "true")
            self._set(change, path, "InitialRunLevel", str(RUN_LEVEL))
            self._set(change, path, "InitialExecutionUnitRunLevel", str(RUN_LEVEL) if facts.run_levels else "-1")
            change.commit()
        return number

    def added(self, unit: DeploymentUnit, environment: str) -> DeploymentUnit:
        """The unit with a row of its own, which says Installing. environment: path of its ExecEnv. Raises StoreError."""
        with self._model.transaction(Writer.SYSTEM) as change:
            number = change.add_object(f"{self.root}DeploymentUnit.")
            path = self.deployment_unit(number)
            for name, text in (
                ("Status", unit.status.value),
                ("UUID", unit.uuid),
                ("DUID", unit.duid),
                ("URL", unit.url),
                ("ExecutionEnvRef", environment.removesuffix(".")),
            ):
                if text:
                    self._set(change, path, name, text)
            change.commit()
        return msgspec.structs.replace(unit, row=number)

    def with_units(self, unit: DeploymentUnit, spec: PackageSpec, run_level: int, log_size: int) -> DeploymentUnit:
        """The unit with rows for what its package holds; rows of an earlier version that still has them stay. Raises StoreError.

        run_level: of new execution units whose package names none. log_size: bytes, 0 where the environment keeps no logs.
        """
        before = {row.name: row for row in unit.units}
        with self._model.transaction(Writer.SYSTEM) as change:
            units = tuple(
                before.get(u.name) or self._add_unit(change, unit.duid, u, run_level, log_size) for u in spec.units
            )
            configuration = tuple(
                self._add_file(change, "VendorConfigFile.", f"{unit.duid}/{name}") for name in spec.configuration
            )
            change.commit()
        return msgspec.structs.replace(unit, spec=spec, units=units, configuration=configuration)

    def _add_unit(self, change: Transaction, duid: str, spec: UnitSpec, run_level: int, log_size: int) -> UnitRow:
        number = change.add_object(f"{self.root}ExecutionUnit.")
        path = self.execution_unit(number)
        restarts = spec.restart is not Restarts.NEVER
        for name, text in (
            ("Status", EuStatus.IDLE.value),
            ("ExecutionFaultCode", EuFault.NO_FAULT.value),
            ("AutoStart", "true" if spec.auto_start else "false"),
            ("RunLevel", str(run_level if spec.run_level is None else spec.run_level)),
            ("ShutdownDelay", str(round(spec.stop_after))),
            ("AutoRestart.Enable", "true" if restarts else "false"),
            ("AutoRestart.RetryMinimumWaitInterval", str(DEFAULT_WAIT)),
            ("AutoRestart.RetryMaximumWaitInterval", str(LONGEST_WAIT)),
            ("AutoRestart.RetryIntervalMultiplier", str(MULTIPLIER)),
            ("AutoRestart.ResetPeriod", str(RESET_PERIOD)),
        ):
            self._set(change, path, name, text)
        log = self._add_file(change, "VendorLogFile.", f"{duid}/{spec.name}") if log_size else 0
        if log:
            at = f"{self._info}VendorLogFile.{log}."
            self._set(change, at, "MaximumSize", str(log_size))
            self._set(change, at, "Persistent", "true")
        return UnitRow(spec.name, number, log)

    def _add_file(self, change: Transaction, table: str, name: str) -> int:
        """A row of VendorLogFile or VendorConfigFile; 0 where the device has no such table. One of that name is taken up again."""
        path = f"{self._info}{table}"
        try:
            for number in self._model.instances(path):
                if self.text(f"{path}{number}.Name") == f"{OURS}{name}"[:64]:
                    return number
            number = change.add_object(path)
        except Fault:
            return 0  # this device has no such table
        self._set(change, f"{path}{number}.", "Name", f"{OURS}{name}"[:64])
        return number

    # --- the picture ----------------------------------------------------------------------------------------------------------------

    def show(
        self,
        environments: Iterable[EnvironmentPicture],
        units: Mapping[int, DeploymentUnit],
        running: Callable[[int], UnitPicture],
        resolved: Callable[[DeploymentUnit], bool],
    ) -> None:
        """Bring every row in line, and delete those that belong to nothing. running: of an execution unit's row. Raises StoreError."""
        pictures = list(environments)
        rows = {e.facts.name: e.row for e in pictures}
        shown = [u for u in units.values() if u.row and not u.retired]
        with self._model.transaction(Writer.SYSTEM) as change:
            self._delete_others(change, shown)
            for unit in shown:
                self._show_unit(change, unit, rows.get(unit.environment, 0), running, resolved(unit))
            for picture in pictures:
                active = [
                    row.row
                    for unit in shown
                    if unit.environment == picture.facts.name
                    for row in unit.units
                    if running(row.row).status is EuStatus.ACTIVE
                ]
                self._show_environment(change, picture, active)
            change.commit()

    def _delete_others(self, change: Transaction, units: Iterable[DeploymentUnit]) -> None:
        wanted: dict[str, set[int]] = {
            f"{self.root}DeploymentUnit.": {u.row for u in units},
            f"{self.root}ExecutionUnit.": {row.row for u in units for row in u.units},
            f"{self._info}VendorLogFile.": {row.log for u in units for row in u.units},
            f"{self._info}VendorConfigFile.": {row for u in units for row in u.configuration},
        }
        for table, keep in wanted.items():
            try:
                numbers = self._model.instances(table)
            except Fault:
                continue  # this device has no such table
            for number in numbers:
                path = f"{table}{number}."
                if number in keep or (table.startswith(self._info) and not self.text(path + "Name").startswith(OURS)):
                    continue
                change.delete_object(path)
                self._shown = {p: t for p, t in self._shown.items() if not p.startswith(path)}

    def _show_unit(
        self,
        change: Transaction,
        unit: DeploymentUnit,
        environment: int,
        running: Callable[[int], UnitPicture],
        resolved: bool,
    ) -> None:
        spec = unit.spec
        reference = self.environment(environment).removesuffix(".") if environment else ""
        configuration = join_list([f"{self._info}VendorConfigFile.{n}" for n in unit.configuration if n])
        values = {
            "Status": unit.status.value,
            "DUID": unit.duid,
            "URL": unit.url,
            "Resolved": "true" if resolved else "false",
            "ExecutionEnvRef": reference,
            "ExecutionUnitList": join_list([self.execution_unit(r.row).removesuffix(".") for r in unit.units]),
            "VendorConfigList": configuration,
            "Installed": unit.installed,
            "LastUpdate": unit.updated,
        }
        if unit.uuid:
            values["UUID"] = unit.uuid
        if spec is not None:
            values |= {
                "Name": spec.name,
                "Vendor": spec.vendor,
                "Version": spec.version,
                "Description": spec.description,
            }
        self._show(change, self.deployment_unit(unit.row), values)
        described = {u.name: u for u in spec.units} if spec is not None else {}
        for row in unit.units:
            picture, what = running(row.row), described.get(row.name)
            assert spec is not None and what is not None
            self._show(
                change,
                self.execution_unit(row.row),
                {
                    "EUID": f"{unit.environment}-{unit.duid}-{row.name}"[-64:],
                    "Name": row.name,
                    "ExecEnvLabel": f"{unit.duid}.{row.name}",
                    "Status": picture.status.value,
                    "ExecutionFaultCode": picture.fault.value,
                    "ExecutionFaultMessage": picture.message[:256],
                    "Vendor": spec.vendor,
                    "Version": spec.version,
                    "Description": what.description,
                    "ExecutionEnvRef": reference,
                    "VendorLogList": f"{self._info}VendorLogFile.{row.log}" if row.log else "",
                    "VendorConfigList": configuration,
                    "AllocatedDiskSpace": "-1",
                    "AllocatedMemory": str(what.limits.memory // 1024 or -1),
                    "AutoRestart.RetryCount": str(picture.restarts),
                    **({"AutoRestart.LastRestarted": picture.last_restart} if picture.last_restart else {}),
                    **({"AutoRestart.NextRestart": picture.next_restart} if picture.next_restart else {}),
                },
            )
        for number, name in zip(unit.configuration, spec.configuration if spec is not None else (), strict=False):
            if number:
                path = f"{self._info}VendorConfigFile.{number}."
                values = {"Version": unit.version[:16], "Description": f"{name} of {unit.duid}"}
                self._show(change, path, values)

    def _show_environment(self, change: Transaction, picture: EnvironmentPicture, active: list[int]) -> None:
        facts = picture.facts
        values = {
            "Name": facts.name,
            "Type": facts.type,
            "Vendor": facts.vendor,
            "Version": facts.version,
            "Status": picture.status,
            "CurrentRunLevel": str(picture.run_level),
            "ActiveExecutionUnits": join_list([self.execution_unit(n).removesuffix(".") for n in active]),
        }
        self._show(change, self.environment(picture.row), values)

    def _show(self, change: Transaction, path: str, values: Mapping[str, str]) -> None:
        for name, text in values.items():
            if self._shown.get(path + name) != text:
                self._set(change, path, name, text)
                self._shown[path + name] = text

    def _set(self, change: Transaction, path: str, name: str, text: str) -> None:
        """Stage a value where the device has the parameter and it differs."""
        kind = path.removeprefix(self._model.root).split(".")[:2]
        if (kind[-1], name) in self._missing:
            return
        try:
            if change.value(path + name) != text:
                change.set(path + name, text)
        except Fault:
            self._missing.add((kind[-1], name))

    def forget(self) -> None:
        """What was shown may not have reached the rows: compare all of them the next time."""
        self._shown.clear()

    def configuration(self, row: int) -> dict[str, str]:
        """What the ACS may set of an environment and keeps its value, by name."""
        found = {name: self.text(self.environment(row) + name) for name in _SETTABLE}
        return {name: text for name, text in found.items() if text}

    def configure(self, row: int, values: Mapping[str, str]) -> None:
        """Set what `configuration` gave. Raises StoreError."""
        with self._model.transaction(Writer.SYSTEM) as change:
            for name, text in values.items():
                self._set(change, self.environment(row), name, text)
            change.commit()

    # --- what the ACS may set -------------------------------------------------------------------------------------------------------

    def text(self, path: str, default: str = "") -> str:
        """A value; default where the device has no such parameter."""
        try:
            return self._model.value(path)
        except Fault:
            return default

    def number(self, path: str, default: int) -> int:
        try:
            return int(self.text(path) or default)
        except ValueError:
            return default

    def flag(self, path: str, default: bool) -> bool:
        return self.text(path, "true" if default else "false") in ("1", "true")

    def auto_start(self, row: int, spec: UnitSpec) -> bool:
        return self.flag(self.execution_unit(row) + "AutoStart", spec.auto_start)

    def run_level(self, row: int, spec: UnitSpec) -> int:
        return self.number(self.execution_unit(row) + "RunLevel", spec.run_level or RUN_LEVEL)

    def stop_after(self, row: int, spec: UnitSpec) -> float:
        """Seconds that a unit has to end by itself: ShutdownDelay where the ACS may set it."""
        given = self.text(self.execution_unit(row) + "ShutdownDelay")
        return float(given) if given.isdigit() and given != str(round(spec.stop_after)) else spec.stop_after

    def restart_rules(self, row: int, spec: UnitSpec) -> RestartRules:
        path = self.execution_unit(row) + "AutoRestart."
        return RestartRules(
            enable=self.flag(path + "Enable", spec.restart is not Restarts.NEVER),
            always=spec.restart is Restarts.ALWAYS,
            first_wait=self.number(path + "RetryMinimumWaitInterval", DEFAULT_WAIT),
            longest_wait=self.number(path + "RetryMaximumWaitInterval", LONGEST_WAIT),
            multiplier=max(1000, self.number(path + "RetryIntervalMultiplier", MULTIPLIER)) / 1000,
            most=self.number(path + "MaximumRetryCount", 0),
            reset_after=self.number(path + "ResetPeriod", RESET_PERIOD),
        )
