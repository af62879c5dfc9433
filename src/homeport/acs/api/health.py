"""Route of the ACS's health, for load balancers and people; it needs no token."""

from typing import Literal

from fastapi import APIRouter
from msgspec import UNSET, Struct, UnsetType

from homeport._version import __version__
from homeport.acs.api.app import Use
from homeport.acs.api.quick import Quick

router = APIRouter(route_class=Quick, tags=["operation"])


class Workers(Struct):
    """Processes on this machine: how many there should be, and how many serve."""

    wanted: int
    serving: int


class Health(Struct):
    """Whether the ACS works. trouble: what is wrong, in words; null where nothing is. workers: where there are several processes.

    notice: what an operator should see to while the ACS works; no reason to send nobody here any more, for strangers can bring it about.
    """

    status: Literal["ok", "degraded"]
    version: str
    trouble: str | None
    notice: str | None = None
    workers: Workers | UnsetType = UNSET


@router.get("/health")
async def health(use: Use) -> Health:
    """Whether the ACS works; needs no token, and tells nothing of devices."""
    trouble = use.hub.store.trouble
    workers = use.workers()
    serving = sum(worker.serving for worker in workers)
    if trouble is None and serving < len(workers):
        trouble = f"{serving} of {len(workers)} worker processes serve; the log of the ACS says why"
    trouble = trouble or use.hub.time.trouble
    told = Health("ok" if trouble is None else "degraded", __version__, trouble)
    if workers:
        told.workers = Workers(len(workers), serving)
    told.notice = await use.hub.newcomers.notice()
    return told
