"""The ACS under load: CPU per session of known devices and of sessions with a task, memory, refusals, growth.

Starts a real `homeport acs serve` on SQLite for each figure and drives it with the load generator `cwmpload.py`, which lies beside the
repository in ../shared/tools; without it there is nothing to measure. Absolute figures depend on the machine and on what else it does.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOAD = ROOT.parent / "shared" / "tools" / "cwmpload.py"
Row = tuple[str, float | None, str, float | None]

SERVE = """
import sys
from pathlib import Path
from homeport.acs.app import main
from homeport.acs.config import AcsSettings
here = "127.0.0.1:0"
sys.exit(main(AcsSettings(data_dir=Path(sys.argv[1]), cwmp_listen=here, http_listen=here, file_listen=here, cpe_auth="open")))
"""

FILL = """
import asyncio, sys
from pathlib import Path
from homeport.acs.records import DeviceRecord, StoredValue
from homeport.acs.storage.interface import UnitOfWork, ValuesChange
from homeport.acs.storage.sql.sqlite import SqliteStore

async def main(path, count):
    store = SqliteStore(path)
    await store.open()
    for start in range(0, count, 2000):
        unit = UnitOfWork()
        for n in range(start, min(start + 2000, count)):
            id = f"00D0F1-XR500v-K{n:011d}"
            unit.devices.append(
                DeviceRecord(id=id, oui="00D0F1", product_class="XR500v", serial_number=f"K{n:011d}", root="Device."))
            unit.values.append(
                ValuesChange(id, {f"Device.X_LOAD_Group.1.Param{i}": StoredValue(f"value-{i}-{n % 7}") for i in range(200)}))
        await store.commit(unit)
    await store.close()

asyncio.run(main(Path(sys.argv[1]) / "acs.db", int(sys.argv[2])))
"""


class Acs:
    """A running ACS."""

    def __init__(self, directory: Path, process: "subprocess.Popen[bytes]") -> None:
        self.directory = directory
        self.process = process
        self.addresses = json.loads((directory / "acs.json").read_text())

    def load(self, *options: str) -> list[dict[str, Any]]:
        """The load generator's results, one per repetition."""
        command = [sys.executable, str(LOAD), "--json", "--url", self.addresses["cwmp_url"]]
        command += ["--watch", f"acs:{self.process.pid}", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def task(self, device: str, body: dict[str, Any]) -> None:
        """A task through REST."""
        token = (self.directory / "admin.token").read_text().strip()
        request = urllib.request.Request(
            f"{self.addresses['http_url']}/api/v1/devices/{device}/tasks",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        urllib.request.urlopen(request).read()


@contextlib.contextmanager
def acs(fill: int = 0) -> Iterator[Acs]:
    """An ACS on an empty database, or on one with so many known devices of 200 parameters."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        if fill:
            subprocess.run([sys.executable, "-c", FILL, name, str(fill)], env=environment, check=True)
        quiet = {
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
        }  # every task is logged with who asked for it
        process = subprocess.Popen([sys.executable, "-c", SERVE, name], env=environment, **quiet)
        try:
            deadline = time.monotonic() + 30
            while not (directory / "acs.json").exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the ACS did not start")
                time.sleep(0.05)
            yield Acs(directory, process)
        finally:
            process.terminate()
            process.wait()


def best(results: list[dict[str, Any]]) -> float:
    """CPU per session, ms, of the repetition that was disturbed least."""
    return min(float(r["watch"]["acs"]["cpu_ms_per_session"]) for r in results)


def rows() -> Iterator[Row]:
    """What the issue promises of the ACS."""
    if not LOAD.exists():
        yield "ACS under load", None, "skipped: there is no ../shared/tools/cwmpload.py", None
        return
    common = ("--sessions", "5000", "--concurrency", "50", "--warmup", "1000", "--repeat", "3")
    with acs() as server:
        known = server.load("--devices", "500", *common)
    few = best(known)
    yield "known device's session, 500 devices, CPU", few, "ms", 0.45
    yield "the same: sessions refused or lost", sum(r["sessions_failed"] for r in known), "sessions", 0
    yield "the same: throughput", max(r["sessions_per_s"] for r in known), "sessions/s", None
    yield "the same: resident memory", max(r["watch"]["acs"]["rss_mb_peak"] for r in known), "MB", 100
    yield (
        "the load generator's own CPU, for comparison",
        min(r["loadgen_cpu_s_per_session"] for r in known) * 1e3,
        "ms",
        None,
    )
    with acs(fill=100_000) as server:
        many = server.load(
            "--devices", "100000", "--no-prime", "--sessions", "20000", "--concurrency", "50", "--repeat", "2"
        )
    yield "known device's session, 100,000 devices, CPU", best(many), "ms", None
    yield "the same, as a multiple of 500 devices", best(many) / few, "times", 1.2
    yield "the same: resident memory", max(r["watch"]["acs"]["rss_mb_peak"] for r in many), "MB", 100
    with acs() as server:
        count = 1000
        server.load("--devices", str(count), "--sessions", "1", "--concurrency", "20")
        names = [f"Device.X_LOAD_Group.{i // 20 + 1}.Param{i % 20 + 1}" for i in range(100)]
        body = {"rpc": "GetParameterValues", "args": {"parameter_names": names}, "connection_request": False}
        for n in range(count):
            server.task(f"00D0F1-XR500v-K{n:011d}", body)
        tasks = server.load(
            "--devices", str(count), "--no-prime", "--sessions", str(count), "--concurrency", "50", "--rpc"
        )
    yield "session with a task of 100 GetParameterValues, CPU", best(tasks), "ms", 0.9
    yield "the same: tasks sent", sum(r["rpcs"].get("GetParameterValues", 0) for r in tasks), "tasks", None


if __name__ == "__main__":
    for row in rows():
        print(row)
