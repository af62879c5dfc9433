"""The settings of the ACS: what does not go together is refused with the cure."""

import errno
import math
import resource
import socket
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from homeport.acs.config import AcsSettings, host_port
from homeport.acs.ports import SPARE_FILES, allow_connections, why_not
from homeport.errors import ConfigError
from homeport.settings import describe, load


def test_the_defaults_go_together() -> None:
    """An ACS starts without any setting."""
    AcsSettings().check()


@pytest.mark.parametrize(
    "given",
    [
        {"workers": 4},
        {"tls_certificate": Path("x")},
        {"cpe_username": "x"},
        {"http_listen": "0.0.0.0:8080"},
        {"connection_request_users": ("no-colon",)},
        {"cwmp_listen": "7547x"},
        {"file_listen": "1.2.3.4:70000"},
        {"proxy_protocol": ("cwmp_listen",)},
        {"read_timeout": -1.0},
        {"session_timeout": float("nan")},
        {"keep_alive": float("inf")},
        {"login_hours": 1e9},
        {"file_url_lifetime": 1e12},
        {"keep_sessions_days": 36_501.0},
        {"body_limit": 0},
        {"keep_tasks_days": -1.0},
        {"public_host": "http://files.example.net/"},
        {"public_host": "user@files.example.net"},
        {"public_host": "files.example.net:99999"},
        {"public_host": "[::1]:0"},
        {"proxy_protocol": ("cwmp",), "trusted_proxies": ("192.0.2.1",)},
        {"proxy_protocol": ("cwmp_tls_listen",), "trusted_proxies": ("192.0.2.1",)},
    ],
)
def test_settings_that_do_not_go_together_are_refused(given: dict[str, Any]) -> None:
    """The message names the setting."""
    with pytest.raises(ConfigError, match=next(iter(given)).replace("tls_certificate", "tls_")):
        AcsSettings(**given).check()


@pytest.mark.parametrize(
    ("text", "found"), [("[::1]:80", ("::1", 80)), (":7547", ("0.0.0.0", 7547)), ("acs.example:0", ("acs.example", 0))]
)
def test_addresses_are_read_in_their_usual_forms(text: str, found: tuple[str, int]) -> None:
    """HOST:PORT, with IPv6 in brackets, or only :PORT."""
    assert host_port(text, "x") == found


@pytest.mark.parametrize("text", ["::1:7547", "2001:db8::1", "[::1", "[::1:7547"])
def test_an_ipv6_address_without_brackets_is_refused(text: str) -> None:
    """Nobody can tell where the address ends and the port begins."""
    with pytest.raises(ConfigError, match="brackets"):
        host_port(text, "x")


def test_every_setting_says_what_it_is_and_comes_from_the_environment() -> None:
    """One dataclass makes flag, variable, key and docs row."""
    rows = describe(AcsSettings)
    assert all(row.help.endswith(".") for row in rows)
    made = load(AcsSettings, program="acs", flags={}, environment={"HOMEPORT_ACS_BODY_LIMIT": "5"})
    assert made.body_limit == 5


@pytest.mark.parametrize(
    "host",
    [
        "files.example.net",
        "files.example.net:7567",
        "192.0.2.1",
        "192.0.2.1:80",
        "[2001:db8::1]:80",
        "2001:db8::1",
        "::1",
    ],
)
def test_the_public_host_may_have_a_port(host: str) -> None:
    """Names and addresses, with or without."""
    AcsSettings(public_host=host, file_rate=0, keep_audit_days=0.0, write_behind=0.0).check()


def test_days_without_end_are_refused_with_what_to_write() -> None:
    """`inf` is more than 0, so that alone would be no answer."""
    with pytest.raises(ConfigError, match=r"keep_tasks_days is inf.*36500"):
        AcsSettings(keep_tasks_days=math.inf).check()


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (OSError(errno.EADDRINUSE, "Address already in use"), "stop what uses it"),
        (OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address"), "no such address"),
        (OSError(errno.EACCES, "Permission denied"), "CAP_NET_BIND_SERVICE"),
        (socket.gaierror(-2, "Name or service not known"), "write an address"),
        (OSError(errno.EADDRINUSE, None), "Address already in use; choose another port"),
    ],
)
def test_a_port_that_cannot_be_had_is_told_with_its_own_cure(error: OSError, cure: str) -> None:
    """Another port does not help where the address is not this machine's."""
    assert cure in why_not(error)


def test_as_many_files_may_be_open_as_connections_are_promised() -> None:
    """Under a shell's limit of 1,024 a thousand idle devices would keep everybody out; what the system refuses is in the log."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        with capture_logs() as logs:
            allow_connections(AcsSettings(max_connections=1_000))
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1_000 + AcsSettings().file_max_transfers + SPARE_FILES
        assert not logs
        if before[1] != resource.RLIM_INFINITY:
            with capture_logs() as logs:
                allow_connections(AcsSettings(max_connections=before[1] + 1))
            assert "max_connections" in logs[0]["advice"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
