"""Real HAProxy with the text of examples/haproxy, in front of two ACS nodes of a test."""

import os
import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.ends import Acs, wait_for

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "haproxy"

needs_haproxy = pytest.mark.skipif(shutil.which("haproxy") is None, reason="no haproxy here: apt-get install haproxy")


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody uses now."""
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in taken]
    for s in taken:
        s.close()
    return ports


class Haproxy:
    """HAProxy before these nodes.

    changes: (old, new) texts of the configuration, for what a test needs otherwise. example: which configuration.
    """

    def __init__(self, folder: Path, nodes: list[Acs], *changes: tuple[str, str], example: str = "haproxy.cfg") -> None:
        text = (EXAMPLES / example).read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "haproxy.cfg"
        self._file.write_text(text)
        self._log = folder / "haproxy.log"
        cwmp, cwmp_tls, files, rest = free_ports(4)
        self.cwmp_tls_url, self.files = f"https://127.0.0.1:{cwmp_tls}/", f"127.0.0.1:{files}"
        self.cwmp_url, self.rest_url = f"http://127.0.0.1:{cwmp}/", f"http://127.0.0.1:{rest}"
        self._environment = {
            **os.environ,
            "CWMP_BIND": f"127.0.0.1:{cwmp}",
            "CWMP_TLS_BIND": f"127.0.0.1:{cwmp_tls}",
            "FILES_BIND": f"127.0.0.1:{files}",
            "REST_BIND": f"127.0.0.1:{rest}",
        }
        for number, node in enumerate(nodes, 1):
            http = urlsplit(node.http_url)
            self._environment |= {
                f"NODE{number}_CWMP": node.cwmp,
                f"NODE{number}_CWMP_TLS": node.cwmp_tls,
                f"NODE{number}_FILES": node.files,
                f"NODE{number}_HOST": str(http.hostname),
                f"NODE{number}_REST": str(http.port),
            }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Haproxy":
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["haproxy", "-db", "-f", str(self._file)], stdout=log, stderr=log, env=self._environment
            )
        wait_for(self._answers, "the start of HAProxy")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        parts = urlsplit(self.rest_url)
        try:
            socket.create_connection((str(parts.hostname), int(parts.port or 0)), 1).close()
        except OSError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def said(self) -> str:
        """Its log."""
        return self._log.read_text(errors="replace")
