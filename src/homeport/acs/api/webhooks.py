"""Routes of webhooks: other programs that are told of events."""

from typing import Any, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field

from homeport.acs.api import shapes
from homeport.acs.api.app import Use, administrator
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


def _shape(hook: WebhookRecord) -> dict[str, Any]:
    return {
        "name": hook.name,
        "url": plain_url(hook.url),  # a password in it was typed once, and is shown to nobody
        "events": list(hook.events),
        "enabled": hook.enabled,
        "created": shapes.moment(hook.created),
        "last": None
        if hook.at is None
        else {"at": shapes.moment(hook.at), "status": hook.status or None, "trouble": hook.trouble or None},
    }


@router.get("/webhooks")
async def list_webhooks(use: Use) -> dict[str, Any]:
    """All webhooks, by name."""
    return {"items": [_shape(h) for h in await use.webhooks.all()], "next": None}


@router.post("/webhooks", status_code=201)
async def create_webhook(use: Use, body: NewWebhook) -> dict[str, Any]:
    """Make a webhook; the key of its signatures is shown this once."""
    made = await use.webhooks.make(body.name, body.url, tuple(body.events), body.secret)
    return _shape(made) | {"secret": made.secret}


@router.get("/webhooks/{name}")
async def get_webhook(use: Use, name: str) -> dict[str, Any]:
    """One webhook, with what became of the last delivery."""
    return _shape(await use.webhooks.get(name))


@router.patch("/webhooks/{name}")
async def change_webhook(use: Use, name: str, body: WebhookPatch) -> dict[str, Any]:
    """Change a webhook; one that has rested after failures is tried again at once."""
    events = None if body.events is None else tuple(body.events)
    return _shape(await use.webhooks.change(name, url=body.url, events=events, enabled=body.enabled))


@router.delete("/webhooks/{name}", status_code=204)
async def delete_webhook(use: Use, name: str) -> Response:
    """Take a webhook away, with what waits for it."""
    await use.webhooks.remove(name)
    return Response(status_code=204)


@router.post("/webhooks/{name}/ping")
async def ping_webhook(use: Use, name: str) -> dict[str, Any]:
    """Send a test event now; `last` says what came of it."""
    return _shape(await use.webhooks.ping(name))
