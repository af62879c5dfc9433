"""XMPP connection requests without a connection: settings, waits, who may ask, what is answered."""

import builtins
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.errors import ConfigError
from homeport.transport.xmpp import XmppListener
from homeport.transport.xmpp_rules import (
    XmppAnswer,
    XmppServer,
    XmppSettings,
    is_allowed,
    judge,
    retry_wait,
)

ACS = "acs@example.org/one"


def settings(**other: object) -> XmppSettings:
    """A connection row that makes sense."""
    return XmppSettings(**({"username": "cpe", "domain": "example.org", "password": "p"} | other))  # type: ignore[arg-type]


def answer(
    sender: str = ACS,
    username: str | None = "user",
    password: str | None = "secret",
    *,
    allowed: tuple[str, ...] = (),
    credentials: tuple[str, str] = ("user", "secret"),
    free: bool = True,
) -> XmppAnswer:
    """What a device says."""
    return judge(sender, username, password, allowed=allowed, credentials=credentials, accept=lambda: free)


@pytest.mark.case("C18")
@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, XmppAnswer.RESULT),
        ({"allowed": ("acs@example.org",)}, XmppAnswer.RESULT),
        ({"allowed": ("acs@example.net",)}, XmppAnswer.SERVICE_UNAVAILABLE),
        ({"password": "guess"}, XmppAnswer.NOT_AUTHORIZED),
        ({"username": "other"}, XmppAnswer.NOT_AUTHORIZED),
        ({"username": None}, XmppAnswer.BAD_REQUEST),
        ({"password": None}, XmppAnswer.BAD_REQUEST),
        ({"free": False}, XmppAnswer.SERVICE_UNAVAILABLE),
        ({"credentials": ("user", ""), "password": ""}, XmppAnswer.NOT_AUTHORIZED),
        ({"credentials": ("ünser", "gehëim"), "username": "ünser", "password": "gehëim"}, XmppAnswer.RESULT),
    ],
)
def test_connection_request_is_answered_by_the_rules(request_: dict[str, object], expected: XmppAnswer) -> None:
    """Annex K: an empty result; not-authorized for bad credentials; service-unavailable when busy; foreign JIDs are refused."""
    assert answer(**request_) is expected  # type: ignore[arg-type]


def test_only_a_genuine_request_asks_whether_the_device_is_free() -> None:
    """A stranger must not use up the throttle."""
    asked: list[str] = []

    def accept() -> bool:
        asked.append("accept")
        return True

    facts = {"allowed": ("acs@example.org",), "credentials": ("user", "secret"), "accept": accept}
    judge("eve@example.org/x", "user", "secret", **facts)  # type: ignore[arg-type]
    judge(ACS, "user", "guess", **facts)  # type: ignore[arg-type]
    assert asked == []
    judge(ACS, "user", "secret", **facts)  # type: ignore[arg-type]
    assert asked == ["accept"]


@pytest.mark.parametrize(
    ("entry", "sender", "covered"),
    [
        ("acs@example.org", "acs@example.org/any", True),
        ("acs@example.org", "acs@example.org", True),
        ("ACS@Example.org", "acs@example.org/any", True),
        (" acs@example.org/one ", ACS, True),
        ("acs@example.org/One", ACS, False),
        ("acs@example.org/two", ACS, False),
        ("acs@example.org/one", "acs@example.org", False),
        ("example.org", ACS, False),
        ("acs@example.or", ACS, False),
    ],
)
def test_full_jid_is_exact_and_bare_jid_covers_its_resources(entry: str, sender: str, covered: bool) -> None:
    """TR-181 ConnReqAllowedJabberIDs."""
    assert is_allowed(sender, [entry]) is covered
    assert is_allowed(sender, ["someone@else", entry]) is covered


def test_empty_list_allows_everyone() -> None:
    """TR-181: no entry means no restriction; empty texts are no entries."""
    assert is_allowed(ACS, [])
    assert is_allowed(ACS, ["", " "])


def test_each_answer_has_code_and_type() -> None:
    """What old and new stacks look at."""
    assert (XmppAnswer.NOT_AUTHORIZED.code, XmppAnswer.NOT_AUTHORIZED.error_type) == ("401", "auth")
    assert (XmppAnswer.SERVICE_UNAVAILABLE.code, XmppAnswer.SERVICE_UNAVAILABLE.error_type) == ("503", "cancel")
    assert (XmppAnswer.BAD_REQUEST.code, XmppAnswer.BAD_REQUEST.error_type) == ("400", "modify")


def test_waits_double_up_to_the_maximum() -> None:
    """TR-181: before each attempt somewhere in 0 .. initial * (multiplier/1000)^(n-1), capped."""
    upper = [retry_wait(n, random=lambda: 1.0) for n in range(1, 12)]
    assert upper[:4] == [60, 120, 240, 480]
    assert upper[9:] == [30720, 30720]
    assert retry_wait(3, random=lambda: 0.0) == 0
    assert retry_wait(5, initial=10, multiplier=1000, maximum=99, random=lambda: 1.0) == 10
    assert retry_wait(1, initial=100, maximum=40, random=lambda: 1.0) == 40


@given(
    st.integers(1, 10**9),
    st.integers(1, 65535),
    st.integers(1000, 65535),
    st.integers(1, 2**32 - 1),
    st.floats(0, 0.999),
)
def test_no_wait_exceeds_the_maximum(attempt: int, initial: int, multiplier: int, maximum: int, draw: float) -> None:
    """Whatever the count of failures, the arithmetic ends and stays in its range."""
    wait = retry_wait(attempt, initial=initial, multiplier=multiplier, maximum=maximum, random=lambda: draw)
    assert 0 <= wait <= maximum


def test_attempts_count_from_one() -> None:
    """There is no wait before the first attempt."""
    with pytest.raises(ValueError, match="counts from 1"):
        retry_wait(0, random=lambda: 0.5)


def test_servers_are_tried_by_priority_then_weight() -> None:
    """TR-181 Server.{i}: the smaller priority first, the larger weight first among equals."""
    rows = (
        XmppServer("c", 3, priority=2),
        XmppServer("b", 2, priority=1, weight=5),
        XmppServer("a", 1, priority=1, weight=9),
    )
    assert settings(server_connect_algorithm="ServerTable", servers=rows).targets() == (("a", 1), ("b", 2), ("c", 3))
    assert settings(server_connect_algorithm="DNS").targets() == (("example.org", 5222),)
    assert settings().targets() == (None,)


def test_jid_has_the_resource_where_there_is_one() -> None:
    """JabberID as asked for."""
    assert settings().jid == "cpe@example.org"
    assert settings(resource="cwmp").jid == "cpe@example.org/cwmp"


@pytest.mark.parametrize(
    "wrong",
    [
        {"username": ""},
        {"domain": ""},
        {"server_connect_algorithm": "WebSocket"},
        {"server_connect_algorithm": "ServerTable"},
    ],
)
def test_settings_that_lead_nowhere_are_refused(wrong: dict[str, str]) -> None:
    """The message names the parameter."""
    with pytest.raises(ConfigError, match=r"Username|Domain|ServerConnectAlgorithm"):
        settings(**wrong)


def test_missing_slixmpp_is_a_setting_with_a_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent installs light; who wants XMPP is told what to install."""
    real = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name == "slixmpp":
            raise ImportError(name)
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.delitem(sys.modules, "slixmpp", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install homeport\[xmpp\]"):
        XmppListener(settings(), allowed=list, credentials=lambda: ("u", "p"), accept=lambda: True)
