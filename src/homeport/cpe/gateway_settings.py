"""The connection to the ACS as a person at the box sets it: the ten settings of a Vega gateway, for the command line and the web page.

Each setting stands for a parameter of ManagementServer; "Use DHCP Option" is the agent's own. Writes go through one transaction, as a
local person's. Source: Sangoma, Vega TR-069/CWMP configuration parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from homeport.cpe.state import AGENT, Store
from homeport.errors import Fault, ParameterFault
from homeport.terms import FaultCode, Writer

if TYPE_CHECKING:
    from homeport.cpe.agent import Agent

_USE_DHCP: Final = "use_dhcp"
_BY_THE_STACK: Final = "The device makes this up itself, and the ACS may change it; it cannot be edited here."


@dataclass(frozen=True, slots=True)
class GatewaySetting:
    """One row of the table.

    name: on the command line. label: on the page. parameter: below ManagementServer., "" for the agent's own. kind: text, url, secret,
    switch or seconds. help: what it is for. read_only: why it cannot be edited on the page, "" where it can.
    """

    name: str
    label: str
    parameter: str
    kind: str
    help: str
    read_only: str = ""


SETTINGS: Final = (
    GatewaySetting(
        "cwmp.use_dhcp",
        "Use DHCP Option",
        "",
        "switch",
        "Take the ACS URL from DHCP option 43 where nobody has set one on this device. Counts from the next start or lease on.",
    ),
    GatewaySetting(
        "cwmp.acs_url",
        "ACS URL",
        "URL",
        "url",
        "Where the ACS is, such as https://acs.example.com:7547/. Your operator tells you. "
        "A new URL is a new ACS to the device: it introduces itself there at once.",
    ),
    GatewaySetting(
        "cwmp.acs_username",
        "ACS Username",
        "Username",
        "text",
        "The name that this device gives when the ACS asks who it is.",
    ),
    GatewaySetting(
        "cwmp.acs_password",
        "ACS Password",
        "Password",
        "secret",
        "The password that this device gives to the ACS. It is never shown; leave the field empty to keep the one that is set.",
    ),
    GatewaySetting(
        "cwmp.periodicinformenable",
        "Period Inform Enable",
        "PeriodicInformEnable",
        "switch",
        "Whether the device contacts the ACS regularly, even if it has nothing to report.",
    ),
    GatewaySetting(
        "cwmp.periodicinforminterval",
        "Inform Interval",
        "PeriodicInformInterval",
        "seconds",
        "Seconds between regular contacts; 900 is a quarter of an hour. The ACS often sets another value.",
    ),
    GatewaySetting(
        "cwmp.con_req_url",
        "Connection Request URL",
        "ConnectionRequestURL",
        "text",
        "The address at which the ACS asks this device to come; a firewall must let it through.",
        _BY_THE_STACK,
    ),
    GatewaySetting(
        "cwmp.con_req_username",
        "Connection Request Username",
        "ConnectionRequestUsername",
        "text",
        "The name that the ACS must give when it asks this device to come.",
        _BY_THE_STACK,
    ),
    GatewaySetting(
        "cwmp.con_req_password",
        "Connection Request Password",
        "ConnectionRequestPassword",
        "secret",
        "The password that the ACS must give when it asks this device to come.",
        _BY_THE_STACK,
    ),
    GatewaySetting(
        "cwmp.manage_upgrade",
        "Manage Upgrades",
        "UpgradesManaged",
        "switch",
        "Whether new firmware comes from the ACS alone. If not, the device may also look for it elsewhere.",
    ),
)

BY_NAME: Final = {setting.name: setting for setting in SETTINGS}

_CALCULATED: Final = frozenset({"cwmp.con_req_url"})
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


def uses_dhcp(store: Store) -> bool:
    """Whether DHCP may name the ACS; it may, unless a person at the box said otherwise."""
    return bool(store.get(AGENT, _USE_DHCP, True))


def shown(agent: "Agent") -> list[dict[str, Any]]:
    """The table with the values of now, for the page: `{name, label, parameter, kind, help, read_only, value, is_set, missing}`.

    A secret has no value here, only whether it is set. missing: the device's model lacks the parameter.
    """
    management = agent.management
    rows = []
    for setting in SETTINGS:
        value = management.text(setting.parameter) if setting.parameter else str(uses_dhcp(agent.store)).lower()
        if setting.kind == "switch":
            value = "true" if value in _TRUE else "false"
        rows.append(
            {
                "name": setting.name,
                "label": setting.label,
                "parameter": management.prefix + setting.parameter if setting.parameter else "",
                "kind": setting.kind,
                "help": setting.help,
                "read_only": setting.read_only,
                "value": "" if setting.kind == "secret" else value,
                "is_set": bool(value),
                "missing": bool(setting.parameter) and not management.has(setting.parameter),
            }
        )
    return rows


def change(agent: "Agent", values: Mapping[str, str], *, who: str, check: bool = False) -> int:
    """Set settings by their names, all or nothing; the Status of the commit: 0 done, 1 in force after a restart.

    check: only look whether they could be set. Raises Fault 9003 with one ParameterFault per setting that is refused, under its name.
    """
    errors: list[ParameterFault] = []
    texts: dict[str, str] = {}
    paths: dict[str, str] = {}
    for name, text in values.items():
        setting = BY_NAME.get(name)
        if setting is None:
            known = ", ".join(BY_NAME)
            errors.append(
                _error(name, FaultCode.INVALID_PARAMETER_NAME, f"there is no such setting; there are {known}")
            )
        elif name in _CALCULATED:
            errors.append(_error(name, FaultCode.NOT_WRITABLE, setting.read_only))
        elif setting.kind == "switch" and text.strip().lower() not in _TRUE | _FALSE:
            errors.append(_error(name, FaultCode.INVALID_PARAMETER_VALUE, f"{text!r} is neither on nor off"))
        else:
            text = text.strip() if setting.kind != "secret" else text
            texts[name] = text if setting.kind != "switch" else ("true" if text.lower() in _TRUE else "false")
            if setting.parameter and not agent.management.has(setting.parameter):
                errors.append(
                    _error(name, FaultCode.INVALID_PARAMETER_NAME, "this device's model has no such parameter")
                )
            elif setting.parameter:
                paths[agent.management.prefix + setting.parameter] = name
    status = _write(agent, texts, paths, errors, who=who, check=check)
    dhcp = texts.get("cwmp.use_dhcp")
    if dhcp is not None and not check and (dhcp == "true") != uses_dhcp(agent.store):
        with agent.store.transaction() as transaction:
            transaction.put(AGENT, _USE_DHCP, dhcp == "true")
        before = "true" if dhcp == "false" else "false"
        agent.config_log.write(f'{who} set cwmp.use_dhcp: "{before}" -> "{dhcp}"')
    return status


def _write(
    agent: "Agent",
    texts: Mapping[str, str],
    paths: Mapping[str, str],
    errors: list[ParameterFault],
    *,
    who: str,
    check: bool,
) -> int:
    status = 0
    with agent.model.transaction(Writer.LOCAL) as transaction:
        for path, name in paths.items():
            transaction.set(path, texts[name])
        try:
            if errors or check:
                transaction.check()
            else:
                with agent.changes.acting(who):
                    status = transaction.commit()
        except Fault as e:
            errors += [ParameterFault(paths.get(p.name, p.name), p.code, p.text) for p in e.parameters]
            if not e.parameters:
                raise
    if errors:
        raise Fault(FaultCode.INVALID_ARGUMENTS, "nothing was changed", tuple(errors))
    return status


def _error(name: str, code: FaultCode, text: str) -> ParameterFault:
    return ParameterFault(name, code, text)
