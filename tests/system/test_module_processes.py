"""The native environment with real processes: limits, ends, and what is left when the agent is killed."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from homeport.cpe.modules.interface import Ended, PackageSpec, Place, Running, Setup
from homeport.cpe.modules.native import NativeEnvironment
from homeport.cpe.modules.processes import ProcessRow, kin
from homeport.errors import ConfigError, Fault
from support.ends import wait_for
from support.module_package import STEADY, native_package

pytestmark = pytest.mark.system

PLACE = Place("du-1", 1)
TESTS = Path(__file__).parents[1]


class Host:
    """One native environment with one installed package."""

    def __init__(self, directory: Path, **setup: object) -> None:
        directory.chmod(0o755)
        self.directory = directory / "modules"
        self.environment = NativeEnvironment(Setup(self.directory, **setup))  # type: ignore[arg-type]
        self.environment.open({})
        self.spec: PackageSpec

    def install(self, package: bytes) -> "Host":
        file = self.directory.parent / "package"
        file.write_bytes(package)
        self.spec = self.environment.inspect(file)
        self.environment.install(file, self.spec, PLACE)
        return self

    async def start(self) -> Running:
        return await self.environment.start(PLACE, self.spec, self.spec.units[0])

    @property
    def log(self) -> str:
        files = self.environment.logs("du-1", self.spec.units[0].name)
        return "".join(f.read_text() for f in files if f.exists())

    async def logged(self, text: str) -> None:
        for _ in range(1000):
            if text in self.log:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{text!r} was never printed, only {self.log!r}")

    def row(self) -> ProcessRow:
        (note,) = (self.directory / "run").iterdir()
        return msgspec.json.decode(note.read_bytes(), type=ProcessRow)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that every user can enter, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="homeport-modules-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def run(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scene(), 30))  # type: ignore[arg-type]


def ended(host: Host, script: str, **fields: object) -> Ended:
    """How a script ends by itself."""
    host.install(native_package(script=script, **fields))  # type: ignore[arg-type]

    async def scene() -> Ended:
        return await asyncio.wait_for((await host.start()).wait(), 30)

    return asyncio.run(scene())


def test_a_unit_has_its_own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its content's directory, its own environment without the agent's, no shell between, and data that is its own."""
    monkeypatch.setenv("HOMEPORT_PASSWORD", "the agent's secret")
    host = Host(tmp_path)
    script = '#!/bin/sh\npwd\nenv\necho "args: $*"\necho kept > "$HOMEPORT_DATA/file"\n'
    unit = {"command": ["./run", "$(id)", "; ls"], "environment": {"COLOUR": "red"}}
    assert not ended(host, script, unit=unit).failed
    assert str(host.directory / "du-1/1") in host.log and "COLOUR=red" in host.log
    assert "args: $(id) ; ls" in host.log and "secret" not in host.log
    assert (host.directory / "du-1/data/file").read_text() == "kept\n"
    assert not list((host.directory / "run").iterdir())


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("#!/bin/sh\necho it broke >&2\nexit 3\n", "it ended with status 3; it said: it broke"),
        ("#!/bin/sh\nkill -SEGV $$\n", "SIGSEGV"),
        ("#!/no/such/interpreter\n", "cannot start"),
    ],
)
def test_why_a_unit_ended_is_told(tmp_path: Path, script: str, why: str) -> None:
    """Status or signal, and its last line."""
    told = ended(Host(tmp_path), script)
    assert told.failed and why in told.why


@pytest.mark.parametrize(
    ("limits", "script"),
    [
        ({"memory": 200 << 20}, "import sys; x = bytearray(400 << 20)"),
        ({"files": 20}, "f = [open('/dev/null') for _ in range(40)]"),
        (
            {"file_size": 4096},
            "import os; f = open(os.environ['HOMEPORT_DATA'] + '/f', 'wb', 0); f.write(bytes(4096)); f.write(b'x')",
        ),
        ({"cpu_seconds": 1}, "while True: pass"),
    ],
)
def test_a_unit_that_wants_too_much_fails(tmp_path: Path, limits: dict[str, int], script: str) -> None:
    """Memory, open files, the size of a file, processor time."""
    unit = {"command": [sys.executable, "-c", script], "limits": limits}
    assert ended(Host(tmp_path), "#!/bin/sh\n", unit=unit).failed


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run modules as another user")
def test_units_of_another_user_cannot_read_the_agents_files_nor_fork_without_end(open_path: Path) -> None:
    """module_user: no group and no right of the agent's; and for such a user the kernel counts the processes."""
    tmp_path = open_path
    secret = tmp_path / "state.db"
    secret.write_text("secret")
    secret.chmod(0o600)
    script = f"#!/bin/sh\nid -u\nid -G\ncat {secret}\n(sleep 3) & (sleep 3) & (sleep 3) & (sleep 3) &\necho forked\n"
    host = Host(tmp_path, user="nobody")
    told = ended(host, script, unit={"limits": {"processes": 2}})
    uid = host.environment._user[0]  # type: ignore[index]
    assert str(uid) in host.log.split() and "secret" not in host.log and "0" not in host.log.split()
    assert told.failed and "forked" not in host.log


def test_a_user_that_does_not_exist_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    """ConfigError with the name of the setting."""
    with pytest.raises(ConfigError, match="module_user"):
        NativeEnvironment(Setup(tmp_path, user="nobody-at-all"))


def test_the_example_package_does_what_its_page_says(tmp_path: Path) -> None:
    """Packed with tar as it stands: it greets, keeps its configuration in its data, and says goodbye."""
    place = Path(__file__).parents[2] / "examples" / "modules" / "hello"
    archive = tmp_path / "hello.tar.gz"
    subprocess.run(["tar", "-czf", str(archive), "-C", str(place), "."], check=True, timeout=30)

    async def scene() -> None:
        host = Host(tmp_path).install(archive.read_bytes())
        running = await host.start()
        await host.logged("hello from hello")
        await running.stop(10)
        assert host.log.endswith("goodbye\n") and not (await running.wait()).failed
        configuration = host.environment.configuration("du-1", host.spec.configuration[0])
        assert configuration is not None and configuration.read_text() == "greeting=hello\n"

    run(scene)


def test_a_unit_ends_when_it_is_told(tmp_path: Path) -> None:
    """SIGTERM, and its own handler decides how; nothing of it is left."""

    async def scene() -> None:
        host = Host(tmp_path).install(native_package(script=STEADY.replace("exit 0", "echo goodbye; exit 0")))
        running = await host.start()
        await host.logged("steady")
        assert running.usage().memory > 0
        row = host.row()
        await running.stop(10)
        assert not (await running.wait()).failed and "goodbye" in host.log and not kin(row)

    run(scene)


def test_memory_and_processor_of_one_request_are_of_the_same_look(tmp_path: Path) -> None:
    """The second question is not about the moment since the first, in which no unit uses anything."""

    async def scene() -> None:
        host = Host(tmp_path).install(native_package(script="#!/bin/sh\necho busy\nwhile :; do :; done\n"))
        running = await host.start()
        await host.logged("busy")
        async with asyncio.timeout(10):
            while not running.usage().cpu:
                await asyncio.sleep(0.05)
        assert running.usage() == running.usage() and running.usage().cpu > 0
        await running.stop(0)

    run(scene)


def test_a_unit_that_ignores_it_is_ended_by_force_with_all_its_kin(tmp_path: Path) -> None:
    """SIGKILL after the grace; also for children that made themselves leaders of their own sessions."""
    script = (
        "#!/bin/sh\ntrap '' TERM\n"
        "setsid sh -c 'trap \"\" TERM; echo escaped; exec sleep 1000' &\n"
        "sleep 1000 &\necho ready\nwhile :; do sleep 0.05; done\n"
    )

    async def scene() -> None:
        host = Host(tmp_path).install(native_package(script=script))
        running = await host.start()
        await host.logged("ready")
        await host.logged("escaped")
        row = host.row()
        assert len(kin(row)) >= 3
        await running.stop(0.2)
        assert "SIGKILL" in (await running.wait()).why and not kin(row)

    run(scene)


def test_what_a_crashed_unit_left_behind_is_ended(tmp_path: Path) -> None:
    """A unit that ended has no children that go on in secret."""
    script = "#!/bin/sh\nsetsid sleep 1000 &\nsleep 1000 &\nsleep 0.2\nexit 1\n"

    async def scene() -> None:
        host = Host(tmp_path).install(native_package(script=script))
        running = await host.start()
        row = host.row()
        assert (await running.wait()).failed and not kin(row)

    run(scene)


def test_the_log_of_a_unit_is_bounded(tmp_path: Path) -> None:
    """Two files of half the size each, with the newest lines."""
    script = "#!/bin/sh\ni=0\nwhile [ $i -lt 2000 ]; do echo line $i of many more; i=$((i+1)); done\n"
    host = Host(tmp_path, log_size=10_000)
    assert not ended(host, script).failed
    assert len(host.log) <= 10_000 and host.log.endswith("line 1999 of many more\n")


def test_units_do_not_outlive_a_killed_agent(tmp_path: Path) -> None:
    """The kernel ends the unit with the agent; a child that escaped is found by its mark at the next start, and nobody else is."""
    script = "#!/bin/sh\nsetsid sh -c 'echo escaped; exec sleep 1000' &\nwhile :; do sleep 0.05; done\n"
    host = Host(tmp_path).install(native_package(script=script))
    agent = subprocess.Popen([sys.executable, "-c", AGENT, str(tmp_path)], env=os.environ | {"PYTHONPATH": path()})
    bystander = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        wait_for(lambda: "escaped" in host.log, "the unit's start")
        row = host.row()
        agent.kill()
        agent.wait(10)
        wait_for(lambda: not os.path.exists(f"/proc/{row.pid}"), "the unit's end")
        left = kin(row)
        assert len(left) == 1
        again = NativeEnvironment(Setup(host.directory))
        again.open({"du-1": {1}})
        assert again.survivors == 1 and not kin(row) and not list((host.directory / "run").iterdir())
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait(10)
        agent.kill()
        for pid in kin(row):
            os.kill(pid, signal.SIGKILL)


AGENT = """
import asyncio, sys
from pathlib import Path
from homeport.cpe.modules.interface import Place, Setup
from homeport.cpe.modules.native import NativeEnvironment

async def main(directory):
    environment = NativeEnvironment(Setup(directory / "modules"))
    spec = environment.inspect(directory / "package")
    await (await environment.start(Place("du-1", 1), spec, spec.units[0])).wait()

asyncio.run(main(Path(sys.argv[1])))
"""


def path() -> str:
    """Where this process has its modules from."""
    return os.pathsep.join(p for p in sys.path if p)


def test_a_number_that_is_used_again_is_left_alone(tmp_path: Path) -> None:
    """A note from before names this very process's number; its start tells them apart."""
    assert kin(ProcessRow(os.getpid(), 1, "no such mark")) == set()
    host = Host(tmp_path)
    (host.directory / "run" / "du-1.main").write_bytes(msgspec.json.encode(ProcessRow(os.getpid(), 1, "no such mark")))
    (host.directory / "run" / "du-2.main").write_bytes(b'{"pid": ')
    host.environment.open({})
    assert host.environment.survivors == 0 and not list((host.directory / "run").iterdir())


def test_what_a_crash_left_half_done_is_removed_at_the_start(tmp_path: Path) -> None:
    """Half unpacked contents, contents that were replaced, units that are gone; data stays. Also where rights were taken away."""
    host = Host(tmp_path).install(native_package())
    home = host.directory / "du-1"
    for place in ("2.part", "2", "../du-9/1"):
        (home / place / "closed").mkdir(parents=True)
        (home / place / "closed" / "file").write_text("x")
        (home / place / "closed").chmod(0)
    host.environment.open({"du-1": {1}})
    assert sorted(os.listdir(home)) == ["1", "data", "log"] and sorted(os.listdir(host.directory)) == ["du-1", "run"]


def test_a_package_without_its_program_is_refused(tmp_path: Path) -> None:
    """9018 at the Install, not a fault of the unit later; a program of the device that is not there is the unit's."""
    host = Host(tmp_path)
    for command in ("./walk", "./module.json"):
        with pytest.raises(Fault) as caught:
            host.install(native_package(unit={"command": [command]}))
        assert caught.value.code == 9018 and not (host.directory / "du-1" / "1").exists()
    host.install(native_package(unit={"command": ["no-such-program"]}))
    with pytest.raises(Fault, match="no-such-program"):
        asyncio.run(host.start())


def test_the_space_of_all_modules_is_bounded(tmp_path: Path) -> None:
    """9027 for a package that does not fit any more; the figures count what is there."""
    host = Host(tmp_path, disk=1 << 20).install(native_package(files={"big": "x" * (600 << 10)}))
    space = host.environment.space()
    assert space.allocated_disk == 1024 and 0 < space.available_disk < 500
    assert host.environment.disk("du-1") >= 600
    with pytest.raises(Fault) as caught:
        host.environment.install(tmp_path / "package", host.spec, Place("du-2", 1))
    assert caught.value.code == 9027 and not (host.directory / "du-2" / "1").exists()


def test_a_package_that_asks_for_more_memory_than_allowed_is_refused(tmp_path: Path) -> None:
    """9027 before anything is installed; a unit that asks for none gets what is allowed."""
    host = Host(tmp_path, memory=256 << 20)
    with pytest.raises(Fault) as caught:
        host.install(native_package(unit={"limits": {"memory": 512 << 20}}))
    assert caught.value.code == 9027
    unit = {"command": [sys.executable, "-c", "x = bytearray(400 << 20)"]}
    assert ended(host, "#!/bin/sh\n", unit=unit).failed


def test_only_plain_files_of_the_unit_are_shown_as_configuration(tmp_path: Path) -> None:
    """The unit owns its data and may put links, pipes and other people's files there; the agent, perhaps root, does not follow."""
    names = ["plain/a.conf", "link", "way/secret", "pipe", "missing"]
    host = Host(tmp_path).install(native_package(configuration=names))
    data = host.directory / "du-1" / "data"
    (data / "plain").mkdir()
    (data / "plain" / "a.conf").write_text("mine")
    (tmp_path / "secret").write_text("the agent's")
    (data / "link").symlink_to(tmp_path / "secret")
    (data / "way").symlink_to(tmp_path)
    os.mkfifo(data / "pipe")
    shown = [host.environment.configuration("du-1", name) for name in names]
    assert shown[0] is not None and shown[0].read_text() == "mine" and shown[1:] == [None] * 4
    assert not shown[0].is_relative_to(data)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_hard_link_to_somebody_elses_file_is_not_shown(open_path: Path) -> None:
    """It has the owner of the file, not of the data directory."""
    host = Host(open_path, user="nobody").install(native_package(configuration=["hard"]))
    (open_path / "secret").write_text("the agent's")
    os.link(open_path / "secret", host.directory / "du-1" / "data" / "hard")
    assert host.environment.configuration("du-1", "hard") is None


def test_a_unit_with_hardly_any_memory_fails_with_a_sentence(tmp_path: Path) -> None:
    """Less than a program needs: it does not start, and nothing of ours prints a traceback."""
    host = Host(tmp_path)
    assert ended(host, "#!/bin/sh\n", unit={"limits": {"memory": 4096}}).failed
    assert "Traceback" not in host.log
