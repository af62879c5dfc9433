"""Which parts a device has: file transfers, discovery by DHCP, its web page, and what its data model has parameters for.

Modules are imported when they are needed.
"""

from typing import TYPE_CHECKING

from homeport.cpe.parts.dhcp import DhcpPart
from homeport.cpe.parts.part import Part
from homeport.cpe.parts.transfers import TransfersPart

if TYPE_CHECKING:
    from homeport.cpe.agent import Agent


def parts_of(agent: "Agent") -> list[Part]:
    """The parts of this agent's device."""
    management = agent.management
    parts: list[Part] = [DhcpPart(agent), TransfersPart(agent), *plugin_parts(agent)]
    if management.has("UDPConnectionRequestAddress"):
        from homeport.cpe.parts.udp import UdpPart

        parts.append(UdpPart(agent))
    if management.has("ConnReqXMPPConnection"):
        from homeport.cpe.parts.xmpp import XmppPart

        parts.append(XmppPart(agent))
    if management.has("LightweightNotificationProtocolsUsed"):
        from homeport.cpe.parts.lightweight import LightweightPart

        parts.append(LightweightPart(agent))
    environments = agent.settings.module_environments
    if environments not in ((), ("none",)) and agent.model.exists(f"{agent.model.root}SoftwareModules.DeploymentUnit."):
        from homeport.cpe.parts.modules import ModulesPart

        parts.append(ModulesPart(agent))
    if agent.settings.web:
        from homeport.cpe.web.part import WebPart

        parts.append(WebPart(agent))
    return parts


def plugin_parts(agent: "Agent") -> list[Part]:
    """The part for the device's plug-ins, where it has any."""
    host = getattr(agent.device, "host", None)
    if host is None:
        return []
    from homeport.cpe.parts.plugins import PluginsPart

    parts: list[Part] = [PluginsPart(agent, host)]
    below = getattr(agent.device, "below", None)
    if hasattr(below, "changes"):
        from homeport.cpe.devices.linux.device import LinuxDevice
        from homeport.cpe.parts.linux import LinuxPart

        if isinstance(below, LinuxDevice):
            parts.append(LinuxPart(agent, below))
    return parts
