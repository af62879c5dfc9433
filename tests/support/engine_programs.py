"""Programs of the ACS's engine, played with answers that a test gives; no session, no store."""

from typing import Any

from homeport.acs.engine import steps
from homeport.acs.records import TaskRecord


def play(program: steps.Program, *answers: steps.Reply) -> tuple[list[Any], steps.Result | None]:
    """The requests of a program that gets these answers, and its result where it has come to one."""
    step = next(program)
    sent: list[Any] = [step.request]
    for answer in answers:
        try:
            step = program.send(answer)
        except StopIteration as stop:
            return sent, stop.value
        sent.append(step.request)
    return sent, None


def a_task(rpc: str, given: dict[str, Any] | None = None, **fields: Any) -> TaskRecord:
    return TaskRecord(id="t", device="d", rpc=rpc, args=given or {}, **fields)
