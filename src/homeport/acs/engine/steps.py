"""What programs are made of: steps that they yield, the device's replies, the result at their end."""

from collections.abc import Generator
from typing import Any, Final

from msgspec import Struct

from homeport.acs.engine.args import Answer, Call
from homeport.acs.records import FaultDetail, ParameterFaultDetail, TaskStatus
from homeport.codec import messages as m
from homeport.terms import FaultCode

PASSING: Final = frozenset({FaultCode.REQUEST_DENIED, FaultCode.INTERNAL_ERROR, FaultCode.RESOURCES_EXCEEDED})
"""Faults of a device that may answer the same question another day."""


class Step(Struct, frozen=True):
    """One RPC. progress: what must be remembered before it is sent, so that a lost answer can be settled."""

    request: Call
    progress: dict[str, Any] | None = None


class Result(Struct, frozen=True):
    """What came of a task. awaited: accepted, but its end is told in a later session. learnt: fields of Behaviour.

    result: as JSON has it; the rows of GetParameterValues are still its structs, which are the same to an encoder.
    """

    status: TaskStatus
    result: dict[str, Any] | None = None
    fault: FaultDetail | None = None
    awaited: bool = False
    learnt: dict[str, Any] = {}


Reply = Answer | m.FaultMessage
Program = Generator[Step, Reply, Result]


def failed(fault: m.FaultMessage) -> Result:
    """A task whose RPC the device refused."""
    return Result(TaskStatus.FAILED, fault=detail(fault))


def detail(fault: m.FaultMessage) -> FaultDetail:
    """A fault as it is kept."""
    parameters = tuple(
        ParameterFaultDetail(p.parameter_name, p.fault_code, p.fault_string) for p in fault.set_parameter_values_faults
    )
    return FaultDetail(fault.fault_code, fault.fault_string, parameters)
