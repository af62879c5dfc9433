"""Who may come in: devices' logins, quarantine, and the door of the REST API."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from homeport.codec.envelope import Envelope, encode
from homeport.codec.messages import (
    FaultMessage,
    GetParameterValuesResponse,
    Message,
    ParameterValueStruct,
    Request,
    SetParameterValues,
)
from homeport.http.auth import basic_header
from support.acs_wire import Bed, acs, an_inform, id_of, login, played, run

pytestmark = pytest.mark.system

ANOTHER = "a device is given another login before it has used the last one"


def reading(request: Request) -> Message | None:
    return GetParameterValuesResponse((ParameterValueStruct("Device.X", "v"),))


async def with_credentials(bed: Bed, serial: str, username: str, password: str) -> None:
    answer = await bed.rest("PUT", f"devices/{id_of(serial)}/credentials", {"username": username, "password": password})
    assert answer.status == 204, answer.body


def test_digest_is_offered_first_and_basic_not_without_tls(tmp_path: Path) -> None:
    """SHA-256 and MD5, each with qop; some clients look at the first challenge only."""

    async def scene() -> None:
        async with acs(tmp_path, cpe_auth="required") as bed:
            device = await bed.device()
            challenge = await device.inform("1 BOOT")
            offered = challenge.headers["www-authenticate"].split("\n")
            assert [c.partition(" ")[0] for c in offered] == ["Digest", "Digest"]
            assert ["SHA-256" in offered[0], "MD5" in offered[1]] == [True, True]
            assert all('qop="auth"' in c for c in offered)
            assert challenge.headers.get("connection") != "close"

    run(scene())


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_a_device_logs_in_once_and_is_bound_to_its_cookie(tmp_path: Path, algorithm: str) -> None:
    """The Inform proves it; later messages of the session need no Authorization (netcwmp sends none)."""

    async def scene() -> None:
        async with acs(tmp_path, cpe_auth="required", cpe_username="boot", cpe_password="strap") as bed:
            device = await bed.device()
            header = await login(device, "boot", "strap", algorithms=(algorithm,))
            answer = await device.post_inform(header)
            assert answer.status == 200
            assert (await device.post(None)).status == 204
            assert (await bed.get_device())["state"] == "approved"

    run(scene())


@pytest.mark.case("X11")
def test_wrong_logins_are_challenged_again_and_nothing_is_stored(tmp_path: Path) -> None:
    """Wrong password, unknown user, a used nonce, another realm: 401 and no device."""

    async def scene() -> None:
        async with acs(tmp_path, cpe_auth="required", cpe_username="boot", cpe_password="strap") as bed:
            device = await bed.device()
            for username, password in (("boot", "wrong"), ("nobody", "strap")):
                assert (await device.post_inform(await login(device, username, password))).status == 401
            for header in ("Basic Ym9vdDpzdHJhcA==", "Digest", "Digest username=boot", "Bearer x", "\xff" * 100):
                assert (await device.post_inform(header)).status == 401
            assert (await bed.rest("GET", "devices")).json["items"] == []
            good = await login(device, "boot", "strap")
            assert (await device.post_inform(good)).status == 200
            await device.post(None)
            device.cookie = ""
            replayed = await device.post_inform(good)
            assert replayed.status == 401
            assert "stale=true" in replayed.headers["www-authenticate"]

    run(scene())


@pytest.mark.case("X12")
def test_a_device_cannot_claim_to_be_another(tmp_path: Path) -> None:
    """Credentials of one device do not open a session for another, and nothing of it is stored."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            for serial in ("S1", "S2"):
                await (await bed.device(serial)).session("1 BOOT")
            await with_credentials(bed, "S1", "one", "secret")
        async with acs(tmp_path, cpe_auth="quarantine") as bed:
            thief = await bed.device("S2")
            header = await login(thief, "one", "secret")
            answer = await thief.post_inform(header, "0 BOOTSTRAP")
            assert answer.status == 403
            assert (await bed.get_device("S2"))["last_bootstrap"] is None
            honest = await bed.device("S1")
            assert (await honest.post_inform(await login(honest, "one", "secret"))).status == 200
            await honest.post(None)

    run(scene())


@pytest.mark.case("X12")
@played
async def test_no_look_alike_of_an_id_is_that_device(tmp_path: Path) -> None:
    """Blanks, other letters that look the same, slashes, what stands for NUL: each is an id of its own, and no login of another's."""
    alike = (
        " S1",
        "S1 ",
        "S1\n",
        "\uff33\uff11",
        "S\u0661",
        "s1",
        "S1/",
        "S1/../S1",
        "S1%00",
        "%531",
        "S1\u200b",
        "S1-",
        "1" * 64,
    )
    async with acs(tmp_path) as bed:
        await (await bed.device()).session("1 BOOT")
        await with_credentials(bed, "S1", "one", "secret")
    async with acs(tmp_path, cpe_auth="quarantine") as bed:
        for serial in alike:
            thief = await bed.device(serial)
            header = await login(thief, "one", "secret")
            assert (await thief.post_inform(header)).status == 403, serial
            assert (await (await bed.device(serial)).session("1 BOOT")).status == 204, serial
        body = encode(Envelope(body=an_inform("S1"), id="1")).replace(b">S1<", b">" + b"1" * 65 + b"<")
        refused = (await (await bed.device()).post(body)).message
        assert isinstance(refused, FaultMessage) and "longer than 64" in refused.fault_string
        items = (await bed.rest("GET", "devices?limit=100")).json["items"]
        assert len({d["id"] for d in items}) == len(alike) + 1
        assert {d["state"] for d in items if d["serial_number"] != "S1"} == {"quarantined"}
        for item in items:
            assert (await bed.rest("GET", f"devices/{quote(item['id'], safe='')}")).json["serial_number"] == item[
                "serial_number"
            ]


def test_a_device_with_credentials_must_use_them(tmp_path: Path) -> None:
    """Once a device has its own login, neither its name alone nor the shared login will do."""

    async def scene() -> None:
        shared = {"cpe_username": "boot", "cpe_password": "strap"}
        async with acs(tmp_path) as bed:
            await (await bed.device()).session("1 BOOT")
            await with_credentials(bed, "S1", "one", "secret")
        async with acs(tmp_path, cpe_auth="quarantine", **shared) as bed:
            device = await bed.device()
            assert (await device.inform("1 BOOT")).status == 401
            assert (await device.post_inform(await login(device, "boot", "strap"))).status == 401
            assert (await device.post_inform(await login(device, "one", "secret"))).status == 200
            await device.post(None)

    run(scene())


def test_an_unknown_device_waits_in_quarantine(tmp_path: Path) -> None:
    """It is answered and recorded, gets no tasks and no secrets, until a person approves it."""

    async def scene() -> None:
        provision = {"discover": "bootstrap", "connection_request_credentials": "provision"}
        async with acs(tmp_path, cpe_auth="quarantine", **provision) as bed:
            device = await bed.device()
            assert (await device.session("0 BOOTSTRAP", "1 BOOT")).status == 204
            assert device.heard == []
            assert (await bed.get_device())["state"] == "quarantined"
            refused = await bed.rest("POST", f"devices/{id_of()}/tasks", {"rpc": "Reboot", "connection_request": False})
            assert refused.status == 409
            assert "approve" in refused.json["error"]["message"]
            assert (await bed.rest("POST", f"devices/{id_of()}/approve")).json["state"] == "approved"
            assert (await device.session("2 PERIODIC")).status == 204
            assert device.heard != []
            assert (await bed.rest("POST", f"devices/{id_of()}/refuse")).status == 200
            assert (await device.inform("2 PERIODIC")).status == 403

    run(scene())


def test_a_quarantined_device_gets_only_the_small_body_limit(tmp_path: Path) -> None:
    """Who is not admitted may not fill the memory, session or not."""

    async def scene() -> None:
        async with acs(tmp_path, cpe_auth="quarantine") as bed:
            device = await bed.device()
            await device.inform("1 BOOT")
            assert (await device.post(b"<" + b"x" * 2_000_000)).status == 413

    run(scene())


def test_basic_is_taken_where_it_is_allowed(tmp_path: Path) -> None:
    """The laboratory's switch: Basic without TLS, offered last."""

    async def scene() -> None:
        settings: dict[str, Any] = {"cpe_username": "boot", "cpe_password": "strap", "basic_over_http": True}
        async with acs(tmp_path, cpe_auth="required", **settings) as bed:
            device = await bed.device()
            challenge = await device.post(None)
            assert challenge.headers["www-authenticate"].split("\n")[-1].startswith("Basic ")
            assert (await device.post_inform(basic_header("boot", "wrong"))).status == 401
            assert (await device.post_inform(basic_header("boot", "strap"))).status == 200

    run(scene())


def test_the_rest_api_wants_the_token(tmp_path: Path) -> None:
    """Without it, or with a wrong one: 401 in the one error shape, and only health answers."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            assert bed.app.token_file.stat().st_mode & 0o777 == 0o600
            for token in ("", "wrong", bed.token[:-1]):
                for path in ("devices", "faults", "events", "/metrics", "tasks/x"):
                    answer = await bed.rest("GET", path, token=token)
                    assert answer.status == 401, path
                    assert answer.json["error"]["code"] == "unauthorized"
            assert (await bed.rest("GET", "health", token="")).json["status"] == "ok"
            before = bed.token
        async with acs(tmp_path) as bed:
            assert bed.token == before
            bed.app.token_file.unlink()
        async with acs(tmp_path) as bed:
            assert bed.token != before
            assert (await bed.rest("GET", "devices", token=before)).status == 401

    run(scene())


def test_no_secret_stands_in_the_database(tmp_path: Path) -> None:
    """Passwords of devices and tokens are kept as hashes."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            await (await bed.device()).session("1 BOOT")
            await with_credentials(bed, "S1", "one", "very-secret-word")
            token = bed.token
        stored = b"".join(p.read_bytes() for p in tmp_path.glob("acs.db*"))
        assert b"very-secret-word" not in stored
        assert token.encode() not in stored
        assert b"00D0F1-XR500-S1" in stored

    run(scene())


async def given_login(device: Any, header: str) -> tuple[str, str]:
    """The user and password that a session gives the device; its answer to them is lost."""
    assert (await device.post_inform(header, "0 BOOTSTRAP")).status == 200
    request = (await device.post(None)).message
    assert isinstance(request, SetParameterValues), request
    given = {v.name.rpartition(".")[2]: v.value for v in request.parameter_list}
    device.cookie = ""
    return given["Username"], given["Password"]


def test_a_device_of_the_shared_login_is_given_its_own(tmp_path: Path) -> None:
    """Until it has used the new one the shared login opens, for the answer may have been lost; from then on only its own does."""

    async def scene() -> None:
        shared = {"cpe_username": "boot", "cpe_password": "strap", "cpe_login": "provision"}
        async with acs(tmp_path, cpe_auth="required", **shared) as bed:
            device = await bed.device()
            with capture_logs() as logs:
                lost = await given_login(device, await login(device, "boot", "strap"))
                assert not [line for line in logs if line["event"] == ANOTHER]
                username, password = await given_login(device, await login(device, "boot", "strap"))
            assert [line["device"] for line in logs if line["event"] == ANOTHER] == [id_of()], "it may be two"
            assert (username, password != lost[1]) == (id_of(), True)
            assert (await device.post_inform(await login(device, *lost))).status == 401
            assert (await device.post_inform(await login(device, username, password))).status == 200
            assert isinstance((await device.post(None)).message, SetParameterValues | None)
            device.cookie = ""
            assert (await device.post_inform(await login(device, "boot", "strap"))).status == 401
            other = await bed.device("S2")
            assert (await other.post_inform(await login(other, "boot", "strap"))).status == 200

    run(scene())
