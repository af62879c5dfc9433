"""Which events of an Inform are stored already, because our InformResponse to an earlier one was lost: the history shows each once.

Asked only for Informs with a RetryCount or after a start, so that nearly all pay nothing for it. In doubt an event is stored: told
twice it puzzles, left out it hides a boot.
"""

from typing import Final

from homeport.acs.records import DeviceRecord, EventRecord
from homeport.acs.storage.interface import Store
from homeport.codec import messages as m
from homeport.terms import EventCode

LATELY: Final = 50
"""Events, and sessions, of a device among which one that is told again is looked for."""

KEYED_WITHIN: Final = 3_600.0
"""Seconds within which an event with the same key is the same one; an operator may use a key again another day."""

ANSWER_AWAITED: Final = 60.0
"""Seconds that a device waits for an answer before it counts the session as failed (30 at least), and a little for what it does then."""

UNANSWERED: Final = 2
"""Messages in the history of a session whose device was not heard of again: its Inform and our InformResponse."""

_MINIMUM_WAIT: Final = 5.0
_MULTIPLIER: Final = 2.0
_LONGEST: Final = 7 * 86_400.0


def retried_within(count: int, minimum: float = _MINIMUM_WAIT, multiplier: float = _MULTIPLIER) -> float:
    """Seconds after its first try in which a device has made retry number `count`.

    minimum: seconds. multiplier: 2.0 where the parameter says 2000. The longest wait before each retry, and each answer waited for.
    Source: TR-069a6 3.2.1.1; the tenth interval is the last that grows.
    """
    whole, wait = 0.0, minimum
    for n in range(1, count + 1):
        wait = min(wait * multiplier, _LONGEST) if n <= 10 else wait
        whole += wait + ANSWER_AWAITED
        if whole >= _LONGEST:
            return _LONGEST
    return whole


async def told_before(store: Store, known: DeviceRecord, inform: m.Inform, now: float) -> frozenset[tuple[str, str]]:
    """Events (code, key) of this Inform that are stored already. inform: one with a RetryCount. Raises StoreUnavailable.

    Ends of commanded restarts and transfers by their keys, which are their own. All others where the device has not been heard of after
    the Inform that told them, neither in that session nor in one since then, and the time of its retries is not over: a device that
    has our InformResponse tells those events no more, and one that boots anew begins to count anew.
    """
    told = {(e.event_code, e.command_key) for e in inform.event if e.event_code != EventCode.CONNECTION_REQUEST}
    if not told:
        return frozenset()
    rows = [e for e in (await store.events_of(known.id, limit=LATELY, cursor=None)).items if _key(e) in told]
    again = {_key(e) for e in rows if e.code.startswith("M ") and e.command_key and e.at >= now - KEYED_WITHIN}
    if not any(_key(e) not in again for e in rows):
        return frozenset(again)
    minimum, multiplier = await _intervals(store, known)
    since = now - retried_within(inform.retry_count, minimum, multiplier)
    heard_at = await _heard_at(store, known.id)
    newest: dict[tuple[str, str], EventRecord] = {}
    for row in rows:
        newest.setdefault(_key(row), row)
    return frozenset(again | {key for key, row in newest.items() if row.at >= since and row.at > heard_at})


async def told_before_start(
    store: Store, known: DeviceRecord, inform: m.Inform, now: float
) -> frozenset[tuple[str, str]]:
    """The same for an Inform without RetryCount that tells of a start: ends of commanded restarts and transfers, by their keys.

    A device that was cut off before our answer and has started since tells them again, and counts its retries from 0. Where a task with
    that key was sent after the event was stored, it is the end of that one: an operator may use a key again. Raises StoreUnavailable.
    """
    ends = {(e.event_code, e.command_key) for e in inform.event if e.event_code.startswith("M ") and e.command_key}
    if not ends:
        return frozenset()
    page = await store.events_of(known.id, limit=LATELY, cursor=None)
    stored = {_key(e): e.at for e in reversed(page.items) if _key(e) in ends and e.at >= now - KEYED_WITHIN}
    sent = [(t.command_key, t.started) for t in await store.open_tasks(known.id) if t.started is not None]
    return frozenset(end for end, at in stored.items() if not any(key == end[1] and since > at for key, since in sent))


def _key(event: EventRecord) -> tuple[str, str]:
    return event.code, event.command_key


async def _heard_at(store: Store, device: str) -> float:
    """When the device's last session began in which it went on after its Inform, and so had our InformResponse.

    A session without a row was open when its process was killed, or is open elsewhere: nothing says that it went on.
    """
    page = await store.sessions_of(device, limit=LATELY, cursor=None)
    went_on = [s.started for s in page.items if s.message_count > UNANSWERED or s.outcome == "success"]
    return max(went_on, default=float("-inf"))


async def _intervals(store: Store, known: DeviceRecord) -> tuple[float, float]:
    """CWMPRetryMinimumWaitInterval in seconds and CWMPRetryIntervalMultiplier as a factor, as far as they were read."""
    found = []
    for name, default, unit in (
        ("CWMPRetryMinimumWaitInterval", _MINIMUM_WAIT, 1.0),
        ("CWMPRetryIntervalMultiplier", _MULTIPLIER, 1_000.0),
    ):
        path = f"{known.root}ManagementServer.{name}"
        values = await store.values(known.id, path) if known.root else {}
        text = values[path].value if path in values else None
        number = int(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 6 else 0
        found.append(number / unit if number else default)
    return found[0], max(1.0, found[1])
