"""How records look in JSON. Times are ISO 8601 in UTC with microseconds, so that they sort as text."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from homeport.acs.engine.settle import RESTARTS
from homeport.acs.records import (
    DeviceRecord,
    EventRecord,
    FaultDetail,
    FaultRecord,
    FileRecord,
    SessionRecord,
    StoredValue,
    TaskPhase,
    TaskRecord,
    is_online,
)
from homeport.acs.services.masking import masked_task, plain_url
from homeport.acs.storage.interface import SessionChange

Json = dict[str, Any]


ONE_LINE: Final = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""What people write for people: no control characters, which a terminal would obey."""


def moment(seconds: float | None) -> str | None:
    """`2026-11-21T06:00:00.000000Z`, or None."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def device(d: DeviceRecord, now: float) -> Json:
    """A device; its secrets are left out."""
    return {
        "id": d.id,
        "oui": d.oui,
        "product_class": d.product_class,
        "serial_number": d.serial_number,
        "manufacturer": d.manufacturer,
        "model": d.model,
        "hardware_version": d.hardware_version,
        "software_version": d.software_version,
        "provisioning_code": d.provisioning_code,
        "state": d.state.value,
        "online": is_online(d, now),
        "tags": list(d.tags),
        "address": d.address,
        "first_seen": moment(d.first_seen),
        "last_inform": moment(d.last_inform),
        "last_boot": moment(d.last_boot),
        "last_bootstrap": moment(d.last_bootstrap),
        "inform_interval": d.inform_interval or None,
        "root": d.root,
        "cwmp_namespace": d.urn,
        "connection_request_url": d.connection_request_url,
        "connection_request_username": d.connection_request_username,
        "udp_connection_request_address": d.udp_address or None,
        "jabber_id": d.jabber_id or None,
        "connection_request_way": d.call_way or None,
        "wanted": [w.value for w in d.wants],
        "quirks": list(d.quirks),
        "behaviour": {name: getattr(d.behaviour, name) for name in d.behaviour.__struct_fields__},
    }


def parameter(path: str, v: StoredValue) -> Json:
    """One parameter or object of a device."""
    return {
        "path": path,
        "value": plain_url(v.value) if v.value else v.value,
        "type": v.type,
        "writable": v.writable,
        "updated": moment(v.updated) if v.updated else None,
    }


def fault_detail(f: FaultDetail | None) -> Json | None:
    """A fault inside a task."""
    built: Json | None = msgspec.to_builtins(f)
    return built


def _phase(t: TaskRecord) -> str | None:
    """sent, or what is still to come after the device has accepted: transfer, restart; overdue where that did not come in time."""
    return "restart" if t.phase is TaskPhase.TRANSFER and t.rpc in RESTARTS else t.phase.value or None


def task(t: TaskRecord) -> Json:
    """A task; its secrets are left out."""
    t = masked_task(t)
    called = t.connection_request
    return {
        "id": t.id,
        "device": t.device,
        "rpc": t.rpc,
        "args": t.args,
        "status": t.status.value,
        "phase": _phase(t),
        "priority": t.priority,
        "after": t.after,
        "attempts": t.attempts,
        "created": moment(t.created),
        "started": moment(t.started),
        "finished": moment(t.finished),
        "expires": moment(t.expires),
        "result": t.result,
        "fault": fault_detail(t.fault),
        "connection_request": None
        if called is None
        else {
            "ok": called.ok,
            "way": called.way,
            "status": called.status or None,
            "reason": called.reason,
            "at": moment(called.at),
        },
    }


def session(s: SessionRecord) -> Json:
    """A session without its messages."""
    return {
        "id": s.id,
        "device": s.device,
        "started": moment(s.started),
        "ended": moment(s.ended),
        "outcome": s.outcome,
        "reason": s.reason or None,
        "address": s.address,
        "events": list(s.events),
        "message_count": s.message_count,
    }


def session_with_messages(s: SessionChange) -> Json:
    """A session with its messages, oldest first."""
    messages = [
        {"at": moment(m.at), "direction": m.direction, "element": m.element, "size": m.size, "body": m.body}
        for m in s.messages
    ]
    return session(s.record) | {"messages": messages}


def event(e: EventRecord) -> Json:
    """An event that a device told."""
    built: Json = msgspec.to_builtins(e)
    return built | {"at": moment(e.at)}


def fault(f: FaultRecord) -> Json:
    """A fault that a device answered."""
    built: Json = msgspec.to_builtins(f)
    return built | {"at": moment(f.at), "task": f.task or None}


def file(f: FileRecord) -> Json:
    """A stored file's description."""
    built: Json = msgspec.to_builtins(f)
    return built | {"created": moment(f.created)}
