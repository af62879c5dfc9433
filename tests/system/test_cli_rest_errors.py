"""What the command line says when the ACS behaves as no ACS should: a server that answers by script stands in for it."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from homeport.cli import task_fleet
from homeport.cli.client import RestClient
from homeport.cli.common import outcome, wait_for
from homeport.cli.exits import CliError, ExitCode
from homeport.cli.main import run

pytestmark = pytest.mark.system


def http(status: str, body: object, *, kind: str = "application/json", more: str = "") -> bytes:
    """One HTTP answer; body is JSON unless it is bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n{more}\r\n".encode() + data


class Scripted:
    """A server on loopback that gives the next answer of its script to each request; None drops the connection without a word."""

    def __init__(self, script: list[bytes | None]) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while self.script:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        while self.script:
            data = b""
            while b"\r\n\r\n" not in data:
                got = connection.recv(65536)
                if not got:
                    return
                data += got
                if data.startswith(b"\x16\x03"):  # a TLS handshake; a plain HTTP server answers in plain text
                    connection.sendall(http("400 Bad Request", b""))
                    return
            self.requests.append(data)
            answer = self.script.pop(0)
            if answer is None:
                return
            connection.sendall(answer)
            if b"Connection: close" in answer:
                return

    def close(self) -> None:
        self.script.clear()
        self.listener.close()


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    servers: list[Scripted] = []

    def make(*script: bytes | None) -> Scripted:
        servers.append(Scripted(list(script)))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def refused(client: RestClient, code: ExitCode) -> str:
    with pytest.raises(CliError) as caught:
        client.get("/health")
    assert caught.value.code == code
    return str(caught.value)


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (
            http("500 Internal Server Error", {"error": {"code": "x", "message": "The disk is full."}}),
            ExitCode.FAILED,
            "The disk is full",
        ),
        (http("503 Service Unavailable", b"busy", kind="text/plain"), ExitCode.FAILED, "answered 503"),
        (http("200 OK", b"<html>hello", kind="text/html"), ExitCode.UNREACHABLE, "not JSON"),
        (http("404 Not Found", b"nothing", kind="text/plain"), ExitCode.UNREACHABLE, "no REST API there"),
        (http("405 Method Not Allowed", b"", kind="text/plain"), ExitCode.UNREACHABLE, "CWMP on 7547"),
        (http("401 Unauthorized", {"error": {"code": "x", "message": "m"}}), ExitCode.REFUSED, "--token"),
        (
            http("403 Forbidden", {"error": {"code": "x", "message": "in quarantine"}}),
            ExitCode.REFUSED,
            "in quarantine",
        ),
        (
            http("422 Unprocessable", {"error": {"code": "x", "message": "bad", "details": "why"}}),
            ExitCode.USAGE,
            "bad (why)",
        ),
        (
            http(
                "409 Conflict",
                {"error": {"code": "x", "message": "it waits; approve it first with POST devices/D-1/approve"}},
            ),
            ExitCode.REFUSED,
            "it waits; approve it first: homeport device approve D-1",
        ),
        (
            http(
                "404 Not Found", {"error": {"code": "x", "message": "there is no file 'x'; list them with GET files"}}
            ),
            ExitCode.FAILED,
            "there is no file 'x'; see homeport file list",
        ),
        (
            http(
                "422 Unprocessable", {"error": {"code": "x", "message": "body.role: Input should be 'read' or 'admin'"}}
            ),
            ExitCode.USAGE,
            "role: should be 'read' or 'admin'",
        ),
        (
            http(
                "422 Unprocessable",
                {"error": {"code": "x", "message": "body.behaviour.foo: Extra inputs are not permitted"}},
            ),
            ExitCode.USAGE,
            "there is no foo here",
        ),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", ExitCode.UNREACHABLE, "not HTTP"),
        (None, ExitCode.UNREACHABLE, "cannot reach"),
    ],
    ids=lambda value: value.decode("latin-1").split("\r")[0] if isinstance(value, bytes) else "",
)
def test_answers_become_one_line_and_an_exit_code(
    scripted: Callable[..., Scripted], answer: bytes | None, code: ExitCode, said: str
) -> None:
    """Whatever answers at the address, the error is one line that says what to look at."""
    message = refused(RestClient(scripted(answer).url, "t"), code)
    assert said in message
    assert "\n" not in message


def test_nothing_listens() -> None:
    """A refused connection names the command that starts an ACS."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "homeport acs serve" in refused(RestClient(f"http://127.0.0.1:{port}", "t"), ExitCode.UNREACHABLE)


def test_silence_ends_after_the_time_limit() -> None:
    """A server that accepts and says nothing does not hold the person for ever."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = RestClient(f"http://127.0.0.1:{silent.getsockname()[1]}", "t", timeout=0.1)
        assert "did not answer within" in refused(client, ExitCode.UNREACHABLE)


def test_https_to_a_plain_port_says_so(scripted: Callable[..., Scripted]) -> None:
    """TLS against a server that speaks plain HTTP is named as that."""
    url = scripted(http("200 OK", {})).url.replace("http:", "https:")
    assert "http://" in refused(RestClient(url, "t"), ExitCode.UNREACHABLE)


def test_a_kept_connection_that_was_closed_is_opened_again(scripted: Callable[..., Scripted]) -> None:
    """The server may close an idle connection; the next call does not fail for it."""
    server = scripted(http("200 OK", {"n": 1}), None, http("200 OK", {"n": 2}))
    client = RestClient(server.url, "t")
    assert client.get("/health") == {"n": 1}
    assert client.get("/health") == {"n": 2}


def test_the_token_goes_into_the_header_and_never_into_the_address(scripted: Callable[..., Scripted]) -> None:
    """A URL ends up in logs; a header does not."""
    server = scripted(http("200 OK", {}))
    RestClient(server.url, "secret-token").get("/devices", {"where": 'model == "a b"'})
    head = server.requests[0].decode()
    assert "Authorization: Bearer secret-token" in head
    assert "secret-token" not in head.splitlines()[0]
    assert head.startswith("GET /api/v1/devices?where=model+%3D%3D+%22a+b%22 HTTP/1.1")


def test_a_device_id_with_an_escape_in_it_survives_the_url(scripted: Callable[..., Scripted]) -> None:
    """An id that holds %20 is sent as %2520: the server undoes one layer."""
    server = scripted(http("200 OK", {"items": [], "next": None}))
    run(["task", "list", "A%20B", "--acs", server.url, "--token", "t"])
    assert server.requests[0].startswith(b"GET /api/v1/devices/A%2520B ")


def test_pages_are_followed_to_the_limit(scripted: Callable[..., Scripted]) -> None:
    """A listing longer than a page is read with its cursor, and no further than asked."""
    server = scripted(
        http("200 OK", {"items": [1, 2], "next": "c"}),
        http("200 OK", {"items": [3, 4], "next": "d"}),
        http("200 OK", {"items": [5]}),
    )
    assert list(RestClient(server.url, "t").items("/devices", limit=3)) == [1, 2, 3]
    assert b"cursor=c" in server.requests[1]
    assert len(server.requests) == 2


def task(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "t1", "device": "D", "rpc": "Reboot", "status": status, "fault": None, "result": None, **more}


@pytest.mark.parametrize(
    ("ended", "code", "said"),
    [
        (task("unknown"), ExitCode.FAILED, "whether it was done"),
        (task("expired"), ExitCode.FAILED, "did not come"),
        (task("cancelled"), ExitCode.FAILED, "cancelled"),
        (task("queued"), ExitCode.TIMEOUT, "homeport task wait t1"),
        (
            task("failed", fault={"code": 9002, "string": "oops", "parameters": []}),
            ExitCode.FAULT,
            "answered Reboot with 9002 Internal error",
        ),
        (
            task("failed", fault={"code": 0, "string": "the device has not come back", "parameters": []}),
            ExitCode.FAILED,
            "Reboot of D has failed: the device has not come back; see homeport task show t1",
        ),
    ],
    ids=lambda value: value["status"] if isinstance(value, dict) else "",
)
def test_how_a_task_ended_is_the_exit_code(
    ended: dict[str, Any], code: ExitCode, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each end of a task has its code and its sentence."""
    assert outcome(ended, json=False, wait=1) == code
    assert said in capsys.readouterr().err


def test_a_wait_ends_when_the_task_does(scripted: Callable[..., Scripted]) -> None:
    """Waiting asks again until the task has ended."""
    server = scripted(http("200 OK", task("running")), http("200 OK", task("done")))
    assert wait_for(RestClient(server.url, "t"), task("queued"), wait=10)["status"] == "done"


def test_a_wait_outlives_a_restart_of_the_acs(
    scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task is on its disk: who waits for it asks again, for a while; then the error says how to go on."""
    before = scripted(None, None)
    client = RestClient(before.url, "t")
    seen = client.follow({"id": "7", "status": "queued"}, seconds=10, every=0.01)
    next(seen)
    assert next(seen)["status"] == "queued", "nobody answers"
    client.base = scripted(http("200 OK", {"id": "7", "status": "done"})).url
    after = RestClient(client.base, "t")
    monkeypatch.setattr(client, "task", after.task)
    assert [task["status"] for task in seen] == ["done"]
    monkeypatch.setattr("homeport.cli.client.RESTART", 0.0)
    with pytest.raises(CliError, match="homeport task wait 7") as caught:
        list(RestClient("http://127.0.0.1:1", "t").follow({"id": "7", "status": "queued"}, seconds=10, every=0.01))
    assert caught.value.code == ExitCode.UNREACHABLE


def test_a_job_of_many_devices_outlives_a_restart_of_the_acs(
    scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ACS that is stopped answers at once, and then nobody does for a while; when that is too long the error says how to go on."""
    made = [{"device": "d", "task": "t1"}]
    server = scripted(http("200 OK", task("running")), None, None, http("200 OK", task("done")))
    [ended] = task_fleet._follow(RestClient(server.url, "t"), made, 10.0, "job-1", "take it back")
    assert ended["status"] == "done"
    monkeypatch.setattr("homeport.cli.task_fleet.RESTART", 0.0)
    with pytest.raises(CliError, match="--key job-1 goes on") as caught:
        task_fleet._follow(RestClient("http://127.0.0.1:1", "t"), made, 10.0, "job-1", "take it back")
    assert caught.value.code == ExitCode.UNREACHABLE


def stream(*events: dict[str, Any]) -> bytes:
    """An answer that tells these events and ends."""
    body = b": listening\n\n" + b"".join(f"id: x\ndata: {json.dumps(event)}\n\n".encode() for event in events)
    return http("200 OK", body, kind="text/event-stream", more="Connection: close\r\n")


def test_who_watches_hears_of_a_restart_and_goes_on_where_it_broke(
    scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream is opened again with the last number heard; that nobody answers meanwhile is told once."""
    monkeypatch.setattr("homeport.cli.client.time.sleep", lambda seconds: None)
    acs = scripted(stream({"kind": "inform", "id": "a-1"}), None, None, stream({"kind": "task", "id": "a-2"}))
    told = RestClient(acs.url, "t").events()
    assert [next(told)["kind"] for _ in range(3)] == ["inform", "away", "task"]
    assert b"Last-Event-ID: a-1" in acs.requests[-1]
    assert b"Last-Event-ID" not in acs.requests[0]


def test_who_watches_is_told_at_once_that_there_is_no_acs_or_no_way_in(scripted: Callable[..., Scripted]) -> None:
    """Before the first word nothing is waited for; a token that ends later is an error, too."""
    with pytest.raises(CliError) as caught:
        next(RestClient("http://127.0.0.1:1", "t").events())
    assert caught.value.code == ExitCode.UNREACHABLE
    acs = scripted(http("401 Unauthorized", {"error": {"code": "x", "message": "m"}}))
    with pytest.raises(CliError) as caught:
        next(RestClient(acs.url, "t").events())
    assert caught.value.code == ExitCode.REFUSED


def test_faults_are_told_per_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    """A refused SetParameterValues names each parameter with code, meaning, the device's words and what to try."""
    parameters = [{"name": "Device.A", "code": 9008, "string": "ro"}, {"name": "Device.B", "code": 9899, "string": ""}]
    failed = task("failed", fault={"code": 9003, "string": "Invalid arguments", "parameters": parameters})
    outcome(failed, json=False, wait=1)
    said = capsys.readouterr().err
    assert "Device.A: 9008 Parameter is not writable" in said
    assert '"ro"' in said
    assert "read-only" in said
    assert "Device.B: 9899 Vendor-specific fault" in said
