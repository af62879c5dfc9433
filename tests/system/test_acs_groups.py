"""Devices that come in by a group's login, over real sockets; and the verbs of groups over REST and the command line."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest

from homeport.cli.device_history import _told
from homeport.cli.main import run as command_line
from homeport.codec.messages import SetParameterValues
from homeport.http.auth import basic_header
from homeport.http.digest import DigestClient
from support.acs_wire import OUI, PRODUCT, Bed, Device, acs, id_of, run
from support.tls import connect, make_certificate, trusting

pytestmark = pytest.mark.system


async def a_group(bed: Bed, name: str = "fibre", **fields: Any) -> str:
    """The password of a new group."""
    answer = await bed.rest("POST", "groups", {"name": name} | fields)
    assert answer.status == 201, answer.body
    return str(answer.json["password"])


async def comes(device: Device, username: str, password: str, *events: str) -> int:
    """The status of an Inform that answers the challenge to one without a login."""
    device.cookie = ""
    offered = (await device.inform(*events)).headers["www-authenticate"].split("\n")
    header = DigestClient(username, password).answer(offered, method="POST", uri="/", cnonce="abc")
    assert header is not None
    device.cookie = ""
    return (await device.post_inform(header, *events)).status


def test_a_newcomer_gets_what_its_group_gives(tmp_path: Path) -> None:
    """Tags and the state are for devices never seen before; an operator's later changes stay."""

    async def scene() -> None:
        async with acs(tmp_path, cpe_auth="required") as bed:
            fibre = await a_group(bed, ouis=[OUI], serial_numbers=["S*"], tags=["ftth", "gold"])
            waiting = await a_group(bed, "radio", state="quarantined", tags=["radio"])
            device, other = await bed.device("S1"), await bed.device("S2")
            assert await comes(device, "fibre", fibre, "1 BOOT") == 200
            assert await comes(other, "radio", waiting, "1 BOOT") == 200
            found = await bed.get_device("S1")
            assert (found["state"], found["tags"]) == ("approved", ["ftth", "gold"])
            found = await bed.get_device("S2")
            assert (found["state"], found["tags"]) == ("quarantined", ["radio"])
            assert (await bed.rest("DELETE", f"devices/{id_of('S1')}/tags/gold")).status == 200
            assert await comes(device, "fibre", fibre, "1 BOOT") == 200
            assert (await bed.get_device("S1"))["tags"] == ["ftth"]
            metrics = (await bed.rest("GET", "/metrics")).body.decode()
            assert 'homeport_group_logins_total{login="fibre"} 2.0' in metrics

    run(scene())


@pytest.mark.case("X12")
def test_a_device_outside_the_group_is_refused_and_told(tmp_path: Path) -> None:
    """403, no record of a stranger, an event of a device that is known, and both in the group's own list."""

    async def scene() -> None:
        async with acs(tmp_path, cpe_auth="required") as bed:
            everybody = await a_group(bed, "all")
            password = await a_group(bed, serial_numbers=["S1*"])
            known, stranger = await bed.device("S2"), await bed.device("S3")
            assert await comes(known, "all", everybody, "1 BOOT") == 200
            async with bed.app.hub.bus.listen() as heard:
                assert await comes(known, "fibre", password, "0 BOOTSTRAP") == 403
                assert await comes(stranger, "fibre", password, "0 BOOTSTRAP") == 403
                assert await comes(stranger, "fibre", password, "0 BOOTSTRAP") == 403
                told = [heard.get_nowait() for _ in range(heard.qsize())]
            refusals = [t for t in told if "login_refused" in t]
            assert [(t["device"], t["group"]) for t in refusals] == [(id_of("S2"), "fibre"), (id_of("S3"), "fibre")]
            assert (await bed.get_device("S2"))["last_bootstrap"] is None
            assert (await bed.rest("GET", f"devices/{id_of('S3')}")).status == 404
            [event] = [
                e
                for e in (await bed.rest("GET", f"devices/{id_of('S2')}/events")).json["items"]
                if e["code"] == "LOGIN REFUSED"
            ]
            assert (event["detail"]["group"], event["detail"]["address"]) == ("fibre", "127.0.0.1")
            assert "it came with the login of the group fibre: the SerialNumber 'S2'" in _told(event)
            refused = (await bed.rest("GET", "groups/fibre")).json["refused"]
            assert [r["device"] for r in refused] == [id_of("S3"), id_of("S2")]
            assert "SerialNumber" in refused[0]["why"]

    run(scene())


def test_a_group_s_login_is_exchanged_for_the_device_s_own(tmp_path: Path) -> None:
    """cpe_login=provision: once its own is used, the group's opens for that device no more, and for others as before."""

    async def scene() -> None:
        async with acs(tmp_path, cpe_auth="required", cpe_login="provision") as bed:
            # The user name of one group is the id of a device: the device is given another, and the group keeps its own.
            password = await a_group(bed, username=id_of("S1"), ouis=[OUI])
            device, other = await bed.device("S1"), await bed.device("S2")
            assert await comes(device, id_of("S1"), password, "0 BOOTSTRAP") == 200
            request = (await device.post(None)).message
            assert isinstance(request, SetParameterValues), request
            given = {v.name.rpartition(".")[2]: v.value for v in request.parameter_list}
            assert given["Username"].startswith(id_of("S1") + ".")
            assert await comes(device, given["Username"], given["Password"]) == 200
            assert await comes(device, id_of("S1"), password) == 401
            assert await comes(other, given["Username"], given["Password"]) == 403
            assert await comes(other, id_of("S1"), password) == 200

    run(scene())


def test_known_devices_pay_nothing_for_groups(tmp_path: Path) -> None:
    """A session of a device with its own login asks the store for that login alone; in open mode for none."""

    async def scene() -> None:
        asked: list[str] = []

        def watch(bed: Bed) -> None:
            store: Any = bed.app.store
            for name in ("credential", "credential_of", "document", "documents"):
                original = getattr(store, name)

                def counted(*args: Any, _name: str = name, _original: Any = original, **more: Any) -> Any:
                    asked.append(_name)
                    return _original(*args, **more)

                setattr(store, name, counted)

        async with acs(tmp_path) as bed:
            device = await bed.device("S1")
            await a_group(bed)
            watch(bed)
            await device.session("1 BOOT")
            assert asked == []
            body = {"username": "one", "password": "secret"}
            assert (await bed.rest("PUT", f"devices/{id_of()}/credentials", body)).status == 204
        async with acs(tmp_path, cpe_auth="required") as bed:
            device = await bed.device("S1")
            watch(bed)
            asked.clear()
            assert await comes(device, "one", "secret") == 200
            assert (await device.post(None)).status == 204
            assert asked == ["credential"]

    run(scene())


def test_groups_log_in_by_basic_over_tls(tmp_path: Path) -> None:
    """Basic and Digest both open over TLS; without TLS Basic does not."""
    chain, private = make_certificate(tmp_path)

    async def scene() -> None:
        tls = {"cwmp_tls_listen": "127.0.0.1:0", "tls_certificate": chain, "tls_key": private}
        async with acs(tmp_path / "data", cpe_auth="required", **tls) as bed:
            password = await a_group(bed, product_classes=[PRODUCT])
            plain = await bed.device("S1")
            assert (await plain.post_inform(basic_header("fibre", password))).status == 401
            device = Device(await connect(bed.app.ports.cwmp_tls_url, trusting()))
            assert (await device.post_inform(basic_header("fibre", password), "1 BOOT")).status == 200
            other = Device(await connect(bed.app.ports.cwmp_tls_url, trusting()), "S2")
            assert await comes(other, "fibre", password, "1 BOOT") == 200
            await device.close()
            await other.close()

    run(scene())


def test_groups_outlive_a_restart_and_show_no_secret(tmp_path: Path) -> None:
    """List, change and removal over REST; the password is in no answer but the first, not in the audit log, not in the database."""

    async def scene() -> None:
        async with acs(tmp_path, cpe_auth="required") as bed:
            body = {"name": "fibre", "password": "very-secret-word", "ouis": ["00d0f1"], "note": "lot 7"}
            made = await bed.rest("POST", "groups", body)
            assert (made.status, made.json["password"], made.json["ouis"]) == (201, None, ["00D0F1"])
            assert (await bed.rest("POST", "groups", body)).status == 409
            operator = (await bed.rest("POST", "tokens", {"name": "op", "scope": "operate"})).json["token"]
            assert (await bed.rest("GET", "groups", token=operator)).status == 403
            rotated = await bed.rest("POST", "groups/fibre/rotate", {"password": "another-secret", "overlap": 60})
            assert rotated.json["old_password_until"] is not None
            audit = (await bed.rest("GET", "audit")).body
            assert b"groups/fibre/rotate" in audit
            assert b"very-secret-word" not in audit + (await bed.rest("GET", "groups/fibre")).body
        async with acs(tmp_path, cpe_auth="required") as bed:
            [listed] = (await bed.rest("GET", "groups")).json["items"]
            assert (listed["name"], listed["note"]) == ("fibre", "lot 7")
            device = await bed.device()
            assert await comes(device, "fibre", "very-secret-word") == 200
            changed = await bed.rest("PATCH", "groups/fibre", {"ouis": [], "ids": ["none-*"]})
            assert (changed.json["ouis"], changed.json["ids"]) == ([], ["none-*"])
            assert await comes(device, "fibre", "another-secret") == 403
            assert (await bed.rest("PATCH", "groups/fibre", {"tags": ["a tag"]})).status == 422
            assert (await bed.rest("DELETE", "groups/fibre")).status == 204
            assert (await bed.rest("GET", "groups/fibre")).status == 404
            assert await comes(device, "fibre", "another-secret") == 401
            taken = {"username": "fibre", "password": "x"}
            assert (await bed.rest("PUT", f"devices/{id_of()}/credentials", taken)).status == 204
            assert (await bed.rest("POST", "groups", {"name": "fibre"})).status == 409
        stored = b"".join(p.read_bytes() for p in tmp_path.glob("acs.db*"))
        assert b"very-secret-word" not in stored
        assert b"another-secret" not in stored

    run(scene())


def test_groups_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password is printed alone, once; the lists read well; the removal asks."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            monkeypatch.setattr("sys.stdin", io.StringIO())
            where = ("--acs", bed.app.http_url, "--token", bed.token)

            async def typed(*words: str, status: int = 0) -> tuple[str, str]:
                assert await asyncio.to_thread(command_line, ["group", *words, *where]) == status, words
                out, err = capsys.readouterr()
                said = [line for line in out.splitlines() if "change asked for" not in line]  # the ACS logs there, too
                return "\n".join(said), err

            made, said = await typed("add", "fibre", "--oui", "00D0F1", "--serial", "DKT00*", "--tag", "ftth")
            assert (len(made.split()), "not shown again" in said) == (1, True), (made, said)
            rotated, _ = await typed("rotate", "fibre", "--overlap-days", "2")
            assert rotated not in ("", made)
            changed, _ = await typed("change", "fibre", "--serial", "", "--state", "quarantined", "--disable")
            assert "OUI 00D0F1; newcomers: ftth, quarantined (login switched off)" in changed
            assert "ends in 2 d" in (await typed("show", "fibre"))[0]
            assert "OUI 00D0F1" in (await typed("list"))[0]
            assert "--yes" in (await typed("remove", "fibre", status=2))[1]
            assert "removed" in (await typed("remove", "fibre", "--yes"))[0]
            assert "homeport group add" in "".join(await typed("list"))
            assert "nothing to change" in (await typed("change", "fibre", status=2))[1]

    run(scene())
