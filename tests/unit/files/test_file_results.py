"""How failures of transfers become fault codes, and what a file URL may hold."""

import pytest

from homeport.transport.files import FAULTS, Trouble, fault_code, parse_file_url, shown_url

IN_TRANSFER_COMPLETE = {9001, 9002, 9010, 9011, 9012, 9014, 9015, 9016, 9017, 9018, 9019, 9020}


@pytest.mark.case("T04")
@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (Trouble.UNREACHABLE, 9015),
        (Trouble.NOT_ACCESSIBLE, 9016),
        (Trouble.CREDENTIALS, 9012),
        (Trouble.INCOMPLETE, 9017),
        (Trouble.CORRUPT, 9018),
        (Trouble.UNTRUSTED, 9019),
        (Trouble.SERVER, 9010),
    ],
)
def test_each_trouble_of_a_download_has_its_own_code(trouble: Trouble, code: int) -> None:
    """cwmp-transfers.md section 3, fault map."""
    assert fault_code(trouble) == code


def test_an_upload_fails_with_9011_except_for_credentials_and_an_unreachable_server() -> None:
    """cwmp-transfers.md section 3: anything on upload is 9011, authentication 9012, connect 9015."""
    codes = {t: int(fault_code(t, upload=True)) for t in Trouble if t is not Trouble.LOCAL}
    assert codes.pop(Trouble.CREDENTIALS) == 9012
    assert codes.pop(Trouble.UNREACHABLE) == 9015
    assert set(codes.values()) == {9011}


@pytest.mark.parametrize("upload", [False, True])
@pytest.mark.parametrize("trouble", Trouble)
def test_every_trouble_has_a_code_that_transfer_complete_may_carry(trouble: Trouble, upload: bool) -> None:
    """TransferCompleteCPEFaultCodeType of cwmp-1-2.xsd."""
    assert trouble in FAULTS
    assert int(fault_code(trouble, upload=upload)) in IN_TRANSFER_COMPLETE


def test_a_file_url_is_read_into_its_parts() -> None:
    """Scheme and host in lower case, path decoded, port 0 where the URL names none."""
    place = parse_file_url("FTP://Files.Example:2121/a%20b/c.bin")
    assert (place.scheme, place.host, place.port, place.path) == ("ftp", "files.example", 2121, "/a b/c.bin")
    assert parse_file_url("tftp://[::1]/x").host == "::1"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "firmware.bin",
        "http:///x",
        "http://h:99999/x",
        "http://user:secret@h/x",
        "http://h/a b",
        "ftp://h/a%0d%0aDELE%20x",
        "http://[::1/x",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_a_sentence(url: str) -> None:
    """User information belongs into Username and Password; a coded line end would be a command of its own in FTP."""
    with pytest.raises(ValueError, match=r"URL"):
        parse_file_url(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://files/a/b.bin?sig=s3cret&x=1#y", "https://files/a/b.bin"),
        ("ftp://joe:s3cret@files/a", "ftp://files/a"),
        ("tftp://192.0.2.1/a@b", "tftp://192.0.2.1/a@b"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_url_is_shown_without_what_opens_it(url: str, shown: str) -> None:
    """A signed URL is a key: it goes into no log and no status."""
    assert shown_url(url) == shown


def test_the_refusal_of_a_url_does_not_repeat_its_key() -> None:
    """The sentence goes into logs."""
    with pytest.raises(ValueError) as refused:
        parse_file_url("http:///a?sig=s3cret")
    assert "s3cret" not in str(refused.value)
