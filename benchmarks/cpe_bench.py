"""The agent's figures: how much memory, how soon the first Inform, how fast the whole tree is read.

`python benchmarks/cpe_bench.py` prints them; `rows()` gives them to `make bench`. The ACS is a few lines of sockets in this process.
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

INFORM_RESPONSE = (
    b'<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/" xmlns:cwmp="urn:dslforum-org:cwmp-1-2">'
    b'<SOAP-ENV:Header><cwmp:ID SOAP-ENV:mustUnderstand="1">1</cwmp:ID></SOAP-ENV:Header>'
    b"<SOAP-ENV:Body><cwmp:InformResponse><MaxEnvelopes>1</MaxEnvelopes></cwmp:InformResponse></SOAP-ENV:Body></SOAP-ENV:Envelope>"
)

READ_EVERYTHING = (
    b'<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/" '
    b'xmlns:SOAP-ENC="http://schemas.xmlsoap.org/soap/encoding/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" '
    b'xmlns:cwmp="urn:dslforum-org:cwmp-1-2"><SOAP-ENV:Header><cwmp:ID SOAP-ENV:mustUnderstand="1">9</cwmp:ID></SOAP-ENV:Header>'
    b'<SOAP-ENV:Body><cwmp:GetParameterValues><ParameterNames SOAP-ENC:arrayType="xsd:string[1]"><string>Device.</string>'
    b"</ParameterNames></cwmp:GetParameterValues></SOAP-ENV:Body></SOAP-ENV:Envelope>"
)

READS = 30

IDLE = 8.0
"""Seconds for which an idle agent is watched; its clock of the processor counts in hundredths of a second."""

Row = tuple[str, float, str, float]


def rows() -> list[Row]:
    """(label, figure, unit, target) of each figure; smaller is better."""
    starts, memory, _, _ = zip(*(_measure("dkt-797xx", reads=1) for _ in range(5)), strict=True)
    with tempfile.TemporaryDirectory() as directory:
        profile, size = _large_profile(Path(directory))
        _, large_memory, read, count = _measure(profile, reads=READS)
    assert count >= size, f"the tree has {count} parameters, expected at least {size}"
    return [
        (f"agent: processor time of an idle agent, over {IDLE:g} s", _idle(), "%", 0.1),
        ("agent: process start to first Inform, DKT profile (median of 5)", sorted(starts)[2], "s", 0.6),
        ("agent: resident memory, DKT profile, after reading the whole tree", max(memory), "MB", 40.0),
        (
            f"agent: GetParameterValues of all {count} parameters, request to response (median of {READS})",
            read,
            "ms",
            15.0,
        ),
        (f"agent: resident memory with {count} parameters read {READS} times", large_memory, "MB", 60.0),
        *_linux_rows(),
    ]


def _linux_rows() -> list[Row]:
    """The agent of this machine itself (profile linux), with whatever interfaces, routes and processes it has."""
    starts, memory, _, _ = zip(*(_measure("linux", reads=1) for _ in range(5)), strict=True)
    _, _, read, count = _measure("linux", reads=READS)
    return [
        ("agent: process start to first Inform, this machine (median of 5)", sorted(starts)[2], "s", 1.0),
        ("agent: resident memory, this machine, after reading the whole tree", max(memory), "MB", 45.0),
        (f"agent: GetParameterValues of all {count} parameters of this machine (median of {READS})", read, "ms", 60.0),
    ]


def _large_profile(directory: Path) -> tuple[str, int]:
    """A profile with over 1,000 parameters: the DKT device with 40 Ethernet interfaces."""
    from importlib import resources

    text = (resources.files("homeport.model") / "profiles" / "dkt-797xx.toml").read_text(encoding="utf-8")
    text = re.sub(r'("Device\.Ethernet\.Interface\.\{i\}\." = )\d+', r"\g<1>40", text)
    path = directory / "large.toml"
    path.write_text(text, encoding="utf-8")
    return str(path), 1000


def _measure(profile: str, *, reads: int) -> tuple[float, float, float, int]:
    """Seconds to the first Inform, MB after the reads, median ms of a read, parameters read."""
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.TemporaryDirectory() as state:
        server.settimeout(30)
        command = [
            *(sys.executable, "-m", "homeport", "cpe", "run", "--profile", profile, "--state-dir", state),
            *("--acs-url", f"http://127.0.0.1:{server.getsockname()[1]}/", "--connection-request-listen", "127.0.0.1"),
            *("--connection-request-port", "0", "--log-level", "error"),
        ]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HOMEPORT_")}
        begin = time.perf_counter()
        process = subprocess.Popen(command, env=environment)
        try:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(30)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _post(connection)
                started = time.perf_counter() - begin
                _answer(connection, INFORM_RESPONSE)
                _post(connection)
                times = []
                body = b""
                for _ in range(reads):
                    sent = time.perf_counter()
                    _answer(connection, READ_EVERYTHING)
                    body = _post(connection)
                    times.append((time.perf_counter() - sent) * 1000)
                memory = _resident(process.pid)
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            return started, memory, sorted(times)[len(times) // 2], body.count(b"<Name>")
        finally:
            process.terminate()
            process.wait()


def _idle() -> float:
    """Percent of one processor that an agent uses between its sessions, as the scheduler counts it, in nanoseconds."""
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.TemporaryDirectory() as state:
        server.settimeout(30)
        command = [
            *(sys.executable, "-m", "homeport", "cpe", "run", "--state-dir", state, "--log-level", "error"),
            *("--acs-url", f"http://127.0.0.1:{server.getsockname()[1]}/", "--connection-request-listen", "127.0.0.1"),
            *("--connection-request-port", "0"),
        ]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HOMEPORT_")}
        process = subprocess.Popen(command, env=environment)
        try:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(30)
                _post(connection)
                _answer(connection, INFORM_RESPONSE)
                _post(connection)
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                time.sleep(1.0)  # what follows the session: its status is written, its connection closed
                before, begin = _processor_time(process.pid), time.perf_counter()
                time.sleep(IDLE)
                return (_processor_time(process.pid) - before) / (time.perf_counter() - begin) * 100
        finally:
            process.terminate()
            process.wait()


def _processor_time(pid: int) -> float:
    """Seconds that all threads of a process have run."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _answer(connection: socket.socket, body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)


def _post(connection: socket.socket) -> bytes:
    """The body of the agent's next POST."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)content-length:\s*(\d+)", head)
    length = int(found.group(1)) if found else 0
    parts, size = [body], len(body)
    while size < length:
        parts.append(connection.recv(1 << 20))
        size += len(parts[-1])
    return b"".join(parts)


def _resident(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS: these figures need Linux")


if __name__ == "__main__":
    for label, figure, unit, target in rows():
        print(f"{label}: {figure:.2f} {unit} (target {target:g} {unit})")
