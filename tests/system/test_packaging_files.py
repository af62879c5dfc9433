"""What the packages bring besides the program: units, users, rotation of logs, the OpenWrt recipe; each checked by its own tool."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from homeport.acs.config import AcsSettings
from homeport.cpe.config import CpeSettings
from homeport.settings import describe

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "packaging"
UNITS = sorted((PACKAGING / "systemd").glob("*.service"))


def tool(name: str) -> str:
    """The path of a program, or a skip with the reason."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.mark.parametrize("unit", UNITS, ids=lambda u: u.name)
def test_systemd_understands_the_units_and_finds_them_tight(unit, tmp_path):
    """No unknown key; an exposure that systemd itself calls OK."""
    analyze = tool("systemd-analyze")
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
    copy = tmp_path / unit.name
    copy.write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.MULTILINE))
    said = subprocess.run([analyze, "verify", copy], capture_output=True, text=True, check=False)
    assert unit.name not in said.stderr, said.stderr
    judged = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", copy], capture_output=True, text=True, check=False
    )
    assert judged.returncode == 0, judged.stdout[-300:]


@pytest.mark.parametrize("unit", UNITS, ids=lambda u: u.name)
def test_units_name_settings_that_exist(unit):
    """Their environment, and the flags of what they start."""
    names = {f"HOMEPORT_CPE_{row.name}".upper() for row in describe(CpeSettings)}
    names |= {f"HOMEPORT_ACS_{row.name}".upper() for row in describe(AcsSettings)}
    assert set(re.findall(r"Environment=(\w+)=", unit.read_text())) <= names
    assert "--config /etc/homeport/" in unit.read_text()


@pytest.mark.parametrize(("part", "settings"), [("cpe", CpeSettings), ("acs", AcsSettings)])
def test_the_example_configurations_say_what_is_true(part, settings):
    """Every key that can be uncommented exists, and what is called the default is it."""
    text = (PACKAGING / "etc" / f"{part}.toml").read_text()
    assert tomllib.loads(text) == {part: {}}
    offered = tomllib.loads("\n".join(line[1:] for line in text.splitlines() if re.match(r"#\w+ = ", line)))
    rows = {row.name: row for row in describe(settings)}
    assert offered and set(offered) <= set(rows)
    for key in ("web_listen", "web_port", "log_level", "connection_request_port", "cwmp_listen", "cpe_auth"):
        if key in offered:
            assert offered[key] == rows[key].default


@pytest.mark.parametrize("name", ["sysusers.conf", "sysusers-acs.conf"])
def test_users_are_made_below_a_root(name, tmp_path):
    """With systemd's own tool."""
    command = tool("systemd-sysusers")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    (tmp_path / "etc").mkdir()
    subprocess.run([command, f"--root={tmp_path}", PACKAGING / "systemd" / name], check=True, capture_output=True)
    assert "homeport-" in (tmp_path / "etc/passwd").read_text()


@pytest.mark.parametrize("name", ["logrotate", "logrotate-acs"])
def test_logrotate_understands_its_file(tmp_path, name):
    """A dry run, with an owner that exists here."""
    command = tool("logrotate")
    text = (PACKAGING / "etc" / name).read_text()
    text = re.sub(r"homeport-(cpe|acs) homeport(-acs)?$", "root root", text, flags=re.MULTILINE)
    file = tmp_path / "logrotate"
    file.write_text(text)
    file.chmod(0o644)
    said = subprocess.run(
        [command, "--debug", "--state", tmp_path / "state", file], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0 and "error" not in said.stderr.lower(), said.stderr


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_maintainer_scripts_are_plain_shell(script):
    """What /bin/sh of Debian (dash) reads."""
    text = (PACKAGING / "debian" / script).read_text().replace("@PYTHON@", "python3").replace("@PACKAGE@", "homeport")
    subprocess.run(["/bin/sh", "-n"], input=text, text=True, check=True)
    assert text.startswith("#!/bin/sh\n") and "\nset -e\n" in text
