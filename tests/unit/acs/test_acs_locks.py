"""Who may work on a data directory and on a database file: one ACS, and another is told which."""

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from homeport.acs.app import AcsApp
from homeport.acs.config import AcsSettings
from homeport.acs.ports import Ports, take_database, take_directory
from homeport.errors import ConfigError

HERE = "127.0.0.1:0"


def settings(data: Path, database: str = "") -> AcsSettings:
    return AcsSettings(
        data_dir=data, database=database, cwmp_listen=HERE, http_listen=HERE, file_listen=HERE, stun_listen=""
    )


@pytest.mark.parametrize("shared", ["elsewhere/fleet.db", "one/acs.db"])
def test_two_acs_with_one_database_file_are_refused(tmp_path: Path, shared: str) -> None:
    """Also where their data directories differ: each would keep in its memory what the other does not see."""
    path = tmp_path / shared
    link = tmp_path / "link.db"
    link.symlink_to(path)

    async def scene() -> None:
        first = AcsApp(settings(tmp_path / "one", "" if path.parent.name == "one" else f"sqlite:///{path}"))
        path.parent.mkdir(exist_ok=True)
        await first.start()
        try:
            for name in (path, link):
                second = AcsApp(settings(tmp_path / "two", f"sqlite:///{name}"))
                with pytest.raises(ConfigError, match="another ACS works with the database"):
                    await second.start()
                await second.stop()
        finally:
            await first.stop()
        third = AcsApp(settings(tmp_path / "two", f"sqlite:///{path}"))
        await third.start()
        await third.stop()

    asyncio.run(scene())


def test_the_refusal_names_the_processes_that_are_in_the_way(tmp_path: Path) -> None:
    """Also those that nobody knows any more: a hanging worker whose parent was killed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        kept = (take_directory(tmp_path), take_database(tmp_path / "fleet.db"), socket.create_server(("127.0.0.1", 0)))
        os.write(writing, kept[2].getsockname()[1].to_bytes(2))
        signal.pause()
        del kept
    try:
        port = int.from_bytes(os.read(reading, 2))
        with pytest.raises(ConfigError, match=rf"another ACS works in {tmp_path} \(process {pid}\); stop it"):
            take_directory(tmp_path)
        with pytest.raises(ConfigError, match=rf"works with the database {tmp_path}/fleet.db \(process {pid}\)"):
            take_database(tmp_path / "fleet.db")
        with pytest.raises(ConfigError, match=rf"another port, or stop what uses it \(process {pid}\)"):
            Ports.bind(
                AcsSettings(data_dir=tmp_path, cwmp_listen=f"127.0.0.1:{port}", http_listen=HERE, file_listen=HERE)
            )
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)
    take_directory(tmp_path).close()


def test_a_start_waits_for_the_workers_of_a_killed_parent(tmp_path: Path) -> None:
    """They hold the lock for a moment longer, and a service manager or a person starts the next ACS at once."""
    pid = os.fork()
    if pid == 0:
        kept = take_directory(tmp_path)
        if os.fork() == 0:
            time.sleep(0.2)  # what a worker takes to end its sessions
        del kept
        os._exit(0)
    os.waitpid(pid, 0)
    take_directory(tmp_path).close()
