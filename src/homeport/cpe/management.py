"""The parameters that steer the agent itself, read from the data model with their meaning: ManagementServer and DeviceInfo.

A device need not have all of them (DKT's has neither EnableCWMP nor a notification throttle): what is missing has its standard default.
Source: TR-181 2.19 ManagementServer, DeviceInfo; TR-098 and TR-106 have the same names under their own root.
"""

from typing import Final

from homeport.codec.messages import DeviceIdStruct
from homeport.cpe.standby import NEVER, StandbyPolicy
from homeport.errors import Fault
from homeport.model.tree import DataModel
from homeport.terms import Writer

_TRUE: Final = frozenset({"1", "true"})


class Management:
    """A typed view of one data model."""

    def __init__(self, model: DataModel) -> None:
        self._model = model
        self.prefix = f"{model.root}ManagementServer."
        self.device_info = f"{model.root}DeviceInfo."

    def text(self, name: str, default: str = "") -> str:
        """A parameter of ManagementServer as text, hidden ones too; default where the device has no such parameter."""
        return self.value(self.prefix + name, default)

    def value(self, path: str, default: str = "") -> str:
        """Any parameter as text; default where the device has no such parameter."""
        try:
            return self._model.value(path, reveal=True)
        except Fault:
            return default

    def has(self, name: str) -> bool:
        """Whether the device has this parameter of ManagementServer."""
        try:
            self._model.value(self.prefix + name)
        except Fault:
            return False
        return True

    def set(self, name: str, value: str, writer: Writer = Writer.SYSTEM) -> bool:
        """Write a parameter of ManagementServer; False where the device has none of that name. Raises Fault for a bad value."""
        return self.set_path(self.prefix + name, value, writer)

    def set_path(self, path: str, value: str, writer: Writer = Writer.SYSTEM) -> bool:
        """Write any parameter where the device has it and its value differs; False where the device has no such parameter."""
        try:
            if self._model.value(path, reveal=True) == value:
                return True
        except Fault:
            return False
        self._model.set_local(path, value, writer=writer)
        return True

    @property
    def url(self) -> str:
        return self.text("URL")

    @property
    def username(self) -> str:
        return self.text("Username")

    @property
    def password(self) -> str:
        return self.text("Password")

    @property
    def enabled(self) -> bool:
        """EnableCWMP: without it no session is opened and no connection request accepted."""
        return self.text("EnableCWMP", "1") in _TRUE

    @property
    def periodic(self) -> tuple[bool, int, str]:
        """PeriodicInformEnable, PeriodicInformInterval (seconds, at least 1), PeriodicInformTime."""
        return (
            self.text("PeriodicInformEnable", "0") in _TRUE,
            max(0, _number(self.text("PeriodicInformInterval"), 0)) or 86400,
            self.text("PeriodicInformTime"),
        )

    @property
    def retry(self) -> tuple[int, int]:
        """CWMPRetryMinimumWaitInterval in seconds and CWMPRetryIntervalMultiplier in thousandths."""
        return (
            _number(self.text("CWMPRetryMinimumWaitInterval"), 5) or 5,
            _number(self.text("CWMPRetryIntervalMultiplier"), 2000) or 2000,
        )

    @property
    def throttle(self) -> int:
        """DefaultActiveNotificationThrottle, seconds."""
        return _number(self.text("DefaultActiveNotificationThrottle"), 0)

    @property
    def heartbeat(self) -> tuple[bool, int, str]:
        """HeartbeatPolicy: Enable, ReportingInterval (seconds, at least 30), InitiationTime."""
        return (
            self.text("HeartbeatPolicy.Enable", "0") in _TRUE,
            max(30, _number(self.text("HeartbeatPolicy.ReportingInterval"), 86400)),
            self.text("HeartbeatPolicy.InitiationTime"),
        )

    @property
    def standby(self) -> StandbyPolicy:
        """StandbyPolicy; a device without it tells of no standby."""
        return StandbyPolicy(
            _number(self.text("StandbyPolicy.CRUnawarenessMaxDuration"), NEVER),
            _number(self.text("StandbyPolicy.MaxMissedPeriodic"), NEVER),
            self.text("StandbyPolicy.NotifyMissedScheduled", "0") in _TRUE,
        )

    @property
    def http_connection_request_enabled(self) -> bool:
        return self.text("HTTPConnectionRequestEnable", "1") in _TRUE

    @property
    def connection_request_credentials(self) -> tuple[str, str]:
        return self.text("ConnectionRequestUsername"), self.text("ConnectionRequestPassword")

    def device_id(self, *, product_class: str) -> DeviceIdStruct:
        """The identity for an Inform. product_class: for devices whose model lacks that parameter."""
        return DeviceIdStruct(
            manufacturer=self.value(self.device_info + "Manufacturer"),
            oui=self.value(self.device_info + "ManufacturerOUI"),
            product_class=self.value(self.device_info + "ProductClass", product_class),
            serial_number=self.value(self.device_info + "SerialNumber"),
        )


def identifier(device: DeviceIdStruct) -> str:
    """`OUI-ProductClass-SerialNumber`, or `OUI-SerialNumber` where the product class is empty: how an ACS names the device."""
    return "-".join(part for part in (device.oui, device.product_class, device.serial_number) if part)


def _number(text: str, default: int) -> int:
    try:
        return int(text)
    except ValueError:
        return default
