"""A load of CWMP devices for benchmarks: known devices that open sessions, from one process, over http or https.

`run` opens sessions, so many at once or so many per second, and prints one JSON line per repetition: how many went well, the latency
of the first reply, the server's CPU per session. `hold` keeps connections that say nothing and connections that send one byte a
second, until its standard input ends. Devices answer GetParameterValues; everything else that an ACS may ask counts as a failure.
"""

import argparse
import asyncio
import json
import random
import re
import resource
import ssl
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

SERIAL, NUMBER, UPTIME = "@SERIAL@", "@NUMBER@", "@UPTIME@"
PARAMETERS = (
    ("Device.RootDataModelVersion", "string", "2.15"),
    ("Device.DeviceInfo.HardwareVersion", "string", "HW-1.3-revB"),
    ("Device.DeviceInfo.SoftwareVersion", "string", "7.2.11-build20260114"),
    ("Device.DeviceInfo.ProvisioningCode", "string", "HOME.FIBRE.0500"),
    ("Device.DeviceInfo.UpTime", "unsignedInt", UPTIME),
    ("Device.ManagementServer.ParameterKey", "string", ""),
    ("Device.ManagementServer.ConnectionRequestURL", "string", f"http://127.0.0.1:7548/{SERIAL}"),
    ("Device.ManagementServer.AliasBasedAddressing", "boolean", "false"),
    ("Device.IP.Interface.1.IPv4Address.1.IPAddress", "string", "100.64.7.19"),
    ("Device.Ethernet.Interface.1.MACAddress", "string", "02:00:5E:10:20:30"),
)
_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<SOAP-ENV:Envelope xmlns:SOAP-ENC="http://schemas.xmlsoap.org/soap/encoding/"'
    ' xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:cwmp="urn:dslforum-org:cwmp-1-0"><SOAP-ENV:Header>'
    '<cwmp:ID SOAP-ENV:mustUnderstand="1">{id}</cwmp:ID></SOAP-ENV:Header><SOAP-ENV:Body>{body}</SOAP-ENV:Body></SOAP-ENV:Envelope>'
)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_COOKIE = re.compile(rb"\r\nset-cookie: *([^;\r\n]+)", re.IGNORECASE)
_ID = re.compile(rb"<cwmp:ID[^>]*>([^<]*)<")
_NAME = re.compile(rb"<string>([^<]*)<")


def _values(rows: "list[tuple[str, str, str]]") -> str:
    items = "".join(
        f'<ParameterValueStruct><Name>{name}</Name><Value xsi:type="xsd:{type}">{value}</Value></ParameterValueStruct>'
        for name, type, value in rows
    )
    return f'<ParameterList SOAP-ENC:arrayType="cwmp:ParameterValueStruct[{len(rows)}]">{items}</ParameterList>'


def inform() -> str:
    """An Inform of ten parameters, with places for the serial number and what changes each time."""
    body = (
        "<cwmp:Inform><DeviceId><Manufacturer>Example Networks</Manufacturer><OUI>00D0F1</OUI><ProductClass>XR500v</ProductClass>"
        f"<SerialNumber>{SERIAL}</SerialNumber></DeviceId>"
        '<Event SOAP-ENC:arrayType="cwmp:EventStruct[1]"><EventStruct><EventCode>2 PERIODIC</EventCode><CommandKey></CommandKey>'
        "</EventStruct></Event><MaxEnvelopes>1</MaxEnvelopes><CurrentTime>2026-06-14T10:20:30+00:00</CurrentTime>"
        f"<RetryCount>0</RetryCount>{_values(list(PARAMETERS))}</cwmp:Inform>"
    )
    return _ENVELOPE.format(id=NUMBER, body=body)


def cpu(*pids: int) -> float:
    """Seconds of CPU of all threads of the processes."""
    nanoseconds = 0
    for pid in pids:
        for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            nanoseconds += int(file.read_text().split()[0])
    return nanoseconds / 1e9


def memory(pid: int) -> float:
    """Resident megabytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


class Load:
    """What all sessions of a run share."""

    def __init__(self, options: argparse.Namespace) -> None:
        address = urlsplit(options.url)
        self.host, self.port = address.hostname or "", address.port or 0
        self.tls: ssl.SSLContext | None = None
        if address.scheme == "https":
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE
        self.options = options
        self.template = inform()
        self.head = f'POST / HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: text/xml; charset="utf-8"\r\nSOAPAction: ""\r\n'
        self.number = 0
        self.answers: dict[bytes, str] = {}
        self.begin()

    def begin(self) -> None:
        """A new repetition."""
        self.ok = 0
        self.failed: Counter[str] = Counter()
        self.asked = 0
        self.first: list[float] = []

    def answer(self, body: bytes) -> bytes | None:
        """The device's answer to a request; None to one that it does not know."""
        id = _ID.search(body)
        if id is None or b"<cwmp:GetParameterValues>" not in body:
            return None
        self.asked += 1
        asked = body[id.end() :]
        inner = self.answers.get(asked)
        if inner is None:
            names = [name.decode() for name in _NAME.findall(asked)]
            rows = [(name, "string", f"value of {name.rpartition('.')[2]}") for name in names]
            inner = self.answers[asked] = (
                f"<cwmp:GetParameterValuesResponse>{_values(rows)}</cwmp:GetParameterValuesResponse>"
            )
        return _ENVELOPE.format(id=id[1].decode(), body=inner).encode()

    async def session(self, index: int) -> None:
        """One session of a device, on a connection of its own."""
        self.number += 1
        serial = f"K{index % self.options.devices + self.options.base:011d}"
        body = (
            self.template.replace(SERIAL, serial)
            .replace(NUMBER, f"{self.number:010d}")
            .replace(UPTIME, f"{self.number % 10**8:08d}")
        )
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(30):
                await asyncio.get_running_loop().create_connection(
                    lambda: Session(self, body.encode(), ended, begun), self.host, self.port, ssl=self.tls
                )
                outcome = await ended
        except TimeoutError:
            outcome = "no answer in 30 s"
        except OSError as e:
            outcome = type(e).__name__
        if outcome:
            self.failed[outcome] += 1
        else:
            self.ok += 1


class Session(asyncio.Protocol):
    """The connection of one session: Inform, empty POST, answers, until the ACS has no more."""

    def __init__(self, load: Load, body: bytes, ended: "asyncio.Future[str]", begun: float) -> None:
        self._load = load
        self._body = body
        self._ended = ended
        self._begun = begun
        self._cookie = ""
        self._read = b""
        self._informed = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._post(self._body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("the connection was lost")

    def _post(self, body: bytes) -> None:
        self._transport.write(f"{self._load.head}{self._cookie}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def _end(self, outcome: str) -> None:
        if not self._ended.done():
            self._ended.set_result(outcome)
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, rest = self._read.partition(b"\r\n\r\n")
        if not found:
            return
        length = _LENGTH.search(head + b"\r\n")
        size = int(length[1]) if length else 0
        if len(rest) < size:
            return
        self._read = rest[size:]
        self._answered(int(head[9:12]), head, rest[:size])

    def _answered(self, status: int, head: bytes, body: bytes) -> None:
        cookie = _COOKIE.search(head)
        if cookie is not None:
            self._cookie = f"Cookie: {cookie[1].decode()}\r\n"
        if not self._informed:
            if status != 200 or b"InformResponse" not in body:
                self._end(f"status {status} to the Inform")
                return
            self._informed = True
            self._load.first.append(time.perf_counter() - self._begun)
            self._post(b"")
        elif status == 204 or (status == 200 and not body):
            self._end("")
        else:
            answer = self._load.answer(body) if status == 200 else None
            if answer is None:
                self._end(f"status {status} after the Inform")
            else:
                self._post(answer)


async def _crowd(load: Load, count: int, at_once: int) -> None:
    """So many sessions, always so many at once."""
    indexes = iter(range(count))

    async def one_after_the_other() -> None:
        for index in indexes:
            await load.session(index)

    await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))


async def _stream(load: Load, count: int, rate: float) -> None:
    """So many sessions, at random instants, so many per second whatever the server does."""
    chance, tasks = random.Random(1), set[asyncio.Task[None]]()
    due = time.perf_counter()
    for index in range(count):
        due += chance.expovariate(rate)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(load.session(index))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)


async def run(options: argparse.Namespace) -> None:
    """The repetitions, each as one JSON line."""
    load = Load(options)
    if options.prime:
        await _crowd(load, options.devices, options.concurrency)
    if options.warmup:
        await _crowd(load, options.warmup, options.concurrency)
    for _ in range(options.repeat):
        load.begin()
        before = cpu(*options.watch), cpu(*options.beside)
        mine = resource.getrusage(resource.RUSAGE_SELF)
        start = time.perf_counter()
        if options.rate:
            await _stream(load, options.sessions, options.rate)
        else:
            await _crowd(load, options.sessions, options.concurrency)
        seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_SELF)
        first = sorted(load.first) or [float("inf")]
        count = max(1, load.ok)
        result = {
            "ok": load.ok,
            "failed": sum(load.failed.values()),
            "reasons": dict(load.failed),
            "asked": load.asked,
            "per_second": load.ok / seconds,
            "first_p50_ms": first[len(first) // 2] * 1e3,
            "first_p99_ms": first[min(len(first) - 1, int(len(first) * 0.99))] * 1e3,
            "cpu_ms": (cpu(*options.watch) - before[0]) * 1e3 / count,
            "beside_ms": (cpu(*options.beside) - before[1]) * 1e3 / count,
            "load_ms": (after.ru_utime + after.ru_stime - mine.ru_utime - mine.ru_stime) * 1e3 / count,
            "memory_mb": sum(memory(pid) for pid in options.watch),
        }
        print(json.dumps(result), flush=True)


async def hold(options: argparse.Namespace) -> None:
    """Connections that are in nobody's way, until standard input ends; prints `held` once they are there."""
    address = urlsplit(options.url)
    writers = []
    for _ in range(options.idle + options.slow):
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writers.append(writer)
    slow = writers[: options.slow]
    for writer in slow:
        writer.write(b"POST / HTTP/1.1\r\nHost: acs\r\nContent-Type: text/xml\r\nContent-Length: 20000\r\n\r\n")
    print("held", flush=True)
    gone = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    while not gone.done():
        for writer in slow:
            writer.write(b" ")
        await asyncio.wait([gone], timeout=1.0)
    for writer in writers:
        writer.close()


def main() -> None:
    """`acs_load.py run|hold --url URL …`"""
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    loads, holds = verbs.add_parser("run"), verbs.add_parser("hold")
    for verb in (loads, holds):
        verb.add_argument("--url", required=True)
    loads.add_argument("--devices", type=int, default=500)
    loads.add_argument("--base", type=int, default=0, help="the first serial number")
    loads.add_argument("--sessions", type=int, default=3000)
    loads.add_argument("--concurrency", type=int, default=50)
    loads.add_argument(
        "--rate", type=float, default=0.0, help="sessions per second at random instants, in place of so many at once"
    )
    loads.add_argument("--prime", action="store_true", help="each device informs once before")
    loads.add_argument("--warmup", type=int, default=0)
    loads.add_argument("--repeat", type=int, default=1)
    loads.add_argument("--watch", type=int, action="append", default=[], help="the server's process")
    loads.add_argument("--beside", type=int, action="append", default=[], help="processes that work for it")
    holds.add_argument("--idle", type=int, default=1000)
    holds.add_argument("--slow", type=int, default=100)
    options = parser.parse_args()
    uvloop.run(run(options) if options.verb == "run" else hold(options))


if __name__ == "__main__":
    main()
