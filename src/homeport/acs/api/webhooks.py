"""Routes of webhooks: other programs that are told of events."""

from typing import Literal

from fastapi import APIRouter, Depends, Response
from msgspec import Struct
from msgspec.structs import asdict
from pydantic import BaseModel, ConfigDict, Field

from homeport.acs.api import shapes
from homeport.acs.api.app import Services, Use, administrator
from homeport.acs.api.quick import Quick
from homeport.acs.records import WebhookRecord
from homeport.acs.services.masking import plain_url

router = APIRouter(route_class=Quick, tags=["webhooks"], dependencies=[Depends(administrator)])

Kind = Literal["device", "file", "inform", "request", "session", "task", "values"]


class NewWebhook(BaseModel):
    """Somebody who is to be told."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=64, examples=["billing"])
    url: str = Field(min_length=1, max_length=2_000, examples=["https://billing.example/homeport"])
    events: list[Kind] = Field([], description="Kinds of events; none: all.")
    secret: str = Field(
        "",
        max_length=200,
        description="Key of the signature, 16 characters or more; empty: one is made and shown this once.",
    )


class WebhookPatch(BaseModel):
    """What is to change."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = Field(None, min_length=1, max_length=2_000)
    events: list[Kind] | None = None
    enabled: bool | None = None


class LastDelivery(Struct):
    """What became of the last delivery. status: of the receiver's answer, null where there was none; trouble: null where it was taken."""

    at: shapes.Moment
    status: int | None
    trouble: str | None


class DroppedEvents(Struct):
    """Events that a webhook has never taken and that are gone, too old or too many: how many so far, and when the last went."""

    events: int
    at: shapes.Moment


class Webhook(Struct):
    """Somebody who is told of events. url: without the password in it. events: kinds; empty: all.

    waiting: events on their way, counted up to 10,000; waiting_since: of the oldest. failures: deliveries in a row that were not taken;
    next_try: when the next one begins where the receiver is given a rest, else null. dropped: null where none were.
    """

    name: str
    url: str
    events: tuple[str, ...]
    enabled: bool
    created: shapes.Moment
    last: LastDelivery | None
    failures: int
    next_try: shapes.Moment | None
    waiting: int
    waiting_since: shapes.Moment | None
    dropped: DroppedEvents | None


class MadeWebhook(Webhook):
    """A new webhook. secret: the key of its signatures, shown this once."""

    secret: str


class WebhookPage(shapes.Page[Webhook]):
    """All webhooks, by name."""


async def _shape(use: Services, hook: WebhookRecord) -> Webhook:
    last = None
    if hook.at is not None:
        last = LastDelivery(shapes.at(hook.at), hook.status or None, hook.trouble or None)
    dropped = DroppedEvents(hook.dropped, shapes.at(hook.dropped_at)) if hook.dropped_at is not None else None
    waiting, since = await use.webhooks.queue(hook.name)
    return Webhook(
        name=hook.name,
        url=plain_url(hook.url),  # a password in it was typed once, and is shown to nobody
        events=hook.events,
        enabled=hook.enabled,
        created=shapes.at(hook.created),
        last=last,
        failures=hook.failures,
        next_try=shapes.moment(hook.again) if hook.enabled and waiting else None,
        waiting=waiting,
        waiting_since=shapes.moment(since),
        dropped=dropped,
    )


@router.get("/webhooks")
async def list_webhooks(use: Use) -> WebhookPage:
    """All webhooks, by name."""
    return WebhookPage([await _shape(use, h) for h in await use.webhooks.all()], None)


@router.post("/webhooks", status_code=201)
async def create_webhook(use: Use, body: NewWebhook) -> MadeWebhook:
    """Make a webhook; the key of its signatures is shown this once."""
    made = await use.webhooks.make(body.name, body.url, tuple(body.events), body.secret)
    return MadeWebhook(**asdict(await _shape(use, made)), secret=made.secret)


@router.get("/webhooks/{name}")
async def get_webhook(use: Use, name: str) -> Webhook:
    """One webhook, with what became of the last delivery."""
    return await _shape(use, await use.webhooks.get(name))


@router.patch("/webhooks/{name}")
async def change_webhook(use: Use, name: str, body: WebhookPatch) -> Webhook:
    """Change a webhook; one that has rested after failures is tried again at once."""
    events = None if body.events is None else tuple(body.events)
    return await _shape(use, await use.webhooks.change(name, url=body.url, events=events, enabled=body.enabled))


@router.delete("/webhooks/{name}", status_code=204)
async def delete_webhook(use: Use, name: str) -> Response:
    """Take a webhook away, with what waits for it."""
    await use.webhooks.remove(name)
    return Response(status_code=204)


@router.post("/webhooks/{name}/ping")
async def ping_webhook(use: Use, name: str) -> Webhook:
    """Send a test event now; `last` says what came of it."""
    return await _shape(use, await use.webhooks.ping(name))
