"""All that is installed and all that runs on one device: environments, deployment units, execution units, and their rows.

Whoever changes what is installed holds `lock`; execution units start and end by themselves at any time. The rows follow at the next turn
of the event loop, all changes of one turn together.
Source: TR-181 2.19 SoftwareModules.ExecEnv (Enable, Reset, run levels).
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from homeport.cpe.clock import Clock
from homeport.cpe.modules.interface import Environment, EnvironmentFacts
from homeport.cpe.modules.operations import EnvironmentState, resolved, unresolved
from homeport.cpe.modules.records import DeploymentUnit, DuStatus, EuFault, Original, UnitRow
from homeport.cpe.modules.rows import RUN_LEVEL, EnvironmentPicture, Rows, UnitPicture
from homeport.cpe.modules.shelf import Shelf
from homeport.cpe.modules.units import LOG, ExecutionUnit, stop_all
from homeport.errors import StoreError

NO_RUN_LEVELS = -1


@dataclass(slots=True)
class Entry:
    """One environment. environment: None where it is not there any more or could not be opened; problem says why."""

    facts: EnvironmentFacts
    row: int
    environment: Environment | None
    problem: str = ""
    enabled: bool = True
    run_level: int = RUN_LEVEL


class Estate:
    """Environments by name (`entries`) and execution units by row (`running`) of one device."""

    def __init__(
        self, shelf: Shelf, rows: Rows, clock: Clock, environments: Sequence[Environment], *, log_size: int
    ) -> None:
        """log_size: bytes of a unit's log, for VendorLogFile."""
        self.shelf, self.rows = shelf, rows
        self.lock = asyncio.Lock()
        self.entries: dict[str, Entry] = {}
        self.running: dict[int, ExecutionUnit] = {}
        self._clock = clock
        self._environments = tuple(environments)
        self._log_size = log_size
        self._due = False

    # --- beginning and end ----------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Settle what was under way when the device stopped, and open every environment. Raises StoreError."""
        units = self.shelf.units
        half = [u for u in units.values() if u.status is DuStatus.INSTALLING]
        back = [
            msgspec.structs.replace(u, status=DuStatus.INSTALLED)
            for u in units.values()
            if u.status in (DuStatus.UPDATING, DuStatus.UNINSTALLING)
        ]
        if half or back:
            self.shelf.save(*back, gone=half)
        for environment in self._environments:
            facts = environment.facts
            keep = {u.duid: u.generations for u in units.values() if u.environment == facts.name}
            entry = Entry(facts, self.rows.environment_row(facts), environment)
            try:
                await asyncio.to_thread(environment.open, keep)
            except OSError as e:
                entry.environment, entry.problem = None, f"it cannot be used: {e}"
                LOG.error("the execution environment %s cannot be used: %s", facts.name, e)
            self._begin(entry)
        for name in {u.environment for u in units.values()} - self.entries.keys():
            facts = EnvironmentFacts(name, "", "", "", run_levels=False)
            self._begin(Entry(facts, self.rows.environment_row(facts), None, "this device does not have it any more"))
        for unit in units.values():
            self.build(unit)
        self.show()

    def _begin(self, entry: Entry) -> None:
        path = self.rows.environment(entry.row)
        entry.enabled = self.rows.flag(path + "Enable", True)
        level = self.rows.number(path + "InitialRunLevel", RUN_LEVEL)
        entry.run_level = level if entry.facts.run_levels else NO_RUN_LEVELS
        self.entries[entry.facts.name] = entry

    async def close(self, grace: float) -> None:
        """End everything that runs. grace: seconds that units have to end by themselves."""
        await stop_all(self.running.values(), grace)

    # --- what there is --------------------------------------------------------------------------------------------------------------

    def states(self) -> list[EnvironmentState]:
        """The environments as the operations see them."""
        return [
            EnvironmentState(e.facts.name, self.rows.environment(e.row), e.enabled, e.environment is not None)
            for e in self.entries.values()
        ]

    def entry_at(self, row: int) -> Entry | None:
        return next((e for e in self.entries.values() if e.row == row), None)

    def owner(self, row: int) -> DeploymentUnit | None:
        """The deployment unit that an execution unit belongs to."""
        return next((u for u in self.shelf.units.values() if not u.retired for r in u.units if r.row == row), None)

    def of(self, unit: DeploymentUnit) -> list[ExecutionUnit]:
        """The execution units of a deployment unit."""
        return [self.running[r.row] for r in unit.units if r.row in self.running]

    # --- execution units --------------------------------------------------------------------------------------------------------------

    def build(self, unit: DeploymentUnit) -> None:
        """Make the execution units of what is installed; those of an earlier content must have been stopped."""
        for number in [n for n, eu in self.running.items() if eu.place.duid == unit.duid]:
            del self.running[number]
        entry = self.entries.get(unit.environment)
        if unit.retired or unit.spec is None or entry is None or entry.environment is None:
            return
        described = {u.name: u for u in unit.spec.units}
        for row in unit.units:
            if row.name in described:
                self.running[row.row] = self._made(unit, row, entry.environment)

    def _made(self, unit: DeploymentUnit, row: UnitRow, environment: Environment) -> ExecutionUnit:
        assert unit.spec is not None
        spec = next(u for u in unit.spec.units if u.name == row.name)
        return ExecutionUnit(
            row.row,
            environment=environment,
            place=unit.place,
            spec=unit.spec,
            unit=spec,
            clock=self._clock,
            rules=lambda: self.rows.restart_rules(row.row, spec),
            stop_after=lambda: self.rows.stop_after(row.row, spec),
            obstacle=lambda: self._obstacle(unit.number),
            changed=self.changed,
        )

    def _obstacle(self, number: int) -> tuple[EuFault, str] | None:
        unit = self.shelf.units.get(number)
        if unit is None or unit.spec is None:
            return EuFault.UN_STARTABLE, "its deployment unit is gone"
        missing = unresolved(unit.spec, unit.environment, self.shelf.units.values())
        if missing:
            names = ", ".join(f"{r.name} {r.version}".strip() for r in missing)
            return EuFault.DEPENDENCY_FAILURE, f"it needs {names}, which is not installed"
        return None

    def start_auto(self, entry: Entry, only: Iterable[DeploymentUnit] | None = None) -> None:
        """Start what AutoStart and the run level ask for, lower run levels first. only: these deployment units."""
        if not entry.enabled or entry.environment is None:
            return
        units = self.shelf.units.values() if only is None else only
        chosen = [
            eu
            for unit in units
            if unit.environment == entry.facts.name and unit.status is DuStatus.INSTALLED
            for eu in self.of(unit)
            if self.rows.auto_start(eu.row, eu.unit) and self._level_reached(entry, eu)
        ]
        for eu in sorted(chosen, key=lambda eu: self.rows.run_level(eu.row, eu.unit)):
            eu.start(auto=True)

    def start_resolved(self) -> None:
        """Start what could not be started because something was missing, where it is there now."""
        for unit in self.shelf.units.values():
            waiting = [eu for eu in self.of(unit) if eu.picture.fault is EuFault.DEPENDENCY_FAILURE]
            if waiting and resolved(unit, self.shelf.units):
                self.start_auto(self.entries[unit.environment], [unit])

    def _level_reached(self, entry: Entry, unit: ExecutionUnit) -> bool:
        return entry.run_level == NO_RUN_LEVELS or entry.run_level >= self.rows.run_level(unit.row, unit.unit)

    # --- environments -----------------------------------------------------------------------------------------------------------------

    async def follow_enable(self, entry: Entry) -> None:
        """Do what its Enable says: disabling stops everything in it, enabling starts it anew."""
        wanted = self.rows.flag(self.rows.environment(entry.row) + "Enable", True)
        if wanted == entry.enabled:
            return
        async with self.lock:
            entry.enabled = wanted
            LOG.info("the execution environment %s is %s", entry.facts.name, "enabled" if wanted else "disabled")
            if wanted:
                self._begin(entry)
                self.start_auto(entry)
            else:
                await stop_all(self._in(entry))
            self.show()

    async def set_run_level(self, entry: Entry, level: int) -> None:
        """Bring it to a run level. That units above the level are stopped is (unverified)."""
        if entry.run_level == NO_RUN_LEVELS or level < 0 or not entry.enabled:
            return
        entry.run_level = level
        await stop_all(eu for eu in self._in(entry) if eu.wanted and not self._level_reached(entry, eu))
        self.start_auto(entry)
        self.show()

    async def reset(self, entry: Entry) -> None:
        """Bring it back to what it held when the device last said `0 BOOTSTRAP`. Raises StoreError."""
        environment = entry.environment
        if environment is None:
            return
        async with self.lock:
            LOG.info("the execution environment %s is reset", entry.facts.name)
            await stop_all(self._in(entry))
            mine = [u for u in self.shelf.units.values() if u.environment == entry.facts.name]
            for unit in mine:
                before = unit.original
                if before is None:
                    self.shelf.save(gone=[unit])
                    await asyncio.to_thread(environment.purge, unit.duid)
                    continue
                restored = msgspec.structs.replace(
                    unit,
                    retired=False,
                    status=DuStatus.INSTALLED,
                    generation=before.generation,
                    spec=before.spec,
                    url=before.url,
                )
                if unit.retired:
                    restored = self.rows.added(restored, self.rows.environment(entry.row))
                restored = self.rows.with_units(restored, before.spec, self.initial_level(entry), self.log_size(entry))
                self.shelf.save(restored)
                if not unit.retired and unit.generation != before.generation:
                    await asyncio.to_thread(environment.remove, unit.place)
            self.rows.configure(entry.row, self.shelf.settings.get(entry.facts.name, {}))
            for unit in mine:
                kept = self.shelf.units.get(unit.number)
                self.build(kept if kept is not None else msgspec.structs.replace(unit, retired=True))
            self._begin(entry)
            self.start_auto(entry)
            self.show()

    def note_originals(self) -> None:
        """The device says `0 BOOTSTRAP` with what is installed now. Raises StoreError."""
        changed, gone = [], []
        for unit in self.shelf.units.values():
            if unit.retired:
                gone.append(unit)
            elif unit.spec is not None and unit.status is not DuStatus.INSTALLING:
                original = Original(unit.generation, unit.spec, unit.url)
                if unit.original != original:
                    changed.append(msgspec.structs.replace(unit, original=original))
        settings = {name: self.rows.configuration(entry.row) for name, entry in self.entries.items()}
        if changed or gone or settings != self.shelf.settings:
            self.shelf.save(*changed, gone=gone, settings=settings)

    def _in(self, entry: Entry) -> list[ExecutionUnit]:
        return [eu for u in self.shelf.units.values() if u.environment == entry.facts.name for eu in self.of(u)]

    def initial_level(self, entry: Entry) -> int:
        """RunLevel of new execution units."""
        path = self.rows.environment(entry.row) + "InitialExecutionUnitRunLevel"
        return max(0, self.rows.number(path, RUN_LEVEL))

    def log_size(self, entry: Entry) -> int:
        """Bytes of a unit's log; 0 where the environment keeps none."""
        keeps = entry.environment is not None and entry.environment.logs("du-0", "unit")
        return self._log_size if keeps else 0

    # --- rows -------------------------------------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Show it soon."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._show_due)

    def _show_due(self) -> None:
        if self._due:
            self.show()

    def show(self) -> None:
        """Bring the rows in line; on a full disk they follow later."""
        self._due = False
        pictures = [EnvironmentPicture(e.row, e.facts, self._status(e), e.run_level) for e in self.entries.values()]
        try:
            self.rows.show(pictures, self.shelf.units, self._picture, lambda u: resolved(u, self.shelf.units))
        except StoreError as e:
            LOG.error("what the software modules do cannot be shown now: %s", e)
            self.rows.forget()

    def _status(self, entry: Entry) -> str:
        if not entry.enabled:
            return "Disabled"
        return "Up" if entry.environment is not None else "Error"

    def _picture(self, row: int) -> UnitPicture:
        unit = self.running.get(row)
        return unit.picture if unit is not None else UnitPicture()
