"""The web page's port: which one, for whom, over TLS, and without a page."""

import asyncio
import grp
import os
import pwd
import ssl
import subprocess
import sys

import pytest

from cpe_support.bench import Bench
from cpe_support.web_bench import WebBench, parsed
from homeport.cpe.parts.choose import parts_of
from homeport.cpe.web import local_user
from homeport.cpe.web.listener import PageListener
from homeport.cpe.web.local_user import may_steer, user_of
from homeport.cpe.web.part import WebPart, is_loopback
from homeport.errors import ConfigError

pytestmark = pytest.mark.system


def play(tmp_path, scene, **settings):
    async def run():
        async with WebBench(tmp_path, **settings) as web:
            return await scene(web)

    return asyncio.run(run())


def test_a_taken_port_leads_to_the_next_and_a_restart_to_the_same(tmp_path):
    """Several agents on one machine find their places; an open page finds its agent again."""

    async def scene():
        taken = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        wanted = taken.sockets[0].getsockname()[1]
        ports = []
        for _ in range(2):
            bench = Bench(tmp_path, web_port=wanted)
            part = WebPart(await bench.start())
            await part.start()
            ports.append(int(bench.agent.status.web_url.rstrip("/").rpartition(":")[2]))
            taken.close()  # it is free again, but the page stays where it was
            await part.stop()
            await bench.stop()
        return wanted, ports

    wanted, ports = asyncio.run(scene())
    assert wanted < ports[0] <= wanted + 50 and ports[1] == ports[0]


def test_no_page_is_served_where_none_is_wanted(tmp_path):
    """No port, no memory."""

    async def scene():
        bench = Bench(tmp_path, web=False)
        names = [part.name for part in parts_of(await bench.start())]
        await bench.stop()
        return names

    assert "the web page" not in asyncio.run(scene())


def test_an_address_that_cannot_be_had_is_a_sentence(tmp_path):
    """The agent goes on without its page: parts that cannot start are logged."""

    async def scene():
        bench = Bench(tmp_path, web_port=0, web_listen="192.0.2.1")
        part = WebPart(await bench.start())
        with pytest.raises(ConfigError, match="web_listen"):
            await part.start()
        await bench.stop()

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("box.lan", False),
    ],
)
def test_only_true_loopback_counts_as_loopback(host, here):
    """Anything else needs a password."""
    assert is_loopback(host) is here


def test_the_user_behind_a_connection_is_known(tmp_path):
    """From the kernel; a port that nobody connected from is nobody's."""

    async def scene(web):
        _, writer = await asyncio.open_connection("127.0.0.1", web.port)
        port = writer.get_extra_info("sockname")[1]
        own, here = ("127.0.0.1", web.port), "127.0.0.1"
        found = [user_of((here, port), own), user_of((here, 1), own)]
        found += [
            local_user._asked((here, port), own),
            local_user._asked((here, 1), own),
            local_user._in_table(1, web.port),
        ]
        writer.close()
        return found

    if not local_user.TABLES[0].exists():
        pytest.skip("no Linux")
    assert play(tmp_path, scene) == [os.getuid(), None, os.getuid(), None, None]


def test_the_table_of_connections_tells_too(tmp_path, monkeypatch):
    """Where the kernel cannot be asked."""
    table = tmp_path / "tcp"
    table.write_text(
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:1F91 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 1 1\n"
        "   1: 010200C0:C001 0100007F:1F91 01 00000000:00000000 00:00000000 00000000     7        0 1 1\n"
        "   2: 0100007F:C001 0100007F:1F91 01 00000000:00000000 00:00000000 00000000  1000        0 1 1\n"
    )
    monkeypatch.setattr(local_user, "TABLES", (tmp_path / "none", table))
    assert local_user._in_table(0xC001, 8081) == 1000
    assert local_user._in_table(0xC002, 8081) is None


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("0100007F", True),
        ("010200C0", False),
        ("00000000000000000000000001000000", True),
        ("0000000000000000FFFF00000100007F", True),
        ("0000000000000000FFFF0000010200C0", False),
        ("000080FE000000000000000001000000", False),
    ],
)
def test_the_tables_addresses_are_read_rightly(address, loopback):
    """As Linux writes them on little-endian machines."""
    if sys.byteorder != "little":
        pytest.skip("addresses are written in the machine's order")
    assert local_user._is_loopback(address) is loopback


def test_who_may_steer_without_a_password():
    """The agent's user, root and the members of the group, as at the control socket."""
    assert may_steer(os.geteuid(), "") and may_steer(0, "")
    other = next((p for p in pwd.getpwall() if p.pw_uid not in (0, os.geteuid())), None)
    if other is None:
        pytest.skip("this machine has no other user")
    assert not may_steer(other.pw_uid, "") and not may_steer(other.pw_uid, "no-such-group")
    assert may_steer(other.pw_uid, grp.getgrgid(other.pw_gid).gr_name)


def test_another_user_of_the_machine_sees_nothing_without_the_password(tmp_path):
    """What the control socket refuses the page refuses too."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user")
    nobody = pwd.getpwnam("nobody").pw_uid

    async def scene(web):
        code = (
            f"import os, socket\nos.setuid({nobody})\n"
            f"s = socket.socket(); s.connect(('127.0.0.1', {web.port}))\n"
            "s.sendall(b'GET /status HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n')\n"
            "print(s.makefile().read())"
        )
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
        return (await process.communicate())[0].decode()

    said = play(tmp_path, scene)
    assert said.startswith("HTTP/1.1 403") and "homeport cpe web-password" in said


def test_over_tls_the_cookie_never_goes_in_clear(tmp_path):
    """https with a certificate of one's own; plain HTTP to that port is no page."""
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", tmp_path / "k", "-out", tmp_path / "c"],
        capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip("openssl cannot make a certificate here")

    async def scene(web):
        assert web.part is not None and web.bench.agent.status.web_url.startswith("https://localhost:")
        trusted = ssl.create_default_context(cafile=str(tmp_path / "c"))
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port, ssl=trusted, server_hostname="localhost")
        writer.write(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        reply = parsed(await reader.read())
        writer.close()
        assert reply.status == 200 and "; Secure" in reply.headers["set-cookie"]
        assert not (await web.raw(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")).startswith(b"HTTP/1.1 200")
        mute = PageListener(web.part._answer, host="127.0.0.1", port=0, tls=web.part._tls(), time_limit=0.3)
        reader, writer = await asyncio.open_connection("127.0.0.1", await mute.start())
        async with asyncio.timeout(5):
            assert await reader.read() == b""  # a handshake that never begins does not last
        writer.close()
        await mute.stop()

    play(tmp_path / "state", scene, web_certificate=tmp_path / "c", web_key=tmp_path / "k")


def test_a_certificate_that_is_none_is_a_sentence(tmp_path):
    """With the setting's name."""
    (tmp_path / "c").write_text("nonsense")

    async def scene():
        bench = Bench(tmp_path / "state", web_port=0, web_certificate=tmp_path / "c", web_key=tmp_path / "c")
        part = WebPart(await bench.start())
        with pytest.raises(ConfigError, match="web_certificate"):
            await part.start()
        await bench.stop()

    asyncio.run(scene())
