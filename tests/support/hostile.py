"""Hostile and broken input for the ACS's CWMP port: bodies, bytes that are no HTTP, compressed bodies."""

import gzip
import zlib

from homeport.codec.envelope import Envelope, encode
from homeport.codec.messages import FaultMessage, Kicked, RebootResponse, TransferComplete
from support.acs_wire import an_inform

GOOD = encode(Envelope(body=an_inform("S9"), id="1"))
SOAP = (
    '<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/" xmlns:cwmp="urn:dslforum-org:cwmp-1-0">'
    "<SOAP-ENV:Body>{}</SOAP-ENV:Body></SOAP-ENV:Envelope>"
)
BOMB = (
    '<!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>"
)

BODIES: dict[str, bytes] = {
    "not-xml": b"hello",
    "cut": GOOD[: len(GOOD) // 2],
    "zeros": b"\0" * 1000,
    "random-bytes": bytes(range(256)) * 8,
    "json": b'{"Inform": true}',
    "html": b"<html><body>hi</body></html>",
    "not-soap": b"<Envelope><Nothing/></Envelope>",
    "empty-envelope-body": SOAP.format("").encode(),
    "two-messages": SOAP.format("<cwmp:GetRPCMethods/><cwmp:GetRPCMethods/>").encode(),
    "inform-without-device": SOAP.format("<cwmp:Inform><RetryCount>0</RetryCount></cwmp:Inform>").encode(),
    "inform-with-words-for-numbers": GOOD.replace(b"<RetryCount>0<", b"<RetryCount>zero<"),
    "wrong-serial-length": GOOD.replace(b">S9<", b">" + b"S" * 5000 + b"<"),
    "dtd": b'<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">' + GOOD,
    "entity-bomb": BOMB.encode() + GOOD.replace(b">S9<", b">&i;<"),
    "external-entity": b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + GOOD.replace(b">S9<", b">&e;<"),
    "parameter-entity": b'<!DOCTYPE x [<!ENTITY % e SYSTEM "file:///etc/passwd"> %e;]>' + GOOD,
    "deep": b"<a>" * 50_000,
    "deep-in-soap": SOAP.format("<cwmp:Inform>" + "<a>" * 5_000 + "</a>" * 5_000 + "</cwmp:Inform>").encode(),
    "many-attributes": SOAP.format("<cwmp:Inform " + " ".join(f'a{i}="1"' for i in range(5000)) + "/>").encode(),
    "many-elements": SOAP.format("<cwmp:Inform>" + "<a/>" * 210_000 + "</cwmp:Inform>").encode(),
    "no-serial": GOOD.replace(b">S9<", b"><"),
    "response-first": encode(Envelope(body=RebootResponse(), id="1")),
    "fault-first": encode(Envelope(body=FaultMessage(9000, "x"), id="1")),
    "request-first": encode(Envelope(body=TransferComplete("k"), id="1")),
    "kicked-first": encode(Envelope(body=Kicked("a"), id="1")),
}

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
RAW: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "not-http": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100, (400,)),
    "garbage": (b"garbage\r\n\r\n", (400,)),
    "get": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", (405,)),
    "put": (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", (405,)),
    "delete": (b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", (405,)),
    "options": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", (405,)),
    "connect": (b"CONNECT example.com:80 HTTP/1.1\r\nHost: x\r\n\r\n", (400, 405)),
    "upgrade": (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        (400, 405),
    ),
    "http2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,)),
    "length-not-a-number": (HEAD + b"Content-Length: many\r\n\r\n", (400,)),
    "negative-length": (HEAD + b"Content-Length: -1\r\n\r\n", (400,)),
    "two-lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", (400,)),
    "length-and-chunked": (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400,)),
    "bad-chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", (400,)),
    "enormous-length": (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", (400, 413)),
    "over-the-limit": (HEAD + b"Content-Length: 1048577\r\n\r\n", (413,)),
    "chunked-over-the-limit": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 17,
        (413,),
    ),
    "long-header": (HEAD + b"X-Long: " + b"x" * 20_000 + b"\r\n\r\n", (431, 400)),
    "endless-header": (HEAD + b"X-Long: " + b"x" * 70_000, (431, 400)),
    "many-headers": (HEAD + b"".join(b"X-%d: 1\r\n" % i for i in range(500)) + b"\r\n", (431,)),
    "long-target": (b"POST /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", (414, 431, 400)),
    "bare-line-feeds-and-nulls": (b"POST / HTTP/1.1\nHost: x\0\n\n", (400,)),
}

COMPRESSED: dict[str, tuple[str, bytes, int]] = {
    "gzip": ("gzip", gzip.compress(GOOD), 200),
    "deflate": ("deflate", zlib.compress(GOOD), 200),
    "bomb": ("gzip", gzip.compress(b"x" * 50_000_000), 413),
    "cut": ("gzip", gzip.compress(GOOD)[:-10], 400),
    "plain-called-gzip": ("gzip", GOOD, 400),
    "br": ("br", GOOD, 415),
    "compress": ("compress", GOOD, 415),
    "thrice": ("gzip, gzip, gzip", GOOD, 400),
}
"""Encoding, body, status."""
