"""The agent: TR-069 on the device's side. Start at agent.py."""
