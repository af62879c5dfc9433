"""Records as rows: which field has a column, and how the rest is packed."""

import zlib
from collections.abc import Sequence
from typing import Any, Final

import lz4.block
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
from homeport.acs.storage.long_lists import PackedRows
from homeport.acs.storage.sql.damage import read
from homeport.codec import messages as m
from homeport.errors import StoreError
from homeport.terms import RpcName

LONG: Final = 1_024
"""Bytes from which on a task's record is compressed: below, the row fits beside others on a page as it is."""

_LZ4: Final = b"L"
"""What a compressed blob begins with; no MessagePack map does, nor the zlib stream that older versions wrote."""

encode = msgspec.msgpack.Encoder().encode
_task = msgspec.msgpack.Decoder(TaskRecord).decode
session = msgspec.msgpack.Decoder(SessionRecord).decode
event = msgspec.msgpack.Decoder(EventRecord).decode
fault = msgspec.msgpack.Decoder(FaultRecord).decode
credential = msgspec.msgpack.Decoder(CredentialRecord).decode
token = msgspec.msgpack.Decoder(TokenRecord).decode
file = msgspec.msgpack.Decoder(FileRecord).decode
_rows = msgspec.msgpack.Decoder(list[dict[str, Any]]).decode
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
whole = msgspec.msgpack.Decoder(DeviceRecord).decode
"""The device of `whole_row`, but for its `last_inform`. Raises ValidationError where the row is of another form."""

_STATES = {s.value: s for s in DeviceState}


def device_row(d: DeviceRecord) -> tuple[Any, ...]:
    """The parameters of `insert_device` and `update_device` of PostgreSQL, the id last."""
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
    return (*_columns(d), encode(rest), d.id)


def whole_row(d: DeviceRecord) -> tuple[Any, ...]:
    """The same of SQLite: beside the columns, which are for conditions and lists, stands the whole record, to be read in one step.

    Raises StoreError where a text is no Unicode.
    """
    try:
        return (*_columns(d), encode(d), d.id)
    except UnicodeEncodeError as e:
        raise StoreError(f"a value cannot be stored: {e}") from e


def _columns(d: DeviceRecord) -> tuple[Any, ...]:
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
    )


def whole_device(rest: bytes, last_inform: float) -> DeviceRecord | None:
    """The device of `whole_row`; None where the row is of an older version, or from PostgreSQL: then `device` reads all of it.

    last_inform: its column, which at most Informs is written alone.
    """
    try:
        record = whole(rest)
    except msgspec.ValidationError:
        return None
    msgspec.structs.force_setattr(record, "last_inform", last_inform)  # nobody else has it yet
    return record


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


def packed(plain: bytes) -> bytes:
    """A long record, compressed."""
    block: bytes = lz4.block.compress(plain)
    return _LZ4 + block


def _unpacked(blob: bytes) -> bytes:
    """Raises ValueError where the blob is damaged."""
    try:
        return bytes(lz4.block.decompress(memoryview(blob)[1:]))
    except lz4.block.LZ4BlockError as e:
        raise ValueError(f"a compressed record is damaged: {e}") from e


def pack_messages(messages: tuple[MessageTrace, ...]) -> bytes:
    """The messages of a session, compressed."""
    return packed(encode(messages))


def unpack_messages(blob: bytes) -> tuple[MessageTrace, ...]:
    """The messages that `pack_messages` packed, also those of versions that wrote zlib streams."""
    return _messages(_unpacked(blob) if blob[:1] == _LZ4 else zlib.decompress(blob))


def pack_task(record: TaskRecord) -> bytes:
    """A task; where it is long, as with the values that it has read, compressed."""
    plain = encode(_shortened(record))
    return plain if len(plain) < LONG else packed(plain)


def task(blob: bytes) -> TaskRecord:
    """The task that `pack_task` packed."""
    record = _task(_unpacked(blob) if blob[:1] == _LZ4 else blob)
    columns = record.result.get("parameter_list") if record.result is not None else None
    if not isinstance(columns, dict):
        return record
    if "pieces" in columns:
        long = PackedRows(columns["pieces"], columns["count"], unpack_rows)
        return msgspec.structs.replace(record, result={**(record.result or {}), "parameter_list": long})
    names, values, types = record.args["parameter_names"], columns["values"], columns["types"]
    types = [types] * len(names) if isinstance(types, str) else types
    listed = [{"name": n, "value": v, "type": t} for n, v, t in zip(names, values, types, strict=True)]
    return msgspec.structs.replace(record, result={**(record.result or {}), "parameter_list": listed})


def packed_rows(pieces: Sequence[bytes], count: int) -> dict[str, Any]:
    """A long list as it stands in a task. pieces: of rows, encoded and `packed`; count: rows in all of them."""
    return {"pieces": pieces, "count": count}


def unpack_rows(piece: bytes) -> list[dict[str, Any]]:
    """The rows of a piece. Raises StoreError where it is damaged."""
    return read(lambda blob: _rows(_unpacked(blob)), piece, "what a task has read")


def _shortened(record: TaskRecord) -> TaskRecord:
    """The task without the names in its result, where they are those that it asked for: half of its length."""
    listed = record.result.get("parameter_list") if record.result is not None else None
    if isinstance(listed, PackedRows):
        listed = packed_rows(listed.pieces, len(listed))
        return msgspec.structs.replace(record, result={**(record.result or {}), "parameter_list": listed})
    names = record.args.get("parameter_names")
    if not listed or names is None or len(names) != len(listed) or record.rpc != RpcName.GET_PARAMETER_VALUES:
        return record
    if isinstance(listed[0], dict):
        listed = msgspec.convert(listed, list[m.ParameterValueStruct])
    if [row.name for row in listed] != list(names):
        return record
    types = [row.type for row in listed]
    columns = {"values": [row.value for row in listed], "types": types[0] if len({*types}) == 1 else types}
    return msgspec.structs.replace(record, result={**(record.result or {}), "parameter_list": columns})


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
