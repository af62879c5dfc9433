"""The agent's command line as the person in front of the box uses it, against a real agent: what it shows, sets, follows and packs up."""

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from cpe_support.agent_process import AgentProcess
from cpe_support.http_acs import HttpAcs
from homeport.cli.main import run, run_cwmp
from homeport.codec.messages import ParameterValueStruct, SetParameterValues

pytestmark = pytest.mark.system

SERVER = "Device.ManagementServer."


class Person:
    """Types commands; they run in this process, the agent in its own."""

    def __init__(self, directory: Path, **environment: str) -> None:
        plain = {k: v for k, v in os.environ.items() if not k.startswith("HOMEPORT_")}
        self.environment = {**plain, "HOMEPORT_STATE_DIR": str(directory), **environment}
        self._one_at_a_time = asyncio.Lock()

    async def types(self, line: str, *, status: int = 0, program: str = "homeport") -> str:
        """What a command prints, standard output and errors together."""
        async with self._one_at_a_time:
            code, said = await asyncio.to_thread(self._run, run if program == "homeport" else run_cwmp, line.split())
        assert code == status, said
        return said

    def _run(self, command: Callable[[list[str]], int], words: list[str]) -> tuple[int, str]:
        said = io.StringIO()
        environment = mock.patch.dict(os.environ, self.environment, clear=True)
        with environment, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            return command(words), said.getvalue()


def scene(tmp_path, play, *flags: str):
    async def act() -> None:
        async with HttpAcs() as acs:
            agent = AgentProcess(tmp_path / "state", acs.url, "--web-port", "0", *flags)
            await agent.start()
            try:
                await acs.sessions(1)
                await play(acs, agent, Person(agent.directory))
            finally:
                await agent.stop()

    asyncio.run(act())


def test_a_person_looks_changes_and_packs_up(tmp_path):
    """Status, configuration in both forms, settings under Vega's names, logs with who and what, the archive."""

    async def play(acs, agent, person):
        values = (ParameterValueStruct(name=SERVER + "PeriodicInformInterval", value="600", type="unsignedInt"),)
        acs.requests.append(SetParameterValues(values, "k"))
        await person.types("cpe inform")
        await acs.sessions(2)
        status = await person.types("status", program="cwmp", status=2)
        assert "cwmp show status" in status
        status, config, log, settings = await asyncio.gather(
            person.types("show status", program="cwmp"),
            person.types("cpe show config"),
            person.types("cpe show log --json"),
            person.types("show cwmp", program="cwmp"),
        )
        assert "connected\tyes, since 20" in status and "web page\thttp://localhost:" in status
        assert f"{SERVER}PeriodicInformInterval\t600\tInform interval\t600 s (10 min)" in config
        told = [row for row in json.loads(log) if row.get("path") == SERVER + "PeriodicInformInterval"]
        assert [(row["who"], row["old"], row["new"]) for row in told] == [("the ACS", "3600", "600")]
        assert "cwmp.periodicinforminterval\t600\tInform Interval\tPeriodicInformInterval" in settings
        said, refused, sessions = await asyncio.gather(
            person.types("set cwmp.periodicinforminterval=900 cwmp.acs_password=s3cret", program="cwmp"),
            person.types("cpe set cwmp.acs_url=nonsense", status=5),
            person.types("cpe show sessions"),
        )
        assert "cwmp.acs_password = ********  set" in said
        assert "cwmp.acs_url: 9007" in refused and "for example http://" in refused
        assert "2 PERIODIC" in sessions
        ladder, packed = await asyncio.gather(
            person.types("cpe show sessions 2"), person.types(f"cpe show support -o {tmp_path}/mine.tar.gz")
        )
        assert "SetParameterValues" in ladder and "success: both sides are done" in ladder
        assert "mine.tar.gz" in packed and "sessions.capture" in packed
        with tarfile.open(tmp_path / "mine.tar.gz") as tar:
            everything = b"".join(tar.extractfile(m).read() for m in tar.getmembers())
        assert b"on the command line set Device.ManagementServer.PeriodicInformInterval" in everything
        assert b"s3cret" not in everything

    scene(tmp_path, play)


def test_a_followed_log_goes_on_over_a_restart(tmp_path):
    """Each line once, as it is written, and the person waits for an agent that is away."""

    async def play(acs, agent, person):
        code = "import sys; from homeport.cli.main import run; sys.exit(run())"
        follower = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, "cpe", "show", "client-log", "--follow"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=person.environment,
        )
        lines: list[str] = []

        async def until(words: str) -> None:
            async with asyncio.timeout(30):
                while words not in (lines[-1] if lines else ""):
                    lines.append((await follower.stdout.readline()).decode())

        await until("done: both sides are done")
        await person.types("cpe restart")
        await until("restarting: asked for by")
        await until("done: both sides are done")
        follower.send_signal(signal.SIGINT)
        _, errors = await follower.communicate()
        assert follower.returncode == 130
        text = "".join(lines)
        assert text.count("first contact") == 1 and text.count("Inform 1 BOOT") == 1
        assert text.count("started") == 2
        assert b"Traceback" not in errors

    scene(tmp_path, play)


def test_a_stopped_agent_and_a_missing_one_are_told_apart(tmp_path):
    """What the last one wrote is shown; a wrong directory is named."""

    async def play(acs, agent, person):
        await agent.stop()
        said = await person.types("cpe show status", status=3)
        assert "no agent runs; when it ended: yes" in said and "this is what the last one wrote" in said
        assert "first contact" in await person.types("cpe show client-log")
        said = await person.types(f"cpe show support -o {tmp_path}/after.tar.gz")
        assert "no agent runs" in said
        with tarfile.open(tmp_path / "after.tar.gz") as tar:
            left = {m.name.rpartition("/")[2]: tar.extractfile(m).read() for m in tar.getmembers()}
        assert b"first contact" in left["client.log"] and b"InformResponse" in left["sessions.capture"]
        lost = Person(tmp_path / "nowhere")
        assert "--state-dir" in await lost.types("cpe show log", status=3)
        assert "homeport cpe run" in await lost.types("cpe restart", status=3)

    scene(tmp_path, play)


def test_the_socket_can_be_named_alone(tmp_path):
    """As the packages do: the state directory is nobody's business."""
    path = tmp_path / "run" / "cpe.sock"
    path.parent.mkdir()

    async def play(acs, agent, person):
        assert path.is_socket() and (agent.directory / "control.sock").is_symlink()
        assert "connected\tyes" in await person.types("cpe show status")
        stranger = Person(tmp_path / "elsewhere", HOMEPORT_CPE_CONTROL_SOCKET=str(path))
        del stranger.environment["HOMEPORT_STATE_DIR"]
        assert "connected\tyes" in await stranger.types("cpe show status")

    scene(tmp_path, play, "--control-socket", str(path))


def test_a_log_file_is_opened_anew_on_sighup(tmp_path):
    """What logrotate asks for after it has put the file aside."""
    file = tmp_path / "cpe.log"

    async def play(acs, agent, person):
        assert "agent of" in file.read_text()
        file.rename(tmp_path / "cpe.log.1")
        os.kill(agent.pid, signal.SIGHUP)
        await person.types("cpe inform")
        await acs.sessions(2)
        text = file.read_text()
        assert "SIGHUP" in text and "Inform 2 PERIODIC" in text and "agent of" not in text

    scene(tmp_path, play, "--log-file", str(file))
