"""What the agent is doing, for people: one record, kept in memory and, after every change that matters, in state_dir/status.json."""

import os
from pathlib import Path
from typing import Final

import msgspec

from homeport.cpe.clock import date_time
from homeport.cpe.leases.lease import LeaseSeen
from homeport.cpe.transfers.rules import TransferStatus

FILE: Final = "status.json"


class SessionReport(msgspec.Struct, frozen=True, kw_only=True):
    """One session that ended. started, ended: dateTime. outcome: success, failed or aborted. reason: a sentence. kind: one word."""

    started: str
    ended: str
    acs_url: str
    events: tuple[str, ...]
    outcome: str
    reason: str
    kind: str = ""
    requests_answered: int = 0


class AgentStatus(msgspec.Struct, kw_only=True):
    """Everything that `homeport cpe show status` says.

    state: starting, waiting, in session, no ACS URL, disabled, restarting, stopped.
    connected: whether the last session succeeded; None before the first one ended. since: dateTime, since when it is so.
    reason: why not, or what comes next, a sentence. web_url: where the web page is, "" where it is not served.
    acs_url_from: stored, DHCP or factory; acs_url_source says it in words. leases: what DHCP clients and our own question brought.
    network: a change of this machine's network that is on trial or was undone, a sentence, "" where there is none.
    next_contact: dateTime, "" where none is planned. Times are UTC.
    """

    pid: int = 0
    started: str = ""
    state: str = "starting"
    connected: bool | None = None
    since: str = ""
    reason: str = "The agent is starting."
    device_id: str = ""
    profile: str = ""
    acs_url: str = ""
    acs_url_source: str = ""
    acs_url_from: str = ""
    leases: tuple[LeaseSeen, ...] = ()
    connection_request_url: str = ""
    last_session: SessionReport | None = None
    last_success: str = ""
    next_contact: str = ""
    next_contact_reason: str = ""
    retry_count: int = 0
    pending_events: tuple[str, ...] = ()
    sessions_succeeded: int = 0
    sessions_failed: int = 0
    connection_requests_accepted: int = 0
    connection_requests_refused: int = 0
    storage: str = "ok"
    network: str = ""
    web_url: str = ""
    transfers: tuple[TransferStatus, ...] = ()


def connection_is(status: AgentStatus, connected: bool, when: str) -> None:
    """Note whether the ACS is reached; `since` stays where nothing changed. when: dateTime."""
    if status.connected is not connected:
        status.connected, status.since = connected, when


def save(status: AgentStatus, directory: Path, before: bytes = b"") -> bytes:
    """What status.json holds now: written at one stroke, and only where it differs from before, what the last call gave.

    It informs people and is no fact that must survive: not synced, and a full disk is no error. Flash is spared.
    """
    content = msgspec.json.encode(status)
    if content == before:
        return content
    path = directory / FILE
    temporary = directory / (FILE + ".new")
    try:
        temporary.write_bytes(msgspec.json.format(content, indent=2) + b"\n")
        os.replace(temporary, path)
    except OSError:
        # The same status can be read through the control socket; there is nothing more to do about a full disk here.
        return b""
    return content


def load(directory: Path) -> AgentStatus | None:
    """The last status that an agent with this state directory wrote, None where there is none or it cannot be read."""
    try:
        return msgspec.json.decode((directory / FILE).read_bytes(), type=AgentStatus)
    except (OSError, msgspec.MsgspecError):
        return None


def moment(wall: float) -> str:
    """A wall clock's reading as the status shows it."""
    return date_time(wall)
