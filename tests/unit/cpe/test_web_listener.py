"""The web page's server under whatever bytes come, in whatever pieces: each request answered or refused, nothing raised."""

import asyncio
import random
import re

from homeport.cpe.web.listener import LIMITS, Answer, PageListener, Request, _Visitor

WHOLE = (
    b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /configuration HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\ncsrf=1&a=%2",
    b"HEAD / HTTP/1.1\r\n folded: x\r\nCookie: a=b; c\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
)
ROUNDS = 400


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def get_extra_info(self, name, default=None):
        return ("127.0.0.1", 4711) if name == "peername" else default

    def write(self, data):
        assert not self.closed, "nothing is written behind the end"
        self.written += data

    def close(self):
        self.closed = True

    abort = close

    def is_closing(self):
        return self.closed

    def get_write_buffer_size(self):
        return 0

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


def broken(rng: random.Random) -> bytes:
    """Some requests, some of them damaged."""
    data = bytearray(b"".join(rng.choice(WHOLE) for _ in range(rng.randint(1, 3))))
    for _ in range(rng.choice((0, 1, 3, 20))):
        at = rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                del data[at : at + rng.randint(1, 9)]
            case 2:
                data[at:at] = rng.randbytes(rng.randint(1, 9))
            case _:
                data[at:at] = rng.choice(
                    (b"\r\n", b"\r\n\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: x\r\n", b"\0")
                )
        if not data:
            break
    return bytes(data)


def test_whatever_comes_is_answered_or_refused():
    """No exception, no request with a body over the limit or a path that is none."""
    seen: list[Request] = []

    async def handler(request: Request) -> Answer:
        seen.append(request)
        return Answer(200, b"ok")

    async def scene() -> None:
        problems: list[dict] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context))
        listener = PageListener(handler, host="127.0.0.1", port=0)
        rng = random.Random(20261121)
        for _ in range(ROUNDS):
            visitor, wire = _Visitor(listener), Wire()
            visitor.connection_made(wire)
            data = broken(rng)
            while data and not wire.closed:
                piece = rng.randint(1, 60)
                visitor.data_received(data[:piece])
                data = data[piece:]
                await asyncio.sleep(0)
            for _ in range(6):
                await asyncio.sleep(0)
            visitor.connection_lost(None)
            statuses = re.findall(rb"HTTP/1\.1 (\d+) ", bytes(wire.written))
            assert set(statuses) <= {b"200", b"400", b"411", b"413", b"431", b"501", b"505"}
        assert problems == []

    asyncio.run(scene())
    assert len(seen) > ROUNDS / 2
    assert all(len(r.body) <= LIMITS.max_body and r.path.startswith("/") and r.method.isalpha() for r in seen)


def test_the_same_bytes_mean_the_same_in_any_pieces():
    """A network cuts where it likes."""

    async def answers(pieces: list[bytes]) -> list[tuple[str, bytes]]:
        seen: list[tuple[str, bytes]] = []

        async def handler(request: Request) -> Answer:
            seen.append((request.path, request.body))
            return Answer(200)

        visitor, wire = _Visitor(PageListener(handler, host="127.0.0.1", port=0)), Wire()
        visitor.connection_made(wire)
        for piece in pieces:
            visitor.data_received(piece)
            await asyncio.sleep(0)
        for _ in range(8):
            await asyncio.sleep(0)
        visitor.connection_lost(None)
        return seen

    data = WHOLE[0] + WHOLE[1] + WHOLE[0]
    whole = asyncio.run(answers([data]))
    assert len(whole) == 3
    for size in (1, 7, 50):
        assert asyncio.run(answers([data[i : i + size] for i in range(0, len(data), size)])) == whole
