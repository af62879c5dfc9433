"""Bytes to messages and back: the only room that knows an XML element or a namespace."""

from homeport.codec.envelope import Envelope, decode, encode
from homeport.codec.limits import DEFAULT_LIMITS, CodecLimits
from homeport.codec.quirks import Quirk
from homeport.codec.rpc_table import RPCS, RpcEntry, entry_of, response_class
from homeport.codec.xml_write import DEFAULT_STYLE, WireStyle

__all__ = [
    "Envelope",
    "decode",
    "encode",
    "CodecLimits",
    "DEFAULT_LIMITS",
    "Quirk",
    "RPCS",
    "RpcEntry",
    "entry_of",
    "response_class",
    "WireStyle",
    "DEFAULT_STYLE",
]
