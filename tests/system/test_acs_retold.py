"""An Inform that is told again because our InformResponse was lost: the history shows its events once, and a real second boot twice."""

from pathlib import Path

import pytest

from homeport.acs.services.retold import retried_within
from support.acs_wire import Bed, acs, id_of, played, values

pytestmark = pytest.mark.system


class Time:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


async def codes(bed: Bed) -> list[str]:
    """The codes of all stored events, the oldest first."""
    items = (await bed.rest("GET", f"devices/{id_of()}/events?limit=100")).json["items"]
    return [item["code"] for item in reversed(items)]


@pytest.mark.case("E15")
@played
async def test_events_of_a_retried_inform_are_in_the_history_once(tmp_path: Path) -> None:
    """Also after the second answer was lost; an event that came up between the tries is stored with the try that tells it."""
    time = Time()
    async with acs(tmp_path, clock=time) as bed:
        device = await bed.device()
        device.cookies = False
        for count in range(3):
            told = ("0 BOOTSTRAP", "1 BOOT") if count < 2 else ("0 BOOTSTRAP", "1 BOOT", "4 VALUE CHANGE")
            async with bed.app.hub.bus.listen() as queue:
                assert (await device.inform(*told, retry_count=count)).status == 200
                heard = [queue.get_nowait() for _ in range(queue.qsize())]
            inform = next(e for e in heard if e["kind"] == "inform")
            assert inform.get("repeated", []) == (["0 BOOTSTRAP", "1 BOOT"] if count else [])
            await device.reconnect()
            time.now += 8.0 * 2**count
        assert await codes(bed) == ["0 BOOTSTRAP", "1 BOOT", "4 VALUE CHANGE"]


@played
async def test_a_second_boot_is_in_the_history_beside_the_first(tmp_path: Path) -> None:
    """It begins to count its tries anew; and one that went on after our answer, whatever it counts, has told of the first."""
    time = Time()
    async with acs(tmp_path, clock=time) as bed:
        device = await bed.device()
        await device.inform("1 BOOT")
        device.cookie = ""
        time.now += 8.0
        await device.inform("1 BOOT")
        assert await codes(bed) == ["1 BOOT"] * 2
        await bed.task("GetParameterValues", {"parameter_names": ["Device.A"]})
        assert (await device.post(None)).status == 200, "it is asked, and then crashes"
        device.cookie = ""
        time.now += 8.0
        await device.session("1 BOOT", handler=values, retry_count=1)
        assert await codes(bed) == ["1 BOOT"] * 3


@played
async def test_what_comes_after_the_time_of_the_retries_is_another_event(tmp_path: Path) -> None:
    """The first retry comes within 5 to 10 s, and an answer is waited for; of a device that waits longer the ACS knows by its values."""
    time = Time()
    async with acs(tmp_path, clock=time) as bed:
        device = await bed.device()
        told = {"Device.ManagementServer.CWMPRetryMinimumWaitInterval": "600"}
        steps: list[tuple[float, dict[str, str], int]] = [
            (0, {}, 1),
            (71, {}, 2),
            (70, told, 2),
            (1_150, {}, 2),
            (200, {}, 3),
        ]
        for apart, parameters, stored in steps:
            device.cookie = ""
            time.now += apart
            await device.inform("1 BOOT", retry_count=1, parameters=parameters)
            assert await codes(bed) == ["1 BOOT"] * stored


def test_the_time_of_the_retries_grows_as_their_intervals_do() -> None:
    """Five seconds, doubled each time, and a minute for each answer that was waited for; no interval overflows it."""
    assert retried_within(1) == 70.0
    assert retried_within(2) == 150.0
    assert retried_within(1, 600.0, 1.0) == 660.0
    assert retried_within(11) - retried_within(10) == 5 * 2**10 + 60
    assert retried_within(10**9, 65_535.0, 65.535) == 7 * 86_400.0
