"""Who a request comes from, where load balancers stand in between: X-Forwarded-For and X-Forwarded-Proto.

Both can be sent by anybody, so they count only from peers that the operator named, and of a list of addresses only what those have added.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network


class TrustedProxies:
    """The load balancers in front. networks: addresses or CIDR; raises ValueError for what is neither."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(ip_network(n, strict=False) for n in networks)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, host: str) -> bool:
        """Whether the address is one of the load balancers."""
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    def origin(self, forwarded_for: str) -> tuple[str, int]:
        """(address, port) of the one that the load balancers have seen; ("", 0) where the header tells none, port 0 where it tells none.

        forwarded_for: the header's value, several joined by commas. Read from its end: what a device itself has sent comes first.
        """
        for entry in reversed(forwarded_for.split(",")):
            host, port = _split(entry.strip())
            if not host:
                return "", 0
            if not self.trusts(host):
                return host, port
        return "", 0


def _split(entry: str) -> tuple[str, int]:
    """`192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`; ("", 0) for what is no address."""
    host, port = entry, ""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        port = rest.removeprefix(":")
    elif entry.count(":") == 1:
        host, _, port = entry.partition(":")
    try:
        address = ip_address(host)
    except ValueError:
        return "", 0
    # As a socket tells them, so that an address is the same wherever it comes from, and IPv4 networks hold what came in over IPv6.
    host = str(getattr(address, "ipv4_mapped", None) or address)
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    return host, number if number < 65_536 else 0
