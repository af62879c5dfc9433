"""Parts of the tests of stored files: adding one by REST, getting a transfer's URL as a device gets it, and asking for it bluntly."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from homeport.codec.messages import Download, DownloadResponse, Message, Request, Upload, UploadResponse
from support.acs_wire import Answer, Bed, Device

FIRMWARE = "1 Firmware Upgrade Image"
CONFIGURATION = "1 Vendor Configuration File"


def form(
    name: str, content: bytes, fields: dict[str, str] | None = None, *, part: str = "file"
) -> tuple[bytes, dict[str, str]]:
    """(body, headers) of multipart/form-data with one file."""
    lines = [
        f'--frontier\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in (fields or {}).items()
    ]
    lines.append(f'--frontier\r\nContent-Disposition: form-data; name="{part}"; filename="{name}"\r\n\r\n')
    body = "".join(lines).encode() + content + b"\r\n--frontier--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=frontier"}


async def post_file(bed: Bed, name: str, content: bytes, *, query: str = "", **fields: str) -> Answer:
    """The answer to a new file."""
    body, headers = form(name, content, fields)
    headers["Authorization"] = f"Bearer {bed.token}"
    return await bed.rest_connection.request("POST", f"/api/v1/files{query}", body, headers)


async def add(bed: Bed, name: str, content: bytes, **fields: str) -> Any:
    """The new file's description."""
    answer = await post_file(bed, name, content, **{"file_type": FIRMWARE} | fields)
    assert answer.status == 201, answer
    return answer.json


@dataclass
class Orders:
    """Takes Download and Upload, says that they will be done later, and keeps them."""

    status: int = 1
    given: list[Download | Upload] = field(default_factory=list)

    def __call__(self, request: Request) -> Message | None:
        if isinstance(request, Download):
            self.given.append(request)
            return DownloadResponse(self.status, "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z")
        if isinstance(request, Upload):
            self.given.append(request)
            return UploadResponse(self.status, "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z")
        return None


async def ordered(bed: Bed, device: Device, rpc: str, args: dict[str, Any]) -> tuple[Any, Any]:
    """(task, the Download or Upload that the device got for it)."""
    task = await bed.task(rpc, args, serial=device.serial)
    orders = Orders()
    await device.session(handler=orders)
    (order,) = orders.given
    return task, order


async def a_download(bed: Bed, name: str = "fw.bin", *, serial: str = "S1") -> tuple[Any, str]:
    """(task, URL) of a transfer of a stored file to a device that comes for it."""
    device = await bed.device(serial)
    await device.session("1 BOOT")
    task, order = await ordered(bed, device, "Download", {"file": name})
    return task, order.url


async def ask(url: str, method: str = "GET", body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
    """One exchange on a connection of its own, read to its end."""
    return await blunt(url, urlsplit(url).path, method, body, headers)


async def blunt(
    url: str, target: str, method: str = "GET", body: bytes = b"", headers: dict[str, str] | None = None
) -> Answer:
    """One exchange with the server of url, for exactly this target."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
    given = headers or {}
    if body and "Transfer-Encoding" not in given:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{k}: {v}" for k, v in given.items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    try:
        async with asyncio.timeout(20):
            everything = await reader.read()
    finally:
        writer.close()
    head, _, content = everything.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in rest)
    return Answer(int(first.split()[1]), {k.lower(): v for k, _, v in pairs}, content)


def held(directory: Path) -> list[Path]:
    """The contents and unfinished parts that lie in an ACS's file store."""
    return sorted(
        p for p in (directory / "files").rglob("*") if p.is_file() and p.parent.name != "tftp" and p.name != "lock"
    )
