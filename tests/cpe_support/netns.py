"""Network namespaces for tests: the test's own, and others that are joined to it by a cable (a veth pair).

`skip_without` gives the reason where this machine or this user cannot make one. Nothing of the machine's own network is touched.
"""

import ctypes
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support.nursery import shared_nursery

_NEWNET = 0x40000000


def ip(*arguments: str) -> str:
    """Runs `ip` in the namespace of this process."""
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def ip_json(*arguments: str) -> list[dict[str, Any]]:
    """What `ip -j` says."""
    found: list[dict[str, Any]] = json.loads(ip("-j", *arguments) or "[]")
    return found


def skip_without() -> str:
    """Why namespaces cannot be made here, "" where they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip") or not shutil.which("nsenter"):
        return "iproute2 and util-linux are not installed"
    made = subprocess.run(
        ["unshare", "-n", "ip", "link", "add", "t0", "type", "veth"], capture_output=True, check=False
    )
    return "" if made.returncode == 0 else "this kernel makes no network namespaces or no veth interfaces"


needs_namespaces = pytest.mark.skipif(bool(skip_without()), reason=skip_without() or "never")


@contextmanager
def own_network() -> Iterator[None]:
    """The block runs in a new network namespace with nothing but a loopback interface that is up."""
    shared_nursery()  # begun inside, all that is forked from it later would be in a network of its own, too
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        ip("link", "set", "lo", "up")
        yield
    finally:
        if libc.setns(before, _NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(before)


class Box:
    """Another namespace, held by a process that sleeps. `cable` joins it to the namespace of this process."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(["unshare", "-n", "sleep", "600"])
        self.pid = self._holder.pid
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.pid}/ns/net") == own:  # until unshare has done its work
            assert self._holder.poll() is None
        self.run("ip", "link", "set", "lo", "up")

    def close(self) -> None:
        """The namespace is gone with its last process."""
        self._holder.kill()
        self._holder.wait()

    @property
    def enter(self) -> list[str]:
        """What stands before a command that is to run inside."""
        return ["nsenter", "-t", str(self.pid), "-n"]

    def run(self, *command: str) -> str:
        """Runs a command inside."""
        return subprocess.run([*self.enter, *command], check=True, capture_output=True, text=True).stdout

    def json(self, *arguments: str) -> list[dict[str, Any]]:
        """What `ip -j` says inside."""
        found: list[dict[str, Any]] = json.loads(self.run("ip", "-j", *arguments) or "[]")
        return found

    def cable(self, here: str, there: str) -> None:
        """A veth pair: one end here, the other inside."""
        ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", str(self.pid))
        ip("link", "set", here, "up")
        self.run("ip", "link", "set", there, "up")
