"""DKT's three ways to start the agent, with the real processes: what is stored; URL and credentials; a configuration file by TFTP."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cpe_support.agent_process import AgentProcess
from cpe_support.command import homeport
from cpe_support.http_acs import HttpAcs
from cpe_support.open_agent import until
from homeport.cpe.control_client import ControlClient
from homeport.cpe.state import AGENT, Store
from homeport.cpe.status import AgentStatus, load
from homeport.transport.files.tftp_server import TftpServer

pytestmark = pytest.mark.system

ROOT = "Device.ManagementServer."


def state(directory: Path) -> AgentStatus:
    return load(directory) or AgentStatus()


def test_the_first_way_starts_by_what_is_stored(tmp_path: Path) -> None:
    """Switched off, the agent contacts nobody, also after a restart; `enable` alone lets it contact the ACS that is stored."""

    async def story() -> None:
        async with HttpAcs() as acs:
            agent = AgentProcess(tmp_path, acs.url, "--no-web")
            await agent.start()
            await acs.sessions(1)
            said = await homeport(tmp_path, "disable")
            assert said.returncode == 0, said.stderr
            await asyncio.to_thread(ControlClient(tmp_path).call, "inform")
            await until(lambda: state(tmp_path).state == "disabled")
            assert await agent.stop() == 0

            again = AgentProcess(tmp_path, "", "--no-web")
            await again.start()
            await until(lambda: state(tmp_path).state == "disabled" and state(tmp_path).pid == again.pid)
            assert len(acs.informs) == 1
            said = await homeport(tmp_path, "enable")
            assert f"contacts {acs.url}" in said.stdout, said
            await acs.sessions(2)
            assert "1 BOOT" in acs.events()
            assert await again.stop() == 0

    asyncio.run(story())


def test_the_second_way_starts_by_url_user_password_and_port(tmp_path: Path) -> None:
    """Given before the agent runs, they are what it starts with; the password may come from standard input."""

    async def story() -> None:
        async with HttpAcs(credentials=("box-7", "s3cret")) as acs:
            url, port = "http://127.0.0.1/acs", str(acs.port)
            said = await homeport(tmp_path, "enable", url, "box-7", "-", port, stdin="s3cret\n")
            assert said.returncode == 0 and "no agent runs" in said.stdout, said
            agent = AgentProcess(tmp_path, "", "--no-web")
            await agent.start()
            await acs.sessions(1)
            assert acs.events(0) == ["0 BOOTSTRAP", "1 BOOT"]
            await until(lambda: state(tmp_path).acs_url_from == "stored")
            assert state(tmp_path).acs_url == acs.url
            assert "s3cret" not in agent.log
            assert await agent.stop() == 0
            assert not any("s3cret" in line for line in (tmp_path / "config.log").read_text().splitlines())

    asyncio.run(story())


def test_the_third_way_starts_by_a_configuration_file_that_tftp_brings(tmp_path: Path) -> None:
    """The file names the ACS and more. One with a mistake in it changes nothing and says which line; a missing one says so."""

    async def story() -> None:
        shelf = tmp_path / "shelf"
        shelf.mkdir()
        async with HttpAcs(credentials=("box-8", "pass word")) as acs:
            lines = ["# DKT 797xx", "Device.ManagementServer", f"{ROOT}URL {acs.url}", f"{ROOT}Username box-8"]
            lines += [f'{ROOT}Password "pass word"', f"{ROOT}PeriodicInformInterval 300"]
            (shelf / "good.cfg").write_text("\n".join(lines) + "\n")
            (shelf / "bad.cfg").write_text("\n".join([*lines, "Device.DeviceInfo.UpTime 7"]) + "\n")
            server = TftpServer(shelf)
            host = f"127.0.0.1:{await server.start()}"
            home = tmp_path / "state"
            agent = AgentProcess(home, "", "--no-web")
            await agent.start()
            await until(lambda: state(home).state == "no ACS URL")

            said = await homeport(home, "enable", "bad.cfg", "--tftp", host)
            assert said.returncode != 0
            assert "line 7" in said.stderr and "read-only" in said.stderr
            said = await homeport(home, "enable", "none.cfg", "--tftp", host)
            assert said.returncode != 0
            assert "none.cfg" in said.stderr and "no such file" in said.stderr
            assert state(home).acs_url == ""

            said = await homeport(home, "enable", "good.cfg", "--tftp", host)
            assert f"contacts {acs.url}" in said.stdout, said
            await acs.sessions(1)
            assert "0 BOOTSTRAP" in acs.events(0)
            name = f"{ROOT}PeriodicInformInterval"
            assert await asyncio.to_thread(ControlClient(home).call, "get", paths=[name]) == {name: "300"}
            assert await agent.stop() == 0
            await server.stop()

    asyncio.run(story())


def test_a_file_of_a_wrong_device_is_refused_before_the_agent_has_run(tmp_path: Path) -> None:
    """Without an agent the file is checked against the profile that is named, and nothing is left behind."""

    async def story() -> None:
        file = tmp_path / "wrong.cfg"
        file.write_text(f"{ROOT}URL http://acs.example/\nDevice.WiFi.Radio.1.Channel 6\n")
        home = tmp_path / "state"
        said = await homeport(home, "enable", str(file), "--profile", "dkt-797xx")
        assert said.returncode != 0
        assert "line 2" in said.stderr and "Device.WiFi.Radio.1.Channel" in said.stderr
        store = Store(home)
        assert dict(store.items(AGENT)) == {}
        store.close()

    asyncio.run(story())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
def test_root_leaves_an_order_as_the_agents_user() -> None:
    """An agent that starts later as its own user can open what root left for it."""
    above = Path(tempfile.mkdtemp(prefix="homeport-"))  # pytest's own directories are closed to other users
    try:
        above.chmod(0o711)
        home = above / "home"
        home.mkdir(mode=0o700)
        os.chown(home, 65534, 65534)
        command = [
            sys.executable,
            "-m",
            "homeport",
            "cpe",
            "enable",
            "http://acs.example/",
            "box",
            "--state-dir",
            str(home),
        ]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stderr
        assert {path.stat().st_uid for path in home.iterdir()} == {65534}
    finally:
        shutil.rmtree(above)
