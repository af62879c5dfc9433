"""The Debian packages: built from what is installed, accepted by lintian, and what a machine goes through with them.

They are installed, run, upgraded, removed and purged below a root of their own. HOMEPORT_LINTIAN=all looks at the large one too.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cpe_support.http_acs import HttpAcs

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
PYTHON = f"python3.{sys.version_info.minor}"
NEEDED = ("dpkg", "dpkg-deb", "systemd-sysusers")


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    """A command's outcome; its output is shown where it fails."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Both packages, quickly compressed."""
    missing = [tool for tool in NEEDED if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not a Debian machine: {', '.join(missing)} missing")
    pytest.importorskip("packaging.requirements", reason="only the development environment builds packages")
    output = tmp_path_factory.mktemp("deb")
    run(sys.executable, ROOT / "packaging/debian/build.py", "--output", output, "--quick")
    agent, acs = output.glob("homeport_*.deb"), output.glob("homeport-acs_*.deb")
    return next(agent), next(acs)


def test_lintian_finds_no_error(packages):
    """Nor a warning that has not been answered. Looking at the agent's libraries takes a quarter of a minute: CI does."""
    looked_at = packages if os.environ.get("HOMEPORT_LINTIAN") == "all" else packages[1:]
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed")
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error,warning", *map(str, looked_at)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


class Machine:
    """A directory that dpkg takes for a machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "etc", "usr/bin"):
            (root / name).mkdir(parents=True)
        for name in ("var/lib/dpkg/status", "var/lib/dpkg/available"):
            (root / name).touch()

    def dpkg(self, *arguments: object) -> str:
        """dpkg below this root; what the packages depend on is the outer machine's."""
        return run(
            *("dpkg", f"--root={self.root}", "--force-script-chrootless", "--force-depends", "--force-not-root"),
            "--force-unsafe-io",
            *("--force-confold", *arguments),
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"},
        ).stdout

    def interpreter(self, *, there: bool) -> None:
        """The outer machine's Python; where it is there, an installation compiles."""
        link = self.root / "usr/bin" / PYTHON
        link.unlink(missing_ok=True)
        if there:
            link.symlink_to(f"/usr/bin/{PYTHON}")

    def homeport(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """The installed command, run as it would be there."""
        python = self.root / "usr/lib/homeport/bin/python3"
        clean = {"PATH": "/usr/bin", "HOME": str(self.root), "PYTHONDONTWRITEBYTECODE": "1"}
        return run(python, "-I", self.root / "usr/lib/homeport/bin/homeport", *arguments, env=clean)


def test_installed_run_upgraded_removed_and_purged(packages, tmp_path):
    """What a machine goes through with the packages, from the first day to the last."""
    if os.geteuid() != 0:
        pytest.skip("needs root: users and owners are made")
    if not Path(f"/usr/bin/{PYTHON}").exists():
        pytest.skip(f"the system has no {PYTHON}, for which the packages are")
    agent, acs = packages
    machine = Machine(tmp_path / "machine")
    root = machine.root
    said = machine.dpkg("--install", agent)
    assert "systemctl enable --now homeport-cpe" in said
    users = (root / "etc/passwd").read_text()
    assert "homeport-cpe:" in users and "homeport:x:" in (root / "etc/group").read_text()
    number = int(next(line for line in users.splitlines() if line.startswith("homeport-cpe:")).split(":")[2])
    assert (root / "var/lib/homeport/cpe").stat().st_uid == number
    assert (root / "var/lib/homeport/cpe").stat().st_mode & 0o777 == 0o700
    assert (root / "etc/homeport/cpe.toml").stat().st_mode & 0o777 == 0o640
    machine.interpreter(there=True)
    assert machine.homeport("--version").stdout.startswith("homeport ")
    assert "dkt-797xx" in machine.homeport("model", "list").stdout
    first_session(machine)

    machine.dpkg("--install", acs)
    compiled = list(root.glob(f"usr/lib/homeport/lib/{PYTHON}/site-packages/fastapi/__pycache__/*.pyc"))
    assert compiled, "the byte code is made once, not at every start"
    assert "Run the server" in machine.homeport("acs", "--help").stdout
    assert "cwmp" in machine.homeport("acs", "serve", "--help").stdout

    (root / "etc/homeport/cpe.toml").write_text("[cpe]\nserial = 'MINE'\n")
    machine.interpreter(there=False)  # all of the agent once more takes too long for a test
    assert "systemctl enable" not in machine.dpkg("--install", agent)
    assert "MINE" in (root / "etc/homeport/cpe.toml").read_text()

    machine.dpkg("--remove", "homeport-acs")
    assert not list(root.glob("**/fastapi"))
    (root / "var/lib/homeport/cpe/state.db").touch()
    machine.dpkg("--remove", "homeport")
    assert not (root / "usr/lib/homeport").exists()
    assert (root / "etc/homeport/cpe.toml").exists() and (root / "var/lib/homeport/cpe/state.db").exists()
    machine.dpkg("--purge", "homeport", "homeport-acs")
    assert not (root / "etc/homeport").exists() and not (root / "var/lib/homeport").exists()


def first_session(machine: Machine) -> None:
    """The installed agent meets an ACS with the packaged configuration, and is asked over its socket."""

    async def scene() -> None:
        async with HttpAcs() as acs:
            place = machine.root / "run"
            place.mkdir()
            python = machine.root / "usr/lib/homeport/bin/python3"
            process = await asyncio.create_subprocess_exec(
                *(str(python), "-I", str(machine.root / "usr/lib/homeport/bin/homeport"), "cpe", "run"),
                *("--config", str(machine.root / "etc/homeport/cpe.toml"), "--acs-url", acs.url),
                *("--connection-request-port", "0", "--web-port", "0"),
                env={
                    "PATH": "/usr/bin",
                    "HOMEPORT_CPE_STATE_DIR": str(place / "state"),
                    "HOMEPORT_CPE_CONTROL_SOCKET": str(place / "cpe.sock"),
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
            )
            try:
                await acs.sessions(1, limit=30)
                shown = await asyncio.to_thread(
                    machine.homeport, "cpe", "show", "status", "--state-dir", place / "cpe.sock"
                )
                assert "connected\tyes" in shown.stdout and "web page\thttp://localhost:" in shown.stdout
            finally:
                process.terminate()
                await process.wait()

    asyncio.run(scene())
