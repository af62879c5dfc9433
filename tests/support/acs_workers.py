"""Connections to a chosen worker of an ACS with several: the kernel says which process has accepted which."""

import asyncio
import contextlib
import json
import os
from pathlib import Path

from support.acs_wire import Connection
from support.ends import Acs

AT_ONCE = 4
"""Connections that are opened together: one alone goes to whichever worker is quicker, which is often the same."""


def workers(acs: Acs) -> list[int]:
    """The process ids of the workers, in the order of their numbers."""
    found: list[int] = json.loads((acs.data / "acs.json").read_text())["workers"]
    return found


def _inode(connection: Connection) -> str:
    """The number of our peer's socket; "0" while nobody has accepted it."""
    mine, theirs = (connection.writer.get_extra_info(n)[1] for n in ("sockname", "peername"))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1][-4:], 16) == theirs and int(fields[2][-4:], 16) == mine:
            return fields[9]
    return "0"


def _has(pid: int, inode: str) -> bool:
    """Whether the process has this socket."""
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            if os.readlink(file) == f"socket:[{inode}]":
                return True
    return False


async def connection_to(url: str, pid: int) -> Connection:
    """A connection that this worker has accepted."""
    async with asyncio.timeout(20):
        while True:
            made = await asyncio.gather(*(Connection.to(url) for _ in range(AT_ONCE)))
            chosen = None
            for connection in made:
                while (inode := _inode(connection)) == "0":
                    await asyncio.sleep(0)
                if chosen is None and _has(pid, inode):
                    chosen = connection
                else:
                    await connection.close()
            if chosen is not None:
                return chosen


def rest_at(acs: Acs, pid: int) -> "Rest":
    """The REST API of this worker."""
    return Rest(acs, pid)


class Rest:
    """One worker's REST API, over one connection."""

    def __init__(self, acs: Acs, pid: int) -> None:
        self._acs = acs
        self._pid = pid
        self._connection: Connection | None = None

    async def __call__(self, method: str, path: str, body: object = None) -> "object":
        """The JSON answer; path: below /api/v1, or from the root."""
        if self._connection is None:
            self._connection = await connection_to(f"{self._acs.http_url}/", self._pid)
        headers = {"Authorization": f"Bearer {(self._acs.data / 'admin.token').read_text().strip()}"}
        data = b""
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        target = path if path.startswith("/") else f"/api/v1/{path}"
        answer = await self._connection.request(method, target, data, headers)
        assert answer.status < 400, answer
        return answer.json if answer.body[:1] in (b"{", b"[") else answer.body.decode()
