"""`homeport decode`: text, JSON and a page, and its exit status."""

import html.parser
import io
import json
from pathlib import Path

import pytest

from homeport.cli.main import run
from homeport.codec import messages as m
from homeport.codec.envelope import Envelope, encode

RECORDING = Path(__file__).parents[2] / "golden" / "recordings" / "two-sessions.http"


@pytest.fixture
def body(tmp_path):
    """A Reboot with markup and a terminal's escape sequence in its key, as a peer might send it."""
    file = tmp_path / "reboot.xml"
    file.write_bytes(encode(Envelope(m.Reboot("<b>\x9b2Jx"), id="1")))
    return file


def test_a_message_is_shown_as_text(body, capsys):
    """Who sends it, the method, its arguments; what would steer the terminal is spelled out."""
    assert run(["decode", str(body)]) == 0
    text = capsys.readouterr().out
    assert "CPE ◀── ACS  Reboot" in text
    assert "CommandKey = <b>\\x9b2Jx" in text
    assert "No findings." in text


def test_a_recording_is_shown_by_sessions(capsys):
    """Each session under its device and events, each finding with its clause."""
    assert run(["decode", str(RECORDING)]) == 0
    text = capsys.readouterr().out
    assert "Session  0A1B2C-797xx-SN-000042: 1 BOOT, M Reboot  (4 messages)" in text
    assert "error  Header/ID: The ID is 'a4'; the request's was 'a3'.  [TR-069a6 3.5 (unverified)]" in text
    assert "correct horse" not in text
    assert run(["decode", str(RECORDING), "--reveal"]) == 0
    assert "correct horse" in capsys.readouterr().out


def test_json_says_the_same(capsys):
    """Sessions, messages, content and findings as data."""
    assert run(["decode", str(RECORDING), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    first = data["sessions"][0]["messages"][0]
    assert (first["sender"], first["method"], first["id"], first["gist"]) == (
        "cpe",
        "Inform",
        "1",
        "2 PERIODIC, 4 VALUE CHANGE",
    )
    assert data["sessions"][0]["messages"][1]["error"] is None
    answer = data["sessions"][0]["messages"][8]
    assert answer["quirks"] == ["wrong-count"]
    assert answer["findings"][1]["where"].endswith("ParameterValueStruct[3]")


class Page(html.parser.HTMLParser):
    """Tags that are open, attributes that would load something, and the text."""

    def __init__(self):
        super().__init__()
        self.open, self.loads, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.open.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "srcset", "onclick", "action")]
        assert tag not in ("script", "iframe", "link", "img")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_and_self_contained(tmp_path, capsys):
    """Balanced tags, nothing loaded from elsewhere, both ladders in it."""
    out = tmp_path / "page.html"
    assert run(["decode", str(RECORDING), "--html", str(out)]) == 0
    page = Page()
    page.feed(out.read_text(encoding="utf-8"))
    assert (page.open, page.loads) == ([], [])
    assert page.text.count("InformResponse") == 2
    assert "2 sessions, 18 messages, 4 errors, 1 note" in page.text
    assert "correct horse" not in page.text
    assert "url(" not in out.read_text(encoding="utf-8")


def test_what_a_peer_sent_is_text_on_the_page(body, tmp_path):
    """Markup in a value stays a value."""
    out = tmp_path / "page.html"
    assert run(["decode", str(body), "--html", str(out)]) == 0
    assert "&lt;b&gt;" in out.read_text(encoding="utf-8")
    assert "<b>" not in out.read_text(encoding="utf-8")


def test_strict_makes_errors_count(body, capsys):
    """Exit 1 for errors with --strict, 0 without; notes never count."""
    assert run(["decode", str(RECORDING), "--strict"]) == 1
    assert run(["decode", str(body), "--strict"]) == 0


def test_stdin_is_read_for_a_dash(body, monkeypatch, capsys):
    """`tcpflow -c | homeport decode -`."""

    class Stdin:
        buffer = io.BytesIO(body.read_bytes())

    monkeypatch.setattr("sys.stdin", Stdin())
    assert run(["decode", "-"]) == 0
    assert "Reboot" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read"),
        (b"", "no SOAP envelope"),
        (b"<html/>", "not a SOAP Envelope"),
        (b"POST / HTTP/1.1\r\n\r\n", "every body is empty"),
    ],
)
def test_what_is_not_cwmp_fails_with_one_line(tmp_path, capsys, content, words):
    """Exit 1, the reason on stderr."""
    file = tmp_path / "x"
    if content is not None:
        file.write_bytes(content)
    assert run(["decode", str(file)]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_page_that_cannot_be_written_is_an_error(body, tmp_path, capsys):
    """The message names the file and the cure."""
    assert run(["decode", str(body), "--html", str(tmp_path / "no" / "page.html")]) == 1
    assert "cannot write" in capsys.readouterr().err
