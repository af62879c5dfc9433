"""`homeport acs serve --workers N`: several processes on the same ports, started, watched and stopped by one."""

import asyncio
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.acs.config import AcsSettings
from homeport.errors import ConfigError
from support.acs_process import Changed
from support.acs_wire import Connection, Device, an_inform, id_of, run
from support.ends import Acs, wait_for
from support.nursery import shared_nursery
from support.postgres import needs_postgres, shared_server
from support.tls import connect, make_certificate, trusting

pytestmark = [pytest.mark.system, pytest.mark.postgres, needs_postgres]


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Acs]:
    """An ACS of two workers on a new database."""
    url = shared_server().new_database()
    options = ("--workers", "2", "--cpe-auth", "open", "--discover", "never", "--database", url)
    server = Acs(tmp_path / "acs", *options, "--connection-request-credentials", "keep")
    try:
        yield server.start()
    finally:
        server.stop()


def addresses(acs: Acs) -> dict[str, object]:
    found: dict[str, object] = json.loads((acs.data / "acs.json").read_text())
    return found


def alive(pid: int) -> bool:
    """Whether there is such a process, one that is not only waiting for its parent's look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_workers_serve_one_port_and_one_that_dies_is_started_again(two: Acs) -> None:
    """What it prints and writes names all; sessions go through while a worker is killed; neither a kill nor a stop leaves anybody."""
    text = two.log.read_text()
    assert "worker processes   2" in text
    assert "admin token" in text
    facts = addresses(two)
    assert two.process is not None
    assert facts["pid"] == two.process.pid
    first = facts["workers"]
    assert isinstance(first, list)
    assert len(set(first)) == 2

    async def sessions(count: int, serial: str) -> None:
        for n in range(count):
            device = Device(await Connection.to(two.cwmp_url), f"{serial}{n}")
            assert (await device.post(an_inform(device.serial, "1 BOOT"))).status == 200
            await device.reconnect()  # whichever worker accepts this one: it goes on with the session
            assert (await device.post(None)).status == 204
            await device.close()

    run(sessions(20, "W"))
    os.kill(first[0], signal.SIGKILL)
    run(sessions(5, "D"))
    wait_for(lambda: addresses(two)["workers"] != first, "the restart of the worker")
    second = addresses(two)["workers"]
    assert isinstance(second, list)
    assert second[1] == first[1]
    assert not alive(first[0])
    run(sessions(20, "A"))
    assert len(two.rest("GET", "devices?limit=500")["items"]) == 45
    assert two.device(id_of("A19")) is not None
    wait_for(lambda: 'worker="2"' in two.text("/metrics"), "the other worker's counters")
    informs = [line for line in two.text("/metrics").splitlines() if line.startswith("homeport_informs_total{")]
    assert [line.split()[0][-3:] for line in informs] == ['1"}', '2"}']
    # kill -9 of the parent: its workers end by themselves, and the ACS can be started again on the same directory and ports.
    two.kill()
    wait_for(lambda: not any(alive(pid) for pid in second), "the end of the workers")
    third = addresses(two.start())["workers"]
    assert isinstance(third, list)
    assert len(third) == 2
    two.stop()
    assert not any(alive(pid) for pid in third)
    assert "Traceback" not in two.log.read_text()


def test_workers_take_up_a_certificate_survive_one_that_hangs_and_hand_over_at_the_end(tmp_path: Path) -> None:
    """SIGHUP reaches both, whose log was turned; a broken certificate leaves the one before; one that stands still is replaced."""
    chain, private = make_certificate(tmp_path)
    (tmp_path / "renewed").mkdir()
    renewed, its_key = make_certificate(tmp_path / "renewed")
    options = (
        "--workers",
        "2",
        "--cpe-auth",
        "open",
        "--discover",
        "never",
        "--database",
        shared_server().new_database(),
    )
    tls = ("--tls-certificate", str(chain), "--tls-key", str(private))
    log = tmp_path / "acs/acs.log"
    acs = Changed(tmp_path / "acs", "impatient", (1.5,), *options, *tls, "--log-file", str(log))

    async def device(serial: str) -> Device:
        return Device(await connect(acs.cwmp_url, trusting()), serial)

    async def shown() -> set[bytes]:
        """The certificates that a dozen connections show: both workers accept some of them."""
        found = set()
        for _ in range(12):
            connection = await connect(acs.cwmp_url, trusting())
            found.add(connection.writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
            await connection.close()
        return found

    def reload(said: str) -> None:
        assert acs.process is not None
        before = acs.log.read_text().count(said)
        acs.process.send_signal(signal.SIGHUP)
        wait_for(lambda: acs.log.read_text().count(said) == before + 2, f"{said!r} of both workers")

    async def scene() -> None:
        open_ones = [await device(f"H{n}") for n in range(4)]
        for one in open_ones:
            assert (await one.inform("1 BOOT")).status == 200
        first = await shown()
        os.replace(renewed, chain)
        os.replace(its_key, private)
        log.rename(tmp_path / "turned.log")
        wait_for(log.exists, "the parent to see that the log was put aside")
        reload("the new certificate is used")
        second = await shown()
        assert len(first) == len(second) == 1
        assert first != second
        chain.write_text("no certificate")
        reload("the new certificate cannot be used; the one before goes on serving")
        assert await shown() == second
        for one in open_ones:
            assert (await one.post(None)).status == 204, "a session that was open, on its connection"
            await one.close()
        before = addresses(acs)["workers"]
        assert isinstance(before, list)
        os.kill(before[1], signal.SIGSTOP)
        chain.write_bytes((tmp_path / "good.pem").read_bytes())
        wait_for(lambda: addresses(acs)["workers"] != before, "another worker in place of the one that hangs")
        after = addresses(acs)["workers"]
        assert isinstance(after, list)
        assert after[0] == before[0]
        assert not alive(before[1])
        assert "stopped by a signal (SIGSTOP)" in acs.log.read_text()
        assert 'homeport_worker_hung_total{worker="2"} 1.0' in acs.text("/metrics")
        late = [await device(f"L{n}") for n in range(4)]
        for one in late:
            assert (await one.inform("1 BOOT")).status == 200
            await one.connection.close()
        acs.stop()
        await asyncio.to_thread(acs.start)
        for one in late:
            one.connection = await connect(acs.cwmp_url, trusting())
            assert (await one.post(None)).status == 204, "a session that was open at the stop"
            await one.close()
        assert "Traceback" not in acs.log.read_text()

    (tmp_path / "good.pem").write_bytes(renewed.read_bytes())
    acs.start()
    try:
        run(scene())
    finally:
        acs.stop()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"workers": 2}, "workers is 2, but SQLite serves one process"),
        ({"workers": 2, "database": "sqlite:///x.db"}, "workers is 2, but SQLite serves one process"),
        ({"workers": 2, "database": "memory:"}, "workers is 2, but memory: serves one process"),
        ({"workers": 0}, "workers is 0; it must be at least 1"),
        ({"trusted_proxies": ("lb.example",)}, "trusted_proxies holds 'lb.example', which is no address or network"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_a_sentence(settings: dict[str, Any], said: str) -> None:
    """Before anything is started; the sentence says what to do."""
    with pytest.raises(ConfigError, match=re.escape(said)):
        AcsSettings(**settings).check()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:Secret7@127.0.0.1:1/none", "does not answer"),
        ("postgresql://u:Secret7/x@127.0.0.1/none", "cannot be read: in a user name or password"),
    ],
)
def test_workers_without_a_database_end_with_a_sentence_and_without_its_password(
    tmp_path: Path, url: str, said: str
) -> None:
    """Nothing would become better by trying again: the parent ends with the workers' exit code."""
    here = ("--cwmp-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--file-listen", "127.0.0.1:0")
    options = ("--data-dir", str(tmp_path), *here, "--workers", "2", "--database", url)
    process = shared_nursery().start("acs", "serve", *options, log=tmp_path / "log")
    assert process.wait(60) == 1
    told = (tmp_path / "log").read_text()
    assert said in told
    assert "Secret7" not in told
