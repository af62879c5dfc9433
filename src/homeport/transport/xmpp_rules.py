"""What XMPP connection requests mean, without a connection: settings, waits between attempts, who may ask, what is answered.

Source: TR-069a6 Annex K; cwmp-xmppConnReq-1-0.xsd; TR-181 2.19 Device.XMPP.Connection.{i}.
"""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from homeport.errors import ConfigError

NAMESPACE: Final = "urn:broadband-forum-org:cwmp:xmppConnReq-1-0"
DEFAULT_PORT: Final = 5222


@dataclass(frozen=True, slots=True)
class XmppServer:
    """One enabled row of Device.XMPP.Connection.{i}.Server. priority: smaller first. weight: larger first, -1 for none given."""

    address: str
    port: int = DEFAULT_PORT
    priority: int = 0
    weight: int = -1


@dataclass(frozen=True, slots=True)
class XmppSettings:
    """One row of Device.XMPP.Connection, under its parameters' names, and how its server is verified.

    server_connect_algorithm: `DNS-SRV`, `DNS` (the domain's own address) or `ServerTable`. keep_alive_interval: seconds, -1 for our
    default, 0 for none. ca_file: certificates that the server's must lead to; None for the system's. Retry values: see `retry_wait`.
    Without use_tls the password never goes in clear: only SCRAM is used then.
    """

    username: str
    domain: str
    password: str
    resource: str = ""
    use_tls: bool = True
    server_connect_algorithm: str = "DNS-SRV"
    servers: tuple[XmppServer, ...] = ()
    keep_alive_interval: int = -1
    server_connect_attempts: int = 16
    server_retry_initial_interval: int = 60
    server_retry_interval_multiplier: int = 2000
    server_retry_max_interval: int = 30720
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError for values that lead nowhere."""
        if not self.username or not self.domain:
            raise ConfigError("an XMPP connection needs Username and Domain, for example cpe1 and xmpp.example.org")
        if self.server_connect_algorithm not in ("DNS-SRV", "DNS", "ServerTable"):
            raise ConfigError(
                f"ServerConnectAlgorithm {self.server_connect_algorithm!r} is not DNS-SRV, DNS or ServerTable"
            )
        if self.server_connect_algorithm == "ServerTable" and not self.servers:
            raise ConfigError("ServerConnectAlgorithm is ServerTable, but no enabled row of Server names an address")

    @property
    def jid(self) -> str:
        """The identity asked for; the server may bind another resource."""
        return f"{self.username}@{self.domain}" + (f"/{self.resource}" if self.resource else "")

    def targets(self) -> tuple[tuple[str, int] | None, ...]:
        """Hosts to try, in order; None stands for a lookup of the domain's SRV records."""
        if self.server_connect_algorithm == "ServerTable":
            rows = sorted(self.servers, key=lambda row: (row.priority, -row.weight))
            return tuple((row.address, row.port) for row in rows)
        if self.server_connect_algorithm == "DNS":
            return ((self.domain, DEFAULT_PORT),)
        return (None,)


def retry_wait(
    attempt: int, *, initial: int = 60, multiplier: int = 2000, maximum: int = 30720, random: Callable[[], float]
) -> float:
    """Seconds to wait before the next attempt, after `attempt` failures in a row (1 or more).

    Somewhere in 0 .. initial * (multiplier/1000) ** (attempt-1), which never exceeds maximum. random: a float in [0, 1).
    Source: TR-181 2.19 Device.XMPP.Connection.{i}.ServerRetry*.
    """
    if attempt < 1:
        raise ValueError(f"attempt counts from 1, not {attempt}")
    ceiling = float(min(initial, maximum))
    for _ in range(attempt - 1):
        if ceiling >= maximum or multiplier <= 1000:
            break
        ceiling = min(float(maximum), ceiling * multiplier / 1000)
    return ceiling * random()


class XmppStatus(StrEnum):
    """Device.XMPP.Connection.{i}.Status, as far as a connection can be in it."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"
    CONNECTING = "Connecting"
    SERVER_NOT_PRESENT = "ServerNotPresent"
    MISCONFIGURED = "Error_Misconfigured"
    AUTHENTICATION_FAILURE = "Error_AuthenticationFailure"
    ERROR = "Error"


class XmppAnswer(StrEnum):
    """The answer to a connection request; all but RESULT are conditions of an error stanza."""

    RESULT = "result"
    NOT_AUTHORIZED = "not-authorized"
    SERVICE_UNAVAILABLE = "service-unavailable"
    BAD_REQUEST = "bad-request"

    @property
    def code(self) -> str:
        """The number that old stacks look at (XEP-0086); 401 beside not-authorized is (unverified)."""
        return {"not-authorized": "401", "service-unavailable": "503", "bad-request": "400"}.get(self.value, "")

    @property
    def error_type(self) -> str:
        """What the asker may do: `auth` asks for other credentials, `modify` for another request, `cancel` for nothing."""
        return {"not-authorized": "auth", "bad-request": "modify"}.get(self.value, "cancel")


def same_jid(allowed: str, sender: str) -> bool:
    """Whether an entry of ConnReqAllowedJabberIDs covers a sender: a full JID itself only, a bare JID each of its resources."""
    name, slash, resource = allowed.strip().partition("/")
    sender_name, _, sender_resource = sender.partition("/")
    if not name or name.casefold() != sender_name.casefold():
        return False
    return not slash or resource == sender_resource


def is_allowed(sender: str, allowed: Sequence[str]) -> bool:
    """Whether this JID may ask at all; an empty list lets everyone ask (TR-181 2.19)."""
    entries = [entry for entry in allowed if entry.strip()]
    return not entries or any(same_jid(entry, sender) for entry in entries)


def judge(
    sender: str,
    username: str | None,
    password: str | None,
    *,
    allowed: Sequence[str],
    credentials: tuple[str, str],
    accept: Callable[[], bool],
) -> XmppAnswer:
    """The answer to a connection request.

    username, password: as in the request, None where it lacks them. credentials: ConnectionRequestUsername and -Password; an empty
    password lets nobody in. accept: asked last, only for a genuine request; True means that a session will follow, False that the
    device is busy. A foreign JID is told no more than that nothing is to be had here (unverified).
    """
    if not is_allowed(sender, allowed):
        return XmppAnswer.SERVICE_UNAVAILABLE
    if username is None or password is None:
        return XmppAnswer.BAD_REQUEST
    expected_username, expected_password = credentials
    genuine = hmac.compare_digest(username.encode(), expected_username.encode()) & hmac.compare_digest(
        password.encode(), expected_password.encode()
    )
    if not genuine or not expected_password:
        return XmppAnswer.NOT_AUTHORIZED
    return XmppAnswer.RESULT if accept() else XmppAnswer.SERVICE_UNAVAILABLE
