"""`homeport cpe lease` and `homeport cpe hook`: the quick way in, and the hooks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from homeport.cli import lease as quick_lease
from homeport.cli.lease import networkd_leases
from homeport.cli.main import run
from homeport.cpe.leases.hooks import HOOKS, MARK
from homeport.cpe.leases.lease import kept_leases

URL = "687474703a2f2f612f"


def leases(tmp_path: Path, *words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and what was printed."""
    code = run(["cpe", "lease", "--state-dir", str(tmp_path), *words])
    out = capsys.readouterr()
    return code, out.out + out.err


def test_without_an_agent_the_lease_waits_for_its_start(tmp_path, capsys):
    """And is forgotten when the client gives it back."""
    code, said = leases(tmp_path, "--interface=eth0", "--option", f"43=1:9:{URL}", "--option", "125=", capsys=capsys)
    assert code == 0
    assert "waits" in said
    (kept,) = kept_leases(tmp_path)
    assert kept.options == {43: b"\x01\x09http://a/"}
    assert kept.received.endswith("Z")
    assert leases(tmp_path, "--interface", "eth0", "--released", capsys=capsys)[0] == 0
    assert kept_leases(tmp_path) == []


def test_a_lease_of_dhcpv6_is_kept_beside_the_other(tmp_path, capsys):
    """Each family has its own."""
    assert leases(tmp_path, "--interface", "eth0", "--option", f"43=0109{URL}", "--quiet", capsys=capsys) == (0, "")
    assert leases(
        tmp_path, "--interface", "eth0", "--ipv6", "--option", "17=00:00:0d:e9", "--quiet", capsys=capsys
    ) == (0, "")
    assert [lease.key for lease in kept_leases(tmp_path)] == ["eth0-4", "eth0-6"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--interface", "eth0", "--option", "x=1"), "CODE=HEX"),
        (("--interface", "a/b", "--option", "43=01"), "network interface"),
        (("--option", "43=01"), "no lease to hand over"),
        (("--wrong",), "No such option"),
        (("--interface",), "requires an argument"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(tmp_path, capsys, words, sentence):
    """Whichever of the two readings sees it."""
    code, said = leases(tmp_path, *words, capsys=capsys)
    assert code == 2
    assert sentence in said
    assert said.count("\n") == 1


def test_the_quick_reading_and_typers_agree(tmp_path, monkeypatch):
    """Both fill the same record."""
    from typer.main import get_command

    from homeport.cli.main import load_verb

    words = [
        "--interface",
        "eth0",
        "--option",
        "43=01",
        "--option",
        "66=02",
        "--tftp-server",
        "t",
        "--ipv6",
        "--networkd",
    ]
    words += ["--query", "--quiet", "--released", "--state-dir", str(tmp_path)]
    seen = []
    monkeypatch.setattr(quick_lease, "hand_over", lambda handed: seen.append(handed) or [])
    monkeypatch.setattr("homeport.cli.cpe_dhcp.hand_over", lambda handed: seen.append(handed) or [])
    assert quick_lease.quick(words) == 0
    get_command(load_verb("cpe")).main(["lease", *words], standalone_mode=False)
    assert seen[0] == seen[1]


def test_the_quick_way_imports_neither_typer_nor_asyncio(tmp_path):
    """A DHCP client waits for it at every renewal."""
    script = (
        "import sys; from homeport.cli.main import run; "
        f"code = run(['cpe', 'lease', '--interface', 'eth0', '--option', '43=01', '--state-dir', {str(tmp_path)!r}]); "
        "print(code, sorted({'typer', 'asyncio', 'rich', 'lxml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_networkds_own_lease_files_are_read(tmp_path):
    """VENDOR_SPECIFIC is option 43; interfaces are known by number. Loopback stands for any interface here."""
    (tmp_path / "1").write_text(
        f"# This is private data. Do not parse.\nADDRESS=192.0.2.7\nVENDOR_SPECIFIC=0109{URL}\nNEXT_SERVER=192.0.2.1\n"
    )
    (found,) = networkd_leases("lo", tmp_path)
    assert found.options == {43: b"\x01\x09http://a/", 66: b"192.0.2.1"}
    assert networkd_leases("nope0", tmp_path) == []
    (tmp_path / "1").write_text("ADDRESS=192.0.2.7\n")
    assert networkd_leases("", tmp_path)[0].options == {}


def test_hooks_are_listed_printed_and_installed(tmp_path, capsys):
    """Under the root of a file system that is being built; somebody else's file stays unless forced."""
    assert run(["cpe", "hook", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(HOOKS)
    for name, hook in HOOKS.items():
        assert (
            run(
                ["cpe", "hook", "print", name, "--program", "/usr/bin/homeport", "--state-dir", "/var/lib/homeport/cpe"]
            )
            == 0
        )
        text = capsys.readouterr().out
        assert MARK in text and "@" not in text.replace('"$@"', "")
        assert "/usr/bin/homeport cpe lease" in text
        assert run(["cpe", "hook", "install", name, "--root", str(tmp_path)]) == 0
        said = capsys.readouterr().out
        places = [tmp_path / place.lstrip("/") / hook.file for place in hook.places]
        (installed,) = [place for place in places if place.exists()]
        assert str(installed) in said
        assert bool(installed.stat().st_mode & 0o100) == hook.executable
    installed.write_text("#!/bin/sh\n")
    assert run(["cpe", "hook", "install", name, "--root", str(tmp_path)]) == 2
    assert "not Homeport's" in capsys.readouterr().err
    assert run(["cpe", "hook", "install", name, "--root", str(tmp_path), "--force"]) == 0
    assert run(["cpe", "hook", "print", "dhcp-o-matic"]) == 2
    assert "there are udhcpc" in capsys.readouterr().err


def test_option43_in_all_forms_and_for_all_servers(capsys):
    """encode prints bytes or lines; decode reads all three options; what does not go together is refused."""
    assert run(["option43", "encode", "http://a/", "--end-mark"]) == 0
    assert capsys.readouterr().out == "01:09:68:74:74:70:3a:2f:2f:61:2f:ff\n"
    for option in ("125", "17"):
        assert run(["option43", "encode", "http://a/", "--option", option, "--retry-minimum-wait", "7"]) == 0
        data = capsys.readouterr().out.strip()
        assert run(["option43", "decode", data, "--option", option, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["url"], found["retry_minimum_wait"]) == ("http://a/", 7)
        assert run(["option43", "decode", data, "--option", option]) == 0
        assert ("11 ACS URL" if option == "125" else "1 ACS URL") in capsys.readouterr().out
    assert (
        run(["option43", "encode", "http://a/", "--form", "hp", "--username", "u", "--password", "p", "--for", "kea"])
        == 0
    )
    assert b"http://a/ u p".hex() in capsys.readouterr().out
    assert run(["option43", "encode", "http://a/", "--dnsmasq"]) == 0
    assert capsys.readouterr().out.startswith("dhcp-option=43,01:09:")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["encode", "http://a/", "--for", "windows"], "isc-dhcpd, dnsmasq or kea"),
        (["encode", "http://a/", "--form", "acme"], "standard, vega, bare, hp, eltex"),
        (["encode", "http://a/", "--option", "44"], "43, 125 or 17"),
        (["encode", "http://a/", "--option", "17", "--form", "vega"], "one form only"),
        (["encode", "http://a/", "--option", "125", "--periodic-inform-interval", "9"], "--periodic-inform-interval"),
        (["encode", "http://a/", "--username", "u"], "--username"),
        (["encode", "http://a/", "--form", "bare", "--retry-multiplier", "2000"], "--retry-multiplier"),
        (["encode", "http://a/", "--option", "17", "--end-mark"], "--end-mark"),
        (["decode", "01", "--option", "44"], "43, 125 or 17"),
        (["decode", "01", "--form", "bare"], "standard or vega"),
    ],
)
def test_option43_says_what_does_not_go_together(words, sentence, capsys):
    """One line, usage error."""
    assert run(["option43", *words]) == 2
    assert sentence in capsys.readouterr().err
