"""What an ACS can make a device keep is bounded, and a device that is full can be emptied again."""

import asyncio

import pytest

from cpe_support.bench import Bench
from homeport.codec.messages import (
    AddObject,
    AddObjectResponse,
    DeleteObject,
    DeleteObjectResponse,
    FactoryReset,
    FactoryResetResponse,
    FaultMessage,
    GetParameterValues,
    ParameterValueStruct,
    Reboot,
    RebootResponse,
    SetParameterValues,
    SetParameterValuesResponse,
)
from homeport.cpe import model_store
from homeport.cpe.ledger import MAX_REBOOTS
from homeport.terms import Writer

TABLE = "Device.ManagementServer.InformParameter."
LIMIT = 400_000


@pytest.fixture
def small(monkeypatch):
    """A device that keeps 400 KB."""
    monkeypatch.setattr(model_store, "MOST_STATE", LIMIT)


def play(tmp_path, story) -> None:
    async def run() -> None:
        bench = Bench(tmp_path)
        await bench.start()
        await story(bench)
        await bench.stop()

    asyncio.run(run())


def long(name: str, size: int) -> SetParameterValues:
    return SetParameterValues((ParameterValueStruct(name, "x" * size, "string"),), "")


def test_rows_and_long_values_are_refused_when_the_device_is_full(tmp_path, small):
    """9004, nothing is changed; deleting makes room; a factory reset, a reboot and the device's own values are always taken."""

    async def story(bench: Bench) -> None:
        refused = None
        for n in range(1, 100):
            answers = await bench.ask(AddObject(TABLE, ""), long(f"{TABLE}{n}.EventList", 50_000))
            refused = next((a for a in answers if isinstance(a, FaultMessage)), None)
            if refused is not None:
                break
        assert refused is not None and refused.fault_code == 9004
        assert LIMIT / 2 < bench.agent.store.size < LIMIT * 1.5
        (again,) = await bench.ask(AddObject(TABLE, ""))
        assert again.fault_code == 9004
        bench.agent.model.set_local("Device.WiFi.SSID", "mine", Writer.SYSTEM)
        (gone,) = await bench.ask(DeleteObject(f"{TABLE}1.", ""))
        assert isinstance(gone, DeleteObjectResponse)
        for n in range(2, 6):
            await bench.ask(DeleteObject(f"{TABLE}{n}.", ""))
        (added,) = await bench.ask(AddObject(TABLE, ""))
        assert isinstance(added, AddObjectResponse)
        (reset,) = await bench.ask(FactoryReset())
        assert isinstance(reset, FactoryResetResponse)
        await bench.restarted()
        assert bench.events() == ["0 BOOTSTRAP", "1 BOOT"]
        assert bench.agent.store.size < LIMIT / 2

    play(tmp_path, story)


def test_a_value_can_be_overwritten_as_often_as_one_likes(tmp_path, small):
    """What was overwritten takes no room for long, also within one session."""

    async def story(bench: Bench) -> None:
        answers = await bench.ask(*(long("Device.WiFi.SSID", 50_000) for _ in range(100)))
        assert all(isinstance(a, SetParameterValuesResponse) for a in answers)
        assert bench.agent.store.size < LIMIT * 2
        await bench.power_cut()
        await bench.start()
        assert bench.agent.model.value("Device.WiFi.SSID") == "x" * 50_000

    play(tmp_path, story)


def test_more_reboots_than_can_be_reported_are_refused(tmp_path):
    """Each of one session is reported with its key; 9004 for the rest, and one restart for all."""

    async def story(bench: Bench) -> None:
        answers = await bench.ask(*(Reboot(f"k{n}") for n in range(MAX_REBOOTS + 2)))
        assert [isinstance(a, RebootResponse) for a in answers] == [True] * MAX_REBOOTS + [False] * 2
        assert answers[-1].fault_code == 9004
        await bench.restarted()
        assert bench.events().count("M Reboot") == MAX_REBOOTS

    play(tmp_path, story)


def test_names_that_ask_for_too_much_together_are_refused(tmp_path):
    """The root many times over, or one long value a thousand times: 9004. Any one path, and lists of names as ACSs send them, are not."""

    async def story(bench: Bench) -> None:
        await bench.ask(long("Device.WiFi.SSID", 30_000))
        answers = await bench.ask(
            GetParameterValues(("",) * 1000),
            GetParameterValues(("Device.WiFi.SSID",) * 1000),
            GetParameterValues(("Device.",)),
            GetParameterValues(("Device.WiFi.", "Device.DeviceInfo.", "Device.", "Device.WiFi.SSID")),
            GetParameterValues(("Device.WiFi.Channel",) * 1000),
        )
        assert [getattr(a, "fault_code", 0) for a in answers] == [9004, 9004, 0, 0, 0]
        assert len(answers[-1].parameter_list) == 1000

    play(tmp_path, story)
