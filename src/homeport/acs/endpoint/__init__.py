"""The CWMP door: HTTP requests of devices in, HTTP answers out; sessions are kept here, decisions are not made here."""
