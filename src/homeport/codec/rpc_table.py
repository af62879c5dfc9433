"""THE table: every method of CWMP with its classes, its elements, who may call it and since which version.

A program asks it for legality (`callers`, `since`, `required`); the reader and the writer are made from its fields. Nothing else in
Homeport repeats any of it.
Source: cwmp-1-0.xsd to cwmp-1-4.xsd for elements and versions; the requirement columns are partly (unverified).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from homeport.codec import messages as m
from homeport.codec.fields import Array, Field, Nested, Number, Repeated, Text
from homeport.codec.struct_table import (
    COUNT,
    DOWNLOAD_FILE_TYPE,
    KEY,
    LONG,
    MOMENT,
    NAME,
    NAMES,
    OBJECT_NAME,
    OPERATIONS,
    PARAMETER_VALUES,
    STATUS,
    TRANSFER_FILE_TYPE,
    TRUTH,
    UPLOAD_FILE_TYPE,
    URL_1024,
)
from homeport.terms import CwmpVersion, Role, RpcName

_ACS: Final = frozenset({Role.ACS})
_CPE: Final = frozenset({Role.CPE})


class RpcEntry(Struct, frozen=True):
    """One row.

    callers: who may send the request; the other end answers it.
    since:   the first CWMP version that has it.
    required: the end that answers must support it, whatever else it can do.
    deprecated: a new implementation need not call it.
    """

    name: RpcName
    request: type[m.Request]
    response: type[m.Response]
    callers: frozenset[Role]
    since: CwmpVersion
    required: bool
    request_fields: tuple[Field, ...] = ()
    response_fields: tuple[Field, ...] = ()
    deprecated: bool = False


_V10, _V11, _V12 = CwmpVersion.V1_0, CwmpVersion.V1_1, CwmpVersion.V1_2
_R = RpcName

_TRANSFER_STATUS: Final = (
    Field("Status", STATUS),
    Field("StartTime", MOMENT, lenient=True),
    Field("CompleteTime", MOMENT, lenient=True),
)
_STATUS_ONLY: Final = (Field("Status", STATUS, lenient=True),)
_OBJECT: Final = (Field("ObjectName", OBJECT_NAME), Field("ParameterKey", KEY))

_ROWS: Final = (
    RpcEntry(
        _R.GET_RPC_METHODS,
        m.GetRPCMethods,
        m.GetRPCMethodsResponse,
        _ACS | _CPE,
        _V10,
        True,
        (),
        (Field("MethodList", Array(Text(64, path=True), "string", "xsd:string", low=1)),),
    ),
    # CPE methods
    RpcEntry(
        _R.SET_PARAMETER_VALUES,
        m.SetParameterValues,
        m.SetParameterValuesResponse,
        _ACS,
        _V10,
        True,
        (Field("ParameterList", PARAMETER_VALUES), Field("ParameterKey", KEY)),
        _STATUS_ONLY,
    ),
    RpcEntry(
        _R.GET_PARAMETER_VALUES,
        m.GetParameterValues,
        m.GetParameterValuesResponse,
        _ACS,
        _V10,
        True,
        (Field("ParameterNames", NAMES),),
        (Field("ParameterList", PARAMETER_VALUES),),
    ),
    RpcEntry(
        _R.GET_PARAMETER_NAMES,
        m.GetParameterNames,
        m.GetParameterNamesResponse,
        _ACS,
        _V10,
        True,
        (Field("ParameterPath", NAME), Field("NextLevel", TRUTH)),
        (Field("ParameterList", Array(m.ParameterInfoStruct, "ParameterInfoStruct", "cwmp:ParameterInfoStruct")),),
    ),
    RpcEntry(
        _R.SET_PARAMETER_ATTRIBUTES,
        m.SetParameterAttributes,
        m.SetParameterAttributesResponse,
        _ACS,
        _V10,
        True,
        (
            Field(
                "ParameterList",
                Array(
                    m.SetParameterAttributesStruct,
                    "SetParameterAttributesStruct",
                    "cwmp:SetParameterAttributesStruct",
                    low=1,
                ),
            ),
        ),
    ),
    RpcEntry(
        _R.GET_PARAMETER_ATTRIBUTES,
        m.GetParameterAttributes,
        m.GetParameterAttributesResponse,
        _ACS,
        _V10,
        True,
        (Field("ParameterNames", NAMES),),
        (
            Field(
                "ParameterList",
                Array(m.ParameterAttributeStruct, "ParameterAttributeStruct", "cwmp:ParameterAttributeStruct"),
            ),
        ),
    ),
    RpcEntry(
        _R.ADD_OBJECT,
        m.AddObject,
        m.AddObjectResponse,
        _ACS,
        _V10,
        True,
        _OBJECT,
        (Field("InstanceNumber", Number(1)), Field("Status", STATUS, lenient=True)),
    ),
    RpcEntry(_R.DELETE_OBJECT, m.DeleteObject, m.DeleteObjectResponse, _ACS, _V10, True, _OBJECT, _STATUS_ONLY),
    RpcEntry(_R.REBOOT, m.Reboot, m.RebootResponse, _ACS, _V10, True, (Field("CommandKey", KEY),)),
    RpcEntry(
        _R.DOWNLOAD,
        m.Download,
        m.DownloadResponse,
        _ACS,
        _V10,
        False,
        (
            Field("CommandKey", KEY),
            Field("FileType", DOWNLOAD_FILE_TYPE),
            Field("URL", LONG),
            Field("Username", LONG),
            Field("Password", LONG),
            Field("FileSize", COUNT),
            Field("TargetFileName", LONG),
            Field("DelaySeconds", COUNT),
            Field("SuccessURL", LONG),
            Field("FailureURL", LONG),
        ),
        _TRANSFER_STATUS,
    ),
    RpcEntry(
        _R.SCHEDULE_DOWNLOAD,
        m.ScheduleDownload,
        m.ScheduleDownloadResponse,
        _ACS,
        _V12,
        False,
        (
            Field("CommandKey", KEY),
            Field("FileType", DOWNLOAD_FILE_TYPE),
            Field("URL", LONG),
            Field("Username", LONG),
            Field("Password", LONG),
            Field("FileSize", COUNT),
            Field("TargetFileName", LONG),
            Field("TimeWindowList", Array(m.TimeWindowStruct, "TimeWindowStruct", "cwmp:TimeWindowStruct", 1, 2)),
        ),
    ),
    RpcEntry(
        _R.UPLOAD,
        m.Upload,
        m.UploadResponse,
        _ACS,
        _V10,
        False,
        (
            Field("CommandKey", KEY),
            Field("FileType", UPLOAD_FILE_TYPE),
            Field("URL", LONG),
            Field("Username", LONG),
            Field("Password", LONG),
            Field("DelaySeconds", COUNT),
        ),
        _TRANSFER_STATUS,
    ),
    RpcEntry(_R.FACTORY_RESET, m.FactoryReset, m.FactoryResetResponse, _ACS, _V10, False),
    RpcEntry(
        _R.GET_QUEUED_TRANSFERS,
        m.GetQueuedTransfers,
        m.GetQueuedTransfersResponse,
        _ACS,
        _V10,
        False,
        (),
        (
            Field(
                "TransferList",
                Array(m.QueuedTransferStruct, "QueuedTransferStruct", "cwmp:QueuedTransferStruct", 0, 16),
            ),
        ),
        deprecated=True,
    ),
    RpcEntry(
        _R.GET_ALL_QUEUED_TRANSFERS,
        m.GetAllQueuedTransfers,
        m.GetAllQueuedTransfersResponse,
        _ACS,
        _V11,
        False,
        (),
        (
            Field(
                "TransferList",
                Array(m.AllQueuedTransferStruct, "AllQueuedTransferStruct", "cwmp:AllQueuedTransferStruct", 0, 16),
            ),
        ),
    ),
    RpcEntry(
        _R.CANCEL_TRANSFER,
        m.CancelTransfer,
        m.CancelTransferResponse,
        _ACS,
        _V12,
        False,
        (Field("CommandKey", KEY),),
    ),
    RpcEntry(
        _R.SCHEDULE_INFORM,
        m.ScheduleInform,
        m.ScheduleInformResponse,
        _ACS,
        _V10,
        False,
        (Field("DelaySeconds", COUNT), Field("CommandKey", KEY)),
    ),
    RpcEntry(
        _R.CHANGE_DU_STATE,
        m.ChangeDUState,
        m.ChangeDUStateResponse,
        _ACS,
        _V12,
        False,
        (Field("Operations", OPERATIONS), Field("CommandKey", KEY, optional=True)),
    ),
    RpcEntry(
        _R.SET_VOUCHERS,
        m.SetVouchers,
        m.SetVouchersResponse,
        _ACS,
        _V10,
        False,
        (Field("VoucherList", Array(Text(), "base64", "SOAP-ENC:base64", low=1)),),
        deprecated=True,
    ),
    RpcEntry(
        _R.GET_OPTIONS,
        m.GetOptions,
        m.GetOptionsResponse,
        _ACS,
        _V10,
        False,
        (Field("OptionName", Text(64)),),
        (Field("OptionList", Array(m.OptionStruct, "OptionStruct", "cwmp:OptionStruct")),),
        deprecated=True,
    ),
    # ACS methods
    RpcEntry(
        _R.INFORM,
        m.Inform,
        m.InformResponse,
        _CPE,
        _V10,
        True,
        (
            Field("DeviceId", Nested(m.DeviceIdStruct)),
            Field("Event", Array(m.EventStruct, "EventStruct", "cwmp:EventStruct", 0, 64), lenient=True),
            Field("MaxEnvelopes", COUNT, lenient=True),
            Field("CurrentTime", MOMENT, lenient=True),
            Field("RetryCount", COUNT, lenient=True),
            Field("ParameterList", PARAMETER_VALUES, lenient=True),
        ),
        (Field("MaxEnvelopes", COUNT, lenient=True),),
    ),
    RpcEntry(
        _R.TRANSFER_COMPLETE,
        m.TransferComplete,
        m.TransferCompleteResponse,
        _CPE,
        _V10,
        True,
        (
            Field("CommandKey", KEY),
            Field("FaultStruct", Nested(m.FaultStruct), lenient=True),
            Field("StartTime", MOMENT, lenient=True),
            Field("CompleteTime", MOMENT, lenient=True),
        ),
    ),
    RpcEntry(
        _R.AUTONOMOUS_TRANSFER_COMPLETE,
        m.AutonomousTransferComplete,
        m.AutonomousTransferCompleteResponse,
        _CPE,
        _V11,
        True,
        (
            Field("AnnounceURL", URL_1024),
            Field("TransferURL", URL_1024),
            Field("IsDownload", TRUTH),
            Field("FileType", TRANSFER_FILE_TYPE),
            Field("FileSize", COUNT, lenient=True),
            Field("TargetFileName", LONG, lenient=True),
            Field("FaultStruct", Nested(m.FaultStruct), lenient=True),
            Field("StartTime", MOMENT, lenient=True),
            Field("CompleteTime", MOMENT, lenient=True),
        ),
    ),
    RpcEntry(
        _R.DU_STATE_CHANGE_COMPLETE,
        m.DUStateChangeComplete,
        m.DUStateChangeCompleteResponse,
        _CPE,
        _V12,
        False,
        (
            Field("Results", Repeated({"OpResultStruct": m.OpResultStruct})),
            Field("CommandKey", KEY, optional=True),
        ),
    ),
    RpcEntry(
        _R.AUTONOMOUS_DU_STATE_CHANGE_COMPLETE,
        m.AutonomousDUStateChangeComplete,
        m.AutonomousDUStateChangeCompleteResponse,
        _CPE,
        _V12,
        False,
        (Field("Results", Repeated({"AutonOpResultStruct": m.AutonOpResultStruct})),),
    ),
    RpcEntry(
        _R.REQUEST_DOWNLOAD,
        m.RequestDownload,
        m.RequestDownloadResponse,
        _CPE,
        _V10,
        False,
        (
            Field("FileType", DOWNLOAD_FILE_TYPE),
            Field("FileTypeArg", Array(m.ArgStruct, "ArgStruct", "cwmp:ArgStruct", 0, 16)),
        ),
    ),
    RpcEntry(
        _R.KICKED,
        m.Kicked,
        m.KickedResponse,
        _CPE,
        _V10,
        False,
        (
            Field("Command", KEY),
            Field("Referer", Text(64)),
            Field("Arg", LONG),
            Field("Next", URL_1024),
        ),
        (Field("NextURL", URL_1024),),
        deprecated=True,
    ),
)

RPCS: Final[Mapping[str, RpcEntry]] = MappingProxyType({str(row.name): row for row in _ROWS})
"""Every method by the element of its request."""

CLASSES: Final[Mapping[str, type[m.Request | m.Response]]] = MappingProxyType(
    {cls.element: cls for row in _ROWS for cls in (row.request, row.response)}
)
"""Every message class by its element."""

FIELDS: Final[Mapping[type[Struct], tuple[Field, ...]]] = MappingProxyType(
    {row.request: row.request_fields for row in _ROWS} | {row.response: row.response_fields for row in _ROWS}
)
"""The fields of every message class."""

_BY_CLASS: Final[Mapping[type[m.Message], RpcEntry]] = {
    cls: row for row in _ROWS for cls in (row.request, row.response)
}


def entry_of(message: m.Message | type[m.Message]) -> RpcEntry | None:
    """The row of a request or response, or of its class; None for a fault or a vendor's message."""
    cls = message if isinstance(message, type) else type(message)
    return _BY_CLASS.get(cls)


def response_class(request: m.Message | type[m.Message]) -> type[m.Response] | None:
    """The class of the answer to a request; None where there is none (a vendor's method, or not a request)."""
    row = entry_of(request)
    cls = request if isinstance(request, type) else type(request)
    return row.response if row is not None and cls is row.request else None
