"""The REST API against who must not get in, or not any more: strangers, guessers behind a proxy, tokens that were taken back."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from homeport.acs.api import bodies, histories
from homeport.acs.services import audit
from homeport.acs.storage.interface import DocumentChange, UnitOfWork
from support.acs_wire import Answer, Bed, Connection, acs, id_of, played

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("quick_passwords")]


async def send(bed: Bed, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    """One call over a connection of its own. headers: `_` for `-`."""
    connection = await Connection.to(bed.app.http_url)
    try:
        sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): v for name, v in headers.items()}
        return await connection.request(method, f"/api/v1/{path}", body, sent)
    finally:
        await connection.close()


# --- who is behind a proxy ---


@played
async def test_who_comes_through_a_trusted_proxy_has_an_address_of_his_own(tmp_path: Path) -> None:
    """In the audit log; and a guesser behind it keeps nobody else from logging in. What a client itself has sent counts for nothing."""
    async with acs(tmp_path, trusted_proxies=("127.0.0.1",)) as bed:
        eve = {"name": "eve", "password": "a-long-password"}
        assert (await bed.rest("POST", "users", eve)).status == 201
        for number in range(4):
            guess = f'{{"name": "nobody{number}", "password": "x"}}'.encode()
            status = (await send(bed, "POST", "login", guess, X_Forwarded_For="192.0.2.66")).status
            assert status == (401 if number < 3 else 429)
        good = b'{"name": "eve", "password": "a-long-password"}'
        assert (await send(bed, "POST", "login", good, X_Forwarded_For="192.0.2.66, 192.0.2.7")).status == 200
        newest = (await bed.rest("GET", "audit?limit=1")).json["items"][0]
        assert (newest["path"], newest["address"]) == ("/api/v1/login", "192.0.2.7")


@played
async def test_nobody_else_is_believed_about_addresses(tmp_path: Path) -> None:
    """Without a trusted proxy the header is what anybody may write. The log tells who guesses, and not what."""
    async with acs(tmp_path) as bed:
        with capture_logs() as told:
            for number in range(4):
                guess = f'{{"name": "nobody{number}", "password": "geheim"}}'.encode()
                answer = await send(bed, "POST", "login", guess, X_Forwarded_For=f"192.0.2.{number}")
            assert answer.status == 429
        refused = [line for line in told if line["event"] == "a login was refused"]
        assert [(line["user"], line["peer"]) for line in refused] == [(f"nobody{n}", "127.0.0.1") for n in range(3)]
        assert "geheim" not in str(told)


@played
async def test_who_has_many_addresses_of_one_network_waits_for_all_of_them(tmp_path: Path) -> None:
    """Of IPv6 anybody has a whole /64."""
    async with acs(tmp_path, trusted_proxies=("127.0.0.1",)) as bed:
        for number, other in enumerate(("2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3", "2001:db8::4")):
            guess = f'{{"name": "nobody{number}", "password": "x"}}'.encode()
            answer = await send(bed, "POST", "login", guess, X_Forwarded_For=other)
            assert answer.status == (401 if number < 3 else 429)
        assert (await send(bed, "POST", "login", guess, X_Forwarded_For="2001:db8:0:1::4")).status == 401


# --- what strangers may send ---


@pytest.mark.parametrize("framing", ["Content-Length: 16385", "Transfer-Encoding: chunked"])
@played
async def test_a_stranger_may_send_little(tmp_path: Path, framing: str) -> None:
    """What is sent lies in memory before anybody asks for a token: 16 KB without a good one, which a login fits into."""
    async with acs(tmp_path) as bed:
        for token, status in (("", 413), (f"Authorization: Bearer {bed.token}\r\n", 409)):
            connection = await Connection.to(bed.app.http_url)
            head = (
                f"POST /api/v1/logout HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{token}{framing}\r\n\r\n"
            )
            connection.writer.write(head.encode())
            if status != 413 or "chunked" in framing:
                body = b'"' + b"x" * 16_383 + b'"'
                connection.writer.write(b"4001\r\n" + body + b"\r\n0\r\n\r\n" if "chunked" in framing else body)
            answer = await connection.answer()
            assert answer.status == status
            if status == 413:
                assert "without a good token" in answer.json["error"]["message"]
            await connection.close()


@played
async def test_a_body_that_does_not_come_is_waited_for_a_while(tmp_path: Path, monkeypatch: Any) -> None:
    """Then 408, and the connection is gone."""
    monkeypatch.setattr(bodies, "PATIENCE", 0.05)
    async with acs(tmp_path) as bed:
        connection = await Connection.to(bed.app.http_url)
        connection.writer.write(b"POST /api/v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        answer = await connection.answer()
        assert (answer.status, answer.json["error"]["code"]) == (408, "timeout")
        assert await connection.reader.read() == b""
        await connection.close()


# --- who had a token ---


@played
async def test_an_event_stream_ends_with_the_token_that_opened_it(tmp_path: Path, monkeypatch: Any) -> None:
    """Taken back, or over by itself: whoever has left the company hears nothing more."""
    monkeypatch.setattr(histories, "HEARTBEAT", 0.1)
    async with acs(tmp_path) as bed:
        token = (await bed.rest("POST", "tokens", {"name": "gone", "scope": "read"})).json["token"]
        connection = await Connection.to(bed.app.http_url)
        connection.writer.write(
            f"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        async with asyncio.timeout(20):
            await connection.reader.readuntil(b"still here")
            await bed.rest("DELETE", "tokens/gone")
            assert (await connection.reader.readuntil(b"0\r\n\r\n")).endswith(b"0\r\n\r\n")
        await connection.close()


# --- lists that are long ---


@played
async def test_a_page_of_the_audit_log_looks_at_so_many_rows_and_no_more(tmp_path: Path, monkeypatch: Any) -> None:
    """A year of changes of others is not read in one go; `next` leads on to what fits."""
    monkeypatch.setattr(audit, "MOST_LOOKED_AT", 500)
    async with acs(tmp_path) as bed:
        rare = (await bed.rest("POST", "tokens", {"name": "rare"})).json["token"]
        await bed.rest("PUT", "devices/none/tags/x", token=rare)
        await bed.rest("POST", "tokens", {"name": "op", "scope": "operate"})
        [row] = (await bed.app.store.documents("audit", limit=1, youngest=True)).items
        unit = UnitOfWork()
        for number in range(1_200):
            name = f"f{number:019x}"
            unit.documents.append(DocumentChange(type(row)(row.kind, name, row.record, row.due)))
        await bed.app.store.commit(unit)
        found, pages, cursor = [], 0, ""
        while cursor is not None:
            page = (await bed.rest("GET", f"audit?path=/api/v1/tokens&by=nobody{cursor and f'&cursor={cursor}'}")).json
            found += page["items"]
            pages, cursor = pages + 1, page["next"]
        assert (found, pages) == ([], 3)
        assert (await bed.rest("GET", f"devices/{id_of()}")).status == 404
