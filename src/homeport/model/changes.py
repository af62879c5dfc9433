"""What changed, who changed it, and what the ACS is still to be told: changes, commit records, attributes, pending notifications.

Only changes that the ACS did not make itself are reported to it. A pending change remembers the value that the ACS knows; whether
there is still something to tell is found out when the report is made.
Source: TR-069a6 3.7.1.5 and A.3.2.4, spec of notification attributes in TR-069a6 A.3.2.4-A.3.2.5.
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from homeport.errors import Fault
from homeport.model.schema import ActiveNotify, ParameterDef
from homeport.model.sources import Registry
from homeport.terms import FaultCode, Notification, Writer


class ChangeKind(StrEnum):
    """What happened to the path of a change."""

    VALUE = "value"
    ADD = "add"
    DELETE = "delete"


class Change(Struct, frozen=True, gc=False):
    """One thing that a transaction changed.

    path: the parameter, or for ADD and DELETE the instance with its trailing dot. old, new: canonical texts, hidden values included;
    both "" for ADD and DELETE. A command's new value is what was written, though it is never stored.
    """

    path: str
    old: str
    new: str
    writer: Writer
    kind: ChangeKind = ChangeKind.VALUE

    def reversed(self) -> "Change":
        """The change that takes this one back."""
        kind = {ChangeKind.ADD: ChangeKind.DELETE, ChangeKind.DELETE: ChangeKind.ADD}.get(self.kind, self.kind)
        return Change(self.path, self.new, self.old, self.writer, kind)


class CommitRecord(Struct, frozen=True, array_like=True):
    """All that a commit changes, for the disk: plain texts and numbers, so that msgpack and JSON take it as it is.

    number:  1 higher than the commit before. writer: who committed. durable: must be on disk before the answer leaves; False where
             only values changed that the device reports about itself (their loss in a power cut costs nothing).
    ops:     in order, each a tuple of its kind and its arguments:
             ("set", path, text) ("add", table path, instance number, next number) ("delete", instance path)
             ("attribute", path, notification, access list or None) ("pending", path, old text or None) ("baseline", path, text or None)
             ("reset",) back to the factory.
    `DataModel.replay(record)` does them again.
    """

    number: int
    writer: str
    durable: bool
    ops: tuple[tuple[str | int | list[str] | None, ...], ...]


Op = tuple[str | int | list[str] | None, ...]


class PendingChange(Struct, frozen=True, gc=False):
    """A parameter whose new value the ACS does not know. old: what it was told last. notification: its attribute now."""

    name: str
    value: str
    type: str
    notification: Notification
    old: str = ""


class Attributes(Struct, frozen=True, gc=False):
    """What the ACS set for a parameter. notification, access_list: None where it never set them."""

    notification: int | None = None
    access_list: tuple[str, ...] | None = None


EVERYBODY: Final = ("Subscriber",)
"""The access list before an ACS changed it: the LAN side may write (TR-069a6 A.3.2.4)."""

ACTIVE: Final = frozenset({2})
PASSIVE: Final = frozenset({1, 4, 6})
REPORTED: Final = frozenset({1, 2, 4, 6})
"""Notifications that put a changed parameter into an Inform; 3 and 5 use lightweight notifications alone."""


def notification_of(parameter: ParameterDef, attributes: Attributes | None) -> int:
    """The notification attribute that is in force for a parameter."""
    if parameter.active_notify is ActiveNotify.FORCE_ENABLED:
        return int(Notification.ACTIVE)
    if attributes is not None and attributes.notification is not None:
        return attributes.notification
    if parameter.active_notify is ActiveNotify.FORCE_DEFAULT_ENABLED:
        return int(Notification.ACTIVE)
    return int(Notification.OFF)


def check_notification(
    parameter: ParameterDef, path: str, notification: int, *, registry: Registry | None, lightweight: bool, named: bool
) -> bool:
    """Whether a notification attribute is to be set. Raises Fault 9003 for a number that is none, and 9009 where it is refused.

    named: the parameter was named itself. Reached through a partial path, one that cannot take the attribute is left as it is, so
    that a request for a whole object does not fail for its only forced parameter (unverified).
    """
    if not 0 <= notification <= 6:
        raise Fault(FaultCode.INVALID_ARGUMENTS, f"{path}: notification {notification} is not 0 to 6")
    refusal = ""
    if notification >= Notification.PASSIVE_LIGHTWEIGHT and not lightweight:
        refusal = f"{path}: lightweight notification ({notification}) is not supported"
    elif parameter.active_notify is ActiveNotify.FORCE_ENABLED and notification != Notification.ACTIVE:
        refusal = f"{path}: active notification is always on for this parameter"
    elif (
        parameter.active_notify is ActiveNotify.CAN_DENY
        and notification
        in (Notification.ACTIVE, Notification.ACTIVE_LIGHTWEIGHT, Notification.PASSIVE_AND_ACTIVE_LIGHTWEIGHT)
        and registry is not None
        and registry.denies_active(path)
    ):
        refusal = f"{path}: active notification is denied for this parameter"
    if not refusal:
        return True
    if named:
        raise Fault(FaultCode.NOTIFICATION_REJECTED, refusal)
    return False
