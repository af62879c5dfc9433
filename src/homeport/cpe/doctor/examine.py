"""All checks in the order in which a person would make them."""

from homeport.cpe.doctor.case import Case, Finding
from homeport.cpe.doctor.local import check_agent, check_configuration, check_dhcp, check_disk, check_state
from homeport.cpe.doctor.network import check_network


async def examine(case: Case) -> list[Finding]:
    """The findings on one device; at most about half a minute where nothing answers. The clock is looked at by the command line."""
    local = [check_agent(case), check_state(case), check_disk(case), check_configuration(case), check_dhcp(case)]
    return local + await check_network(case)
