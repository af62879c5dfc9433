"""The ACS's place as lines for a DHCP server's configuration: ISC dhcpd, dnsmasq and Kea, for options 43, 125 and DHCPv6's 17.

Text in, text out. The lines are tried against the real servers in tests/system. Comments in them say where they belong.
"""

import json
from typing import Any, Final

from homeport.cpe.discovery import ENTERPRISE, OPTION_125_CODES, VEGA_CODES, Discovered, checked_text
from homeport.errors import ConfigError

SERVERS: Final = ("isc-dhcpd", "dnsmasq", "kea")

_ISC_NAMES: Final = {
    "url": "acs-server-url",
    "provisioning_code": "provisioning-code",
    "retry_minimum_wait": "retry-min-wait",
    "retry_multiplier": "retry-interval-multipl",
    "periodic_inform_enable": "periodic-inform-enable",
    "periodic_inform_interval": "periodic-inform-interval",
}
"""Names in the option space `tr069`, as DKT's document has them."""

INSIDE: Final = "# in the subnet, pool, group or class"
"""Comment that parts what belongs to the top of dhcpd's file from what belongs into a scope."""

_STANDARD_CODES: Final = {1: "url", 2: "provisioning_code", 3: "retry_minimum_wait", 4: "retry_multiplier"}


def server_lines(server: str, option: int, data: bytes, facts: Discovered, *, form: str = "standard") -> str:
    """What goes into the server's configuration, with a line end. data: the option's content, which `facts` in this `form` make.

    Raises ConfigError for a server that is not known.
    """
    if server == "dnsmasq":
        where = "option6:17" if option == 17 else str(option)
        return f"dhcp-option={where},{data.hex(':')}\n"
    codes = _codes(option, form)
    pairs = [(code, name, _text(name, facts)) for code, name in codes.items() if getattr(facts, name) is not None]
    if server == "isc-dhcpd":
        return _isc(option, data, pairs)
    if server == "kea":
        return _kea(option, data, pairs)
    raise ConfigError(f"--for {server!r}: known are {', '.join(SERVERS)}")


def _codes(option: int, form: str) -> dict[int, str]:
    """Which sub-options are written one by one; none where the form has no sub-options of the usual kind."""
    if option == 125:
        return OPTION_125_CODES
    if form == "vega":
        return VEGA_CODES
    return _STANDARD_CODES if form == "standard" else {}


def _text(name: str, facts: Discovered) -> str:
    return checked_text(name, getattr(facts, name)).decode("ascii")


def _isc(option: int, data: bytes, pairs: list[tuple[int, str, str]]) -> str:
    top = ["authoritative;  # without it dhcpd does not answer agents that ask by DHCPINFORM"]
    inside: list[str]
    if option == 125 or (option == 43 and not pairs):
        # dhcpd has spaces of sub-options for 125 too, but leaves the option out of its answers when it is made of them (4.4.3).
        name = "vivso" if option == 125 else "vendor-encapsulated-options"
        inside = [f"# {_ISC_NAMES[fact]}: {text}" for _, fact, text in pairs] + [f"option {name} {data.hex(':')};"]
    elif option == 43:
        top += ["option space tr069;", *_isc_definitions("tr069", pairs)]
        inside = ["vendor-option-space tr069;", *_isc_values("tr069", pairs)]
    else:
        top = ["option space bbf code width 2 length width 2;", *_isc_definitions("bbf", pairs)]
        top.append(f"option vsio.bbf code {ENTERPRISE} = encapsulate bbf;")
        inside = _isc_values("bbf", pairs)
    file = "dhcpd6.conf" if option == 17 else "dhcpd.conf"
    return "\n".join([f"# at the top of {file}", *top, INSIDE, *inside]) + "\n"


def _isc_definitions(space: str, pairs: list[tuple[int, str, str]]) -> list[str]:
    return [f"option {space}.{_ISC_NAMES[name]} code {code} = text;" for code, name, _ in pairs]


def _isc_values(space: str, pairs: list[tuple[int, str, str]]) -> list[str]:
    return [f"option {space}.{_ISC_NAMES[name]} {_quoted(text)};" for _, name, text in pairs]


def _kea(option: int, data: bytes, pairs: list[tuple[int, str, str]]) -> str:
    if option == 43:
        # The whole content at once: sub-options one by one would need a class with an option definition of its own.
        rows: list[dict[str, Any]] = [
            {"name": "vendor-encapsulated-options", "code": 43, "csv-format": False, "data": data.hex()}
        ]
    else:
        name, code = ("vivso-suboptions", 125) if option == 125 else ("vendor-opts", 17)
        rows = [{"name": name, "code": code, "csv-format": True, "data": str(ENTERPRISE)}]
        rows += [
            {
                "space": f"vendor-{ENTERPRISE}",
                "code": number,
                "csv-format": False,
                "always-send": True,  # no client asks Kea for sub-options one by one
                "data": text.encode("ascii").hex(),
            }
            for number, _, text in pairs
        ]
    body = ",\n".join("  " + json.dumps(row) for row in rows)
    where = "Dhcp6" if option == 17 else "Dhcp4"
    said = "".join(f"// {_ISC_NAMES[name]}: {text}\n" for _, name, text in pairs)
    return f'// in {where}, its subnet, pool or client class\n{said}"option-data": [\n{body}\n]\n'


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
