"""The ACS's file server: a file of 100 MB given to curl, over http and https; CPU beside nginx with the same file, and memory.

nginx and the ACS are asked in turns; a figure is the lowest of the rounds, for others share the machine. nginx has sendfile off as
well as on: a server that checks a signature, limits rates and cuts who stalls hands the bytes on itself.
"""

import contextlib
import hashlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src"), str(HERE.parent / "tests")]

from acs_bench import Acs, acs  # noqa: E402
from acs_load import cpu, memory  # noqa: E402

Row = tuple[str, float | None, str, float | None]

SIZE = 100_000_000
ROUNDS = 5
TASK = "000000000"


@contextlib.contextmanager
def nginx(directory: Path, certificate: Path) -> Iterator[tuple[dict[str, str], list[int]]]:
    """(URL by kind, its processes): http with and without sendfile, https."""
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    assert program is not None
    ports = []
    for _ in range(3):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            ports.append(s.getsockname()[1])
    parts = " ".join(f"{k}_temp_path {directory}/t-{k};" for k in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.geteuid() == 0 else ""
    keys = f"ssl_certificate {certificate}/cert.pem; ssl_certificate_key {certificate}/key.pem;"
    servers = (
        f"server {{ listen 127.0.0.1:{ports[0]}; root {directory}; sendfile on; }}"
        f"server {{ listen 127.0.0.1:{ports[1]}; root {directory}; sendfile off; }}"
        f"server {{ listen 127.0.0.1:{ports[2]} ssl; root {directory}; sendfile off; {keys} }}"
    )
    (directory / "nginx.conf").write_text(
        f"{user} daemon off; master_process off; pid {directory}/pid; error_log {directory}/err; events {{}} "
        f"http {{ access_log off; {parts} {servers} }}"
    )
    process = subprocess.Popen(
        [program, "-p", str(directory), "-c", str(directory / "nginx.conf")], stderr=subprocess.DEVNULL
    )
    try:
        for port in ports:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                    break
                time.sleep(0.02)
        schemes = {"sendfile": "http", "http": "http", "https": "https"}
        urls = zip(schemes.items(), ports, strict=True)
        yield {kind: f"{scheme}://127.0.0.1:{port}/big" for (kind, scheme), port in urls}, [process.pid]
    finally:
        process.terminate()
        process.wait(10)


def fetch(url: str, *pids: int) -> float:
    """Seconds of the server's CPU for one download with curl."""
    before = cpu(*pids)
    done = subprocess.run(
        ["curl", "-sk", "-o", os.devnull, "-w", "%{http_code} %{size_download}", url], capture_output=True, check=True
    )
    if done.stdout.decode() != f"200 {SIZE}":
        raise RuntimeError(f"the download failed: {done.stdout.decode()}")
    return cpu(*pids) - before


def rows() -> Iterator[Row]:
    """CPU as a ratio to nginx, and memory beyond an ACS that has given nothing yet."""
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    if not (shutil.which("nginx", path=path) and shutil.which("curl")):
        yield "file of 100 MB: nginx or curl is not installed", None, "skipped", None
        return
    with tempfile.TemporaryDirectory() as name, acs(1, tasks=1) as plain, acs(1, tasks=1, tls=True) as secure:
        directory = Path(name)
        directory.chmod(0o755)
        big = directory / "big"
        big.write_bytes(os.urandom(1_000_000) * (SIZE // 1_000_000))
        ours = {"http": (store(plain, big), plain), "https": (store(secure, big), secure)}
        idle = {kind: memory(server.process.pid) for kind, (_, server) in ours.items()}
        spent: dict[str, list[float]] = {}
        with nginx(directory, secure.directory) as (urls, processes):
            for _ in range(ROUNDS):
                for kind, (url, server) in ours.items():
                    spent.setdefault(f"ACS {kind}", []).append(fetch(url, server.process.pid))
                for kind, url in urls.items():
                    spent.setdefault(f"nginx {kind}", []).append(fetch(url, *processes))
        grown = {kind: memory(server.process.pid) - idle[kind] for kind, (_, server) in ours.items()}
    least = {kind: min(figures) for kind, figures in spent.items()}
    yield "file of 100 MB by http: CPU of the ACS", least["ACS http"] * 1e3, "ms", None
    yield "  nginx without sendfile", least["nginx http"] * 1e3, "ms", None
    yield "  nginx with sendfile", least["nginx sendfile"] * 1e3, "ms", None
    yield "  ratio to nginx without sendfile", least["ACS http"] / least["nginx http"], "times", 4.0
    yield "file of 100 MB by https: CPU of the ACS", least["ACS https"] * 1e3, "ms", None
    yield "  ratio to nginx", least["ACS https"] / least["nginx https"], "times", 4.0
    yield "  memory beyond the idle ACS, http and https", max(grown.values()), "MB", 15


def store(server: Acs, file: Path) -> str:
    """The URL of a transfer of the file, which is stored at the ACS before."""
    from homeport.acs.services.file_links import Direction, FileLinks

    subprocess.run(
        [
            *("curl", "-s", "--fail", "-o", os.devnull, "-H", f"Authorization: Bearer {server.token}"),
            *("-F", f"file=@{file}", "-F", "file_type=1 Firmware Upgrade Image", f"{server.http_url}/api/v1/files"),
        ],
        check=True,
    )
    with contextlib.closing(sqlite3.connect(server.directory / "acs.db")) as database:
        (secret,) = database.execute("SELECT value FROM secret WHERE name = 'files'").fetchone()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    path = FileLinks(secret).path(Direction.DOWN, "big", task=TASK, expires=time.time() + 3600, sha256=digest)
    return f"{server.file_url.rstrip('/')}{path}"


if __name__ == "__main__":
    for row in rows():
        print(row)
