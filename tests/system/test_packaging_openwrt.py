"""The OpenWrt package as far as it can be looked at without OpenWrt, whose functions are replaced: recipe, init script, files."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
FEED = ROOT / "packaging/openwrt"
RECIPE = FEED / "homeport"

PROCD = r"""
procd_open_instance() { echo "open $1"; }
procd_close_instance() { echo "close"; }
procd_set_param() { what=$1; shift; for word in "$@"; do printf '%s=[%s]\n' "$what" "$word"; done; }
procd_append_param() { procd_set_param "$@"; }
procd_add_reload_trigger() { echo "trigger $1"; }
config_get_bool() { eval "$1=\${UCI_$3:-$4}"; }
config_get() { eval "$1=\${UCI_$3:-$4}"; }
config_cb() { :; }; option_cb() { :; }; list_cb() { :; }
reset_cb() { config_cb() { :; }; option_cb() { :; }; list_cb() { :; }; }
config_load() {
	config_cb other wifi; option_cb acs_url http://not.this.one/
	config_cb cpe cpe
	option_cb enabled "$UCI_enabled"; option_cb user homeport
	option_cb acs_url 'http://acs/"; $(touch stolen) `touch stolen`'
	option_cb password "two words"
	option_cb 'bad-name; touch stolen' x
	list_cb connection_request_networks 192.0.2.0/24; list_cb connection_request_networks 2001:db8::/32
	list_cb transfer_schemes https
}
mkdir() { :; }; chmod() { :; }; chown() { :; }
. "$SCRIPT"
"$@"
"""


def started(tmp_path: Path, enabled: str) -> list[str]:
    """What the init script tells procd."""
    environment = {**os.environ, "SCRIPT": str(RECIPE / "files/homeport.init"), "UCI_enabled": enabled}
    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", PROCD, "sh", "start_service"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_every_option_becomes_a_setting_and_none_is_read_by_a_shell(tmp_path):
    """Texts of other sections, and names that are none, are left out."""
    said = started(tmp_path, "1")
    assert said[:2] == ["open cpe", "command=[/usr/bin/homeport]"]
    handed = dict(line[5:-1].split("=", 1) for line in said if line.startswith("env=["))
    assert handed == {
        "HOMEPORT_CPE_STATE_DIR": "/etc/homeport/cpe",
        "HOMEPORT_CPE_CONTROL_SOCKET": "/var/run/homeport/cpe.sock",
        "HOMEPORT_CPE_ACS_URL": 'http://acs/"; $(touch stolen) `touch stolen`',
        "HOMEPORT_CPE_PASSWORD": "two words",
        "HOMEPORT_CPE_CONNECTION_REQUEST_NETWORKS": "192.0.2.0/24,2001:db8::/32",
        "HOMEPORT_CPE_TRANSFER_SCHEMES": "https",
    }
    assert "user=[homeport]" in said and said[-1] == "close"
    assert not (tmp_path / "stolen").exists()


def test_a_device_that_is_not_switched_on_starts_nothing(tmp_path):
    """As it comes out of the package."""
    assert started(tmp_path, "0") == []
    config = (RECIPE / "files/homeport.config").read_text()
    assert "option enabled '0'" in config


def test_the_offered_options_are_settings():
    """Each of the configuration file's names exists."""
    from homeport.cpe.config import CpeSettings
    from homeport.settings import describe

    names = set(re.findall(r"^\t#?(?:option|list) (\w+)", (RECIPE / "files/homeport.config").read_text(), re.MULTILINE))
    assert names - {row.name for row in describe(CpeSettings)} == {"enabled", "user"}


def test_the_command_finds_its_libraries_and_knows_its_names(tmp_path):
    """`homeport` and `cwmp` are one file."""
    text = (RECIPE / "files/homeport.sh").read_text()
    text = text.replace(
        "/usr/lib/homeport/site", str(ROOT / "src") + ":" + ":".join(p for p in sys.path if "site-packages" in p)
    )
    text = text.replace("/usr/bin/python3", sys.executable)
    for name in ("homeport", "cwmp"):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    said = subprocess.run([tmp_path / "homeport", "--version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("homeport ")
    said = subprocess.run([tmp_path / "cwmp", "--help"], capture_output=True, text=True, check=True).stdout
    assert "cwmp show client log" in said


MACROS = """
INCLUDE_DIR:=$(TOPDIR)
ARCH?=aarch64
PKG_BUILD_DIR:=$(TOPDIR)/build
CP:=cp -fpR
INSTALL_DIR:=install -d -m0755
INSTALL_BIN:=install -m0755
INSTALL_CONF:=install -m0600
INSTALL_DATA:=install -m0644
"""
PACKAGE = """
define BuildPackage
all:
\t$(call Build/Prepare)
\t$(call Build/Configure)
\t$(call Build/Compile)
\t$(call Package/$(1)/install,$(TOPDIR)/ipk)
endef
"""


@pytest.fixture
def tree(tmp_path):
    """As much of an OpenWrt tree as the recipe includes, and a pip that notes what it is asked."""
    (tmp_path / "rules.mk").write_text(MACROS)
    (tmp_path / "package.mk").write_text(PACKAGE)
    python = tmp_path / "feeds/packages/lang/python"
    python.mkdir(parents=True)
    (python / "python3-version.mk").write_text("PYTHON3_VERSION:=3.11\n")
    pip = tmp_path / "pip"
    pip.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    pip.chmod(0o755)
    return tmp_path


def make(tree: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "-C", str(RECIPE), f"TOPDIR={tree}", f"HOMEPORT_PIP={tree / 'pip'}", *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_recipe_lays_the_package_out(tree):
    """Prepare, compile, install, with pinned wheels for the device's processor."""
    done = make(tree)
    assert done.returncode == 0, done.stdout + done.stderr
    asked = (tree / "asked").read_text()
    assert (
        "--require-hashes" in asked and "--platform musllinux_1_2_aarch64" in asked and "--python-version 3.11" in asked
    )
    root = tree / "ipk"
    for name, mode in {
        "usr/bin/homeport": 0o755,
        "usr/bin/cwmp": 0o755,
        "etc/init.d/homeport": 0o755,
        "etc/config/homeport": 0o600,
        "lib/upgrade/keep.d/homeport": 0o644,
    }.items():
        assert (root / name).stat().st_mode & 0o777 == mode, name
    assert (root / "usr/lib/homeport/site/homeport/cpe/web/templates/base.html").exists()
    assert not list(root.glob("**/__pycache__"))


def test_a_processor_without_wheels_is_told(tree):
    """Before anything is fetched."""
    done = make(tree, "ARCH=mips")
    assert done.returncode != 0 and "x86_64 and aarch64 only" in done.stderr
    assert not (tree / "asked").exists()


def test_the_pins_are_those_of_the_lock():
    """Same versions, same hashes."""
    pytest.importorskip("packaging.requirements", reason="only the development environment makes pins")
    made = subprocess.run([sys.executable, FEED / "pins.py"], capture_output=True, text=True, check=True).stdout
    assert made == (RECIPE / "requirements.txt").read_text(), "make it anew: see packaging/openwrt/pins.py"


@pytest.mark.parametrize("name", ["homeport.init", "homeport.sh"])
def test_scripts_are_plain_shell(name):
    """OpenWrt's shell is ash."""
    subprocess.run(["/bin/sh", "-n", RECIPE / "files" / name], check=True)
