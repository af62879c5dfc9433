"""Rows of the ACS for tests of its stores."""

from collections.abc import Callable, Coroutine
from typing import Any

from homeport.acs.records import (
    DeviceRecord,
    TaskRecord,
)
from homeport.acs.storage.interface import (
    UnitOfWork,
)

Run = Callable[[Coroutine[Any, Any, Any]], Any]
"""What the fixture `run` is: plays a coroutine to its end."""


def a_device(serial: str = "S1", **fields: Any) -> DeviceRecord:
    return DeviceRecord(id=f"00D0F1-X-{serial}", oui="00D0F1", product_class="X", serial_number=serial, **fields)


def a_task(id: str = "t1", device: str = "00D0F1-X-S1", **fields: Any) -> TaskRecord:
    return TaskRecord(id=id, device=device, rpc="Reboot", args={}, **fields)


def unit(**lists: list[Any]) -> UnitOfWork:
    made = UnitOfWork()
    for name, rows in lists.items():
        getattr(made, name).extend(rows)
    return made
