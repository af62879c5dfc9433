"""kill -9 of the ACS, with a real agent."""

from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from support.ends import Acs, Agent, wait_for
from support.kills import KillAt, event_counts, finished, known, set_interval
from support.tap import Tap

pytestmark = pytest.mark.system


def test_kill_9_of_the_acs_between_any_two_messages_loses_no_event_and_no_task(open_acs: Acs, tmp_path: Path) -> None:
    """At each message of a session with tasks the ACS is killed and started again: acknowledged tasks and events are all there."""
    acs = open_acs
    killer = KillAt()
    with Tap(acs.cwmp_url, before=killer) as tap:
        agent = Agent(tmp_path / "agent", tap.url, "ACSKILL1", "--reboot", "restart").start()
        try:
            device = known(acs, "ACSKILL1")
            for step in range(10):
                event_counts(acs, device, step)  # else this step's tasks go out before the kill is armed
                tasks = [
                    set_interval(acs, device, 600 + step),
                    acs.task(device, "Reboot", {"command_key": f"kill-{step}"}),
                ]
                killer.arm(len(tap.passed) + step, acs, "acs")
                with suppress(OSError, HTTPException):  # the kill may come before the answer to this request
                    acs.task(device, "GetRPCMethods", {}, connection_request=True)
                wait_for(lambda: killer.done, f"the kill at step {step}", 60)
                acs.start()
                assert finished(acs, tasks) == ["done", "done"], (
                    f"killed at {killer.done}\n{acs.said()}\n{agent.said()}"
                )
            counts = event_counts(acs, device, 10)
        finally:
            agent.kill()
    assert counts["0 BOOTSTRAP"] == 1
    assert counts["M Reboot"] == 10
