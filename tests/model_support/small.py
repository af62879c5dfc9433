"""A small hand-made model that has one of everything: tables of each kind, keys, references, hidden and command parameters."""

from homeport.model.schema import ActiveNotify, ObjectDef, ParameterDef, Schema
from homeport.model.tables import UniqueKey
from homeport.model.types import BOOLEAN, STRING, UNSIGNED_INT, Enumerated, Range, Reference, Syntax
from homeport.terms import ValueType

ALIAS = Syntax(ValueType.STRING, "Alias", sizes=((0, 64),))
ORDER = Syntax(ValueType.UNSIGNED_INT, "Order", ranges=(Range(1),))
STATUS = Syntax(ValueType.STRING, enumeration=(Enumerated("Down"), Enumerated("Up")))
MODE = Syntax(ValueType.STRING, enumeration=(Enumerated("InstanceNumber"), Enumerated("InstanceAlias")))
STATE = Syntax(
    ValueType.STRING,
    enumeration=(Enumerated("None", read_only=True), Enumerated("Requested"), Enumerated("Complete", read_only=True)),
)


def reference(*parents: str, strong: bool = True, many: bool = False) -> Syntax:
    """A pathRef to rows below the parents."""
    return Syntax(ValueType.STRING, is_list=many, reference=Reference(strong, parents, "row"))


def small_schema() -> Schema:
    """Device: DeviceInfo, ManagementServer, a growable Interface table with Address below, Route, Host (read-only), Slot (fixed)."""

    def p(name: str, syntax: Syntax = STRING, **more: object) -> ParameterDef:
        return ParameterDef(name, syntax, **more)  # type: ignore[arg-type]

    return Schema(
        "Device:9.9",
        [
            ObjectDef("Device.", parameters=[p("RootDataModelVersion", forced_inform=True)]),
            ObjectDef(
                "Device.DeviceInfo.",
                parameters=[
                    p("Manufacturer"),
                    p("SoftwareVersion", forced_inform=True, active_notify=ActiveNotify.FORCE_ENABLED),
                    p("ProvisioningCode", Syntax(ValueType.STRING, sizes=((0, 64),)), writable=True),
                    p("UpTime", UNSIGNED_INT, active_notify=ActiveNotify.CAN_DENY),
                ],
            ),
            ObjectDef(
                "Device.ManagementServer.",
                parameters=[
                    p("URL", Syntax(ValueType.STRING, sizes=((0, 256),)), writable=True),
                    p("Password", writable=True, hidden=True),
                    p("ParameterKey", Syntax(ValueType.STRING, sizes=((0, 32),)), forced_inform=True),
                    p("ConnectionRequestURL", active_notify=ActiveNotify.FORCE_DEFAULT_ENABLED),
                    p("PeriodicInformInterval", Syntax(ValueType.UNSIGNED_INT, ranges=(Range(1),)), writable=True),
                    p("PeriodicInformEnable", BOOLEAN, writable=True),
                    p("PeriodicInformTime", Syntax(ValueType.DATE_TIME), writable=True),
                    p("AliasBasedAddressing", BOOLEAN),
                    p("InstanceMode", MODE, writable=True),
                    p("AutoCreateInstances", BOOLEAN, writable=True),
                    p("InstanceWildcardsSupported", BOOLEAN),
                    p("Reset", BOOLEAN, writable=True, command=True),
                ],
            ),
            ObjectDef(
                "Device.Net.",
                parameters=[
                    p("InterfaceNumberOfEntries", UNSIGNED_INT),
                    p("RouteNumberOfEntries", UNSIGNED_INT),
                    p("HostNumberOfEntries", UNSIGNED_INT),
                    p("PingState", STATE, writable=True),
                ],
            ),
            ObjectDef(
                "Device.Net.Interface.{i}.",
                writable=True,
                maximum=4,
                count="InterfaceNumberOfEntries",
                keys=(UniqueKey(("Alias",), False),),
                parameters=[
                    p("Enable", BOOLEAN, writable=True, default_object="false"),
                    p("Status", STATUS),
                    p("Alias", ALIAS, writable=True),
                    p("MTU", Syntax(ValueType.UNSIGNED_INT, ranges=(Range(64, 1500),)), writable=True, default_object="1400"),
                    p("AddressNumberOfEntries", UNSIGNED_INT),
                ],
            ),
            ObjectDef(
                "Device.Net.Interface.{i}.Address.{i}.",
                writable=True,
                count="AddressNumberOfEntries",
                parameters=[p("IP", writable=True)],
            ),
            ObjectDef(
                "Device.Net.Route.{i}.",
                writable=True,
                count="RouteNumberOfEntries",
                enable="Enable",
                keys=(UniqueKey(("Alias",), False), UniqueKey(("Destination", "Metric"), True)),
                parameters=[
                    p("Enable", BOOLEAN, writable=True),
                    p("Alias", ALIAS, writable=True),
                    p("Order", ORDER, writable=True),
                    p("Destination", writable=True),
                    p("Metric", UNSIGNED_INT, writable=True),
                    p("Interface", reference("Device.Net.Interface."), writable=True),
                    p("Backups", reference("Device.Net.Interface.", many=True), writable=True),
                    p("Seen", reference("Device.Net.Interface.", strong=False), writable=True),
                ],
            ),
            ObjectDef("Device.Net.Host.{i}.", count="HostNumberOfEntries", parameters=[p("Name")]),
            ObjectDef("Device.Net.Slot.{i}.", minimum=2, maximum=2, parameters=[p("Name", writable=True)]),
        ],
    )  # fmt: skip


SCHEMA = small_schema()
