"""The web page's password: hashed, kept for its owner's eyes, never lost silently."""

import pytest

from homeport.cli.main import run
from homeport.cpe.web import password as passwords
from homeport.cpe.web.password import FILE, check, fits, forget, hash_of, keep, kept, problem
from homeport.errors import ConfigError

_REAL = passwords._N


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch):
    """What a hash costs is not what is tested here."""
    monkeypatch.setattr(passwords, "_N", 1 << 4)


def test_a_hash_costs_a_thief_as_much_as_is_recommended():
    """16 MB of memory five times over."""
    assert (_REAL, passwords._R, passwords._P) == (1 << 14, 8, 5)


def test_a_password_fits_its_hash_and_no_other():
    """Salted: the same password twice gives two hashes."""
    text = hash_of("correct horse")
    assert text.startswith("scrypt$") and "correct" not in text
    assert fits("correct horse", text) and not fits("wrong horse", text) and not fits("", text)
    assert hash_of("correct horse") != text


def test_the_file_is_for_its_owner_and_beats_the_setting(tmp_path):
    """A person who sets a password on the device means that one."""
    assert kept(tmp_path) == ""
    setting, own = hash_of("from settings"), hash_of("from command")
    assert kept(tmp_path, setting) == setting
    keep(tmp_path, own)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert kept(tmp_path, setting) == own
    forget(tmp_path)
    forget(tmp_path)
    assert kept(tmp_path) == ""


@pytest.mark.parametrize(
    "text",
    ["secret", "scrypt$1$1$1$a", "scrypt$99999999$8$1$AAAA$AAAA", "scrypt$16384$8$5$*$*", "bcrypt$16384$8$5$AA==$AA=="],
)
def test_what_is_no_hash_is_refused(tmp_path, text):
    """A page must not open because its password became unreadable."""
    with pytest.raises(ConfigError, match="web-password --print"):
        check(text)
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ConfigError):
        kept(tmp_path)


def test_short_and_endless_passwords_are_refused():
    """With the number that is missing."""
    assert "8" in problem("short") and "1024" in problem("x" * 1025) and problem("x" * 8) == ""


def test_the_command_sets_prints_and_removes(tmp_path, monkeypatch, capsys):
    """`homeport cpe web-password`, fed by a script."""
    import io

    def tell(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    here = ["--state-dir", str(tmp_path)]
    tell("a good password\n")
    assert run(["cpe", "web-password", "--stdin", *here]) == 0
    assert fits("a good password", kept(tmp_path))
    tell("tiny\n")
    assert run(["cpe", "web-password", "--stdin", *here]) == 2
    tell("another password\n")
    capsys.readouterr()
    assert run(["cpe", "web-password", "--stdin", "--print", *here]) == 0
    assert fits("another password", capsys.readouterr().out)
    assert fits("a good password", kept(tmp_path))
    assert run(["cpe", "web-password", "--remove", *here]) == 0
    assert kept(tmp_path) == ""


def test_a_setting_that_is_no_hash_is_refused_at_the_start():
    """Not at the first login."""
    from homeport.cpe.config import CpeSettings

    with pytest.raises(ConfigError, match="web-password --print"):
        CpeSettings(web_password_hash="secret")
    assert CpeSettings(web_password_hash=hash_of("a good password")).web_password_hash
