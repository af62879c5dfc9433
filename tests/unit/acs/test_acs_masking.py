"""Messages as people may see them."""

import pytest

from homeport.acs.records import TaskRecord
from homeport.acs.services.masking import MASK, masked_task, shown


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


@pytest.mark.parametrize(
    "element",
    [
        "<Name>Device.WiFi.AccessPoint.1.Security.RadiusSecret</Name><Value>hunter2</Value>",
        "<Name>Device.WiFi.AccessPoint.1.Security.SecondaryRadiusSecret</Name><Value>hunter2</Value>",
        "<Name>Device.UPA.Interface.1.EncryptionKey</Name><Value>hunter2</Value>",
        "<Name>InternetGatewayDevice.LANDevice.1.WLANConfiguration.1.X_VENDOR_WepKey4</Name><Value>hunter2</Value>",
        "<Name>Device.X_VENDOR_Cloud.ApiKey</Name><Value>hunter2</Value>",
        "<Name>Device.X_VENDOR_Cloud.AccessToken</Name><Value>hunter2</Value>",
        "<Name>Device.X_VENDOR_SNMP.ReadCommunity</Name><Value>hunter2</Value>",
        "<Name>Device.X_VENDOR_SNMP.CommunityString2</Name><Value>hunter2</Value>",
        "<Name>Device.WiFi.AccessPoint.1.WPS.PIN</Name><Value><![CDATA[hunter2]]></Value>",
        "<n:Name>Device.Users.User.1.Password</n:Name><n:Value xsi:type='string'>hunter2</n:Value>",
        "<Password><![CDATA[hunter<2]]></Password>",
        "<cwmp:X_VENDOR_Login><AdminPassword>hunter2</AdminPassword></cwmp:X_VENDOR_Login>",
        "<VoucherList soap:arrayType='xsd:base64[2]'><base64>hunter2</base64> <base64>hunter2</base64></VoucherList>",
        "<URL>https://user:hunter2@files.example/fw.bin</URL>",
        "<URL>https://files.example/fw.bin?sid=1&amp;access_token=hunter2&amp;x=2</URL>",
        "<Name>Device.ManagementServer.URL</Name><Value>https://u:hunter2@acs.example/</Value>",
        "<TransferURL>ftp://u:hunter2@h/x?sig=hunter2</TransferURL>",
    ],
)
def test_no_field_that_can_carry_a_secret_is_shown(element: str) -> None:
    """Hidden parameters of the standard and of vendors, passwords, vouchers, and what is inside of URLs."""
    text = shown(f"<a>{element}</a>".encode(), 10_000)
    assert "hunter" not in text
    assert MASK in text
    assert text.startswith(f"<a>{element[:9]}") and text.endswith("</a>")


@pytest.mark.parametrize(
    "element",
    [
        "<Name>Device.ManagementServer.ParameterKey</Name><Value>k</Value>",
        "<CommandKey>k</CommandKey><ParameterKey>k</ParameterKey>",
        "<URL>http://10.0.0.1:8080/a@b/c?file=x</URL>",
        "<Name>Device.ManagementServer.ConnectionRequestURL</Name><Value>http://192.0.2.1:7547/a1b2</Value>",
        "<Password></Password><Password/>",
    ],
)
def test_what_is_no_secret_stays(element: str) -> None:
    """Keys that only identify, and URLs without anything in them, are what a person looks for."""
    assert shown(f"<a>{element}</a>".encode(), 10_000) == f"<a>{element}</a>"


def test_the_secrets_of_a_task_are_masked_in_its_arguments_and_its_result() -> None:
    """Whatever the method: what a reader's token shows must not open a device."""
    secret = {"name": "Device.WiFi.AccessPoint.1.Security.KeyPassphrase", "value": "hunter2", "type": "string"}
    args = {
        "parameter_list": [secret, {"name": "Device.WiFi.SSID.1.SSID", "value": "home"}],
        "voucher_list": ["hunter2"],
        "password": "hunter2",
        "username": "u",
        "url": "https://u:hunter2@h/?token=hunter2",
        "operations": [{"type": "Install", "url": "ftp://u:hunter2@h/x", "password": "hunter2"}],
        "xml": "<Password>hunter2</Password>",
        "command_key": "k",
    }
    task = TaskRecord(id="t", device="d", rpc="X", args=args, result={"parameter_list": [secret], "parameter_key": "k"})
    found = masked_task(task)
    assert "hunter2" not in str(found)
    assert found.args["command_key"] == "k" and found.args["parameter_list"][1]["value"] == "home"
    assert found.result is not None and found.result["parameter_key"] == "k"
    clean = TaskRecord(id="t", device="d", rpc="Reboot", args={"command_key": "k"})
    assert masked_task(clean) is clean


@pytest.mark.parametrize("codec", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
def test_secrets_are_masked_whatever_a_body_is_encoded_in(codec: str) -> None:
    """UTF-16 is read, so it is shown too; a piece of it that was cut in a character is no harm."""
    text = "<a><Name>Device.X.Password</Name><Value>hidden-away</Value><Name>Device.Y</Name><Value>v</Value></a>"
    seen = shown(text.encode(codec)[:-1], 1_000)
    assert "hidden" not in seen.replace("\0", "")
    assert f"<Value>{MASK}</Value>" in seen
    assert "<Name>Device.Y</Name><Value>v</Value>" in seen
