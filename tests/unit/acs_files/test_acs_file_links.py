"""The signed URLs of transfers."""

from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.acs.services.file_links import Direction, FileLinks, Flaw, Grant, name_problem

LINKS = FileLinks(b"s" * 32)
PATH = LINKS.path(Direction.DOWN, "fw+1.bin", task="01ab", expires=1000, sha256="ab" * 32)


def test_what_was_signed_is_allowed_until_it_expires() -> None:
    """Direction, name, task and content come back; at the second of expiry it is over."""
    assert LINKS.read(PATH, 999.9) == Grant(Direction.DOWN, "fw+1.bin", "01ab", "ab" * 6)
    assert LINKS.read(PATH.replace("+", "%2B"), 0) == LINKS.read(PATH, 0)
    assert LINKS.read(PATH, 1000) is Flaw.EXPIRED


def test_another_secret_is_another_signature() -> None:
    """What one ACS signs, another does not honour."""
    assert FileLinks(b"t" * 32).read(PATH, 0) is Flaw.FORGED


def test_an_address_needs_no_escape_in_xml_and_stays_short() -> None:
    """Longest name, a host of 60 characters: under the standard's 256."""
    path = LINKS.path(Direction.UP, "x" * 100, task="f" * 20, expires=2**33)
    assert not set(path) & set("&<>\"'%?# ")
    assert len(path) + 60 < 256


@settings(max_examples=300)
@given(st.integers(0, len(PATH) - 1), st.characters(min_codepoint=33, max_codepoint=126))
def test_no_changed_character_is_let_through(at: int, letter: str) -> None:
    """Whatever is changed in a good address, it grants nothing else."""
    changed = PATH[:at] + letter + PATH[at + 1 :]
    assert changed == PATH or isinstance(LINKS.read(changed, 0), Flaw)


@given(st.text(max_size=120))
def test_a_name_that_is_taken_is_one_plain_segment(name: str) -> None:
    """No separator, no dots that climb, nothing hidden."""
    if not name_problem(name):
        assert "/" not in name
        assert ".." not in name
        assert not name.startswith((".", "-"))
        assert name.isascii()
