"""Users who log in, what they may do, and the log of what they did."""

from pathlib import Path
from typing import Any

import pytest

from support.acs_wire import Bed, acs, id_of, run

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("quick_passwords")]

PASSWORD = "correct horse"


async def a_user(bed: Bed, name: str = "eve", role: str = "operate") -> None:
    answer = await bed.rest("POST", "users", {"name": name, "password": PASSWORD, "role": role})
    assert answer.status == 201, answer.body
    assert "password" not in answer.json


async def login(bed: Bed, name: str = "eve", password: str = PASSWORD) -> Any:
    return await bed.rest("POST", "login", {"name": name, "password": password}, token="none")


def test_a_user_logs_in_and_may_do_what_the_role_says(tmp_path: Path) -> None:
    """The token of a login opens as much as one with the same scope, and ends with the logout."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await (await bed.device()).session("1 BOOT")
            await a_user(bed)
            got = await login(bed)
            assert (got.status, got.json["name"], got.json["role"]) == (200, "eve", "operate")
            token = got.json["token"]
            me = (await bed.rest("GET", "me", token=token)).json
            assert (me["name"], me["user"], me["expires"]) == ("eve", True, got.json["expires"])
            assert (await bed.rest("PUT", f"devices/{id_of()}/tags/gold", token=token)).status == 200
            refused = await bed.rest("GET", "users", token=token)
            assert refused.status == 403
            assert refused.json["error"]["message"].startswith("the user eve has the scope operate")
            listed = (await bed.rest("GET", "tokens")).json["items"]
            assert [t["user"] for t in listed if t["user"]] == ["eve"]
            assert (await bed.rest("POST", "logout", token=token)).status == 204
            assert (await bed.rest("GET", "devices", token=token)).status == 401
            assert (await bed.rest("GET", "users/eve")).json["last_login"]

    run(scene())


def test_who_may_only_read_may_log_out_all_the_same(tmp_path: Path) -> None:
    """Ending a login of one's own is no change of anything else."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await a_user(bed, role="read")
            token = (await login(bed)).json["token"]
            assert (await bed.rest("PUT", f"devices/{id_of()}/tags/gold", token=token)).status == 403
            assert (await bed.rest("POST", "logout", token=token)).status == 204
            assert (await bed.rest("GET", "devices", token=token)).status == 401

    run(scene())


def test_a_change_of_the_user_ends_the_logins(tmp_path: Path) -> None:
    """A new password, another role, switching off and taking away: the old token opens nothing any more."""
    changes: tuple[tuple[str, dict[str, Any] | None], ...] = (
        ("PATCH", {"password": "battery staple"}),
        ("PATCH", {"role": "read"}),
        ("PATCH", {"enabled": False}),
        ("DELETE", None),
    )

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            for number, (method, body) in enumerate(changes):
                name = f"user{number}"
                await a_user(bed, name)
                token = (await login(bed, name)).json["token"]
                assert (await bed.rest(method, f"users/{name}", body)).status in (200, 204)
                assert (await bed.rest("GET", "devices", token=token)).status == 401, (method, body)
            assert (await login(bed, "user0")).status == 401, "the old password"
            assert (await login(bed, "user2")).status == 401, "switched off"

    run(scene())


def test_guessing_is_slowed_down_and_tells_nothing(tmp_path: Path) -> None:
    """A wrong password and a name that does not exist look the same; after three tries it takes longer and longer."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await a_user(bed)
            wrong, nobody = await login(bed, password="wrong horse"), await login(bed, "nobody")
            assert (wrong.status, wrong.json) == (nobody.status, nobody.json) == (401, wrong.json)
            for _ in range(8):  # the waits double, so one of them is longer than a login takes here
                slowed = await login(bed, password="wrong horse")
                if slowed.status == 429:
                    break
            assert (slowed.status, slowed.json["error"]["code"]) == (429, "too_many_requests")
            assert int(slowed.headers["retry-after"]) >= 1

    run(scene())


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "Eve!", "password": PASSWORD}, 422),
        ({"name": "eve", "password": "short"}, 422),
        ({"name": "eve", "password": PASSWORD, "role": "king"}, 422),
        ({"name": "eve"}, 422),
        ({"name": "eve", "password": PASSWORD, "full_name": "Eve\x1b[31m"}, 422),
        ({"name": "eve", "password": PASSWORD, "full_name": "Eve\x9b31m"}, 422),
    ],
)
def test_a_user_that_cannot_be_is_refused(tmp_path: Path, body: dict[str, Any], status: int) -> None:
    """With a sentence that says what to write."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            answer = await bed.rest("POST", "users", body)
            assert (answer.status, bool(answer.json["error"]["message"])) == (status, True)
            assert (await bed.rest("GET", "users")).json["items"] == []

    run(scene())


def test_the_audit_log_says_who_changed_what_and_what_came_of_it(tmp_path: Path) -> None:
    """Refused changes, too; reading leaves no trace; secrets are masked; a page goes on where the last ended."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await (await bed.device()).session("1 BOOT")
            await a_user(bed)
            token = (await login(bed)).json["token"]
            await bed.rest("GET", "devices", token=token)
            await bed.rest("PUT", f"devices/{id_of()}/tags/gold", token=token)
            await bed.rest(
                "PUT", f"devices/{id_of()}/credentials", {"username": "u", "password": "geheim"}, token=token
            )
            await bed.rest("DELETE", "devices/none", token=token)
            rows = (await bed.rest("GET", "audit?by=eve")).json["items"]
            assert [(r["method"], r["path"].rpartition("/")[2], r["status"]) for r in rows] == [
                ("DELETE", "none", 404),
                ("PUT", "credentials", 403),
                ("PUT", "gold", 200),
                ("POST", "login", 200),
            ]
            assert rows[0]["address"] == "127.0.0.1"
            assert "geheim" not in rows[1]["what"]
            assert "username" in rows[1]["what"]
            mine = (await bed.rest("GET", "audit?path=/api/v1/users")).json["items"]
            assert [(r["by"], r["method"]) for r in mine] == [("admin", "POST")]
            assert PASSWORD not in mine[0]["what"]
            first = (await bed.rest("GET", "audit?limit=1&by=eve")).json
            second = (await bed.rest("GET", f"audit?limit=5&by=eve&cursor={first['next']}")).json
            assert [r["id"] for r in second["items"]] == [r["id"] for r in rows[1:]]
            assert (await bed.rest("GET", "audit", token=token)).status == 403

    run(scene())


def test_nothing_is_changed_while_the_audit_log_cannot_be_written(tmp_path: Path) -> None:
    """The row comes first: where the disk is full the change is refused with 503."""

    async def scene() -> None:
        async with acs(tmp_path, database="memory:") as bed:
            await (await bed.device()).session("1 BOOT")
            store: Any = bed.app.store
            store.trouble = "the disk is full"
            assert (await bed.rest("PUT", f"devices/{id_of()}/tags/gold")).status == 503
            store.trouble = None
            assert (await bed.rest("GET", f"devices/{id_of()}")).json["tags"] == []

    run(scene())


def test_a_user_changes_the_own_password_whatever_the_role(tmp_path: Path) -> None:
    """The old one must be right, guessing is slowed down, all logins end, and neither is in the audit log."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await a_user(bed, role="read")
            token = (await login(bed)).json["token"]
            wish = {"old_password": "wrong one", "password": "battery staple"}
            assert (await bed.rest("POST", "me/password", wish, token=token)).status == 403
            wish["old_password"] = PASSWORD
            assert (await bed.rest("POST", "me/password", {**wish, "password": "short"}, token=token)).status == 422
            assert (await bed.rest("POST", "me/password", wish)).status == 409
            assert (await bed.rest("POST", "me/password", wish, token=token)).status == 204
            assert (await bed.rest("GET", "devices", token=token)).status == 401
            assert (await login(bed, password="battery staple")).status == 200
            audit = (await bed.rest("GET", "audit")).body
            assert b"me/password" in audit
            assert PASSWORD.encode() not in audit
            assert b"battery staple" not in audit
            token = (await login(bed, password="battery staple")).json["token"]
            answers = [await bed.rest("POST", "me/password", wish, token=token) for _ in range(6)]
            assert answers[-1].status == 429

    run(scene())
