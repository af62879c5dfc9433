"""Which parts a device has: those whose parameters its data model has. Modules are imported only for them: memory is for what is used."""

from typing import TYPE_CHECKING

from homeport.cpe.parts.part import Part

if TYPE_CHECKING:
    from homeport.cpe.agent import Agent


def parts_of(agent: "Agent") -> list[Part]:
    """The parts of this agent's device."""
    management = agent.management
    parts: list[Part] = []
    if management.has("UDPConnectionRequestAddress"):
        from homeport.cpe.parts.udp import UdpPart

        parts.append(UdpPart(agent))
    if management.has("ConnReqXMPPConnection"):
        from homeport.cpe.parts.xmpp import XmppPart

        parts.append(XmppPart(agent))
    if management.has("LightweightNotificationProtocolsUsed"):
        from homeport.cpe.parts.lightweight import LightweightPart

        parts.append(LightweightPart(agent))
    return parts
