"""What the model's XMPP objects say about the connection."""

import asyncio

import pytest

from cpe_support.bench import Bench
from homeport.cpe.management import Management
from homeport.cpe.parts.xmpp import XmppPart, offer_algorithms, settings_of, split_ids
from homeport.errors import ConfigError
from homeport.model.profile import ProfileDef
from homeport.model.schema import load_schema
from homeport.model.tree import DataModel
from homeport.terms import Writer
from homeport.transport.xmpp import XmppState
from homeport.transport.xmpp_rules import XmppStatus

ROW = "Device.XMPP.Connection.1."


@pytest.fixture(scope="module")
def profile():
    schema = load_schema("Device:2.19")
    wanted = ("Device.XMPP.", "Device.ManagementServer.ConnReq", "Device.ManagementServer.URL")
    names = tuple(p.path for p in schema.parameters() if p.path.startswith(wanted))
    return ProfileDef("xmpp", schema, names)


@pytest.fixture
def model(profile):
    made = DataModel(profile)
    offer_algorithms(Management(made))
    with made.transaction(Writer.ACS) as change:
        assert change.add_object("Device.XMPP.Connection.") == 1
        for name, value in {
            "Username": "cpe1",
            "Domain": "xmpp.example.org",
            "Password": "s",
            "Enable": "true",
        }.items():
            change.set(ROW + name, value)
        change.commit()
    return made


def test_a_row_that_is_enabled_describes_a_connection(model):
    """With the standard's defaults for what the ACS did not set."""
    settings = settings_of(model, Management(model), ROW)
    assert settings is not None
    assert (settings.jid, settings.password, settings.use_tls) == ("cpe1@xmpp.example.org", "s", False)
    assert (settings.server_connect_algorithm, settings.server_connect_attempts) == ("DNS-SRV", 16)


def test_no_row_or_a_disabled_one_means_no_connection(model):
    """ConnReqXMPPConnection empty, dangling, or Enable false."""
    management = Management(model)
    assert settings_of(model, management, ".") is None
    assert settings_of(model, management, "Device.XMPP.Connection.9.") is None
    model.set_local(ROW + "Enable", "false", Writer.ACS)
    assert settings_of(model, management, ROW) is None


def test_the_server_table_counts_where_the_row_says_so(model):
    """Enabled rows with an address, in order of priority; none is a configuration error."""
    model.set_local(ROW + "ServerConnectAlgorithm", "ServerTable", Writer.ACS)
    with pytest.raises(ConfigError, match="ServerTable"):
        settings_of(model, Management(model), ROW)
    with model.transaction(Writer.ACS) as change:
        for address, enable in (("a.example", "true"), ("b.example", "false")):
            number = change.add_object(ROW + "Server.")
            change.set(f"{ROW}Server.{number}.ServerAddress", address)
            change.set(f"{ROW}Server.{number}.Enable", enable)
        change.commit()
    settings = settings_of(model, Management(model), ROW)
    assert settings is not None
    assert [(s.address, s.port) for s in settings.servers] == [("a.example", 5222)]


def test_a_connection_without_user_name_leads_nowhere(model):
    """Said as a configuration error, which becomes Error_Misconfigured."""
    model.set_local(ROW + "Username", "", Writer.ACS)
    with pytest.raises(ConfigError, match="Username"):
        settings_of(model, Management(model), ROW)


def test_allowed_ids_are_a_list_with_commas():
    """Empty: everybody."""
    assert split_ids("") == []
    assert split_ids("a@x, b@y/r ,") == ["a@x", "b@y/r"]


def test_the_state_of_the_connection_is_shown_in_the_model(tmp_path, profile):
    """Status, JabberID and ConnReqJabberID; the address stays while the connection is lost."""

    async def play() -> None:
        everything = (*profile.parameters, *bench_names(profile.schema))
        bench = Bench(tmp_path, profile=ProfileDef("xmpp", profile.schema, everything, values=IDENTITY))
        agent = await bench.start()
        with agent.model.transaction(Writer.ACS) as change:
            change.add_object("Device.XMPP.Connection.")
            change.set("Device.ManagementServer.ConnReqXMPPConnection", ROW.rstrip("."))
            change.commit()
        part = XmppPart(agent)
        await part._connect()
        assert part._listener is None, "the row is not enabled"
        part._show(XmppState(XmppStatus.ENABLED, "cpe1@xmpp.example.org/a", tls_established=True))
        part._show(XmppState(XmppStatus.SERVER_NOT_PRESENT, reason="the connection ended"))
        assert agent.model.value(ROW + "Status") == "ServerNotPresent"
        assert agent.model.value(ROW + "TLSEstablished") == "false"
        assert agent.model.value(ROW + "JabberID") == "cpe1@xmpp.example.org/a"
        assert agent.model.value("Device.ManagementServer.ConnReqJabberID") == "cpe1@xmpp.example.org/a"
        assert "the connection ended" in agent.client_log.lines()[-1]
        await bench.stop()

    asyncio.run(play())


IDENTITY = {"Device.DeviceInfo.ManufacturerOUI": "00256D", "Device.DeviceInfo.SerialNumber": "1"}


def bench_names(schema) -> tuple[str, ...]:
    """The rest of what an agent needs: its identity and credentials."""
    names = ("Username", "Password", "ConnectionRequestURL", "ConnectionRequestUsername", "ConnectionRequestPassword")
    known = {p.path for p in schema.parameters()}
    wanted = (*IDENTITY, "Device.DeviceInfo.Manufacturer", *(f"Device.ManagementServer.{n}" for n in names))
    return tuple(n for n in wanted if n in known)
