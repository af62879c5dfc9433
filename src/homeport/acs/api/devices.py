"""Routes of devices: find, read, admit, tag, forget, bring under another id."""

from contextlib import nullcontext
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from homeport.acs.api import shapes
from homeport.acs.api.app import Use, administrator
from homeport.acs.api.pieces import Pieces, page, page_of_parameters
from homeport.acs.api.quick import Quick
from homeport.acs.api.shapes import Device, DevicePage, ParameterPage
from homeport.acs.slices import in_slices
from homeport.acs.where import parse

router = APIRouter(route_class=Quick, tags=["devices"])

Limit = Annotated[int, Query(ge=1, le=1_000, description="At most so many rows.")]
Cursor = Annotated[str | None, Query(max_length=2_400, description="`next` of the page before.")]
Where = Annotated[str | None, Query(description='A condition, e.g. model == "797xx" and "gold" in tags')]
Under = Annotated[str, Query(max_length=256, description="A parameter, or an object with its dot for all below.")]


LONG = 10_000
"""Rows of a page that takes some megabytes of memory."""


class Credentials(BaseModel):
    """What a device logs in with."""

    model_config = ConfigDict(extra="forbid")

    username: str = Field(min_length=1, max_length=256)
    password: str = Field(min_length=1, max_length=256)


class Switches(BaseModel):
    """How to speak with a device. null leaves a switch to the ACS, which learns it; one that is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    prolog: bool | None = Field(None, description="Begin messages with an XML declaration.")
    max_names: int | None = Field(None, ge=1, le=256, description="Most parameters in one request.")
    level_by_level: bool | None = Field(None, description="Read names one level at a time.")
    partial_paths: bool | None = Field(None, description="The device can read values by the path of an object.")
    id_prefix: str | None = Field(
        None, pattern="^[A-Za-z0-9_.-]{0,32}$", description="Text before the number in the ID of our requests."
    )


class Merge(BaseModel):
    """Which device this one has become."""

    model_config = ConfigDict(extra="forbid")

    into: str = Field(min_length=1, max_length=2_400, description="The id under which the device comes now.")


class Identity(BaseModel):
    """The identity under which the device will come; a part that is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    oui: str | None = Field(None, max_length=64, pattern=r"\S", description="Manufacturer, six hexadecimal digits.")
    product_class: str | None = Field(None, max_length=64, description="May be empty.")
    serial_number: str | None = Field(None, max_length=64, pattern=r"\S", description="Not empty.")


class DevicePatch(BaseModel):
    """What is to change."""

    model_config = ConfigDict(extra="forbid")

    behaviour: Switches


@router.get("/devices")
async def list_devices(use: Use, where: Where = None, limit: Limit = 100, cursor: Cursor = None) -> Pieces[DevicePage]:
    """Devices in the order of their ids.

    A page may be shorter than `limit` before the last one: `next` alone says whether there is more.
    """
    condition = parse(where, now=use.hub.clock()) if where else None
    found = await use.hub.store.devices(condition, limit=limit, cursor=cursor)
    return Pieces(await in_slices(page(found.items, shapes.device, found.next, use.hub.clock())))


@router.get("/devices/{id}")
async def get_device(use: Use, id: str) -> Device:
    """One device."""
    return shapes.device(await use.devices.get(id), use.hub.clock())


@router.patch("/devices/{id}")
async def patch_device(use: Use, id: str, body: DevicePatch) -> Device:
    """Change how the ACS speaks with a device."""
    changes = body.behaviour.model_dump(exclude_unset=True)
    return shapes.device(await use.devices.behave(id, changes), use.hub.clock())


@router.delete("/devices/{id}", status_code=204)
async def delete_device(use: Use, id: str) -> Response:
    """Forget a device and all that belongs to it; it comes back as new with its next Inform."""
    await use.devices.delete(id)
    return Response(status_code=204)


@router.post("/devices/{id}/approve")
async def approve_device(use: Use, id: str) -> Device:
    """Let a device in that waits in quarantine or was refused; it is called, and set up as after a bootstrap."""
    return shapes.device(await use.devices.approve(id), use.hub.clock())


@router.post("/devices/{id}/refuse")
async def refuse_device(use: Use, id: str) -> Device:
    """Shut a device out."""
    return shapes.device(await use.devices.refuse(id), use.hub.clock())


@router.post("/devices/{id}/refresh")
async def refresh_device(use: Use, id: str) -> Device:
    """Have the whole tree read anew in the device's next session."""
    return shapes.device(await use.devices.refresh(id), use.hub.clock())


@router.post("/devices/{id}/merge")
async def merge_device(use: Use, id: str, body: Merge) -> Device:
    """Give all that belongs to this device to the one that it has become, and forget it."""
    return shapes.device(await use.devices.merge(id, body.into), use.hub.clock())


@router.post("/devices/{id}/rename")
async def rename_device(use: Use, id: str, body: Identity) -> Device:
    """Bring a device under another id, which does not exist yet."""
    moved = await use.devices.rename(
        id, oui=body.oui, product_class=body.product_class, serial_number=body.serial_number
    )
    return shapes.device(moved, use.hub.clock())


@router.put("/devices/{id}/credentials", status_code=204, dependencies=[Depends(administrator)])
async def put_credentials(use: Use, id: str, body: Credentials) -> Response:
    """Set what the device logs in with; from then on it must."""
    await use.devices.set_credential(id, body.username, body.password)
    return Response(status_code=204)


@router.delete("/devices/{id}/credentials", status_code=204, dependencies=[Depends(administrator)])
async def delete_credentials(use: Use, id: str) -> Response:
    """Forget what the device logs in with: after a factory reset at the device it comes in with a shared login again."""
    await use.devices.forget_credential(id)
    return Response(status_code=204)


@router.put("/devices/{id}/tags/{tag:path}")
async def put_tag(use: Use, id: str, tag: str) -> Device:
    """Give the device a tag."""
    return shapes.device(await use.devices.tag(id, tag), use.hub.clock())


@router.delete("/devices/{id}/tags/{tag:path}")
async def delete_tag(use: Use, id: str, tag: str) -> Device:
    """Take a tag from the device."""
    return shapes.device(await use.devices.untag(id, tag), use.hub.clock())


@router.get("/devices/{id}/parameters")
async def get_parameters(
    use: Use, id: str, path: Under = "", limit: Annotated[int, Query(ge=1, le=100_000)] = 1_000, cursor: Cursor = None
) -> Pieces[ParameterPage]:
    """Names and values as last seen, in the order of their paths."""
    await use.devices.get(id)
    async with use.long_answers if limit > LONG else nullcontext():
        rows, following = await use.hub.store.values_page(id, path, after=cursor, limit=limit)
        return Pieces(await in_slices(page_of_parameters(rows, following)))
