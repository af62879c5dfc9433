"""Which user of this machine is at the other end of a loopback connection, and whether that user may steer the agent.

A page without a password must not give every user of a machine what the control socket gives to the agent's own user, root and the
members of control_group alone. The kernel tells who opened a connection. Source: sock_diag(7), proc(5).
"""

import grp
import ipaddress
import os
import pwd
import re
import socket
import struct
import sys
from pathlib import Path
from typing import Final

_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_REQUEST: Final = 1
_USER_AT: Final = 16 + 64
"""Where inet_diag_msg, behind its header, has idiag_uid."""

_MOST: Final = 1 << 20
"""Bytes of a table that are read."""

TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def _word(data: bytes) -> str:
    return f"{int.from_bytes(data, _ORDER):08X}"


_ORDER: Final = sys.byteorder
_LAST: Final = 3 if _ORDER == "little" else 0
_ONE: Final = _word(b"\0\0\0\1")
_MAPPED: Final = _word(b"\0\0\xff\xff")


def user_of(peer: tuple[str, int], own: tuple[str, int]) -> int | None:
    """The user id that opened the loopback connection from peer to own (addresses and ports), None where it cannot be found out."""
    try:
        found = _asked(peer, own)
    except OSError:
        found = None  # no such question on this system, or not allowed: the table may still tell
    return found if found is not None else _in_table(peer[1], own[1])


def _asked(peer: tuple[str, int], own: tuple[str, int]) -> int | None:
    """By the kernel's socket diagnosis: one question, one answer, however many connections there are."""
    address = ipaddress.ip_address(peer[0].partition("%")[0])
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    places = b"".join(
        ipaddress.ip_address(host.partition("%")[0]).packed.ljust(16, b"\0") for host in (peer[0], own[0])
    )
    identity = struct.pack("!HH", peer[1], own[1]) + places + struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
    question = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + identity
    header = struct.pack("=IHHII", 16 + len(question), _BY_FAMILY, _REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as kernel:
        kernel.settimeout(1.0)
        kernel.send(header + question)
        answer = kernel.recv(4096)
    _, kind = struct.unpack_from("=IH", answer)
    if kind != _BY_FAMILY or len(answer) < _USER_AT + 4:
        return None
    return int(struct.unpack_from("=I", answer, _USER_AT)[0])


def _in_table(peer_port: int, own_port: int) -> int | None:
    """By the table that older kernels have; not where it is huge, for reading it stops the agent."""
    wanted = re.compile(rf"\b([0-9A-F]+):{peer_port:04X} ([0-9A-F]+):{own_port:04X} \S+ \S+ \S+ \S+ +(\d+) ")
    for table in TABLES:
        try:
            with table.open(encoding="ascii", errors="replace") as file:
                text = file.read(_MOST)
        except OSError:
            continue  # no IPv6, or no Linux
        for found in wanted.finditer(text):
            if _is_loopback(found.group(1)) and _is_loopback(found.group(2)):
                return int(found.group(3))
    return None


def _is_loopback(address: str) -> bool:
    """Whether an address as the table writes it, 32-bit words in the machine's order, is 127.0.0.0/8, ::1 or the mapped form."""
    if len(address) == 8:
        return bytes.fromhex(address)[_LAST] == 127
    words = [address[i : i + 8] for i in range(0, 32, 8)]
    if words[:2] != ["00000000"] * 2:
        return False
    if words[2] == "00000000":
        return words[3] == _ONE
    return words[2] == _MAPPED and bytes.fromhex(words[3])[_LAST] == 127


def may_steer(user: int, group: str) -> bool:
    """Whether a user may do what the control socket allows: the agent's own user, root, and the members of control_group."""
    if user in (0, os.geteuid()):
        return True
    if not group:
        return False
    try:
        entry, account = grp.getgrnam(group), pwd.getpwuid(user)
    except KeyError:
        return False
    return account.pw_gid == entry.gr_gid or account.pw_name in entry.gr_mem
