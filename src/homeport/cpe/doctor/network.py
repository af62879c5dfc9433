"""Checks of the way to the ACS: name, route, TCP, TLS, credentials; and of the way back: connection requests."""

import asyncio
import ipaddress
import os
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from homeport.cpe.clock import is_set
from homeport.cpe.doctor.case import Case, Finding, Mark
from homeport.cpe.doctor.local import clock_against
from homeport.cpe.reachability import own_address
from homeport.errors import ConfigError, TransportError
from homeport.transport.acs_client import HttpChannel
from homeport.transport.http_connection import connect
from homeport.transport.proxy import Proxy, parse_proxy
from homeport.transport.tls import TlsSettings, client_context

LIMIT: Final = 5.0
"""Seconds for each step. A healthy way needs far less."""

SOON: Final = 30 * 86400.0
"""Seconds before its end from which on a certificate is worth a warning."""

MOST_ADDRESSES: Final = 4


@dataclass(slots=True)
class _Way:
    """What the checks so far found out. host, port: where TCP goes, the proxy's where there is one."""

    host: str
    port: int
    secure: bool
    proxy: Proxy | None
    addresses: list[tuple[int, str]]


async def check_network(case: Case) -> list[Finding]:
    """All findings on the way there and back, in order; what depends on a failed step is skipped."""
    if not case.url:
        return [_skipped(n, "there is no ACS URL") for n in ("DNS", "route", "TCP", "TLS", "credentials")] + [
            await check_ringing(case, [])
        ]
    parts = urlsplit(case.url)
    proxy = parse_proxy(case.settings.proxy) if case.settings.proxy else None
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    way = _Way(host, port, secure, proxy, [])
    if proxy is not None:
        way.host, way.port = proxy.host, proxy.port
    findings = [await _dns(way)]
    for name, check in (("route", _route), ("TCP", _tcp)):
        failed = next((f for f in findings if f.mark is Mark.FAIL), None)
        findings.append(_skipped(name, f"{failed.check} failed") if failed else await check(way))
    failed = next((f for f in findings if f.mark is Mark.FAIL), None)
    if failed is not None:
        findings += [_skipped(n, f"{failed.check} failed") for n in ("TLS", "credentials")]
    else:
        findings.append(await _tls(case, way, host, port))
        if findings[-1].mark is Mark.FAIL:
            findings.append(_skipped("credentials", "TLS failed"))
        else:
            findings += await _credentials(case)
    findings.append(await check_ringing(case, [address for _, address in way.addresses]))
    return findings


async def _dns(way: _Way) -> Finding:
    who = "proxy" if way.proxy else "ACS"
    try:
        ip = ipaddress.ip_address(way.host)
    except ValueError:
        pass
    else:
        way.addresses = [(int(socket.AF_INET6 if ip.version == 6 else socket.AF_INET), way.host)]
        return Finding("DNS", Mark.OK, f"The {who} is given by its address {way.host}; no name has to be looked up.")
    try:
        async with asyncio.timeout(LIMIT):
            found = await asyncio.get_running_loop().getaddrinfo(way.host, way.port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as e:
        why = "no answer" if isinstance(e, TimeoutError) else (e.strerror or str(e))
        return Finding(
            "DNS",
            Mark.FAIL,
            f"{way.host} has no address: {why} ({_resolvers()}).",
            "check the name's spelling, and the DNS servers that DHCP or /etc/resolv.conf give",
        )
    way.addresses = list(dict.fromkeys((int(family), str(address[0])) for family, _, _, _, address in found))[
        :MOST_ADDRESSES
    ]
    return Finding("DNS", Mark.OK, f"{way.host} is {', '.join(address for _, address in way.addresses)}.")


async def _route(way: _Way) -> Finding:
    ways = [(address, own_address(family, (address, way.port))) for family, address in way.addresses]
    good = [(address, own) for address, own in ways if own]
    if not good:
        return Finding(
            "route",
            Mark.FAIL,
            f"There is no route to {', '.join(address for address, _ in ways)}.",
            "check that the interface is up, has an address and a default route: ip route",
        )
    address, own = good[0]
    return Finding("route", Mark.OK, f"{address} is reached from this device's address {own}.")


async def _tcp(way: _Way) -> Finding:
    failures = []
    for _, address in way.addresses:
        started = time.monotonic()
        try:
            async with asyncio.timeout(LIMIT):
                _, writer = await asyncio.open_connection(address, way.port)
        except (OSError, TimeoutError) as e:
            failures.append(f"{address} port {way.port}: {_reason(e)}")
            continue
        writer.close()
        spent = (time.monotonic() - started) * 1000
        who = "The proxy" if way.proxy else "The ACS"
        also = f" ({'; '.join(failures)})" if failures else ""
        said = f"{who} takes connections at {address} port {way.port}, after {spent:.0f} ms{also}."
        return Finding(
            "TCP",
            Mark.WARN if failures else Mark.OK,
            said,
            "one address of several does not answer" if failures else "",
        )
    return Finding(
        "TCP",
        Mark.FAIL,
        "; ".join(failures) + ".",
        "check the port in the URL, firewalls on the way, and that the ACS runs",
    )


async def _tls(case: Case, way: _Way, host: str, port: int) -> Finding:
    if not way.secure:
        return Finding(
            "TLS", Mark.OK, "The URL is http: nothing is encrypted, and nobody proves to be the ACS.", "https is safer"
        )
    try:
        context = client_context(_tls_settings(case))
        connection, _ = await connect(host, port, context=context, timeout=LIMIT, proxy=way.proxy)
    except ConfigError as e:
        return Finding("TLS", Mark.FAIL, f"{e}.", "correct the setting")
    except TransportError as e:
        return Finding("TLS", Mark.FAIL, f"{e}.", "see what the sentence names: certificate, clock or CA file")
    certificate, version = connection.certificate, connection.tls_version
    connection.close()
    return _certificate(certificate, version, host)


def _certificate(certificate: dict[str, Any], version: str, host: str) -> Finding:
    issuer = dict(pair for group in certificate.get("issuer", ()) for pair in group)
    by = issuer.get("commonName") or issuer.get("organizationName") or "an unnamed issuer"
    said = f"{host} proves itself over {version or 'TLS'}, by a certificate of {by}"
    try:
        left = ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()
    except (KeyError, ValueError):
        return Finding("TLS", Mark.OK, f"{said}.")
    if left < 0:
        return Finding(
            "TLS",
            Mark.WARN,
            f"{said} that has expired; it was taken because the clock is not set.",
            "let NTP set the clock",
        )
    if left < SOON:
        return Finding(
            "TLS", Mark.WARN, f"{said} that ends in {left / 86400:.0f} days.", "the ACS's operator has to renew it"
        )
    return Finding("TLS", Mark.OK, f"{said} that holds for {left / 86400:.0f} more days.")


async def _credentials(case: Case) -> list[Finding]:
    """An empty request, as devices send it before an Inform to be challenged: it opens no CWMP session (TR-069a6 3.7.1.4)."""
    name = "credentials"
    try:
        answer = await _empty_post(case, "", "")
    except TransportError as e:
        if e.kind != "auth":
            return [Finding(name, Mark.FAIL, f"{e}.", "the port is open, but no ACS answers there: check the URL")]
    else:
        late = clock_against(answer.headers.get("date", ""), time.time())
        return [_unasked(answer.status), *([late] if late else [])]
    if not case.username:
        do = "give them: homeport cpe enable URL USER PASSWORD"
        return [Finding(name, Mark.FAIL, "The ACS asks for a user name and password; none is set.", do)]
    try:
        answer = await _empty_post(case, case.username, case.password)
    except TransportError as e:
        do = "correct them: homeport cpe enable URL USER PASSWORD; the ACS's operator knows them"
        return [Finding(name, Mark.FAIL, f"{e}.", do if e.kind == "auth" else "try again")]
    late = clock_against(answer.headers.get("date", ""), time.time())
    said = f"The ACS takes the user name {case.username} and its password (an empty request, HTTP {answer.status}; no session was opened)."
    return [Finding(name, Mark.OK, said), *([late] if late else [])]


def _unasked(status: int) -> Finding:
    name = "credentials"
    if status == 404:
        return Finding(
            name, Mark.FAIL, "The ACS knows nothing at this URL (HTTP 404).", "check the path of the ACS URL"
        )
    if status >= 500:
        return Finding(
            name, Mark.WARN, f"The ACS is in trouble (HTTP {status}).", "ask its operator, or try again later"
        )
    return Finding(
        name,
        Mark.OK,
        f"The ACS asks for none of an empty request (HTTP {status}); whether an Inform needs some, a session shows.",
    )


async def _empty_post(case: Case, username: str, password: str) -> Any:
    settings = case.settings
    channel = HttpChannel(
        case.url,
        username=username,
        password=password,
        tls=_tls_settings(case),
        timeout=LIMIT,
        allow_basic_over_http=settings.allow_basic_over_http,
        proxy=settings.proxy,
    )
    try:
        return await channel.post(b"")
    finally:
        await channel.close()


async def check_ringing(case: Case, acs: list[str]) -> Finding:
    """Whether the agent's own listener answers where it says it does. acs: addresses of the ACS."""
    name = "connection requests"
    url = case.connection_request_url
    if not case.running:
        return _skipped(name, "no agent runs")
    if not url:
        return Finding(name, Mark.WARN, "No connection request is taken: the ACS has to wait for the next contact.", "")
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    try:
        async with asyncio.timeout(LIMIT):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(
                f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()
            )
            line = await reader.readline()
            writer.close()
    except (OSError, TimeoutError) as e:
        why = _reason(e)
        do = "check connection_request_listen and _address, and local firewall rules"
        return Finding(name, Mark.FAIL, f"{url} does not answer on this device itself: {why}.", do)
    status = line.split(b" ")[1:2]
    if status != [b"401"]:
        said = f"{url} answers {line.decode('latin-1').strip()!r} where it should ask for credentials."
        return Finding(
            name, Mark.WARN, said, "see whether another program has the port, and connection_request_networks"
        )
    if not case.connection_request_password:
        return Finding(
            name,
            Mark.WARN,
            f"{url} answers, but no password is set: nobody can ring.",
            "the ACS sets one at its first contact",
        )
    if _behind_nat(host, acs):
        said = f"{url} answers here; {host} is a private address, which an ACS elsewhere does not reach."
        return Finding(name, Mark.WARN, said, "let the ACS use STUN or XMPP, or set connection_request_address")
    return Finding(name, Mark.OK, f"{url} answers on this device; a firewall on the way must let the ACS through.")


def _behind_nat(host: str, acs: list[str]) -> bool:
    try:
        return ipaddress.ip_address(host).is_private and any(ipaddress.ip_address(a).is_global for a in acs)
    except ValueError:
        return False  # a name: somebody set it on purpose


def _tls_settings(case: Case) -> TlsSettings:
    settings = case.settings
    return TlsSettings(
        ca_file=settings.ca_file,
        client_certificate=settings.client_certificate,
        client_key=settings.client_key,
        check_dates=is_set(time.time()),
    )


def _reason(error: OSError) -> str:
    """Why a connection did not come about; asyncio's own text repeats the address."""
    if isinstance(error, TimeoutError) and not error.errno:
        return "no answer"
    return os.strerror(error.errno).lower() if error.errno else str(error)


def _skipped(name: str, why: str) -> Finding:
    return Finding(name, Mark.SKIPPED, f"Not looked at: {why}.")


def _resolvers() -> str:
    try:
        lines = Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "no DNS server is set"
    servers = [words[1] for line in lines if (words := line.split())[:1] == ["nameserver"] and len(words) > 1]
    return f"asked {', '.join(servers)}" if servers else "no DNS server is set"
