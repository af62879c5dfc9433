"""The hooks of DHCP clients under a real shell: what a hostile server puts into a lease stays an argument, and reaches the agent."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from homeport.cpe.leases.hooks import HOOKS, hook_text
from homeport.cpe.leases.lease import kept_leases

pytestmark = pytest.mark.system

HOSTILE = "\"; touch pwned; $(touch pwned) `touch pwned` '; touch pwned #\n--released\t* \\"

EVENTS = {
    "udhcpc": (("bound",), {"interface": "eth0"}, ("opt43", "opt125", "tftp")),
    "openwrt": (("renew",), {"interface": "eth0"}, ("opt43", "opt125", "tftp")),
    "dhclient": (
        (),
        {"interface": "eth0", "reason": "BOUND"},
        ("new_vendor_encapsulated_options", "new_vivso", "new_tftp_server_name"),
    ),
    "dhcpcd": (
        (),
        {"interface": "eth0", "reason": "REBOOT"},
        ("new_vendor_encapsulated_options", "new_homeport_vivso", "new_tftp_server_name"),
    ),
    "networkmanager": (
        ("eth0", "dhcp4-change"),
        {},
        ("DHCP4_VENDOR_ENCAPSULATED_OPTIONS", "DHCP4_VIVSO", "DHCP4_TFTP_SERVER_NAME"),
    ),
    "networkd": ((), {"IFACE": "eth0"}, ()),
}
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


def recorder(directory: Path) -> Path:
    """A program in the place of homeport that writes down its arguments, one JSON list a line."""
    path = directory / "re corder"
    line = "import json,sys; open(sys.argv[1],'a').write(json.dumps(sys.argv[2:])+chr(10))"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -I -c "{line}" "{directory / "said"}" "$@"\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", list(HOOKS))
def test_hostile_options_are_arguments_and_nothing_else(name: str, tmp_path: Path) -> None:
    """Whatever shell the client has: no value is read by it, split by it, or taken for another argument."""
    arguments, environment, secret = EVENTS[name]
    for shell in SHELLS:
        place = tmp_path / shell
        place.mkdir()
        hook = place / "hook"
        state = place / "state dir"
        text = hook_text(HOOKS[name], program=str(recorder(place)), state_dir=state, place=hook, following="/bin/true")
        hook.write_text(text)
        starter = [shell, "sh"] if shell == "busybox" else [shell]
        command = [*starter, str(hook), *arguments]
        if not HOOKS[name].executable:
            command = [*starter, "-c", '. "$0"; echo sourced', str(hook), *arguments]
        done = subprocess.run(
            command,
            cwd=place,
            env={"PATH": os.environ["PATH"], **environment, **dict.fromkeys(secret, HOSTILE)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert HOOKS[name].executable or done.stdout == "sourced\n"
        assert not (place / "pwned").exists()
        said = [json.loads(line) for line in (place / "said").read_text().splitlines()]
        assert len(said) == 1
        words = said[0]
        assert words[:5] == ["cpe", "lease", "--quiet", "--state-dir", str(state)]
        assert words[words.index("--interface") + 1] == "eth0"
        assert sum(HOSTILE in word for word in words) == len(secret)


def test_a_hostile_lease_is_refused_by_the_program_too(tmp_path: Path) -> None:
    """What is no hexadecimal is no option; the TFTP server's name is only looked at when it is needed."""
    command = [
        sys.executable,
        "-m",
        "homeport",
        "cpe",
        "lease",
        "--state-dir",
        str(tmp_path / "s"),
        "--interface",
        "eth0",
    ]
    done = subprocess.run([*command, "--option", f"43={HOSTILE}"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "not hexadecimal" in done.stderr
    assert not (tmp_path / "s").exists()
    done = subprocess.run([*command, "--tftp-server", HOSTILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert [lease.tftp_server for lease in kept_leases(tmp_path / "s")] == [""]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
def test_root_hands_a_lease_over_as_the_agents_user() -> None:
    """DHCP clients run as root; what they leave in the agent's directory belongs to the agent, and a link there leads nowhere."""
    above = Path(tempfile.mkdtemp(prefix="homeport-"))  # pytest's own directories are closed to other users
    try:
        above.chmod(0o711)
        home, elsewhere = above / "home", above / "elsewhere"
        home.mkdir(mode=0o700)
        os.chown(home, 65534, 65534)
        command = [
            sys.executable,
            "-m",
            "homeport",
            "cpe",
            "lease",
            "--state-dir",
            str(home),
            "--interface",
            "eth0",
            "--option",
        ]
        done = subprocess.run([*command, "43=01:09:687474703a2f2f612f"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        file = home / "leases" / "eth0-4.json"
        assert (file.stat().st_uid, file.stat().st_gid) == (65534, 65534)

        elsewhere.mkdir(mode=0o700)
        shutil.rmtree(home / "leases")
        (home / "leases").symlink_to(elsewhere)
        done = subprocess.run([*command, "43=01"], capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stderr
        assert list(elsewhere.iterdir()) == []

        above.chmod(0o700)
        done = subprocess.run([*command, "43=01"], capture_output=True, text=True, check=False)
        assert "check the directories above it" in done.stderr
    finally:
        shutil.rmtree(above)
