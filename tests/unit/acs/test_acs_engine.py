"""How a wish becomes RPCs: its arguments, and the programs that send them and read the answers."""

from collections.abc import Sequence
from typing import Any

import pytest

from homeport.acs.engine import args, lists, programs
from homeport.acs.records import (
    Behaviour,
    FaultDetail,
    TaskStatus,
)
from homeport.codec import messages as m
from homeport.codec.envelope import Envelope, encode
from support.engine_programs import a_task, play

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
