"""The refusal that still knows who asked what: enough for a SOAP fault with the right ID."""

from homeport.errors import RemoteProtocolError
from homeport.terms import FaultCode


class InvalidMessage(RemoteProtocolError):
    """A legible envelope whose content breaks the protocol: a SOAP fault can answer it.

    id, urn: of the envelope, for the answer. method: the element in the body, "" where there is none.
    fault_code is that of a CPE (9000 and up); an ACS answers with its own of the same meaning.
    """

    def __init__(
        self,
        message: str,
        *,
        fault_code: FaultCode | None = FaultCode.INVALID_ARGUMENTS,
        http_status: int = 400,
        id: str | None = None,
        urn: str = "",
        method: str = "",
    ) -> None:
        super().__init__(message, http_status=http_status, fault_code=fault_code)
        self.id = id
        self.urn = urn
        self.method = method
