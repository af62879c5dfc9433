"""What of the network is one stranger's, as far as an address tells: what he costs is counted by that."""

from ipaddress import IPv6Address


def blocks(address: str) -> tuple[str, ...]:
    """The block that one stranger surely has who has this address, then larger ones that he may have.

    Of IPv4 the address alone: behind it may be a whole town, next to it somebody else. Of IPv6 the /64, and the /48, which anybody can
    have and which holds 65,536 of those. What is no address is a block of its own.
    """
    if ":" not in address:
        return (address,)  # as sockets and load balancers tell IPv4
    try:
        whole = IPv6Address(address.partition("%")[0])
    except ValueError:
        return (address,)
    if whole.ipv4_mapped is not None:
        return (str(whole.ipv4_mapped),)
    number = int(whole)
    return f"{number >> 64:x}/64", f"{number >> 80:x}/48"


def network(address: str) -> str:
    """The network of a provider, roughly: of IPv4 the /16, of IPv6 the /32. A device that is given another address mostly stays in it."""
    if ":" not in address:
        return address.rpartition(".")[0].rpartition(".")[0]
    try:
        whole = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if whole.ipv4_mapped is not None:
        return network(str(whole.ipv4_mapped))
    return f"{int(whole) >> 96:x}/32"
