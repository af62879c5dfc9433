"""DHCP leases as the agent sees them: the record, what it changes in the agent, our own query, and the hooks of DHCP clients."""
