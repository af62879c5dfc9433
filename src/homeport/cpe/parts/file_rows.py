"""Rows of DeviceInfo.VendorConfigFile.{i} and VendorLogFile.{i}: which files an Upload may name, and under which number.

The device's own configuration and its logs; rows of software modules have another owner and are left alone. Where the device has no such
table, the configuration is number 1 and the logs are numbered from 1. Source: TR-181 2.19 DeviceInfo.VendorConfigFile, VendorLogFile.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from homeport.cpe.journal import LOG, MAX_BYTES
from homeport.errors import Fault, StoreError
from homeport.model.transaction import Transaction
from homeport.model.tree import DataModel
from homeport.terms import Writer

CONFIGURATION: Final = "configuration.json"
MODULES: Final = "module/"
"""How the names of rows begin that belong to software modules (cpe/modules/rows.py)."""


class FileRows:
    """The rows of one device. logs: by name, the files of each log, oldest first; sizes: bytes by name, 0 where nobody knows."""

    def __init__(self, model: DataModel, logs: Mapping[str, Sequence[Path]], sizes: Mapping[str, int]) -> None:
        self._model, self._logs, self._sizes = model, logs, sizes
        self._configurations = f"{model.root}DeviceInfo.VendorConfigFile."
        self._log_table = f"{model.root}DeviceInfo.VendorLogFile."

    def start(self) -> None:
        """Make the rows that are missing; what is there keeps its number."""
        model = self._model
        if not (model.exists(self._configurations) or model.exists(self._log_table)):
            return
        try:
            with model.transaction(Writer.SYSTEM) as change:
                if model.exists(self._configurations) and self.configuration is None:
                    self._add(
                        change,
                        self._configurations,
                        CONFIGURATION,
                        Description="All parameters that can be set",
                        UseForBackupRestore="true",
                    )
                if model.exists(self._log_table):
                    there = {self._name(self._log_table, n) for n in model.instances(self._log_table)}
                    for name in self._logs:
                        if name[:64] not in there:
                            size = str(self._sizes.get(name, 0))
                            self._add(change, self._log_table, name, MaximumSize=size, Persistent="true")
                change.commit()
        except (Fault, StoreError) as e:
            LOG.warning("the vendor's files cannot be shown: %s", e)

    @property
    def configuration(self) -> int | None:
        """The number of the device's own configuration, None where its row is missing."""
        if not self._model.exists(self._configurations):
            return 1
        own = [
            n
            for n in self._model.instances(self._configurations)
            if not self._name(self._configurations, n).startswith(MODULES)
        ]
        return min(own, default=None)

    def logs(self) -> dict[int, Sequence[Path]]:
        """The files of the device's own logs by number."""
        if not self._model.exists(self._log_table):
            return dict(enumerate(self._logs.values(), start=1))
        rows = {self._name(self._log_table, n): n for n in reversed(self._model.instances(self._log_table))}
        return {rows[name[:64]]: files for name, files in self._logs.items() if name[:64] in rows}

    def _name(self, table: str, number: int) -> str:
        try:
            return self._model.value(f"{table}{number}.Name")
        except Fault:
            return ""  # this device's rows have no name

    def _add(self, change: Transaction, table: str, name: str, **more: str) -> None:
        row = f"{table}{change.add_object(table)}."
        for parameter, text in {"Name": name[:64], **more}.items():
            if parameter in _parameters(self._model, table):
                change.set(row + parameter, text)


def own_logs(directory: Path) -> tuple[dict[str, list[Path]], dict[str, int]]:
    """The agent's own logs: their files and their sizes by name."""
    names = ("client.log", "config.log")
    return (
        {name: [directory / f"{name}.1", directory / name] for name in names},
        {name: 2 * MAX_BYTES for name in names},
    )


def _parameters(model: DataModel, table: str) -> set[str]:
    profile = model.profile
    if profile is None:
        definition = model.schema.object(table + "{i}.")
        return {p.name for p in definition.parameters} if definition is not None else set()
    return profile.parameters_of(table + "{i}.")
