"""The door as an ASGI application: reads the body up to its limit and its time, and answers in one piece.

Raw ASGI on purpose: a framework would cost more than all else that a session costs.
"""

import asyncio
from typing import Any

from homeport.acs.endpoint.door import Door
from homeport.acs.endpoint.exchange import HttpReply, HttpRequest, plain

_WANTED = {
    b"cookie": "cookie",
    b"authorization": "authorization",
    b"content-type": "content_type",
    b"content-encoding": "content_encoding",
}


class CwmpApp:
    """One callable for the server. read_timeout: seconds for a whole body."""

    def __init__(self, door: Door, read_timeout: float) -> None:
        self._door = door
        self._read_timeout = read_timeout

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        fields: dict[str, str] = {}
        length = 0
        for name, value in scope["headers"]:
            field = _WANTED.get(name)
            if field is not None:
                fields[field] = value.decode("latin-1") if field not in fields else fields[field]
            elif name == b"content-length":
                length = int(value)
        body = await self._body(receive, length, self._door.limit_for(fields.get("cookie", "")))
        if isinstance(body, HttpReply):
            reply = body
        else:
            host, port = scope["client"] or ("", 0)
            if host.startswith("::ffff:"):
                host = host[7:]
            target = scope["raw_path"].decode("latin-1")
            if scope["query_string"]:
                target += "?" + scope["query_string"].decode("latin-1")
            reply = await self._door.handle(
                HttpRequest(scope["method"], target, body, host, port, scope["scheme"] == "https", **fields)
            )
        # 204 has a length too: a strict reader ignores it, and naive clients wait without it.
        headers = [*reply.headers, (b"content-length", str(len(reply.body)).encode())]
        if reply.close:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _body(self, receive: Any, length: int, limit: int) -> bytes | HttpReply:
        if length > limit:
            return plain(413, f"the body is over {limit} bytes", close=True)
        message = await self._first(receive) if length else await receive()
        if message is None:
            return plain(408, "the body did not arrive in time", close=True)
        if not message.get("more_body"):
            body: bytes = message.get("body", b"")
            return body if len(body) <= limit else plain(413, f"the body is over {limit} bytes", close=True)
        parts = [message["body"]]
        size = len(parts[0])
        try:
            async with asyncio.timeout(self._read_timeout):
                while message.get("more_body"):
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return plain(400, "the body was cut", close=True)
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        return plain(413, f"the body is over {limit} bytes", close=True)
        except TimeoutError:
            return plain(408, "the body did not arrive in time", close=True)
        return b"".join(parts)

    async def _first(self, receive: Any) -> Any:
        try:
            async with asyncio.timeout(self._read_timeout):
                return await receive()
        except TimeoutError:
            return None
