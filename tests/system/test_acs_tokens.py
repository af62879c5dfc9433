"""Tokens that open less than everything."""

from pathlib import Path
from typing import Any

import pytest

from support.acs_wire import Bed, acs, id_of, run

pytestmark = pytest.mark.system


async def token_for(bed: Bed, name: str, scope: str) -> Any:
    answer = await bed.rest("POST", "tokens", {"name": name, "scope": scope})
    assert answer.status == 201, answer.body
    return answer.json["token"]


def test_a_token_opens_what_its_scope_says(tmp_path: Path) -> None:
    """read looks only; operate makes tasks, too; tokens and device passwords are for admin alone."""
    device, tag = f"devices/{id_of()}", f"devices/{id_of()}/tags/gold"
    login = {"username": "u", "password": "p"}

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await (await bed.device()).session("1 BOOT")
            opened = {}
            for scope in ("read", "operate", "admin"):
                token = await token_for(bed, f"of-{scope}", scope)
                asked = (
                    ("GET", device, None),
                    ("PUT", tag, None),
                    ("PUT", f"{device}/credentials", login),
                    ("GET", "tokens/of-read", None),
                )
                opened[scope] = [(await bed.rest(m, p, b, token=token)).status for m, p, b in asked]
            assert opened == {
                "read": [200, 403, 403, 403],
                "operate": [200, 200, 403, 403],
                "admin": [200, 200, 204, 200],
            }

    run(scene())


def test_a_token_that_was_taken_back_opens_nothing(tmp_path: Path) -> None:
    """After DELETE it is as if it had never been; made anew, the new one opens and the old one does not."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            old = await token_for(bed, "dashboard", "read")
            assert (await bed.rest("GET", "devices", token=old)).status == 200
            assert (await bed.rest("DELETE", "tokens/dashboard")).status == 204
            assert (await bed.rest("GET", "devices", token=old)).status == 401
            assert (await bed.rest("GET", "tokens/dashboard")).status == 404
            assert (await bed.rest("DELETE", "tokens/dashboard")).status == 404
            new = await token_for(bed, "dashboard", "read")
            assert (await bed.rest("GET", "devices", token=old)).status == 401
            assert (await bed.rest("GET", "devices", token=new)).status == 200

    run(scene())


def test_the_acs_s_own_token_is_not_replaced_by_rest(tmp_path: Path) -> None:
    """Who could make or end it would lock the owner of the machine out."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            assert (await bed.rest("POST", "tokens", {"name": "admin", "scope": "read"})).status == 422
            assert (await bed.rest("DELETE", "tokens/admin")).status == 409
            assert (await bed.rest("GET", "devices")).status == 200

    run(scene())


def test_every_route_asks_for_a_token_and_readers_change_nothing(tmp_path: Path) -> None:
    """All routes of the description, whichever will be added: 401 without a token, 403 for a reader's change and for what holds secrets."""
    free = {"/api/v1/health", "/api/v1/login"}
    secret = {"/api/v1/files/{name}/content", "/api/v1/audit"}
    administrator = ("/api/v1/tokens", "/api/v1/users", "/api/v1/webhooks", "/api/v1/groups")

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            reader = await token_for(bed, "reader", "read")
            routes = (await bed.rest("GET", "/api/openapi.json")).json["paths"]
            for route, methods in routes.items():
                for method in methods:
                    path = route.replace("{", "").replace("}", "")
                    if route not in free:
                        assert (await bed.rest(method.upper(), path, token="none")).status == 401, (method, route)
                    if route in free or route in ("/api/v1/events", "/api/v1/logout", "/api/v1/me/password"):
                        continue
                    closed = method != "get" or route in secret or route.startswith(administrator)
                    status = (await bed.rest(method.upper(), path, token=reader)).status
                    assert (status == 403) is closed, (method, route, status)

    run(scene())
