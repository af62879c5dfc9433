"""kill -9 of the agent, against a real ACS."""

import itertools
from pathlib import Path

import pytest

from support.ends import Acs, Agent, wait_for
from support.kills import KillAt, counts_of, event_counts, finished, known, script
from support.tap import CPE, Tap

pytestmark = pytest.mark.system


def agent_killed_at(number: int, acs: Acs, folder: Path) -> bool:
    """One round: bootstrap, a write and a reboot, with kill -9 at message `number`. False when the round has fewer messages."""
    serial = f"AGENT{number:03}"
    killer = KillAt()
    with Tap(acs.cwmp_url, before=killer) as tap:
        agent = Agent(folder / serial, tap.url, serial, "--reboot", "restart")
        killer.arm(number, agent, CPE)
        agent.start()
        try:
            tasks: list[str] = []
            if number > 0:
                device = known(acs, serial)
                tasks = script(acs, device, number)
                wait_for(lambda: killer.done or counts_of(acs, device)["M Reboot"], "the kill or the end", 60)
            else:
                wait_for(lambda: killer.done, "the first message")
            if killer.disarm():
                agent.start()
            device = known(acs, serial)
            assert set(finished(acs, tasks)) <= {"done"}, f"killed at {number}: {killer.done}\n{agent.said()}"
            accepted = any(b"RebootResponse" in m.body for m in tap.passed)
            counts = event_counts(acs, device, int(accepted))
            assert counts["0 BOOTSTRAP"] >= 1, f"killed at {number}: {killer.done}"
        finally:
            agent.kill()
    return killer.done is not None


def test_kill_9_of_the_agent_between_any_two_messages_loses_no_event_and_no_task(open_acs: Acs, tmp_path: Path) -> None:
    """At each message of bootstrap, write and reboot the agent is killed and started again: everything still comes to its end."""
    survived = next(n for n in itertools.count() if not agent_killed_at(n, open_acs, tmp_path))
    assert survived >= 12
