"""Transactions: SetParameterValues, AddObject and DeleteObject, all or nothing."""

import pytest

from homeport.errors import Fault, LocalProtocolError
from homeport.model.changes import Change, ChangeKind, CommitRecord
from homeport.model.schema import Schema
from homeport.model.tree import DataModel
from homeport.terms import Writer

INTERVAL = "Device.ManagementServer.PeriodicInformInterval"
KEY = "Device.ManagementServer.ParameterKey"
CODE = "Device.DeviceInfo.ProvisioningCode"


def write(
    model: DataModel,
    *items: tuple[str, str] | tuple[str, str, str | None],
    key: str | None = None,
    writer: Writer = Writer.ACS,
) -> int:
    with model.transaction(writer) as change:
        for item in items:
            change.set(*item)
        if key is not None:
            change.parameter_key(key)
        return change.commit()


def refused(model: DataModel, *items: tuple[str, ...], writer: Writer = Writer.ACS) -> list[tuple[str, int]]:
    before = model.dump_state()
    with pytest.raises(Fault) as caught:
        write(model, *items, key="new", writer=writer)  # type: ignore[arg-type]
    assert caught.value.code == 9003
    assert model.dump_state() == before
    return [(p.name, int(p.code)) for p in caught.value.parameters]


def add(model: DataModel, path: str, writer: Writer = Writer.ACS) -> int:
    with model.transaction(writer) as change:
        number = change.add_object(path)
        change.commit()
    return number


def delete(model: DataModel, path: str, writer: Writer = Writer.ACS, key: str = "") -> None:
    with model.transaction(writer) as change:
        change.delete_object(path)
        if key:
            change.parameter_key(key)
        change.commit()


def add_code(model: DataModel, path: str) -> int:
    before = model.dump_state()
    with model.transaction(Writer.ACS) as change, pytest.raises(Fault) as caught:
        change.parameter_key("new")
        change.add_object(path)
    assert model.dump_state() == before
    return int(caught.value.code)


@pytest.mark.case("R13")
def test_a_value_and_the_parameter_key_change_together(model: DataModel) -> None:
    """Status 0, the value is there at once, and so is the key."""
    assert write(model, (INTERVAL, "60", "xsd:unsignedInt"), key="k1") == 0
    assert model.value(INTERVAL) == "60"
    assert model.value(KEY) == "k1"


@pytest.mark.case("R14")
@pytest.mark.case("R15")
@pytest.mark.case("R16")
@pytest.mark.case("R17")
@pytest.mark.case("R18")
def test_every_wrong_parameter_is_named_and_nothing_is_changed(model: DataModel) -> None:
    """One SetParameterValues fault lists them all, each with its own code; the good ones are not applied either."""
    assert refused(
        model,
        (CODE, "fine"),
        ("Device.Nope", "1"),
        ("Device.DeviceInfo.UpTime", "1"),
        (INTERVAL, "60", "xsd:string"),
        ("Device.ManagementServer.URL", "x" * 257, "xsd:string"),
        ("Device.Net.", "1"),
    ) == [
        ("Device.Nope", 9005),
        ("Device.DeviceInfo.UpTime", 9008),
        (INTERVAL, 9006),
        ("Device.ManagementServer.URL", 9007),
        ("Device.Net.", 9005),
    ]  # fmt: skip


@pytest.mark.case("R19")
def test_a_parameter_named_twice_is_refused(model: DataModel) -> None:
    """Even with the same value, and even when one of them uses an alias."""
    assert refused(model, (INTERVAL, "60"), (INTERVAL, "60")) == [(INTERVAL, 9005)]
    add(model, "Device.Net.Interface.[wan].")
    assert refused(model, ("Device.Net.Interface.1.MTU", "900"), ("Device.Net.Interface.[wan].MTU", "901")) == [
        ("Device.Net.Interface.[wan].MTU", 9005)
    ]


@pytest.mark.case("R20")
def test_an_empty_list_sets_the_parameter_key(model: DataModel) -> None:
    """Nothing to do is done successfully."""
    assert write(model, key="only the key") == 0
    assert model.value(KEY) == "only the key"


@pytest.mark.case("R23")
def test_the_parameter_key_itself_is_read_only(model: DataModel) -> None:
    """It comes with a request, not as a parameter of one."""
    assert refused(model, (KEY, "x")) == [(KEY, 9008)]


def test_a_parameter_key_that_is_too_long_is_9003(model: DataModel) -> None:
    """32 characters at most."""
    with model.transaction(Writer.ACS) as change, pytest.raises(Fault) as caught:
        change.parameter_key("x" * 33)
    assert caught.value.code == 9003


def test_a_wildcard_cannot_be_written(model: DataModel) -> None:
    """SetParameterValues takes no wildcards, even where reading does."""
    add(model, "Device.Net.Interface.")
    assert refused(model, ("Device.Net.Interface.*.MTU", "900")) == [("Device.Net.Interface.*.MTU", 9005)]


def test_the_device_itself_may_write_what_others_only_read(model: DataModel) -> None:
    """SYSTEM writes read-only parameters; types hold for it too."""
    model.set_local("Device.DeviceInfo.UpTime", "5")
    assert model.value("Device.DeviceInfo.UpTime") == "5"
    with pytest.raises(Fault) as caught:
        model.set_local("Device.DeviceInfo.UpTime", "-5")
    assert caught.value.code == 9007
    with pytest.raises(Fault) as caught:
        model.set_local("Device.DeviceInfo.UpTime", "5", Writer.LOCAL)
    assert caught.value.code == 9008


@pytest.mark.case("D17")
def test_a_state_that_only_the_device_reports_cannot_be_written_by_the_acs(model: DataModel) -> None:
    """DiagnosticsState Complete from the ACS is 9007."""
    assert refused(model, ("Device.Net.PingState", "Complete")) == [("Device.Net.PingState", 9007)]
    write(model, ("Device.Net.PingState", "Requested"))
    model.set_local("Device.Net.PingState", "Complete")
    assert model.value("Device.Net.PingState") == "Complete"


def test_a_command_is_done_and_not_stored(model: DataModel) -> None:
    """It reads as its default before and after; the hook sees the write."""
    seen: list[str] = []
    model.hook("Device.ManagementServer.Reset", apply=lambda changes, view: seen.extend(c.new for c in changes))
    write(model, ("Device.ManagementServer.Reset", "1"))
    write(model, ("Device.ManagementServer.Reset", "true"))
    assert seen == ["true", "true"]
    assert model.value("Device.ManagementServer.Reset") == "false"
    assert "Reset" not in str(model.dump_state()["values"])


@pytest.mark.case("R32")
def test_a_new_row_has_a_new_number_and_default_values(model: DataModel) -> None:
    """Numbers from 1, the model's defaults, an alias of the CPE's own."""
    assert add(model, "Device.Net.Interface.") == 1
    values = {v.name.rpartition(".")[2]: v.value for v in model.get("Device.Net.Interface.1.")}
    assert values == {
        "Enable": "false",
        "Status": "Down",
        "Alias": "cpe-1",
        "MTU": "1400",
        "AddressNumberOfEntries": "0",
    }


@pytest.mark.case("R33")
@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("Device.Net.Interface", 9005),
        ("Device.Net.Interface.1.", 9005),
        ("Device.Net.Nope.", 9005),
        ("Device.Net.", 9005),
        ("Device.DeviceInfo.UpTime", 9005),
        ("Device.DeviceInfo.UpTime.", 9005),
        ("", 9005),
        ("Device.Net.Host.", 9001),
        ("Device.Net.Slot.", 9001),
        ("Device.Net.Host.[x].", 9001),
        ("Device.Net.Interface.[1x].", 9005),
    ],
)
def test_rows_are_added_only_where_that_is_possible(model: DataModel, path: str, code: int) -> None:
    """9005 for what is no table, 9001 for a table that the ACS cannot change; the ParameterKey stays."""
    assert add_code(model, path) == code


@pytest.mark.case("R34")
def test_a_full_table_takes_no_more_rows(model: DataModel) -> None:
    """Beyond maxEntries: 9004."""
    for _ in range(4):
        add(model, "Device.Net.Interface.")
    assert add_code(model, "Device.Net.Interface.") == 9004


@pytest.mark.case("R35")
def test_a_number_is_not_used_again(model: DataModel) -> None:
    """Neither after deleting in the middle nor after deleting the last; the others stay as they are."""
    for _ in range(3):
        add(model, "Device.Net.Interface.")
    delete(model, "Device.Net.Interface.2.")
    assert add(model, "Device.Net.Interface.") == 4
    delete(model, "Device.Net.Interface.4.")
    assert add(model, "Device.Net.Interface.") == 5
    assert model.instances("Device.Net.Interface.") == [1, 3, 5]


@pytest.mark.case("R36")
@pytest.mark.case("R37")
def test_a_deleted_row_is_gone_with_everything_below(model: DataModel) -> None:
    """Reading it, and deleting it again, is 9005."""
    add(model, "Device.Net.Interface.")
    add(model, "Device.Net.Interface.1.Address.")
    delete(model, "Device.Net.Interface.1.")
    for path in ("Device.Net.Interface.1.", "Device.Net.Interface.1.Address.1.IP"):
        with pytest.raises(Fault) as caught:
            model.get(path)
        assert caught.value.code == 9005
    with pytest.raises(Fault) as caught:
        delete(model, "Device.Net.Interface.1.")
    assert caught.value.code == 9005


@pytest.mark.case("R36")
@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("Device.Net.Interface.", 9005),
        ("Device.Net.", 9005),
        ("Device.Net.PingState", 9005),
        ("Device.Net.Interface.9.", 9005),
        ("Device.Net.Interface.1", 9005),
        ("Device.Net.Slot.1.", 9001),
        ("Device.Net.Host.1.", 9001),
    ],
)
def test_only_rows_that_may_go_can_be_deleted(model: DataModel, path: str, code: int) -> None:
    """A table, an object, a missing row: 9005. A row that the ACS cannot delete: 9001."""
    add(model, "Device.Net.Interface.")
    add(model, "Device.Net.Host.", Writer.SYSTEM)
    with pytest.raises(Fault) as caught:
        delete(model, path)
    assert caught.value.code == code


@pytest.mark.case("R38")
def test_adding_and_deleting_set_the_parameter_key_when_they_succeed(model: DataModel) -> None:
    """And leave it when they do not."""
    with model.transaction(Writer.ACS) as change:
        change.add_object("Device.Net.Interface.")
        change.parameter_key("added")
        assert change.commit() == 0
    assert model.value(KEY) == "added"
    delete(model, "Device.Net.Interface.1.", key="deleted")
    assert model.value(KEY) == "deleted"
    with pytest.raises(Fault):
        delete(model, "Device.Net.Interface.1.", key="not this")
    assert model.value(KEY) == "deleted"


@pytest.mark.case("R39")
def test_numbers_survive_a_restart(model: DataModel, schema: Schema) -> None:
    """Also the memory of those that are gone."""
    for _ in range(3):
        add(model, "Device.Net.Interface.")
    delete(model, "Device.Net.Interface.3.")
    again = DataModel(schema, state=model.dump_state())
    assert again.instances("Device.Net.Interface.") == [1, 2]
    assert add(again, "Device.Net.Interface.") == 4


@pytest.mark.case("D09")
@pytest.mark.case("R59")
def test_aliases_are_unique_and_well_formed(model: DataModel) -> None:
    """The CPE's own begin with cpe-; a second use of one is 9007, and so is one that is no alias."""
    add(model, "Device.Net.Interface.")
    add(model, "Device.Net.Interface.[wan].")
    assert [v.value for v in model.get("Device.Net.Interface.*.Alias")] == ["cpe-1", "wan"]
    assert refused(model, ("Device.Net.Interface.1.Alias", "wan")) == [("Device.Net.Interface.1.Alias", 9007)]
    assert refused(model, ("Device.Net.Interface.1.Alias", "1st")) == [("Device.Net.Interface.1.Alias", 9007)]
    assert refused(model, ("Device.Net.Interface.1.Alias", "")) == [("Device.Net.Interface.1.Alias", 9007)]
    assert add_code(model, "Device.Net.Interface.[wan].") == 9007
    with pytest.raises(Fault):
        model.set_local("Device.Net.Interface.1.Alias", "mine", Writer.LOCAL)
    write(model, ("Device.Net.Interface.1.Alias", "wan2"), ("Device.Net.Interface.2.Alias", "lan"))


def test_two_rows_may_exchange_their_aliases_in_one_request(model: DataModel) -> None:
    """Keys are checked after everything is staged."""
    add(model, "Device.Net.Interface.[a].")
    add(model, "Device.Net.Interface.[b].")
    write(model, ("Device.Net.Interface.1.Alias", "b"), ("Device.Net.Interface.2.Alias", "a"))
    assert model.value("Device.Net.Interface.[a].MTU") == "1400"


def test_an_automatic_alias_evades_one_that_is_taken(model: DataModel) -> None:
    """The ACS may have used the text that the CPE would have chosen."""
    add(model, "Device.Net.Interface.[cpe-2].")
    add(model, "Device.Net.Interface.")
    aliases = [v.value for v in model.get("Device.Net.Interface.*.Alias")]
    assert aliases[0] == "cpe-2"
    assert aliases[1].startswith("cpe-")
    assert len(set(aliases)) == 2


@pytest.mark.case("R58")
def test_an_unknown_alias_makes_its_row_when_auto_create_is_on(model: DataModel) -> None:
    """Several parameters of one new row are one row; without AutoCreateInstances the alias is unknown."""
    assert refused(model, ("Device.Net.Interface.[wan].MTU", "900")) == [("Device.Net.Interface.[wan].MTU", 9005)]
    write(model, ("Device.ManagementServer.AutoCreateInstances", "true"))
    write(model, ("Device.Net.Interface.[wan].MTU", "900"), ("Device.Net.Interface.[wan].Enable", "true"))
    assert model.instances("Device.Net.Interface.") == [1]
    assert [v.value for v in model.get("Device.Net.Interface.[wan].")][:4] == ["true", "Down", "wan", "900"]
    assert refused(model, ("Device.Net.Interface.[lan].MTU", "1")) == [("Device.Net.Interface.[lan].MTU", 9007)]
    assert model.instances("Device.Net.Interface.") == [1]


def test_a_transaction_that_is_not_committed_leaves_nothing(model: DataModel) -> None:
    """Leaving the block without commit rolls back; afterwards it is over."""
    before = model.dump_state()
    with model.transaction(Writer.ACS) as change:
        change.set(CODE, "x")
        change.add_object("Device.Net.Interface.")
        assert change.value(CODE) == "x"
    assert model.dump_state() == before
    with pytest.raises(LocalProtocolError):
        change.commit()
    with pytest.raises(LocalProtocolError):
        change.set(CODE, "y")


def test_a_transaction_that_was_overtaken_is_refused(model: DataModel) -> None:
    """Nobody's changes are lost by two open transactions."""
    first, second = model.transaction(Writer.ACS), model.transaction(Writer.LOCAL)
    first.set(CODE, "1")
    second.set(INTERVAL, "9")
    assert first.commit() == 0
    with pytest.raises(LocalProtocolError):
        second.commit()
    assert model.value(CODE) == "1"


def test_listeners_learn_of_a_commit_once_with_all_of_it(model: DataModel) -> None:
    """Rows first, counts and values after; what did not change is not told."""
    told: list[tuple[Change, ...]] = []
    stop = model.subscribe(lambda changes: told.append(tuple(changes)))
    with model.transaction(Writer.LOCAL) as change:
        change.add_object("Device.Net.Interface.")
        change.set("Device.Net.Interface.1.MTU", "900")
        change.set(CODE, "")
        change.commit()
    (changes,) = told
    assert changes[0] == Change("Device.Net.Interface.1.", "", "", Writer.LOCAL, ChangeKind.ADD)
    assert Change("Device.Net.InterfaceNumberOfEntries", "0", "1", Writer.LOCAL) in changes
    assert Change("Device.Net.Interface.1.MTU", "1400", "900", Writer.LOCAL) in changes
    assert CODE not in [c.path for c in changes]
    stop()
    write(model, (CODE, "z"))
    assert len(told) == 1


def test_what_the_disk_refuses_does_not_happen(schema: Schema) -> None:
    """persist comes before the new state is visible; its error passes through."""

    def full(record: CommitRecord) -> None:
        raise OSError("disk full")

    model = DataModel(schema, persist=full)
    before = model.dump_state()
    with pytest.raises(OSError, match="disk full"):
        write(model, (CODE, "x"), key="k")
    assert model.dump_state() == before
    with pytest.raises(OSError, match="disk full"):
        model.factory_reset()
    assert model.dump_state() == before


def test_a_record_says_whether_it_must_be_on_disk(schema: Schema) -> None:
    """The device's own reports about itself need no flash; what somebody wrote does."""
    records: list[CommitRecord] = []
    model = DataModel(schema, persist=records.append)
    model.set_local("Device.DeviceInfo.UpTime", "9")
    write(model, (CODE, "x"))
    write(model, key="k")
    assert [r.durable for r in records] == [False, True, True]
    assert [r.number for r in records] == [1, 2, 3]
    write(model, (CODE, "x"))
    assert len(records) == 3  # nothing changed, so there is nothing to store


@pytest.mark.case("R50")
def test_a_factory_reset_puts_everything_back(model: DataModel, schema: Schema) -> None:
    """Values, rows, attributes, ParameterKey."""
    fresh = DataModel(schema).dump_state()
    write(model, (CODE, "x"), key="k")
    add(model, "Device.Net.Interface.")
    with model.transaction(Writer.ACS) as change:
        change.set_attributes(INTERVAL, notification=2)
        change.commit()
    model.factory_reset()
    after = model.dump_state()
    assert {k: v for k, v in after.items() if k != "number"} == {k: v for k, v in fresh.items() if k != "number"}
    assert model.value(KEY) == ""
