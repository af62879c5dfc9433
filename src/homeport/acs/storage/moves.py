"""What a device keeps when it comes under another id: the two records made one, and which rows carry the id inside.

A unit with `moved` brings everything of the old id under the new one and deletes the old one; a rename makes the new device in the
same unit, with its identity and nothing else. What the new id knows of itself is younger and stays.
"""

from collections.abc import Mapping
from typing import Final

from msgspec.structs import fields, replace

from homeport.acs.records import Behaviour, DeviceRecord, DeviceState, StoredValue

_OWN: Final = frozenset({"id", "oui", "product_class", "serial_number"})
_DEFAULTS: Final = {f.name: f.default for f in fields(DeviceRecord) if f.name not in _OWN}
_UNITED: Final = ("tags", "wants", "quirks")
_CALL: Final = ("connection_request_username", "connection_request_password")


def held(old: str, new: str) -> str:
    """Why the move was refused, where the store found more than one reason possible: for people."""
    return (
        f"the device {old} cannot become {new} now: one of them is gone, or {old} has a session that may go on or a task"
        " that was sent and not answered; wait for its end and try again"
    )


def united(old: DeviceRecord, new: DeviceRecord) -> DeviceRecord:
    """The new device's record with what only the old one knows.

    Where the new one waits in quarantine it gets the old one's admission or refusal. Tags, wants and quirks are united.
    """
    taken = {
        name: getattr(old, name)
        for name, default in _DEFAULTS.items()
        if name not in _CALL and getattr(new, name) == default
    }
    for name in _UNITED:
        taken[name] = tuple(dict.fromkeys((*getattr(new, name), *getattr(old, name))))
    taken["tags"] = tuple(sorted(taken["tags"]))
    taken["state"] = old.state if new.state is DeviceState.QUARANTINED else new.state
    seen = [r.first_seen for r in (old, new) if r.first_seen]
    taken["first_seen"] = min(seen, default=0.0)
    taken["last_inform"] = max(old.last_inform, new.last_inform)
    taken["behaviour"] = _behaviour(old.behaviour, new.behaviour)
    if not new.connection_request_username and not new.connection_request_password:
        taken |= {name: getattr(old, name) for name in _CALL}
    return replace(new, **taken)


def _behaviour(old: Behaviour, new: Behaviour) -> Behaviour:
    """The switches of the new device, those of the old one where the new one has learnt none."""
    learnt = {f.name: getattr(old, f.name) for f in fields(Behaviour) if getattr(new, f.name) is None}
    return replace(new, **learnt)


def unknown_values(old: Mapping[str, StoredValue], new: Mapping[str, StoredValue]) -> dict[str, StoredValue]:
    """The old device's values of which the new one knows nothing."""
    return {path: value for path, value in old.items() if path not in new}
