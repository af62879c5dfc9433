"""The server: keeps what it knows of every device, decides what to do next, and talks CWMP and REST."""
