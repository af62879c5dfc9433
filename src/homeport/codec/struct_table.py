"""The fields of every struct inside a message, in the order of the XSD.

Source: cwmp-1-0.xsd to cwmp-1-4.xsd; what the versions differ in (longer enumerations, wider patterns) is given in the newest form.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from homeport.codec import messages as m
from homeport.codec.fields import I32, Array, Field, Flag, Nested, Number, Repeated, Text, Time

NAME: Final = Text(256, path=True)
KEY: Final = Text(32)
EVENT_CODE: Final = Text(64, r"[0-9]+( \S+)+|M \S+|X \S+ .+")
DOWNLOAD_FILE_TYPE: Final = Text(64, r"[1-9][0-9]*( \S+)+|X \S+ .+")
UPLOAD_FILE_TYPE: Final = Text(64, r"[1-9][0-9]*( \S+)+|X \S+ .+")
TRANSFER_FILE_TYPE: Final = Text(64, r"[1-9][0-9]*( \S+)+|X \S+ .+")
OBJECT_NAME: Final = Text(256, r".*\.", path=True)
UUID: Final = Text(36, r"[A-Fa-f0-9]{8}(-[A-Fa-f0-9]{4}){3}-[A-Fa-f0-9]{12}")
ANY_TEXT: Final = Text()
LONG: Final = Text(256)
URL_1024: Final = Text(1024)
COUNT: Final = Number()
TRUTH: Final = Flag()
MOMENT: Final = Time()
STATUS: Final = Number(0, 1, (0, 1))
NOTIFICATION: Final = Number(-I32 - 1, I32, (0, 1, 2, 3, 4, 5, 6))
TRANSFER_STATE: Final = Number(-I32 - 1, I32, (1, 2, 3))

PARAMETER_VALUES: Final = Array(m.ParameterValueStruct, "ParameterValueStruct", "cwmp:ParameterValueStruct")
NAMES: Final = Array(NAME, "string", "xsd:string", low=1)
ACCESS_LIST: Final = Array(Text(64), "string", "xsd:string")

_OP_RESULT: Final = (
    Field("UUID", UUID),
    Field("DeploymentUnitRef", ANY_TEXT),
    Field("Version", KEY),
    Field("CurrentState", Text(None, "Installed|Uninstalled|Failed")),
    Field("Resolved", TRUTH),
    Field("ExecutionUnitRefList", ANY_TEXT),
    Field("StartTime", MOMENT, lenient=True),
    Field("CompleteTime", MOMENT, lenient=True),
    Field("Fault", Nested(m.FaultStruct, may_lack=("FaultString",)), lenient=True),
)

STRUCTS: Final[Mapping[type[Struct], tuple[Field, ...]]] = MappingProxyType(
    {
        m.ParameterValueStruct: (Field("Name", NAME), Field("Value", ANY_TEXT, lenient=True)),
        m.ParameterInfoStruct: (Field("Name", NAME), Field("Writable", TRUTH)),
        m.SetParameterAttributesStruct: (
            Field("Name", NAME),
            Field("NotificationChange", TRUTH),
            Field("Notification", NOTIFICATION),
            Field("AccessListChange", TRUTH),
            Field("AccessList", ACCESS_LIST, lenient=True),
        ),
        m.ParameterAttributeStruct: (
            Field("Name", NAME),
            Field("Notification", NOTIFICATION),
            Field("AccessList", ACCESS_LIST, lenient=True),
        ),
        m.DeviceIdStruct: (
            Field("Manufacturer", Text(64), lenient=True),
            Field("OUI", Text(6, "[0-9A-F]{6}")),
            Field("ProductClass", Text(64), lenient=True),
            Field("SerialNumber", Text(64)),
        ),
        m.EventStruct: (Field("EventCode", EVENT_CODE), Field("CommandKey", KEY, lenient=True)),
        m.FaultStruct: (Field("FaultCode", COUNT), Field("FaultString", LONG, lenient=True)),
        m.QueuedTransferStruct: (Field("CommandKey", KEY), Field("State", TRANSFER_STATE)),
        m.AllQueuedTransferStruct: (
            Field("CommandKey", KEY),
            Field("State", TRANSFER_STATE),
            Field("IsDownload", TRUTH),
            Field("FileType", TRANSFER_FILE_TYPE),
            Field("FileSize", COUNT),
            Field("TargetFileName", LONG),
        ),
        m.TimeWindowStruct: (
            Field("WindowStart", COUNT),
            Field("WindowEnd", COUNT),
            Field("WindowMode", Text(64, r"[1-9][0-9]*( \S+)+|X \S+ .+")),
            Field("UserMessage", LONG),
            Field("MaxRetries", Number(-I32 - 1, I32)),
        ),
        m.InstallOpStruct: (
            Field("URL", URL_1024),
            Field("UUID", UUID, optional=True),
            Field("Username", LONG, optional=True),
            Field("Password", LONG, optional=True),
            Field("ExecutionEnvRef", LONG, optional=True),
        ),
        m.UpdateOpStruct: (
            Field("UUID", UUID, optional=True),
            Field("Version", KEY, optional=True),
            Field("URL", URL_1024, optional=True),
            Field("Username", LONG, optional=True),
            Field("Password", LONG, optional=True),
        ),
        m.UninstallOpStruct: (
            Field("UUID", UUID),
            Field("Version", KEY, optional=True),
            Field("ExecutionEnvRef", LONG, optional=True),
        ),
        m.OpResultStruct: _OP_RESULT,
        m.AutonOpResultStruct: (*_OP_RESULT, Field("OperationPerformed", Text(64))),
        m.ArgStruct: (Field("Name", Text(64)), Field("Value", LONG)),
        m.OptionStruct: (
            Field("OptionName", Text(64)),
            Field("VoucherSN", COUNT),
            Field("State", Number(0, 3, (0, 1, 2, 3))),
            Field("Mode", Number(0, 2, (0, 1, 2))),
            Field("StartDate", MOMENT),
            Field("ExpirationDate", MOMENT, optional=True),
            Field("IsTransferable", Number(0, 1, (0, 1))),
        ),
        m.SetParameterValuesFault: (
            Field("ParameterName", ANY_TEXT),
            Field("FaultCode", COUNT),
            Field("FaultString", ANY_TEXT, optional=True),
        ),
    }
)

OPERATIONS: Final = Repeated(
    {
        "InstallOpStruct": m.InstallOpStruct,
        "UpdateOpStruct": m.UpdateOpStruct,
        "UninstallOpStruct": m.UninstallOpStruct,
    },
    typed=True,
)
