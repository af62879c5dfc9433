"""The agent's door for people on the device: a Unix socket in the state directory, one JSON object per line, each way.

Request `{"verb": NAME, "args": {...}}`, answer `{"ok": true, "result": ...}` or `{"ok": false, "error": SENTENCE}`. Only the user whose
agent it is can open the socket (mode 0600 in a directory of mode 0700). What the verbs do is agent.py's and verbs.py's matter.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from homeport.errors import Fault, HomeportError, TransportError

SOCKET: Final = "control.sock"
MAX_LINE: Final = 4 * 1024 * 1024
"""Bytes of one request or answer: a whole data model of 20,000 parameters fits."""

Verb = Callable[[Mapping[str, Any]], Awaitable[Any]]


class ControlServer:
    """Serves the verbs to `ControlClient`."""

    def __init__(self, directory: Path, verbs: Mapping[str, Verb]) -> None:
        self._directory = directory
        self._verbs = verbs
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Open the socket; a stale one of a killed agent is taken over (the state directory's lock says that we are alone)."""
        path = self._directory / SOCKET
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with _short(path) as address:
            mask = os.umask(0o177)
            try:
                listener.bind(address)
            finally:
                os.umask(mask)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MAX_LINE)

    async def stop(self) -> None:
        """Close the socket."""
        if self._server is not None:
            self._server.close()
            self._server = None
            (self._directory / SOCKET).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                try:
                    line = await reader.readline()
                except ValueError:
                    writer.write(_line({"ok": False, "error": "the request is too long"}))
                    break
                if not line:
                    break
                writer.write(_line(await self._answer(line)))
                await writer.drain()
        except ConnectionError:
            pass  # the person at the other end went away; nobody is left to tell
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.MsgspecError:
            return {"ok": False, "error": 'a request is one JSON object, for example {"verb": "status"}'}
        verb = self._verbs.get(str(request.get("verb")))
        if verb is None:
            return {
                "ok": False,
                "error": f"unknown verb {request.get('verb')!r}; the verbs are {', '.join(sorted(self._verbs))}",
            }
        args = request.get("args") or {}
        try:
            return {"ok": True, "result": await verb(args if isinstance(args, dict) else {})}
        except Fault as e:
            parameters = [{"name": p.name, "code": int(p.code), "error": p.text} for p in e.parameters]
            return {"ok": False, "error": str(e), "code": int(e.code), "parameters": parameters}
        except HomeportError as e:
            return {"ok": False, "error": str(e)}


class ControlClient:
    """What `homeport cpe show|get|set-param|inform|...` calls: `ControlClient(directory).call("status")`."""

    def __init__(self, directory: Path, *, timeout: float = 10.0) -> None:
        self._directory = directory
        self._timeout = timeout

    def call(self, verb: str, **args: Any) -> Any:
        """The verb's result. Raises TransportError where no agent answers there, HomeportError with its sentence where it refuses."""
        path = self._directory / SOCKET
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, _short(path) as address:
                connection.settimeout(self._timeout)
                connection.connect(address)
                connection.sendall(_line({"verb": verb, "args": args}))
                with connection.makefile("rb") as stream:
                    line = stream.readline(MAX_LINE)
        except TimeoutError as e:
            raise TransportError(
                f"the agent at {self._directory} did not answer within {self._timeout:g} s", kind="timeout"
            ) from e
        except OSError as e:
            raise TransportError(
                f"no agent answers at {path} ({e.strerror}); start it with `homeport cpe run`, or name its directory with --state-dir",
                kind="refused",
            ) from e
        if not line:
            raise TransportError(f"the agent at {self._directory} closed the connection", kind="closed")
        answer = msgspec.json.decode(line, type=dict[str, Any])
        if not answer.get("ok"):
            details = "".join(f"; {p['name']}: {p['code']} {p['error']}" for p in answer.get("parameters", ()))
            raise HomeportError(f"{answer.get('error', 'refused')}{details}")
        return answer.get("result")


class _short:
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
