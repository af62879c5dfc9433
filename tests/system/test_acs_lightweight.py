"""Values that a device tells by UDP between two sessions: believed where signed, new, and of a device that may."""

import asyncio
from pathlib import Path

import pytest

from homeport.acs.config import AcsSettings
from homeport.codec.messages import ParameterValueStruct
from homeport.errors import ConfigError
from homeport.transport.lightweight import LightweightNotifier, LightweightSettings
from homeport.transport.lightweight_messages import LightweightSender
from support.acs_wire import OUI, PRODUCT, acs, id_of, run

pytestmark = pytest.mark.system

SSID = "Device.WiFi.SSID.1.SSID"
VERSION = "Device.DeviceInfo.SoftwareVersion"


@pytest.mark.case("N14")
def test_a_signed_notification_becomes_values_and_an_event(tmp_path: Path) -> None:
    """Another password, a stranger and an old datagram change nothing; neither does the shared password for a device with its own."""

    async def scene() -> None:
        options = {"cpe_username": "fleet", "cpe_password": "secret", "lightweight_listen": "127.0.0.1:0"}
        async with acs(tmp_path, **options) as bed:
            for serial in ("S1", "S2"):
                await (await bed.device(serial)).session("1 BOOT")
            made = await bed.rest("PUT", f"devices/{id_of('S2')}/credentials", {"username": "own", "password": "other"})
            assert made.status == 204, made.body
            to = bed.app.lightweight_address
            assert to is not None
            counts = bed.app.hub.stats.notifications

            async def tell(
                value: str, serial: str = "S1", password: str = "secret", at: float = 1_700_000_000.0
            ) -> None:
                before = sum(counts.values())
                sender = LightweightSender("fleet", password, OUI, PRODUCT, serial)
                wanted = LightweightSettings("UDP", to.host, sender, port=to.port)
                rows = [ParameterValueStruct(SSID, value, "string"), ParameterValueStruct(VERSION, value, "string")]
                await LightweightNotifier(lambda: wanted, wall_clock=lambda: at).notify(rows)
                async with asyncio.timeout(10):
                    while sum(counts.values()) == before:
                        await asyncio.sleep(0.005)

            async with bed.app.hub.bus.listen() as events:
                await tell("home")
                event = await asyncio.wait_for(events.get(), 10)
                assert event.pop("id")
                assert event == {"kind": "values", "device": id_of(), "count": 2, "paths": [SSID, VERSION]}
                await tell("old", at=1_699_999_999.0)
                await tell("forged", password="guess", at=1_700_000_001.0)
                await tell("stranger", serial="S9")
                await tell("theirs", serial="S2")
                assert events.empty()
            assert {str(k): n for k, n in counts.items()} == {
                "accepted": 1, "not newer": 1, "wrong signature": 1, "unknown device": 1, "no password": 1,
            }  # fmt: skip
            stored = await bed.app.store.values(id_of())
            assert stored[SSID].value == "home"
            device = await bed.get_device()
            assert device["software_version"] == "home"
            record = await bed.app.store.device(id_of())
            assert record is not None and record.notified == 1_700_000_000

    run(scene())


def test_the_receiver_needs_the_shared_login() -> None:
    """The message says why."""
    with pytest.raises(ConfigError, match="lightweight_listen needs cpe_username"):
        AcsSettings(lightweight_listen="127.0.0.1:0").check()
