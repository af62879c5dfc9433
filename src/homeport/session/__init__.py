"""CWMP sessions without sockets and without a clock: bytes in, events out; `now` is an argument."""
