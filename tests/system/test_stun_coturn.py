"""The device's STUN client against coturn, a STUN server that is not ours."""

import asyncio
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeport.transport.stun import UdpRequestListener
from homeport.transport.stun_client import BindingKnown, StunSettings

pytestmark = pytest.mark.system

LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module")
def coturn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A coturn of our own on a free port, which is given; skips where it is not installed."""
    program = shutil.which("turnserver")
    if program is None:
        pytest.skip("coturn is not installed (Debian: apt-get install coturn)")
    directory: Path = tmp_path_factory.mktemp("coturn")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((LOOPBACK, 0))
        port = int(probe.getsockname()[1])
    command = [program, "-n", "--listening-ip", LOOPBACK, "--relay-ip", LOOPBACK, "--listening-port", str(port)]
    command += [
        "--no-tls",
        "--no-dtls",
        "--no-tcp",
        "--no-tcp-relay",
        "--no-cli",
        "--no-rfc5780",
        "--log-file",
        "stdout",
    ]
    command += ["--userdb", str(directory / "turndb"), "--pidfile", str(directory / "pid")]
    log = (directory / "log").open("wb")
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)
        log.close()


async def first_binding(port: int, settings: StunSettings, events: list[BindingKnown], troubles: list[str]) -> None:
    """Runs a listener until it knows its binding, or says why not."""
    known = asyncio.Event()

    def told(binding: BindingKnown) -> None:
        events.append(binding)
        known.set()

    def trouble(sentence: str) -> None:
        troubles.append(sentence)
        known.set()

    listener = UdpRequestListener(
        credentials=lambda: ("user", "secret"),
        on_request=lambda: None,
        on_binding=told,
        on_trouble=trouble,
        host=LOOPBACK,
    )
    local = await listener.start()
    try:
        # While coturn starts, our own repetitions bridge the gap.
        await listener.use_stun(settings, server_host=LOOPBACK, server_port=port)
        async with asyncio.timeout(15):
            await known.wait()
        if events:
            assert events[-1].local == local
    finally:
        await listener.stop()


@pytest.mark.case("C14")
@pytest.mark.parametrize("settings", [StunSettings(), StunSettings("user", "secret", 20, 20)])
def test_coturn_answers_our_binding_requests(coturn: int, settings: StunSettings) -> None:
    """TR-069's attributes do not disturb an ordinary STUN server; without a NAT the mapped address is the local one."""
    events: list[BindingKnown] = []
    troubles: list[str] = []
    asyncio.run(first_binding(coturn, settings, events, troubles))
    assert troubles == []
    assert events[0].mapped == events[0].local
    assert not events[0].nat_detected
