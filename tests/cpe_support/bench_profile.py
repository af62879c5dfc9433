"""A device model made by hand for tests of the agent: small, with parameters that DKT's device lacks."""

from functools import cache

from homeport.model.profile import ProfileDef
from homeport.model.schema import ActiveNotify, ObjectDef, ParameterDef, Schema
from homeport.model.types import Range, Syntax
from homeport.terms import ValueType

_TEXT = Syntax(ValueType.STRING)
_SECRET = Syntax(ValueType.STRING)
_FLAG = Syntax(ValueType.BOOLEAN)
_COUNT = Syntax(ValueType.UNSIGNED_INT)
_TIME = Syntax(ValueType.DATE_TIME)


def _positive(low: int, high: int | None = None) -> Syntax:
    return Syntax(ValueType.UNSIGNED_INT, ranges=(Range(low, high),))


def _reachable() -> list[ParameterDef]:
    """ManagementServer parameters of devices behind NAT and with lightweight notifications."""
    return [
        ParameterDef("UDPConnectionRequestAddress", _TEXT),
        ParameterDef("NATDetected", _FLAG),
        ParameterDef("STUNEnable", _FLAG, writable=True),
        ParameterDef("STUNServerAddress", _TEXT, writable=True),
        ParameterDef("STUNServerPort", _COUNT, writable=True),
        ParameterDef("STUNUsername", _TEXT, writable=True),
        ParameterDef("STUNPassword", _SECRET, writable=True, hidden=True),
        ParameterDef("STUNMaximumKeepAlivePeriod", Syntax(ValueType.INT), writable=True),
        ParameterDef("STUNMinimumKeepAlivePeriod", _COUNT, writable=True),
        ParameterDef("LightweightNotificationProtocolsUsed", _TEXT, writable=True),
        ParameterDef("LightweightNotificationTriggerInterval", _COUNT, writable=True),
        ParameterDef("LightweightNotificationTriggerTime", _TIME, writable=True),
        ParameterDef("UDPLightweightNotificationHost", _TEXT, writable=True),
        ParameterDef("UDPLightweightNotificationPort", _COUNT, writable=True),
        ParameterDef("HTTPCompression", _TEXT, writable=True),
    ]


@cache
def bench_profile(*, reachable: bool = False) -> ProfileDef:
    """Device. with DeviceInfo, ManagementServer and a table that rows can be added to.

    reachable: with the parameters of STUN and of lightweight notifications.
    """
    forced = {"forced_inform": True}
    schema = Schema(
        "Device:2.19",
        [
            ObjectDef("Device.", parameters=[ParameterDef("RootDataModelVersion", _TEXT, **forced)]),
            ObjectDef(
                "Device.DeviceInfo.",
                parameters=[
                    ParameterDef("Manufacturer", _TEXT),
                    ParameterDef("ManufacturerOUI", _TEXT),
                    ParameterDef("ProductClass", _TEXT),
                    ParameterDef("SerialNumber", _TEXT),
                    ParameterDef("HardwareVersion", _TEXT, **forced),
                    ParameterDef("SoftwareVersion", _TEXT, active_notify=ActiveNotify.FORCE_ENABLED, **forced),
                    ParameterDef(
                        "ProvisioningCode", _TEXT, writable=True, active_notify=ActiveNotify.FORCE_ENABLED, **forced
                    ),
                    ParameterDef("UpTime", _COUNT),
                ],
            ),
            ObjectDef(
                "Device.ManagementServer.",
                parameters=[
                    ParameterDef("EnableCWMP", _FLAG, writable=True),
                    ParameterDef("URL", _TEXT, writable=True),
                    ParameterDef("Username", _TEXT, writable=True),
                    ParameterDef("Password", _SECRET, writable=True, hidden=True),
                    ParameterDef("PeriodicInformEnable", _FLAG, writable=True),
                    ParameterDef("PeriodicInformInterval", _positive(1), writable=True),
                    ParameterDef("PeriodicInformTime", _TIME, writable=True),
                    ParameterDef("ParameterKey", _TEXT, **forced),
                    ParameterDef(
                        "ConnectionRequestURL", _TEXT, active_notify=ActiveNotify.FORCE_DEFAULT_ENABLED, **forced
                    ),
                    ParameterDef("ConnectionRequestUsername", _TEXT, writable=True),
                    ParameterDef("ConnectionRequestPassword", _SECRET, writable=True, hidden=True),
                    ParameterDef("HTTPConnectionRequestEnable", _FLAG, writable=True),
                    ParameterDef("DefaultActiveNotificationThrottle", _COUNT, writable=True),
                    ParameterDef("CWMPRetryMinimumWaitInterval", _positive(1, 65535), writable=True),
                    ParameterDef("CWMPRetryIntervalMultiplier", _positive(1000, 65535), writable=True),
                    *(_reachable() if reachable else []),
                ],
            ),
            ObjectDef(
                "Device.ManagementServer.HeartbeatPolicy.",
                parameters=[
                    ParameterDef("Enable", _FLAG, writable=True),
                    ParameterDef("ReportingInterval", _positive(30), writable=True),
                    ParameterDef("InitiationTime", _TIME, writable=True),
                ],
            ),
            ObjectDef(
                "Device.ManagementServer.StandbyPolicy.",
                parameters=[
                    ParameterDef("CRUnawarenessMaxDuration", Syntax(ValueType.INT), writable=True),
                    ParameterDef("MaxMissedPeriodic", Syntax(ValueType.INT), writable=True),
                    ParameterDef("NotifyMissedScheduled", _FLAG, writable=True),
                ],
            ),
            ObjectDef(
                "Device.ManagementServer.InformParameter.{i}.",
                writable=True,
                parameters=[
                    ParameterDef("Enable", _FLAG, writable=True),
                    ParameterDef("ParameterName", _TEXT, writable=True),
                    ParameterDef("EventList", _TEXT, writable=True),
                ],
            ),
            ObjectDef(
                "Device.WiFi.",
                parameters=[
                    ParameterDef("SSID", _TEXT, writable=True),
                    ParameterDef("Channel", _positive(1, 13), writable=True),
                ],
            ),
            ObjectDef(
                "Device.WiFi.Neighbour.{i}.",
                writable=True,
                maximum=3,
                parameters=[ParameterDef("Name", _TEXT, writable=True)],
            ),
        ],
    )
    server = "Device.ManagementServer."
    return ProfileDef(
        "bench",
        schema,
        tuple(p.path for p in schema.parameters()),
        values={
            "Device.DeviceInfo.Manufacturer": "Homeport",
            "Device.DeviceInfo.ManufacturerOUI": "00256D",
            "Device.DeviceInfo.ProductClass": "Bench",
            "Device.DeviceInfo.SerialNumber": "0001",
            "Device.DeviceInfo.HardwareVersion": "A",
            "Device.DeviceInfo.SoftwareVersion": "1.0",
            server + "EnableCWMP": "true",
            server + "URL": "http://factory.example/",
            server + "PeriodicInformEnable": "false",
            server + "PeriodicInformInterval": "300",
            server + "HTTPConnectionRequestEnable": "true",
            server + "CWMPRetryMinimumWaitInterval": "5",
            server + "CWMPRetryIntervalMultiplier": "2000",
            server + "HeartbeatPolicy.ReportingInterval": "30",
            server + "StandbyPolicy.CRUnawarenessMaxDuration": "-1",
            server + "StandbyPolicy.MaxMissedPeriodic": "-1",
            **({server + "STUNMaximumKeepAlivePeriod": "-1"} if reachable else {}),
            "Device.WiFi.SSID": "home",
            "Device.WiFi.Channel": "1",
        },
    )
