"""TFTP's packets, both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.transport.files.tftp_packets import Ack, Ask, Data, OptionAck, Packet, Refusal, decode, encode

WORD = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=12)
OPTIONS = st.dictionaries(WORD.map(str.lower).filter(lambda s: s == s.lower()), WORD, max_size=4)
BLOCK = st.integers(0, 65535)


@pytest.mark.parametrize(
    ("packet", "data"),
    [
        (Ask(False, "a.bin"), b"\0\1a.bin\0octet\0"),
        (Ask(True, "a", options={"blksize": "1428"}), b"\0\2a\0octet\0blksize\x001428\0"),
        (Data(1, b"xyz"), b"\0\3\0\1xyz"),
        (Data(65535, b""), b"\0\3\xff\xff"),
        (Ack(258), b"\0\4\1\2"),
        (Refusal(1, "no such file"), b"\0\5\0\1no such file\0"),
        (OptionAck({"tsize": "77"}), b"\0\6tsize\x0077\0"),
    ],
)
def test_packets_have_the_bytes_of_the_rfc(packet: Packet, data: bytes) -> None:
    """RFC 1350 section 5, RFC 2347."""
    assert encode(packet) == data
    assert decode(data) == packet


@given(
    st.one_of(
        st.builds(Ask, st.booleans(), WORD, st.just("octet"), OPTIONS),
        st.builds(Data, BLOCK, st.binary(max_size=40)),
        st.builds(Ack, BLOCK),
        st.builds(OptionAck, OPTIONS.filter(bool)),
    )
)
def test_what_is_written_is_read_back(packet: Packet) -> None:
    """decode(encode(p)) is p for every packet that we send."""
    assert decode(encode(packet)) == packet


@given(st.binary(max_size=60))
def test_any_datagram_is_read_or_refused(data: bytes) -> None:
    """A stranger's datagram raises ValueError at worst."""
    try:
        decode(data)
    except ValueError:
        pass


def test_option_names_are_read_in_any_case() -> None:
    """RFC 2347: option names are case-insensitive."""
    assert decode(b"\0\6BlkSize\x00512\0") == OptionAck({"blksize": "512"})
