"""The asking end of the agent's control socket. No asyncio: a DHCP client's hook waits for it. See control.py for the answering end."""

import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from homeport.errors import HomeportError, TransportError

SOCKET: Final = "control.sock"
MAX_LINE: Final = 4 * 1024 * 1024
"""Bytes of one request or answer: a whole data model of 20,000 parameters fits."""


class ControlClient:
    """What `homeport cpe show|get|set-param|inform|...` calls: `ControlClient(directory).call("status")`."""

    def __init__(self, directory: Path, *, timeout: float = 10.0) -> None:
        """directory: the state directory, or the socket itself."""
        self._path = directory if directory.is_socket() else directory / SOCKET
        self._timeout = timeout

    def call(self, verb: str, **args: Any) -> Any:
        """The verb's result. Raises TransportError where no agent answers there, HomeportError with its sentence where it refuses."""
        with self._connected() as connection:
            line = self._asked(connection, verb, args)
        return _result(line)

    def follow(self, verb: str, **args: Any) -> Iterator[Any]:
        """What a verb that goes on gives, as it comes, until the agent ends. Raises as `call` does."""
        with self._connected() as connection:
            try:
                connection.sendall(_line({"verb": verb, "args": args}))
                connection.settimeout(None)
                with connection.makefile("rb") as stream:
                    while line := stream.readline(MAX_LINE):
                        yield _result(line)
            except ConnectionError:
                return  # the agent ended; the caller knows whether to come again

    def _connected(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._timeout)
        try:
            with short_path(self._path) as address:
                connection.connect(address)
        except OSError as e:
            connection.close()
            raise self._translated(e) from e
        return connection

    def _asked(self, connection: socket.socket, verb: str, args: Mapping[str, Any]) -> bytes:
        try:
            connection.sendall(_line({"verb": verb, "args": args}))
            with connection.makefile("rb") as stream:
                line = stream.readline(MAX_LINE)
        except OSError as e:
            raise self._translated(e) from e
        if not line:
            raise TransportError(f"the agent at {self._path} closed the connection", kind="closed")
        return line

    def _translated(self, e: OSError) -> TransportError:
        if isinstance(e, TimeoutError):
            return TransportError(
                f"the agent at {self._path} did not answer within {self._timeout:g} s", kind="timeout"
            )
        if isinstance(e, PermissionError):
            return TransportError(
                f"{self._path} may not be opened by you; ask as the agent's user or root, or become a member of its control_group",
                kind="refused",
            )
        return TransportError(
            f"no agent answers at {self._path} ({e.strerror}); start it with `homeport cpe run`, or name its directory with --state-dir",
            kind="refused",
        )


def _result(line: bytes) -> Any:
    answer = msgspec.json.decode(line, type=dict[str, Any])
    if not answer.get("ok"):
        details = "".join(f"; {p['name']}: {p['code']} {p['error']}" for p in answer.get("parameters", ()))
        raise HomeportError(f"{answer.get('error', 'refused')}{details}")
    return answer.get("result")


class short_path:
    """A path for bind or connect that fits into the 108 bytes of a socket address, however deep the state directory lies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> str:
        text = str(self._path)
        if len(os.fsencode(text)) < 100:
            return text
        self._fd = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._fd}/{self._path.name}"

    def __exit__(self, *exc: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def _line(content: object) -> bytes:
    return msgspec.json.encode(content) + b"\n"
