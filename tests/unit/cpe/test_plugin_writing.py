"""Writable parameters of plug-ins: validate, apply, undo and notify, and what their errors become."""

from datetime import datetime
from typing import Any

import pytest

from cpe_support.plugged import Plugged
from homeport.cpe.devices.plugin import LATER, Plugin, Row
from homeport.errors import Fault
from homeport.terms import FaultCode, Writer

CODE = "Device.DeviceInfo.ProvisioningCode"


class Lamp:
    """A plug-in with writable parameters that writes down what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.value = "old"
        self.fail: Exception | None = None
        self.status: int | None = None
        self.plugin = Plugin("lamp")
        code = self.plugin.parameter(CODE, inline=True)(lambda: self.value)
        code.validate(lambda value: self.say("check", value))
        code.apply(self.apply)
        code.notify(lambda value: self.say("told", value))
        self.enable = self.plugin.parameter("Device.Ethernet.Interface.{i}.Enable", inline=True)(lambda row: None)
        self.enable.apply(lambda row, value: self.say("enable", row.path, value))
        self.plugged = Plugged(self.plugin)

    def say(self, *words: Any) -> None:
        self.said.append(words)

    def apply(self, value: str) -> int | None:
        self.say("do", value)
        if self.fail is not None:
            failed, self.fail = self.fail, None
            raise failed
        self.value = value
        return self.status


def test_a_write_is_checked_then_done_then_told() -> None:
    """validate, apply and notify are called in this order, with the value as Python has it."""
    lamp = Lamp()
    assert lamp.plugged.set(DeviceInfo__ProvisioningCode="new") == 0
    assert lamp.said == [("check", "new"), ("do", "new"), ("told", "new")]


def test_values_come_as_python_values() -> None:
    """A boolean is a bool, a number an int, a dateTime a datetime, a list a list: nobody parses texts."""
    box = Plugin("box")
    got: list[object] = []
    server = "Device.ManagementServer."
    for name in ("PeriodicInformEnable", "PeriodicInformInterval", "PeriodicInformTime"):
        box.parameter(server + name, inline=True)(lambda: None).apply(lambda value: got.append(value))
    plugged = Plugged(box)
    plugged.set(
        ManagementServer__PeriodicInformEnable="0",
        ManagementServer__PeriodicInformInterval="77",
        ManagementServer__PeriodicInformTime="2026-01-02T03:04:05Z",
    )
    assert sorted(got, key=str)[1:] == [77, False] and isinstance(sorted(got, key=str)[0], datetime)


def test_status_1_where_the_change_takes_effect_later() -> None:
    """An apply that returns LATER makes the answer's Status 1."""
    lamp = Lamp()
    lamp.status = LATER
    assert lamp.plugged.set(DeviceInfo__ProvisioningCode="new") == 1


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ValueError("only N or S"), FaultCode.INVALID_PARAMETER_VALUE, "only N or S"),
        (OSError("bus error"), FaultCode.INTERNAL_ERROR, "the device could not do it: OSError: bus error"),
        (Fault(FaultCode.REQUEST_DENIED, "locked"), FaultCode.REQUEST_DENIED, "locked"),
    ],
)
def test_an_error_of_apply_refuses_the_whole_request(error: Exception, code: FaultCode, words: str) -> None:
    """The fault names the parameter with a sentence; nothing is stored, and what was applied before is taken back."""
    lamp = Lamp()
    lamp.fail = error
    fault = lamp.plugged.refusal(
        lambda: lamp.plugged.set(DeviceInfo__ProvisioningCode="new", Ethernet__Interface__1__Enable="false")
    )
    assert [(p.name, p.code, p.text) for p in fault.parameters] == [(CODE, code, words)]
    assert lamp.plugged.value(CODE) == "old"
    assert lamp.plugged.value("Device.Ethernet.Interface.1.Enable") == "true"


def test_what_was_applied_is_undone_when_a_later_one_refuses() -> None:
    """Without an `undo` of its own, `apply` is called with the value of before."""
    lamp = Lamp()
    refuse = Plugin("refuse")

    @refuse.parameter("Device.Ethernet.Interface.{i}.MaxBitRate", inline=True)
    def rate(row: Row) -> None:
        return None

    @rate.apply
    def rate(row: Row, value: int) -> None:
        raise ValueError("no such rate")

    plugged = Plugged(lamp.plugin, refuse)
    fault = plugged.refusal(
        lambda: plugged.set(Ethernet__Interface__2__Enable="false", Ethernet__Interface__2__MaxBitRate="10")
    )
    assert fault.parameters[0].text == "no such rate"
    port = "Device.Ethernet.Interface.2."
    assert lamp.said == [("enable", port, False), ("enable", port, True)]


def test_a_group_is_told_all_changes_at_once() -> None:
    """apply of a group gets the new values of one object by name, in one call."""
    box = Plugin("box")
    got: list[object] = []
    group = box.group("Device.Ethernet.Interface.{i}.", inline=True)(lambda row: {})
    group.apply(lambda row, values: got.append((row.number, values)))
    plugged = Plugged(box)
    plugged.set(
        Ethernet__Interface__1__Enable="0", Ethernet__Interface__1__MaxBitRate="10", Ethernet__Interface__2__Enable="0"
    )
    assert got == [(1, {"Enable": False, "MaxBitRate": 10}), (2, {"Enable": False})]


def test_the_device_is_not_asked_about_what_it_does_itself() -> None:
    """Values that the device itself writes are facts: no hook of a plug-in is called."""
    lamp = Lamp()
    lamp.plugged.set(Writer.SYSTEM, DeviceInfo__ProvisioningCode="factory")
    assert lamp.said == []


def test_a_notify_that_fails_changes_nothing() -> None:
    """notify comes after the disk: its errors are logged, the write stands."""
    box = Plugin("box")
    code = box.parameter(CODE, inline=True)(lambda: None)

    @code.notify
    def told(value: str) -> None:
        raise RuntimeError("no")

    plugged = Plugged(box)
    plugged.set(DeviceInfo__ProvisioningCode="new")
    assert plugged.value(CODE) == "new"


def test_a_write_counts_against_what_the_device_has() -> None:
    """A value that somebody changed on the device can be set back: the last written text is not what a write is compared with."""
    lamp = Lamp()
    lamp.plugged.set(DeviceInfo__ProvisioningCode="north")
    lamp.value = "turned by hand"
    lamp.said.clear()
    lamp.plugged.set(DeviceInfo__ProvisioningCode="north")
    assert lamp.value == "north" and ("do", "north") in lamp.said
    lamp.said.clear()
    lamp.plugged.set(DeviceInfo__ProvisioningCode="north")
    assert lamp.said == [], "nothing to do"


def test_rows_of_a_table_further_down_are_that_table_s_affair() -> None:
    """A table around another one is not asked about the inner rows, nor about how many there are."""
    asked: list[tuple[str, object]] = []
    outer = Plugin("outer")
    bridges = outer.table("Device.Bridging.Bridge.{i}.", key=lambda values: "b", inline=True)(
        lambda: [{"Enable": True}]
    )
    bridges.validate(lambda row, name, value: asked.append((name, value)))
    ports = outer.table("Device.Bridging.Bridge.{i}.Port.{i}.", key="Name", inline=True)(lambda row: [{"Name": "p1"}])
    ports.validate(lambda row, name, value: asked.append(("port " + name, value)))
    plugged = Plugged(outer)
    plugged.values("Device.Bridging.")
    path = outer.path_of("Device.Bridging.Bridge.1.Port.{i}.", "p1").removeprefix("Device.")
    plugged.set(**{path.replace(".", "__") + "__Enable": "true"})
    assert asked == [("port Enable", True)]


def test_an_object_s_group_leaves_the_tables_below_it_to_their_own_declarations() -> None:
    """Of two declarations that cover a parameter the one with the longer path answers."""
    plugin = Plugin("box")
    plugin.group("Device.Ethernet.", inline=True)(lambda: {})
    plugin.table("Device.Ethernet.Interface.{i}.", key="Name", inline=True)(lambda: [{"Name": "eth7", "Status": "Up"}])
    plugged = Plugged(plugin)
    assert plugged.value("Device.Ethernet.Interface.1.Status") == "Up"
