"""One frozen class per RPC request and response, and per struct: the middle of "bytes -> message -> record".

Fields stand in the order of the XSD and carry its names in snake_case. Values of parameters and every dateTime stay the text that was
on the wire: `homeport.model.types` knows what they mean. Which element belongs to which class, and who may send it since which version,
is in `rpc_table`, not here. Lengths are the XSD's; `rpc_table` and the encoder hold to them.
Source: cwmp-1-0.xsd to cwmp-1-4.xsd.
"""

from functools import cached_property
from typing import ClassVar

from msgspec import Struct

from homeport.terms import UNKNOWN_TIME


class Message(Struct, frozen=True, gc=False):
    """Anything that a SOAP body can carry.

    element: the local name of its element in the SOAP body.
    """

    element: ClassVar[str] = ""


class Request(Message, frozen=True, gc=False):
    """A call of a method of the peer."""


class Response(Message, frozen=True, gc=False):
    """The answer to a request that succeeded; its element is the request's plus `Response`."""


class _Part(Struct, frozen=True, gc=False):
    """A struct inside a message."""


# --- structs ------------------------------------------------------------------------------------------------------------------


class ParameterValueStruct(_Part, frozen=True, gc=False):
    """name: full path, at most 256. value: the wire's text.

    type: local name of xsi:type; "" where the peer gave none, or one that the standard does not know. It is sent as `xsd:string` then.
    """

    name: str
    value: str = ""
    type: str = "string"


class ParameterInfoStruct(_Part, frozen=True, gc=False):
    """name: parameter path, or object path with its trailing dot. writable: settable, or AddObject/DeleteObject allowed."""

    name: str
    writable: bool


class SetParameterAttributesStruct(_Part, frozen=True, gc=False):
    """notification is used only with notification_change, access_list only with access_list_change."""

    name: str
    notification_change: bool = False
    notification: int = 0
    access_list_change: bool = False
    access_list: tuple[str, ...] = ()


class ParameterAttributeStruct(_Part, frozen=True, gc=False):
    name: str
    notification: int
    access_list: tuple[str, ...] = ()


class DeviceIdStruct(_Part, frozen=True, gc=False):
    """oui: six upper-case hex digits. product_class may be empty. Each other field at most 64."""

    manufacturer: str
    oui: str
    product_class: str
    serial_number: str


class EventStruct(_Part, frozen=True, gc=False):
    """command_key is that of the causing RPC for M events, empty for numbered events."""

    event_code: str
    command_key: str = ""


class FaultStruct(_Part, frozen=True, gc=False):
    """TransferCompleteFaultStruct and DeploymentUnitFaultStruct: fault_code 0 means success."""

    fault_code: int = 0
    fault_string: str = ""


class QueuedTransferStruct(_Part, frozen=True, gc=False):
    """state: 1 not started, 2 in progress, 3 completed."""

    command_key: str
    state: int


class AllQueuedTransferStruct(_Part, frozen=True, gc=False):
    command_key: str
    state: int
    is_download: bool
    file_type: str
    file_size: int
    target_file_name: str


class TimeWindowStruct(_Part, frozen=True, gc=False):
    """window_start, window_end: seconds after the request was received. window_mode: `1 At Any Time` and so on."""

    window_start: int
    window_end: int
    window_mode: str
    user_message: str = ""
    max_retries: int = 0


class InstallOpStruct(_Part, frozen=True, gc=False):
    url: str
    uuid: str = ""
    username: str = ""
    password: str = ""
    execution_env_ref: str = ""


class UpdateOpStruct(_Part, frozen=True, gc=False):
    uuid: str = ""
    version: str = ""
    url: str = ""
    username: str = ""
    password: str = ""


class UninstallOpStruct(_Part, frozen=True, gc=False):
    uuid: str
    version: str = ""
    execution_env_ref: str = ""


Operation = InstallOpStruct | UpdateOpStruct | UninstallOpStruct


class OpResultStruct(_Part, frozen=True, gc=False):
    """current_state: Installed, Uninstalled or Failed. execution_unit_ref_list: comma list of paths."""

    uuid: str
    deployment_unit_ref: str
    version: str
    current_state: str
    resolved: bool
    execution_unit_ref_list: str
    start_time: str
    complete_time: str
    fault: FaultStruct = FaultStruct()


class AutonOpResultStruct(OpResultStruct, frozen=True, gc=False):
    """operation_performed: Install, Update, Uninstall or a vendor's word."""

    operation_performed: str = ""


class ArgStruct(_Part, frozen=True, gc=False):
    name: str
    value: str


class OptionStruct(_Part, frozen=True, gc=False):
    option_name: str
    voucher_sn: int
    state: int
    mode: int
    start_date: str
    expiration_date: str | None = None
    is_transferable: int = 0


class SetParameterValuesFault(_Part, frozen=True, gc=False):
    parameter_name: str
    fault_code: int
    fault_string: str = ""


# --- methods of both ends -----------------------------------------------------------------------------------------------------


class GetRPCMethods(Request, frozen=True, gc=False):
    element: ClassVar[str] = "GetRPCMethods"


class GetRPCMethodsResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "GetRPCMethodsResponse"
    method_list: tuple[str, ...]


# --- CPE methods --------------------------------------------------------------------------------------------------------------


class SetParameterValues(Request, frozen=True, gc=False):
    element: ClassVar[str] = "SetParameterValues"
    parameter_list: tuple[ParameterValueStruct, ...]
    parameter_key: str = ""


class SetParameterValuesResponse(Response, frozen=True, gc=False):
    """status: 0 applied, 1 committed but not yet applied."""

    element: ClassVar[str] = "SetParameterValuesResponse"
    status: int = 0


class GetParameterValues(Request, frozen=True, gc=False):
    element: ClassVar[str] = "GetParameterValues"
    parameter_names: tuple[str, ...]


class GetParameterValuesResponse(Response, frozen=True, gc=True, dict=True):
    element: ClassVar[str] = "GetParameterValuesResponse"
    parameter_list: tuple[ParameterValueStruct, ...]

    @cached_property
    def columns(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """(names, values, types) of the rows, for who looks at all of them together."""
        rows = self.parameter_list
        return tuple([r.name for r in rows]), tuple([r.value for r in rows]), tuple([r.type for r in rows])


class GetParameterNames(Request, frozen=True, gc=False):
    element: ClassVar[str] = "GetParameterNames"
    parameter_path: str
    next_level: bool


class GetParameterNamesResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "GetParameterNamesResponse"
    parameter_list: tuple[ParameterInfoStruct, ...]


class SetParameterAttributes(Request, frozen=True, gc=False):
    element: ClassVar[str] = "SetParameterAttributes"
    parameter_list: tuple[SetParameterAttributesStruct, ...]


class SetParameterAttributesResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "SetParameterAttributesResponse"


class GetParameterAttributes(Request, frozen=True, gc=False):
    element: ClassVar[str] = "GetParameterAttributes"
    parameter_names: tuple[str, ...]


class GetParameterAttributesResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "GetParameterAttributesResponse"
    parameter_list: tuple[ParameterAttributeStruct, ...]


class AddObject(Request, frozen=True, gc=False):
    element: ClassVar[str] = "AddObject"
    object_name: str
    parameter_key: str = ""


class AddObjectResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "AddObjectResponse"
    instance_number: int
    status: int = 0


class DeleteObject(Request, frozen=True, gc=False):
    element: ClassVar[str] = "DeleteObject"
    object_name: str
    parameter_key: str = ""


class DeleteObjectResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "DeleteObjectResponse"
    status: int = 0


class Reboot(Request, frozen=True, gc=False):
    element: ClassVar[str] = "Reboot"
    command_key: str = ""


class RebootResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "RebootResponse"


class FactoryReset(Request, frozen=True, gc=False):
    element: ClassVar[str] = "FactoryReset"


class FactoryResetResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "FactoryResetResponse"


class Download(Request, frozen=True, gc=False):
    """file_size: bytes, 0 where unknown. delay_seconds: seconds after the request was received."""

    element: ClassVar[str] = "Download"
    command_key: str
    file_type: str
    url: str
    username: str = ""
    password: str = ""
    file_size: int = 0
    target_file_name: str = ""
    delay_seconds: int = 0
    success_url: str = ""
    failure_url: str = ""


class DownloadResponse(Response, frozen=True, gc=False):
    """status: 0 done and applied, 1 later (the times are then the unknown time)."""

    element: ClassVar[str] = "DownloadResponse"
    status: int = 1
    start_time: str = UNKNOWN_TIME
    complete_time: str = UNKNOWN_TIME


class Upload(Request, frozen=True, gc=False):
    element: ClassVar[str] = "Upload"
    command_key: str
    file_type: str
    url: str
    username: str = ""
    password: str = ""
    delay_seconds: int = 0


class UploadResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "UploadResponse"
    status: int = 1
    start_time: str = UNKNOWN_TIME
    complete_time: str = UNKNOWN_TIME


class ScheduleDownload(Request, frozen=True, gc=False):
    element: ClassVar[str] = "ScheduleDownload"
    command_key: str
    file_type: str
    url: str
    username: str = ""
    password: str = ""
    file_size: int = 0
    target_file_name: str = ""
    time_window_list: tuple[TimeWindowStruct, ...] = ()


class ScheduleDownloadResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "ScheduleDownloadResponse"


class CancelTransfer(Request, frozen=True, gc=False):
    element: ClassVar[str] = "CancelTransfer"
    command_key: str


class CancelTransferResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "CancelTransferResponse"


class GetQueuedTransfers(Request, frozen=True, gc=False):
    element: ClassVar[str] = "GetQueuedTransfers"


class GetQueuedTransfersResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "GetQueuedTransfersResponse"
    transfer_list: tuple[QueuedTransferStruct, ...] = ()


class GetAllQueuedTransfers(Request, frozen=True, gc=False):
    element: ClassVar[str] = "GetAllQueuedTransfers"


class GetAllQueuedTransfersResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "GetAllQueuedTransfersResponse"
    transfer_list: tuple[AllQueuedTransferStruct, ...] = ()


class ScheduleInform(Request, frozen=True, gc=False):
    """delay_seconds: at least 1; the CommandKey stands last in this one."""

    element: ClassVar[str] = "ScheduleInform"
    delay_seconds: int
    command_key: str = ""


class ScheduleInformResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "ScheduleInformResponse"


class ChangeDUState(Request, frozen=True, gc=False):
    """operations are plain repeated elements, not a SOAP array; the CommandKey stands last."""

    element: ClassVar[str] = "ChangeDUState"
    operations: tuple[Operation, ...]
    command_key: str = ""


class ChangeDUStateResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "ChangeDUStateResponse"


class SetVouchers(Request, frozen=True, gc=False):
    """voucher_list: base64 text of each voucher."""

    element: ClassVar[str] = "SetVouchers"
    voucher_list: tuple[str, ...]


class SetVouchersResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "SetVouchersResponse"


class GetOptions(Request, frozen=True, gc=False):
    element: ClassVar[str] = "GetOptions"
    option_name: str = ""


class GetOptionsResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "GetOptionsResponse"
    option_list: tuple[OptionStruct, ...] = ()


# --- ACS methods --------------------------------------------------------------------------------------------------------------


class Inform(Request, frozen=True, gc=False):
    """current_time: the CPE's own text. retry_count: unsuccessful attempts since the last success."""

    element: ClassVar[str] = "Inform"
    device_id: DeviceIdStruct
    event: tuple[EventStruct, ...]
    current_time: str
    retry_count: int = 0
    parameter_list: tuple[ParameterValueStruct, ...] = ()
    max_envelopes: int = 1


class InformResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "InformResponse"
    max_envelopes: int = 1


class TransferComplete(Request, frozen=True, gc=False):
    element: ClassVar[str] = "TransferComplete"
    command_key: str
    fault_struct: FaultStruct = FaultStruct()
    start_time: str = UNKNOWN_TIME
    complete_time: str = UNKNOWN_TIME


class TransferCompleteResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "TransferCompleteResponse"


class AutonomousTransferComplete(Request, frozen=True, gc=False):
    element: ClassVar[str] = "AutonomousTransferComplete"
    announce_url: str
    transfer_url: str
    is_download: bool
    file_type: str
    file_size: int = 0
    target_file_name: str = ""
    fault_struct: FaultStruct = FaultStruct()
    start_time: str = UNKNOWN_TIME
    complete_time: str = UNKNOWN_TIME


class AutonomousTransferCompleteResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "AutonomousTransferCompleteResponse"


class DUStateChangeComplete(Request, frozen=True, gc=False):
    """results stand in the order of the request's operations; the CommandKey stands last."""

    element: ClassVar[str] = "DUStateChangeComplete"
    results: tuple[OpResultStruct, ...]
    command_key: str = ""


class DUStateChangeCompleteResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "DUStateChangeCompleteResponse"


class AutonomousDUStateChangeComplete(Request, frozen=True, gc=False):
    element: ClassVar[str] = "AutonomousDUStateChangeComplete"
    results: tuple[AutonOpResultStruct, ...]


class AutonomousDUStateChangeCompleteResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "AutonomousDUStateChangeCompleteResponse"


class RequestDownload(Request, frozen=True, gc=False):
    element: ClassVar[str] = "RequestDownload"
    file_type: str
    file_type_arg: tuple[ArgStruct, ...] = ()


class RequestDownloadResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "RequestDownloadResponse"


class Kicked(Request, frozen=True, gc=False):
    element: ClassVar[str] = "Kicked"
    command: str
    referer: str = ""
    arg: str = ""
    next: str = ""


class KickedResponse(Response, frozen=True, gc=False):
    element: ClassVar[str] = "KickedResponse"
    next_url: str = ""


# --- what is not a method -----------------------------------------------------------------------------------------------------


class FaultMessage(Message, frozen=True, gc=False):
    """A SOAP fault with CWMP's detail, as an answer to a request.

    side: the SOAP faultcode, `Client` or `Server`. set_parameter_values_faults: only beside fault_code 9003 of SetParameterValues.
    """

    element: ClassVar[str] = "Fault"
    fault_code: int
    fault_string: str = ""
    set_parameter_values_faults: tuple[SetParameterValuesFault, ...] = ()
    side: str = "Server"


class VendorMessage(Message, frozen=True, gc=False):
    """A method that the table does not know: a vendor's `X_...`, or a misspelling. It passes through as opaque text.

    method: local name of the element. namespace: its URI, "" where it has none. xml: the element, canonical UTF-8 text.
    """

    method: str
    namespace: str = ""
    xml: str = ""
