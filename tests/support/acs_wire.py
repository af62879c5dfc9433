"""An ACS in this process with real sockets, and the two who talk to it in tests: a device on raw HTTP, and a REST client."""

import asyncio
import contextlib
import functools
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec
from urllib.parse import quote, urlsplit

from homeport.acs.app import AcsApp
from homeport.acs.config import AcsSettings
from homeport.codec.envelope import Envelope, decode, encode
from homeport.codec.messages import (
    DeviceIdStruct,
    EventStruct,
    FaultMessage,
    GetParameterValues,
    GetParameterValuesResponse,
    Inform,
    Message,
    ParameterValueStruct,
    Request,
    SetParameterValues,
    SetParameterValuesResponse,
)
from homeport.http.digest import DigestClient

P = ParamSpec("P")

OUI, PRODUCT = "00D0F1", "XR500"


@dataclass
class Answer:
    """An HTTP answer. headers: names in lower case; those that came more than once are joined by newlines."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> Message | None:
        """The CWMP message in the body."""
        return decode(self.body).body if self.body else None

    @property
    def json(self) -> Any:
        """The JSON in the body."""
        return json.loads(self.body)


class Connection:
    """One TCP connection that speaks HTTP/1.1 and nothing more than it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str) -> None:
        self.reader, self.writer, self.authority = reader, writer, authority

    @classmethod
    async def to(cls, url: str) -> "Connection":
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=2**26)
        return cls(reader, writer, parts.netloc)

    async def request(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.authority}", f"Content-Length: {len(body)}"]
        lines += [f"{k}: {v}" for k, v in (headers or {}).items()]
        self.writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        return await self.answer()

    async def answer(self) -> Answer:
        """The next answer on the wire."""
        async with asyncio.timeout(20):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            status = int(first.split()[1])
            headers: dict[str, str] = {}
            for line in lines:
                name, _, value = line.partition(":")
                name = name.lower()
                headers[name] = f"{headers[name]}\n{value.strip()}" if name in headers else value.strip()
            length = int(headers.get("content-length", "0"))
            return Answer(status, headers, await self.reader.readexactly(length) if status != 204 else b"")

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def an_inform(serial: str = "S1", *events: str, parameters: dict[str, str] | None = None, **fields: Any) -> Inform:
    """An Inform of a TR-181 device. events: codes, `M Reboot=key` with a command key."""
    given = {
        "Device.DeviceInfo.SoftwareVersion": "1.0",
        "Device.ManagementServer.ConnectionRequestURL": "http://127.0.0.1:1/none",
    } | (parameters or {})
    codes = [code.partition("=") for code in events or ("2 PERIODIC",)]
    return Inform(
        device_id=DeviceIdStruct("Example", OUI, PRODUCT, serial),
        event=tuple(EventStruct(code, key) for code, _, key in codes),
        current_time="2026-11-21T06:00:00Z",
        parameter_list=tuple(ParameterValueStruct(n, v) for n, v in given.items()),
        **fields,
    )


def id_of(serial: str = "S1") -> str:
    return f"{OUI}-{PRODUCT}-{serial}"


Handler = Callable[[Request], Message | None]


@dataclass
class Device:
    """A device on one connection. cookies: whether it gives the cookie back. heard: what the ACS asked, oldest first."""

    connection: Connection
    serial: str = "S1"
    urn: str = "urn:dslforum-org:cwmp-1-0"
    cookies: bool = True
    target: str = "/"
    headers: dict[str, str] = field(default_factory=dict)
    cookie: str = ""
    heard: list[Message] = field(default_factory=list)

    async def post(self, body: bytes | Message | None, id: str | None = "cpe-1", **headers: str) -> Answer:
        """One POST: raw bytes, a message, or None for the empty body."""
        if body is None:
            body = b""
        elif not isinstance(body, bytes):
            body = encode(Envelope(body=body, id=id, urn=self.urn))
        sent = self.headers | headers
        if body:
            sent = {"Content-Type": 'text/xml; charset="utf-8"', "SOAPAction": ""} | sent
        if self.cookie and self.cookies:
            sent["Cookie"] = self.cookie
        answer = await self.connection.request("POST", self.target, body, sent)
        if "set-cookie" in answer.headers:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return answer

    async def inform(self, *events: str, **fields: Any) -> Answer:
        """The answer to an Inform."""
        return await self.post(an_inform(self.serial, *events, **fields))

    async def post_inform(self, authorization: str, *events: str) -> Answer:
        """The answer to an Inform with an Authorization header."""
        return await self.post(an_inform(self.serial, *events), Authorization=authorization)

    async def session(self, *events: str, handler: Handler | None = None, **fields: Any) -> Answer:
        """A whole session; the last answer. handler: gives the answers to what the ACS asks (None: a Fault 9000)."""
        answer = await self.inform(*events, **fields)
        assert answer.status == 200, answer
        return await self.serve(await self.post(None), handler)

    async def serve(self, answer: Answer, handler: Handler | None = None) -> Answer:
        """Answer the ACS's requests until it has no more."""
        while answer.status == 200:
            envelope = decode(answer.body)
            assert isinstance(envelope.body, Request), envelope
            self.heard.append(envelope.body)
            said = handler(envelope.body) if handler is not None else None
            answer = await self.post(said or FaultMessage(9000, "Method not supported"), id=envelope.id)
        return answer

    async def reconnect(self) -> None:
        """Go on over a new TCP connection."""
        await self.connection.close()
        self.connection = await Connection.to(f"http://{self.connection.authority}/")

    async def close(self) -> None:
        await self.connection.close()


async def login(
    device: Device, username: str, password: str, *, algorithms: tuple[str, ...] = ("SHA-256", "MD5")
) -> str:
    """An Authorization header that answers the challenge to an empty POST."""
    challenge = await device.post(None)
    assert challenge.status == 401
    client = DigestClient(username, password, algorithms=algorithms)
    offered = challenge.headers["www-authenticate"].split("\n")
    answer = client.answer(offered, method="POST", uri="/", cnonce="abc")
    assert answer is not None
    return answer


@dataclass
class Bed:
    """A running ACS with its REST client."""

    app: AcsApp
    rest_connection: Connection
    token: str
    devices: list[Device] = field(default_factory=list)

    async def device(self, serial: str = "S1", **fields: Any) -> Device:
        """A device on a connection of its own."""
        made = Device(await Connection.to(self.app.cwmp_url), serial, **fields)
        self.devices.append(made)
        return made

    async def rest(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> Answer:
        """One call of the REST API. path: below /api/v1, or from the root where it starts with `/`."""
        headers = {"Authorization": f"Bearer {token if token is not None else self.token}"}
        data = b""
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        target = path if path.startswith("/") else f"/api/v1/{path}"
        return await self.rest_connection.request(method, target, data, headers)

    async def task(self, rpc: str, args: dict[str, Any] | None = None, *, serial: str = "S1", **more: Any) -> Any:
        """A new task, without a connection request unless asked for."""
        body = {"rpc": rpc, "args": args or {}, "connection_request": False} | more
        answer = await self.rest("POST", f"devices/{quote(id_of(serial))}/tasks", body)
        assert answer.status == 201, answer.body
        return answer.json

    async def task_now(self, task: Any) -> Any:
        """The task as it stands."""
        return (await self.rest("GET", f"tasks/{task['id']}")).json

    async def get_device(self, serial: str = "S1") -> Any:
        """The device as REST shows it."""
        return (await self.rest("GET", f"devices/{quote(id_of(serial))}")).json


@contextlib.asynccontextmanager
async def acs(
    directory: Path,
    *,
    clock: Callable[[], float] = time.time,
    steady: Callable[[], float] | None = None,
    **settings: Any,
) -> AsyncIterator[Bed]:
    """A running ACS on free ports of loopback, open unless told otherwise, without wishes of its own unless told otherwise.

    clock: the ACS's time of day, seconds since 1970. steady: the clock that nobody sets; without it a test's clock is believed.
    """
    chosen: dict[str, Any] = {
        "data_dir": directory,
        "cwmp_listen": "127.0.0.1:0",
        "http_listen": "127.0.0.1:0",
        "file_listen": "127.0.0.1:0",
        "cpe_auth": "open",
        "discover": "never",
        "connection_request_credentials": "keep",
    } | settings
    app = AcsApp(AcsSettings(**chosen), clock=clock, steady=steady)
    await app.start()
    bed = Bed(app, await Connection.to(app.http_url), app.token_file.read_text().strip())
    try:
        yield bed
    finally:
        for device in bed.devices:
            await device.close()
        await bed.rest_connection.close()
        await app.stop()


def run(scene: Coroutine[Any, Any, None]) -> None:
    """Play a scene on a loop of its own."""
    asyncio.run(scene)


def played(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """The decorated test, each time on a loop of its own."""

    @functools.wraps(test)
    def play(*arguments: P.args, **named: P.kwargs) -> None:
        asyncio.run(test(*arguments, **named))

    return play


@contextlib.asynccontextmanager
async def acquainted(directory: Path, event: str = "1 BOOT", **settings: Any) -> AsyncIterator[tuple[Bed, Device]]:
    """A running ACS (see `acs`) and a device that had a session with it, which told this event."""
    async with acs(directory, **settings) as bed:
        device = await bed.device()
        await device.session(event)
        yield bed, device


def values(request: Request) -> Message | None:
    """A device that has every parameter it is asked for, with the value `v`, and takes what it is given."""
    if isinstance(request, GetParameterValues):
        return GetParameterValuesResponse(tuple(ParameterValueStruct(n, "v") for n in request.parameter_names))
    if isinstance(request, SetParameterValues):
        return SetParameterValuesResponse(0)
    return None
