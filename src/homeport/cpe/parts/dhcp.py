"""Finding the ACS by DHCP: the agent's own question where a setting wants it, and looking again when the ACS stays unreachable.

Leases that a DHCP client's hook hands over come through the control socket; both ways end at the lease desk.
Source: TR-069a6 3.1.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from homeport.cpe.parts.part import Part
from homeport.errors import StoreError

if TYPE_CHECKING:
    from homeport.cpe.agent import Agent

UNREACHABLE: Final = frozenset({"dns", "refused", "timeout", "tls", "closed", "proxy"})
"""Kinds of failures in which no ACS was talked to. One that answers, even with 401 or 503, is there."""

FIRST_PAUSE: Final = 3.0
LONGEST_PAUSE: Final = 300.0
"""Seconds between questions while no ACS is known; doubles from the first to the longest."""

REFRESH: Final = 86_400.0
"""Seconds until DHCP is asked again where it is followed: DHCPv6's default (RFC 8415 21.23), taken for DHCPv4 too."""
LEAST_REFRESH: Final = 600.0


class DhcpPart(Part):
    """The agent's side of discovery."""

    name = "discovery by DHCP"

    def __init__(self, agent: "Agent") -> None:
        self._agent = agent
        settings = agent.settings
        self._asks = settings.dhcp_query != "off"
        self._after = settings.dhcp_rediscovery_after
        self._failures = 0
        self._again = asyncio.Event()
        self._pause = FIRST_PAUSE
        self._refresh = REFRESH
        self._told = ""

    async def start(self) -> None:
        """Before the first session DHCP may name another ACS than the factory did: wait for what it says."""
        if self._asks and self._agent.leases.follows_dhcp:
            await self._ask()

    async def run(self) -> None:
        while True:
            agent = self._agent
            waits = self._asks and agent.leases.follows_dhcp
            pause = (self._refresh if agent.management.url else self._pause) if waits else None
            sleep = asyncio.ensure_future(agent.clock.sleep_until(agent.clock.monotonic() + (pause or REFRESH)))
            wake = asyncio.ensure_future(self._again.wait())
            try:
                await asyncio.wait((sleep, wake), return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleep.cancel()
                wake.cancel()
            if self._again.is_set():
                self._again.clear()
                await self._look_again()
            elif waits:
                self._pause = min(self._pause * 2, LONGEST_PAUSE)
                await self._ask()

    def session_ended(self, *, success: bool, kind: str) -> None:
        """Count the failures in a row in which no ACS was reached; every so many, look for another."""
        if success or kind not in UNREACHABLE:
            self._failures = 0
            return
        self._failures += 1
        if self._after and self._failures % self._after == 0 and self._agent.leases.may_rediscover:
            self._again.set()

    async def _look_again(self) -> None:
        agent = self._agent
        agent.client_log.write(f"the ACS was not reached {self._failures} times in a row: looking for it by DHCP again")
        if self._asks:
            await self._ask()
        try:
            moved = agent.leases.rediscover()
        except StoreError as e:
            agent.client_log.write(f"the leases cannot be looked at now: {e}")
            return
        if not moved:
            agent.client_log.write("DHCP names no other ACS")

    async def _ask(self) -> None:
        from homeport.cpe.leases.query import Question, ask

        agent = self._agent
        settings = agent.settings
        answers = await ask(
            Question(
                ipv4=settings.dhcp_query in ("ipv4", "both"),
                ipv6=settings.dhcp_query in ("ipv6", "both"),
                names=settings.dhcp_interfaces,
                options=tuple(int(code) for code in settings.dhcp_request),
                vendor_class=settings.dhcp_vendor_class.encode("latin-1", "replace"),
            )
        )
        said = list(answers.problems)
        for lease in answers.leases:
            try:
                said.append(agent.leases.take(lease))
            except StoreError as e:
                said.append(str(e))
        if not answers.leases and answers.asked and not answers.problems:
            said.append("no DHCP server answers")
        if answers.refresh is not None:
            self._refresh = max(LEAST_REFRESH, float(answers.refresh))
        text = "; ".join(said)
        if text != self._told:
            self._told = text
            agent.client_log.write(f"asked DHCP: {text}")
