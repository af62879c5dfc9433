"""Digest at several ACS processes on one database: each nonce opens once, and a device comes in with one more challenge at most."""

from pathlib import Path

import pytest

from homeport.http.digest import DigestClient
from support.acs_nodes import Hopping, a_hopping_device, nodes
from support.acs_wire import Answer, acs, an_inform, played
from support.postgres import needs_postgres, shared_server

pytestmark = pytest.mark.system

LOGIN = {"cpe_auth": "required", "cpe_username": "boot", "cpe_password": "strap"}


@pytest.fixture
def url() -> str:
    return shared_server().new_database()


async def comes_in(device: Hopping) -> tuple[int, str]:
    """How many challenges it took, and the Authorization header that opened."""
    client, header, answer = DigestClient("boot", "strap"), "", await device.post(None)
    for challenges in range(1, 5):
        assert answer.status == 401
        made = client.answer(
            answer.headers["www-authenticate"].split("\n"), method="POST", uri="/", cnonce=f"c{challenges}"
        )
        assert made is not None
        header = made
        answer = await device.post_inform(header, "1 BOOT")
        if answer.status == 200:
            return challenges, header
    raise AssertionError(f"it never came in: {answer}")


def is_stale(answer: Answer) -> bool:
    return answer.status == 401 and "stale=true" in answer.headers["www-authenticate"]


@pytest.mark.postgres
@needs_postgres
@played
async def test_a_login_counts_once_at_all_nodes_together(tmp_path: Path, url: str) -> None:
    """Over a balancer that sends every message elsewhere it opens at once; what somebody has overheard opens nowhere any more.

    Where nobody can be asked it takes one more challenge: the next nonce opens wherever it is brought.
    """
    async with nodes(tmp_path, url, 3, **LOGIN) as beds:
        device = await a_hopping_device(beds)
        beds[0].devices.append(device)
        challenges, header = await comes_in(device)
        assert challenges == 1
        thief = await a_hopping_device(beds, "THIEF")
        beds[0].devices.append(thief)
        assert all([is_stale(await thief.post_inform(header, "1 BOOT")) for _ in range(6)])
        device.cookie = ""
        assert (await comes_in(device))[0] == 1
        for bed in beds:  # from now on the processes do not hear each other, as where the one that was asked has ended
            bed.app.door._logins._auth.ask_within = 0.05
            assert bed.app.hub.peers is not None
            del bed.app.hub.peers._servers["nonce"]
        for _ in range(2):
            device.cookie = ""
            assert (await comes_in(device))[0] == 2


@played
async def test_a_nonce_of_before_a_restart_opens_no_more(tmp_path: Path) -> None:
    """What was used of it is forgotten; the password is right, so the device is told that only the nonce is old."""
    async with acs(tmp_path, **LOGIN) as bed:
        device = await bed.device()
        challenge = (await device.post(None)).headers["www-authenticate"].split("\n")
    header = DigestClient("boot", "strap").answer(challenge, method="POST", uri="/", cnonce="c")
    assert header is not None
    async with acs(tmp_path, **LOGIN) as bed:
        device = await bed.device()
        assert is_stale(await device.post(an_inform(), Authorization=header))
