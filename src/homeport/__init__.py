"""TR-069 (CWMP) for both ends of the line: agent, ACS and simulator."""
