"""What a DHCP lease changes in the agent: the ACS URL and the facts beside it, and whose word counts.

Stored beats DHCP, DHCP beats the factory (spec: order used in practice). A URL that the ACS or a person set stays; a value that DHCP gave
and the ACS changed stays the ACS's. The exception is the standard's re-discovery: a device that first found its ACS by DHCP, and whose
present ACS stays unreachable, takes DHCP's URL even over one that an ACS has set, so that a wrong URL cannot cut it off for good
(TR-069a6 3.1, wording unverified). A URL that a person set stays in that case too.
Where several interfaces have leases that name different ACSs, the one that named it first counts until its lease is given back.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

import msgspec

from homeport.cpe.clock import Clock, date_time
from homeport.cpe.discovery import Discovered
from homeport.cpe.gateway_settings import uses_dhcp
from homeport.cpe.leases.lease import (
    ORIGINS,
    SETTING,
    Facts,
    Lease,
    LeaseSeen,
    facts_of,
    forget_lease,
    keep_lease,
    kept_leases,
    lease_of,
)
from homeport.cpe.management import Management
from homeport.cpe.startup import ACS, APPLIED, DHCP, LOCAL, SOURCES, keep_url_source, url_source
from homeport.cpe.state import AGENT, Store
from homeport.errors import Fault, StoreError

Say = Callable[[str], None]
Acting = Callable[[str], AbstractContextManager[object]]

_HOLDER: Final = "dhcp_holder"
_OPTION: Final = "dhcp_option"
_FOUND: Final = "dhcp_found_acs"
_GIVEN: Final = "dhcp/"

SETTING_KEY: Final = "setting"


class LeaseDesk:
    """Takes leases for one agent."""

    def __init__(
        self,
        management: Management,
        store: Store,
        *,
        form: str,
        clock: Clock,
        say: Say,
        directory: Path,
        acting: Acting = nullcontext,
    ) -> None:
        """form: how the codes of option 43 are read. say: one line for the configuration log. acting: tells that log who writes."""
        self._management = management
        self._store = store
        self._form = form
        self._clock = clock
        self._say = say
        self._acting = acting
        self._directory = directory
        self._leases: dict[str, Lease] = {}

    def start(self, option43: bytes) -> None:
        """At the agent's start: what the setting says, then the leases that lie in the state directory. Raises StoreError."""
        if option43:
            lease = lease_of("setting", 4, {43: option43}, origin=SETTING, received=date_time(self._clock.now()))
            self._leases[SETTING_KEY] = msgspec.structs.replace(lease, interface="")
            self._apply(SETTING_KEY, rediscovery=False)
        for lease in kept_leases(self._directory):
            self._leases[lease.key] = lease
            self._apply(lease.key, rediscovery=False)

    def look(self) -> None:
        """Take the leases that a hook laid down between `start` and the moment when the control socket was open. Raises StoreError."""
        for lease in kept_leases(self._directory):
            known = self._leases.get(lease.key)
            if known is None or known.options != lease.options:
                self.take(lease)

    def take(self, lease: Lease) -> str:
        """A lease came or was renewed; a sentence about what it changed. Raises StoreError."""
        before = self._leases.get(lease.key)
        if before is not None and (before.options, before.asked) == (lease.options, lease.asked):
            lease = before
        else:
            lease = msgspec.structs.replace(lease, received=date_time(self._clock.now()))
            self._leases[lease.key] = lease
            try:
                keep_lease(self._directory, lease)
            except StoreError as e:
                self._say(str(e))  # it counts now all the same; after a restart the next renewal brings it again
        # What the DHCP client brings now is newer than what the agent was started with.
        self._leases.pop(SETTING_KEY, None)
        return self._apply(lease.key, rediscovery=False, again=lease is before)

    def release(self, interface: str, family: int) -> str:
        """An interface's lease ended. What it named stays until another lease names something else."""
        lease = self._leases.pop(f"{interface}-{family}", None)
        forget_lease(self._directory, interface, family)
        return f"the lease of {lease.where} is gone" if lease else f"there was no lease of {interface}"

    def rediscover(self) -> bool:
        """The ACS stays unreachable: let another lease name it, also over a URL that the ACS set. Whether the URL changed.

        Of several leases the next one after that which named the present ACS comes first, so that in time each gets its turn.
        """
        before = self._management.url
        keys = list(self._leases)
        holder = str(self._store.get(AGENT, _HOLDER, ""))
        turn = keys.index(holder) + 1 if holder in keys and url_source(self._store) == DHCP else 0
        for key in keys[turn:] + keys[:turn]:
            found = facts_of(self._leases[key], self._form).found
            if found is not None and found.url not in (None, before):
                self._apply(key, rediscovery=True, again=True)
                break
        return self._management.url != before

    @property
    def follows_dhcp(self) -> bool:
        """Whether DHCP's word about the URL counts now: nobody has set one."""
        return uses_dhcp(self._store) and (not self._management.url or url_source(self._store) not in (LOCAL, ACS))

    @property
    def may_rediscover(self) -> bool:
        """Whether DHCP is worth asking when the ACS stays unreachable."""
        if self.follows_dhcp:
            return True
        return uses_dhcp(self._store) and url_source(self._store) == ACS and bool(self._store.get(AGENT, _FOUND))

    @property
    def url_detail(self) -> str:
        """Which option of which lease gave the present URL, "" where none did."""
        return str(self._store.get(AGENT, _OPTION, "")) if url_source(self._store) == DHCP else ""

    @property
    def seen(self) -> tuple[LeaseSeen, ...]:
        """All leases, for people."""
        return tuple(seen_of(lease, self._form) for lease in self._leases.values())

    # --- one lease ----------------------------------------------------------------------------------------------------------------

    def _apply(self, key: str, *, rediscovery: bool, again: bool = False) -> str:
        lease = self._leases[key]
        facts = facts_of(lease, self._form)
        if not again:
            for sentence in facts.warnings:
                self._say(sentence)
        found = facts.found
        if found is None:
            return f"the lease of {lease.where} says nothing about an ACS"
        refusal = self._refusal(key, lease, facts, rediscovery=rediscovery)
        if refusal:
            if not again:
                self._say(refusal)
            return refusal
        url = found.url or ""
        moved = bool(url) and url != self._management.url
        beside = {name: value for name, value in _beside_url(found).items() if value}
        if not moved and self._is_settled(key, url, beside):
            return f"{facts.option} of {lease.where} changes nothing about the ACS URL"
        try:
            self._write(key, lease, facts.option, url, beside)
        except Fault as e:
            self._say(f"{facts.option} of {lease.where}: the URL {url} is not accepted: {e.text}")
            return f"the URL {url} is not accepted: {e.text}"
        if moved:
            return f"{facts.option} of {lease.where} names the ACS {url}"
        return f"{facts.option} of {lease.where} changes nothing about the ACS URL"

    def _is_settled(self, key: str, url: str, beside: dict[str, str]) -> bool:
        """Whether all that the lease says was taken earlier: the flash need not be written for each renewal."""
        named = not url or (url_source(self._store) == DHCP and self._store.get(AGENT, _HOLDER) == key)
        return named and all(self._store.get(AGENT, _GIVEN + name) == value for name, value in beside.items())

    def _write(self, key: str, lease: Lease, option: str, url: str, beside: dict[str, str]) -> None:
        """All at once. Raises Fault where the device does not take the URL; nothing is changed then."""
        with self._store.transaction() as transaction, self._acting(f"DHCP ({option})"):
            if url:
                # The source first: listeners that hear of the new URL ask for it.
                keep_url_source(transaction, DHCP)
                transaction.put(AGENT, _HOLDER, key)
                transaction.put(AGENT, _OPTION, option + (f" of {lease.where}" if lease.interface else ""))
                transaction.put(AGENT, _FOUND, True)
                self._management.set("URL", url)
            for name, value in beside.items():
                if self._may_give(name):
                    transaction.put(AGENT, _GIVEN + name, value)
                    self._set(name, value)

    def _refusal(self, key: str, lease: Lease, facts: Facts, *, rediscovery: bool) -> str:
        """Why this lease does not count, as a sentence; "" where it does."""
        offered = facts.found.url if facts.found and facts.found.url else ""
        source = url_source(self._store)
        what = f"{facts.option} of {lease.where} offers {offered or 'no URL'}"
        if not uses_dhcp(self._store):
            return f"{what}; it is not looked at: cwmp.use_dhcp is off on this device"
        if not self.follows_dhcp and not (rediscovery and self.may_rediscover):
            # Once somebody set the URL, DHCP, which anybody on the wire can forge, no longer changes it.
            return f"{what}; the URL {SOURCES[source]} counts"
        holder = str(self._store.get(AGENT, _HOLDER, ""))
        if source == DHCP and holder != key and holder in self._leases and not rediscovery and self._management.url:
            held = self._leases[holder].where
            other = offered not in ("", self._management.url)
            return f"{what}; the lease of {held} counts while it lasts" if other else ""
        return ""

    def _may_give(self, name: str) -> bool:
        """Whether DHCP may write this parameter: nobody has changed what DHCP gave, and no setting names it."""
        if self._store.get(AGENT, APPLIED + name):
            return False
        given = self._store.get(AGENT, _GIVEN + name)
        return given is None or given == self._management.value(self._path(name))

    def _set(self, name: str, value: str) -> None:
        try:
            self._management.set_path(self._path(name), value)
        except Fault as e:
            self._say(f"DHCP: {name} {value!r} is not accepted: {e.text}")

    def _path(self, name: str) -> str:
        if name.startswith("DeviceInfo."):
            return self._management.device_info + name.removeprefix("DeviceInfo.")
        return self._management.prefix + name


def seen_of(lease: Lease, form: str = "standard") -> LeaseSeen:
    """A lease for people."""
    facts = facts_of(lease, form)
    url = facts.found.url or "" if facts.found else ""
    if url:
        said = f"{facts.option} names {url}"
    elif lease.options:
        said = facts.warnings[0] if facts.warnings else "its options say nothing about an ACS"
    else:
        said = "it came without the options 43 and 125" if lease.family == 4 else "it came without option 17"
    return LeaseSeen(
        interface=lease.interface or "settings",
        family=lease.family,
        url=url,
        received=lease.received,
        said=f"{said}, {ORIGINS.get(lease.origin, lease.origin)}",
    )


def _beside_url(found: Discovered) -> dict[str, str]:
    return {
        "Username": found.username or "",
        "Password": found.password or "",
        "DeviceInfo.ProvisioningCode": found.provisioning_code or "",
        "CWMPRetryMinimumWaitInterval": _number(found.retry_minimum_wait),
        "CWMPRetryIntervalMultiplier": _number(found.retry_multiplier),
        "PeriodicInformEnable": ""
        if found.periodic_inform_enable is None
        else str(found.periodic_inform_enable).lower(),
        "PeriodicInformInterval": _number(found.periodic_inform_interval),
    }


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
