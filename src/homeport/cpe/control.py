"""The agent's door for people on the device: a Unix socket in the state directory, one JSON object per line, each way.

Request `{"verb": NAME, "args": {...}}`, answer `{"ok": true, "result": ...}` or `{"ok": false, "error": SENTENCE}`. A verb that goes on
(`follow`) answers with many lines that say `"more": true`. Only the user whose agent it is can open the socket (mode 0600 in a directory
of mode 0700), and with the setting control_group the members of that group. What the verbs do is agent.py's and verbs.py's matter.
"""

import asyncio
import grp
import os
import pwd
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from homeport.cpe.control_client import MAX_LINE, SOCKET, ControlClient, short_path
from homeport.cpe.journal import LOG
from homeport.errors import ConfigError, Fault, HomeportError

__all__ = ["ControlClient", "ControlServer", "Verb"]

Verb = Callable[[Mapping[str, Any]], Awaitable[Any]]


class ControlServer:
    """Serves the verbs to `ControlClient`."""

    def __init__(
        self, directory: Path, verbs: Mapping[str, Verb], *, path: Path | None = None, group: str = ""
    ) -> None:
        """directory: the state directory, where the socket is unless path names another place. group: who else may open it."""
        self._path = path or directory / SOCKET
        self._signpost = directory / SOCKET if self._path != directory / SOCKET else None
        self._verbs = verbs
        self._group = group
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Open the socket; a stale one of a killed agent is taken over (the state directory's lock says that we are alone).

        Raises ConfigError where it cannot be opened there, or the group does not exist or is not ours to give.
        """
        path = self._path
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            path.unlink(missing_ok=True)
            with short_path(path) as address:
                mask = os.umask(0o177)
                try:
                    listener.bind(address)
                finally:
                    os.umask(mask)
        except OSError as e:
            listener.close()
            raise ConfigError(
                f"cannot open the control socket {path}: {e.strerror or e}; correct control_socket"
            ) from e
        if self._group:
            try:
                self._give_to_group(path)
            except ConfigError:
                listener.close()
                raise
        if self._signpost is not None:
            try:
                # Whoever names the state directory, as the hooks of DHCP clients do, finds the socket there too.
                self._signpost.unlink(missing_ok=True)
                self._signpost.symlink_to(path.absolute())
            except OSError:
                pass  # the socket itself works; only this second way to it is missing
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MAX_LINE)

    def _give_to_group(self, path: Path) -> None:
        try:
            number = grp.getgrnam(self._group).gr_gid
        except KeyError as e:
            raise ConfigError(f"control_group: there is no group {self._group!r}; make it with addgroup") from e
        try:
            os.chown(path, -1, number)
            path.chmod(0o660)
            if not path.parent.stat().st_mode & 0o001:
                # Members may pass through the directory to the socket, and list nothing there.
                os.chown(path.parent, -1, number)
                path.parent.chmod(path.parent.stat().st_mode & 0o700 | 0o010)
        except OSError as e:
            raise ConfigError(
                f"control_group: {path} cannot be given to the group {self._group}: {e.strerror}; "
                "the agent's user must be a member of it"
            ) from e

    async def stop(self) -> None:
        """Close the socket."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)
            if self._signpost is not None:
                self._signpost.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        who = _peer(writer.get_extra_info("socket"))
        try:
            while True:
                try:
                    line = await reader.readline()
                except ValueError:
                    writer.write(_line({"ok": False, "error": "the request is too long"}))
                    break
                if not line:
                    break
                answer = await self._answer(line, who)
                if isinstance(answer.get("result"), AsyncIterator):
                    await _send_all(answer["result"], reader, writer)
                    break
                writer.write(_line(answer))
                await writer.drain()
        except ConnectionError:
            pass  # the person at the other end went away; nobody is left to tell
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, line: bytes, who: str) -> dict[str, Any]:
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
        return await answer(verb, {**(args if isinstance(args, dict) else {}), "who": who})


async def answer(verb: Verb, args: Mapping[str, Any]) -> dict[str, Any]:
    """What a verb says, as it goes over the socket: `{"ok": true, "result"}` or `{"ok": false, "error", "code"?, "parameters"?}`."""
    try:
        return {"ok": True, "result": await verb(args)}
    except Fault as e:
        parameters = [{"name": p.name, "code": int(p.code), "error": p.text} for p in e.parameters]
        return {"ok": False, "error": str(e), "code": int(e.code), "parameters": parameters}
    except HomeportError as e:
        return {"ok": False, "error": str(e)}
    except Exception:
        # A defect, or arguments of a kind that nobody thought of: whoever asks hears that, and the log has the trace.
        LOG.exception("a question at the device could not be answered")
        return {"ok": False, "error": "the agent failed at this; its log says why"}


async def _send_all(items: AsyncIterator[Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything that an endless verb gives, until the other end goes away or says anything."""

    async def send() -> None:
        async for item in items:
            writer.write(_line({"ok": True, "result": item, "more": True}))
            await writer.drain()

    sending, ended = asyncio.ensure_future(send()), asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait((sending, ended), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, ended):
            task.cancel()
        await asyncio.gather(sending, ended, return_exceptions=True)
        if isinstance(items, AsyncGenerator):
            await items.aclose()  # it holds on to the log that it follows


def _peer(connection: Any) -> str:
    """Who is at the other end of the socket, for the configuration log: `root on the command line`."""
    try:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except (OSError, AttributeError):
        return "a person on the command line"
    number = struct.unpack("3i", credentials)[1]
    try:
        return f"{pwd.getpwuid(number).pw_name} on the command line"
    except KeyError:
        return f"user {number} on the command line"


def _line(content: object) -> bytes:
    return msgspec.json.encode(content) + b"\n"
