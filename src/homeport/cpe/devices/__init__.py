"""What gives parameters a life on a device: plain functions, registered on the data model. One module per kind of device."""

from homeport.cpe.devices.device import Device, PluggedDevice, close_device, device_for

__all__ = ["Device", "PluggedDevice", "close_device", "device_for"]
