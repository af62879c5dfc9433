"""Plug-ins that give values: parameters, groups and rows, their errors and their limits."""

import asyncio
import threading

import pytest

from cpe_support.plugged import Plugged
from homeport.cpe.devices.plugin import Plugin, Row, parameter, refer
from homeport.errors import ConfigError
from homeport.model.profile import ProfileDef, load_profile
from homeport.terms import FaultCode

INFO = "Device.DeviceInfo."


def test_a_function_gives_its_parameter_a_value() -> None:
    """What the function returns is the parameter's value in the wire's text, each time that it is asked."""
    box = Plugin("box")
    seconds = iter(range(10, 20))

    @box.parameter("Device.DeviceInfo.UpTime")
    def uptime() -> int:
        return next(seconds)

    plugged = Plugged(box)
    assert [plugged.value(INFO + "UpTime"), plugged.value(INFO + "UpTime")] == ["10", "11"]


def test_none_leaves_the_stored_value() -> None:
    """A function that has nothing to say does not hide what the model keeps."""
    box = Plugin("box")
    box.parameter("Device.DeviceInfo.ModelName")(lambda: None)
    assert Plugged(box).value(INFO + "ModelName") == "797xx"


def test_a_parameter_of_rows_gets_its_row() -> None:
    """With `{i}` the function is called with the row: its path, its number, and the rows around it."""
    box = Plugin("box")

    @box.parameter("Device.Bridging.Bridge.{i}.Port.{i}.Name")
    def name(row: Row) -> str:
        assert row.parent is not None
        return f"bridge{row.parent.number}-port{row.number}"

    plugged = Plugged(box)
    assert plugged.value("Device.Bridging.Bridge.1.Port.2.Name") == "bridge1-port2"


def test_a_group_is_called_once_for_all_its_parameters() -> None:
    """Grouped reads: one request, one call, however many parameters it asks for; what is left out keeps its stored value."""
    box = Plugin("box")
    calls = []

    @box.group("Device.DeviceInfo.")
    def info() -> dict[str, object]:
        calls.append(1)
        return {"UpTime": 7, "MemoryStatus.Total": 1024, "MemoryStatus.Free": 512}

    box.parameter("Device.DeviceInfo.MemoryStatus.Total")(lambda: 2048)
    box.parameter("Device.DeviceInfo.MemoryStatus.Free")(lambda: None)
    plugged = Plugged(box)
    found = plugged.values(INFO)
    assert len(calls) == 1
    assert (found["UpTime"], found["ModelName"]) == ("7", "797xx")
    assert found["MemoryStatus.Total"] == "2048", "a declaration of one parameter counts before a group's"


def test_a_profile_gets_what_a_plug_in_brings() -> None:
    """A parameter of the model that the profile lacks appears with the plug-in that declares it, and only then."""
    box = Plugin("box")
    box.parameter("Device.DeviceInfo.ProcessStatus.CPUUsage")(lambda: 12)
    shy = Plugin("shy", extends=False)
    shy.parameter("Device.DeviceInfo.MemoryStatus.Total")(lambda: 12)
    plugged = Plugged(box, shy)
    assert plugged.value(INFO + "ProcessStatus.CPUUsage") == "12"
    assert not plugged.model.exists(INFO + "MemoryStatus.Total")
    assert not load_profile("dkt-797xx").has_object(INFO + "ProcessStatus.")


def test_a_path_that_no_model_has_is_refused_at_the_start() -> None:
    """A typing error is found when the agent starts, and the message says what was probably meant."""
    box = Plugin("box")
    box.parameter("Device.DeviceInfo.Uptime")(lambda: 1)
    with pytest.raises(ConfigError, match=r"did you mean Device\.DeviceInfo\.UpTime\?"):
        Plugged(box)


def test_a_failing_function_is_a_fault_for_who_names_the_parameter() -> None:
    """9002 with a sentence that names parameter and reason; a request that only passes by gets the stored value."""
    box = Plugin("box")

    @box.parameter("Device.DeviceInfo.SoftwareVersion")
    def version() -> str:
        raise OSError("no such file: /etc/version")

    plugged = Plugged(box)
    fault = plugged.refusal(lambda: plugged.model.get(INFO + "SoftwareVersion"))
    assert fault.code is FaultCode.INTERNAL_ERROR
    assert "Device.DeviceInfo.SoftwareVersion cannot be read now: OSError: no such file" in fault.text
    assert plugged.values(INFO)["SoftwareVersion"] == "1.0.0"


def test_a_function_that_fails_later_leaves_its_last_value() -> None:
    """What was shown last stays, so that one bad moment of a sensor spoils no request."""
    box = Plugin("box")
    given: list[object] = [41, ValueError("sensor asleep"), "not a number", 43]

    @box.parameter("Device.DeviceInfo.UpTime")
    def level() -> object:
        value = given.pop(0)
        if isinstance(value, Exception):
            raise value
        return value

    plugged = Plugged(box)
    assert [plugged.value(INFO + "UpTime") for _ in range(4)] == ["41", "41", "41", "43"]


def test_a_function_that_hangs_is_given_up() -> None:
    """A call has a time limit; the parameter then faults, is not called again while it hangs, and the others go on."""
    box = Plugin("box")
    release, calls = threading.Event(), []

    @box.parameter("Device.DeviceInfo.SoftwareVersion", limit=0.05)
    def hangs() -> str:
        calls.append(1)
        release.wait(10)
        return "late"

    box.parameter("Device.DeviceInfo.UpTime")(lambda: 5)
    plugged = Plugged(box)
    fault = plugged.refusal(lambda: plugged.model.get(INFO + "SoftwareVersion"))
    assert "no answer within 0.05 s" in fault.text
    again = plugged.refusal(lambda: plugged.model.get(INFO + "SoftwareVersion"))
    assert "has not come back yet" in again.text and calls == [1]
    assert plugged.value(INFO + "UpTime") == "5"
    release.set()


def test_values_fetched_ahead_do_not_call_again() -> None:
    """`prepare` calls what a request needs without blocking the loop; the request takes those answers."""
    box = Plugin("box")
    calls: list[str] = []
    box.parameter("Device.DeviceInfo.UpTime")(lambda: calls.append("uptime") or 3)
    box.parameter("Device.Ethernet.Interface.{i}.Name")(lambda row: calls.append(row.path) or "x")
    plugged = Plugged(box)

    async def play() -> None:
        await plugged.host.prepare(["Device.DeviceInfo."])
        assert calls == ["uptime"], "only what the request concerns"
        assert plugged.values(INFO)["UpTime"] == "3"
        assert calls == ["uptime"]
        await plugged.clock.advance(2)
        plugged.values(INFO)
        assert calls == ["uptime", "uptime"], "a second later it is old"

    asyncio.run(play())


def test_declarations_in_a_class_are_methods_of_its_object() -> None:
    """Decorators at module level work on methods; each object has its own state."""

    class Board:
        def __init__(self) -> None:
            self.code = "north"

        @parameter("Device.DeviceInfo.ProvisioningCode")
        def provisioning(self) -> str:
            return self.code

        @provisioning.apply
        def provisioning(self, value: str) -> None:  # type: ignore[no-redef]
            self.code = value

    board = Board()
    plugged = Plugged(Plugin.of(board))
    plugged.set(DeviceInfo__ProvisioningCode="south")
    assert board.code == "south" and plugged.value(INFO + "ProvisioningCode") == "south"


def test_a_value_may_refer_to_a_row_of_a_live_table() -> None:
    """References are given by key and become the row's path; those that lead nowhere are left out."""
    box = Plugin("box")
    box.table("Device.Ethernet.Interface.{i}.", key="Name")(lambda: [{"Name": "lan0"}, {"Name": "lan1"}])
    ports = "Device.Ethernet.Interface.{i}."

    @box.parameter("Device.Ethernet.Link.{i}.LowerLayers")
    def below(row: Row) -> list[object]:
        return [refer(ports, "lan1"), refer(ports, "gone")]

    profile = load_profile("dkt-797xx")
    plugged = Plugged(box, profile=loose(profile))
    plugged.model.get("Device.Ethernet.Interface.")
    number = next(
        n
        for n in plugged.model.instances("Device.Ethernet.Interface.")
        if n > 0 and plugged.value(f"Device.Ethernet.Interface.{n}.Name") == "lan1"
    )
    assert plugged.value("Device.Ethernet.Link.1.LowerLayers") == f"Device.Ethernet.Interface.{number}"


def loose(profile: ProfileDef) -> ProfileDef:
    """The DKT profile with Ethernet interfaces that come and go."""

    return ProfileDef(
        "loose",
        profile.schema,
        profile.parameters,
        objects=profile.objects,
        instances=tuple(i for i in profile.instances if "Ethernet.Interface" not in i),
        values={p: v for p, v in profile.values.items() if "Ethernet.Interface" not in p},
    )


def test_an_async_function_is_refused_with_the_cure() -> None:
    """Reads are plain functions; who writes `async def` is told where async belongs."""
    box = Plugin("box")

    async def wrong() -> int:
        return 1

    with pytest.raises(ConfigError, match="@listen"):
        box.parameter("Device.DeviceInfo.UpTime")(wrong)


def test_what_fails_is_shown_to_people() -> None:
    """The report names each plug-in, what it serves, and what fails in it until it works again."""
    box = Plugin("box")
    given: list[object] = [OSError("asleep"), 7]

    @box.parameter("Device.DeviceInfo.UpTime")
    def level() -> object:
        value = given.pop(0)
        if isinstance(value, Exception):
            raise value
        return value

    plugged = Plugged(box)
    plugged.values(INFO)
    failing = {"path": INFO + "UpTime", "error": "OSError: asleep"}
    report = {"name": "box", "serves": [INFO + "UpTime"], "restarts": None}
    assert plugged.host.report() == [{**report, "failing": [failing]}]
    plugged.values(INFO)
    assert plugged.host.report() == [{**report, "failing": []}]


def test_an_inform_does_without_what_cannot_be_read() -> None:
    """Who does not insist gets the stored value, also of a parameter that was named: an Inform must carry its parameters."""
    box = Plugin("box")

    @box.parameter("Device.DeviceInfo.SoftwareVersion")
    def version() -> str:
        raise OSError("flash is busy")

    plugged = Plugged(box)
    (value,) = plugged.model.get_many([INFO + "SoftwareVersion"], insist=False)
    assert value.value == "1.0.0"


def test_names_are_answered_without_calling_for_values() -> None:
    """A request for names asks the tables for their rows, and no function for a value."""
    box = Plugin("box")
    calls: list[str] = []
    box.parameter("Device.DeviceInfo.UpTime")(lambda: calls.append("uptime") or 3)
    box.table("Device.Hosts.Host.{i}.", key="PhysAddress", columns=["PhysAddress"])(lambda: calls.append("rows") or [])
    plugged = Plugged(box)
    asyncio.run(plugged.host.prepare(["Device."], rows_only=True))
    plugged.model.names("Device.", False)
    assert calls == ["rows"]


def test_a_vendor_has_parameters_of_its_own() -> None:
    """A name with X_ and OUI or domain is the vendor's to define: its type comes from the function, its access from `apply`."""
    box = Plugin("box")

    @box.parameter("Device.DeviceInfo.X_00256D_Boots")
    def boots() -> int:
        return 12

    @box.parameter("Device.X_EXAMPLE-COM_Board.Lamp.Colour", type="string")
    def colour():  # type: ignore[no-untyped-def]
        return "red"

    said: list[str] = []
    colour.apply(lambda value: said.append(value))
    box.parameter("Device.Ethernet.Interface.{i}.X_00256D_Volts", type="decimal")(lambda row: 3.3 * row.number)
    with pytest.raises(ConfigError, match="Lamp is no vendor's name"):
        Plugged(box)
    box.declarations.remove(colour)
    lamp = box.parameter("Device.X_EXAMPLE-COM_Board.Colour", type="string")(lambda: "red")
    lamp.apply(lambda value: said.append(value))
    plugged = Plugged(box)
    names = {n.name: n.writable for n in plugged.model.names("Device.", False)}
    assert names["Device.X_EXAMPLE-COM_Board.Colour"] and not names["Device.DeviceInfo.X_00256D_Boots"]
    assert plugged.model.get("Device.DeviceInfo.X_00256D_Boots")[0].type == "int"
    assert plugged.value("Device.Ethernet.Interface.2.X_00256D_Volts") == "6.6"
    plugged.set(**{"X_EXAMPLE-COM_Board__Colour": "green"})
    assert said == ["green"]
    assert not load_profile("dkt-797xx").schema.parameter("Device.DeviceInfo.X_00256D_Boots"), (
        "the model itself is left alone"
    )


def test_a_vendors_parameter_without_a_type_is_refused() -> None:
    """Nothing says the type: the message lists what it can be."""
    box = Plugin("box")
    box.parameter("Device.DeviceInfo.X_00256D_Boots")(lambda: 12)
    with pytest.raises(ConfigError, match="its type must be said"):
        Plugged(box)


def test_a_plug_in_may_serve_devices_of_both_roots() -> None:
    """What is below the other root is passed over, so that one package serves TR-098 and TR-181 devices."""
    box = Plugin("box")
    for root in ("Device.", "InternetGatewayDevice."):
        box.parameter(f"{root}DeviceInfo.UpTime")(lambda: 9)
    assert Plugged(box).value(INFO + "UpTime") == "9"
    igd = Plugged(box, profile=load_profile("igd"))
    assert igd.value("InternetGatewayDevice.DeviceInfo.UpTime") == "9"
