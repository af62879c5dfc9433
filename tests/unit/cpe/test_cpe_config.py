"""The agent's settings: checked when they are made, with an example that works."""

import pytest

from homeport.cpe.config import CpeSettings
from homeport.errors import ConfigError
from homeport.settings import describe, load


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"retry_minimum_wait": 0}, "1 to 65535"),
        ({"retry_multiplier": 999}, "1000 to 65535"),
        ({"periodic_inform_interval": 0}, "at least 1"),
        ({"session_timeout": 0.0}, "session_timeout"),
        ({"connection_request_port": 70000}, "0 to 65535"),
        ({"connection_request_limit": 0}, "at least 1"),
        ({"oui": "xyz"}, "hexadecimal"),
        ({"reboot": "command"}, "reboot_command"),
        ({"client_certificate": "a.pem"}, "together"),
        ({"firmware_updater": "program"}, "firmware_command"),
        ({"firmware_trial": 0.0}, "more than 0"),
        ({"transfer_rate": -1}, "negative"),
        ({"transfer_schemes": ("gopher",)}, "gopher: known are"),
        ({"transfer_schemes": ()}, "is empty"),
    ],
)
def test_wrong_settings_are_refused_with_an_example(wrong, words):
    """Every message says what fits."""
    with pytest.raises(ConfigError, match=words):
        CpeSettings(**wrong)


def test_every_setting_has_a_sentence():
    """The same text is the flag's help and the docs row."""
    rows = describe(CpeSettings)
    assert len(rows) > 20
    assert all(row.help and row.help[0].isupper() and not row.help.endswith(".") for row in rows)


def test_passwords_are_marked_as_secret():
    """They are never printed."""
    assert {row.name for row in describe(CpeSettings) if row.secret} == {
        "password",
        "connection_request_password",
        "proxy",
        "web_password_hash",
    }


def test_settings_come_from_flags_environment_and_file(tmp_path):
    """Flags beat the environment, which beats the file."""
    file = tmp_path / "cpe.toml"
    file.write_text('[cpe]\nprofile = "file"\nserial = "file"\noui = "00256D"\n')
    settings = load(
        CpeSettings,
        program="cpe",
        flags={"profile": "flag"},
        environment={"HOMEPORT_CPE_SERIAL": "env", "HOMEPORT_PROFILE": "env"},
        file=file,
    )
    assert (settings.profile, settings.serial, settings.oui) == ("flag", "env", "00256D")
