"""The ten settings of a Vega gateway: shown, checked, set, all or nothing."""

import asyncio

import pytest

from cpe_support.bench import URL, Bench
from homeport.cpe.gateway_settings import SETTINGS
from homeport.cpe.verbs import verbs_of
from homeport.errors import Fault, HomeportError

SERVER = "Device.ManagementServer."


def play(tmp_path, scene, **settings):
    async def run():
        bench = Bench(tmp_path, **settings)
        agent = await bench.start()
        verbs = verbs_of(agent)
        try:
            return await scene(bench, lambda name, **args: verbs[name](args))
        finally:
            await bench.stop()

    return asyncio.run(run())


def test_the_table_is_vegas():
    """Its ten names in its order."""
    assert [s.name for s in SETTINGS] == [
        "cwmp.use_dhcp",
        "cwmp.acs_url",
        "cwmp.acs_username",
        "cwmp.acs_password",
        "cwmp.periodicinformenable",
        "cwmp.periodicinforminterval",
        "cwmp.con_req_url",
        "cwmp.con_req_username",
        "cwmp.con_req_password",
        "cwmp.manage_upgrade",
    ]
    assert all(s.help.endswith(".") for s in SETTINGS)


def test_values_are_shown_secrets_only_as_set(tmp_path):
    """What the model lacks says so."""

    async def scene(bench, ask):
        return {row["name"]: row for row in await ask("settings")}

    rows = play(tmp_path, scene, password="s3cret")
    assert rows["cwmp.acs_url"]["value"] == URL
    assert (rows["cwmp.acs_password"]["value"], rows["cwmp.acs_password"]["is_set"]) == ("", True)
    assert rows["cwmp.con_req_password"]["is_set"] is False
    assert rows["cwmp.manage_upgrade"]["missing"] is True
    assert rows["cwmp.periodicinformenable"]["value"] == "false"
    assert "s3cret" not in repr(rows)


def test_settings_are_set_together_or_not_at_all(tmp_path):
    """Each refusal stands at its setting."""

    async def scene(bench, ask):
        values = {
            "cwmp.acs_url": "ftp://nowhere/",
            "cwmp.periodicinforminterval": "often",
            "cwmp.periodicinformenable": "perhaps",
            "cwmp.acs_username": "fine",
            "cwmp.con_req_url": "http://mine/",
            "cwmp.colour": "red",
        }
        with pytest.raises(Fault) as refused:
            await ask("set", values=values)
        assert {p.name: int(p.code) for p in refused.value.parameters} == {
            "cwmp.acs_url": 9007,
            "cwmp.periodicinforminterval": 9006,
            "cwmp.periodicinformenable": 9007,
            "cwmp.con_req_url": 9008,
            "cwmp.colour": 9005,
        }
        assert bench.agent.management.username == "00256D-Bench-0001"
        good = {"cwmp.acs_username": "fine", "cwmp.periodicinformenable": "On", "cwmp.periodicinforminterval": "60"}
        assert await ask("set", values=good, check=True) == {"status": 0}
        assert bench.agent.management.periodic[0] is False
        assert await ask("set", values=good, who="anna") == {"status": 0}
        assert bench.agent.management.periodic[:2] == (True, 60)
        assert any("anna set " + SERVER + "Username" in line for line in await ask("log"))
        with pytest.raises(HomeportError, match="NAME=VALUE"):
            await ask("set", values={})

    play(tmp_path, scene)


def test_without_use_dhcp_option_43_is_not_looked_at(tmp_path):
    """A person at the box can keep DHCP out."""
    from homeport.cpe.discovery import encode_option43

    async def off(bench, ask):
        await ask("set", values={"cwmp.use_dhcp": "off"})
        assert (await ask("settings"))[0]["value"] == "false"
        assert (await ask("log"))[-1].endswith('set cwmp.use_dhcp: "true" -> "false"')

    async def look(bench, ask):
        return bench.agent.management.url

    play(tmp_path, off, acs_url="")
    option = encode_option43(url="http://dhcp.example/").hex()
    assert play(tmp_path, look, acs_url="", option43=option) == "http://factory.example/"


def test_a_vega_gateway_has_all_ten(tmp_path):
    """The profile and the table agree."""
    from homeport.model.profile import load_profile

    async def run():
        bench = Bench(tmp_path, profile=load_profile("vega-gateway"))
        agent = await bench.start()
        rows = await verbs_of(agent)["settings"]({})
        await verbs_of(agent)["set"]({"values": {"cwmp.manage_upgrade": "off"}})
        after = agent.management.text("UpgradesManaged")
        await bench.stop()
        return [row["name"] for row in rows if row["missing"]], after

    assert asyncio.run(run()) == ([], "false")
