"""An atheris target for how the ACS reads HTTP requests: the fast way and httptools say the same of any bytes, however they are cut.

    python tests/fuzz/fuzz_heads.py [-atheris options] [CORPUS_DIR]

The first two bytes say where the rest is cut.
"""

import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

with atheris.instrument_imports(include=["homeport.acs.endpoint.heads", "homeport.acs.endpoint.connection"]):
    import homeport.acs.endpoint.connection
    import homeport.acs.endpoint.heads  # noqa: F401

from support.http_heads import PLAIN, both

HEAD = b"POST /cwmp HTTP/1.1\r\nHost: acs:7547\r\n"
SEEDS = (
    PLAIN,
    PLAIN + PLAIN,
    HEAD + b'Content-Type: text/xml; charset="utf-8"\r\nSOAPAction: ""\r\nContent-Length: 0\r\n\r\n',
    HEAD + b'Authorization: Digest username="cpe", nonce="n"\r\nCookie: a=b\r\nContent-Length: 2\r\n\r\nab',
    HEAD + b"Connection: keep-alive\r\nX-Forwarded-For: 192.0.2.7\r\nContent-Length: 1\r\n\r\na",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    HEAD + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\na",
    b"GET / HTTP/1.0\r\nContent-Length: 3\r\n folded\r\nA: b\nC: d\r\n\r\nabc",
)


def one_input(data: bytes) -> None:
    """Raises AssertionError where the two ways differ."""
    if len(data) > 2:
        first, second = sorted(at % (len(data) - 1) for at in data[:2])
        rest = data[2:]
        both([piece for piece in (rest[:first], rest[first:second], rest[second:]) if piece])


def main(argv: list[str]) -> None:
    """Runs atheris; seeds are written to a scratch directory unless a corpus is named."""
    if not any(not arg.startswith("-") for arg in argv[1:]):
        corpus = Path(tempfile.mkdtemp(prefix="homeport-corpus-"))
        for number, seed in enumerate(SEEDS):
            (corpus / f"seed-{number:03d}").write_bytes(b"\0\0" + seed)
            (corpus / f"cut-{number:03d}").write_bytes(b"\x28\x64" + seed)
        argv = [*argv, str(corpus)]
    atheris.Setup(argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
