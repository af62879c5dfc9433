"""The ACS as the command line sees it: the REST API over one kept connection, errors as sentences with exit codes.

`http.client` and not aiohttp: a command makes a handful of calls one after the other, and importing aiohttp takes six times as long
(measured here: 0.20 s against 0.03 s), which a person feels at every command.
"""

import http.client
import json
import os
import re
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from homeport.cli.exits import CliError, ExitCode

API = "/api/v1"
_PIECE = 262_144
Json = Any
"""What JSON can hold; each caller says what it expects by how it reads it."""

ENDED = frozenset({"done", "failed", "unknown", "expired", "cancelled"})
"""The statuses of a task that will not change any more (`unknown` may still be settled by the ACS)."""


RESTART: Final = 20.0
"""Seconds within which an ACS that is restarted answers again."""

SILENCE: Final = 45.0
"""Seconds without a word after which the event stream is taken for broken: it has a comment every 15."""

PATIENCE: Final = 600.0
"""Seconds that who watches waits for an ACS to come back."""

_IN_COMMANDS: Final = tuple(
    (re.compile(spoken), typed)
    for spoken, typed in (
        (r"list them with GET devices/ID/sessions", "see homeport device sessions DEVICE"),
        (r"list them with GET (device|file|group|task|token|user|webhook)s", r"see homeport \1 list"),
        (r" with POST devices/(\S+)/approve", r": homeport device approve \1"),
        (r"take it back with DELETE tokens/(\S+)", r"take it back: homeport token revoke \1"),
        (r"say replace=true", "say --replace"),
        (r"\b(?:body|query)\.(?:\w+\.)*(\w+): Extra inputs are not permitted", r"there is no \1 here"),
        (r"\b(?:body|query)\.(?:\w+\.)*(\w+): (?:Input )?", r"\1: "),
    )
)
"""What the API tells programs to call, as a person types it."""


def in_commands(message: str) -> str:
    """A message of the API, with commands in place of calls."""
    for spoken, typed in _IN_COMMANDS:
        message = spoken.sub(typed, message)
    return message


class Body(Protocol):
    """A request's body that is read as it is sent. length: of all of it, bytes."""

    length: int

    def read(self, count: int = -1, /) -> bytes:
        """The next bytes, b"" at the end."""


class RestClient:
    """Calls of the REST API of one ACS.

    base: `http://host:port`, without the API's path. token: the bearer token. timeout: seconds for connecting and for each answer.
    Raises CliError from every call: UNREACHABLE, REFUSED, USAGE (the ACS did not understand), FAILED.
    """

    def __init__(self, base: str, token: str, *, timeout: float = 30.0, where_token: str = "") -> None:
        parts = urllib.parse.urlsplit(base if "//" in base else f"http://{base}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CliError(
                f"{base!r} is not the address of an ACS; an example that works: --acs http://127.0.0.1:8080",
                ExitCode.USAGE,
            )
        try:
            port = parts.port
        except ValueError:
            raise CliError(f"{base!r} has a port that is not a number from 1 to 65535", ExitCode.USAGE) from None
        self.base = f"{parts.scheme}://{parts.netloc}"
        self._prefix = parts.path.rstrip("/").removesuffix(API)
        self._https = parts.scheme == "https"
        self._host, self._port = parts.hostname, port
        self._token = token
        self._timeout = timeout
        self._where_token = where_token or "pass --token, or set HOMEPORT_TOKEN"
        self._connection: http.client.HTTPConnection | None = None

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Json:
        """The answer to `GET path`."""
        return self.call("GET", path, query=query)

    def items(self, path: str, query: Mapping[str, Any] | None = None, *, limit: int | None = None) -> Iterator[Json]:
        """The items of a listing, page after page; at most `limit`."""
        query = dict(query or {})
        given = 0
        while True:
            if limit is not None:
                query["limit"] = min(500, limit - given)
            page = self.get(path, query)
            for item in page["items"]:
                yield item
                given += 1
                if limit is not None and given >= limit:
                    return
            if not page.get("next"):
                return
            query["cursor"] = page["next"]

    def page(self, path: str, query: Mapping[str, Any], *, limit: int) -> tuple[list[Json], str | None]:
        """At most `limit` items of a listing, and the cursor behind them; None at the end."""
        found: list[Json] = []
        query = dict(query)
        while True:
            page = self.get(path, query | {"limit": min(500, limit - len(found))})
            found += page["items"]
            query["cursor"] = page["next"]
            if len(found) >= limit or page["next"] is None:
                return found, page["next"]

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Json = None,
        content: "bytes | Body | None" = None,
        content_type: str = "application/json",
        key: str | None = None,
        timeout: float | None = None,
    ) -> Json:
        """The JSON of a 2xx answer; None where it has no body. path: below `/api/v1`, already quoted, starts with `/`.

        key: says that the same call again, with the same key, is one and the same wish.
        """
        target = self._prefix + API + path
        if query:
            pairs = {k: v for k, v in query.items() if v is not None}
            target += "?" + urllib.parse.urlencode(pairs, doseq=True) if pairs else ""
        data: bytes | Body | None = content
        if data is None and body is not None:
            data = msgspec.json.encode(body)
        headers = {"Accept": "application/json", "Authorization": f"Bearer {self._token}"}
        if key:
            headers["Idempotency-Key"] = key
        if data is not None:
            headers["Content-Type"] = content_type
            if not isinstance(data, bytes):
                headers["Content-Length"] = str(data.length)
                self.close()  # a body that is read as it goes cannot go again, so the connection must not be one that has ended
        status, reason, text = self._exchange(method, target, data, headers, timeout)
        if 200 <= status < 300:
            return self._decoded(text, target)
        raise self._refusal(status, reason, text)

    def lines(self, path: str, body: Json, *, headers: Mapping[str, str] | None = None) -> Iterator[Json]:
        """The JSON lines of an answer that is streamed, each as it comes. What the ACS does ends when this is closed early."""
        self.close()
        connection = self._connect()
        sent = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json", **(headers or {})}
        try:
            connection.request("POST", self._prefix + API + path, body=msgspec.json.encode(body), headers=sent)
            if connection.sock is not None:
                connection.sock.settimeout(600.0)
            answer = connection.getresponse()
            if not 200 <= answer.status < 300:
                raise self._refusal(answer.status, answer.reason, answer.read())
            while line := answer.readline():
                yield json.loads(line)
        except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as e:
            raise self._unreachable(e) from e
        except ValueError as e:
            raise CliError(f"the ACS at {self.base} stopped in the middle; try again", ExitCode.UNREACHABLE) from e
        finally:
            connection.close()

    def events(self, query: Mapping[str, Any] | None = None, *, patience: float = PATIENCE) -> Iterator[Json]:
        """What happens at the ACS, event by event, without end; an ACS that was restarted is listened to again, from where it broke.

        Two kinds tell of the line itself: `gap` where events may be missing, `away` (with `why`) once where the ACS is not heard any
        more. patience: seconds until it must be back. Raises CliError where it is not, or cannot be reached at the beginning.
        """
        last: str | None = None
        gone = -1.0  # since when it is not heard (monotonic); 0 while it is, -1 before its first word
        while True:
            try:
                for event in self._stream(query, last):
                    gone = 0.0
                    if event is not None:
                        last = event.get("id", last)
                        yield event
            except CliError as e:
                if gone < 0 or e.code != ExitCode.UNREACHABLE or (gone and time.monotonic() > gone + patience):
                    raise
                if not gone:
                    gone = time.monotonic()
                    yield {"kind": "away", "why": str(e)}
            time.sleep(min(0.5, patience))

    def _stream(self, query: Mapping[str, Any] | None, last: str | None) -> Iterator[Json]:
        """The events of one connection, and None for each comment; ends when the ACS ends it."""
        self.close()
        connection = self._connect()
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "text/event-stream"}
        headers |= {"Last-Event-ID": last} if last else {}
        pairs = {k: v for k, v in (query or {}).items() if v is not None}
        target = self._prefix + API + "/events" + ("?" + urllib.parse.urlencode(pairs) if pairs else "")
        try:
            connection.request("GET", target, headers=headers)
            if connection.sock is not None:
                connection.sock.settimeout(SILENCE)
            answer = connection.getresponse()
            if answer.status != 200:
                raise self._refusal(answer.status, answer.reason, answer.read())
            while line := answer.readline():
                if line.startswith(b"data: "):
                    yield json.loads(line[len(b"data: ") :])
                elif line.startswith(b":"):
                    yield None
        except (http.client.HTTPException, OSError, ValueError) as e:
            raise self._unreachable(e) from e
        finally:
            connection.close()

    def fetch(self, path: str, write: Callable[[bytes], Any], *, timeout: float | None = None) -> None:
        """Hand the body of a 2xx answer on, piece by piece."""
        target = self._prefix + API + path
        self.close()
        connection = self._connect()
        try:
            connection.request("GET", target, headers={"Authorization": f"Bearer {self._token}"})
            if connection.sock is not None:
                connection.sock.settimeout(timeout or self._timeout)
            answer = connection.getresponse()
            if not 200 <= answer.status < 300:
                raise self._refusal(answer.status, answer.reason, answer.read())
            while data := answer.read(_PIECE):
                write(data)
            if answer.length:
                raise CliError(f"the ACS at {self.base} stopped in the middle; try again", ExitCode.UNREACHABLE)
        except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as e:
            raise self._unreachable(e) from e
        finally:
            connection.close()

    def _exchange(
        self, method: str, target: str, data: "bytes | Body | None", headers: dict[str, str], timeout: float | None
    ) -> tuple[int, str, bytes]:
        """One exchange; a kept connection that the ACS has closed meanwhile is opened again, once, before anything was answered."""
        for attempt in (1, 2):
            fresh = self._connection is None
            connection = self._connection or self._connect()
            self._connection = connection
            if connection.sock is not None:
                connection.sock.settimeout(timeout or self._timeout)
            try:
                try:
                    connection.request(method, target, body=data, headers=headers)
                except (BrokenPipeError, ConnectionResetError):
                    if isinstance(data, bytes) or data is None:
                        raise
                    # The ACS refused a large body before it was sent: its answer says why.
                answer = connection.getresponse()
                text = answer.read()
            except TimeoutError:
                self.close()
                raise CliError(
                    f"the ACS at {self.base} did not answer within {timeout or self._timeout:.0f} s",
                    ExitCode.UNREACHABLE,
                ) from None
            except (http.client.HTTPException, ConnectionError, ssl.SSLError, OSError) as e:
                self.close()
                if (
                    attempt == 1
                    and not fresh
                    and isinstance(e, http.client.RemoteDisconnected | ConnectionError | BrokenPipeError)
                ):
                    continue
                raise self._unreachable(e) from e
            if answer.will_close:
                self.close()
            return answer.status, answer.reason, text
        raise AssertionError("unreachable")

    def _connect(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection
        if self._https:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=ssl.create_default_context()
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            connection.connect()
        except OSError as e:
            raise self._unreachable(e) from e
        return connection

    def _unreachable(self, error: Exception) -> CliError:
        if isinstance(error, ssl.SSLCertVerificationError):
            fact, cure = (
                f"its certificate is not trusted ({error.verify_message})",
                "set SSL_CERT_FILE to the authority that signed it",
            )
        elif isinstance(error, ssl.SSLError):
            fact, cure = f"TLS failed ({error.reason or error})", "check whether the address should start with http://"
        elif isinstance(error, TimeoutError):
            fact, cure = (
                f"no answer within {self._timeout:g} s",
                "check the address, a firewall, or whether it should start with http://",
            )
        elif isinstance(error, ConnectionRefusedError):
            fact, cure = "nothing listens there", "start it with: homeport acs serve, or name another with --acs URL"
        elif isinstance(error, http.client.HTTPException) and not isinstance(error, http.client.RemoteDisconnected):
            fact, cure = "what answers is not HTTP", "check the port: the REST API is on 8080 by default, CWMP on 7547"
        else:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            fact, cure = reason.lower(), "check --acs URL and the network"
        return CliError(f"cannot reach the ACS at {self.base}: {fact}; {cure}", ExitCode.UNREACHABLE)

    def _decoded(self, text: bytes, target: str) -> Json:
        if not text:
            return None
        try:
            return json.loads(text)
        except ValueError:
            message = (
                f"{self.base}{target} answered with something that is not JSON; is this the REST address of an ACS?"
            )
            raise CliError(message, ExitCode.UNREACHABLE) from None

    def _refusal(self, status: int, reason: str, text: bytes) -> CliError:
        try:
            error = json.loads(text)["error"]
            message, details = str(error["message"]), error.get("details")
        except (ValueError, KeyError, TypeError):
            message, details = f"the ACS answered {status} {reason}", None
        if isinstance(details, str) and details not in message:
            message = f"{message} ({details})"
        message = message.strip().rstrip(".").replace("\n", " ")
        message = in_commands(message)
        if status == 401:
            return CliError(f"the ACS at {self.base} does not accept the token; {self._where_token}", ExitCode.REFUSED)
        if status in (403, 409, 423, 429):
            return CliError(message, ExitCode.REFUSED)
        if status in (400, 413, 415, 422):
            return CliError(message, ExitCode.USAGE)
        if status in (404, 405) and b"error" not in text:
            message = f"{self.base} has no REST API there; check --acs URL (REST is on 8080 by default, CWMP on 7547)"
            return CliError(message, ExitCode.UNREACHABLE)
        return CliError(message, ExitCode.FAILED)

    def close(self) -> None:
        """Close the kept connection; the next call opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __del__(self) -> None:
        if getattr(self, "_connection", None) is not None:
            self.close()

    # Tasks

    def start_task(
        self, device: str, rpc: str, args: Mapping[str, Any], *, key: str | None = None, **more: Any
    ) -> Json:
        """The task, just created; the earlier one where the key is known. more: connection_request, priority, expires_in, after."""
        body = {"rpc": rpc, "args": dict(args), **more}
        return self.call("POST", f"/devices/{quoted(device)}/tasks", body=body, key=key)

    def task(self, task_id: str | int) -> Json:
        """The task as it stands now."""
        return self.get(f"/tasks/{quoted(str(task_id))}")

    def follow(self, task: Json, *, seconds: float, every: float = 0.15) -> Iterator[Json]:
        """The task each time it was looked at, until it has ended or the time is over; the last one given is the outcome.

        An ACS that is restarted meanwhile is waited for: the task is on its disk.
        """
        deadline = time.monotonic() + seconds
        heard = time.monotonic()
        while True:
            yield task
            if task["status"] in ENDED or time.monotonic() >= deadline:
                return
            time.sleep(min(every, max(0.0, deadline - time.monotonic())))
            every = min(every * 1.2, 1.0)
            try:
                task = self.task(task["id"])
            except CliError as e:
                if e.code != ExitCode.UNREACHABLE:
                    raise
                if time.monotonic() > min(deadline, heard + RESTART):
                    raise CliError(f"{e}; the task is kept there: homeport task wait {task['id']}", e.code) from None
            else:
                heard = time.monotonic()


def quoted(segment: str) -> str:
    """One path segment of a URL; a device id that itself holds %20 becomes %2520, because the server undoes one layer."""
    return urllib.parse.quote(segment, safe="")


def find_acs(acs: str | None, token: str | None, data_dir: Path | None = None) -> RestClient:
    """The client for the ACS that is named by option or environment, or that runs here and left its address in its data directory.

    Looked at in this order: --acs and --token, HOMEPORT_ACS and HOMEPORT_TOKEN (typer reads both), `DIR/acs.json` and
    `DIR/admin.token` of the local data directory. Raises CliError that says which of them to give.
    """
    directory = data_dir or default_data_dir()
    if acs and token:
        return RestClient(acs, token)
    record = directory / "acs.json"
    address = acs or _local_address(record)
    if not address:
        cure = "set HOMEPORT_DATA_DIR to its --data-dir, pass --acs URL --token TOKEN, or start one: homeport acs serve"
        message = f"no ACS named and none running here ({record} is missing); {cure}"
        raise CliError(message, ExitCode.UNREACHABLE)
    if not token:
        token = _local_token(directory / "admin.token")
    return RestClient(
        address, token, where_token=f"pass --token, set HOMEPORT_TOKEN, or check {directory / 'admin.token'}"
    )


def default_data_dir() -> Path:
    """The data directory of an ACS on this machine, as `homeport acs serve` would choose it."""
    from homeport.acs.config import AcsSettings
    from homeport.settings import describe

    for name in ("HOMEPORT_ACS_DATA_DIR", "HOMEPORT_DATA_DIR"):
        if os.environ.get(name):
            return Path(os.environ[name]).expanduser()
    default = next(row.default for row in describe(AcsSettings) if row.name == "data_dir")
    return Path(default).expanduser()


def _local_address(record: Path) -> str:
    try:
        return str(json.loads(record.read_text(encoding="utf-8"))["http_url"])
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise CliError(f"cannot read {record} ({e}); pass --acs URL --token TOKEN", ExitCode.UNREACHABLE) from e


def _local_token(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise CliError(f"no token: pass --token, set HOMEPORT_TOKEN, or have it in {file}", ExitCode.REFUSED) from None
    except OSError as e:
        raise CliError(
            f"cannot read the token in {file}: {e.strerror}; run as the user of the ACS or pass --token",
            ExitCode.REFUSED,
        ) from e
