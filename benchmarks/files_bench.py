"""What a download of 100 MB costs the agent, in memory and CPU, beside curl for the same file from the same server (nginx, loopback)."""

import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

Row = tuple[str, float | None, str, float | None]

SIZE = 100_000_000
ROUNDS = 5

FETCH = """
import asyncio, json, resource, sys, time
from pathlib import Path
import uvloop
from homeport.transport.files import FileLimits, fetch

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

async def main():
    limits = FileLimits(reserve=0)
    start = time.process_time()
    await fetch(sys.argv[1] + "small", Path(sys.argv[2]), limits=limits)  # imports aiohttp
    first, before = time.process_time() - start, peak()
    start = time.process_time()
    await fetch(sys.argv[1] + "big", Path(sys.argv[2]), limits=limits)
    print(json.dumps({"cpu": time.process_time() - start, "memory": peak() - before, "import": first}))

uvloop.run(main())
"""


@contextlib.contextmanager
def _nginx(directory: Path) -> Iterator[str]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    parts = " ".join(f"{k}_temp_path {directory}/t-{k};" for k in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.geteuid() == 0 else ""
    (directory / "nginx.conf").write_text(
        f"{user} daemon off; worker_processes 1; pid {directory}/pid; error_log {directory}/err; events {{}} "
        f"http {{ access_log off; {parts} sendfile on; server {{ listen 127.0.0.1:{port}; root {directory}; }} }}"
    )
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    assert nginx is not None
    command = [nginx, "-p", str(directory), "-c", str(directory / "nginx.conf")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                break
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(10)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def rows() -> Iterator[Row]:
    """Memory beyond an agent that has fetched before, and CPU as a ratio to curl's; the lowest of five
    alternating rounds, for others share the machine."""
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    if not (shutil.which("nginx", path=path) and shutil.which("curl")):
        yield ("download of 100 MB: nginx or curl is not installed", None, "skipped", None)
        return
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        block = os.urandom(1_000_000)
        with (directory / "big").open("wb") as file:
            for _ in range(SIZE // len(block)):
                file.write(block)
        (directory / "small").write_bytes(b"x")
        curls, ours = [], []
        with _nginx(directory) as url:
            for _ in range(ROUNDS):
                before = _children_cpu()
                subprocess.run(["curl", "-s", "-o", str(directory / "out"), url + "big"], check=True)
                curls.append(_children_cpu() - before)
                command = [sys.executable, "-c", FETCH, url, str(directory / "out")]
                answer = subprocess.run(command, check=True, capture_output=True, text=True)
                ours.append(json.loads(answer.stdout))
    curl = min(curls)
    cpu = min(float(o["cpu"]) for o in ours)
    yield ("download of 100 MB: CPU of curl", curl, "s", None)
    yield ("download of 100 MB: CPU of the agent, SHA-256 and fsync included", cpu, "s", None)
    yield ("download of 100 MB: CPU, ratio to curl", cpu / curl, "x", 1.5)
    yield ("download of 100 MB: memory", max(float(o["memory"]) for o in ours), "MB", 15)
    yield (
        "first use: loading the HTTP library, once",
        sorted(float(o["import"]) for o in ours)[ROUNDS // 2],
        "s",
        None,
    )
