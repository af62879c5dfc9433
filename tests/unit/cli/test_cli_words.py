"""Small things that a person reads: times, RPC arguments, ladders, tables, lifelines."""

import csv
import os
import subprocess
import sys
from typing import Any

import pytest

from homeport.acs.engine.args import CPE_METHODS
from homeport.cli import lifeline, output
from homeport.cli.common import RPCS, complete_from
from homeport.cli.device_list import condition
from homeport.cli.device_watch import said
from homeport.cli.exits import CliError
from homeport.cli.faults import cure, fault_line, fault_lines, meaning
from homeport.cli.gist import gist
from homeport.cli.ladder import LINE, readable, rung_text, rungs
from homeport.cli.rpc_args import parse_args
from homeport.cli.when import ago, ahead
from homeport.terms import FaultCode


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (None, "never"),
        ("", "never"),
        (1000.0, "now"),
        (958.0, "42 s ago"),
        ("1970-01-01T00:14:00Z", "3 min ago"),
        (1000.0 - 7200, "2 h ago"),
        (1000.0 - 3 * 86400, "3 d ago"),
    ],
)
def test_moments_are_told_as_people_do(moment: Any, said: str) -> None:
    """Seconds since 1970 and ISO 8601 text, in the largest unit that fits."""
    now = 1000.0 if said != "3 min ago" else 840.0 + 180
    assert ago(moment, now=now) == said


def test_a_moment_to_come() -> None:
    """`in 5 min` for a time ahead, `now` for one that has passed."""
    assert ahead(1300.0, now=1000.0) == "in 5 min"
    assert ahead(900.0, now=1000.0) == "now"


@pytest.mark.parametrize(
    ("words", "args"),
    [
        ([], {}),
        (["delay_seconds=60", "command_key=later"], {"delay_seconds": 60, "command_key": "later"}),
        (['parameter_names=["Device."]', "next_level=true"], {"parameter_names": ["Device."], "next_level": True}),
        (["url=http://x/?a=b"], {"url": "http://x/?a=b"}),
        (['command_key="60"'], {"command_key": "60"}),
        (['{"a": [1]}'], {"a": [1]}),
    ],
)
def test_rpc_arguments_are_json_where_they_can_be(words: list[str], args: dict[str, Any]) -> None:
    """Numbers, truth values, lists and objects are JSON; everything else is text."""
    assert parse_args(words) == args


@pytest.mark.parametrize("words", [["novalue"], ["{broken"], ["a-b=1"], ["[1]"]])
def test_rpc_arguments_that_are_neither_are_refused(words: list[str]) -> None:
    """A word that is not NAME=VALUE and not one JSON object ends with an example."""
    with pytest.raises(CliError):
        parse_args(words)


def message(direction: str, element: str, body: str = "", at: float = 0.0) -> dict[str, Any]:
    return {"at": at, "direction": direction, "element": element, "size": len(body), "body": body}


def test_a_session_becomes_a_ladder_in_order() -> None:
    """Each message is a rung with its time since the first; empty bodies say what they mean."""
    session = {
        "messages": [
            message("cpe", "Inform", "<EventCode>1 BOOT</EventCode><EventCode>M Reboot</EventCode>", at=100.0),
            message("acs", "InformResponse", at=100.01),
            message("cpe", "", at=100.02),
            message("acs", "", at=100.03),
        ]
    }
    rows = rungs(session)
    assert [r.title for r in rows] == ["Inform", "InformResponse", "(empty: your turn)", "(empty: nothing more)"]
    assert [round(r.at * 1000) for r in rows] == [0, 10, 20, 30]
    assert rows[0].details == "1 BOOT, M Reboot"


@pytest.mark.parametrize("sender", ["cpe", "acs"])
@pytest.mark.parametrize("element", ["Inform", "SetParameterValuesResponse", "AutonomousDUStateChangeComplete"])
def test_every_arrow_has_the_same_length(sender: str, element: str) -> None:
    """The two posts of the ladder stand straight, and the arrow points away from its sender."""
    (rung,) = rungs({"messages": [message(sender, element)]})
    text = rung_text(rung)
    assert len(text) == max(LINE, len(element) + 5)
    assert text.endswith("▶") is (sender == "cpe")
    assert text.startswith("◀") is (sender == "acs")


@pytest.mark.parametrize(
    ("element", "body", "said"),
    [
        ("Inform", "<Event/>", "no events"),
        ("Fault", "<FaultCode>9005</FaultCode>", "fault 9005"),
        ("GetParameterValues", "<string>Device.</string>", "Device."),
        ("GetParameterValues", "<string></string>", "everything"),
        (
            "GetParameterValues",
            "<string>Device.A.B</string><string>Device.C</string><string>Device.D</string>",
            "B, C and 1 more",
        ),
        ("SetParameterValues", "<Name>Device.A.B</Name><Value xsi:type='x'>1</Value>", "B=1"),
        (
            "GetParameterValuesResponse",
            '<ParameterList SOAP-ENC:arrayType="cwmp:ParameterValueStruct[129]">',
            "129 values",
        ),
        ("SetParameterValuesResponse", "<Status>1</Status>", "accepted, applied later"),
        ("AddObjectResponse", "<InstanceNumber>3</InstanceNumber>", "instance 3"),
        ("Reboot", "<CommandKey>k</CommandKey>", "k"),
        ("RebootResponse", "", ""),
    ],
)
def test_the_gist_of_a_message(element: str, body: str, said: str) -> None:
    """What is worth reading is found also in a text that was cut at the end."""
    assert gist(message("cpe", element, body)) == said


def test_every_fault_code_of_the_standard_has_a_meaning() -> None:
    """No code of the standard is "unknown"; vendor ranges are named as such."""
    assert all(meaning(code) == code.text for code in FaultCode)
    assert meaning(9855) == "Vendor-specific fault"
    assert meaning(7) == "Unknown fault code"
    assert "names" in cure(9005)


def test_a_failure_that_is_no_fault_is_told_in_the_acs_words() -> None:
    """Where no device answered, there is no code to explain."""
    for code in (0, "0", "lost"):
        fault = {"code": code, "string": "the session was lost", "parameters": []}
        assert fault_lines(fault) == ["the session was lost"]
        assert fault_line(fault) == "the session was lost"


def test_tables_in_a_pipe_are_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    """A script gets one line a row, however long, with nothing cut and nothing wrapped."""
    output.print_table(("A", "B"), [("x" * 300, "two\nlines\tand a tab")])
    assert capsys.readouterr().out == f"A\tB\n{'x' * 300}\ttwo lines and a tab\n"


def test_comma_separated_values_hold_no_formula(capsys: pytest.CaptureFixture[str]) -> None:
    """What a device tells is no formula in a spreadsheet; numbers with a sign stay numbers."""
    rows = [("=1+1", "-17640"), ('a,"b"', "-A1"), ("@x", "+4.5")]
    output.print_table(("A", "B"), rows, csv=True)
    assert list(csv.reader(capsys.readouterr().out.splitlines())) == [
        ["A", "B"],
        ["'=1+1", "-17640"],
        ['a,"b"', "'-A1"],
        ["'@x", "+4.5"],
    ]


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({}, None),
        ({"where": "a or b"}, "a or b"),
        ({"where": "a or b", "tags": ["it's", "x"]}, """(a or b) and "it's" in tags and 'x' in tags"""),
        ({"state": "approved", "online": False}, "state == 'approved' and not online"),
        ({"online": True}, "online"),
    ],
)
def test_options_of_the_list_become_one_condition(options: dict[str, Any], where: str | None) -> None:
    """All of them must hold."""
    assert condition(**{"where": None, "state": None, "tags": (), "online": None} | options) == where


def test_a_message_is_readable_and_obeyed_by_no_terminal() -> None:
    """An element a line, whatever encoding it came in; what was cut stays as it is."""
    body = '<?xml version="1.0" encoding="ISO-8859-1"?><a><b>K\xf6ln\x9b31m</b><c/></a>'
    assert readable(body) == "<a>\n  <b>K\xf6ln\ufffd31m</b>\n  <c/>\n</a>"
    assert readable("<a><b>cut \x9b") == "<a><b>cut \ufffd"


def test_the_tab_key_knows_the_methods_of_devices() -> None:
    """All that an ACS may call, and Refresh; the methods of the ACS itself are not among them."""
    assert {*RPCS} == {*CPE_METHODS} | {"Refresh"}
    assert complete_from(RPCS)("GetP") == ["GetParameterValues", "GetParameterNames", "GetParameterAttributes"]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"kind": "inform", "events": ["0 BOOTSTRAP", "1 BOOT"], "new": True}, "0 BOOTSTRAP, 1 BOOT, new here"),
        ({"kind": "values", "count": 5, "paths": ["A.", "B.", "C.", "D."]}, "A., B., C. and 2 more"),
        ({"kind": "device", "fields": ["state"]}, "state changed"),
        ({"kind": "device", "deleted": True, "into": "D-2"}, "is D-2 now"),
        ({"kind": "device", "deleted": True}, "removed"),
        (
            {"kind": "device", "fields": [], "login_refused": "not for it", "group": "g"},
            "login of the group g refused: not for it",
        ),
        ({"kind": "file", "name": "fw", "what": "deleted"}, "fw deleted"),
        ({"kind": "session", "outcome": "success", "session": "7"}, "success (7)"),
    ],
)
def test_what_happens_is_said_in_words(event: dict[str, Any], words: str) -> None:
    """Each kind of event, as one line of `device watch`."""
    assert said(event) == words


def test_a_line_of_an_endless_table_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tabs in a pipe, columns on a terminal, and no control characters from devices."""
    output.print_line(("a", "b\nc", "d"), widths=(3, 4))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    output.print_line(("a", "b\x1b[1m", "d"), widths=(3, 4))
    assert capsys.readouterr().out == "a\tb c\td\na    b\ufffd[1m  d\n"


def test_json_keeps_order_and_letters(capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints what the REST API gave."""
    output.print_json({"b": "æ", "a": 1})
    assert capsys.readouterr().out == '{\n  "b": "æ",\n  "a": 1\n}\n'


def test_a_lifeline_is_held_only_by_the_process_that_has_the_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A grandchild that inherited the variable but not the pipe is not tied to whatever has that descriptor number."""
    started: list[Any] = []
    monkeypatch.setattr(
        lifeline.threading, "Thread", lambda **kw: started.append(kw) or pytest.fail("it held a foreign descriptor")
    )
    with open(os.devnull) as other:
        for text in ("", "x", "9999:1", f"{other.fileno()}:{os.fstat(other.fileno()).st_ino}", f"{other.fileno()}:1"):
            monkeypatch.setenv(lifeline.ENVIRONMENT, text)
            lifeline.hold()
    assert not started


def test_importing_the_command_line_is_quick() -> None:
    """`homeport --version` imports neither typer nor rich."""
    code = "import sys; from homeport.cli.main import run; run(['--version']); sys.exit(bool({'typer', 'rich'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL, timeout=60).returncode == 0
    )


def test_what_a_device_says_of_a_fault_stays_on_its_line_and_obeys_no_terminal() -> None:
    """XML allows line ends and the control characters of eight bits, of which a terminal takes U+009B for the begin of a command."""
    fault = {"code": 9002, "string": "no\nroom\x9b31m left"}
    assert fault_lines(fault)[0].endswith('the device says "no room 31m left"')
    assert fault_line(fault) == fault_lines(fault)[0]


def test_a_table_on_a_terminal_obeys_no_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a device tells is shown and not done."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    output.print_table(("PATH", "VALUE"), [("Device.A", "a\x9b31mb")])
    said = capsys.readouterr().out
    assert "Device.A" in said
    assert "\x9b" not in said
