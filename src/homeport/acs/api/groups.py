"""Routes of groups: logins that many devices share, and which devices they are for."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Response
from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field

from homeport.acs.api import shapes
from homeport.acs.api.app import Use, administrator
from homeport.acs.api.quick import Quick
from homeport.acs.records import CredentialRecord, DeviceState, RefusalRecord
from homeport.acs.services.devices import MOST_TAGS
from homeport.acs.services.groups import LONGEST_OVERLAP, MOST_PATTERNS, group_of

router = APIRouter(route_class=Quick, tags=["groups"], dependencies=[Depends(administrator)])

Pattern = Annotated[str, Field(min_length=1, max_length=256)]
Patterns = Annotated[list[Pattern], Field(max_length=MOST_PATTERNS)]
Tags = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=MOST_TAGS)]
Password = Annotated[str, Field(max_length=256)]
State = Literal["approved", "quarantined"]
Note = Annotated[str, Field(pattern=shapes.ONE_LINE, max_length=1_000)]

ANY = "`*` is any text, `?` one character; none: any."


class NewGroup(BaseModel):
    """A login for many devices. A device is the group's where each list that is not empty has a pattern that fits."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=64, examples=["fibre"])
    username: str = Field("", max_length=256, description="What the devices log in as; empty: the name.")
    password: Password = Field("", description="Empty: one is made and shown this once.")
    ouis: Patterns = Field([], description=f"Patterns of the OUI. {ANY}", examples=[["00D0F1"]])
    product_classes: Patterns = Field([], description=f"Patterns of the ProductClass. {ANY}")
    serial_numbers: Patterns = Field([], description=f"Patterns of the SerialNumber. {ANY}", examples=[["DKT00*"]])
    ids: Patterns = Field([], description=f"Patterns of the device's id. {ANY}")
    tags: Tags = Field([], description="What a device gets that was never seen before.")
    state: State = Field("approved", description="As what such a device begins.")
    note: Note = ""


class GroupPatch(BaseModel):
    """What is to change; it counts from the devices' next sessions on."""

    model_config = ConfigDict(extra="forbid")

    ouis: Patterns | None = None
    product_classes: Patterns | None = None
    serial_numbers: Patterns | None = None
    ids: Patterns | None = None
    tags: Tags | None = None
    state: State | None = None
    enabled: bool | None = Field(None, description="false: nobody comes in by this login.")
    note: Note | None = None


class Rotation(BaseModel):
    """Another password for a group."""

    model_config = ConfigDict(extra="forbid")

    password: Password = Field("", description="Empty: one is made and shown this once.")
    overlap: float = Field(
        604_800.0, ge=0.0, le=LONGEST_OVERLAP, description="Seconds for which the password before opens, too."
    )


class Group(Struct):
    """A login that many devices share. old_password_until: until when the password before opens, too; null where it does not."""

    name: str
    username: str
    enabled: bool
    ouis: tuple[str, ...]
    product_classes: tuple[str, ...]
    serial_numbers: tuple[str, ...]
    ids: tuple[str, ...]
    tags: tuple[str, ...]
    state: State
    note: str
    created: shapes.Moment
    password_set: shapes.Moment
    old_password_until: shapes.Moment | None


class GroupWithPassword(Group):
    """A group's login. password: where one was made here, shown this once; else null."""

    password: str | None


class Refusal(Struct):
    """A device that came with a group's login and was none of the group's. why: in words."""

    device: str
    address: str
    at: shapes.Moment
    why: str


class GroupWithRefusals(Group):
    """A group's login, with the devices that it was refused to lately, youngest first."""

    refused: list[Refusal]


class GroupPage(shapes.Page[Group]):
    """All groups' logins, by name."""


def _fields(login: CredentialRecord, now: float) -> dict[str, Any]:
    """The fields of Group."""
    g = group_of(login)
    return {
        "name": g.name,
        "username": login.username,
        "enabled": g.enabled,
        "ouis": g.ouis,
        "product_classes": g.product_classes,
        "serial_numbers": g.serial_numbers,
        "ids": g.ids,
        "tags": g.tags,
        "state": g.state.value,
        "note": g.note,
        "created": shapes.at(g.made),
        "password_set": shapes.at(login.created),
        "old_password_until": shapes.moment(g.old_until if g.old_until > now else None),
    }


def _refusal(r: RefusalRecord) -> Refusal:
    return Refusal(r.device, r.address, shapes.at(r.at), r.why)


def _given(body: BaseModel, *names: str) -> dict[str, Any]:
    given = {name: value for name, value in body.model_dump(include=set(names)).items() if value is not None}
    return given | ({"state": DeviceState(given["state"])} if "state" in given else {})


_FIELDS = ("ouis", "product_classes", "serial_numbers", "ids", "tags", "state", "note")


@router.get("/groups")
async def list_groups(use: Use) -> GroupPage:
    """All groups' logins, by name."""
    now = use.hub.clock()
    return GroupPage([Group(**_fields(g, now)) for g in await use.groups.all()], None)


@router.post("/groups", status_code=201)
async def create_group(use: Use, body: NewGroup) -> GroupWithPassword:
    """Make a login for a group of devices; a password that was made here is shown this once."""
    login, password = await use.groups.make(
        body.name, username=body.username, password=body.password, **_given(body, *_FIELDS)
    )
    return GroupWithPassword(**_fields(login, use.hub.clock()), password=None if body.password else password)


@router.get("/groups/{name}")
async def get_group(use: Use, name: str) -> GroupWithRefusals:
    """One group's login, with the devices that it was refused to lately, youngest first."""
    login = await use.groups.get(name)
    refused = [_refusal(r) for r in await use.groups.refusals(name)]
    return GroupWithRefusals(**_fields(login, use.hub.clock()), refused=refused)


@router.patch("/groups/{name}")
async def change_group(use: Use, name: str, body: GroupPatch) -> Group:
    """Change which devices a group's login is for and what newcomers get, or switch it off."""
    changed = await use.groups.change(name, **_given(body, *_FIELDS, "enabled"))
    return Group(**_fields(changed, use.hub.clock()))


@router.post("/groups/{name}/rotate")
async def rotate_group(use: Use, name: str, body: Rotation) -> GroupWithPassword:
    """Give a group's login another password; the one before opens for a while, too. One that was made here is shown this once."""
    login, password = await use.groups.rotate(name, password=body.password, overlap=body.overlap)
    return GroupWithPassword(**_fields(login, use.hub.clock()), password=None if body.password else password)


@router.delete("/groups/{name}", status_code=204)
async def delete_group(use: Use, name: str) -> Response:
    """Take a group's login away; the devices that came by it stay."""
    await use.groups.remove(name)
    return Response(status_code=204)
