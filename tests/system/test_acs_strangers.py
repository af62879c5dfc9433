"""What strangers can cost the ACS."""

import asyncio
from pathlib import Path

from homeport.http.auth import basic_header
from support.acs_wire import acs, id_of, played
from support.acs_wire import login as digest_login


@played
async def test_strangers_fill_the_quarantine_to_its_bound_and_no_further(tmp_path: Path) -> None:
    """A newcomer beyond it gets 503 with Retry-After; who is known, and who logs in, comes as ever."""
    login = {"cpe_username": "boot", "cpe_password": "strap", "basic_over_http": True}
    bound: dict[str, object] = {
        "cpe_auth": "quarantine",
        "max_unapproved_devices": 2,
        "trusted_proxies": ("127.0.0.1",),
    }
    async with acs(tmp_path, **bound, **login) as bed:
        for serial in ("S1", "S2"):
            await (await bed.device(serial)).session("1 BOOT")
        third = await bed.device("S3")
        answer = await third.inform("1 BOOT")
        assert answer.status == 503 and 30 <= int(answer.headers["retry-after"]) <= 90
        assert await bed.app.store.device(id_of("S3")) is None
        health = (await bed.rest("GET", "health")).json
        assert health["status"] == "ok" and "homeport device forget" in health["notice"]
        metrics = (await bed.rest("GET", "/metrics")).body.decode()
        assert "homeport_newcomers_refused_total 1.0" in metrics
        assert (await (await bed.device("S1")).inform("2 PERIODIC")).status == 200
        assert health["trouble"] is None
        proven = await bed.device("S4")
        proven.headers["Authorization"] = basic_header("boot", "strap")
        assert (await proven.inform("1 BOOT")).status == 200
        assert (await bed.rest("POST", f"devices/{id_of('S1')}/approve")).status == 200
        bed.app.hub.newcomers._again = 0.0  # a second has passed
        assert (await third.inform("1 BOOT")).status == 200


@played
async def test_a_stranger_keeps_newcomers_of_other_addresses_not_out(tmp_path: Path) -> None:
    """While he fills what is his share, each by the address that the load balancer tells; those he is known by come as ever."""
    async with acs(tmp_path, cpe_auth="quarantine", max_unapproved_devices=12, trusted_proxies=("127.0.0.1",)) as bed:

        async def come(serial: str, address: str) -> int:
            device = await bed.device(serial, headers={"X-Forwarded-For": address})
            status = (await device.inform("1 BOOT")).status
            await device.close()
            return status

        stranger = [await come(f"A{n}", "203.0.113.5") for n in range(9)]
        assert stranger == [200] * 6 + [503] * 3
        assert await come("A1", "203.0.113.5") == 200, "who is known is no newcomer"
        assert [await come(f"B{n}", f"198.51.100.{n}") for n in range(3)] == [200] * 3
        health = (await bed.rest("GET", "health")).json
        assert health["status"] == "ok" and "trusted_proxies" in health["notice"] and "203.0" not in health["notice"]
        metrics = (await bed.rest("GET", "/metrics")).body.decode()
        assert "homeport_newcomers_over_share_total 3.0" in metrics
        assert (await bed.rest("POST", f"devices/{id_of('A2')}/approve")).status == 200


@played
async def test_in_a_laboratory_there_is_no_such_bound(tmp_path: Path) -> None:
    """In `open` mode a newcomer is approved, and nobody waits."""
    async with acs(tmp_path, cpe_auth="open", max_unapproved_devices=1) as bed:
        for serial in ("S1", "S2", "S3"):
            assert (await (await bed.device(serial)).inform("1 BOOT")).status == 200


LOGIN = {"cpe_username": "boot", "cpe_password": "strap", "basic_over_http": True}


@played
async def test_guessing_is_slowed_down_and_a_known_device_comes_in_all_the_while(tmp_path: Path) -> None:
    """After so many wrong ones 503 with Retry-After and no challenge, unread; who is known at that address has turns of its own."""
    async with acs(tmp_path, cpe_auth="required", cpe_login_failures=3, **LOGIN) as bed:
        bed.app.door.brake.held_for = 0.02
        known = await bed.device("S2", headers={"Authorization": basic_header("boot", "strap")})
        assert (await known.inform("1 BOOT")).status == 200
        guesser = await bed.device("S1")
        statuses = []
        for n in range(6):
            guesser.headers["Authorization"] = basic_header("boot", f"guess{n}")
            answer = await guesser.inform("1 BOOT")
            statuses.append(answer.status)
        assert statuses == [401, 401, 401, 503, 503, 503]
        assert int(answer.headers["retry-after"]) >= 30 and "www-authenticate" not in answer.headers
        known.cookie = ""
        assert (await known.inform("2 PERIODIC")).status == 200
        stats = bed.app.hub.stats
        assert (stats.login_failures, stats.logins_held, stats.logins_unread) == (3, 3, 3)
        metrics = (await bed.rest("GET", "/metrics")).body.decode()
        assert "homeport_logins_unread_total 3.0" in metrics


@played
async def test_guesses_over_many_connections_are_no_more_guesses(tmp_path: Path) -> None:
    """Forty at once, and again, at a device's own login and at the shared one: devices of the same NAT and of elsewhere come in."""
    nat, elsewhere = "192.0.2.1", "198.51.100.1"
    proxied = {"trusted_proxies": ("127.0.0.1",), "cpe_login_failures": 20}
    async with acs(tmp_path, cpe_auth="required", **LOGIN, **proxied) as bed:
        brake, stats = bed.app.door.brake, bed.app.hub.stats
        brake.held_for, brake.longest_turn = 0.01, 0.5

        async def genuine(serial: str, address: str, header: str) -> int:
            device = await bed.device(serial, headers={"X-Forwarded-For": address, "Authorization": header})
            return (await device.inform("1 BOOT")).status

        shared, own = basic_header("boot", "strap"), basic_header("one", "of its own")
        assert [await genuine(f"N{n}", nat, shared) for n in range(5)] == [200] * 5
        assert await genuine("OWN", elsewhere, shared) == 200
        body = {"username": "one", "password": "of its own"}
        assert (await bed.rest("PUT", f"devices/{id_of('OWN')}/credentials", body)).status in (200, 204)

        async def guess(n: int) -> None:
            for _ in range(5):
                headers = {"X-Forwarded-For": nat, "Authorization": basic_header(("boot", "one")[n % 2], f"guess{n}")}
                device = await bed.device(f"N{n}", headers=headers)
                assert (await device.inform("1 BOOT")).status in (401, 503)
                await device.close()

        guessers = [asyncio.create_task(guess(n)) for n in range(5, 45)]
        while stats.login_failures < 40:
            await asyncio.sleep(0.01)
        assert [await genuine(f"N{n}", nat, shared) for n in range(5)] == [200] * 5
        assert await genuine("OWN", elsewhere, own) == 200
        await asyncio.gather(*guessers)
        assert await genuine("OWN", elsewhere, own) == 200
        assert 40 <= stats.login_failures <= 48 and stats.logins_unread >= 150


@played
async def test_who_has_no_part_in_it_is_not_held(tmp_path: Path) -> None:
    """Another name from the same address, by Digest; and the first contact without a login is challenged as ever."""
    login = {"cpe_username": "boot", "cpe_password": "strap", "cpe_login_failures": 2}
    async with acs(tmp_path, cpe_auth="required", **login) as bed:
        guesser = await bed.device("S1")
        header = await digest_login(guesser, "nobody", "x")
        bed.app.door.brake.held_for = 0.01
        assert [(await guesser.post_inform(header)).status for _ in range(3)] == [401, 401, 503]
        genuine = await bed.device("S2")
        assert (await genuine.post_inform(await digest_login(genuine, "boot", "strap"))).status == 200
        assert bed.app.hub.stats.logins_held == 1
