"""SQLite's store over a file, for tests of what it adds to the contract."""

from pathlib import Path

from homeport.acs.records import DeviceRecord
from homeport.acs.storage.sql.sqlite import SqliteStore


def device_called(id: str = "S1") -> DeviceRecord:
    """A device whose id is as short as its serial number."""
    return DeviceRecord(id=id, oui="00D0F1", product_class="", serial_number=id)


async def reopened(path: Path) -> SqliteStore:
    """The store over `path`, open; made if it is not there."""
    store = SqliteStore(path)
    await store.open()
    return store
