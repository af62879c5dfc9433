"""The load balancer's side of the PROXY protocol in tests: connections that begin with a header, in the clear or before TLS."""

import asyncio
import ssl
import struct
from ipaddress import ip_address
from urllib.parse import urlsplit

from homeport.http.proxy_protocol import SIGNATURE
from support.acs_wire import Connection

LOCAL = SIGNATURE + b"\x20\0\0\0"
UNKNOWN = b"PROXY UNKNOWN\r\n"


def binary(host: str, port: int, notes: bytes = b"") -> bytes:
    """A header of version 2 for a connection from there."""
    source = ip_address(host)
    family, own = (0x11, ip_address("192.0.2.1")) if source.version == 4 else (0x21, ip_address("2001:db8::1"))
    rest = source.packed + own.packed + struct.pack("!HH", port, 7547) + notes
    return SIGNATURE + struct.pack("!BBH", 0x21, family, len(rest)) + rest


def text(host: str, port: int) -> bytes:
    """A header of version 1 for a connection from there."""
    four = ip_address(host).version == 4
    return (
        f"PROXY {'TCP4 ' if four else 'TCP6 '}{host} {'192.0.2.1' if four else '2001:db8::1'} {port} 7547\r\n".encode()
    )


async def announced(url: str, header: bytes, *, tls: ssl.SSLContext | None = None) -> Connection:
    """A connection that begins with these bytes, then with TLS where a context is given."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(header)
    if tls is not None:
        await writer.start_tls(tls)
    return Connection(reader, writer, parts.netloc)


def hello_and_header(tls: ssl.SSLContext, header: bytes) -> tuple[bytes, ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    """The header and the beginning of a TLS connection in one piece; and the TLS connection with its two ends."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    spoken = tls.wrap_bio(incoming, outgoing)
    try:
        spoken.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return header + outgoing.read(), spoken, incoming, outgoing
