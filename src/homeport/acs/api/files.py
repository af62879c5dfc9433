"""Routes of stored files: add, describe, fetch, delete. What devices fetch and send goes over the file server, not over these."""

from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from homeport.acs.api import shapes
from homeport.acs.api.app import Use, operator
from homeport.acs.api.devices import Cursor, Limit
from homeport.acs.api.quick import Quick
from homeport.acs.api.shapes import File, FilePage
from homeport.acs.records import FileRecord
from homeport.acs.services.files import BadFile
from homeport.acs.services.multipart import read_form
from homeport.acs.storage.blobs import TooLarge
from homeport.errors import StoreUnavailable

router = APIRouter(route_class=Quick, tags=["files"])

FIELDS = ("file_type", "version", "model")
PIECE = 262_144
_TEXT = {"type": "string", "maxLength": 256}
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "The content; its file name is the name.",
                        },
                        "file_type": _TEXT | {"description": "As the standard names it: 1 Firmware Upgrade Image, ..."},
                        "version": _TEXT,
                        "model": _TEXT,
                    },
                }
            }
        },
    }
}


@router.post("/files", status_code=201, openapi_extra=_FORM)
async def add_file(
    use: Use,
    request: Request,
    replace: Annotated[bool, Query(description="Take the place of a file with this name.")] = False,
) -> File:
    """Store a file. The same file again gives the one that is there; another under the same name is refused without `replace`."""
    limit = use.hub.settings.file_size_limit
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit + 65_536:
        raise TooLarge(f"the file is longer than {limit} bytes, the most that is taken here (file_size_limit)")
    async with await use.files.receive(limit) as incoming:
        form = await read_form(request.headers.get("content-type", ""), request.stream(), incoming.write)
        unknown = set(form.fields) - set(FIELDS)
        if unknown:
            raise BadFile(f"there is no field {sorted(unknown)[0][:64]!r}; there are {', '.join(FIELDS)}")
        record = FileRecord(name=form.filename or "", size=0, sha256="")
        record = msgspec.structs.replace(record, **form.fields)
        return shapes.file(await use.files.add(incoming, record, replace_it=replace))


@router.get("/files")
async def list_files(use: Use, limit: Limit = 1_000, cursor: Cursor = None) -> FilePage:
    """Stored files by name, those of operators and those that devices have sent (`device` and `task` tell which)."""
    page = await use.files.page(limit=limit, cursor=cursor)
    return FilePage([shapes.file(f) for f in page.items], page.next)


@router.get("/files/{name}")
async def get_file(use: Use, name: str) -> File:
    """A file's description."""
    return shapes.file(await use.files.get(name))


_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}


@router.get(
    "/files/{name}/content", response_class=StreamingResponse, responses=_BYTES, dependencies=[Depends(operator)]
)
async def get_content(use: Use, name: str) -> StreamingResponse:
    """A file's bytes; not for tokens of the scope read, because a device's configuration holds its passwords."""
    record = await use.files.get(name)
    try:
        content = use.files.blobs.path(record.sha256).open("rb")
    except OSError as e:
        raise StoreUnavailable(f"the content of {name!r} cannot be read here: {e.strerror}") from e

    def pieces() -> Iterator[bytes]:
        with content:
            while piece := content.read(PIECE):
                yield piece

    headers = {
        "Content-Length": str(record.size),
        "ETag": f'"{record.sha256}"',
        "Content-Disposition": f'attachment; filename="{quote(name)}"',
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(pieces(), media_type="application/octet-stream", headers=headers)


@router.delete("/files/{name}", status_code=204)
async def delete_file(use: Use, name: str) -> Response:
    """Forget a file; transfers that are under way are finished, new ones find nothing."""
    await use.files.delete(name)
    return Response(status_code=204)
