"""The network as it is now, looked up by name and index: what netlink says, kept until the kernel tells of a change.

Counters change all the time without an event; they are read anew where the last look is older than a moment.
"""

from collections.abc import Callable
from typing import Final

from homeport.cpe.devices.linux.netlink import Events, Netlink, Refused
from homeport.cpe.devices.linux.records import Address, Forwarding, Link, Neighbour, Route

FRESH: Final = 0.2
"""Seconds for which counters count as new: one request reads hundreds of them, which should come from the same moment."""

PARTS: Final = {"link": "links", "address": "addresses", "route": "routes", "neighbour": "neighbours"}
"""What the kernel's messages are about, and what of ours is stale then."""


class Network:
    """Links, addresses, routes and neighbours of this machine (more precisely: of its network namespace)."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """monotonic: seconds. Raises ConfigError where pyroute2 is missing, Refused where the kernel gives no socket."""
        self.netlink = Netlink()
        self.events = Events()
        self._monotonic = monotonic
        self._counted = -FRESH
        self.addresses_at = 0.0
        """When the addresses were read: their lifetimes count from there. Monotonic seconds."""
        self._links: list[Link] | None = None
        self._addresses: list[Address] | None = None
        self._routes: list[Route] | None = None
        self._neighbours: list[Neighbour] | None = None
        self._changed: set[str] = set()
        self.link_events = 0
        """How often the kernel told of links: what was found out about one elsewhere holds until the next time."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when a message of the kernel was found, whoever looked first."""

    def close(self) -> None:
        self.netlink.close()
        self.events.close()

    def listen(self) -> set[str]:
        """What changed since the last call: "link", "address", "route", "neighbour"; what was known of it is forgotten."""
        self._drain()
        changed, self._changed = self._changed, set()
        return changed

    def _drain(self) -> None:
        kinds = self.events.drain()
        if kinds:
            self._changed |= kinds
            self.link_events += "link" in kinds
            self.on_change()
            self.forget(*kinds)

    def forget(self, *kinds: str) -> None:
        """Ask the kernel again at the next look; without a kind, for everything."""
        for kind in kinds or PARTS:
            setattr(self, f"_{PARTS[kind]}", None)

    @property
    def links(self) -> list[Link]:
        """All links, in the order of their indexes. Raises Refused, as the others do."""
        self._drain()
        if self._links is None:
            self._links = self.netlink.links()
            self._counted = self._monotonic()
        return self._links

    @property
    def addresses(self) -> list[Address]:
        self._drain()
        if self._addresses is None:
            self._addresses = self.netlink.addresses()
            self.addresses_at = self._monotonic()
        return self._addresses

    @property
    def routes(self) -> list[Route]:
        self._drain()
        if self._routes is None:
            self._routes = self.netlink.routes()
        return self._routes

    @property
    def neighbours(self) -> list[Neighbour]:
        self._drain()
        if self._neighbours is None:
            self._neighbours = self.netlink.neighbours()
        return self._neighbours

    @property
    def forwardings(self) -> list[Forwarding]:
        """What bridges have learned; the kernel tells of it with the neighbours."""
        return self.netlink.forwardings()

    def counters(self, name: str) -> dict[str, int]:
        """The counters of a link, new ones; empty where it is gone."""
        if self._monotonic() - self._counted >= FRESH:
            self.forget("link")
        link = self.find(name)
        return link.counters if link is not None else {}

    def find(self, name: str) -> Link | None:
        """The link of that name, None where there is none."""
        return next((link for link in self.links if link.name == name), None)

    def link_named(self, name: str) -> Link:
        """The link of that name. Raises Refused."""
        link = self.find(name)
        if link is None:
            raise Refused(f"the interface {name} could not be used", 19)
        return link

    def by_index(self, index: int) -> Link | None:
        return next((link for link in self.links if link.index == index), None)

    def name(self, index: int) -> str:
        """The name of a link, "" where it is gone."""
        link = self.by_index(index)
        return link.name if link is not None else ""
