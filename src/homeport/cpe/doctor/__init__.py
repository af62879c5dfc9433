"""What keeps a device from its ACS, looked at step by step: `homeport cpe doctor`."""
