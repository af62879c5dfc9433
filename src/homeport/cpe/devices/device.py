"""What the agent needs of a device, and which device goes with which profile."""

from typing import Protocol

from homeport.cpe.clock import Clock
from homeport.cpe.config import CpeSettings
from homeport.model.tree import DataModel


class Device(Protocol):
    """Something whose parameters live.

    product_class: ProductClass of its DeviceId, for models without that parameter.
    """

    @property
    def product_class(self) -> str: ...

    def attach(self, model: DataModel) -> None:
        """Register sources and hooks on a model that has its identity and its stored values."""


def device_for(profile: str, settings: CpeSettings, clock: Clock, *, started: float) -> Device:
    """The device behind a profile. started: monotonic seconds of its start."""
    from homeport.cpe.devices.simulated import SimulatedDevice

    return SimulatedDevice(product_class=_PRODUCT_CLASSES.get(profile, ""), clock=clock, started=started)


_PRODUCT_CLASSES = {"dkt-797xx": "797xx"}
"""DKT's model has no ProductClass parameter, but an Inform names one."""
