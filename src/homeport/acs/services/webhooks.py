"""Webhooks: other programs are told of events by signed POSTs, in order, at least once, again and again until they answer.

An event waits in the store, within the write-behind time like all that devices repeat; each webhook has a queue of its own, so a receiver
that does not answer delays nobody else; what is too old there, or one too many, is dropped, counted and told. Of several processes on one
database one sends to a webhook at a time.
"""

import asyncio
import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import structlog
from msgspec.structs import replace

from homeport.acs.records import DeliveryRecord, Document, WebhookRecord
from homeport.acs.services.hub import Hub, Invalid, NotFound, Refused
from homeport.acs.services.masking import MASK
from homeport.acs.services.named import Named
from homeport.acs.storage.interface import Conflict, DocumentChange, UnitOfWork
from homeport.errors import StoreError, StoreUnavailable

EVENTS: Final = ("device", "file", "inform", "request", "session", "task", "values")
"""What there is to be told of; the kinds of `GET events`."""

AT_A_TIME: Final = 50
SHORTEST_SECRET: Final = 16
RELOAD_EVERY: Final = 5.0
FIRST_WAIT, LONGEST_WAIT = 5.0, 900.0
"""Seconds before the first repetition, and at most; it doubles in between."""

COUNTED_AFTER: Final = 64
"""The queue is looked at again when this part of what may wait has come anew, or after RELOAD_EVERY: by so much it may be exceeded."""

TOLD_EVERY: Final = 60.0
"""Seconds between two lines of the log that events of a webhook are dropped."""

LEASE: Final = 30.0
"""Seconds for which a process is the sender of a webhook; it takes it again in time while it lives."""

MOST_COUNTED: Final = 10_000
"""So many waiting events are counted, and no more."""

GONE: Final = 410
"""The status by which a receiver says that it wants no more: the webhook is switched off."""

_delivery = msgspec.msgpack.Decoder(DeliveryRecord).decode
_encode = msgspec.msgpack.Encoder().encode
_json = msgspec.json.Encoder().encode
_log = structlog.get_logger("homeport.acs.webhooks")

Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[int]]
"""(URL, body, headers) -> status. Raises OSError with a sentence where there is no answer."""


def signature(secret: str, at: int, body: bytes) -> str:
    """What stands in `Homeport-Signature`: `t=SECONDS,v1=HEX`, an HMAC-SHA256 with the secret over `SECONDS.` and the body."""
    mac = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256)
    return f"t={at},v1={mac.hexdigest()}"


class Webhooks:
    """The verbs of webhooks, and the sending. Made once for each process."""

    def __init__(self, hub: Hub, post: Post, *, monotonic: Callable[[], float]) -> None:
        self._hub = hub
        self._store = hub.store
        self._list = Named(hub.store, "webhook", WebhookRecord)
        self._post = post
        self._monotonic = monotonic
        self._hooks: dict[str, WebhookRecord] = {}
        self._rest: dict[str, tuple[int, float]] = {}
        """Webhooks that did not answer: how often, and until when (monotonic) they are left alone."""
        self._lease: dict[str, tuple[float, bytes]] = {}
        """Webhooks that this process sends to: until when (monotonic), and the row that says so."""
        self._added: dict[str, int] = {}
        """Webhooks whose queue was looked at: how many events this process has added to it since."""
        self._looked = float("-inf")
        self._told: dict[str, tuple[float, int]] = {}
        """Webhooks that lose events: when that was told last (monotonic), and how many went since."""
        self._wake = asyncio.Event()
        self._sending: dict[str, asyncio.Task[None]] = {}

    # --- the list of webhooks ---

    async def all(self) -> list[WebhookRecord]:
        """All webhooks, by name."""
        return await self._list.all()

    async def get(self, name: str) -> WebhookRecord:
        """The webhook. Raises NotFound."""
        return await self._list.get(name)

    async def make(self, name: str, url: str, events: tuple[str, ...], secret: str = "") -> WebhookRecord:
        """A new webhook. Raises Refused."""
        self._list.check(name)
        _check(url, events)
        if secret and (len(secret) < SHORTEST_SECRET or not secret.isprintable()):
            raise Invalid(
                f"secret: a key that can be guessed proves nothing; give {SHORTEST_SECRET} printable characters or more, or none"
            )
        record = WebhookRecord(
            name=name,
            url=url,
            secret=secret or secrets.token_urlsafe(32),
            created=self._hub.clock(),
            events=tuple(sorted(set(events))),
        )
        try:
            await self._store.commit(self._list.unit(name, record, expect=b""))
        except Conflict:
            raise Refused(f"there is a webhook {name!r} already") from None
        await self.reload()
        return record

    async def change(
        self, name: str, *, url: str | None = None, events: tuple[str, ...] | None = None, enabled: bool | None = None
    ) -> WebhookRecord:
        """Change what is given. Raises NotFound, Refused."""

        def changed(old: WebhookRecord) -> WebhookRecord:
            return replace(
                old,
                url=old.url if url is None else url,
                events=old.events if events is None else tuple(sorted(set(events))),
                enabled=old.enabled if enabled is None else enabled,
                trouble="" if enabled else old.trouble,
                failures=0,
                again=None,
            )

        new = changed(await self.get(name))
        _check(new.url, new.events)
        new = await self._list.change(name, changed)
        self._rest.pop(name, None)
        await self.reload()
        self._wake.set()
        return new

    async def remove(self, name: str) -> None:
        """Take the webhook away, with what waits for it. Raises NotFound."""
        await self._list.remove(name)
        for known in (self._rest, self._added, self._told):
            known.pop(name, None)
        await self.reload()
        await self._store.forget_documents(_queue(name), due_before=self._hub.clock() + 1e9)

    async def ping(self, name: str) -> WebhookRecord:
        """Send a test event now and wait for the answer. Raises NotFound."""
        hook = await self.get(name)
        delivery = self._made(hook, {"kind": "ping"})
        await self._tell(hook, delivery)
        return await self.get(name)

    async def queue(self, name: str) -> tuple[int, float | None]:
        """How many events wait for the webhook, counted up to `MOST_COUNTED`, and since when the oldest does (seconds since 1970)."""
        count = await self._store.document_count(_queue(name), MOST_COUNTED)
        if not count:
            return 0, None
        oldest = await self._store.documents(_queue(name), limit=1, due=self._hub.clock() + 1e9)
        return count, next((document.due for document in oldest.items), None)

    # --- events ---

    async def reload(self) -> None:
        """Learn which webhooks there are; from then on events are taken down for them. Who was changed, wherever, has no rest any more."""
        hooks = {h.name: h for h in await self.all() if h.enabled}
        for name in list(self._rest):
            known = self._hooks.get(name)
            if name not in hooks or (known is not None and known.again is not None and hooks[name].again is None):
                del self._rest[name]
        self._hooks = hooks
        self._hub.bus.tap = self._happened if self._hooks else None

    def _happened(self, event: dict[str, Any]) -> None:
        unit = UnitOfWork()
        for hook in self._hooks.values():
            if not hook.events or event["kind"] in hook.events:
                delivery = self._made(hook, event)
                if hook.name in self._added:
                    self._added[hook.name] += 1
                unit.documents.append(
                    DocumentChange(Document(_queue(hook.name), delivery.id, _encode(delivery), delivery.made))
                )
        if unit.documents:
            try:
                self._store.later(unit)
            except StoreUnavailable as e:
                _log.warning("an event is lost for the webhooks", reason=str(e), kind=event["kind"])
            self._wake.set()

    def _made(self, hook: WebhookRecord, event: dict[str, Any]) -> DeliveryRecord:
        id, now = self._hub.new_id(), self._hub.clock()
        data = {key: value for key, value in event.items() if key != "kind"}
        body = _json({"id": id, "kind": event["kind"], "at": now, "data": data})
        return DeliveryRecord(id=id, webhook=hook.name, kind=event["kind"], body=body, made=now)

    # --- sending ---

    async def run(self) -> None:
        """Send what waits, until cancelled."""
        try:
            while True:
                try:
                    await self.reload()
                    await self._trim()
                    self._start_sending()
                except StoreError as e:
                    _log.warning("webhooks wait for the store", reason=str(e))
                except Exception:
                    _log.exception("the list of webhooks cannot be read; it is tried again")
                try:
                    async with asyncio.timeout(self._until_next()):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()
        finally:
            for task in self._sending.values():
                task.cancel()
            await asyncio.gather(*self._sending.values(), return_exceptions=True)

    def _until_next(self) -> float:
        """Seconds until somebody's rest is over, or the list is read again."""
        now = self._monotonic()
        left = [until - now for _, until in self._rest.values()]
        return min([RELOAD_EVERY, *(x + 0.01 for x in left if x > 0)])

    async def _trim(self) -> None:
        """Drop the oldest events of webhooks that have more than they may. Raises StoreError."""
        most, now = self._hub.settings.webhook_keep_events, self._monotonic()
        by_time = now - self._looked >= RELOAD_EVERY
        if by_time:
            self._looked = now
        for name in list(self._hooks):
            added = self._added.get(name)
            if added is None or added > most // COUNTED_AFTER or (by_time and added):
                self._added[name] = 0
                since = await self._store.due_since(_queue(name), most)
                if since is not None:
                    await self._forget(name, since)

    async def _forget(self, name: str, before: float) -> None:
        """Drop the events of a webhook that were made before. Raises StoreError."""
        gone = await self._store.forget_documents(_queue(name), due_before=before)
        if not gone:
            return
        stats, at = self._hub.stats, self._hub.clock()
        stats.webhook_drops[name] = stats.webhook_drops.get(name, 0) + gone
        told, untold = self._told.get(name, (float("-inf"), 0))
        if self._monotonic() >= told + TOLD_EVERY:
            self._told[name] = (self._monotonic(), 0)
            _log.warning(
                "events for a webhook were dropped: it did not take them in time",
                webhook=name,
                events=gone + untold,
                cure="see to its receiver, or raise webhook_keep_hours or webhook_keep_events",
            )
        else:
            self._told[name] = (told, untold + gone)
        with contextlib.suppress(NotFound):  # taken away meanwhile
            await self._list.change(name, lambda old: replace(old, dropped=old.dropped + gone, dropped_at=at))

    def _start_sending(self) -> None:
        self._sending = {name: task for name, task in self._sending.items() if not task.done()}
        for hook in self._hooks.values():
            rests = self._rest.get(hook.name, (0, 0.0))[1] > self._monotonic()
            if hook.name not in self._sending and not rests:
                self._sending[hook.name] = asyncio.create_task(self._send_all(hook))

    async def _send_all(self, hook: WebhookRecord) -> None:
        """Everything that waits for one webhook, the oldest first, until it does not answer."""
        try:
            if not await self._may_send(hook):
                return
            kept = self._hub.sure() - self._hub.settings.webhook_keep_hours * 3600
            await self._forget(hook.name, kept)
            while True:
                now = self._hub.clock()
                page = await self._store.documents(_queue(hook.name), limit=AT_A_TIME, due=now)
                if not page.items or not await self._may_send(hook):
                    return
                for document in page.items:
                    if not await self._may_send(hook):
                        return  # so many slow answers that another process has gone on
                    if not await self._tell(hook, _delivery(document.record)):
                        return
                    unit = UnitOfWork()
                    unit.documents.append(DocumentChange(document, gone=True))
                    self._store.later(unit)
        except NotFound:
            return  # the webhook was taken away meanwhile
        except StoreError as e:
            _log.warning("a webhook waits for the store", webhook=hook.name, reason=str(e))
        except Exception:
            _log.exception("an event for a webhook could not be sent", webhook=hook.name)

    async def _may_send(self, hook: WebhookRecord) -> bool:
        """Whether this process is the one that sends to the webhook."""
        node, channel = self._store.node, self._store.channel
        if channel is None:
            return True
        until, mine = self._lease.get(hook.name, (0.0, b""))
        if until - self._monotonic() > LEASE / 2:
            return True
        now = self._hub.clock()
        row = await self._store.document("webhook-sender", hook.name)
        if row is not None and row.record != mine and (row.due or 0.0) > now:
            return False
        record = _encode({"node": node, "at": now})
        unit = UnitOfWork()
        taken = Document("webhook-sender", hook.name, record, now + LEASE)
        unit.documents.append(DocumentChange(taken, expect=row.record if row is not None else b""))
        try:
            await self._store.commit(unit)
        except Conflict:
            return False
        self._lease[hook.name] = (self._monotonic() + LEASE, record)
        return True

    async def _tell(self, hook: WebhookRecord, delivery: DeliveryRecord) -> bool:
        """Whether the receiver took it; what it said is kept in the webhook's row where that is news."""
        at = int(self._hub.clock())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Homeport",
            "Homeport-Event": delivery.kind,
            "Homeport-Delivery": delivery.id,
            "Homeport-Signature": signature(hook.secret, at, delivery.body),
        }
        try:
            status, trouble = await self._post(hook.url, delivery.body, headers), ""
        except OSError as e:
            status, trouble = 0, str(e)
        good = 200 <= status < 300
        if not good and not trouble:
            trouble = f"it answered {status}"
        count, wait = 0, 0.0
        if good:
            self._rest.pop(hook.name, None)
        else:
            count = self._rest.get(hook.name, (0, 0.0))[0] + 1
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (count - 1))
            self._rest[hook.name] = (count, self._monotonic() + wait)
            _log.warning("a webhook did not take an event", webhook=hook.name, reason=trouble, again_in=wait)
        known = self._hooks.get(hook.name, hook)
        if not good or (known.status, known.trouble) != (status, trouble) or known.at is None or at - known.at > 60:
            told = await self._list.change(
                hook.name,
                lambda old: replace(
                    old,
                    at=float(at),
                    status=status,
                    trouble=trouble,
                    failures=count,
                    again=None if good or status == GONE else at + wait,
                    enabled=old.enabled and status != GONE,
                ),
            )
            if hook.name in self._hooks:
                self._hooks[hook.name] = told
        return good


def _queue(name: str) -> str:
    return f"delivery:{name}"


def _check(url: str, events: tuple[str, ...]) -> None:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fits = False
    if not fits or len(url) > 2_000 or not url.isprintable():
        raise Invalid(f"{url[:100]!r} is no address for a webhook; write https://HOST/PATH")
    if MASK in url:
        raise Invalid("url: the password in it is masked; write it anew")
    for kind in events:
        if kind not in EVENTS:
            raise Invalid(f"there are no events of the kind {kind!r}; there are {', '.join(EVENTS)}")
