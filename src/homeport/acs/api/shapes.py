"""How records look in JSON: what the answers are made of, and from what the description of the API is made.

Times are ISO 8601 in UTC with microseconds, so that they sort as text.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct

from homeport.acs.engine.settle import RESTARTS
from homeport.acs.records import (
    Behaviour,
    ConnectionRequestDetail,
    DeviceRecord,
    DeviceState,
    EventRecord,
    FaultDetail,
    FaultRecord,
    FileRecord,
    MessageTrace,
    ParameterFaultDetail,
    SessionRecord,
    StoredValue,
    TaskPhase,
    TaskRecord,
    TaskStatus,
    is_online,
)
from homeport.acs.services.masking import masked_task, plain_url
from homeport.acs.storage.interface import SessionChange

T = TypeVar("T")

ONE_LINE: Final = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""What people write for people: no control characters, which a terminal would obey."""

Moment = Annotated[
    str,
    Meta(
        description="ISO 8601, UTC, with microseconds.",
        examples=["2026-11-21T06:00:00.000000Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
DeviceId = Annotated[str, Meta(examples=["00D0F1-XR500-S1"])]
Next = Annotated[str | None, Meta(description="`cursor` of the next page; null at the end.")]


@lru_cache(maxsize=512)
def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def at(seconds: float) -> Moment:
    """`2026-11-21T06:00:00.000000Z`."""
    return _written(seconds)


def moment(seconds: float | None) -> Moment | None:
    """The same, or None."""
    return None if seconds is None else _written(seconds)


class Page(Struct, Generic[T]):
    """Some rows."""

    items: list[T]
    next: Next


# --- devices ---


class Habits(Struct):
    """How the ACS speaks with the device; null leaves a switch to the ACS, which learns it."""

    prolog: bool | None
    max_names: int | None
    level_by_level: bool | None
    partial_paths: bool | None
    id_prefix: str | None


class Device(Struct):
    """A device; its secrets are left out."""

    id: DeviceId
    oui: str
    product_class: str
    serial_number: str
    manufacturer: str
    model: str
    hardware_version: str
    software_version: str
    provisioning_code: str
    state: DeviceState
    online: Annotated[bool, Meta(description="Heard of within twice its inform interval and a minute.")]
    tags: tuple[str, ...]
    address: str
    first_seen: Moment
    last_inform: Moment
    last_boot: Moment | None
    last_bootstrap: Moment | None
    inform_interval: Annotated[int | None, Meta(description="Seconds; null where it is not known.")]
    root: Annotated[str, Meta(description="`Device.` or `InternetGatewayDevice.`; empty while that is not known.")]
    cwmp_namespace: str
    connection_request_url: str
    connection_request_username: str
    udp_connection_request_address: str | None
    jabber_id: str | None
    connection_request_way: Annotated[str | None, Meta(description="In which way it was called last with success.")]
    wanted: Annotated[list[str], Meta(description="What the ACS itself has still to do: discover, login, credentials.")]
    quirks: Annotated[tuple[str, ...], Meta(description="Habits of its messages that were seen.")]
    behaviour: Habits


class Parameter(Struct):
    """One parameter or object of a device. value: null for objects, and for names whose value was never read."""

    path: Annotated[str, Meta(examples=["Device.DeviceInfo.SoftwareVersion"])]
    value: str | None
    type: str
    writable: bool | None
    updated: Moment | None


class DevicePage(Page[Device]):
    """Devices in the order of their ids."""


class ParameterPage(Page[Parameter]):
    """Parameters in the order of their paths."""


def device(d: DeviceRecord, now: float) -> Device:
    """A device; its secrets are left out."""
    return Device(
        d.id,
        d.oui,
        d.product_class,
        d.serial_number,
        d.manufacturer,
        d.model,
        d.hardware_version,
        d.software_version,
        d.provisioning_code,
        d.state,
        is_online(d, now),
        d.tags,
        d.address,
        at(d.first_seen),
        at(d.last_inform),
        moment(d.last_boot),
        moment(d.last_bootstrap),
        d.inform_interval or None,
        d.root,
        d.urn,
        d.connection_request_url,
        d.connection_request_username,
        d.udp_address or None,
        d.jabber_id or None,
        d.call_way or None,
        [w.value for w in d.wants],
        d.quirks,
        habits(d.behaviour),
    )


def habits(b: Behaviour) -> Habits:
    """How a device is spoken to."""
    return Habits(b.prolog, b.max_names, b.level_by_level, b.partial_paths, b.id_prefix)


def parameter(path: str, v: StoredValue) -> Parameter:
    """One parameter or object of a device."""
    value = plain_url(v.value) if v.value else v.value
    return Parameter(path, value, v.type, v.writable, at(v.updated) if v.updated else None)


# --- tasks ---


class ConnectionRequest(Struct):
    """How the last connection request for a task went. status: of HTTP or its like, null where none was received."""

    ok: bool
    way: str
    status: int | None
    reason: str
    at: Moment


class Served(Struct):
    """How far this ACS's file server has sent a file; bytes. What a device had before it was cut off counts as sent."""

    sent: int
    size: int


class Task(Struct):
    """A task; its secrets are left out."""

    id: str
    device: DeviceId
    rpc: Annotated[str, Meta(examples=["GetParameterValues"])]
    args: Annotated[dict[str, Any], Meta(examples=[{"parameter_names": ["Device.DeviceInfo."]}])]
    status: TaskStatus
    phase: Annotated[
        str | None,
        Meta(
            description="sent, or what is still to come after the device has accepted: transfer, restart; overdue where that"
            " did not come in time."
        ),
    ]
    priority: int
    after: Annotated[str | None, Meta(description="The task that must be done before.")]
    attempts: int
    created: Moment
    started: Moment | None
    finished: Moment | None
    expires: Moment | None
    result: Annotated[
        dict[str, Any] | None,
        Meta(
            description="The arguments of the method's response, under the standard's names in snake_case.",
            examples=[{"parameter_list": [{"name": "Device.DeviceInfo.UpTime", "value": "77", "type": "unsignedInt"}]}],
        ),
    ]
    fault: FaultDetail | None
    connection_request: ConnectionRequest | None
    served: Annotated[
        Served | None,
        Meta(
            description="Of a transfer under way: how much of the stored file was sent. Only where one task is asked for, and the process"
            " that answers serves the file."
        ),
    ] = None


class TaskPage(Page[Task]):
    """Tasks, youngest first. A page may be shorter than `limit`: `next` alone says whether there is more."""


def _phase(t: TaskRecord) -> str | None:
    return "restart" if t.phase is TaskPhase.TRANSFER and t.rpc in RESTARTS else t.phase.value or None


def _called(c: ConnectionRequestDetail | None) -> ConnectionRequest | None:
    return None if c is None else ConnectionRequest(c.ok, c.way, c.status or None, c.reason, at(c.at))


def task(t: TaskRecord) -> Task:
    """A task; its secrets are left out."""
    t = masked_task(t)
    return Task(
        t.id,
        t.device,
        t.rpc,
        t.args,
        t.status,
        _phase(t),
        t.priority,
        t.after,
        t.attempts,
        at(t.created),
        moment(t.started),
        moment(t.finished),
        moment(t.expires),
        t.result,
        t.fault,
        _called(t.connection_request),
        Served(*t.progress["served"]) if "served" in t.progress else None,
    )


class FleetTaskLine(Struct, omit_defaults=True):
    """A line of the answer to `POST tasks`: a device with its task, or why it got none."""

    device: DeviceId
    task: str = ""
    error: str = ""


class FleetCancelLine(Struct, omit_defaults=True):
    """A line of the answer to `POST tasks/cancel`: a task, and why it could not be cancelled."""

    device: DeviceId
    task: str
    error: str = ""


class FleetTaskSums(Struct, omit_defaults=True):
    """The last line of the answer to `POST tasks`."""

    created: int
    refused: int
    complete: bool
    error: str = ""


class FleetCancelSums(Struct, omit_defaults=True):
    """The last line of the answer to `POST tasks/cancel`."""

    cancelled: int
    refused: int
    complete: bool
    error: str = ""


# --- histories ---


class Session(Struct):
    """A session without its messages. outcome: success, failed, aborted, replaced, or lost with its process."""

    id: str
    device: DeviceId
    started: Moment
    ended: Moment
    outcome: str
    reason: str | None
    address: str
    events: tuple[str, ...]
    message_count: int


class SessionMessage(Struct):
    """One HTTP body of a session. direction: `cpe` or `acs`, who sent it. size: bytes. body: its text, secrets masked, cut."""

    at: Moment
    direction: str
    element: str
    size: int
    body: str


class SessionWithMessages(Session):
    """A session with its messages, oldest first."""

    messages: list[SessionMessage]


class Event(Struct):
    """What a device told. code: an event code, or the name of the device's own RPC."""

    id: str
    device: DeviceId
    session: str
    at: Moment
    code: Annotated[str, Meta(examples=["0 BOOTSTRAP"])]
    command_key: str
    detail: dict[str, Any]


class Fault(Struct):
    """A fault that a device answered."""

    id: str
    device: DeviceId
    session: str
    task: str | None
    at: Moment
    rpc: str
    code: Annotated[int, Meta(examples=[9005])]
    string: str
    parameters: tuple[ParameterFaultDetail, ...]


class SessionPage(Page[Session]):
    """Sessions, youngest first."""


class EventPage(Page[Event]):
    """Events, youngest first."""


class FaultPage(Page[Fault]):
    """Faults, youngest first."""


def session(s: SessionRecord) -> Session:
    """A session without its messages."""
    return Session(**_session(s))


def _session(s: SessionRecord) -> dict[str, Any]:
    told = msgspec.structs.asdict(s)
    return told | {"started": at(s.started), "ended": at(s.ended), "reason": s.reason or None}


def _message(m: MessageTrace) -> SessionMessage:
    return SessionMessage(at(m.at), m.direction, m.element, m.size, m.body)


def session_with_messages(s: SessionChange) -> SessionWithMessages:
    """A session with its messages, oldest first."""
    return SessionWithMessages(**_session(s.record), messages=[_message(m) for m in s.messages])


def event(e: EventRecord) -> Event:
    """An event that a device told."""
    return Event(e.id, e.device, e.session, at(e.at), e.code, e.command_key, e.detail)


def fault(f: FaultRecord) -> Fault:
    """A fault that a device answered."""
    return Fault(f.id, f.device, f.session, f.task or None, at(f.at), f.rpc, f.code, f.string, f.parameters)


# --- files ---


class File(Struct):
    """A stored file's description. device, task: where a device sent it; empty for a file that an operator added."""

    name: Annotated[str, Meta(examples=["fw-2.1.bin"])]
    size: Annotated[int, Meta(description="Bytes.")]
    sha256: str
    file_type: Annotated[str, Meta(examples=["1 Firmware Upgrade Image"])]
    version: str
    model: str
    created: Moment
    device: str
    task: str


class FilePage(Page[File]):
    """Stored files by name."""


def file(f: FileRecord) -> File:
    """A stored file's description."""
    told: dict[str, Any] = msgspec.structs.asdict(f) | {"created": at(f.created)}
    return File(**told)
