"""What the ACS remembers: one frozen struct per kind of row. The last of "bytes -> message -> record".

Times are seconds since 1970, float. Nothing here knows a database, a clock or a message of the wire.
"""

from collections.abc import ItemsView, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from msgspec import Struct


class DeviceState(StrEnum):
    """Whether a device may be managed: an unknown one waits in quarantine until a person approves it."""

    APPROVED = "approved"
    QUARANTINED = "quarantined"
    REFUSED = "refused"


class TaskStatus(StrEnum):
    """The life of a task. unknown: the RPC was sent and the session died; it is settled at the next contact."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


OPEN_STATUSES = frozenset({TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.UNKNOWN})
"""A task in one of these still has something to come."""


class TaskPhase(StrEnum):
    """How far a running task is: nothing sent, an RPC sent and not answered, or accepted by the device, which tells the end in a later
    session (a transfer's, or that of a restart). overdue: the task has failed because that was not told in time, and may be yet."""

    NONE = ""
    SENT = "sent"
    TRANSFER = "transfer"
    OVERDUE = "overdue"


class Want(StrEnum):
    """What the ACS itself still wants from a device: kept until done, over sessions and restarts."""

    DISCOVER = "discover"  # names and values of the whole tree
    LOGIN = "login"  # user and password of its own for its sessions
    CREDENTIALS = "credentials"  # connection request user and password, set by the ACS


def device_id(oui: str, product_class: str, serial_number: str) -> str:
    """The device's key: `OUI-ProductClass-SerialNumber`, or `OUI-SerialNumber` where ProductClass is empty.

    Each part percent-encodes what is not a letter, a digit, `_` or `.`, so that the parts can be told apart again.
    """
    parts = (oui, product_class, serial_number) if product_class else (oui, serial_number)
    joined = "".join(parts)
    if joined.isalnum() and joined.isascii():  # nearly always, and asked in every session
        return "-".join(parts)
    return "-".join(part if part.isalnum() and part.isascii() else _escape(part) for part in parts)


def _escape(text: str) -> str:
    return "".join(chr(b) if chr(b) in _PLAIN else f"%{b:02X}" for b in text.encode())


_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.")


class Behaviour(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to speak with one device where it differs from the standard; None leaves the choice to the ACS, which fills in what it learns.

    prolog: begin messages with an XML declaration. max_names: most parameters in one request. level_by_level: read names one level
    at a time. partial_paths: the device can read values by the path of an object. id_prefix: text before the number in cwmp:ID.
    """

    prolog: bool | None = None
    max_names: int | None = None
    level_by_level: bool | None = None
    partial_paths: bool | None = None
    id_prefix: str | None = None


NO_HABITS = Behaviour()


class DeviceRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One device, without its parameter values.

    root: `Device.` or `InternetGatewayDevice.`, as its Informs show; "" while no Inform named a parameter.
    inform_interval: seconds between periodic Informs as far as known, 0 where it is not.
    wants: what the ACS itself has still to do. quirks: habits of this device's messages that were seen.
    behaviour: how to speak with it. udp_address: UDPConnectionRequestAddress, where it reports one.
    jabber_id: ConnReqJabberID, where it reports one. notified: its own time in its last lightweight notification, 0 for none.
    call_way: the way in which it was called last with success: http, udp or xmpp.
    """

    id: str
    oui: str
    product_class: str
    serial_number: str
    manufacturer: str = ""
    state: DeviceState = DeviceState.APPROVED
    first_seen: float = 0.0
    last_inform: float = 0.0
    last_boot: float | None = None
    last_bootstrap: float | None = None
    address: str = ""
    root: str = ""
    urn: str = ""
    model: str = ""
    software_version: str = ""
    hardware_version: str = ""
    provisioning_code: str = ""
    tags: tuple[str, ...] = ()
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


GRACE = 60.0
"""Seconds that a device may be late before it is told to be offline, beyond twice its interval."""

DAY = 86_400.0


def is_online(device: DeviceRecord, now: float) -> bool:
    """Whether it was heard of within twice its inform interval and a minute; within a day where the interval is unknown."""
    interval = device.inform_interval
    return now - device.last_inform <= (2 * interval + GRACE if interval else DAY)


class StoredValue(Struct, frozen=True, gc=False, array_like=True):
    """One parameter or object as last seen. value: None for objects and for names whose value was never read."""

    value: str | None
    type: str = "string"
    writable: bool | None = None
    updated: float = 0.0


@lru_cache(maxsize=64)
def numbered(names: tuple[str, ...]) -> dict[str, int]:
    """The place of each name; fewer where a name comes twice. The devices of a model give the same names again and again."""
    return {name: place for place, name in enumerate(names)}


class Reading(Mapping[str, StoredValue]):
    """Values that one answer told, by their names, kept as the columns in which they came.

    names: no two alike. texts: the values. at: seconds since 1970.
    """

    __slots__ = ("_places", "at", "names", "texts", "types")

    def __init__(self, names: tuple[str, ...], texts: tuple[str, ...], types: tuple[str, ...], at: float) -> None:
        self.names = names
        self.texts = texts
        self.types = types
        self.at = at
        self._places = numbered(names)

    def __getitem__(self, name: str) -> StoredValue:
        place = self._places[name]
        return StoredValue(self.texts[place], self.types[place], None, self.at)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def items(self) -> ItemsView[str, StoredValue]:
        """All of them at once, which is cheaper than one after the other."""
        at = self.at
        return {
            name: StoredValue(text, type, None, at)
            for name, text, type in zip(self.names, self.texts, self.types, strict=True)
        }.items()


class Told(Mapping[str, str | None]):
    """Texts of values by their paths: `texts[places[path]]`, None of what has none. The devices of a model share their places."""

    __slots__ = ("places", "texts")

    def __init__(self, places: Mapping[str, int], texts: Sequence[str | None]) -> None:
        self.places = places
        self.texts = texts

    @classmethod
    def of(cls, texts: Mapping[str, str | None]) -> "Told":
        """The same as a dictionary holds."""
        return cls(numbered(tuple(texts)), tuple(texts.values()))

    def but(self, texts: Mapping[str, str]) -> "Told":
        """The same, with these instead or besides."""
        places = self.places
        if not places.keys() >= texts.keys():
            return Told.of({**self, **texts})
        changed = list(self.texts)
        for path, text in texts.items():
            changed[places[path]] = text
        return Told(places, changed)

    def __getitem__(self, path: str) -> str | None:
        return self.texts[self.places[path]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


NOTHING_TOLD: Final = Told({}, ())


class FaultDetail(Struct, frozen=True):
    """A CWMP fault, or code 0 where the failure was not one (a lost session, a refusal of our own)."""

    code: int
    string: str
    parameters: tuple["ParameterFaultDetail", ...] = ()


class ParameterFaultDetail(Struct, frozen=True):
    """One refused parameter of a SetParameterValues."""

    name: str
    code: int
    string: str


class ConnectionRequestDetail(Struct, frozen=True):
    """How the last connection request for a task went. status: HTTP status or its like in XMPP, 0 where none was received."""

    ok: bool
    status: int
    reason: str
    at: float
    way: str = "http"


class TaskRecord(Struct, frozen=True, kw_only=True):
    """One wish of an operator, for one device.

    args: the RPC's arguments as JSON values, under the standard's names in snake_case.
    priority: higher first. expires: not sent after this time. after: a task that must be done before.
    progress: what the task has learnt on its way (instances before AddObject, offenders left out; when the device has accepted it or
    its answer was lost, and when it is looked at again; whether it is sent again after a lost answer, and may have been done then).
    call: whether the device is to be asked to open a session for it.
    idempotency_key: given by who made it, so that the same wish told twice makes one task; wish: what was wished, as a hash.
    """

    id: str
    device: str
    rpc: str
    args: dict[str, Any]
    status: TaskStatus = TaskStatus.QUEUED
    phase: TaskPhase = TaskPhase.NONE
    priority: int = 0
    created: float = 0.0
    started: float | None = None
    finished: float | None = None
    expires: float | None = None
    after: str | None = None
    attempts: int = 0
    command_key: str = ""
    result: dict[str, Any] | None = None
    fault: FaultDetail | None = None
    progress: dict[str, Any] = {}
    connection_request: ConnectionRequestDetail | None = None
    idempotency_key: str = ""
    wish: str = ""
    call: bool = False


def due(task: TaskRecord) -> float | None:
    """When somebody has to look whether the task has ended by the clock, seconds since 1970; None where it cannot: it is an index's key.

    At its expiry while it waits, at the end of the patience once the device has accepted it or its answer was lost. A store puts it at
    0 for a task that waits for another which has ended otherwise than done.
    """
    if task.status is TaskStatus.QUEUED:
        return task.expires
    if task.status is TaskStatus.UNKNOWN:
        return float(task.progress.get("due", task.progress.get("lost", 0.0)))
    if task.status is TaskStatus.RUNNING and task.phase is TaskPhase.TRANSFER:
        return float(task.progress.get("due", task.progress.get("accepted", 0.0)))
    return None


class MessageTrace(Struct, frozen=True):
    """One HTTP body of a session.

    direction: `cpe` or `acs`, who sent it. element: "" for an empty one. body: text, secrets masked, cut to a limit.
    """

    at: float
    direction: str
    element: str
    size: int
    body: str


class SessionRecord(Struct, frozen=True, kw_only=True):
    """One session that ended. outcome: success, failed, aborted or replaced; reason: a sentence."""

    id: str
    device: str
    started: float
    ended: float
    outcome: str
    reason: str = ""
    address: str = ""
    events: tuple[str, ...] = ()
    message_count: int = 0


class LeaseRecord(Struct, frozen=True, kw_only=True):
    """Who has a device's session, where that is written down: while a change is on its way to the device, and at a hand-over.

    cookie: names the session in the device's requests. node: the process that has it, "" where none has. until: seconds since 1970;
    the device does not answer later. state: all that another process needs to go on with it. host: the address of a device that has
    not given the cookie back, "" of one that has.
    """

    device: str
    session: str
    cookie: str
    node: str
    until: float
    state: bytes
    host: str = ""


IDENTITY_CHANGED = "IDENTITY CHANGED"
LOGIN_REFUSED = "LOGIN REFUSED"


class EventRecord(Struct, frozen=True, kw_only=True):
    """A fact that a device told once and then forgets, so that the ACS must have stored it before it answers.

    code: an event code of Inform, the name of the CPE's RPC (TransferComplete ...), IDENTITY_CHANGED: then `detail` has the id
    under which somebody came with the credentials of this device, or LOGIN_REFUSED: it came with the login of a group that is not its own.
    """

    id: str
    device: str
    session: str
    at: float
    code: str
    command_key: str = ""
    detail: dict[str, Any] = {}


class FaultRecord(Struct, frozen=True, kw_only=True):
    """A fault that a device answered."""

    id: str
    device: str
    session: str
    task: str
    at: float
    rpc: str
    code: int
    string: str
    parameters: tuple[ParameterFaultDetail, ...] = ()


class GroupLogin(Struct, frozen=True, kw_only=True):
    """What a login opens that many devices share, beside its user and password.

    ouis, product_classes, serial_numbers, ids: which devices it speaks for: each list that is not empty must have a pattern that fits
    (`*` for any text, `?` for one character; OUIs in capitals). tags, state: what a device gets that was never seen before.
    old_md5, old_sha256, old_until: H(A1) of the password before, which opens too until then; 0.0 for none.
    """

    name: str
    ouis: tuple[str, ...] = ()
    product_classes: tuple[str, ...] = ()
    serial_numbers: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    state: DeviceState = DeviceState.APPROVED
    enabled: bool = True
    note: str = ""
    made: float = 0.0
    old_md5: str = ""
    old_sha256: str = ""
    old_until: float = 0.0


class CredentialRecord(Struct, frozen=True, kw_only=True):
    """What a CPE logs in with: the Digest H(A1) per algorithm, never the password.

    device: the one device that may use it, or "" where it is shared (bootstrap of a group). pending: it was sent to the device, which
    has not used it yet: until then the shared one opens, too. group: what it opens where a group of devices shares it.
    """

    username: str
    device: str = ""
    ha1_md5: str
    ha1_sha256: str
    created: float = 0.0
    pending: bool = False
    group: GroupLogin | None = None


class RefusalRecord(Struct, frozen=True, kw_only=True):
    """A device that came with a group's login and was none of the group's. why: in words; at: seconds since 1970."""

    device: str
    address: str
    at: float
    why: str


class Scope(StrEnum):
    """What a token opens: reading; devices, tasks and files, too; tokens and the devices' passwords, too."""

    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


class TokenRecord(Struct, frozen=True, kw_only=True):
    """A bearer token of the REST API. digest: SHA-256 of the token, hexadecimal; the token itself is not kept."""

    digest: str
    name: str
    created: float
    scope: Scope = Scope.ADMIN
    user: str = ""
    expires: float | None = None


class UserRecord(Struct, frozen=True, kw_only=True):
    """Somebody who logs in with a password. password: its Argon2id hash in the PHC string form; enabled: whether a login works."""

    name: str
    password: str
    scope: Scope
    created: float
    enabled: bool = True
    full_name: str = ""
    last_login: float | None = None


class AuditRecord(Struct, frozen=True, kw_only=True):
    """A change that somebody asked for over REST.

    by: the user's name, or that of the token. status: of the answer; 0 while there is none, or where the ACS died before it.
    what: the request's body with secrets masked, shortened.
    """

    id: str
    at: float
    by: str
    scope: str
    address: str
    method: str
    path: str
    status: int = 0
    what: str = ""


class WebhookRecord(Struct, frozen=True, kw_only=True):
    """An address that is told of events. secret: the key of the signature. events: kinds, all where there are none.

    at, status, trouble tell of the last delivery: when, the status (0: no answer), and in words what was wrong.
    failures: how many in a row were not taken; again: when the next one is tried, where the receiver is given a rest.
    dropped: events that were never taken and are gone, because they were too old or too many; dropped_at: when the last of them went.
    """

    name: str
    url: str
    secret: str
    created: float
    events: tuple[str, ...] = ()
    enabled: bool = True
    at: float | None = None
    status: int = 0
    trouble: str = ""
    failures: int = 0
    again: float | None = None
    dropped: int = 0
    dropped_at: float | None = None


class DeliveryRecord(Struct, frozen=True, kw_only=True):
    """An event on its way to a webhook. body: the JSON that is posted, always the same; made: seconds since 1970."""

    id: str
    webhook: str
    kind: str
    body: bytes
    made: float
    attempts: int = 0


class Document(Struct, frozen=True):
    """A row of those kinds of which there are few and that nobody searches by content: users, webhooks, their deliveries, the audit log.

    record: MessagePack of the kind's own class. due: a time by which it is found again, seconds since 1970.
    """

    kind: str
    name: str
    record: bytes
    due: float | None = None


class FileRecord(Struct, frozen=True, kw_only=True):
    """A stored file's description; its content lies in the data directory under its SHA-256.

    device, task: where a device sent the file (Upload); "" for a file that an operator added.
    """

    name: str
    size: int
    sha256: str
    file_type: str = ""
    version: str = ""
    model: str = ""
    created: float = 0.0
    device: str = ""
    task: str = ""
