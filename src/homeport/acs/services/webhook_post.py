"""How an event gets to a webhook: one POST, to an address where webhooks may go.

Only administrators make webhooks; but what the ACS can reach, they perhaps must not.
"""

import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


_NO_NAME = "the host in its address is no name; correct the address"


class Forbidden(OSError):
    """Webhooks may not go to this address."""


def may_go_to(address: str, networks: Sequence[Network]) -> bool:
    """Whether a webhook may be sent to this address.

    Where no networks are named, to all but link-local ones, where clouds keep the secrets of their machines, and those that are nobody's.
    """
    host = ip_address(address.partition("%")[0])
    host = getattr(host, "ipv4_mapped", None) or host
    if networks:
        return any(host in network for network in networks)
    return not (host.is_link_local or host.is_multicast or host.is_unspecified)


async def post(
    url: str, body: bytes, headers: Mapping[str, str], *, seconds: float = 10.0, networks: Sequence[Network] = ()
) -> int:
    """POST by aiohttp; redirects are not followed, and the answer's body is not read. Raises OSError with a sentence.

    networks: as in `may_go_to`, which is asked for the very address that is connected to, whatever name it has.
    """
    import aiohttp  # only where there is a webhook
    from aiohttp.abc import ResolveResult
    from yarl import URL

    def check(address: str) -> None:
        if not may_go_to(address, networks):
            raise Forbidden(f"webhooks are not sent to {address}; to allow it, name its network in webhook_networks")

    class Resolver(aiohttp.ThreadedResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            found = await super().resolve(host, port, family)
            for one in found:
                check(one["host"])
            return found

    try:
        try:
            host = URL(url).host or ""
        except ValueError:
            raise OSError(_NO_NAME) from None
        if ":" in host or host.replace(".", "").isdigit():
            with contextlib.suppress(ValueError):  # a name, after all
                check(str(ip_address(host)))
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=Resolver()), timeout=timeout, auto_decompress=False
            ) as session,
            session.post(url, data=body, headers=dict(headers), allow_redirects=False) as answer,
        ):
            return answer.status
    except TimeoutError:
        raise OSError(f"it did not answer within {seconds:g} s") from None
    except aiohttp.InvalidURL:  # its text is the whole address, with a password
        raise OSError(_NO_NAME) from None
    except aiohttp.ClientConnectorDNSError as e:
        if isinstance(e.os_error, Forbidden):
            raise e.os_error from None
        raise OSError(f"the name {e.host} has no address") from e
    except aiohttp.ClientConnectorCertificateError as e:
        raise OSError(f"the certificate of {e.host} is not trusted: {e.certificate_error}") from e
    except aiohttp.ClientConnectorError as e:
        why = os.strerror(e.os_error.errno) if e.os_error.errno else str(e.os_error)
        raise OSError(f"cannot connect to {e.host}:{e.port}: {why.lower()}") from e
    except (aiohttp.ClientError, ValueError) as e:
        raise OSError(str(e) or type(e).__name__) from e
