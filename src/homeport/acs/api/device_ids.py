"""Device ids in URLs: encoded as URLs want it, or as they stand in lists.

An id may hold percent signs of its own (`00259E-HG8245%2DX-1`), each of which is `%25` in a URL. Who pastes it as it stands has it decoded
once too often, and then it is no device's id any more, or has a slash in it. Where that is so, the id counts as it was written.
"""

import re
from typing import Final
from urllib.parse import quote, unquote

from starlette.types import ASGIApp, Receive, Scope, Send

_ID: Final = re.compile(r"(?:[A-Za-z0-9_.]|%[0-9A-F]{2})*(?:-(?:[A-Za-z0-9_.]|%[0-9A-F]{2})*){1,2}")
"""What `records.device_id` makes."""

_BEFORE: Final = "/api/v1/devices/"
_QUERY: Final = "device="


def pasted(written: str) -> str | None:
    """The id that is written in a URL as it stands in a list; None where it is encoded, or is none.

    written: that part of the URL, not decoded.
    """
    return written if _ID.fullmatch(written) and not _ID.fullmatch(unquote(written)) else None


class DeviceIds:
    """ASGI middleware: what follows sees ids, however they were written in the path or in the filter `device`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw = scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1")
            if "%" in raw and raw.startswith(_BEFORE):
                written, slash, rest = raw.removeprefix(_BEFORE).partition("/")
                id = pasted(written)
                if id is not None:
                    scope = {**scope, "path": _BEFORE + id + slash + unquote(rest)}
            query = scope["query_string"].decode("latin-1")
            if "%" in query and _QUERY in query:
                scope = {**scope, "query_string": "&".join(map(_encoded, query.split("&"))).encode("latin-1")}
        await self._app(scope, receive, send)


def _encoded(pair: str) -> str:
    """A pair of the query, with its id as URLs want it."""
    id = pasted(pair.removeprefix(_QUERY)) if pair.startswith(_QUERY) else None
    return pair if id is None else _QUERY + quote(id, safe="")
