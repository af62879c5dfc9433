"""An ACS for tests of the agent over real sockets: our own Session in the ACS's role behind a small HTTP server, driven by the test."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from homeport.codec.messages import Inform, Message, Request
from homeport.http.digest import DigestAuthority
from homeport.transport.loopback import LoopbackAcs


@dataclass
class Post:
    """One HTTP request of the CPE."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int = 0
    answer: bytes = b""


class HttpAcs:
    """Serves one device. `requests` are sent in the next session; `posts`, `informs` and `answers` keep what came.

    before_answer(number): called with the number of the POST (1 for the first) after it was read and before it is answered; what it
    raises closes the connection without an answer. credentials: (username, password) that Digest asks for. context: for https, whose URL
    then names localhost.
    """

    def __init__(
        self,
        requests: Iterable[Request] = (),
        *,
        credentials: tuple[str, str] | None = None,
        before_answer: Callable[[int, Post], None] | None = None,
        cookie: str = "s=1; Path=/",
        host: str = "127.0.0.1",
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.core = LoopbackAcs(requests)
        self.posts: list[Post] = []
        self.before_answer = before_answer
        self.cookie = cookie
        self._credentials = credentials
        self._authority = DigestAuthority(b"k" * 32, "test", ("MD5",))
        self._server: asyncio.Server | None = None
        self._news = asyncio.Event()
        self._host = host
        self._context = context
        self.peers: list[tuple[str, int]] = []
        """Address and port of each connection's other end."""
        self.port = 0

    @property
    def url(self) -> str:
        if self._context is not None:
            return f"https://localhost:{self.port}/acs"
        return f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{self.port}/acs"

    @property
    def informs(self) -> list[Inform]:
        return self.core.informs

    @property
    def answers(self) -> list[tuple[Message, Message]]:
        return self.core.answers

    @property
    def requests(self) -> deque[Request]:
        return self.core.requests

    def events(self, number: int = -1) -> list[str]:
        """Event codes of an Inform."""
        return [e.event_code for e in self.informs[number].event]

    async def __aenter__(self) -> "HttpAcs":
        self._server = await asyncio.start_server(self._serve, self._host, self.port, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()

    async def until(self, condition: Callable[[], bool], *, limit: float = 20.0) -> None:
        """Wait until a condition on what came holds."""
        async with asyncio.timeout(limit):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def sessions(self, number: int, *, limit: float = 20.0) -> None:
        """Wait until so many sessions were answered to their end with 204."""
        await self.until(lambda: sum(p.status == 204 for p in self.posts) >= number, limit=limit)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peers.append(writer.get_extra_info("peername")[:2])
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                post = Post(lines[0].split(" ")[1], headers, body)
                self.posts.append(post)
                if self.before_answer is not None:
                    self.before_answer(len(self.posts), post)
                writer.write(self._answer(post))
                await writer.drain()
                self._news.set()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            self._news.set()
            writer.close()

    def _answer(self, post: Post) -> bytes:
        extra = []
        if self._credentials is not None:
            username, password = self._credentials
            verdict = self._authority.verify(
                post.headers.get("authorization", ""), method="POST", uri=post.path, password=password, now=0.0
            )
            if not verdict.ok or f'username="{username}"' not in post.headers["authorization"]:
                post.status = 401
                challenges = self._authority.challenges(0.0)
                return _http(401, b"", [f"WWW-Authenticate: {c}" for c in challenges])
        answer = self.core(post.body)
        if self.cookie:
            extra.append(f"Set-Cookie: {self.cookie}")
        post.status, post.answer = answer.status, answer.body
        return _http(answer.status, answer.body, extra)


def _http(status: int, body: bytes, extra: list[str]) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *extra]
    if body:
        lines.append('Content-Type: text/xml; charset="utf-8"')
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
