"""Requests to the kernel over route netlink, one socket, answers as plain records; and the socket on which it tells of changes.

Messages are pyroute2's (ifinfmsg, ifaddrmsg, rtmsg, ndmsg); the socket is ours. `import pyroute2` loads every protocol that the library
knows, which costs 24 MB and 150 ms; its message classes alone cost 1 MB and 14 ms, so `_messages` imports these and nothing else.
Errors are translated here, at the rim: a Refused carries a sentence and the errno. Used under pyroute2's Apache-2.0 licence.
"""

import errno
import functools
import gc
import os
import socket
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any, Final

from homeport.cpe.devices.linux.records import (
    COUNTERS,
    FOREVER,
    MAIN_TABLE,
    Address,
    Forwarding,
    Link,
    Neighbour,
    Route,
)
from homeport.errors import ConfigError, HomeportError

_REQUEST: Final = 0x1
_ACK: Final = 0x4
_ROOT_MATCH: Final = 0x300
_REPLACE: Final = 0x100
_EXCLUSIVE: Final = 0x200
_CREATE: Final = 0x400
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_HEADER: Final = struct.Struct("=IHHII")

_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWNEIGH, _DELNEIGH, _GETNEIGH = 28, 29, 30
"""Message types (RTM_*, linux/rtnetlink.h)."""

_NEIGH_PROXY: Final = 0x08
_NEIGH_ROUTER: Final = 0x80
_NEIGH_SELF: Final = 0x02
_CLONED: Final = 0x200

EVENT_GROUPS: Final = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400
"""Links, neighbours, IPv4 and IPv6 addresses and routes (RTMGRP_*)."""

_BUFFER: Final = 1 << 18
"""Bytes for one datagram of a dump; the kernel sends at most 32 KiB, or what the largest buffer so far allowed."""

_TIMEOUT: Final = 5.0
"""Seconds in which the kernel must answer; it does in microseconds, or the machine has other troubles."""


MOST_ROUTES: Final = 1_000
"""Routes of one family that are looked at: more than a table of the data model shows; a router with the whole Internet has a million."""


class Refused(HomeportError):
    """The kernel did not do what it was asked. code: errno. The text is a sentence."""

    def __init__(self, what: str, code: int) -> None:
        self.code = code
        super().__init__(f"{what}: {_reason(code)}")


def _reason(code: int) -> str:
    if code in (errno.EPERM, errno.EACCES):
        return "this needs the capability CAP_NET_ADMIN, which the agent does not have"
    texts = {
        errno.EEXIST: "it is there already",
        errno.ENODEV: "there is no such interface",
        errno.ESRCH: "there is no such route",
        errno.EADDRNOTAVAIL: "the interface has no such address",
        errno.ENETUNREACH: "the gateway cannot be reached over any interface",
        errno.EHOSTUNREACH: "the gateway cannot be reached over this interface",
        errno.ENETDOWN: "the interface is switched off",
        errno.EINVAL: "the kernel finds the values invalid together",
        errno.EOPNOTSUPP: "this kernel or interface cannot do that",
    }
    return texts.get(code, os.strerror(code))


@functools.cache
def _messages() -> SimpleNamespace:
    """pyroute2's four message classes. Raises ConfigError where the library is missing.

    A stand-in for the package, with the same search path, is in place while they are imported: its own `__init__` imports everything.
    """
    import importlib
    import importlib.util

    loaded = sys.modules.get("pyroute2")
    if loaded is None:
        found = importlib.util.find_spec("pyroute2")
        if found is None or found.submodule_search_locations is None:
            raise ConfigError("the Linux device needs pyroute2; install it with `pip install homeport[linux]`")
        package = ModuleType("pyroute2")
        package.__path__ = list(found.submodule_search_locations)
        sys.modules["pyroute2"] = package
    try:
        base = "pyroute2.netlink.rtnl."
        classes = {
            name: getattr(importlib.import_module(base + module), module)
            for name, module in (
                ("link", "ifinfmsg"),
                ("address", "ifaddrmsg"),
                ("route", "rtmsg"),
                ("neighbour", "ndmsg"),
            )
        }
    finally:
        if loaded is None:
            del sys.modules["pyroute2"]  # whoever wants the whole library gets it
    return SimpleNamespace(**classes)


class Netlink:
    """One socket for requests. Not for use by several threads at once."""

    def __init__(self) -> None:
        """Raises ConfigError where pyroute2 is missing, Refused where the kernel gives no socket."""
        _messages()
        self._sequence = 0
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
            self._socket.bind((0, 0))
        except OSError as e:
            raise Refused("no netlink socket could be opened", e.errno or 0) from e
        self._socket.settimeout(_TIMEOUT)

    def close(self) -> None:
        self._socket.close()

    # --- reading ------------------------------------------------------------------------------------------------------------------

    def links(self) -> list[Link]:
        """All network interfaces, in the order of their indexes. Raises Refused."""
        found = [_link(m) for m in self._dump(_messages().link, _GETLINK, {"family": 0})]
        gc.collect(
            0
        )  # pyroute2's messages refer to each other in circles: 200 objects for each link, with every look at the counters
        return sorted(found, key=lambda link: link.index)

    def addresses(self) -> list[Address]:
        """All addresses, IPv4 first. Raises Refused."""
        found = [_address(m) for m in self._dump(_messages().address, _GETADDR, {"family": 0})]
        return sorted((a for a in found if a is not None), key=lambda a: (a.family, a.index))

    def routes(self) -> list[Route]:
        """All unicast routes of the main table, IPv4 first. Raises Refused."""
        found: list[Route] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            most = len(found) + MOST_ROUTES
            for message in self._dump(_messages().route, _GETROUTE, {"family": family}):
                route = _route(message) if len(found) < most else None
                if route is not None:
                    found.append(route)
        return found

    def neighbours(self) -> list[Neighbour]:
        """The ARP and neighbour tables, without entries that stand for no machine. Raises Refused."""
        found = [_neighbour(m) for m in self._dump(_messages().neighbour, _GETNEIGH, {"family": 0})]
        return [n for n in found if n is not None]

    def forwardings(self) -> list[Forwarding]:
        """What bridges have learned. Raises Refused."""
        found = []
        for message in self._dump(_messages().neighbour, _GETNEIGH, {"family": socket.AF_BRIDGE}):
            bridge = message.get_attr("NDA_MASTER")
            if bridge and not message["flags"] & _NEIGH_SELF:
                mac = str(message.get_attr("NDA_LLADDR") or "")
                found.append(Forwarding(message["ifindex"], bridge, mac, own=bool(message["state"] & 0x80)))
        return found

    def route_to(self, address: str) -> Route | None:
        """The way that a packet to an address takes now, None where there is none."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        bits = 128 if ":" in address else 32
        message = self._message(
            _messages().route, _GETROUTE, {"family": family, "dst_len": bits}, [("RTA_DST", address)]
        )
        try:
            for answer in self._talk(message, "the way to " + address, _messages().route, many=False):
                found = _route(answer, any_table=True)
                if found is not None:
                    return found
        except Refused:
            return None  # unreachable: the answer, not an error
        return None

    # --- writing: each raises Refused with a sentence -------------------------------------------------------------------------------

    def set_link(self, index: int, name: str, *, up: bool | None = None, mtu: int | None = None) -> None:
        """Switch an interface on or off, or set its MTU. name: for the sentence of a refusal."""
        fields: dict[str, int] = {"index": index}
        if up is not None:
            fields |= {"flags": int(up), "change": 1}
        attributes: list[tuple[str, object]] = []
        if mtu is not None:
            attributes.append(("IFLA_MTU", mtu))
        self._do(_messages().link, _NEWLINK, fields, attributes, 0, f"the interface {name} could not be changed")

    def add_address(self, index: int, address: str, prefix: int) -> None:
        """Give an interface an address; one that is there already is no error."""
        self._address(_NEWADDR, index, address, prefix, _CREATE | _EXCLUSIVE, {errno.EEXIST})

    def delete_address(self, index: int, address: str, prefix: int) -> None:
        """Take an address from an interface; one that is not there is no error."""
        self._address(_DELADDR, index, address, prefix, 0, {errno.EADDRNOTAVAIL, errno.ENODEV})

    def _address(self, kind: int, index: int, address: str, prefix: int, flags: int, fine: set[int]) -> None:
        v6 = ":" in address
        attributes: list[tuple[str, object]] = [("IFA_LOCAL", address), ("IFA_ADDRESS", address)]
        if not v6 and kind == _NEWADDR and prefix < 31:
            net = struct.unpack("!I", socket.inet_aton(address))[0] | (0xFFFFFFFF >> prefix)
            attributes.append(("IFA_BROADCAST", socket.inet_ntoa(struct.pack("!I", net))))
        fields = {"family": socket.AF_INET6 if v6 else socket.AF_INET, "prefixlen": prefix, "index": index}
        what = f"the address {address}/{prefix} could not be {'added' if kind == _NEWADDR else 'removed'}"
        self._do(_messages().address, kind, fields, attributes, flags, what, fine)

    def add_route(self, route: Route, *, replace: bool = False) -> None:
        """Add a way. One with the same destination and metric is an error (EEXIST), or is replaced at one stroke."""
        self._route(_NEWROUTE, route, _CREATE | (_REPLACE if replace else _EXCLUSIVE), set())

    def delete_route(self, route: Route) -> None:
        """Take a way out of the table; one that is not there is no error."""
        self._route(_DELROUTE, route, 0, {errno.ESRCH})

    def _route(self, kind: int, route: Route, flags: int, fine: set[int]) -> None:
        destination, _, bits = route.destination.partition("/")
        v6 = ":" in destination
        fields = {
            "family": socket.AF_INET6 if v6 else socket.AF_INET,
            "dst_len": int(bits),
            "table": MAIN_TABLE,
            "proto": route.protocol,
            "type": route.kind,
            "scope": 0 if route.gateway or v6 else 253,
        }
        if kind == _DELROUTE:
            fields |= {"scope": 255, "proto": 0, "type": 0}  # "whatever it is"
        attributes: list[tuple[str, object]] = []
        if int(bits):
            attributes.append(("RTA_DST", destination))
        if route.gateway:
            attributes.append(("RTA_GATEWAY", route.gateway))
        if route.link:
            attributes.append(("RTA_OIF", route.link))
        if route.metric:
            attributes.append(("RTA_PRIORITY", route.metric))
        if route.source and kind == _NEWROUTE:
            attributes.append(("RTA_PREFSRC", route.source))
        what = f"the route to {route.destination} could not be {'added' if kind == _NEWROUTE else 'removed'}"
        self._do(_messages().route, kind, fields, attributes, flags, what, fine)

    # --- the wire -------------------------------------------------------------------------------------------------------------------

    def _message(
        self, cls: Any, kind: int, fields: Mapping[str, int], attributes: Sequence[tuple[str, object]] = ()
    ) -> Any:
        message = cls()
        for name, value in fields.items():
            message[name] = value
        message["attrs"] = list(attributes)
        self._sequence = (self._sequence + 1) & 0x7FFFFFFF
        header = message["header"]
        header["type"], header["flags"], header["sequence_number"] = kind, _REQUEST, self._sequence
        return message

    def _dump(self, cls: Any, kind: int, fields: Mapping[str, int]) -> Iterator[Any]:
        message = self._message(cls, kind, fields)
        message["header"]["flags"] |= _ROOT_MATCH
        return self._talk(message, "the kernel's tables could not be read", cls, many=True)

    def _do(
        self,
        cls: Any,
        kind: int,
        fields: Mapping[str, int],
        attributes: Sequence[tuple[str, object]],
        flags: int,
        what: str,
        fine: set[int] | None = None,
    ) -> None:
        message = self._message(cls, kind, fields, attributes)
        message["header"]["flags"] |= _ACK | flags
        try:
            for _ in self._talk(message, what, cls, many=True):
                pass
        except Refused as e:
            if e.code not in (fine or ()):
                raise

    def _talk(self, message: Any, what: str, cls: Any, *, many: bool) -> Iterator[Any]:
        """Send one request and give the messages of its answer. many: it ends with DONE or an acknowledgement."""
        message.encode()
        sequence = message["header"]["sequence_number"]
        try:
            self._socket.send(message.data)
            while True:
                data = self._socket.recv(_BUFFER)
                at = 0
                while at + _HEADER.size <= len(data):
                    length, kind, _, theirs, _ = _HEADER.unpack_from(data, at)
                    if theirs == sequence:
                        if kind == _NLMSG_DONE:
                            return
                        if kind == _NLMSG_ERROR:
                            code = -struct.unpack_from("=i", data, at + _HEADER.size)[0]
                            if code:
                                raise Refused(what, code)
                            return
                        answer = cls(data, offset=at)
                        answer.decode()
                        yield answer
                        if not many:
                            return
                    at += max(length + 3 & ~3, _HEADER.size)
        except OSError as e:
            raise Refused(what, e.errno or errno.ETIMEDOUT) from e


class Events:
    """A socket on which the kernel tells that links, addresses, routes or neighbours changed; `drain` says which kinds."""

    def __init__(self) -> None:
        """Raises Refused where the kernel gives no socket."""
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0
            )
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
            self._socket.bind((0, EVENT_GROUPS))
        except OSError as e:
            raise Refused("the kernel's messages cannot be listened to", e.errno or 0) from e

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def drain(self) -> set[str]:
        """What changed since the last time: "link", "address", "route", "neighbour". All of them where messages were lost."""
        kinds: set[str] = set()
        while True:
            try:
                data = self._socket.recv(_BUFFER)
            except BlockingIOError:
                return kinds
            except OSError as e:
                if e.errno != errno.ENOBUFS:
                    raise Refused("the kernel's messages cannot be listened to", e.errno or 0) from e
                kinds |= {"link", "address", "route", "neighbour"}  # more came than was read: look at everything
                continue
            at = 0
            while at + _HEADER.size <= len(data):
                length, kind, *_ = _HEADER.unpack_from(data, at)
                name = _KINDS.get(kind)
                if name is not None:
                    kinds.add(name)
                at += max(length + 3 & ~3, _HEADER.size)


_KINDS: Final = {
    _NEWLINK: "link",
    _DELLINK: "link",
    _NEWADDR: "address",
    _DELADDR: "address",
    _NEWROUTE: "route",
    _DELROUTE: "route",
    _NEWNEIGH: "neighbour",
    _DELNEIGH: "neighbour",
}


# --- messages to records --------------------------------------------------------------------------------------------------------------


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    kind = slave_kind = ""
    port_state, cost, priority = -1, 0, 0
    if info is not None:
        kind = str(info.get_attr("IFLA_INFO_KIND") or "")
        slave_kind = str(info.get_attr("IFLA_INFO_SLAVE_KIND") or "")
        data = info.get_attr("IFLA_INFO_SLAVE_DATA") if slave_kind == "bridge" else None
        if data is not None and hasattr(data, "get_attr"):
            state = data.get_attr("IFLA_BRPORT_STATE")
            port_state = -1 if state is None else int(state)
            cost, priority = (
                int(data.get_attr("IFLA_BRPORT_COST") or 0),
                int(data.get_attr("IFLA_BRPORT_PRIORITY") or 0),
            )
    counted = message.get_attr("IFLA_STATS64") or {}
    return Link(
        index=message["index"],
        name=str(message.get_attr("IFLA_IFNAME") or ""),
        hardware=message["ifi_type"],
        flags=message["flags"],
        state=str(message.get_attr("IFLA_OPERSTATE") or "unknown").lower(),
        mtu=int(message.get_attr("IFLA_MTU") or 0),
        mac=str(message.get_attr("IFLA_ADDRESS") or ""),
        kind=kind,
        slave_kind=slave_kind,
        master=int(message.get_attr("IFLA_MASTER") or 0),
        parent=int(message.get_attr("IFLA_LINK") or 0),
        port_state=port_state,
        port_cost=cost,
        port_priority=priority,
        counters={name: int(counted[name]) for name in COUNTERS if name in counted},
    )


def _address(message: Any) -> Address | None:
    given = str(message.get_attr("IFA_ADDRESS") or "")
    local = str(message.get_attr("IFA_LOCAL") or "") or given
    if not local:
        return None
    life = message.get_attr("IFA_CACHEINFO") or {}
    flags = message.get_attr("IFA_FLAGS")
    return Address(
        index=message["index"],
        family=6 if message["family"] == socket.AF_INET6 else 4,
        address=local,
        prefix=message["prefixlen"],
        flags=int(message["flags"] if flags is None else flags),
        scope=message["scope"],
        preferred=int(life.get("ifa_preferred", FOREVER)),
        valid=int(life.get("ifa_valid", FOREVER)),
        peer=given if given != local else "",
    )


def _route(message: Any, *, any_table: bool = False) -> Route | None:
    """None for what is no ordinary way of the main table. Of several next hops the first counts."""
    table = message.get_attr("RTA_TABLE") or message["table"]
    if not any_table and (table != MAIN_TABLE or message["type"] != 1 or message["flags"] & _CLONED):
        return None
    family = 6 if message["family"] == socket.AF_INET6 else 4
    default = "::" if family == 6 else "0.0.0.0"
    hop = message
    several = message.get_attr("RTA_MULTIPATH")
    link = message.get_attr("RTA_OIF")
    if several:
        hop = several[0]
        link = hop["oif"]
    gateway = hop.get_attr("RTA_GATEWAY")
    life = message.get_attr("RTA_CACHEINFO") or {}
    return Route(
        family=family,
        destination=f"{message.get_attr('RTA_DST') or default}/{message['dst_len']}",
        gateway=gateway if isinstance(gateway, str) else "",
        link=int(link or 0),
        metric=int(message.get_attr("RTA_PRIORITY") or 0),
        protocol=message["proto"],
        source=str(message.get_attr("RTA_PREFSRC") or ""),
        expires=max(0, int(life.get("rta_expires", 0))) // 100,
        kind=message["type"],
        scope=message["scope"],
    )


def _neighbour(message: Any) -> Neighbour | None:
    if message["family"] not in (socket.AF_INET, socket.AF_INET6) or message["ndm_type"] != 1:
        return None
    if message["flags"] & _NEIGH_PROXY:
        return None
    return Neighbour(
        index=message["ifindex"],
        family=6 if message["family"] == socket.AF_INET6 else 4,
        address=str(message.get_attr("NDA_DST") or ""),
        mac=str(message.get_attr("NDA_LLADDR") or ""),
        state=message["state"],
        router=bool(message["flags"] & _NEIGH_ROUTER),
    )
