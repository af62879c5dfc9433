"""Connections to a chosen worker of an ACS with several: the kernel says which process has accepted which."""

import asyncio
import contextlib
import json
import os
from pathlib import Path

from support.acs_wire import Connection
from support.ends import Acs


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
    """A connection that this worker has accepted: made anew until it has, for which of them is quicker is chance."""
    async with asyncio.timeout(20):
        while True:
            connection = await Connection.to(url)
            while (inode := _inode(connection)) == "0" and not connection.reader.at_eof():
                await asyncio.sleep(0)
            if _has(pid, inode):
                return connection
            await connection.close()
