"""`homeport cpe doctor` against real sockets: a way that works, and each way in which it does not."""

import asyncio
import json
import socket
from pathlib import Path

import pytest

from cpe_support.agent_process import AgentProcess
from cpe_support.command import homeport
from cpe_support.http_acs import HttpAcs
from cpe_support.open_agent import open_agent, until
from homeport.cpe.config import CpeSettings
from homeport.cpe.doctor.case import Case, Finding, Mark
from homeport.cpe.doctor.network import check_network
from homeport.cpe.verbs import verbs_of
from system.transport_peers import DAY, NOW, Authority

pytestmark = pytest.mark.system


def found(case: Case) -> dict[str, Finding]:
    return {f.check: f for f in asyncio.run(check_network(case))}


def case(url: str, *, username: str = "", password: str = "", **settings: object) -> Case:
    given = CpeSettings(state_dir=Path("/nonexistent"), **settings)  # type: ignore[arg-type]
    return Case(given, False, url=url, url_from="stored", username=username, password=password)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_running_agent_examines_itself_and_opens_no_session(tmp_path: Path) -> None:
    """All is well: name, route, TCP, credentials by Digest, connection requests; the ACS sees no second Inform."""

    async def story() -> None:
        async with (
            HttpAcs(credentials=("box", "s3cret")) as acs,
            open_agent(tmp_path, acs.url, username="box", password="s3cret") as agent,
        ):
            await acs.sessions(1)
            await until(lambda: agent.status.state == "waiting")
            rows = {row["check"]: row for row in await verbs_of(agent)["doctor"]({})}
            assert len(acs.informs) == 1
            for name in ("route", "TCP", "TLS", "credentials", "connection requests"):
                assert rows[name]["mark"] == "ok", rows[name]
            assert "user name box" in rows["credentials"]["said"]
            assert "401" not in rows["connection requests"]["said"]
            assert "s3cret" not in json.dumps(rows)

    asyncio.run(story())


def test_wrong_and_missing_credentials_are_told_apart() -> None:
    """By a real challenge of the ACS."""

    async def story() -> None:
        async with HttpAcs(credentials=("box", "s3cret")) as acs:
            marks = []
            for username, password in (("", ""), ("box", "wrong"), ("box", "s3cret")):
                rows = {f.check: f for f in await check_network(case(acs.url, username=username, password=password))}
                marks.append((rows["credentials"].mark, rows["credentials"].said))
            assert [mark for mark, _ in marks] == [Mark.FAIL, Mark.FAIL, Mark.OK]
            assert "none is set" in marks[0][1]
            assert "refused the user name 'box'" in marks[1][1]
            assert acs.informs == []

    asyncio.run(story())


def test_the_first_thing_that_fails_is_named_and_what_follows_is_skipped() -> None:
    """A name that nobody knows; a port that nobody listens on."""
    rows = found(case("http://acs.invalid:7547/"))
    assert rows["DNS"].mark is Mark.FAIL and "acs.invalid" in rows["DNS"].said
    assert {rows[n].mark for n in ("route", "TCP", "TLS", "credentials")} == {Mark.SKIPPED}
    port = closed_port()
    rows = found(case(f"http://127.0.0.1:{port}/"))
    assert (rows["DNS"].mark, rows["route"].mark, rows["TCP"].mark) == (Mark.OK, Mark.OK, Mark.FAIL)
    assert f"port {port}: connection refused" in rows["TCP"].said
    rows = found(case(""))
    assert {f.mark for f in rows.values()} == {Mark.SKIPPED}


def test_tls_is_checked_as_the_agent_checks_it(tmp_path: Path) -> None:
    """Chain, name and dates: a good certificate says how long it holds, a foreign chain fails with the cure."""
    authority = Authority(tmp_path)

    async def look(context, url: str = "", **settings: object) -> dict[str, Finding]:
        async with HttpAcs(context=context) as acs:
            return {f.check: f for f in await check_network(case(url or acs.url, **settings))}

    async def story() -> None:
        trust = {"ca_file": authority.file}
        good = await look(authority.server_context(end=NOW + 90 * DAY), **trust)
        assert good["TLS"].mark is Mark.OK, good["TLS"]
        assert "more days" in good["TLS"].said and "TLSv1" in good["TLS"].said
        assert good["credentials"].mark is Mark.OK
        soon = await look(authority.server_context(end=NOW + 3 * DAY), **trust)
        assert soon["TLS"].mark is Mark.WARN and "ends in" in soon["TLS"].said
        foreign = await look(authority.server_context())
        assert foreign["TLS"].mark is Mark.FAIL and "not trusted" in foreign["TLS"].said
        assert foreign["credentials"].mark is Mark.SKIPPED
        name = await look(authority.server_context(names=("other.example.com",)), **trust)
        assert name["TLS"].mark is Mark.FAIL and "another host name" in name["TLS"].said
        old = await look(authority.server_context(start=NOW - 2 * DAY, end=NOW - DAY), **trust)
        assert old["TLS"].mark is Mark.FAIL and "expired" in old["TLS"].said

    asyncio.run(story())


def test_the_command_prints_marks_and_its_exit_status_tells(tmp_path: Path) -> None:
    """With an agent that runs and without one; `--json` for scripts."""

    async def story() -> None:
        async with HttpAcs() as acs:
            agent = AgentProcess(tmp_path, acs.url, "--no-web")
            await agent.start()
            await acs.sessions(1)
            await until(lambda: (tmp_path / "control.sock").exists())
            done = await homeport(tmp_path, "doctor", "--json")
            told = json.loads(done.stdout)
            assert (done.returncode, told["ok"]) == (0, True), told
            names = [f["check"] for f in told["findings"]]
            assert names[:5] == ["agent", "state directory", "disk space", "clock", "configuration"]
            assert await agent.stop() == 0
        done = await homeport(tmp_path, "doctor")
        assert done.returncode == 1
        lines = done.stdout.splitlines()
        assert any(line.startswith("warn    agent") for line in lines)
        assert any(line.startswith("fail    TCP") for line in lines)
        assert "this device has a problem: TCP" in done.stderr

    asyncio.run(story())
