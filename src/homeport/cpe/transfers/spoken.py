"""A report in the words that an older ACS knows: fault codes that came with a later CWMP version than the one that is spoken.

A report is owed for as long as it takes, and by then the device may speak to another ACS: it is put into words when it is sent.
Source: TransferCompleteCPEFaultCodeType of cwmp-1-1.xsd and cwmp-1-2.xsd, the enumeration of cwmp-1-0.xsd.
"""

from typing import Final

import msgspec

from homeport.codec.messages import AutonomousTransferComplete, Request, TransferComplete
from homeport.terms import CwmpVersion, FaultCode

_SINCE: Final = (
    (range(FaultCode.MULTICAST_JOIN_FAILURE, FaultCode.FILE_AUTHENTICATION + 1), CwmpVersion.V1_1),
    (range(FaultCode.WINDOW_MISSED, FaultCode.WINDOW_MISSED + 1), CwmpVersion.V1_2),
)


def in_words_of(request: Request, version: CwmpVersion, *, upload: bool = False) -> Request:
    """The request as a peer of that version understands it; itself where nothing in it is newer. upload: what the report is about."""
    if not isinstance(request, TransferComplete | AutonomousTransferComplete):
        return request
    code = request.fault_struct.fault_code
    if not any(code in codes and version < since for codes, since in _SINCE):
        return request
    known = FaultCode.UPLOAD_FAILURE if upload else FaultCode.DOWNLOAD_FAILURE
    fault = msgspec.structs.replace(request.fault_struct, fault_code=int(known))
    return msgspec.structs.replace(request, fault_struct=fault)
