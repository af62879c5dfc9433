"""What a start puts into the data model: who the device is, and what the person who runs it set. What DHCP said is leases/desk.py's.

Order of strength for the ACS URL: what the ACS or a local person set last, then DHCP, then the profile's factory value. A
setting counts as set by a local person at the moment when it appears or changes; afterwards the ACS may set another value, and the
unchanged setting does not undo that at the next start.
Source: TR-069a6 3.1 and 3.2.1; spec of DKT: option 43 at boot starts the agent.
"""

import secrets
from collections.abc import Mapping
from typing import Final

from homeport.cpe.config import CpeSettings
from homeport.cpe.discovery import url_problem
from homeport.cpe.management import Management, identifier
from homeport.cpe.state import AGENT, IDENTITY, Store, StoreTransaction
from homeport.errors import ConfigError, Fault
from homeport.model.profile import ProfileDef
from homeport.terms import Writer

LOCAL: Final = "local"
ACS: Final = "acs"
DHCP: Final = "dhcp"
FACTORY: Final = "factory"

SOURCES: Final = {
    LOCAL: "set on this device",
    ACS: "set by the ACS",
    DHCP: "from DHCP",
    FACTORY: "the factory value of the profile",
}
"""Where an ACS URL came from, for people."""

RANKS: Final = {LOCAL: "stored", ACS: "stored", DHCP: "DHCP", FACTORY: "factory"}
"""The same, as the order of strength names it: stored beats DHCP, DHCP beats the factory."""

_URL_SOURCE: Final = "url_source"

_FACTORY: Final = {"EnableCWMP": "true", "HTTPConnectionRequestEnable": "true"}
"""Factory values that the models give in prose only: a profile that does not repeat them would make a device that never speaks."""

APPLIED: Final = "applied/"
"""Key of a setting's last value that went into the model, before the parameter's name."""


def url_source(store: Store) -> str:
    """Where the present ACS URL came from: one of the keys of SOURCES."""
    return str(store.get(AGENT, _URL_SOURCE, FACTORY))


def keep_url_source(transaction: StoreTransaction, source: str) -> None:
    """Remember, in the transaction that changes it, who set the ACS URL."""
    transaction.put(AGENT, _URL_SOURCE, source)


def apply_identity(
    settings: CpeSettings, management: Management, store: Store, found: Mapping[str, str] | None = None
) -> None:
    """Give the model the device's identity: settings first, then what the hardware says, then the profile's values.

    found: parameters of DeviceInfo as the hardware has them. A serial number stays what it was at first, since the ACS knows the device
    by it; where there is none, one is chosen. Raises StoreError; ConfigError where the result is no identity.
    """
    info = management.device_info
    said = dict(found or {})
    serial = settings.serial or management.value(info + "SerialNumber") or str(store.get(IDENTITY, "serial", ""))
    if not serial:
        serial = said.get("SerialNumber") or f"HP{secrets.randbelow(10**10):010d}"
        with store.transaction() as transaction:
            transaction.put(IDENTITY, "serial", serial)
    wanted = said | {
        "Manufacturer": settings.manufacturer or said.get("Manufacturer", ""),
        "ManufacturerOUI": settings.oui,
        "ProductClass": settings.product_class or said.get("ProductClass", ""),
        "SerialNumber": serial,
    }
    for name, value in wanted.items():
        if value:
            try:
                management.set_path(info + name, value)
            except Fault as e:
                raise ConfigError(f"{name} {value!r} does not fit the device model: {e.text}") from e
    if not management.value(info + "ManufacturerOUI"):
        raise ConfigError("the device has no manufacturer OUI; give one, for example --oui 00256D")


def apply_factory_values(profile: ProfileDef, management: Management, store: Store) -> None:
    """Write the factory values that neither model nor profile has, once in a device's life and after each factory reset.

    Raises StoreError.
    """
    for name, value in _FACTORY.items():
        if management.prefix + name in profile.values or store.get(AGENT, APPLIED + name):
            continue
        if management.set(name, value):
            with store.transaction() as transaction:
                transaction.put(AGENT, APPLIED + name, value)


def apply_settings(settings: CpeSettings, management: Management, store: Store, *, product_class: str) -> None:
    """Write the settings that appeared or changed since the last start into the model.

    Raises ConfigError for a value that the model refuses, StoreError.
    """
    device = management.device_id(product_class=product_class)
    wanted: dict[str, str] = {
        "URL": settings.acs_url,
        "Username": settings.username,
        "Password": settings.password,
        "ConnectionRequestUsername": settings.connection_request_username,
        "ConnectionRequestPassword": settings.connection_request_password,
        "PeriodicInformEnable": _switch(settings.periodic_inform_enable),
        "PeriodicInformInterval": _number(settings.periodic_inform_interval),
        "CWMPRetryMinimumWaitInterval": _number(settings.retry_minimum_wait),
        "CWMPRetryIntervalMultiplier": _number(settings.retry_multiplier),
    }
    problem = url_problem(settings.acs_url) if settings.acs_url else None
    if problem:
        raise ConfigError(problem)
    if not settings.username and not management.username:
        # TR-069 recommends this form; an ACS that asks for credentials finds the device by it (unverified).
        management.set("Username", identifier(device))
    for name, value in wanted.items():
        if not value or store.get(AGENT, APPLIED + name) == value:
            continue
        _write(management, name, value, Writer.LOCAL)
        with store.transaction() as transaction:
            transaction.put(AGENT, APPLIED + name, value)
            if name == "URL":
                transaction.put(AGENT, _URL_SOURCE, LOCAL)


def _write(management: Management, name: str, value: str, writer: Writer) -> None:
    try:
        if not management.set(name, value, writer):
            raise ConfigError(f"this device's model has no {management.prefix}{name}; leave the setting out")
    except Fault as e:
        raise ConfigError(f"{management.prefix}{name} does not take {value!r}: {e.text}") from e


def _switch(value: bool | None) -> str:
    return "" if value is None else ("true" if value else "false")


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
