"""One agent in memory with its real web page on a loopback port, and a client that can be as rude as a test needs."""

import asyncio
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from cpe_support.bench import Bench
from homeport.cpe.web.part import WebPart


@dataclass
class Reply:
    """What came back; headers with lower-case names."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""


class WebBench:
    """`async with WebBench(directory) as web: await web.get("/status")`. Cookies are kept like a browser's."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.bench = Bench(directory, web_port=0, **settings)
        self.cookie = ""
        self.port = 0
        self.part: WebPart | None = None

    async def __aenter__(self) -> "WebBench":
        agent = await self.bench.start()
        self.part = WebPart(agent)
        await self.part.start()
        self.port = int(agent.status.web_url.rstrip("/").rpartition(":")[2])
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self.part is not None
        await self.part.stop()
        await self.bench.stop()

    def limit(self, seconds: float) -> None:
        """Shorten the listener's patience."""
        assert self.part is not None and self.part._listener is not None
        self.part._listener.time_limit = self.part._listener.idle = seconds

    async def get(self, path: str, **headers: str) -> Reply:
        """GET, with the cookie of before."""
        return await self.send("GET", path, **headers)

    async def post(
        self, path: str, fields: dict[str, str] | None = None, *, token: bool = True, **headers: str
    ) -> Reply:
        """POST of a form; with the token of a page that was just loaded, unless the test says otherwise."""
        fields = dict(fields or {})
        if token and "csrf" not in fields:
            fields["csrf"] = await self.token(path)
        kind = {"content_type": "application/x-www-form-urlencoded"}
        return await self.send("POST", path, urlencode(fields).encode(), **{**kind, **headers})

    async def token(self, path: str = "/device") -> str:
        """The token in the forms of a page."""
        for page in (path, "/device", "/login"):
            found = re.search(r'name="csrf" value="([0-9a-f]+)"', (await self.get(page)).body)
            if found:
                return found.group(1)
        raise AssertionError("no page has a form")

    async def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """One request on a connection of its own. headers: underscores become hyphens; an empty value leaves one out."""
        lines = {"host": f"127.0.0.1:{self.port}", "connection": "close"}
        if self.cookie:
            lines["cookie"] = f"homeport_{self.port}={self.cookie}"
        if body is not None:
            lines["content-length"] = str(len(body))
        lines.update({name.replace("_", "-"): value for name, value in headers.items()})
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
        reply = parsed(await self.raw(f"{method} {path} HTTP/1.1\r\n{text}\r\n".encode() + (body or b"")))
        cookie = re.match(rf"homeport_{self.port}=([^;]*)", reply.headers.get("set-cookie", ""))
        if cookie:
            self.cookie = cookie.group(1)
        return reply

    async def raw(self, data: bytes, *, limit: float = 10.0) -> bytes:
        """Whatever comes back for these bytes until the other side closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            async with asyncio.timeout(limit):
                return await reader.read()
        finally:
            writer.close()


def parsed(data: bytes) -> Reply:
    """The first answer in data."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return Reply(int(lines[0].split()[1]), headers, body.decode("utf-8", "replace"))
