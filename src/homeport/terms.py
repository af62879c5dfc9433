"""The standard's own words as enums: what TR-069, its XSDs and TR-106 name, under the names they use.

Nothing here knows bytes, paths, clocks or sockets. Facts that no published text confirmed are marked (unverified).
Source: TR-069 Amendment 6, cwmp-1-0.xsd to cwmp-1-4.xsd.
"""

from enum import Enum, IntEnum, StrEnum
from typing import Final

UNKNOWN_TIME: Final = "0001-01-01T00:00:00Z"
"""What a dateTime says when the time is not known (TR-106 3.2.2)."""

INFINITE_TIME: Final = "9999-12-31T23:59:59Z"
"""What a dateTime says for "never" (TR-106 3.2.2)."""


class Role(StrEnum):
    """The two ends of a session."""

    CPE = "cpe"
    ACS = "acs"

    @property
    def peer(self) -> "Role":
        """The other end."""
        return Role.ACS if self is Role.CPE else Role.CPE


class CwmpVersion(Enum):
    """A CWMP version; ordered, so that `version >= CwmpVersion.V1_2` reads as it should."""

    V1_0 = (1, 0)
    V1_1 = (1, 1)
    V1_2 = (1, 2)
    V1_3 = (1, 3)
    V1_4 = (1, 4)

    def __str__(self) -> str:
        return f"{self.value[0]}.{self.value[1]}"

    def __lt__(self, other: "CwmpVersion") -> bool:
        return bool(self.value < other.value)

    def __le__(self, other: "CwmpVersion") -> bool:
        return bool(self.value <= other.value)

    def __gt__(self, other: "CwmpVersion") -> bool:
        return bool(self.value > other.value)

    def __ge__(self, other: "CwmpVersion") -> bool:
        return bool(self.value >= other.value)

    @property
    def urn(self) -> str:
        """The namespace that this version uses on the wire; 1.2, 1.3 and 1.4 share one (cwmp-1-4.xsd)."""
        return f"urn:dslforum-org:cwmp-1-{min(self.value[1], 2)}"

    @classmethod
    def from_text(cls, text: str) -> "CwmpVersion | None":
        """The version that `1.2` names, or None where Homeport does not know it."""
        return _VERSION_BY_TEXT.get(text.strip())

    @classmethod
    def from_urn(cls, urn: str) -> "CwmpVersion | None":
        """The version that a namespace implies; the URNs cwmp-1-3 and cwmp-1-4 do not exist but are sent by devices."""
        return _VERSION_BY_URN.get(urn)


_VERSION_BY_TEXT: Final = {str(v): v for v in CwmpVersion}
_VERSION_BY_URN: Final = {f"urn:dslforum-org:cwmp-1-{v.value[1]}": v for v in CwmpVersion}


class RpcName(StrEnum):
    """Every method of CWMP, under its element name."""

    # CPE methods: the ACS calls them.
    GET_RPC_METHODS = "GetRPCMethods"
    SET_PARAMETER_VALUES = "SetParameterValues"
    GET_PARAMETER_VALUES = "GetParameterValues"
    GET_PARAMETER_NAMES = "GetParameterNames"
    SET_PARAMETER_ATTRIBUTES = "SetParameterAttributes"
    GET_PARAMETER_ATTRIBUTES = "GetParameterAttributes"
    ADD_OBJECT = "AddObject"
    DELETE_OBJECT = "DeleteObject"
    REBOOT = "Reboot"
    DOWNLOAD = "Download"
    SCHEDULE_DOWNLOAD = "ScheduleDownload"
    UPLOAD = "Upload"
    FACTORY_RESET = "FactoryReset"
    GET_QUEUED_TRANSFERS = "GetQueuedTransfers"
    GET_ALL_QUEUED_TRANSFERS = "GetAllQueuedTransfers"
    CANCEL_TRANSFER = "CancelTransfer"
    SCHEDULE_INFORM = "ScheduleInform"
    CHANGE_DU_STATE = "ChangeDUState"
    SET_VOUCHERS = "SetVouchers"
    GET_OPTIONS = "GetOptions"
    # ACS methods: the CPE calls them (GetRPCMethods goes both ways).
    INFORM = "Inform"
    TRANSFER_COMPLETE = "TransferComplete"
    AUTONOMOUS_TRANSFER_COMPLETE = "AutonomousTransferComplete"
    DU_STATE_CHANGE_COMPLETE = "DUStateChangeComplete"
    AUTONOMOUS_DU_STATE_CHANGE_COMPLETE = "AutonomousDUStateChangeComplete"
    REQUEST_DOWNLOAD = "RequestDownload"
    KICKED = "Kicked"


class FaultCode(IntEnum):
    """Fault codes of the CPE (9000 and up) and of the ACS (8000 and up)."""

    METHOD_NOT_SUPPORTED = 9000
    REQUEST_DENIED = 9001
    INTERNAL_ERROR = 9002
    INVALID_ARGUMENTS = 9003
    RESOURCES_EXCEEDED = 9004
    INVALID_PARAMETER_NAME = 9005
    INVALID_PARAMETER_TYPE = 9006
    INVALID_PARAMETER_VALUE = 9007
    NOT_WRITABLE = 9008
    NOTIFICATION_REJECTED = 9009
    DOWNLOAD_FAILURE = 9010
    UPLOAD_FAILURE = 9011
    FILE_SERVER_AUTHENTICATION = 9012
    UNSUPPORTED_PROTOCOL = 9013
    MULTICAST_JOIN_FAILURE = 9014
    FILE_SERVER_UNREACHABLE = 9015
    FILE_INACCESSIBLE = 9016
    DOWNLOAD_INCOMPLETE = 9017
    FILE_CORRUPTED = 9018
    FILE_AUTHENTICATION = 9019
    WINDOW_MISSED = 9020
    CANCEL_NOT_PERMITTED = 9021
    INVALID_UUID = 9022
    UNKNOWN_EXECUTION_ENVIRONMENT = 9023
    DISABLED_EXECUTION_ENVIRONMENT = 9024
    DEPLOYMENT_UNIT_MISMATCH = 9025
    DUPLICATE_DEPLOYMENT_UNIT = 9026
    SYSTEM_RESOURCES_EXCEEDED = 9027
    UNKNOWN_DEPLOYMENT_UNIT = 9028
    INVALID_DEPLOYMENT_UNIT_STATE = 9029
    DOWNGRADE_NOT_PERMITTED = 9030
    VERSION_NOT_SPECIFIED = 9031
    VERSION_EXISTS = 9032

    ACS_METHOD_NOT_SUPPORTED = 8000
    ACS_REQUEST_DENIED = 8001
    ACS_INTERNAL_ERROR = 8002
    ACS_INVALID_ARGUMENTS = 8003
    ACS_RESOURCES_EXCEEDED = 8004
    ACS_RETRY_REQUEST = 8005
    ACS_VERSION_INCOMPATIBLE = 8006

    @property
    def text(self) -> str:
        """A short FaultString for this code, in our own words."""
        return _FAULT_TEXT[self]

    @property
    def side(self) -> str:
        """`Client` where the caller made the mistake, else `Server`: the SOAP faultcode that goes with this code."""
        return "Client" if self in _CLIENT_FAULTS else "Server"


_CLIENT_FAULTS: Final = frozenset({9003, 9005, 9006, 9007, 9008, 9020, 9021, 8003})

_FAULT_TEXT: Final[dict[int, str]] = {
    9000: "Method not supported",
    9001: "Request denied",
    9002: "Internal error",
    9003: "Invalid arguments",
    9004: "Resources exceeded",
    9005: "Invalid parameter name",
    9006: "Invalid parameter type",
    9007: "Invalid parameter value",
    9008: "Parameter is not writable",
    9009: "Notification request rejected",
    9010: "File transfer failure",
    9011: "Upload failure",
    9012: "File server refused the credentials",
    9013: "Protocol not supported for file transfer",
    9014: "Cannot join the multicast group",
    9015: "Cannot contact the file server",
    9016: "Cannot access the file",
    9017: "Cannot complete the download",
    9018: "File is corrupted or unusable",
    9019: "File signature not accepted",
    9020: "Cannot complete within the time windows",
    9021: "Transfer cannot be cancelled now",
    9022: "Invalid UUID format",
    9023: "Unknown execution environment",
    9024: "Execution environment is disabled",
    9025: "Deployment unit does not fit the execution environment",
    9026: "Duplicate deployment unit",
    9027: "System resources exceeded",
    9028: "Unknown deployment unit",
    9029: "Invalid deployment unit state",
    9030: "Downgrade not permitted",
    9031: "Version not specified",
    9032: "Version already exists",
    8000: "Method not supported",
    8001: "Request denied",
    8002: "Internal error",
    8003: "Invalid arguments",
    8004: "Resources exceeded",
    8005: "Retry request",
    8006: "CWMP version not supported",
}


class EventCode(StrEnum):
    """Event codes of Inform (TR-069a6 3.7.1.5)."""

    BOOTSTRAP = "0 BOOTSTRAP"
    BOOT = "1 BOOT"
    PERIODIC = "2 PERIODIC"
    SCHEDULED = "3 SCHEDULED"
    VALUE_CHANGE = "4 VALUE CHANGE"
    KICKED = "5 KICKED"
    CONNECTION_REQUEST = "6 CONNECTION REQUEST"
    TRANSFER_COMPLETE = "7 TRANSFER COMPLETE"
    DIAGNOSTICS_COMPLETE = "8 DIAGNOSTICS COMPLETE"
    REQUEST_DOWNLOAD = "9 REQUEST DOWNLOAD"
    AUTONOMOUS_TRANSFER_COMPLETE = "10 AUTONOMOUS TRANSFER COMPLETE"
    DU_STATE_CHANGE_COMPLETE = "11 DU STATE CHANGE COMPLETE"
    AUTONOMOUS_DU_STATE_CHANGE_COMPLETE = "12 AUTONOMOUS DU STATE CHANGE COMPLETE"
    WAKEUP = "13 WAKEUP"
    HEARTBEAT = "14 HEARTBEAT"
    M_REBOOT = "M Reboot"
    M_SCHEDULE_INFORM = "M ScheduleInform"
    M_DOWNLOAD = "M Download"
    M_SCHEDULE_DOWNLOAD = "M ScheduleDownload"
    M_UPLOAD = "M Upload"
    M_CHANGE_DU_STATE = "M ChangeDUState"


class Notification(IntEnum):
    """The notification attribute; 3 to 6 need CWMP 1.4 and lightweight notifications."""

    OFF = 0
    PASSIVE = 1
    ACTIVE = 2
    PASSIVE_LIGHTWEIGHT = 3
    PASSIVE_AND_PASSIVE_LIGHTWEIGHT = 4
    ACTIVE_LIGHTWEIGHT = 5
    PASSIVE_AND_ACTIVE_LIGHTWEIGHT = 6


class ValueType(StrEnum):
    """The types a ParameterValueStruct's Value is sent as; the text is the local name of its xsi:type."""

    STRING = "string"
    INT = "int"
    LONG = "long"
    UNSIGNED_INT = "unsignedInt"
    UNSIGNED_LONG = "unsignedLong"
    BOOLEAN = "boolean"
    DATE_TIME = "dateTime"
    BASE64 = "base64Binary"
    HEX_BINARY = "hexBinary"
    DECIMAL = "decimal"


class FileType(StrEnum):
    """File types of Download (vendor types `X <OUI> ...` are plain text)."""

    FIRMWARE = "1 Firmware Upgrade Image"
    WEB_CONTENT = "2 Web Content"
    VENDOR_CONFIGURATION = "3 Vendor Configuration File"
    TONE = "4 Tone File"
    RINGER = "5 Ringer File"
    STORED_FIRMWARE = "6 Stored Firmware Image"


class Writer(StrEnum):
    """Who changes a value: only changes that the ACS did not make itself are reported to it."""

    ACS = "acs"
    LOCAL = "local"  # a person at the device: command line, web page
    SYSTEM = "system"  # the device itself: drivers, DHCP, timers
