"""Leases: checked, kept on disk, and what they change in the agent."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpe_support.bench import Bench
from homeport.codec.messages import FactoryReset, ParameterValueStruct, SetParameterValues
from homeport.cpe.discovery import encode_option43
from homeport.cpe.leases.lease import Lease, facts_of, forget_lease, keep_lease, kept_leases, lease_of
from homeport.cpe.parts.dhcp import DhcpPart
from homeport.cpe.vendor_options import encode_option17, encode_option125
from homeport.errors import ConfigError, StoreError
from homeport.terms import Writer

SERVER = "Device.ManagementServer."
FACTORY = "http://factory.example/"
DHCP = "http://dhcp.example/"


def lease(url: str = DHCP, interface: str = "eth0", **facts: object) -> Lease:
    return lease_of(interface, 4, {43: encode_option43(url=url, **facts)})  # type: ignore[arg-type]


def play(tmp_path, scene, **settings):
    async def run():
        bench = Bench(tmp_path, **{"acs_url": "", "parts": lambda agent: [DhcpPart(agent)], **settings})
        await scene(bench)
        await bench.stop()

    asyncio.run(run())


async def set_by_acs(bench, url):
    await bench.ask(SetParameterValues((ParameterValueStruct(SERVER + "URL", url),), ""))


# --- the record -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interface", ["", "a b", "../x", ".eth0", "eth0/../..", "x" * 40, "eth0\n"])
def test_what_is_no_interface_is_refused(interface):
    """The name becomes a file's name."""
    with pytest.raises(ConfigError, match="interface"):
        lease_of(interface, 4, {})


def test_only_known_options_are_kept_and_hexadecimal_is_read():
    """Empty ones are none; a content that is no hexadecimal is an error."""
    found = lease_of("eth0", 4, {"43": "1:2", "125": "", "12": "00", "x": "00", 66: b"tftp.example"})
    assert found.options == {43: b"\x01\x02", 66: b"tftp.example"}
    with pytest.raises(ConfigError, match="hexadecimal"):
        lease_of("eth0", 4, {"43": "$(reboot)"})
    with pytest.raises(ConfigError, match="more than"):
        lease_of("eth0", 4, {43: b"x" * 5000})
    with pytest.raises(ConfigError, match="family"):
        lease_of("eth0", 5, {})


@pytest.mark.parametrize(
    ("options", "server"),
    [
        ({66: b"tftp.example\0"}, "tftp.example"),
        ({66: b"name", 150: bytes((192, 0, 2, 9))}, "192.0.2.9"),
        ({66: b"a b; reboot"}, ""),
        ({}, ""),
    ],
)
def test_a_lease_names_its_tftp_server(options, server):
    """Option 150 before 66; what cannot be a host is none."""
    assert lease_of("eth0", 4, options).tftp_server == server


@pytest.mark.case("D05")
def test_which_option_named_the_acs_is_told():
    """43 before 125 unless 125 alone was asked for."""
    options = {43: encode_option43(url="http://a/"), 125: encode_option125(url="http://b/")}
    assert facts_of(lease_of("eth0", 4, options)).option == "DHCP option 43"
    both = facts_of(lease_of("eth0", 4, options, asked=(125,)))
    assert both.option == "DHCP option 125"
    assert both.found is not None and both.found.url == "http://b/"
    v6 = facts_of(lease_of("eth0", 6, {17: encode_option17(url="http://c/")}))
    assert v6.option == "DHCPv6 option 17"
    assert facts_of(lease_of("eth0", 4, {43: b"\x06\x01x"})).found is None


@given(st.dictionaries(st.sampled_from([43, 66, 67, 125, 150, 17]), st.binary(max_size=300)), st.sampled_from([4, 6]))
def test_a_hostile_lease_is_read_with_warnings(options, family):
    """DHCP is not authenticated."""
    found = lease_of("eth0", family, options)
    assert isinstance(found.tftp_server, str)
    facts_of(found)


def test_leases_are_kept_and_forgotten(tmp_path):
    """One file per interface and family; what cannot be read is left out."""
    keep_lease(tmp_path, lease())
    keep_lease(tmp_path, lease("http://other/", "wan0"))
    (tmp_path / "leases" / "torn-4.json").write_text('{"interface": "to')
    (tmp_path / "leases" / "name-4.json").write_text('{"interface": "another"}')
    assert [found.interface for found in kept_leases(tmp_path)] == ["eth0", "wan0"]
    assert forget_lease(tmp_path, "eth0", 4)
    assert not forget_lease(tmp_path, "eth0", 4)
    assert not forget_lease(tmp_path, "../leases/wan0", 4)
    assert kept_leases(tmp_path / "nowhere") == []


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    """The hook's caller reads it."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="owner"):
        keep_lease(tmp_path / "file" / "state", lease())


# --- what a lease changes ---------------------------------------------------------------------------------------------------------


@pytest.mark.case("D01")
@pytest.mark.case("D02")
def test_a_lease_of_a_running_agent_moves_it(tmp_path):
    """Its URL beats the factory's; the new ACS gets a bootstrap at once, and the facts beside the URL count."""

    async def scene(bench):
        agent = await bench.start()
        assert agent.status.acs_url_from == "factory"
        said = agent.leases.take(lease(provisioning_code="gold", retry_minimum_wait=7, retry_multiplier=3000))
        await bench.clock.settle()
        assert DHCP in said
        assert bench.attempts[-1][1] == DHCP
        assert "0 BOOTSTRAP" in bench.events()
        assert (agent.status.acs_url_from, agent.status.acs_url_source) == ("DHCP", "from DHCP option 43 of eth0")
        assert agent.management.retry == (7, 3000)
        assert agent.management.value("Device.DeviceInfo.ProvisioningCode") == "gold"
        before = len(bench.informs)
        agent.leases.take(lease(provisioning_code="gold", retry_minimum_wait=7, retry_multiplier=3000))
        await bench.clock.settle()
        assert len(bench.informs) == before

    play(tmp_path, scene)


@pytest.mark.case("D07")
def test_what_the_acs_or_a_person_set_beats_every_lease(tmp_path):
    """Stored > DHCP; the log says what was offered."""

    async def scene(bench):
        agent = await bench.start()
        agent.leases.take(lease())
        await bench.clock.settle()
        await set_by_acs(bench, "http://set.example/")
        said = agent.leases.take(lease("http://forged.example/"))
        await bench.clock.settle()
        assert agent.management.url == "http://set.example/"
        assert "set by the ACS" in said
        assert any("forged.example" in line for line in agent.config_log.lines())
        agent.model.set_local(SERVER + "URL", "http://mine.example/", Writer.LOCAL)
        agent.leases.take(lease("http://forged2.example/"))
        assert agent.management.url == "http://mine.example/"
        assert agent.status.acs_url_from == "stored"

    play(tmp_path, scene)


def test_a_value_that_the_acs_changed_stays_the_acss(tmp_path):
    """A renewal does not undo it; as long as it is what DHCP gave, DHCP may change it."""
    code = "Device.DeviceInfo.ProvisioningCode"

    async def scene(bench):
        agent = await bench.start()
        agent.leases.take(lease(provisioning_code="one"))
        agent.leases.take(lease(provisioning_code="two"))
        assert agent.management.value(code) == "two"
        await bench.clock.settle()
        await bench.ask(SetParameterValues((ParameterValueStruct(code, "by-acs"),), ""))
        agent.leases.take(lease(provisioning_code="three"))
        assert agent.management.value(code) == "by-acs"

    play(tmp_path, scene)


def test_a_setting_beats_what_dhcp_says_beside_the_url(tmp_path):
    """A person who starts the agent with a retry wait wants that one."""

    async def scene(bench):
        agent = await bench.start()
        agent.leases.take(lease(retry_minimum_wait=7))
        assert agent.management.retry[0] == 20

    play(tmp_path, scene, retry_minimum_wait=20)


def test_of_two_interfaces_the_one_that_named_the_acs_first_counts(tmp_path):
    """Renewals do not move the device to and fro; when the lease is given back, the other counts from its next renewal on."""

    async def scene(bench):
        agent = await bench.start()
        agent.leases.take(lease("http://a.example/", "eth0"))
        said = agent.leases.take(lease("http://b.example/", "eth1"))
        assert "lease of eth0 counts" in said
        assert agent.management.url == "http://a.example/"
        assert "is gone" in agent.leases.release("eth0", 4)
        assert agent.management.url == "http://a.example/"
        agent.leases.take(lease("http://b.example/", "eth1"))
        assert agent.management.url == "http://b.example/"
        assert "no lease" in agent.leases.release("eth7", 4)

    play(tmp_path, scene)


def test_a_lease_survives_the_agents_restart_and_one_that_came_meanwhile_is_found(tmp_path):
    """What a hook laid into the state directory while no agent ran."""

    async def scene(bench):
        keep_lease(tmp_path, lease())
        agent = await bench.start()
        assert agent.management.url == DHCP
        assert bench.events() == ["0 BOOTSTRAP", "1 BOOT"]
        await bench.power_cut()
        keep_lease(tmp_path, lease("http://moved.example/"))
        agent = await bench.start()
        assert agent.management.url == "http://moved.example/"
        assert [row.url for row in agent.status.leases] == ["http://moved.example/"]
        keep_lease(tmp_path, lease("http://again.example/"))
        agent.leases.look()
        assert agent.management.url == "http://again.example/"

    play(tmp_path, scene)


def test_a_factory_reset_forgets_who_set_the_url(tmp_path):
    """Then the lease counts again."""

    async def scene(bench):
        agent = await bench.start()
        agent.leases.take(lease())
        await bench.clock.settle()
        await set_by_acs(bench, "http://set.example/")
        await bench.ask(FactoryReset())
        agent = await bench.restarted()
        assert (agent.management.url, agent.status.acs_url_from) == (DHCP, "DHCP")

    play(tmp_path, scene)


def test_dhcp_is_not_looked_at_where_the_device_is_told_so(tmp_path):
    """cwmp.use_dhcp off."""
    from homeport.cpe import gateway_settings

    async def scene(bench):
        agent = await bench.start()
        gateway_settings.change(agent, {"cwmp.use_dhcp": "off"}, who="a test")
        assert "use_dhcp is off" in agent.leases.take(lease())
        assert agent.management.url == FACTORY

    play(tmp_path, scene)


# --- looking again ------------------------------------------------------------------------------------------------------------------


def test_an_acs_that_stays_unreachable_gives_way_to_the_one_that_dhcp_names(tmp_path):
    """A device that first found its ACS by DHCP: a wrong URL set by an ACS does not cut it off for good (TR-069a6 3.1)."""

    async def scene(bench):
        agent = await bench.start()
        agent.leases.take(lease())
        await bench.clock.settle()
        await set_by_acs(bench, "http://wrong.example/")
        bench.refuse = True
        agent.trigger("2 PERIODIC")
        await bench.clock.advance(1)
        assert agent.management.url == "http://wrong.example/"
        await bench.clock.advance(120)
        assert agent.management.url == DHCP
        assert agent.status.acs_url_from == "DHCP"
        bench.refuse = False
        await bench.clock.advance(600)
        assert "0 BOOTSTRAP" in bench.events()

    play(tmp_path, scene)


def test_of_two_leases_each_gets_its_turn_while_no_acs_is_reached(tmp_path):
    """Two lines, two operators, one of them down."""

    async def scene(bench):
        agent = await bench.start()
        agent.leases.take(lease("http://a.example/", "eth0"))
        agent.leases.take(lease("http://b.example/", "eth1"))
        bench.refuse = True
        tried = set()
        agent.trigger("2 PERIODIC")
        for _ in range(40):
            await bench.clock.advance(60)
            tried.add(bench.attempts[-1][1])
        assert tried == {"http://a.example/", "http://b.example/"}

    play(tmp_path, scene)


def test_a_renewal_that_says_nothing_new_costs_the_flash_nothing(tmp_path):
    """Some servers give leases of five minutes."""

    async def scene(bench):
        agent = await bench.start()
        agent.leases.take(lease(provisioning_code="gold"))
        await bench.clock.settle()
        written = []
        agent.store._db.set_trace_callback(lambda text: written.append(text) if text.startswith("INSERT") else None)
        for _ in range(3):
            said = agent.leases.take(lease(provisioning_code="gold"))
        assert written == []
        assert "changes nothing" in said

    play(tmp_path, scene)


@pytest.mark.parametrize("why", ["a person set it", "never found by DHCP", "switched off", "the ACS answers"])
def test_dhcp_does_not_move_the_agent_otherwise(tmp_path, why):
    """A person's URL stays; so does one that an ACS set on a device that had a fixed URL; 401 and 503 are answers."""

    async def scene(bench):
        agent = await bench.start()
        if why != "never found by DHCP":
            agent.leases.take(lease())
            await bench.clock.settle()
        if why == "a person set it":
            agent.model.set_local(SERVER + "URL", "http://wrong.example/", Writer.LOCAL)
        else:
            await set_by_acs(bench, "http://wrong.example/")
            agent.leases.take(lease())
        await bench.clock.settle()
        if why == "the ACS answers":

            def busy(body):
                from homeport.errors import TransportError

                raise TransportError("HTTP 503", kind="http")

            bench.on_post = busy
        else:
            bench.refuse = True
        agent.trigger("2 PERIODIC")
        await bench.clock.advance(3600)
        assert agent.management.url == "http://wrong.example/"

    play(tmp_path, scene, dhcp_rediscovery_after=0 if why == "switched off" else 3)
