"""Records as rows: which field has a column, and how the rest is packed."""

import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

from homeport.acs.records import (
    NO_HABITS,
    Behaviour,
    CredentialRecord,
    DeviceRecord,
    DeviceState,
    Document,
    EventRecord,
    FaultRecord,
    FileRecord,
    LeaseRecord,
    MessageTrace,
    SessionRecord,
    TaskRecord,
    TokenRecord,
    Want,
)
from homeport.acs.storage.interface import Page

encode = msgspec.msgpack.Encoder().encode
task = msgspec.msgpack.Decoder(TaskRecord).decode
session = msgspec.msgpack.Decoder(SessionRecord).decode
event = msgspec.msgpack.Decoder(EventRecord).decode
fault = msgspec.msgpack.Decoder(FaultRecord).decode
credential = msgspec.msgpack.Decoder(CredentialRecord).decode
token = msgspec.msgpack.Decoder(TokenRecord).decode
file = msgspec.msgpack.Decoder(FileRecord).decode
_messages = msgspec.msgpack.Decoder(tuple[MessageTrace, ...]).decode


class _Rest(msgspec.Struct, frozen=True, omit_defaults=True):
    """The fields of a device without a column of their own; a missing one has its default."""

    last_boot: float | None = None
    last_bootstrap: float | None = None
    root: str = ""
    urn: str = ""
    inform_interval: int = 0
    connection_request_url: str = ""
    connection_request_username: str = ""
    connection_request_password: str = ""
    wants: tuple[Want, ...] = ()
    quirks: tuple[str, ...] = ()
    behaviour: Behaviour = NO_HABITS
    udp_address: str = ""
    call_way: str = ""
    jabber_id: str = ""
    notified: int = 0


_rest = msgspec.msgpack.Decoder(_Rest).decode
_STATES = {s.value: s for s in DeviceState}


def device_row(d: DeviceRecord) -> tuple[Any, ...]:
    """The parameters of `insert_device` and `update_device`, the id last."""
    rest = _Rest(
        d.last_boot,
        d.last_bootstrap,
        d.root,
        d.urn,
        d.inform_interval,
        d.connection_request_url,
        d.connection_request_username,
        d.connection_request_password,
        d.wants,
        d.quirks,
        d.behaviour,
        d.udp_address,
        d.call_way,
        d.jabber_id,
        d.notified,
    )
    return (
        d.state.value,
        d.first_seen,
        d.last_inform,
        d.oui,
        d.product_class,
        d.serial_number,
        d.manufacturer,
        d.model,
        d.software_version,
        d.hardware_version,
        d.provisioning_code,
        d.address,
        f"|{'|'.join(d.tags)}|" if d.tags else "",
        encode(rest),
        d.id,
    )


def device(row: Sequence[Any]) -> DeviceRecord:
    """The record of a row of `device` or `devices` (key first)."""
    rest = _rest(row[15])
    return DeviceRecord(
        id=row[1],
        state=_STATES[row[2]],
        first_seen=row[3],
        last_inform=row[4],
        oui=row[5],
        product_class=row[6],
        serial_number=row[7],
        manufacturer=row[8],
        model=row[9],
        software_version=row[10],
        hardware_version=row[11],
        provisioning_code=row[12],
        address=row[13],
        tags=tuple(row[14][1:-1].split("|")) if row[14] else (),
        last_boot=rest.last_boot,
        last_bootstrap=rest.last_bootstrap,
        root=rest.root,
        urn=rest.urn,
        inform_interval=rest.inform_interval,
        connection_request_url=rest.connection_request_url,
        connection_request_username=rest.connection_request_username,
        connection_request_password=rest.connection_request_password,
        wants=rest.wants,
        quirks=rest.quirks,
        behaviour=rest.behaviour,
        udp_address=rest.udp_address,
        call_way=rest.call_way,
        jabber_id=rest.jabber_id,
        notified=rest.notified,
    )


def pack_messages(messages: tuple[MessageTrace, ...]) -> bytes:
    """The messages of a session, compressed."""
    return zlib.compress(encode(messages), 1)


def unpack_messages(blob: bytes) -> tuple[MessageTrace, ...]:
    """The messages that `pack_messages` packed."""
    return _messages(zlib.decompress(blob))


def lease_row(lease: LeaseRecord) -> tuple[str, str, str, str, float, bytes, str]:
    """The parameters of `put_lease`."""
    return (lease.device, lease.session, lease.cookie, lease.node, lease.until, lease.state, lease.host)


def lease(row: Sequence[Any]) -> LeaseRecord:
    """A lease from its columns."""
    device, session, cookie, node, until, state, host = row
    return LeaseRecord(
        device=device, session=session, cookie=cookie, node=node, until=until, state=bytes(state), host=host
    )


def document(row: Any) -> Document:
    """(kind, name, record, due) as it is stored."""
    return Document(row[0], row[1], bytes(row[2]), row[3])


def document_page(found: Sequence[Any], limit: int) -> Page:
    """A page of at most `limit` rows of which one more was asked for."""
    items = tuple(document(row) for row in found[:limit])
    return Page(items, items[-1].name if len(found) > limit else None)
