"""An atheris target for what parses HTTP headers: Digest, Basic, cookies, header blocks, content codings.

    python tests/fuzz/fuzz_http.py [-atheris options] [CORPUS_DIR]

Any bytes are read or refused with a Homeport error, in time, and what is given back can stand in a header.
"""

import sys
import tempfile
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["homeport.http", "homeport.acs.endpoint.cookies"]):
    from homeport.acs.endpoint.cookies import MOST_GIVEN, given
    from homeport.http.auth import basic_credentials, parse_challenges, parse_credentials
    from homeport.http.compression import decompress
    from homeport.http.cookies import CookieJar
    from homeport.http.digest import DigestAuthority, DigestClient, says_stale
    from homeport.http.headers import end_of_head, parse_head, parse_status
    from homeport.http.limits import HttpLimits
    from homeport.http.proxy_protocol import LONGEST, HeaderReader
    from homeport.http.redirects import follow, parse_url
from homeport.errors import ProtocolError, TransportError

SECONDS_PER_KB = 0.05
LIMITS = HttpLimits(max_body=256 * 1024)
SERVER = DigestAuthority(b"f" * 16, "realm", random=lambda n: b"r" * n, most_nonces=100)
HERE = parse_url("http://acs.example.com:7547/a?b")
SEEDS = (
    b'Digest username="cpe", realm="realm", nonce="n", uri="/", response="0", qop=auth, nc=00000001, cnonce="c"',
    b'Digest realm="x", nonce="y", qop="auth,auth-int", algorithm=SHA-256, stale=true, Basic realm="z"',
    b'a=1; Path=/; Domain=.example.com; Secure; Expires=Wed, 09 Jun 2021 10:18:14 GMT; Max-Age=5; Version=1, b="2"',
    b'$Version="1"; a="1"; $Path="/", b=2',
    b'HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Digest realm="x",\n  nonce="y"\n\nbody',
    b"Basic Y3BlOnNlY3JldA==",
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xb3\xc9\xcf\xd6\xb7\x03\x00\x8a\xb3\x4e\x68\x05\x00\x00\x00",
    b"https://user@[::1]:7547/x?y#z",
    b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 7547\r\nPOST / HTTP/1.1\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x1a\xc0\0\2\7\xc0\0\2\1\x12\x67\x1d\x7b\x20\0\5\1\0\0\0\0\x03\0\4abcd",
)


class Slow(Exception):
    """A header took longer than its size allows."""


def one_input(data: bytes) -> None:
    """Reads the bytes as everything that a peer can send. Raises only where something is wrong with Homeport."""
    began = time.process_time()
    everything(data)
    seconds = time.process_time() - began
    if seconds > SECONDS_PER_KB * (1 + len(data) / 1024) and seconds > 0.2:
        # Memory that is touched for the first time costs once: only an input that is slow twice is slow.
        began = time.process_time()
        everything(data)
        if time.process_time() - began > SECONDS_PER_KB * (1 + len(data) / 1024):
            raise Slow(f"{seconds:.3f} s for {len(data)} bytes")


def everything(data: bytes) -> None:
    """One reader, chosen by the first byte: so an input is cheap, and ten million of them take minutes."""
    if data:
        READERS[data[0] % len(READERS)](data[1:])


def bodies(data: bytes) -> None:
    """As a compressed body."""
    for encoding in ("gzip", "deflate", "deflate, gzip"):
        try:
            assert len(decompress(data, encoding, LIMITS)) <= LIMITS.max_body
        except ProtocolError:
            pass


def locations(data: bytes) -> None:
    """As the Location of a redirect."""
    try:
        assert follow(HERE, data.decode("latin-1"), 0).host
    except TransportError:
        pass


def challenges(data: bytes) -> None:
    """As WWW-Authenticate, behind a scheme or with one of its own."""
    text = data.decode("latin-1")
    for header in (text, 'Digest realm="realm", nonce="n", ' + text):
        assert all(len(c.params) <= 64 for c in parse_challenges([header]))
        says_stale([header])
        answer = DigestClient("u\r\n", "p").answer([header], method="POST", uri="/", cnonce="c")
        assert answer is None or one_line(answer), answer


def credentials(data: bytes) -> None:
    """As Authorization, behind a scheme or with one of its own."""
    text = data.decode("latin-1")
    for header in (text, "Digest " + text):
        parse_credentials(header)
        assert not SERVER.verify(header, method="POST", uri="/", password="secret", now=0.0).ok
        SERVER.username_of(header)
    basic_credentials("Basic " + text)


def cookies(data: bytes) -> None:
    """As Set-Cookie and as Cookie."""
    text = data.decode("latin-1")
    jar = CookieJar(limits=LIMITS)
    jar.store([text, "a=b; " + text], "acs.example.com", "/" + text[:20], True, 0.0)
    header = jar.header("acs.example.com", "/" + text[:20], True, 0.0)
    assert header is None or one_line(header), header
    assert len(list(given(text))) <= MOST_GIVEN


def blocks(data: bytes) -> None:
    """As a whole head."""
    end = end_of_head(data)
    for block in (data[:end], b"HTTP/1.1 200 OK\r\n" + data):
        try:
            head = parse_head(block, limits=LIMITS)
            assert len(head.fields) <= LIMITS.max_headers
            parse_status(head.start)
        except ProtocolError:
            pass


def proxies(data: bytes) -> None:
    """As a PROXY header, whole and byte by byte: both read the same, or refuse it."""
    seen = []
    for step in (len(data), 1):
        reader, taken = HeaderReader(), 0
        try:
            while taken < len(data) and not reader.done:
                taken += reader.take(data[taken : taken + step])
            seen.append((reader.done, reader.origin, taken))
        except ProtocolError:
            seen.append((False, None, 0))
        assert taken <= LONGEST or not reader.done
    assert seen[0] == seen[1], seen


def one_line(text: str) -> bool:
    """True where text can stand in a header."""
    return not any(c in text for c in "\r\n\x00")


READERS = (credentials, cookies, challenges, cookies, credentials, blocks, locations, bodies, proxies)
"""Digest and cookies twice, since strangers send them to an ACS."""


def main(argv: list[str]) -> None:
    """Runs atheris; seeds are written to a scratch directory unless a corpus is named."""
    if not any(not arg.startswith("-") for arg in argv[1:]):
        corpus = Path(tempfile.mkdtemp(prefix="homeport-corpus-"))
        for number, seed in enumerate(SEEDS):
            for reader in range(len(READERS)):
                (corpus / f"seed-{number:03d}-{reader}").write_bytes(bytes([reader]) + seed)
        argv = [*argv, str(corpus)]
    atheris.Setup(argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
