"""The ACS's decisions: what an Inform means, how a wish becomes RPCs, how lost answers are settled."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from homeport.acs.engine import args, effects, inform, lists, programs, settle, steps
from homeport.acs.records import (
    NOTHING_TOLD,
    Behaviour,
    DeviceRecord,
    DeviceState,
    FaultDetail,
    StoredValue,
    TaskPhase,
    TaskRecord,
    TaskStatus,
    Told,
    Want,
    device_id,
)
from homeport.codec import messages as m
from homeport.codec.envelope import Envelope, encode

POLICY = inform.Policy((Want.DISCOVER,), DeviceState.APPROVED)


def an_inform(*events: str, **parameters: str) -> m.Inform:
    return m.Inform(
        device_id=m.DeviceIdStruct("Example", "00D0F1", "X", "S1"),
        event=tuple(m.EventStruct(e) for e in events),
        current_time="2026-11-21T06:00:00Z",
        parameter_list=tuple(m.ParameterValueStruct("Device." + n.replace("_", "."), v) for n, v in parameters.items()),
    )


def assess(message: m.Inform, known: DeviceRecord | None = None, reported: Any = None) -> inform.Assessment:
    return inform.assess(
        known, Told.of(reported or {}), message, urn="u", address="192.0.2.1", now=1000.0, policy=POLICY
    )


KNOWN = DeviceRecord(
    id="00D0F1-X-S1", oui="00D0F1", product_class="X", serial_number="S1", urn="u", address="192.0.2.1", root="Device."
)


def play(program: steps.Program, *answers: steps.Reply) -> tuple[list[Any], steps.Result | None]:
    """The requests of a program that gets these answers, and its result where it has come to one."""
    step = next(program)
    sent: list[Any] = [step.request]
    for answer in answers:
        try:
            step = program.send(answer)
        except StopIteration as stop:
            return sent, stop.value
        sent.append(step.request)
    return sent, None


def a_task(rpc: str, given: dict[str, Any] | None = None, **fields: Any) -> TaskRecord:
    return TaskRecord(id="t", device="d", rpc=rpc, args=given or {}, **fields)


# --- identity and Inform ---


@pytest.mark.parametrize(
    ("parts", "id"),
    [
        (("00D0F1", "XR500", "S1"), "00D0F1-XR500-S1"),
        (("00D0F1", "", "S1"), "00D0F1-S1"),
        (("00D0F1", "A-B", "S 1"), "00D0F1-A%2DB-S%201"),
        (("00D0F1", "Ünit/1", "S.1_x"), "00D0F1-%C3%9Cnit%2F1-S.1_x"),
    ],
)
def test_a_device_s_id_keeps_its_parts_apart(parts: tuple[str, str, str], id: str) -> None:
    """Two devices never share an id, whatever their names hold."""
    assert device_id(*parts) == id


def test_a_periodic_inform_of_a_known_device_needs_nothing_durable() -> None:
    """It tells nothing that the next one will not tell again."""
    found = assess(an_inform("2 PERIODIC", DeviceInfo_UpTime="5"), KNOWN)
    assert (found.durable, found.fields) == (False, {"last_inform": 1000.0})
    assert found.changed["Device.DeviceInfo.UpTime"].value == "5"


@pytest.mark.parametrize("event", ["0 BOOTSTRAP", "1 BOOT", "4 VALUE CHANGE", "7 TRANSFER COMPLETE", "M Reboot", "X v"])
def test_every_event_that_a_device_forgets_is_durable(event: str) -> None:
    """Row before reply: after the InformResponse nobody else knows of it."""
    assert assess(an_inform("2 PERIODIC", event), KNOWN).durable


def test_only_what_changed_is_kept() -> None:
    """Values that are known already are not written again."""
    reported = {"Device.DeviceInfo.UpTime": "5", "Device.DeviceInfo.SoftwareVersion": "1.0"}
    message = an_inform("2 PERIODIC", DeviceInfo_UpTime="6", DeviceInfo_SoftwareVersion="1.0")
    assert list(assess(message, KNOWN, reported).changed) == ["Device.DeviceInfo.UpTime"]


def test_a_new_device_is_described_by_its_first_inform() -> None:
    """Identity, root and promoted parameters; its model is its ProductClass until it tells a ModelName."""
    found = assess(
        an_inform("0 BOOTSTRAP", DeviceInfo_SoftwareVersion="2", ManagementServer_ConnectionRequestURL="http://x")
    )
    assert found.new is not None
    assert (found.new.id, found.new.model, found.new.software_version) == ("00D0F1-X-S1", "X", "2")
    assert (found.new.root, found.new.connection_request_url) == ("Device.", "http://x")
    assert (found.new.wants, found.reset) == ((Want.DISCOVER,), True)


def test_passwords_in_an_inform_are_not_kept() -> None:
    """A secret that a device reports is stored as an empty text."""
    found = assess(an_inform("1 BOOT", ManagementServer_ConnectionRequestPassword="hunter2"), KNOWN)
    assert found.changed["Device.ManagementServer.ConnectionRequestPassword"].value == ""


# --- arguments ---


@pytest.mark.parametrize(
    ("rpc", "given", "said"),
    [
        ("Inform", {}, "is not a method that an ACS calls"),
        ("getParameterValues", {}, "is not a method"),
        ("GetParameterValues", {}, "parameter_names"),
        ("GetParameterValues", {"names": []}, "no argument 'names'"),
        ("GetParameterValues", {"parameter_names": "Device."}, "array"),
        ("GetParameterValues", {"parameter_names": []}, "at least 1"),
        ("GetParameterNames", {"parameter_path": "Device.", "next_level": "yes"}, "bool"),
        ("SetParameterValues", {"parameter_list": [{"value": 1}]}, "name, value, type"),
        ("SetParameterValues", {"parameter_list": [{"name": "a", "value": None}]}, "must be text"),
        ("SetParameterValues", {"parameter_list": {}}, "must be a list"),
        ("SetParameterValues", {"parameter_list": [], "parameter_key": "k" * 33}, "33"),
        ("AddObject", {"object_name": "Device.T"}, "ends with a dot"),
        ("Download", {"file_type": "1 Firmware Upgrade Image"}, "url"),
        ("ChangeDUState", {"operations": []}, "empty"),
        ("ChangeDUState", {"operations": [{"type": "Explode"}]}, "Install, Update or Uninstall"),
        ("ChangeDUState", {"operations": [{"type": "Install", "url": "u", "colour": "red"}]}, "colour"),
        ("X_VENDOR_Do", {"x": 1}, "xml"),
        ("Reboot", {"command_key": "bad\x01"}, "cannot be sent"),
    ],
)
def test_wrong_arguments_are_refused_before_a_task_is_made(rpc: str, given: dict[str, Any], said: str) -> None:
    """The message names the argument."""
    with pytest.raises(args.ArgumentsError, match=said):
        args.check(rpc, given)


def test_values_of_json_become_the_wire_s_text() -> None:
    """Truth values and numbers may be written as such."""
    rows = [{"name": n, "value": v} for n, v in (("a", True), ("b", 7), ("c", "x"), ("d", 1.5))]
    request = args.request_of("SetParameterValues", {"parameter_list": rows})
    assert isinstance(request, m.SetParameterValues)
    assert [p.value for p in request.parameter_list] == ["1", "7", "x", "1.5"]
    assert args.untyped({"parameter_list": [*rows, {"name": "e", "value": "", "type": "int"}]}) == {"a", "b", "c", "d"}


def test_operations_on_modules_keep_their_kinds_and_order() -> None:
    """ChangeDUState names the kind of each operation."""
    given = [
        {"type": "Install", "url": "http://x"},
        {"type": "Uninstall", "uuid": "u"},
        {"type": "Update", "uuid": "u"},
    ]
    request = args.request_of("ChangeDUState", {"operations": given, "command_key": "k"})
    assert isinstance(request, m.ChangeDUState)
    assert [type(o).__name__ for o in request.operations] == ["InstallOpStruct", "UninstallOpStruct", "UpdateOpStruct"]


# --- programs ---


def test_a_setting_without_offenders_is_sent_once() -> None:
    """One SetParameterValues, done."""
    task = a_task("SetParameterValues", {"parameter_list": [{"name": "a", "value": "1", "type": "int"}]})
    sent, result = play(programs.program(task, {}), m.SetParameterValuesResponse(1))
    assert [type(s).__name__ for s in sent] == ["SetParameterValues"]
    assert result is not None
    assert (result.status, result.result) == (TaskStatus.DONE, {"status": 1})


def test_a_setting_that_is_all_wrong_is_not_repeated() -> None:
    """When no parameter is left, the first fault is the outcome."""
    task = a_task("SetParameterValues", {"parameter_list": [{"name": "a", "value": "1", "type": "int"}]})
    fault = m.FaultMessage(9003, "no", (m.SetParameterValuesFault("a", 9007),))
    sent, result = play(programs.program(task, {}), fault)
    assert len(sent) == 1
    assert result is not None
    assert result.fault is not None
    assert result.fault.parameters[0].code == 9007


def test_faults_of_both_tries_are_told() -> None:
    """A device that finds one offender at a time: each is named, and what is left is set."""
    rows = [{"name": n, "value": "1", "type": "int"} for n in "abc"]
    task = a_task("SetParameterValues", {"parameter_list": rows})
    first = m.FaultMessage(9003, "no", (m.SetParameterValuesFault("a", 9007),))
    second = m.FaultMessage(9003, "no", (m.SetParameterValuesFault("b", 9008),))
    sent, result = play(programs.program(task, {}), first, second, m.SetParameterValuesResponse(1))
    assert [[p.name for p in s.parameter_list] for s in sent] == [["a", "b", "c"], ["b", "c"], ["c"]]
    assert result is not None
    assert result.result == {"status": 1, "applied": ["c"], "refused": ["a", "b"]}
    assert result.fault is not None
    assert [p.name for p in result.fault.parameters] == ["a", "b"]


def test_a_fault_that_names_nobody_is_found_by_halving() -> None:
    """Devices exist that answer 9003 without a list, or 9007 at once: the good parameters are set all the same."""
    rows = [{"name": n, "value": "1", "type": "int"} for n in "abcd"]
    task = a_task("SetParameterValues", {"parameter_list": rows, "parameter_key": "k"})
    ok, vague, bad = m.SetParameterValuesResponse(0), m.FaultMessage(9003, "no"), m.FaultMessage(9007, "bad value")
    sent, result = play(programs.program(task, {}), vague, ok, vague, bad, ok)
    assert ["".join(p.name for p in s.parameter_list) for s in sent] == ["abcd", "ab", "cd", "c", "d"]
    assert {s.parameter_key for s in sent} == {"k"}
    assert result is not None and result.fault is not None
    assert result.result == {"status": 0, "applied": ["a", "b", "d"], "refused": ["c"]}
    assert (result.fault.code, [(p.name, p.code) for p in result.fault.parameters]) == (9003, [("c", 9007)])


def test_a_device_that_does_not_want_to_be_set_is_not_pressed() -> None:
    """9001 concerns the request as a whole: nothing is halved."""
    rows = [{"name": n, "value": "1", "type": "int"} for n in "abcd"]
    sent, result = play(
        programs.program(a_task("SetParameterValues", {"parameter_list": rows}), {}), m.FaultMessage(9001, "no")
    )
    assert len(sent) == 1
    assert result is not None and result.fault == FaultDetail(9001, "no")


def test_a_long_setting_goes_in_pieces_that_every_device_can_take() -> None:
    """At most 256 parameters and 32 KB in one message; a value that is longer by itself goes alone."""
    rows = [{"name": f"Device.X.{n}.Value", "value": "<&>" * 40, "type": "string"} for n in range(600)]
    rows.insert(5, {"name": "Device.Certificate", "value": "x" * 60_000, "type": "string"})
    task = a_task("SetParameterValues", {"parameter_list": rows})
    sent, result = play(programs.program(task, {}), *[m.SetParameterValuesResponse(n == 3) for n in range(40)])
    assert [p.name for s in sent for p in s.parameter_list] == [row["name"] for row in rows]
    lengths = [len(encode(Envelope(body=s, id="a-long-id-12345"))) for s in sent]
    assert sum(length > 32_768 for length in lengths) == 1
    assert max(lengths) > 60_000 and min(len(s.parameter_list) for s in sent) == 1
    assert result is not None and (result.status, result.result) == (TaskStatus.DONE, {"status": 1})


def test_attributes_are_read_and_set_in_pieces_and_by_halves_too() -> None:
    """The rules of values hold for attributes."""
    names = [f"Device.X.{n}" for n in range(300)]

    def attributes(names: Sequence[str]) -> m.GetParameterAttributesResponse:
        return m.GetParameterAttributesResponse(tuple(m.ParameterAttributeStruct(n, 2, ("Subscriber",)) for n in names))

    read = programs.program(a_task("GetParameterAttributes", {"parameter_names": names}), {})
    fault = m.FaultMessage(9005, "Invalid parameter name")
    sent, result = play(read, attributes(names[:256]), fault, attributes(names[256:278]), *[fault] * 5)
    assert [len(s.parameter_names) for s in sent[:4]] == [256, 44, 22, 22]
    rows = [{"name": n, "notification_change": True, "notification": 1} for n in names]
    setting = programs.program(a_task("SetParameterAttributes", {"parameter_list": rows}), {})
    answer = m.SetParameterAttributesResponse()
    sent, result = play(setting, *[answer] * 9)
    assert [r.name for s in sent for r in s.parameter_list] == names
    assert all(len(encode(Envelope(body=s, id="1"))) < 32_768 for s in sent)
    assert result is not None and (result.status, result.result) == (TaskStatus.DONE, {})
    one = a_task("SetParameterAttributes", {"parameter_list": rows[:2]})
    sent, result = play(programs.program(one, {}), m.FaultMessage(9009, "never"), answer, m.FaultMessage(9009, "never"))
    assert result is not None and result.fault is not None
    assert result.result == {"applied": [names[0]], "refused": [names[1]]}


def test_a_part_of_the_tree_is_read_anew() -> None:
    """Names first, then values: so that rows that are gone are noticed, and devices that cannot read an object's values are served."""
    task = a_task("Refresh", {"path": "Device.T."})
    listed = m.GetParameterNamesResponse((m.ParameterInfoStruct("Device.T.1.x", True),))
    sent, result = play(programs.program(task, {}), listed, values_for("Device.T.1.x"))
    assert [type(s).__name__ for s in sent] == ["GetParameterNames", "GetParameterValues"]
    assert (sent[0].parameter_path, sent[0].next_level) == ("Device.T.", False)
    assert result is not None and (result.status, result.result) == (TaskStatus.DONE, {"names": 1, "refused": []})
    _, empty = play(
        programs.program(task, {}), m.GetParameterNamesResponse((m.ParameterInfoStruct("Device.T.", True),))
    )
    assert empty is not None and empty.status is TaskStatus.DONE
    fault = m.FaultMessage(9005, "Invalid parameter name")
    _, none = play(programs.program(task, {}), fault, fault)
    assert none is not None and none.learnt == {}
    assert none.fault == FaultDetail(9005, "Invalid parameter name")


def values_for(*names: str) -> m.GetParameterValuesResponse:
    return m.GetParameterValuesResponse(tuple(m.ParameterValueStruct(n, "v") for n in names))


def test_one_faulty_name_does_not_spoil_the_others() -> None:
    """The list is halved until the name is found; the values of the others are told beside the fault."""
    task = a_task("GetParameterValues", {"parameter_names": ["a", "b", "c", "d"]})
    fault = m.FaultMessage(9005, "Invalid parameter name")
    sent, result = play(programs.program(task, {}), fault, values_for("a", "b"), fault, fault, values_for("d"))
    assert [s.parameter_names for s in sent] == [("a", "b", "c", "d"), ("a", "b"), ("c", "d"), ("c",), ("d",)]
    assert result is not None
    assert result.status is TaskStatus.FAILED
    assert result.fault is not None
    assert [(p.name, p.code) for p in result.fault.parameters] == [("c", 9005)]
    assert result.result is not None
    assert [row.name for row in result.result["parameter_list"]] == ["a", "b", "d"]


def test_a_device_that_is_overtaxed_is_asked_for_less_from_then_on() -> None:
    """9004 for a list and values for its halves: the half is what the device takes."""
    task = a_task("GetParameterValues", {"parameter_names": ["a", "b", "c", "d"]})
    fault = m.FaultMessage(9004, "Resources exceeded")
    _, result = play(programs.program(task, {}), fault, values_for("a", "b"), values_for("c", "d"))
    assert result is not None
    assert (result.status, result.learnt) == (TaskStatus.DONE, {"max_names": 2})
    habits = Behaviour(max_names=2)
    sent, _ = play(programs.program(task, {}, habits), values_for("a", "b"), values_for("c", "d"))
    assert [s.parameter_names for s in sent] == [("a", "b"), ("c", "d")]


def test_a_device_without_partial_paths_is_asked_for_names_first() -> None:
    """Learnt from its answer, in which the object itself stands; then the names come before the values."""
    task = a_task("GetParameterValues", {"parameter_names": ["Device.A."]})
    names = m.GetParameterNamesResponse((m.ParameterInfoStruct("Device.A.x", True),))
    _, result = play(programs.program(task, {}), values_for("Device.A."), names, values_for("Device.A.x"))
    assert result is not None
    assert result.learnt == {"partial_paths": False}
    sent, _ = play(programs.program(task, {}, Behaviour(partial_paths=False)), names, values_for("Device.A.x"))
    assert [type(s).__name__ for s in sent] == ["GetParameterNames", "GetParameterValues"]


def test_a_device_that_wants_it_so_is_walked_level_by_level() -> None:
    """The long list is not tried again with a device that refused it once."""
    top = m.GetParameterNamesResponse((m.ParameterInfoStruct("Device.x", True),))
    sent, result = play(programs.discover("Device.", Behaviour(level_by_level=True)), top, values_for("Device.x"))
    assert [getattr(s, "next_level", None) for s in sent] == [True, None]
    assert result is not None
    assert result.status is TaskStatus.DONE


def test_a_tree_that_cannot_be_listed_at_once_is_walked() -> None:
    """A device that refuses the long list is asked level by level, and each object once."""
    fault = m.FaultMessage(9004, "too much")
    top = m.GetParameterNamesResponse(
        (m.ParameterInfoStruct("Device.A.", False), m.ParameterInfoStruct("Device.x", True))
    )
    below = m.GetParameterNamesResponse(
        (m.ParameterInfoStruct("Device.A.", False), m.ParameterInfoStruct("Device.A.y", True))
    )
    values = m.GetParameterValuesResponse(())
    sent, result = play(programs.discover("Device."), fault, top, below, values)
    assert [getattr(s, "parameter_path", s.element) for s in sent] == [
        "Device.",
        "Device.",
        "Device.A.",
        "GetParameterValues",
    ]
    assert sent[-1].parameter_names == ("Device.x", "Device.A.y")
    assert result is not None
    assert result.result == {"names": 2, "refused": []}


def test_a_device_that_refuses_everything_ends_the_reading() -> None:
    """No endless questions."""
    program = programs.discover("Device.")
    _, result = play(program, *[m.FaultMessage(9002, "no")] * 500)
    assert result is not None
    assert result.status is TaskStatus.FAILED


def test_a_known_login_of_the_device_is_kept() -> None:
    """A connection request user whose password the operator has listed is not replaced; any other is."""

    def answer(user: str) -> m.GetParameterValuesResponse:
        return m.GetParameterValuesResponse(
            (m.ParameterValueStruct("Device.ManagementServer.ConnectionRequestUsername", user),)
        )

    kept, result = play(programs.set_credentials("Device.", "u", "p", frozenset({"maker"})), answer("maker"))
    assert len(kept) == 1
    assert result is not None
    assert result.result == {"kept": "maker"}
    sent, _ = play(programs.set_credentials("Device.", "u", "p", frozenset({"maker"})), answer("other"))
    assert [p.value for p in sent[1].parameter_list] == ["u", "p"]


def test_pieces_hold_every_name_once_within_limits() -> None:
    """No list is over 256 names or 28 KB."""
    names = [f"Device.{'x' * (i % 250)}.{i}" for i in range(2000)]
    found = lists.pieces(names, None, lists.name_size)
    assert [n for piece in found for n in piece] == names
    assert all(len(p) <= lists.MOST_NAMES and sum(len(n) + 17 for n in p) <= lists.MOST_BYTES for p in found)
    assert lists.pieces([], None, lists.name_size) == []


# --- what answers teach ---


def test_a_whole_list_of_names_also_tells_what_is_gone() -> None:
    """Only an answer to NextLevel=false of an object is complete, and only where it names anything."""
    rows = (m.ParameterInfoStruct("Device.A.", True), m.ParameterInfoStruct("Device.A.x", False))
    answer = m.GetParameterNamesResponse(rows)
    whole = effects.learnt(m.GetParameterNames("Device.A.", False), answer, 1.0)
    assert whole.complete == "Device.A."
    assert whole.changed["Device.A."].type == "object"
    level = effects.learnt(m.GetParameterNames("Device.A.", True), answer, 1.0)
    assert level.complete is None
    known = ["Device.A.", "Device.A.1.", "Device.A.1.y", "Device.A.1.z", "Device.A.b", "Device.A.x"]
    assert level.gone(known) == ("Device.A.1.", "Device.A.b")
    assert whole.gone(known) == ("Device.A.1.", "Device.A.1.y", "Device.A.1.z", "Device.A.b")
    empty = effects.learnt(m.GetParameterNames("Device.A.", False), m.GetParameterNamesResponse(()), 1.0)
    assert empty.complete is None


def test_a_value_whose_type_nobody_gave_is_kept_as_a_string() -> None:
    """Devices leave xsi:type out, or write a type of their own; what the ACS stores always has a type."""
    rows = (m.ParameterValueStruct("Device.A", "1", ""),)
    set_one = effects.learnt(m.SetParameterValues(rows), m.SetParameterValuesResponse(), 1.0).changed
    told = effects.learnt(m.GetParameterValues(("Device.A",)), m.GetParameterValuesResponse(rows), 1.0).changed
    informed = inform.assess(
        None,
        NOTHING_TOLD,
        m.Inform(m.DeviceIdStruct("E", "0A1B2C", "", "S"), (), "", 0, rows),
        urn="urn:dslforum-org:cwmp-1-0",
        address="",
        now=1.0,
        policy=POLICY,
    ).changed
    assert {known["Device.A"].type for known in (set_one, told, informed)} == {"string"}


def test_what_was_set_and_made_and_deleted_is_known() -> None:
    """The store follows the device's tree without asking again; secrets stay out."""
    rows = (
        m.ParameterValueStruct("Device.A", "1", "int"),
        m.ParameterValueStruct("Device.WiFi.KeyPassphrase", "secret"),
    )
    known = effects.learnt(m.SetParameterValues(rows), m.SetParameterValuesResponse(), 1.0).changed
    assert known["Device.A"] == StoredValue("1", "int", True, 1.0)
    assert known["Device.WiFi.KeyPassphrase"].value == ""
    made = effects.learnt(m.AddObject("Device.T.[new]."), m.AddObjectResponse(4), 1.0)
    assert list(made.changed) == ["Device.T.4."]
    assert effects.learnt(m.DeleteObject("Device.T.4."), m.DeleteObjectResponse(), 1.0).removed == ("Device.T.4.",)


# --- lost answers ---


@pytest.mark.parametrize(
    ("rpc", "events", "status"),
    [
        ("GetParameterValues", ["2 PERIODIC"], TaskStatus.QUEUED),
        ("SetParameterValues", ["2 PERIODIC"], TaskStatus.QUEUED),
        ("DeleteObject", ["2 PERIODIC"], TaskStatus.QUEUED),
        ("Reboot", ["1 BOOT"], TaskStatus.DONE),
        ("Reboot", ["2 PERIODIC"], TaskStatus.QUEUED),
        ("FactoryReset", ["1 BOOT"], TaskStatus.QUEUED),
        ("FactoryReset", ["0 BOOTSTRAP", "1 BOOT"], TaskStatus.DONE),
        ("Download", ["2 PERIODIC"], TaskStatus.UNKNOWN),
        ("Upload", ["2 PERIODIC"], TaskStatus.UNKNOWN),
        ("AddObject", ["2 PERIODIC"], TaskStatus.QUEUED),
    ],
)
def test_a_lost_answer_is_settled_by_what_the_device_tells_next(
    rpc: str, events: list[str], status: TaskStatus
) -> None:
    """What may be repeated is repeated; what may not is looked into."""
    task = a_task(rpc, status=TaskStatus.UNKNOWN, attempts=1, command_key="k")
    after = settle.at_contact(task, [m.EventStruct(e) for e in events], attempts=3, now=9.0)
    assert after.status is status


def test_an_add_object_that_was_sent_is_read_back() -> None:
    """Once the instances before it are known, a lost AddObject is not simply repeated."""
    task = a_task("AddObject", status=TaskStatus.UNKNOWN, attempts=1, progress={"instances": [1]})
    assert settle.at_contact(task, [], attempts=3, now=9.0).status is TaskStatus.UNKNOWN


def test_a_transfer_event_with_its_key_tells_that_the_lost_download_arrived() -> None:
    """M Download with the task's CommandKey: its TransferComplete comes next."""
    task = a_task("Download", status=TaskStatus.UNKNOWN, attempts=1, command_key="k")
    events = [m.EventStruct("7 TRANSFER COMPLETE"), m.EventStruct("M Download", "k")]
    after = settle.at_contact(task, events, attempts=3, now=9.0)
    assert (after.status, after.phase) == (TaskStatus.RUNNING, TaskPhase.TRANSFER)


def test_a_task_is_not_sent_for_ever() -> None:
    """After the last attempt it has failed, with a sentence."""
    task = a_task("GetParameterValues", status=TaskStatus.UNKNOWN, attempts=3)
    after = settle.at_contact(task, [], attempts=3, now=9.0)
    assert after.status is TaskStatus.FAILED
    assert after.fault is not None
    assert "3 times" in after.fault.string


@pytest.mark.parametrize(
    ("status", "after", "awaited"),
    [
        ("Installing", TaskStatus.DONE, True),
        ("Uninstalling", TaskStatus.DONE, True),
        ("Installed", TaskStatus.QUEUED, False),
        (None, TaskStatus.UNKNOWN, False),
    ],
)
def test_a_lost_change_of_modules_is_settled_by_their_status(
    status: str | None, after: TaskStatus, awaited: bool
) -> None:
    """A unit on its way says that the device took it; none, that it may be sent again; no answer, that nobody knows."""
    answer: m.Response | m.FaultMessage = m.FaultMessage(9005, "no such table")
    if status is not None:
        name = "Device.SoftwareModules.DeploymentUnit.1.Status"
        answer = m.GetParameterValuesResponse((m.ParameterValueStruct(name, status, "string"),))
    task = a_task("ChangeDUState", {"operations": [{"type": "Uninstall", "uuid": "u"}], "command_key": "k"})
    sent, result = play(programs.settle_modules(task, "Device."), answer)
    assert [s.parameter_names for s in sent] == [("Device.SoftwareModules.DeploymentUnit.",)]
    assert result is not None and (result.status, result.awaited) == (after, awaited)


# --- which task is next ---


def order(*tasks: TaskRecord) -> list[str]:
    return [t.id for t in settle.candidates(sorted(tasks, key=lambda t: (-t.priority, t.id)))]


def of(id: str, rpc: str = "GetRPCMethods", **fields: Any) -> TaskRecord:
    return TaskRecord(id=id, device="d", rpc=rpc, args={}, **fields)


def test_what_an_urgent_task_waits_for_is_as_urgent() -> None:
    """Over a chain, and in its order; who waits for nothing of this device stays where it is."""
    chain = [of("1"), of("2", after="1", priority=-5), of("3", after="2", priority=9)]
    assert order(*chain, of("4", priority=5), of("5")) == ["1", "2", "3", "4", "5"]
    assert order(of("1"), of("2", after="elsewhere", priority=3)) == ["2", "1"]


def test_what_is_sent_again_comes_before_younger_tasks() -> None:
    """It may have been done already: behind an urgent one that sets the same it would undo that. A read undoes nothing."""
    again = {"progress": {"again": True}}
    first, second = of("2", "DeleteObject", **again), of("3", "SetParameterValues", priority=1, **again)
    read = of("1", "GetParameterValues", **again)
    assert order(read, first, second, of("4", priority=9)) == ["3", "2", "4", "1"]


def test_only_what_the_device_can_be_asked_about_is_settled_by_asking() -> None:
    """It comes first. A Reboot or a setting is settled by the next Inform: a transfer queue knows nothing of them."""
    lost = {"status": TaskStatus.UNKNOWN}
    tasks = [
        of("1", "Reboot", **lost),
        of("2", "SetParameterValues", **lost),
        of("3", "AddObject", **lost),
        of("4", "AddObject", progress={"instances": []}, **lost),
        of("5", "Download", **lost),
        of("6", "Upload", progress={"asked": True}, **lost),
    ]
    assert order(*tasks, of("7", priority=9)) == ["4", "5", "7"]


def test_no_row_is_made_in_a_table_where_one_may_have_been_made() -> None:
    """The device would not say yet whether it was. Other tables, and other methods, are not concerned."""
    lost = of("1", "AddObject", status=TaskStatus.UNKNOWN, progress={"instances": [], "asked": True})
    lost = replace(lost, args={"object_name": "Device.T."})
    same, other = (replace(of(id, "AddObject"), args={"object_name": f"Device.{id[1]}."}) for id in ("2T", "3U"))
    deleting = replace(of("4", "DeleteObject"), args={"object_name": "Device.T."})
    assert order(lost, same, other, deleting) == ["3U", "4"]


def test_nothing_is_done_that_a_factory_reset_would_undo() -> None:
    """Between its acceptance and the device's bootstrap; a Reboot undoes nothing."""
    for rpc, expected in (("FactoryReset", []), ("Reboot", ["2"])):
        awaited = of("1", rpc, status=TaskStatus.RUNNING, phase=TaskPhase.TRANSFER)
        assert order(awaited, of("2")) == expected


def test_a_restart_or_transfer_that_was_lost_too_often_may_be_told_of_yet() -> None:
    """Of anything else nothing comes any more. What was seen at one attempt says nothing of the next."""
    for rpc, phase in (("Reboot", "overdue"), ("Upload", "overdue"), ("SetParameterValues", "")):
        after = settle.again(of("1", rpc, status=TaskStatus.UNKNOWN, attempts=3), 3, 9.0)
        assert (after.status, after.phase) == (TaskStatus.FAILED, phase)
    progress = {"instances": [1], "asked": True, "lost": 1.0, "due": 2.0}
    after = settle.again(of("1", "AddObject", status=TaskStatus.UNKNOWN, attempts=1, progress=progress), 3, 9.0)
    assert (after.status, after.progress) == (TaskStatus.QUEUED, {"again": True})


def test_a_reading_that_is_broken_off_tells_what_it_has_read() -> None:
    """The device denies the second piece altogether: the first one's values and the names refused before are in the task."""
    names = [f"Device.{n}" for n in "ABCD"]
    good = m.GetParameterValuesResponse((m.ParameterValueStruct("Device.B", "v"),))
    unknown, denied = m.FaultMessage(9005, "no"), m.FaultMessage(9001, "denied")
    sent, result = play(lists.get_values(names, Behaviour(max_names=2)), unknown, unknown, good, denied)
    assert len(sent) == 4
    assert result is not None
    assert (result.status, result.fault and result.fault.code) == (TaskStatus.FAILED, 9001)
    assert [p.name for p in result.fault.parameters] == ["Device.A"]  # type: ignore[union-attr]
    assert (result.result or {})["parameter_list"] == list(good.parameter_list)


def test_one_name_that_is_too_much_does_not_make_the_others_come_one_by_one() -> None:
    """9004 for a single name: it is not their number, so nothing is learnt for ever."""
    names = ["Device.A", "Device.B", "Device.C", "Device.D"]
    full = m.FaultMessage(9004, "Resources exceeded")

    def value(*given: str) -> m.GetParameterValuesResponse:
        return m.GetParameterValuesResponse(tuple(m.ParameterValueStruct(n, "v") for n in given))

    answers = [full, full, full, value("Device.B"), value("Device.C", "Device.D")]
    sent, result = play(lists.get_values(names, Behaviour()), *answers)
    assert [len(request.parameter_names) for request in sent] == [4, 2, 1, 1, 2]
    assert result is not None
    assert (result.learnt, [p.name for p in result.fault.parameters]) == ({}, ["Device.A"])  # type: ignore[union-attr]
    listed = m.GetParameterNamesResponse(tuple(m.ParameterInfoStruct(n, False) for n in names))
    _, result = play(programs.discover("Device."), listed, *answers)
    assert result is not None
    assert (result.learnt, result.result) == ({}, {"names": 4, "refused": ["Device.A"]})
    rows = tuple(m.ParameterValueStruct(n, "v", "string") for n in names)
    done = m.SetParameterValuesResponse(0)
    _, result = play(lists.set_rows(rows, m.SetParameterValues, Behaviour()), full, full, full, done, done)
    assert result is not None
    assert (result.learnt, (result.result or {})["refused"]) == ({}, ["Device.A"])


@pytest.mark.parametrize(
    ("program", "questions"),
    [
        (programs.settle_transfer(of("1", "Download", command_key="k")), 2),
        (programs.settle_modules(of("1", "ChangeDUState"), "Device."), 1),
        (programs.settle_add_object(a_task("AddObject", {"object_name": "Device.T."}, progress={"instances": [1]})), 1),
    ],
    ids=["transfer", "modules", "object"],
)
def test_a_device_that_will_not_say_now_is_asked_at_its_next_contacts(program: steps.Program, questions: int) -> None:
    """Busy or out of memory (9002, 9004) is no answer; after a few such ones it is left to the device and the clock."""
    _, result = play(program, *[m.FaultMessage(9002, "busy")] * questions)
    assert result is not None
    patience = settle.Patience(10.0, 10.0)
    task = of("1", "Download", status=TaskStatus.UNKNOWN, progress={"lost": 1.0})
    asked = []
    for _ in range(4):
        task = settle.at_contact(task, [], attempts=3, now=2.0)
        asked.append(len(settle.candidates([task])))
        if asked[-1]:
            task = settle.finished(task, result, attempts=3, patience=patience, now=2.0)
            assert settle.candidates([task]) == []
    assert asked == [1, 1, 1, 0]
    never = steps.Result(TaskStatus.UNKNOWN, fault=FaultDetail(9000, "no such method"))
    task = settle.finished(
        of("1", "Download", status=TaskStatus.UNKNOWN), never, attempts=3, patience=patience, now=2.0
    )
    assert settle.candidates([settle.at_contact(task, [], attempts=3, now=3.0)]) == []
