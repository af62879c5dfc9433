"""Homeport's errors. The class says whose fault it is; the message is the fact, the path or id, and the cure.

Foreign errors are translated into these once, at the rim. Raising a `Fault` is choosing the code on the wire.
"""

from dataclasses import dataclass

from homeport.terms import FaultCode


class HomeportError(Exception):
    """The root of all that Homeport raises on purpose."""


class ProtocolError(HomeportError):
    """Somebody broke the protocol."""


class LocalProtocolError(ProtocolError):
    """Our own caller asked for something that the protocol does not allow now: a bug on this side."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something that the protocol does not allow now, or that cannot be read.

    http_status: what an ACS answers with (a CPE ends its session instead).
    fault_code:  where a SOAP fault is the better answer than a bare status; None otherwise.
    """

    def __init__(self, message: str, *, http_status: int = 400, fault_code: FaultCode | None = None) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.fault_code = fault_code


class MessageRefused(RemoteProtocolError):
    """A body that is not a message: not XML, not SOAP, with a DTD, too deep, too large, wrongly compressed."""


@dataclass(frozen=True, slots=True)
class ParameterFault:
    """One parameter's part in a SetParameterValues fault.

    name: the full path as the request spelled it. code: 9001, 9002 or 9005 to 9008.
    """

    name: str
    code: FaultCode
    text: str


class Fault(HomeportError):
    """An answer on the wire: a CWMP fault with its code.

    parameters: only for SetParameterValues, one entry per refused parameter; the outer code is then 9003.
    """

    def __init__(self, code: FaultCode, text: str = "", parameters: tuple[ParameterFault, ...] = ()) -> None:
        super().__init__(f"{int(code)} {text or code.text}")
        self.code = code
        self.text = text or code.text
        self.parameters = parameters


class TransportError(HomeportError):
    """Bytes could not be carried: name lookup, connection, TLS, time limit, broken HTTP.

    kind: one word for status pages and counters: dns, refused, timeout, tls, closed, http, auth, redirect, proxy.
    """

    def __init__(self, message: str, *, kind: str = "transport") -> None:
        super().__init__(message)
        self.kind = kind


class StoreError(HomeportError):
    """The database or the state directory did not take or give a fact."""


class StoreUnavailable(StoreError):
    """The store does not work now (full disk, lost connection) but may again: answer 503 and try later."""


class ConfigError(HomeportError):
    """A setting is missing or wrong; the message names the setting and an example that works."""
