"""What an Inform means for the ACS: who it is, what changed, what must be on the disk before the answer, what is wanted next."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from homeport.acs.engine.effects import ROOTS, is_secret, promoted
from homeport.acs.records import DeviceRecord, DeviceState, StoredValue, Told, Want, device_id
from homeport.codec.messages import Inform
from homeport.terms import EventCode

LIGHT: Final = frozenset({EventCode.PERIODIC.value, EventCode.HEARTBEAT.value})
"""Events that tell nothing that would be lost: the next one tells the same."""

LONGEST_NAME: Final = 64
"""Characters of each part of a DeviceId (cwmp-1-0.xsd)."""


MOST_EVENTS: Final = 256
"""Events in one Inform. The XSD allows 64; each is a row, and whoever sends them need not have logged in."""

LONGEST_FIELD: Final = 2_048
"""Characters of what stands in the device's record, which is in memory: a longer URL or version is among its values only."""

LONGEST_KEY: Final = 1_024
"""Characters of an event's code and key that are kept; the standard gives a key 32."""

STRANGERS_REQUESTS: Final = 20
"""Requests that a device that is not admitted may make in one session: each is a row."""

STRANGERS_VALUES: Final = 100
STRANGERS_LONGEST: Final = 1_024
"""Parameters of an Inform that are kept of a device that is not admitted, and characters of each: a device reports some 15, and when it
is let in it is read."""


class Policy(Struct, frozen=True):
    """wants: what a device that starts anew (0 BOOTSTRAP) is wanted for. newcomer, tags: what a device never seen before gets.

    at_first: whether such a device is wanted for the same whatever its event: it was another ACS's, or the database is new.
    """

    wants: tuple[Want, ...]
    newcomer: DeviceState
    tags: tuple[str, ...] = ()
    at_first: bool = False


class Assessment(Struct, frozen=True):
    """new: the record to make, None for a known device. fields: what changes in a known device's record.

    changed: values that differ from what was known. durable: whether all this must be on the disk before the answer.
    reset: the device starts anew (E14).
    """

    new: DeviceRecord | None
    fields: dict[str, Any]
    changed: dict[str, StoredValue]
    durable: bool
    reset: bool


def identity(inform: Inform) -> str:
    """The key of the device that sends this Inform."""
    device = inform.device_id
    return device_id(device.oui, device.product_class, device.serial_number)


def identity_problem(inform: Inform) -> str:
    """Why the DeviceId cannot be a key, or the events cannot be kept, "" where they can.

    Lengths are the XSD's; an OUI that is not six hex digits is tolerated.
    """
    device = inform.device_id
    if len(inform.event) > MOST_EVENTS:
        return f"the Inform has {len(inform.event)} events; at most {MOST_EVENTS} are taken"
    if not device.serial_number.strip():
        return "the DeviceId has no SerialNumber"
    if (
        len(device.oui) <= LONGEST_NAME
        and len(device.product_class) <= LONGEST_NAME
        and len(device.serial_number) <= LONGEST_NAME
    ):
        return ""
    for name in ("oui", "product_class", "serial_number"):
        if len(getattr(device, name)) > LONGEST_NAME:
            return f"the DeviceId's {name} is longer than {LONGEST_NAME} characters"
    return ""


def of_a_stranger(changed: dict[str, StoredValue], inform: Inform) -> dict[str, StoredValue]:
    """What is kept of these values where the device is not admitted: anybody may send them, and again and again."""
    first = {p.name for p in inform.parameter_list[:STRANGERS_VALUES] if len(p.value) <= STRANGERS_LONGEST}
    return {name: value for name, value in changed.items() if name in first}


def brief(content: Any) -> Any:
    """The same of what such a device tells otherwise, as plain values."""
    if isinstance(content, str):
        return content[:STRANGERS_LONGEST]
    if isinstance(content, list | tuple):
        return [brief(item) for item in content[:STRANGERS_REQUESTS]]
    if isinstance(content, dict):
        return {key: brief(value) for key, value in content.items()}
    return content


def assess(
    known: DeviceRecord | None,
    reported: Told,
    inform: Inform,
    *,
    urn: str,
    address: str,
    now: float,
    policy: Policy,
) -> Assessment:
    """What to do about an Inform. reported: the device's values as last heard. now: seconds since 1970."""
    changed: dict[str, StoredValue] = {}
    place_of, texts = reported.places.get, reported.texts
    for p in inform.parameter_list:
        name, value = p.name, p.value
        place = place_of(name)
        before = texts[place] if place is not None else None
        if before != value:
            if name.endswith(".") or not name or (is_secret(name) and before is not None):
                continue
            changed[name] = StoredValue("" if is_secret(name) else value, p.type or "string", None, now)
    fields: dict[str, Any] = {"last_inform": now}
    if known is None or known.address != address:
        fields["address"] = address
    if known is None or known.urn != urn:
        fields["urn"] = urn
    if changed:
        told = {field: text for field, text in promoted(changed).items() if len(text) <= LONGEST_FIELD}
        fields |= told if known is None else {f: v for f, v in told.items() if getattr(known, f) != v}
        if known is None or not known.root:
            root = _root(changed)
            if root:
                fields["root"] = root
    light = known is not None
    reset = False
    for event in inform.event:
        code = event.event_code
        if code in LIGHT:
            continue
        light = False
        if code == EventCode.BOOT:
            fields["last_boot"] = now
        elif code == EventCode.BOOTSTRAP:
            reset = True
            fields["last_bootstrap"] = now
            fields["wants"] = policy.wants
    new = None
    if known is None:
        if policy.at_first:
            fields["wants"] = policy.wants
        device = inform.device_id
        fields.setdefault("model", device.product_class)
        new = DeviceRecord(
            id=identity(inform),
            oui=device.oui,
            product_class=device.product_class,
            serial_number=device.serial_number,
            manufacturer=device.manufacturer[:LONGEST_FIELD],
            state=policy.newcomer,
            tags=policy.tags,
            first_seen=now,
            **fields,
        )
    return Assessment(new=new, fields=fields, changed=changed, durable=not light, reset=reset)


def _root(changed: Mapping[str, StoredValue]) -> str:
    """The root of the device's tree, as the names in its Inform show; "" where they show none."""
    for path in changed:
        for root in ROOTS:
            if path.startswith(root):
                return root
    return ""
