"""The ACS on PostgreSQL: a real agent, kill -9, a server that goes and comes, two nodes on one database."""

import urllib.error
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from support.ends import Acs, Agent, wait_for
from support.kills import INTERVAL, KillAt, event_counts, finished, known, set_interval
from support.postgres import needs_postgres, shared_server
from support.tap import Tap

pytestmark = [pytest.mark.system, pytest.mark.postgres, needs_postgres]


@pytest.fixture
def url() -> str:
    """A new database on the shared server."""
    return shared_server().new_database()


@pytest.fixture
def node(url: str, tmp_path: Path) -> Iterator[Acs]:
    """An ACS on PostgreSQL that admits everybody."""
    server = Acs(tmp_path / "acs", "--cpe-auth", "open", "--database", url)
    try:
        yield server.start()
    finally:
        server.kill()


def test_an_agent_is_managed_and_kill_9_of_the_acs_loses_nothing(node: Acs, tmp_path: Path) -> None:
    """Bootstrap, tasks, and the ACS killed at two messages of a session: each task is done once, each event is there once."""
    killer = KillAt()
    with Tap(node.cwmp_url, before=killer) as tap:
        agent = Agent(tmp_path / "agent", tap.url, "PGKILL1").start()
        try:
            device = known(node, "PGKILL1")
            for step in range(2):
                tasks = [
                    set_interval(node, device, 600 + step),
                    node.task(device, "Reboot", {"command_key": f"kill-{step}"}),
                ]
                killer.arm(len(tap.passed) + 3 * step + 1, node, "acs")
                with suppress(OSError, HTTPException):  # the kill may come before the answer to this request
                    node.task(device, "GetRPCMethods", {}, connection_request=True)
                wait_for(lambda: killer.done, f"the kill at step {step}", 60)
                node.start()
                assert finished(node, tasks) == ["done", "done"], f"{killer.done}\n{node.said()}\n{agent.said()}"
            counts = event_counts(node, device, 2)
            values = node.rest("GET", f"devices/{device}/parameters?path={INTERVAL}")["items"]
        finally:
            agent.kill()
    assert counts["0 BOOTSTRAP"] == 1
    assert counts["M Reboot"] == 2
    assert [v["value"] for v in values] == ["601"]


def test_a_task_made_at_one_node_is_done_at_another_and_its_waiter_is_woken(
    node: Acs, url: str, tmp_path: Path
) -> None:
    """The device talks to one node, the operator to the other: the answer to `wait` comes with the task's end, not with its limit."""
    other = Acs(tmp_path / "other", "--cpe-auth", "open", "--database", url)
    agent = None
    try:
        other.start()
        assert node.rest("GET", "health"), "the second node's start has not taken the first one's token"
        agent = Agent(tmp_path / "agent", other.cwmp_url, "PGTWO1").start()
        device = known(node, "PGTWO1")
        made = node.rest(
            "POST",
            f"devices/{device}/tasks?wait=50",
            {
                "rpc": "SetParameterValues",
                "args": {"parameter_list": [{"name": INTERVAL, "value": "777"}]},
                "connection_request": True,
            },
        )
        assert made["status"] == "done", f"{made}\n{node.said()}\n{other.said()}\n{agent.said()}"
        values = node.rest("GET", f"devices/{device}/parameters?path={INTERVAL}")["items"]
        assert [v["value"] for v in values] == ["777"]
    finally:
        if agent is not None:
            agent.kill()
        other.kill()


def test_the_devices_of_a_killed_node_go_on_at_another(node: Acs, url: str, tmp_path: Path) -> None:
    """A node dies in the middle of a session; the one that takes its address has all tasks, and does none of them twice."""
    heir = Acs(tmp_path / "heir", "--cpe-auth", "open", "--database", url)
    killer = KillAt()
    with Tap(node.cwmp_url, before=killer) as tap:
        agent = Agent(tmp_path / "agent", tap.url, "PGHEIR1").start()
        try:
            device = known(node, "PGHEIR1")
            tasks = [set_interval(node, device, 611), node.task(device, "Reboot", {"command_key": "kill-0"})]
            killer.arm(len(tap.passed) + 4, node, "acs")
            with suppress(OSError, HTTPException):  # the kill may come before the answer to this request
                node.task(device, "GetRPCMethods", {}, connection_request=True)
            wait_for(lambda: killer.done, "the kill", 60)
            heir.cwmp = node.cwmp
            heir.start()
            assert finished(heir, tasks) == ["done", "done"], f"{killer.done}\n{heir.said()}\n{agent.said()}"
            counts = event_counts(heir, device, 1)
        finally:
            agent.kill()
            heir.kill()
    assert counts["0 BOOTSTRAP"] == counts["M Reboot"] == 1


def test_an_acs_outlives_its_database(node: Acs, url: str) -> None:
    """While the server is away REST says so with 503; when it is back the ACS works again by itself."""
    server = shared_server()
    assert metrics_of(node)["homeport_store_up"] == "1.0"
    server.stop(hard=True)
    try:
        assert status_of(node) == 503
        # The alarm that is about this must reach those who watch, although no token can be looked up now.
        assert wait_for(lambda: metrics_of(node)["homeport_store_up"] == "0.0", "the alarm")
    finally:
        server.start()

    wait_for(lambda: status_of(node) == 200, "the ACS's recovery")
    assert wait_for(lambda: node.rest("GET", "health")["status"] == "ok", "good health")


def metrics_of(acs: Acs) -> dict[str, str]:
    """The metrics that have no labels, as the text that they are."""
    return dict(line.rsplit(" ", 1) for line in acs.text("/metrics").splitlines() if line[0] != "#")


def status_of(acs: Acs) -> int:
    """The HTTP status of a question that needs the database."""
    try:
        acs.rest("GET", "devices")
    except urllib.error.HTTPError as e:
        with e:
            return e.code
    return 200
