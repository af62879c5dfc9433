"""Messages as people may see them."""

from homeport.acs.services.masking import MASK, shown


def test_secrets_are_masked_and_everything_else_is_kept() -> None:
    """Values of parameters that are passwords or keys by their name, and Password elements of RPCs."""
    body = (
        b"<x><Name>Device.ManagementServer.Password</Name><Value xsi:type='xsd:string'>hunter2</Value>"
        b"<Name>Device.WiFi.AccessPoint.1.Security.KeyPassphrase</Name>\n <Value>hunter2</Value>"
        b"<Name>Device.DeviceInfo.ModelName</Name><Value>797xx</Value><Password>hunter2</Password><Username>u</Username></x>"
    )
    text = shown(body, 10_000)
    assert "hunter2" not in text
    assert text.count(MASK) == 3
    assert "797xx" in text
    assert "<Username>u</Username>" in text


def test_long_and_broken_bodies_are_cut_and_shown() -> None:
    """A history never holds more than its limit of one message, whatever the bytes are."""
    assert shown(b"x" * 100_000, 100) == "x" * 100 + " [cut: 100000 bytes]"
    assert shown(b"caf\xe9", 100) == "caf\\xe9"


def test_a_secret_that_is_cut_in_two_is_not_shown() -> None:
    """A cut in the middle of a secret must not leave its first half in the history."""
    body = b"<Name>Device.ManagementServer.Password</Name><Value>" + b"s3cret" * 1000
    assert "s3cret" not in shown(body, 60)
