"""The vendor's own files: the configuration as a whole (download and upload) and the logs (upload).

A configuration file is JSON: `values` holds every parameter that may be set, by path; `rows` the instance numbers of every table that can
grow. What an upload gives, a download takes; applying is one transaction: everything or nothing. Secrets and commands are left out, so
passwords of the device stay as they are; so does the choice of a firmware. The row of VendorConfigFile changes in the same transaction.
Source: TR-181 2.19 DeviceInfo.VendorConfigFile, VendorLogFile.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from homeport.cpe.transfers.file_types import Restart
from homeport.cpe.transfers.records import Transfer
from homeport.cpe.transfers.rules import RowFiles
from homeport.errors import Fault
from homeport.model.transaction import Transaction
from homeport.model.tree import DataModel
from homeport.terms import UNKNOWN_TIME, Writer
from homeport.transport.files import FileTransferError, Trouble

FORMAT: Final = "homeport-configuration/1"

MOST_BYTES: Final = 16 << 20
"""A larger file is no configuration; it would be read into memory."""


def export_configuration(model: DataModel, *, description: str = "", called: str = "", version: str = "") -> bytes:
    """The configuration of a device as a file. description: for people, such as the model and its version. called, version: its row's."""
    values: dict[str, str] = {}
    rows: dict[str, list[int]] = {}
    for name in model.names(model.root, False):
        if name.name.endswith("."):
            number = name.name[:-1].rpartition(".")[2]
            if name.writable and not number.isdigit():
                rows[name.name] = model.instances(name.name)
        elif name.writable and "FirmwareImage" not in name.name:
            definition = model.definition(name.name)
            if not (definition.hidden or definition.secured or definition.command):
                values[name.name] = ""
    for value in model.get_many(list(values)) if values else []:
        values[value.name] = value.value
    said = {"name": called, "version": version, "description": description}
    data = {"format": FORMAT, **{k: v for k, v in said.items() if v}, "rows": rows, "values": values}
    return json.dumps(data, indent=1, ensure_ascii=False).encode("utf-8") + b"\n"


def apply_configuration(model: DataModel, data: bytes, *, row: Mapping[str, str] | None = None) -> int:
    """Bring the device to the configuration of a file; the Status of the commit: 0 applied, 1 needs a restart.

    Rows that the file has and the device lacks are added, others deleted; their numbers may differ, and references follow. Parameters that
    the file does not name stay. row: what becomes true of its row of VendorConfigFile, by path.
    Raises FileTransferError (corrupt) where any of it does not fit this device; nothing is changed then.
    """
    rows, values = _read(data)
    try:
        with model.transaction(Writer.SYSTEM) as change:
            moved = _make_rows(model, change, rows)
            for path, text in values.items():
                here = _moved(path, moved)
                if not _may_set(change, here):
                    raise _unfit(f"{path} cannot be set on this device")
                change.set(here, ",".join(_moved(item, moved) for item in text.split(",")) if moved else text)
            for path, text in (row or {}).items():
                change.also(path, text)
            return change.commit()
    except Fault as e:
        first = f"{e.parameters[0].name}: {e.parameters[0].text}" if e.parameters else e.text
        raise _unfit(first) from e


class VendorConfiguration:
    """Installer and exporter of the configuration file. others: whose rows are not the device's own configuration."""

    disturbs = True
    web_pages = False

    def __init__(
        self,
        model: DataModel,
        *,
        description: str = "",
        others: RowFiles | None = None,
        row: Callable[[], int | None] = lambda: 1,
        now: Callable[[], str] = lambda: UNKNOWN_TIME,
    ) -> None:
        """row: the number of its row of VendorConfigFile, None where there is none. now: a dateTime."""
        self._model = model
        self._row, self._now = row, now
        self._description = description
        self._others = others or RowFiles()

    async def apply(self, file: Path, transfer: Transfer) -> Restart:
        if (await asyncio.to_thread(file.stat)).st_size > MOST_BYTES:
            raise _unfit(f"it has more than {MOST_BYTES} bytes")
        data = await asyncio.to_thread(file.read_bytes)
        later = apply_configuration(self._model, data, row=self._news(data, transfer.url))
        return Restart.AFTER_REPORT if later else Restart.NO

    def _news(self, data: bytes, url: str) -> dict[str, str]:
        """What the row says once this file is applied: the name is in the file, or in its URL (TR-181 2.19 VendorConfigFile.Name)."""
        row = self._row()
        prefix = f"{self._model.root}DeviceInfo.VendorConfigFile.{row}."
        if row is None or not self._model.exists(prefix):
            return {}
        said = _said(data)
        name = said.get("name") or urlsplit(url).path.rpartition("/")[2]
        wanted = {"Version": said.get("version", "")[:16], "Date": self._now()} | ({"Name": name[:64]} if name else {})
        return {prefix + n: text for n, text in wanted.items() if self._model.exists(prefix + n)}

    def has(self, instance: int | None) -> bool:
        other = self._others.configuration(instance)
        if other is not None:
            return any(path.is_file() for path in other)
        return instance is None or instance == self._row()

    async def write(self, file: Path, transfer: Transfer) -> None:
        other = self._others.configuration(transfer.instance)
        if other is not None:
            await _join(other, file, "the configuration")
            return
        row = f"{self._model.root}DeviceInfo.VendorConfigFile.{self._row()}."
        data = export_configuration(
            self._model,
            description=self._description,
            called=_text(self._model, row + "Name"),
            version=_text(self._model, row + "Version"),
        )
        await asyncio.to_thread(file.write_bytes, data)


class VendorLogs:
    """Exporter of the logs.

    files: gives, by row of VendorLogFile, the files that make up that log, oldest first; missing ones are passed over. others: whose rows
    are not among them. A request without a row means the lowest one.
    """

    def __init__(self, files: Callable[[], Mapping[int, Sequence[Path]]], *, others: RowFiles | None = None) -> None:
        self._files = files
        self._others = others or RowFiles()

    def has(self, instance: int | None) -> bool:
        if self._others.log(instance) is not None:
            return True
        own = self._files()
        return bool(own) if instance is None else instance in own

    async def write(self, file: Path, transfer: Transfer) -> None:
        parts = self._others.log(transfer.instance)
        if parts is None:
            own = self._files()
            parts = own.get(min(own) if transfer.instance is None else transfer.instance, ())
        await _join(parts, file, "the log")


async def _join(parts: Sequence[Path], file: Path, what: str) -> None:
    """Write what the parts hold, one after the other. Raises FileTransferError."""

    def join() -> None:
        with file.open("wb") as out:
            for part in parts:
                try:
                    out.write(part.read_bytes())
                except FileNotFoundError:
                    continue  # a log that was never rotated has no older part

    try:
        await asyncio.to_thread(join)
    except OSError as e:
        raise FileTransferError(Trouble.LOCAL, f"{what} cannot be read: {e.strerror or e}") from e


def _read(data: bytes) -> tuple[dict[str, list[int]], dict[str, str]]:
    try:
        found: Any = json.loads(data.decode("utf-8"))
        if found["format"] != FORMAT:
            raise _unfit(f"its format is {found['format']!r}, not {FORMAT!r}")
        rows = {str(table): [int(n) for n in numbers] for table, numbers in found["rows"].items()}
        values = {str(path): text for path, text in found["values"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise _unfit("it is not a configuration file") from e
    if not all(isinstance(text, str) for text in values.values()):
        raise _unfit("a value in it is not text")
    return rows, values


def _make_rows(model: DataModel, change: Transaction, rows: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """Give every table its rows; old path -> new path of the rows whose number has changed."""
    moved: dict[str, str] = {}
    for table, numbers in sorted(rows.items(), key=lambda item: item[0].count(".")):
        here = _moved(table, moved)
        present = _rows_of(change, here)
        for number in [n for n in present if n not in numbers]:
            change.delete_object(f"{here}{number}.")
        for number in sorted(n for n in numbers if n not in present):
            new = change.add_object(here)
            if f"{here}{new}." != f"{table}{number}.":
                moved[f"{table}{number}."] = f"{here}{new}."
        if here != table:
            moved.update({f"{table}{n}.": f"{here}{n}." for n in numbers if n in present})
    return moved


def _rows_of(change: Transaction, table: str) -> list[int]:
    found = []
    for name in change.names(table, True):
        if not name.writable or not name.name[:-1].rpartition(".")[2].isdigit():
            raise _unfit(f"{table} is not a table whose rows can be changed on this device")
        found.append(int(name.name[:-1].rpartition(".")[2]))
    return found


def _may_set(change: Transaction, path: str) -> bool:
    place = change.locate(path)
    return place.at >= 0 and place.parameter.writable


def _moved(path: str, moved: Mapping[str, str]) -> str:
    """A path, or a reference to one, with the new numbers of its rows."""
    if not moved:
        return path
    dotted = path if path.endswith(".") else path + "."
    best = max((old for old in moved if dotted.startswith(old)), key=len, default="")
    if not best:
        return path
    new = moved[best] + dotted[len(best) :]
    return new if path.endswith(".") else new[:-1]


def _said(data: bytes) -> dict[str, str]:
    """What a file says of itself."""
    try:
        found = json.loads(data.decode("utf-8"))
        return {k: str(found[k]) for k in ("name", "version") if found.get(k)}
    except (ValueError, AttributeError, RecursionError):
        return {}  # no configuration file: that is found out when it is applied


def _text(model: DataModel, path: str) -> str:
    try:
        return model.value(path)
    except Fault:
        return ""  # this device has no such row


def _unfit(why: str) -> FileTransferError:
    return FileTransferError(Trouble.CORRUPT, f"the configuration file cannot be used: {why}")
