"""The ACS under load: CPU per session of known devices and of sessions with a task, memory, TLS, latency, refusals, growth.

Starts real ACS processes, on SQLite unless the row says otherwise, and drives them with `acs_load.py`. CPU is the process's own, from
the kernel's scheduler, so that other work on the machine adds to it only through shared caches; each figure is the median of the
repetitions, and what is compared was measured in turns. Where ../shared/tools/cwmpload.py is there, both load generators are compared.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOAD = ROOT / "benchmarks" / "acs_load.py"
OTHER_LOAD = ROOT.parent / "shared" / "tools" / "cwmpload.py"
Row = tuple[str, float | None, str, float | None]

SERVE = """
import sys
from pathlib import Path
from homeport.acs.process import main
from homeport.acs.config import AcsSettings
here, directory = "127.0.0.1:0", Path(sys.argv[1])
tls = {"tls_certificate": directory / "cert.pem", "tls_key": directory / "key.pem"} if sys.argv[3] == "tls" else {}
sys.exit(main(AcsSettings(
    data_dir=directory, database=sys.argv[2], cwmp_listen=here, http_listen=here, file_listen=here, cpe_auth="open", **tls)))
"""

FILL = """
import asyncio, sys
from pathlib import Path
from homeport.acs.records import DeviceRecord, StoredValue, TaskRecord
from homeport.acs.storage.interface import TaskChange, UnitOfWork, ValuesChange
from homeport.acs.storage.sql.archive import store_of

async def main(database, devices, values, tasks):
    store = store_of(Path(database) if database.startswith("/") else database)
    await store.open()
    names = [f"Device.X_LOAD_Group.{i // 20 + 1}.Param{i % 20 + 1}" for i in range(200)]
    for start in range(0, devices, 500):
        unit = UnitOfWork()
        for n in range(start, min(start + 500, devices)):
            id = f"00D0F1-XR500v-K{n:011d}"
            unit.devices.append(
                DeviceRecord(id=id, oui="00D0F1", product_class="XR500v", serial_number=f"K{n:011d}", root="Device."))
            if values:
                unit.values.append(ValuesChange(id, {name: StoredValue(f"value-{i}-{n % 7}") for i, name in enumerate(names)}))
            for task in range(tasks):
                unit.tasks.append(TaskChange(TaskRecord(
                    id=f"{n:08d}{task}", device=id, rpc="GetParameterValues", args={"parameter_names": names[:100]}), None))
        await store.commit(unit)
    await store.close()

asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
"""

CERTIFICATE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from system.test_acs_tls import make_certificate
make_certificate(Path(sys.argv[2]))
"""

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "src")}


class Acs:
    """A running ACS. beside: processes of its database."""

    def __init__(self, directory: Path, process: "subprocess.Popen[bytes]") -> None:
        facts = json.loads((directory / "acs.json").read_text())
        self.url: str = facts["cwmp_url"]
        self.http_url: str = facts["http_url"]
        self.file_url: str = facts["file_url"]
        self.directory = directory
        self.token = (directory / "admin.token").read_text().strip()
        self.process = process
        self.beside: list[int] = []

    def load(self, *options: "str | int | float") -> list[dict[str, Any]]:
        """The results of the load generator, one per repetition."""
        command = [sys.executable, str(LOAD), "run", "--url", self.url, "--watch", str(self.process.pid)]
        command += [f"--beside={pid}" for pid in self.beside]
        done = subprocess.run([*command, *map(str, options)], capture_output=True, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def wish(self) -> None:
        """A task for every device: GetParameterValues of 100 parameters."""
        names = [f"Device.X_LOAD_Group.{i // 20 + 1}.Param{i % 20 + 1}" for i in range(100)]
        wish = {"where": 'oui == "00D0F1"', "rpc": "GetParameterValues", "args": {"parameter_names": names}}
        request = urllib.request.Request(
            f"{self.http_url}/api/v1/tasks",
            json.dumps(wish | {"connection_request": False}).encode(),
            {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        urllib.request.urlopen(request).read()

    def other_load(self, sessions: int) -> float | None:
        """CPU per session in milliseconds as cwmpload.py sees it."""
        if not OTHER_LOAD.exists() or not self.url.startswith("http://"):
            return None
        command = [sys.executable, str(OTHER_LOAD), "--json", "--no-prime", "--url", self.url, "--devices", "500"]
        command += ["--sessions", str(sessions), "--concurrency", "50", "--watch", f"acs:{self.process.pid}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return float(json.loads(done.stdout)["watch"]["acs"]["cpu_ms_per_session"])

    @contextlib.contextmanager
    def crowd(self) -> Iterator[None]:
        """1,000 idle connections and 100 that send one byte a second."""
        command = [sys.executable, str(LOAD), "hold", "--url", self.url, "--idle", "1000", "--slow", "100"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None and process.stdout is not None
        try:
            if process.stdout.readline() != b"held\n":
                raise RuntimeError("the idle and slow connections were not taken")
            yield
        finally:
            process.stdin.close()
            process.wait(20)
            process.stdout.close()


@contextlib.contextmanager
def acs(
    devices: int = 0, *, values: bool = True, tasks: int = 0, database: str = "", tls: bool = False
) -> Iterator[Acs]:
    """An ACS on an empty database, or on one with so many known devices, of 200 values and with tasks of 100 GetParameterValues."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if devices:
            where = [database or str(directory / "acs.db"), str(devices), str(int(values)), str(tasks)]
            subprocess.run([sys.executable, "-c", FILL, *where], env=ENVIRONMENT, check=True)
        if tls:
            command = [sys.executable, "-c", CERTIFICATE, str(ROOT / "tests"), name]
            subprocess.run(command, env=ENVIRONMENT, check=True)
        with (directory / "log").open("wb") as log:
            command = [sys.executable, "-c", SERVE, name, database, "tls" if tls else ""]
            process = subprocess.Popen(command, env=ENVIRONMENT, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 30
            while not (directory / "acs.json").exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the ACS did not start: {(directory / 'log').read_text()}")
                time.sleep(0.05)
            yield Acs(directory, process)
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def postgres() -> Iterator[tuple[str, int] | None]:
    """(URL of a new database, the server's process), or None where there is no PostgreSQL."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.postgres import Server, binaries

    if binaries() is None:
        yield None
        return
    server = Server().start()
    try:
        assert server._process is not None
        yield server.url("postgres"), server._process.pid
    finally:
        server.remove()


def family(pid: int) -> list[int]:
    """A process and its children."""
    return [pid, *(int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def middle(results: list[dict[str, Any]], key: str = "cpu_ms") -> float:
    """The median over the repetitions."""
    return statistics.median(float(r[key]) for r in results)


def lost(results: list[dict[str, Any]]) -> int:
    """Sessions that were refused or lost."""
    return sum(int(r["failed"]) for r in results)


def known_devices(few: Acs, many: Acs) -> Iterator[Row]:
    """The session of which there are most, and whether it costs the same among many devices."""
    few.load("--prime", "--sessions", 2000)
    many.load("--devices", 100_000, "--sessions", 20_000)
    ours, theirs, other = [], [], []
    for turn in range(5):
        ours += few.load("--sessions", 3000)
        theirs += many.load("--devices", 100_000, "--base", 4000 * turn, "--sessions", 4000)
        other.append(few.other_load(3000))
    yield "known device's session, 500 devices, CPU", middle(ours), "ms", 0.30
    yield "  the least disturbed of five repetitions", min(float(r["cpu_ms"]) for r in ours), "ms", None
    yield "  sessions refused or lost at 50 at once", lost(ours), "sessions", 0
    yield "  throughput", max(float(r["per_second"]) for r in ours), "sessions/s", None
    yield "  resident memory", max(float(r["memory_mb"]) for r in ours), "MB", 100
    yield "  the load generator's own CPU, for comparison", middle(ours, "load_ms"), "ms", None
    seen = [figure for figure in other if figure is not None]
    if seen:
        yield "  the same with cwmpload.py, as a ratio", statistics.median(seen) / middle(ours), "times", None
    ratio = statistics.median(t["cpu_ms"] / o["cpu_ms"] for t, o in zip(theirs, ours, strict=True))
    yield "known device's session, 100,000 devices, CPU", middle(theirs), "ms", None
    yield "  as a multiple of 500 devices", ratio, "times", 1.2
    yield "  resident memory", max(float(r["memory_mb"]) for r in theirs), "MB", 100


def tasks() -> Iterator[Row]:
    """A session in which 100 parameters are read: first of devices of which nothing was read before, then again."""
    count, results = 1000, []
    with acs() as server:
        server.load("--devices", count, "--sessions", 2 * count)
        for _ in range(4):
            server.wish()
            results += server.load("--devices", count, "--sessions", count)
    yield "session with a task of 100 GetParameterValues, values new, CPU", float(results[0]["cpu_ms"]), "ms", 0.9
    yield "session with a task of 100 GetParameterValues, values known, CPU", middle(results[1:]), "ms", 0.9
    yield (
        "  sessions refused or lost, or without their task",
        lost(results) + 4 * count - sum(int(r["asked"]) for r in results),
        "sessions",
        0,
    )


def latency(server: Acs) -> Iterator[Row]:
    """How long devices wait for the first reply at 70 % of what the server can do, alone and beside idle and slow connections."""
    rate = 0.7 * max(float(r["per_second"]) for r in server.load("--sessions", 3000, "--repeat", 2))
    alone, crowded = [], []
    for _ in range(3):
        alone += server.load("--sessions", int(3 * rate), "--rate", rate)
        with server.crowd():
            crowded += server.load("--sessions", int(3 * rate), "--rate", rate)
    yield f"first reply at 70 % load ({rate:.0f} sessions/s), p50", middle(alone, "first_p50_ms"), "ms", None
    yield "  p99", middle(alone, "first_p99_ms"), "ms", 50
    yield "beside 1,000 idle connections and 100 slow senders, p99", middle(crowded, "first_p99_ms"), "ms", 50
    pairs = zip(crowded, alone, strict=True)
    yield (
        "  CPU per session, as a multiple",
        statistics.median(c["cpu_ms"] / a["cpu_ms"] for c, a in pairs),
        "times",
        1.2,
    )
    yield "  sessions refused or lost, both", lost(alone + crowded), "sessions", 0


def secure() -> Iterator[Row]:
    """A new TLS connection (ECDSA P-256) for each session."""
    with acs(tls=True) as server:
        results = server.load("--prime", "--sessions", 1500, "--warmup", 500, "--repeat", 3)
    yield "known device's session over a new TLS connection, CPU", middle(results), "ms", 1.0
    yield "  sessions refused or lost", lost(results), "sessions", 0
    yield "  resident memory", max(float(r["memory_mb"]) for r in results), "MB", 100


def on_postgres() -> Iterator[Row]:
    """The same sessions on PostgreSQL."""
    with postgres() as found:
        if found is None:
            yield "PostgreSQL", None, "skipped: no PostgreSQL server here (apt-get install postgresql)", None
            return
        url, pid = found
        with acs(2000, tasks=1, database=url) as server:
            server.beside = family(pid)
            server.load("--devices", 500, "--base", 1500, "--sessions", 1500)
            known = server.load("--devices", 500, "--base", 1500, "--sessions", 2000, "--repeat", 3)
            reads = [server.load("--devices", 500, "--base", n, "--sessions", 500)[0] for n in (0, 500, 1000)]
    yield "PostgreSQL: known device's session, CPU of the ACS", middle(known), "ms", None
    yield "  CPU of the database", middle(known, "beside_ms"), "ms", None
    yield "PostgreSQL: session with a task of 100 GetParameterValues, CPU of the ACS", middle(reads), "ms", None
    yield "  CPU of the database", middle(reads, "beside_ms"), "ms", None
    yield "  sessions refused or lost", lost(known + reads), "sessions", 0


def rows() -> Iterator[Row]:
    """What the issue promises of the ACS."""
    with acs() as few:
        with acs(100_000) as many:
            yield from known_devices(few, many)
        yield from latency(few)
    yield from tasks()
    yield from secure()
    yield from on_postgres()


if __name__ == "__main__":
    for row in rows():
        print(row)
