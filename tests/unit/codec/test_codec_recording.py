"""Recordings: cutting HTTP messages out of what people save, and the rules between the messages of a session."""

import gzip
import zlib
from pathlib import Path

import pytest

from homeport.codec import messages as m
from homeport.codec import recording
from homeport.codec.envelope import Envelope, encode
from homeport.codec.findings import examine
from homeport.codec.recording import Recorded, capture, split
from homeport.codec.sessions import gist, sessions
from homeport.errors import MessageRefused
from homeport.terms import Role

RECORDINGS = Path(__file__).parents[2] / "golden" / "recordings"
DEVICE = m.DeviceIdStruct("E", "0A1B2C", "P", "1")
INFORM = m.Inform(DEVICE, (m.EventStruct("1 BOOT"),), "2026-03-01T10:00:00Z")


def soap(message, cwmp_id="1"):
    return encode(Envelope(message, id=cwmp_id))


def post(body=b"", *headers):
    head = ["POST / HTTP/1.1", *headers, f"Content-Length: {len(body)}"]
    if body:
        head += ["Content-Type: text/xml", "SOAPAction:"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def answer(body=b"", status="200 OK", *headers):
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}"]).encode() + b"\r\n\r\n" + body


def errors(*messages):
    return [
        f.text
        for s in sessions(split(b"".join(messages)))
        for rung in s.rungs
        for f in rung.findings
        if f.level == "error"
    ]


def notes(*messages):
    return [
        f.text
        for s in sessions(split(b"".join(messages)))
        for rung in s.rungs
        for f in rung.findings
        if f.level == "note"
    ]


def test_a_bare_body_is_one_message():
    """Also with space around it, also in UTF-16."""
    body = soap(INFORM)
    assert split(b"\n " + body + b"\n") == (Recorded("body", body=body),)
    assert split(body.decode().encode("utf-16"))[0].kind == "body"
    assert split(b"<html></html>") == (Recorded("body", body=b"<html></html>"),)


def test_several_bodies_in_one_file_are_several_messages():
    """Envelopes one after another, with text between them that is not XML."""
    found = split(soap(INFORM) + b"\n\n" + soap(m.InformResponse()) + b"\nend of file\n")
    assert [examine(r.body).title for r in found] == ["Inform", "InformResponse"]


def test_what_holds_no_message_is_refused():
    """An empty file, and one that is too large."""
    with pytest.raises(MessageRefused, match="no SOAP envelope"):
        split(b"  \n")


def test_a_recording_is_bounded(monkeypatch):
    """Both the file and each decompressed body."""
    monkeypatch.setattr(recording, "MAX_RECORDING", 100)
    with pytest.raises(MessageRefused, match="at most 100"):
        split(b"x" * 101)
    monkeypatch.setattr(recording, "MAX_RECORDING", 10_000_000)
    monkeypatch.setattr(recording, "MAX_BODY", 1000)
    with pytest.raises(MessageRefused, match="1000 bytes when decompressed"):
        split(post(gzip.compress(b"x" * 100_000), "Content-Encoding: gzip"))


def test_an_http_dump_is_cut_at_the_lengths():
    """Requests and responses in turn; the next one may begin right after the last tag."""
    found = split(post(soap(INFORM)) + answer(soap(m.InformResponse())) + post() + answer(b"", "204 No Content"))
    assert [(r.kind, r.status, len(r.body) > 0) for r in found] == [
        ("request", 0, True),
        ("response", 200, True),
        ("request", 0, False),
        ("response", 204, False),
    ]
    assert found[0].header("content-type") == "text/xml"
    assert found[0].header("Cookie") is None
    assert found[0].notes == ()


def test_chunks_are_joined():
    """Chunked bodies with extensions and a trailer, with CRLF or the bare line ends of a text export."""
    body = soap(m.InformResponse())
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10;x=1\r\n" + body[:16] + b"\r\n"
    chunked += f"{len(body) - 16:x}\r\n".encode() + body[16:] + b"\r\n0\r\nX-Sum: 1\r\n\r\n"
    found = split(post(soap(INFORM)) + chunked + post())
    assert found[1].body == body
    assert split(chunked.replace(b"\r\n", b"\n"))[0].body == body
    broken = split(chunked.replace(b"10;x=1", b"zz"))[0]
    assert "chunks" in broken.notes[0]
    assert "chunks" in split(chunked.replace(b"10;x=1", b"9"))[0].notes[0]


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, lambda b: zlib.compress(b, wbits=-15)])
def test_compressed_bodies_are_read(pack):
    """gzip, and both things that deflate is taken to mean."""
    coding = "gzip" if pack is gzip.compress else "deflate"
    assert split(post(pack(soap(INFORM)), f"Content-Encoding: {coding}"))[0].body == soap(INFORM)
    assert "cannot be read" in split(post(b"garbage", f"Content-Encoding: {coding}"))[0].notes[0]


def test_a_length_that_does_not_fit_is_noted_and_the_next_start_decides():
    """Text exports change line ends, so that lengths are off."""
    body = soap(INFORM)
    data = post(body).replace(f"Content-Length: {len(body)}".encode(), b"Content-Length: 12") + b"\n" + answer()
    found = split(data)
    assert found[0].body == body
    assert "Content-Length" in found[0].notes[0]
    assert len(found) == 2
    without = split(b"POST / HTTP/1.1\n\n" + body + b"\n")
    assert without[0].body == body


def test_headers_may_be_folded_and_odd():
    """A folded header continues; a recording that ends in a header says so."""
    data = b'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm="a",\r\n  nonce="b"\r\n folded\r\n\r\n'
    assert split(data)[0].headers == (("WWW-Authenticate", 'Digest realm="a", nonce="b" folded'),)
    assert "ends within the header" in split(b"POST / HTTP/1.1\r\nHost: x")[0].notes[0]


def test_a_followed_stream_of_tshark_is_read():
    """`tshark -z follow,tcp,ascii`: each block after a line with its length, the answers' lines indented by a tab."""
    blocks = [post(soap(INFORM)), answer(soap(m.InformResponse()))]
    text = (
        b"=" * 67 + b"\nFollow: tcp,ascii\nFilter: tcp.stream eq 0\nNode 0: 192.0.2.7:40000\nNode 1: 192.0.2.1:7547\n"
    )
    for i, block in enumerate(blocks):
        for part in (block[:70], block[70:]):
            text += (b"\t" if i else b"") + str(len(part)).encode() + b"\n" + part + b"\n"
    found = split(text + b"=" * 67 + b"\n")
    assert [examine(r.body).title for r in found] == ["Inform", "InformResponse"]


def test_a_recording_is_cut_into_sessions():
    """The Inform that answers a 401 belongs to its session; a later one begins the next."""
    found = sessions(split((RECORDINGS / "two-sessions.http").read_bytes()))
    assert [s.title for s in found] == [
        "0A1B2C-797xx-SN-000042: 2 PERIODIC, 4 VALUE CHANGE",
        "0A1B2C-797xx-SN-000042: 1 BOOT, M Reboot",
    ]
    assert [len(s.rungs) for s in found] == [14, 4]
    assert [r.sender for r in found[1].rungs] == [Role.CPE, Role.ACS, Role.CPE, Role.ACS]
    assert found[0].rungs[1].gist == "401 Unauthorized"
    said = [f.text for s in found for rung in s.rungs for f in rung.findings if f.level == "error"]
    assert said == [
        "An arrayType count differs from the number of entries.",
        "'eleven' is not of the type unsignedInt.",
        "The ID is 'a4'; the request's was 'a3'.",
        "The cookie session was not sent back.",
    ]


OPENED = (post(soap(INFORM)), answer(soap(m.InformResponse())))


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ((post(soap(m.TransferComplete("k"))), answer()), "TransferComplete comes before any Inform."),
        ((*OPENED, post(soap(m.RebootResponse()))), "RebootResponse answers no request."),
        (
            (*OPENED, post(), answer(soap(m.Reboot())), post(soap(m.FactoryResetResponse()))),
            "FactoryResetResponse does not answer Reboot.",
        ),
        ((*OPENED, post(soap(m.FaultMessage(9002)))), "Fault answers no request."),
        ((post(soap(INFORM)).replace(b"text/xml", b"text/html"),), "It is text/html; an envelope goes as text/xml."),
        ((post(soap(INFORM)).replace(b"\r\nSOAPAction:", b""),), "A POST with an envelope has the header SOAPAction."),
        ((post(soap(INFORM)).replace(b"SOAPAction:", b'SOAPAction: "x"'),), 'It is "x"; it must have no value.'),
        ((*OPENED, post(b"", "SOAPAction:")), "An empty POST has no SOAPAction."),
        ((post(soap(INFORM)).replace(b"POST", b"PUT"),), "The method is PUT; a CPE uses POST."),
        (
            (post(soap(INFORM)), answer(soap(m.FaultMessage(8002)), "500 Oops")),
            "An envelope of the ACS goes under status 200, not 500.",
        ),
    ],
)
def test_a_breach_of_order_or_of_http_is_an_error(messages, text):
    """Turns (3.7.2), IDs (3.5) and HTTP headers (3.4.1)."""
    assert text in errors(*messages)


def test_what_troubles_some_clients_is_noted():
    """Chunked answers, closing the connection, and ending with 200."""
    said = notes(
        post(soap(INFORM)),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + f"{len(soap(m.InformResponse())):x}\r\n".encode()
        + soap(m.InformResponse())
        + b"\r\n0\r\n\r\n",
        post(),
        answer(b"", "200 OK", "Connection: close"),
        post(),
        answer(),
    )
    assert any("chunked" in text for text in said)
    assert any("closed connection" in text for text in said)
    assert any("200 instead of 204" in text for text in said)


def test_bodies_without_http_tell_the_sender_by_their_content():
    """Where only envelopes were saved, a method says who sends it."""
    found = sessions(split(soap(INFORM) + soap(m.InformResponse()) + soap(m.Reboot()) + soap(m.VendorMessage("X_A"))))
    assert [r.sender for r in found[0].rungs] == [Role.CPE, Role.ACS, Role.ACS, None]
    assert sessions(split(b"<html/>"))[0].title == "no Inform"


GISTS = [
    (INFORM, "1 BOOT"),
    (m.Inform(DEVICE, (), "2026-03-01T10:00:00Z"), "no events"),
    (m.FaultMessage(9005, "no"), "9005 no"),
    (
        m.SetParameterValues(tuple(m.ParameterValueStruct(f"Device.P{i}", "1") for i in range(5))),
        "P0, P1, P2 and 2 more",
    ),
    (m.GetParameterValues(("", "Device.")), "everything, Device."),
    (m.GetParameterNames("", True), "everything (next level)"),
    (m.GetParameterNamesResponse(()), "0 parameters"),
    (m.AddObject("Device.A."), "Device.A."),
    (m.AddObjectResponse(3), "instance 3"),
    (m.Download("", "1 Firmware Upgrade Image", "u"), "1 Firmware Upgrade Image, no key"),
    (m.TransferComplete("k", m.FaultStruct(9010, "x")), "k: fault 9010"),
    (m.TransferComplete("", m.FaultStruct()), "no key: done"),
    (m.Reboot("r"), "r"),
    (m.FactoryReset(), ""),
]


@pytest.mark.parametrize(("message", "words"), GISTS)
def test_a_few_words_for_the_ladder(message, words):
    """What a person wants to know at a glance."""
    assert gist(examine(soap(message))) == words


def test_a_capture_of_our_agent_is_read_again():
    """Direction, body and HTTP's status come back, whatever the bodies hold; remarks are passed over."""
    inform = soap(INFORM)
    tricky = b"=== not a title\n--> 0.0 5 bytes x\n<a>" + inform
    data = capture(
        [
            ("session 1\nof two", [("sent", 0.0, "Inform", inform), ("note", 0.1, "tolerated: x", b"")]),
            ("session 2", [("sent", 0.0, "Inform", tricky), ("received", 1.5, "HTTP 503", b"")]),
        ]
    )
    assert [(r.kind, r.line, r.status, r.body) for r in split(data)] == [
        ("sent", "Inform", 0, inform),
        ("sent", "Inform", 0, tricky),
        ("received", "HTTP 503", 503, b""),
    ]
    first = sessions(split(data))[0].rungs[0]
    assert first.sender is Role.CPE and not first.findings
    cut = split(data[: data.index(inform) + 10])
    assert cut[0].notes == ("The recording ends within the body.",)
