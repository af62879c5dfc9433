"""ASGI middleware: how long a request's body may be. FastAPI reads a JSON body to its end before anybody asks for the token."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from homeport.acs.api.errors import answer

MOST_BODY: Final = 4_194_304
"""Bytes of a JSON body: a thousand parameters are 200 KB."""

_STREAMED: Final = "/api/v1/files"
"""Reads its own body piece by piece, after the token, and has a limit of its own."""


class BodyLimit:
    """Answers a body that is too long with 413, without keeping more of it than the limit."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == _STREAMED or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"")
        pieces: list[bytes] = []
        size = int(announced) if announced.isdigit() else 0
        more = size <= MOST_BODY
        if more:
            size = 0
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return  # the peer has left
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            more = message.get("more_body", False) and size <= MOST_BODY
        if size > MOST_BODY:
            refusal = answer(413, f"the body is longer than {MOST_BODY} bytes", headers={"Connection": "close"})
            await refusal(scope, receive, send)
            return
        whole: Message = {"type": "http.request", "body": b"".join(pieces), "more_body": False}
        waiting = [whole]

        async def replayed() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, replayed, send)
