"""The configuration log: who changed what, when, from what to what."""

import asyncio

import pytest

from cpe_support.bench import Bench
from homeport.codec.messages import AddObject, DeleteObject, ParameterValueStruct, SetParameterValues
from homeport.cpe.change_log import MOST_AT_ONCE, entry
from homeport.cpe.verbs import verbs_of
from homeport.terms import Writer

SERVER = "Device.ManagementServer."


def play(tmp_path, scene, **settings):
    async def run():
        bench = Bench(tmp_path, **settings)
        agent = await bench.start()
        await scene(bench, verbs_of(agent))
        lines = agent.config_log.lines()
        await bench.stop()
        return [entry(line) for line in lines]

    return asyncio.run(run())


def set_value(*pairs: tuple[str, str]) -> SetParameterValues:
    return SetParameterValues(tuple(ParameterValueStruct(name=n, value=v, type="string") for n, v in pairs), "k")


def test_each_change_names_who_what_old_and_new(tmp_path):
    """The ACS, a person, the settings."""

    async def scene(bench, verbs):
        await bench.ask(set_value(("Device.WiFi.SSID", 'my "net"\n-> x')))
        await verbs["set-param"]({"values": {"Device.WiFi.SSID": "mine"}, "who": "anna on the command line"})

    rows = [r for r in play(tmp_path, scene, username="dave") if "path" in r]
    told = [(r["who"], r["path"], r["old"], r["new"]) for r in rows]
    assert ("the agent's settings", SERVER + "Username", "", "dave") in told
    assert ("the ACS", "Device.WiFi.SSID", "home", 'my "net"\n-> x') in told
    assert told[-1] == ("anna on the command line", "Device.WiFi.SSID", 'my "net"\n-> x', "mine")
    assert all(r["time"].endswith("Z") for r in rows)


def test_what_dhcp_brought_is_told_as_dhcps(tmp_path):
    """With the option that brought it."""
    from homeport.cpe.discovery import encode_option43

    async def scene(bench, verbs):
        pass

    rows = play(tmp_path, scene, acs_url="", option43=encode_option43(url="http://dhcp.example/").hex())
    told = [(r["who"], r["new"]) for r in rows if r.get("path") == SERVER + "URL"]
    assert len(told) == 1 and told[0][0].startswith("DHCP (") and told[0][1] == "http://dhcp.example/"


@pytest.mark.case("X07")
def test_secrets_are_told_as_changed_and_not_shown(tmp_path):
    """Neither the old nor the new one."""

    async def scene(bench, verbs):
        await bench.ask(set_value((SERVER + "Password", "s3cret-new")))

    rows = [r for r in play(tmp_path, scene, password="s3cret-old") if r.get("path") == SERVER + "Password"]
    assert [(r["old"], r["new"]) for r in rows] == [("", "********"), ("********", "********")]
    assert "s3cret" not in repr(rows)


def test_rows_that_come_and_go_are_told(tmp_path):
    """AddObject and DeleteObject are changes of the configuration too."""

    async def scene(bench, verbs):
        await bench.ask(AddObject("Device.WiFi.Neighbour."), DeleteObject("Device.WiFi.Neighbour.1."))

    texts = [r["text"] for r in play(tmp_path, scene)]
    assert "the ACS added Device.WiFi.Neighbour.1." in texts
    assert "the ACS deleted Device.WiFi.Neighbour.1." in texts


def test_a_flood_of_changes_does_not_push_everything_else_out(tmp_path):
    """One request may set thousands of values."""
    from homeport.cpe.change_log import ChangeLog
    from homeport.model.changes import Change
    from homeport.terms import Writer

    async def scene(bench, verbs):
        log: ChangeLog = bench.agent.changes
        log.changed([Change("Device.WiFi.SSID", "", str(i), Writer.ACS) for i in range(MOST_AT_ONCE + 7)])

    rows = play(tmp_path, scene)
    assert sum(r.get("path") == "Device.WiFi.SSID" for r in rows) == MOST_AT_ONCE
    assert rows[-1]["text"] == "and 7 more changes in the same request"


def test_a_line_that_is_no_change_is_its_text():
    """Old logs hold such lines."""
    assert entry("2026-01-01T00:00:00Z ACS URL http://x/, set by the ACS") == {
        "time": "2026-01-01T00:00:00Z",
        "text": "ACS URL http://x/, set by the ACS",
    }


def test_rows_that_the_device_finds_by_itself_are_no_configuration(tmp_path):
    """Hosts and processes come and go all day; what an ACS adds is a change of the configuration."""

    async def scene(bench, verbs):
        model = bench.agent.model
        with model.transaction(Writer.SYSTEM) as change:
            path = f"Device.WiFi.Neighbour.{change.add_object('Device.WiFi.Neighbour.')}."
            change.set(path + "Name", "found")
            change.commit()

    rows = play(tmp_path, scene)
    assert not any("Neighbour" in r.get("path", r.get("text", "")) for r in rows)
