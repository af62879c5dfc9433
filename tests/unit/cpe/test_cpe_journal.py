"""Logs for people: bounded, readable without the agent, and free of secrets."""

import asyncio
import time

import pytest

from homeport.cpe import journal
from homeport.cpe.journal import MASK, Journal, is_secret, masked, masked_body


class StoppedClock:
    def now(self) -> float:
        return 1_800_000_000.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep_until(self, deadline: float) -> None:
        raise AssertionError("a log does not sleep")


@pytest.mark.parametrize(
    "name",
    [
        "Device.ManagementServer.Password",
        "Device.ManagementServer.ConnectionRequestPassword",
        "Device.WiFi.AccessPoint.1.Security.KeyPassphrase",
        "Device.WiFi.AccessPoint.1.Security.PreSharedKey",
        "InternetGatewayDevice.LANDevice.1.WLANConfiguration.1.WEPKey.1.WEPKey",
        "password",
    ],
)
def test_names_of_secrets_are_known(name: str):
    """By their last words, in any case."""
    assert is_secret(name)
    assert masked(name, "s3cret") == MASK
    assert masked(name, "") == ""


def test_a_url_with_credentials_is_shown_without_them():
    """Whatever the parameter is called."""
    assert masked("Device.X.URL", "http://joe:pw@a/b") == f"http://{MASK}@a/b"
    assert masked("Device.X.URL", "http://a/b@c") == "http://a/b@c"
    assert masked("Device.X.URL", "ftp://joe:p@w@a/b") == f"ftp://{MASK}@a/b"


def test_a_soap_body_is_shown_without_its_secrets():
    """Values of secret parameters and the Password element of a Download, in any prefix and spacing."""
    body = b"""<ParameterValueStruct><Name>Device.ManagementServer.Password</Name>
      <Value xsi:type="xsd:string">hunter2</Value></ParameterValueStruct>
      <ParameterValueStruct><Name>Device.X.Enable</Name><Value xsi:type="xsd:boolean">1</Value></ParameterValueStruct>
      <Username>joe</Username><Password>hunter3</Password>"""
    shown = masked_body(body)
    assert b"hunter" not in shown
    assert b"joe" not in shown
    assert b">1</Value>" in shown


def test_a_secret_in_a_cdata_section_is_one_too():
    """Some ACSs write every value so; and so may they write a login in a URL."""
    body = b"""<Name>Device.ManagementServer.Password</Name><Value><![CDATA[hun<ter]]></Value>
      <Password><![CDATA[hunter3]]></Password><URL>ftp://joe:hunter4@files/a</URL>"""
    shown = masked_body(body)
    assert b"hun" not in shown and b"joe" not in shown and b"@files/a" in shown


def test_masking_takes_no_longer_for_a_body_that_was_made_to_hold_it_up():
    """No place in the expressions that tries over and over: a megabyte of the worst is looked through in a moment."""
    begun = time.monotonic()
    for piece in (b"a.", b"<![CDATA[x]]>", b"://", b"<Name>password</Name><Value>", b"password"):
        masked_body(b"<Name>Device.Password</Name><Value>" + piece * (500_000 // len(piece)))
    assert time.monotonic() - begun < 5.0


def test_a_line_of_a_log_is_one_line_and_moves_no_cursor(tmp_path):
    """Words of a stranger (a fault's text, an interface's name) steer neither the file nor the terminal of its reader."""
    log = Journal("client", tmp_path, StoppedClock())
    log.write("Fault 8001 \x1b[2Jall is well\r\n2027-01-01T00:00:00Z session done\u2028x")
    assert log.lines() == ["2027-01-15T08:00:00Z Fault 8001  [2Jall is well  2027-01-01T00:00:00Z session done x"]
    assert journal.read("client", tmp_path) == log.lines()


def test_lines_can_be_read_while_no_agent_runs(tmp_path):
    """`homeport cpe show client-log` works on the files."""
    log = Journal("client", tmp_path, StoppedClock())
    log.write("one")
    log.write("two\nlines")
    assert journal.read("client", tmp_path) == ["2027-01-15T08:00:00Z one", "2027-01-15T08:00:00Z two lines"]
    assert log.lines()[0].endswith("one")


def test_a_log_file_is_put_aside_when_it_is_large(tmp_path, monkeypatch):
    """Two files at most; the newest lines are the last."""
    monkeypatch.setattr(journal, "MAX_BYTES", 200)
    log = Journal("client", tmp_path, StoppedClock())
    for n in range(50):
        log.write(f"line {n}")
    assert {p.name for p in tmp_path.iterdir()} == {"client.log", "client.log.1"}
    assert all(p.stat().st_size < 300 for p in tmp_path.iterdir())
    assert journal.read("client", tmp_path)[-1].endswith("line 49")


def test_a_log_that_cannot_be_written_does_not_stop_the_agent(tmp_path):
    """A full or read-only disk costs the line, not the session."""
    log = Journal("client", tmp_path / "missing", StoppedClock())
    log.write("still here")
    assert log.lines() == ["2027-01-15T08:00:00Z still here"]


def test_a_follower_hears_the_last_lines_and_each_new_one(tmp_path):
    """In order, none twice, with their numbers; many at once too."""

    async def scene():
        journal = Journal("client", tmp_path, StoppedClock(), keep=5)
        for n in range(7):
            journal.write(f"old {n}")
        heard = []

        async def listen():
            async for number, line in journal.follow(last=2):
                heard.append((number, line.partition(" ")[2]))
                if len(heard) == 5:
                    return

        listening = asyncio.ensure_future(listen())
        await asyncio.sleep(0)
        for n in range(3):
            journal.write(f"new {n}")
        await listening
        return heard

    assert asyncio.run(scene()) == [(6, "old 5"), (7, "old 6"), (8, "new 0"), (9, "new 1"), (10, "new 2")]
