"""What systemd hears of an ACS."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeport.acs.systemd import Notifier


@pytest.fixture(params=["file", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The address of a socket as NOTIFY_SOCKET names it, and the socket."""
    name = f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.setblocking(False)
        listening.bind("\0" + name if request.param == "abstract" else name)
        yield "@" + name if request.param == "abstract" else name, listening


def heard(listening: socket.socket) -> list[str]:
    """All that was said."""
    out = []
    while True:
        try:
            out.append(listening.recv(100).decode())
        except BlockingIOError:
            return out


def test_it_is_told_of_start_life_and_end(systemd: tuple[str, socket.socket]) -> None:
    """Life twice in the time after which it would lose its patience; nothing is left in the environment for children."""
    address, listening = systemd
    now = 100.0
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid()), "A": "b"}
    notifier = Notifier(environment, clock=lambda: now)
    assert environment == {"A": "b"}
    assert notifier.every == 30.0
    notifier.ready()
    for _ in range(121):
        notifier.alive()
        now += 0.5
    notifier.stopping()
    assert heard(listening) == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]


@pytest.mark.parametrize("watchdog", [{}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}])
def test_without_a_watchdog_no_sign_of_life_is_sent(
    systemd: tuple[str, socket.socket], watchdog: dict[str, str]
) -> None:
    """Nor where another process is meant."""
    address, listening = systemd
    notifier = Notifier({"NOTIFY_SOCKET": address, **watchdog})
    notifier.alive()
    notifier.ready()
    assert (notifier.every, heard(listening)) == (0.0, ["READY=1"])


def test_where_nobody_listens_nothing_happens(tmp_path: Path) -> None:
    """Started by hand, or systemd's socket is gone."""
    for environment in ({}, {"NOTIFY_SOCKET": f"{tmp_path}/none", "WATCHDOG_USEC": "1000000"}):
        notifier = Notifier(environment)
        notifier.ready()
        notifier.alive()
        notifier.stopping()
