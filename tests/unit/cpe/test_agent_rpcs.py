"""What the agent answers to each RPC, through a whole session with an ACS in memory."""

import asyncio

import pytest

from cpe_support.bench import Bench
from homeport.codec.envelope import Envelope, decode, encode
from homeport.codec.messages import (
    AddObject,
    AddObjectResponse,
    DeleteObject,
    DeleteObjectResponse,
    Download,
    FaultMessage,
    GetOptions,
    GetParameterAttributes,
    GetParameterNames,
    GetParameterValues,
    GetRPCMethods,
    ParameterValueStruct,
    SetParameterAttributes,
    SetParameterAttributesStruct,
    SetParameterValues,
    SetParameterValuesResponse,
    SetVouchers,
)
from homeport.codec.rpc_table import RPCS
from homeport.errors import Fault
from homeport.terms import Role

SERVER = "Device.ManagementServer."
KEY = SERVER + "ParameterKey"


def answers(tmp_path, *requests):
    """The agent's answers to requests of one session."""

    async def play():
        bench = Bench(tmp_path)
        await bench.start()
        got = await bench.ask(*requests)
        await bench.stop()
        return got

    got = asyncio.run(play())
    assert len(got) == len(requests)
    return got


def spv(*items: tuple[str, str, str], key: str = "k1") -> SetParameterValues:
    return SetParameterValues(tuple(ParameterValueStruct(*item) for item in items), key)


def values(answer) -> dict[str, str]:
    return {p.name: p.value for p in answer.parameter_list}


@pytest.mark.case("R01")
def test_get_rpc_methods_names_what_is_answered(tmp_path):
    """Every required method, and none that is answered with 9000."""
    (answer,) = answers(tmp_path, GetRPCMethods())
    required = {e.name for e in RPCS.values() if e.required and Role.ACS in e.callers}
    assert required - {"Download"} <= set(answer.method_list)
    assert len(set(answer.method_list)) == len(answer.method_list)
    assert "GetOptions" not in answer.method_list


@pytest.mark.case("R54")
@pytest.mark.parametrize("request_", [GetOptions(), SetVouchers(("eA==",))])
def test_deprecated_methods_are_not_supported(tmp_path, request_):
    """9000, Server, and the session goes on."""
    fault, after = answers(tmp_path, request_, GetRPCMethods())
    assert (fault.fault_code, fault.side) == (9000, "Server")
    assert after.method_list


@pytest.mark.case("R05")
@pytest.mark.case("R06")
@pytest.mark.case("R10")
def test_values_are_read_by_name_and_by_object_and_passwords_are_empty(tmp_path):
    """Exact value and type; all leaves of an object; a password never."""
    one, all_of, secret = answers(
        tmp_path,
        GetParameterValues(("Device.WiFi.Channel",)),
        GetParameterValues(("Device.WiFi.",)),
        GetParameterValues((SERVER + "Password",)),
    )
    assert one.parameter_list == (ParameterValueStruct("Device.WiFi.Channel", "1", "unsignedInt"),)
    assert values(all_of) == {"Device.WiFi.SSID": "home", "Device.WiFi.Channel": "1"}
    assert secret.parameter_list[0].value == ""


@pytest.mark.case("R07")
@pytest.mark.case("R29")
def test_the_empty_path_is_everything(tmp_path):
    """GetParameterValues and GetParameterNames of the root."""
    everything, names, root = answers(
        tmp_path, GetParameterValues(("",)), GetParameterNames("", False), GetParameterNames("", True)
    )
    assert len(everything.parameter_list) > 20
    assert {p.name for p in names.parameter_list} >= {p.name for p in everything.parameter_list}
    assert [p.name for p in root.parameter_list] == ["Device."]


@pytest.mark.case("R08")
@pytest.mark.case("R09")
@pytest.mark.case("R12")
@pytest.mark.case("R30")
@pytest.mark.parametrize(
    "request_",
    [
        GetParameterValues(("Device.WiFi",)),
        GetParameterValues(("Device.WiFi.SSID", "Device.WiFi.None")),
        GetParameterValues(("Device.WiFi.ssid",)),
        GetParameterNames("Device.None.", False),
        GetParameterAttributes(("Device.WiFi.None",)),
        AddObject("Device.None.", "k1"),
        DeleteObject("Device.WiFi.Neighbour.9.", "k1"),
    ],
)
def test_unknown_names_are_9005(tmp_path, request_):
    """For the whole request, Client's fault."""
    (fault,) = answers(tmp_path, request_)
    assert isinstance(fault, FaultMessage)
    assert (fault.fault_code, fault.side) == (9005, "Client")


@pytest.mark.case("R11")
@pytest.mark.case("R27")
def test_an_empty_table_reads_as_nothing_and_is_named(tmp_path):
    """No fault; GetParameterNames shows the table itself."""
    empty, names = answers(
        tmp_path, GetParameterValues(("Device.WiFi.Neighbour.",)), GetParameterNames("Device.WiFi.", False)
    )
    assert empty.parameter_list == ()
    assert [p.name for p in names.parameter_list] == [
        "Device.WiFi.",
        "Device.WiFi.SSID",
        "Device.WiFi.Channel",
        "Device.WiFi.Neighbour.",
    ]


@pytest.mark.case("R13")
def test_a_set_value_is_there_with_its_key(tmp_path):
    """Status 0, the value, the ParameterKey."""
    done, after = answers(
        tmp_path,
        spv(("Device.WiFi.SSID", "new", "string"), ("Device.WiFi.Channel", "6", "unsignedInt")),
        GetParameterValues(("Device.WiFi.", KEY)),
    )
    assert done == SetParameterValuesResponse(0)
    assert values(after) == {"Device.WiFi.SSID": "new", "Device.WiFi.Channel": "6", KEY: "k1"}


@pytest.mark.case("R14")
@pytest.mark.case("R15")
@pytest.mark.case("R16")
@pytest.mark.case("R17")
@pytest.mark.case("R18")
@pytest.mark.case("R23")
def test_one_bad_parameter_spoils_the_request_and_each_is_named(tmp_path):
    """9003 with one entry per offender; nothing of it is done, the key stays."""
    fault, after = answers(
        tmp_path,
        spv(
            ("Device.WiFi.SSID", "new", "string"),
            ("Device.WiFi.None", "x", "string"),
            ("Device.DeviceInfo.SerialNumber", "x", "string"),
            ("Device.WiFi.Channel", "x", "boolean"),
            (SERVER + "PeriodicInformInterval", "0", "unsignedInt"),
            (KEY, "x", "string"),
        ),
        GetParameterValues(("Device.WiFi.SSID", KEY)),
    )
    assert (fault.fault_code, fault.side) == (9003, "Client")
    assert [(p.parameter_name, p.fault_code) for p in fault.set_parameter_values_faults] == [
        ("Device.WiFi.None", 9005),
        ("Device.DeviceInfo.SerialNumber", 9008),
        ("Device.WiFi.Channel", 9006),
        (SERVER + "PeriodicInformInterval", 9007),
        (KEY, 9008),
    ]
    assert values(after) == {"Device.WiFi.SSID": "home", KEY: ""}


@pytest.mark.case("R18")
@pytest.mark.parametrize("kind", [b"", b' xsi:type=""', b' xsi:type="xsd:"', b' xsi:type="v:Enum"'])
def test_a_value_without_a_known_type_is_taken_as_the_parameters_own(tmp_path, kind):
    """Some ACSs give no xsi:type, or one of their own; only a type of the standard can be the wrong one."""
    names = (SERVER + "PeriodicInformEnable", "Device.WiFi.Channel")
    body = encode(Envelope(spv((names[0], "true", "hexBinary"), (names[1], "6", "hexBinary"))))

    async def play():
        bench = Bench(tmp_path)
        handlers = (await bench.start()).handlers
        with pytest.raises(Fault) as refused:
            handlers.handle(decode(body).body)
        done = handlers.handle(decode(body.replace(b' xsi:type="xsd:hexBinary"', kind)).body)
        after = handlers.handle(GetParameterValues(names))
        await bench.stop()
        return refused.value, done, after

    refused, done, after = asyncio.run(play())
    assert [(p.name, p.code) for p in refused.parameters] == [(name, 9006) for name in names]
    assert done == SetParameterValuesResponse(0)
    assert values(after) == dict(zip(names, ("true", "6"), strict=True))


@pytest.mark.case("R19")
def test_the_same_parameter_twice_is_refused(tmp_path):
    """Nothing is done."""
    fault, after = answers(
        tmp_path,
        spv(("Device.WiFi.SSID", "a", "string"), ("Device.WiFi.SSID", "b", "string")),
        GetParameterValues(("Device.WiFi.SSID",)),
    )
    assert fault.fault_code == 9003
    assert values(after) == {"Device.WiFi.SSID": "home"}


@pytest.mark.case("R20")
def test_an_empty_list_sets_the_key_alone(tmp_path):
    """(unverified) but allowed by the schema."""
    done, after = answers(tmp_path, spv(key="alone"), GetParameterValues((KEY,)))
    assert done == SetParameterValuesResponse(0)
    assert values(after) == {KEY: "alone"}


@pytest.mark.case("R26")
@pytest.mark.case("R28")
@pytest.mark.case("R31")
def test_names_tell_level_and_writability(tmp_path):
    """Direct children only; a parameter needs NextLevel=false; rw tables and rows say so."""
    level, one, wrong = answers(
        tmp_path,
        GetParameterNames("Device.", True),
        GetParameterNames("Device.WiFi.SSID", False),
        GetParameterNames("Device.WiFi.SSID", True),
    )
    assert [p.name for p in level.parameter_list] == [
        "Device.RootDataModelVersion",
        "Device.DeviceInfo.",
        "Device.ManagementServer.",
        "Device.WiFi.",
    ]
    assert [(p.name, p.writable) for p in one.parameter_list] == [("Device.WiFi.SSID", True)]
    assert wrong.fault_code == 9003


@pytest.mark.case("R32")
@pytest.mark.case("R35")
@pytest.mark.case("R36")
@pytest.mark.case("R37")
@pytest.mark.case("R38")
def test_rows_are_added_and_deleted_with_their_key(tmp_path):
    """New numbers are not reused; a second delete is 9005; failures leave the key."""
    table = "Device.WiFi.Neighbour."
    one, two, gone, again, three, names, key = answers(
        tmp_path,
        AddObject(table, "k1"),
        AddObject(table, "k2"),
        DeleteObject(table + "2.", "k3"),
        DeleteObject(table + "2.", "k4"),
        AddObject(table, "k5"),
        GetParameterNames(table, True),
        GetParameterValues((KEY,)),
    )
    assert [one, two, gone, three] == [
        AddObjectResponse(1, 0),
        AddObjectResponse(2, 0),
        DeleteObjectResponse(0),
        AddObjectResponse(3, 0),
    ]
    assert again.fault_code == 9005
    assert [(p.name, p.writable) for p in names.parameter_list] == [(table + "1.", True), (table + "3.", True)]
    assert values(key) == {KEY: "k5"}


@pytest.mark.case("R33")
@pytest.mark.parametrize(
    "path", ["Device.WiFi.", "Device.WiFi.SSID.", "Device.DeviceInfo.", "Device.WiFi.Neighbour.1."]
)
def test_what_is_no_table_takes_no_rows(tmp_path, path):
    """9005 or 9001, and the key stays."""
    fault, key = answers(tmp_path, AddObject(path, "k"), GetParameterValues((KEY,)))
    assert fault.fault_code in (9001, 9005)
    assert values(key) == {KEY: ""}


@pytest.mark.case("R34")
def test_a_full_table_is_9004(tmp_path):
    """The table takes three rows."""
    got = answers(tmp_path, *[AddObject("Device.WiFi.Neighbour.", "") for _ in range(4)])
    assert got[3].fault_code == 9004


@pytest.mark.case("R39")
def test_rows_survive_a_restart_with_their_numbers_and_values(tmp_path):
    """Also over a power cut; numbers of deleted rows are not given out again."""
    table = "Device.WiFi.Neighbour."

    async def play():
        bench = Bench(tmp_path)
        await bench.start()
        await bench.ask(
            AddObject(table), AddObject(table), DeleteObject(table + "1."), spv((table + "2.Name", "n", "string"))
        )
        await bench.power_cut()
        await bench.start()
        got = await bench.ask(GetParameterValues((table,)), AddObject(table))
        await bench.stop()
        return got

    read, added = asyncio.run(play())
    assert values(read) == {table + "2.Name": "n"}
    assert added.instance_number == 3


def attributes(*items: SetParameterAttributesStruct) -> SetParameterAttributes:
    return SetParameterAttributes(items)


@pytest.mark.case("R40")
@pytest.mark.case("R41")
@pytest.mark.case("R46")
def test_attributes_are_read_and_set(tmp_path):
    """A partial path has an entry per parameter; without its change flag nothing changes; the last one in the list counts."""
    item = SetParameterAttributesStruct
    first, _, second, _, third = answers(
        tmp_path,
        GetParameterAttributes(("Device.WiFi.",)),
        attributes(item("Device.WiFi.", True, 1), item("Device.WiFi.SSID", True, 2)),
        GetParameterAttributes(("Device.WiFi.",)),
        attributes(item("Device.WiFi.SSID", False, 0, False, ())),
        GetParameterAttributes(("Device.WiFi.",)),
    )
    assert [(a.name, a.notification) for a in first.parameter_list] == [
        ("Device.WiFi.SSID", 0),
        ("Device.WiFi.Channel", 0),
    ]
    assert [a.notification for a in second.parameter_list] == [2, 1]
    assert third == second


@pytest.mark.case("R42")
@pytest.mark.case("R45")
@pytest.mark.parametrize(
    ("name", "notification", "code"),
    [("Device.WiFi.None", 1, 9005), ("Device.DeviceInfo.SoftwareVersion", 0, 9009)],
)
def test_one_bad_attribute_changes_nothing(tmp_path, name, notification, code):
    """Unknown name, a parameter that always notifies."""
    item = SetParameterAttributesStruct
    fault, after = answers(
        tmp_path,
        attributes(item("Device.WiFi.SSID", True, 2), item(name, True, notification)),
        GetParameterAttributes(("Device.WiFi.SSID",)),
    )
    assert fault.fault_code == code
    assert after.parameter_list[0].notification == 0


@pytest.mark.case("R43")
def test_a_notification_that_is_none_is_9003(tmp_path):
    """7 is not 0 to 6. Our own encoder would not send it, so the handler is asked directly."""

    async def play():
        bench = Bench(tmp_path)
        agent = await bench.start()
        try:
            agent.handlers.handle(attributes(SetParameterAttributesStruct("Device.WiFi.SSID", True, 7)))
        except Fault as fault:
            return fault
        finally:
            await bench.stop()

    assert asyncio.run(play()).code == 9003


def test_what_cannot_be_stored_is_not_done(tmp_path):
    """Disk before reply: on a full disk the ACS gets 9002, and the value is the old one."""

    async def play():
        bench = Bench(tmp_path)
        agent = await bench.start()
        db = agent.store._db
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")
        big = "x" * 20_000
        got = await bench.ask(spv(("Device.WiFi.SSID", big, "string")), GetParameterValues(("Device.WiFi.SSID", KEY)))
        db.execute("PRAGMA max_page_count = 1000000")
        await bench.clock.settle()
        again = await bench.ask(spv(("Device.WiFi.SSID", "fits", "string")))
        await bench.stop()
        return got, again

    (refused, read), (again,) = asyncio.run(play())
    assert refused.fault_code == 9002
    assert "full" in refused.fault_string
    assert values(read) == {"Device.WiFi.SSID": "home", KEY: ""}
    assert again == SetParameterValuesResponse(0)


def test_methods_without_their_part_of_the_agent_are_not_supported(tmp_path):
    """Download is answered with 9000 as long as GetRPCMethods does not name it."""
    methods, fault = answers(tmp_path, GetRPCMethods(), Download("k", "1 Firmware Upgrade Image", "http://a/"))
    assert ("Download" in methods.method_list) is not isinstance(fault, FaultMessage)
