"""What the agent needs of a device, and which device goes with which profile."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from homeport.cpe.clock import Clock
from homeport.cpe.config import CpeSettings
from homeport.errors import ConfigError
from homeport.model.profile import ProfileDef
from homeport.model.tree import DataModel

if TYPE_CHECKING:
    from homeport.cpe.devices.mapper import Mapper
    from homeport.cpe.devices.plugin import Plugin


class Device(Protocol):
    """Something whose parameters live.

    product_class: ProductClass of its DeviceId, for models without that parameter. A device may also have `plugins`, a sequence of Plugin:
    they are hosted beneath those that the settings name.
    """

    @property
    def product_class(self) -> str: ...

    def identity(self) -> Mapping[str, str]:
        """Parameters of DeviceInfo, by name, as the hardware says them; empty where settings and profile say who it is."""
        return {}

    def fitted(self, profile: ProfileDef) -> ProfileDef:
        """The profile with what the device brings along beyond it. Raises ConfigError."""
        return profile

    def attach(self, model: DataModel) -> None:
        """Register sources and hooks on a model that has its identity and its stored values."""


class PluggedDevice:
    """A device with plug-ins or mapper files: what they say counts before what the device itself knows.

    below: the device that they refine. host: what runs the plug-ins, for the agent's part.
    """

    def __init__(
        self, below: Device, plugins: "Sequence[Plugin]", clock: Clock, mapper: "Mapper | None" = None
    ) -> None:
        from homeport.cpe.devices.plugin_host import PluginHost

        self.below = below
        self.product_class = below.product_class
        self.host: PluginHost = PluginHost(plugins, clock, mapper)

    def identity(self) -> Mapping[str, str]:
        """Of the device itself."""
        return self.below.identity()

    def fitted(self, profile: ProfileDef) -> ProfileDef:
        """The profile with the parameters that plug-ins bring along, where their kind of model has them. Raises ConfigError."""
        return self.host.fitted(profile)

    def attach(self, model: DataModel) -> None:
        self.below.attach(model)
        self.host.attach(model)

    def close(self) -> None:
        """End threads and processes of the plug-ins."""
        self.host.close()


def device_for(profile: str, settings: CpeSettings, clock: Clock, *, started: float) -> Device:
    """The device behind a profile, with the plug-ins that the settings name or that are installed. started: monotonic seconds of its start.

    Raises ConfigError where a plug-in cannot be loaded.
    """
    from homeport.cpe.devices.loading import plugins_for

    device = _own_device(profile, settings, clock, started=started)
    plugins = [*getattr(device, "plugins", ()), *plugins_for(settings.plugins, settings.directory / "providers")]
    if not plugins and not settings.mapper:
        return device
    from homeport.cpe.devices.mapper import Mapper

    try:
        return PluggedDevice(device, plugins, clock, Mapper.load(settings.mapper))
    except ConfigError:
        for closer in [c for plugin in plugins for c in plugin.closers]:
            closer()
        raise


def close_device(device: Device | None) -> None:
    """End what a device has running beside the agent, where it has anything."""
    if isinstance(device, PluggedDevice):
        device.close()


def _own_device(profile: str, settings: CpeSettings, clock: Clock, *, started: float) -> Device:
    if profile == "linux" or profile.startswith("linux-"):
        from homeport.cpe.devices.linux.device import LinuxDevice

        return LinuxDevice(clock, directory=settings.directory)
    from homeport.cpe.devices.simulated import SimulatedDevice

    return SimulatedDevice(product_class=_PRODUCT_CLASSES.get(profile, ""), clock=clock, started=started)


_PRODUCT_CLASSES = {"dkt-797xx": "797xx"}
"""DKT's model has no ProductClass parameter, but an Inform names one."""
