"""Attributes, access lists, and what the ACS is still to be told."""

import pytest

from homeport.errors import Fault
from homeport.model.schema import Schema
from homeport.model.tree import DataModel
from homeport.terms import Notification, Writer

UPTIME = "Device.DeviceInfo.UpTime"
VERSION = "Device.DeviceInfo.SoftwareVersion"
CODE = "Device.DeviceInfo.ProvisioningCode"
URL = "Device.ManagementServer.ConnectionRequestURL"
INTERVAL = "Device.ManagementServer.PeriodicInformInterval"


def set_attributes(model: DataModel, *items: tuple[str, int | None] | tuple[str, int | None, list[str] | None]) -> None:
    with model.transaction(Writer.ACS) as change:
        for item in items:
            change.set_attributes(*item)
        change.commit()


def attributes(model: DataModel, path: str) -> list[tuple[str, int, tuple[str, ...]]]:
    return [(a.name, a.notification, a.access_list) for a in model.attributes([path])]


def code_of(model: DataModel, *items: tuple[str, int | None]) -> int:
    before = model.dump_state()
    with pytest.raises(Fault) as caught:
        set_attributes(model, *items)
    assert model.dump_state() == before
    return int(caught.value.code)


def pending(model: DataModel) -> dict[str, str]:
    return {c.name: c.value for c in model.pending_changes()}


@pytest.mark.case("R40")
def test_attributes_of_a_partial_path_have_an_entry_per_parameter(model: DataModel) -> None:
    """Off by default, open to the LAN side; forced ones are active without anybody asking."""
    assert attributes(model, "Device.DeviceInfo.") == [
        ("Device.DeviceInfo.Manufacturer", 0, ("Subscriber",)),
        (VERSION, 2, ("Subscriber",)),
        (CODE, 0, ("Subscriber",)),
        (UPTIME, 0, ("Subscriber",)),
    ]
    assert attributes(model, URL)[0][1] == 2
    assert len(model.attributes(["Device."])) == len(model.get("Device."))


@pytest.mark.case("R41")
def test_what_is_not_to_change_is_kept(model: DataModel) -> None:
    """Notification and access list change apart from each other."""
    set_attributes(model, (CODE, 1, []))
    set_attributes(model, (CODE, None, ["Subscriber", "X_EXAMPLE-COM_User"]))
    assert attributes(model, CODE) == [(CODE, 1, ("Subscriber", "X_EXAMPLE-COM_User"))]
    set_attributes(model, (CODE, 2))
    assert attributes(model, CODE) == [(CODE, 2, ("Subscriber", "X_EXAMPLE-COM_User"))]


@pytest.mark.case("R42")
@pytest.mark.case("R43")
@pytest.mark.case("R45")
def test_one_wrong_entry_spoils_the_whole_request(model: DataModel) -> None:
    """Unknown name 9005, a number that is no notification 9003, a forced one 9009."""
    assert code_of(model, (CODE, 1), ("Device.Nope", 1)) == 9005
    assert code_of(model, (CODE, 1), (INTERVAL, 7)) == 9003
    assert code_of(model, (CODE, 1), (VERSION, 0)) == 9009
    set_attributes(model, (VERSION, 2))


@pytest.mark.case("R60")
def test_attributes_are_read_with_wildcards_but_not_set(model: DataModel) -> None:
    """GetParameterAttributes takes them, SetParameterAttributes does not."""
    with model.transaction(Writer.ACS) as change:
        change.add_object("Device.Net.Interface.")
        change.commit()
    assert [a[0] for a in attributes(model, "Device.Net.Interface.*.MTU")] == ["Device.Net.Interface.1.MTU"]
    assert code_of(model, ("Device.Net.Interface.*.MTU", 1)) == 9005


@pytest.mark.case("R44")
def test_a_device_may_deny_active_notification_where_the_model_lets_it(model: DataModel) -> None:
    """canDeny: 9009 when named; through a partial path it is left as it is."""
    set_attributes(model, (UPTIME, 2))
    set_attributes(model, (UPTIME, 0))
    model.deny_active("Device.DeviceInfo.")
    assert code_of(model, (UPTIME, 2)) == 9009
    set_attributes(model, (UPTIME, 1))
    set_attributes(model, ("Device.DeviceInfo.", 2))
    assert [a[1] for a in attributes(model, "Device.DeviceInfo.")] == [2, 2, 2, 1]


@pytest.mark.case("N12")
def test_lightweight_notifications_need_a_device_that_can_send_them(model: DataModel, schema: Schema) -> None:
    """3 to 6 are refused with 9009 elsewhere."""
    for number in (3, 4, 5, 6):
        assert code_of(model, (CODE, number)) == 9009
    able = DataModel(schema, lightweight=True)
    set_attributes(able, (CODE, 6))
    able.set_local(CODE, "x")
    assert [(c.name, c.notification) for c in able.to_inform()] == [(CODE, Notification.PASSIVE_AND_ACTIVE_LIGHTWEIGHT)]
    set_attributes(able, (CODE, 5))
    assert able.to_inform() == []
    assert pending(able) == {CODE: "x"}


@pytest.mark.case("R46")
def test_the_last_entry_of_a_list_wins(model: DataModel) -> None:
    """A name and a partial path that covers it, in either order."""
    set_attributes(model, (CODE, 2), ("Device.DeviceInfo.", 1))
    assert attributes(model, CODE)[0][1] == 1
    set_attributes(model, ("Device.DeviceInfo.", 1), (CODE, 2))
    assert attributes(model, CODE)[0][1] == 2


@pytest.mark.case("R47")
def test_an_access_list_without_subscriber_closes_a_parameter_to_the_lan_side(model: DataModel) -> None:
    """The ACS and the device itself still write it."""
    model.set_local(CODE, "a", Writer.LOCAL)
    set_attributes(model, (CODE, None, []))
    with pytest.raises(Fault) as caught:
        model.set_local(CODE, "b", Writer.LOCAL)
    assert caught.value.code == 9001
    model.set_local(CODE, "c", Writer.SYSTEM)
    with model.transaction(Writer.ACS) as change:
        change.set(CODE, "d")
        change.commit()
    set_attributes(model, (CODE, None, ["Subscriber"]))
    model.set_local(CODE, "e", Writer.LOCAL)


@pytest.mark.case("N01")
@pytest.mark.case("N02")
@pytest.mark.case("E06")
def test_only_changes_of_parameters_with_a_notification_are_kept_for_the_acs(model: DataModel) -> None:
    """Passive and active ones alike; the attribute tells the agent whether to call."""
    set_attributes(model, (CODE, 1), (INTERVAL, 2))
    model.set_local(CODE, "x", Writer.LOCAL)
    model.set_local(INTERVAL, "9", Writer.LOCAL)
    model.set_local(UPTIME, "9")
    assert [(c.name, c.value, c.type, c.notification, c.old) for c in model.to_inform()] == [
        (CODE, "x", "string", Notification.PASSIVE, ""),
        (INTERVAL, "9", "unsignedInt", Notification.ACTIVE, "1"),
    ]


@pytest.mark.case("N03")
def test_the_acs_is_not_told_of_its_own_changes(model: DataModel) -> None:
    """Its write also settles what was pending: it knows the value now."""
    set_attributes(model, (CODE, 2))
    model.set_local(CODE, "local", Writer.LOCAL)
    with model.transaction(Writer.ACS) as change:
        change.set(CODE, "acs")
        change.commit()
    assert pending(model) == {}


@pytest.mark.case("N05")
def test_several_changes_are_one_with_the_final_value(model: DataModel) -> None:
    """And one that went back to what the ACS knows is none."""
    set_attributes(model, (CODE, 2), (INTERVAL, 2))
    for text in ("a", "b", "c"):
        model.set_local(CODE, text, Writer.LOCAL)
    model.set_local(INTERVAL, "5", Writer.LOCAL)
    model.set_local(INTERVAL, "1", Writer.LOCAL)
    assert pending(model) == {CODE: "c"}


@pytest.mark.case("N06")
def test_a_change_after_the_inform_is_sent_stays_pending(model: DataModel) -> None:
    """What was reported is forgotten, unless it changed again since; then it is compared with what was sent."""
    set_attributes(model, (CODE, 2), (INTERVAL, 2))
    model.set_local(CODE, "a", Writer.LOCAL)
    model.set_local(INTERVAL, "5", Writer.LOCAL)
    sent = model.to_inform()
    model.set_local(CODE, "b", Writer.LOCAL)
    model.clear_reported(sent)
    assert [(c.name, c.old, c.value) for c in model.pending_changes()] == [(CODE, "a", "b")]
    model.set_local(CODE, "a", Writer.LOCAL)
    assert pending(model) == {}
    model.clear_reported()
    assert model.dump_state()["pending"] == {}


@pytest.mark.case("N07")
def test_attributes_and_pending_changes_survive_a_restart_but_not_a_factory_reset(
    model: DataModel, schema: Schema
) -> None:
    """They are part of the state."""
    set_attributes(model, (CODE, 2, []))
    model.set_local(CODE, "x")
    again = DataModel(schema, state=model.dump_state())
    assert attributes(again, CODE) == [(CODE, 2, ())]
    assert pending(again) == {CODE: "x"}
    again.factory_reset()
    assert attributes(again, CODE) == [(CODE, 0, ("Subscriber",))]
    assert pending(again) == {}


@pytest.mark.case("N10")
def test_a_forced_parameter_that_is_computed_is_noticed_by_looking(model: DataModel) -> None:
    """Nobody writes the connection request URL; a look finds that it changed since the last one."""
    address = ["http://192.0.2.1:7547/a"]
    model.source(URL, read=lambda path: address[0])
    assert model.poll() == []
    assert pending(model) == {}
    address[0] = "http://192.0.2.2:7547/a"
    assert model.poll() == [URL]
    assert model.poll() == []
    assert pending(model) == {URL: address[0]}
    model.clear_reported(model.to_inform())
    assert pending(model) == {}


def test_a_computed_parameter_is_watched_only_when_the_acs_asked(model: DataModel) -> None:
    """Watching costs a read; UpTime without a notification is left alone."""
    reads: list[str] = []
    model.source(UPTIME, read=lambda path: len(reads) if not reads.append(path) else 0)  # type: ignore[func-returns-value]
    model.poll()
    assert reads == []
    set_attributes(model, (UPTIME, 1))
    model.poll()
    assert pending(model) == {UPTIME: "3"}


def test_a_new_firmware_is_a_change_of_the_software_version(model: DataModel, schema: Schema) -> None:
    """The version that was reported last is part of the state; the next firmware finds it differs."""
    model.set_local(VERSION, "1.0")
    model.clear_reported()
    model.poll()
    state = model.dump_state()
    del state["values"][VERSION]  # the newer firmware's factory value is another
    newer = DataModel(schema, state=state)
    assert [(c.name, c.old, c.value) for c in newer.pending_changes()] == [(VERSION, "1.0", "")]


def test_a_row_takes_its_attributes_and_pending_changes_with_it(model: DataModel) -> None:
    """Nothing of a deleted row is reported, and a count with a notification is."""
    with model.transaction(Writer.ACS) as change:
        change.add_object("Device.Net.Interface.")
        change.commit()
    set_attributes(model, ("Device.Net.", 1))
    model.set_local("Device.Net.Interface.1.MTU", "900", Writer.LOCAL)
    with model.transaction(Writer.LOCAL) as change:
        change.delete_object("Device.Net.Interface.1.")
        change.commit()
    assert pending(model) == {"Device.Net.InterfaceNumberOfEntries": "0"}
    assert not [p for p in model.dump_state()["attributes"] if p.startswith("Device.Net.Interface.1.")]


def test_a_changed_password_is_reported_without_its_value(model: DataModel) -> None:
    """A hidden value reads as empty in an Inform too, and it is reported all the same."""
    set_attributes(model, ("Device.ManagementServer.Password", 2))
    model.set_local("Device.ManagementServer.Password", "secret", Writer.LOCAL)
    sent = model.to_inform()
    assert [(c.name, c.value) for c in sent] == [("Device.ManagementServer.Password", "")]
    model.clear_reported(sent)
    assert model.to_inform() == []
