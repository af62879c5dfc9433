"""What the doctor says about the machine itself."""

import asyncio
import shutil
from dataclasses import replace

import pytest

from cpe_support.bench import Bench
from homeport.cpe.config import CpeSettings
from homeport.cpe.discovery import encode_option43
from homeport.cpe.doctor import local
from homeport.cpe.doctor.case import Case, Mark, case_of_agent, case_of_directory
from homeport.cpe.leases.desk import seen_of
from homeport.cpe.leases.lease import lease_of
from homeport.cpe.verbs import verbs_of

URL = "http://acs.example:7547/"


def case(tmp_path, **facts) -> Case:
    settings = CpeSettings(state_dir=tmp_path)
    return Case(**{"settings": settings, "running": True, "url": URL, "url_from": "stored", "periodic": 900, **facts})


def test_a_healthy_device_has_nothing_to_complain_about(tmp_path):
    """Every check is ok and says what it saw."""
    tmp_path.chmod(0o700)
    healthy = case(tmp_path, state="ok")
    for check in (local.check_agent, local.check_state, local.check_disk, local.check_configuration, local.check_dhcp):
        found = check(healthy)
        assert (found.mark, found.do) == (Mark.OK, "")
        assert found.said.endswith(".")


@pytest.mark.parametrize(
    ("facts", "check", "mark", "said", "do"),
    [
        ({"running": False}, local.check_agent, Mark.WARN, "No agent runs", "homeport cpe run"),
        ({"trouble": "locked"}, local.check_agent, Mark.FAIL, "locked", "show status"),
        ({"last_failure": "refused"}, local.check_agent, Mark.WARN, "refused", "below"),
        ({"state": "state.db is damaged"}, local.check_state, Mark.FAIL, "damaged", "factory defaults"),
        ({"enabled": False}, local.check_configuration, Mark.FAIL, "switched off", "homeport cpe enable"),
        ({"url": "", "url_from": ""}, local.check_configuration, Mark.FAIL, "No ACS URL", "enable URL USER"),
        ({"periodic": 0}, local.check_configuration, Mark.WARN, "no periodic contact", "PeriodicInformEnable"),
        ({"url": "", "url_from": ""}, local.check_dhcp, Mark.WARN, "No lease", "hook list"),
        ({"url_from": "factory"}, local.check_dhcp, Mark.WARN, "No lease", "--dhcp-query"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(tmp_path, facts, check, mark, said, do):
    """One sentence each."""
    tmp_path.chmod(0o700)
    found = check(case(tmp_path, **facts))
    assert found.mark is mark
    assert said in found.said
    assert do in found.do


def test_a_state_directory_that_everybody_can_read_or_that_is_not_there_is_a_warning(tmp_path):
    """Passwords are in it; a first start makes it."""
    tmp_path.chmod(0o755)
    assert "passwords" in local.check_state(case(tmp_path)).said
    assert local.check_state(case(tmp_path / "none")).mark is Mark.WARN


def test_leases_are_shown_and_one_without_an_acs_fails_where_none_is_known(tmp_path):
    """What the server sent, in the words of the status."""
    good = seen_of(lease_of("eth0", 4, {43: encode_option43(url=URL)}))
    empty = seen_of(lease_of("eth1", 4, {}))
    found = local.check_dhcp(case(tmp_path, leases=(good, empty)))
    assert found.mark is Mark.OK and URL in found.said and "without the options" in found.said
    assert local.check_dhcp(case(tmp_path, leases=(empty,), url="")).mark is Mark.FAIL


@pytest.mark.parametrize(("free", "mark"), [(500_000, Mark.FAIL), (8 << 20, Mark.WARN), (1 << 30, Mark.OK)])
def test_little_room_is_told_in_time(tmp_path, monkeypatch, free, mark):
    """A firmware needs megabytes, a commit needs kilobytes."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=free))
    assert local.check_disk(case(tmp_path / "not" / "yet")).mark is mark


def test_a_clock_that_cannot_be_true_fails(monkeypatch):
    """And one that nothing keeps is a warning."""
    assert local.check_clock(1000.0).mark is Mark.FAIL
    monkeypatch.setattr(local, "_kernel_clock", lambda: 5)
    assert local.check_clock(1_800_000_000.0).mark is Mark.WARN
    monkeypatch.setattr(local, "_kernel_clock", lambda: 0)
    assert "kept by NTP" in local.check_clock(1_800_000_000.0).said
    assert isinstance(local.check_clock().said, str)


def test_the_acss_clock_is_compared_with_ours():
    """Five minutes are no news."""
    date = "Fri, 15 Jan 2027 08:00:00 GMT"
    assert local.clock_against(date, 1_800_000_000.0) is None
    late = local.clock_against(date, 1_800_000_000.0 - 4000)
    assert late is not None and "4000 s behind" in late.said
    assert local.clock_against("nonsense", 0.0) is None


def test_the_case_is_the_same_from_the_agent_and_from_its_directory(tmp_path):
    """What a stopped agent left is enough for the checks; settings count where it never ran."""

    async def run():
        bench = Bench(tmp_path)
        agent = await bench.start()
        await verbs_of(agent)["set-param"]({"values": {"Device.ManagementServer.Password": "s3cret"}})
        live = case_of_agent(agent)
        await bench.stop()
        return live

    live = asyncio.run(run())
    assert (live.running, live.state, live.enabled) == (True, "ok", True)
    assert "s3cret" not in repr(live)
    left = case_of_directory(CpeSettings(state_dir=tmp_path, profile="dkt-797xx"))
    assert (left.running, left.state, left.trouble) == (False, "ok", "")
    never = case_of_directory(CpeSettings(state_dir=tmp_path / "never", acs_url=URL, username="joe"))
    assert (never.url, never.url_from, never.username, never.state) == (URL, "stored", "joe", "")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "state.db").write_bytes(b"no database" * 100)
    assert "damaged" in case_of_directory(CpeSettings(state_dir=tmp_path / "bad")).trouble
    assert replace(live, running=False).directory == tmp_path
