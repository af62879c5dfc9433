"""kill -9 at random moments between the Download and the confirmed report: real processes, real disk, real http."""

import http.server
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

DEVICE = Path(__file__).parent.parent / "support" / "transfer_device.py"
KILLS = int(os.environ.get("HOMEPORT_TEST_KILLS", "4"))
BODY = random.Random(3).randbytes(400_000)


class Slow(http.server.BaseHTTPRequestHandler):
    """Sends the body in pieces, so that there is time to be killed in between."""

    def do_GET(self) -> None:
        if self.path != "/f":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        for start in range(0, len(BODY), 40_000):
            try:
                self.wfile.write(BODY[start : start + 40_000])
                time.sleep(0.005)
            except OSError:
                return  # the device was killed

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def base() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(5)


def life(directory: Path, url: str, key: str, *, accept: bool, killed_after: float | None) -> list[str]:
    """The lines that the device printed before it was killed, or ended by itself."""
    command = [sys.executable, str(DEVICE), str(directory), url, key, "accept" if accept else "no"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    timer = threading.Timer(killed_after, process.kill) if killed_after is not None else None
    if timer:
        timer.start()
    lines = []
    try:
        for line in process.stdout:
            lines.append(line.strip())
            if line.startswith("{"):
                try:
                    process.stdin.write("ack\n")
                    process.stdin.flush()
                except BrokenPipeError:
                    pass  # killed between its report and our answer
        status = process.wait(20)
        assert status in (0, -9), process.stderr.read()
    finally:
        if timer:
            timer.cancel()
        process.kill()
        process.wait()
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass  # there is nobody to hear the rest
        process.stdout.close()
        process.stderr.close()
    return lines


@pytest.mark.case("T15")
def test_a_killed_device_gives_exactly_one_result(tmp_path: Path, base: str) -> None:
    """Right command key, right fault; a report is repeated word for word at most, and never after it was confirmed."""
    dice = random.Random(int(os.environ.get("HOMEPORT_TEST_SEED", "1")))
    kills = transfers = 0
    while kills < KILLS:
        key = f"key {transfers}"
        url = base + ("/f" if transfers % 3 else "/missing")
        reports: set[str] = set()
        deaths = 0
        while True:
            # A transfer that is interrupted more often is given up by the device itself.
            wait = dice.uniform(0.05, 0.6) if deaths < 3 and kills < KILLS else None
            lines = life(tmp_path, url, key, accept=not reports, killed_after=wait)
            reports |= {line for line in lines if line.startswith("{")}
            if lines and lines[-1] == "confirmed":
                break
            kills, deaths = kills + 1, deaths + 1
        assert len(reports) == 1, reports
        report = json.loads(reports.pop())
        assert report["command_key"] == key
        assert report["fault_struct"]["fault_code"] == (0 if transfers % 3 else 9016)
        transfers += 1
    assert (tmp_path / "splash").read_bytes() == BODY or transfers == 1
    assert list((tmp_path / "files").iterdir()) == []
