"""The tour that `homeport demo` plays: what is done in each step, and how it is told from the wire and the store that it happened.

The wire is the ACS's record of each session's messages, the store is its REST API; nothing is believed because a call returned.
"""

import io
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from homeport.cli.client import RestClient, find_acs, quoted
from homeport.cli.demo_children import Household
from homeport.cli.exits import CliError, ExitCode
from homeport.cpe.discovery import decode_option43, encode_option43

PROFILE = "dkt-797xx"
SERIAL = "DKT0001"
PROVISIONING_CODE = "demo-line-7"
INTERVAL = "Device.ManagementServer.PeriodicInformInterval"
PORT_ENABLE = "Device.Bridging.Bridge.1.Port.2.Enable"
VERSION = "Device.DeviceInfo.SoftwareVersion"
COMMAND_KEY = "demo-reboot"
UPGRADE_KEY = "demo-upgrade"
NEW_VERSION = "2.0.0"
IMAGE = f"firmware-{NEW_VERSION}.bin"
STEP_PATIENCE = 20.0
"""Seconds that a step may take before the tour says that it failed."""


class StepFailed(CliError):
    """A check of a step did not hold; the message says what was expected and what was seen."""


@dataclass(slots=True)
class Shown:
    """What a step has to show. facts: (name, value) pairs; sessions: of the REST API, for ladders; checks: what held.

    between: what happened before each session but the first.
    """

    facts: list[tuple[str, str]] = field(default_factory=list)
    sessions: tuple[Mapping[str, Any], ...] = ()
    between: tuple[str, ...] = ()
    checks: list[str] = field(default_factory=list)

    def check(self, holds: object, what: str, seen: object = None) -> None:
        """Note that something held. Raises StepFailed where it does not."""
        if not holds:
            raise StepFailed(f"expected: {what}" + (f"; seen: {seen}" if seen is not None else ""))
        self.checks.append(what)


@dataclass(frozen=True, slots=True)
class Step:
    """One stop of the tour. title: what happens; waiting: what the person sees meanwhile; story: why it matters, one sentence."""

    title: str
    waiting: str
    story: str
    act: Callable[[], Shown]


class Tour:
    """The steps in order, over a household that gets its two processes on the way."""

    def __init__(self, household: Household) -> None:
        self.household = household
        self.acs_dir = household.directory / "acs"
        self.cpe_dir = household.directory / "cpe"
        self.cwmp_url = ""
        self.http_url = ""
        self.device = ""
        self.option = b""
        self._client: RestClient | None = None
        self._seen: set[str] = set()
        self._read: dict[str, str] = {}
        self._wanted: dict[str, str] = {}

    @property
    def client(self) -> RestClient:
        """The ACS's REST API."""
        assert self._client is not None, "the ACS has been started"
        return self._client

    def steps(self) -> tuple[Step, ...]:
        """The tour."""
        return (
            Step(
                "An ACS starts",
                "waiting for the ACS",
                "One process with SQLite inside: the operator's side. It takes free ports here.",
                self.start_acs,
            ),
            Step(
                "DHCP option 43 names the ACS",
                "encoding",
                "A device fresh out of its box knows no ACS. The DHCP server's answer carries the address.",
                self.make_option,
            ),
            Step(
                "A device starts and reports for the first time",
                "waiting for the first Inform",
                f"The agent runs the profile {PROFILE} and was given nothing but those bytes.",
                self.first_inform,
            ),
            Step(
                "A person approves it; the ACS reads the whole device",
                "waiting for the device to come again",
                "Unknown devices wait in quarantine, without secrets and tasks. Now its owner has it come: homeport cpe inform.",
                self.approve_and_read,
            ),
            Step(
                "The ACS sets two parameters",
                "looking at both ends",
                "They were queued with the reading and went out in the same session; all or none are applied.",
                self.settings_arrived,
            ),
            Step(
                "The ACS asks for a session: connection request",
                "waiting for 6 CONNECTION REQUEST",
                "Only a CPE opens sessions. The ACS knocks at the device's own HTTP port, and the device comes.",
                self.connection_request,
            ),
            Step(
                "The ACS reboots the device",
                "waiting for the device to come back",
                "The device answers, ends the session, restarts, and says why it was away.",
                self.reboot,
            ),
            Step(
                "The ACS upgrades the firmware",
                "waiting for the new version",
                "The ACS serves the file itself. The device fetches it while it works on, reports, and only then restarts into it.",
                self.upgrade,
            ),
        )

    # The steps

    def start_acs(self) -> Shown:
        """Start the ACS on free loopback ports and wait until it is well."""
        listen = ["--cwmp-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--file-listen", "127.0.0.1:0"]
        self.household.start("ACS", ["acs", "serve", "--data-dir", str(self.acs_dir), *listen])
        record = self.acs_dir / "acs.json"
        self._until(record.exists, "the ACS writes its addresses to acs.json")
        self._client = find_acs(None, None, self.acs_dir)
        health = self.client.get("/health")
        import msgspec

        addresses = msgspec.json.decode(record.read_bytes())
        self.cwmp_url, self.http_url = addresses["cwmp_url"], addresses["http_url"]
        shown = Shown(
            [
                ("for devices (CWMP)", self.cwmp_url),
                ("for people (REST)", f"{self.http_url}/api/v1"),
                ("data", str(self.acs_dir)),
            ]
        )
        shown.check(health.get("status") == "ok", "GET health says ok", health)
        shown.check(
            (self.acs_dir / "admin.token").stat().st_mode & 0o077 == 0, "admin.token can be read by its owner only"
        )
        shown.check(not list(self.client.items("/devices")), "the ACS knows no device yet")
        return shown

    def make_option(self) -> Shown:
        """Encode the bytes that a DHCP server would send, and decode them as the agent will."""
        self.option = encode_option43(
            url=self.cwmp_url, provisioning_code=PROVISIONING_CODE, retry_minimum_wait=5, retry_multiplier=2000
        )
        found = decode_option43(self.option)
        shown = Shown(
            [
                ("bytes", self.option.hex(" ")),
                ("1 ACS URL", str(found.url)),
                ("2 provisioning code", str(found.provisioning_code)),
            ]
        )
        shown.facts.append(
            (
                "3, 4 retry policy",
                f"from {found.retry_minimum_wait} s, times {(found.retry_multiplier or 0) / 1000:g} per retry",
            )
        )
        shown.check(found.url == self.cwmp_url, f"the bytes decode to {self.cwmp_url}", found.url)
        return shown

    def first_inform(self) -> Shown:
        """Start the agent with the option's bytes; its first session is 0 BOOTSTRAP, 1 BOOT, and leaves it in quarantine."""
        where = [
            "--connection-request-listen",
            "127.0.0.1",
            "--connection-request-port",
            "0",
            "--state-dir",
            str(self.cpe_dir),
        ]
        agent = self.household.start(
            "agent", ["cpe", "run", "--profile", PROFILE, "--serial", SERIAL, "--option43", self.option.hex(), *where]
        )
        self._until(lambda: list(self.client.items("/devices")), "the device appears in GET devices")
        device = next(self.client.items("/devices"))
        self.device = device["id"]
        session = self._session("0 BOOTSTRAP")
        shown = Shown([("process", f"homeport cpe run (pid {agent.process.pid})"), ("device", self.device)], (session,))
        self._check_events(shown, session, ["0 BOOTSTRAP", "1 BOOT"])
        self._check_elements(shown, session, ["Inform", "InformResponse", "", ""])
        inform = _body(session, "Inform")
        shown.check(
            f">{PROVISIONING_CODE}<" in inform,
            f"the Inform carries the provisioning code of the option: {PROVISIONING_CODE}",
        )
        device = self.client.get(f"/devices/{quoted(self.device)}")
        shown.check(device["state"] == "quarantined", "the store has the device in quarantine", device["state"])
        shown.check(
            device["provisioning_code"] == PROVISIONING_CODE,
            "the store has its provisioning code",
            device["provisioning_code"],
        )
        return shown

    def approve_and_read(self) -> Shown:
        """Approve the device, queue a reading and a setting, and have the device come: as its owner would, at its command line."""
        self.client.call("POST", f"/devices/{quoted(self.device)}/approve")
        read = self.client.start_task(
            self.device, "GetParameterValues", {"parameter_names": ["Device."]}, connection_request=False
        )
        self._wanted = {INTERVAL: "1234", PORT_ENABLE: "false"}
        pairs = [{"name": name, "value": value} for name, value in self._wanted.items()]
        self._set_task = self.client.start_task(
            self.device,
            "SetParameterValues",
            {"parameter_list": pairs, "parameter_key": "demo"},
            connection_request=False,
        )
        self._agent("inform")
        task = self._task_done(read)
        self._task_done(self._set_task)
        session = self._session("", containing="SetParameterValues")
        self._set_session = session
        values = {item["name"]: item["value"] for item in task["result"]["parameter_list"]}
        self._read = values
        shown = Shown([], (session,))
        shown.check(len(values) > 100, "the device has more than 100 parameters", len(values))
        for name in ("Manufacturer", "ModelName", "SoftwareVersion", "SerialNumber"):
            shown.facts.append((name, values.get(f"Device.DeviceInfo.{name}", "")))
        shown.facts.append(("Optical signal", _optical(values)))
        shown.facts.append(("parameters read", str(len(values))))
        shown.check(
            values.get("Device.DeviceInfo.SerialNumber") == SERIAL,
            f"it names itself {SERIAL}",
            values.get("Device.DeviceInfo.SerialNumber"),
        )
        shown.check(
            "GetParameterValuesResponse" in _elements(session),
            "the wire shows GetParameterValues and its answer",
            _elements(session),
        )
        stored = {
            i["path"]: i["value"]
            for i in self.client.items(f"/devices/{quoted(self.device)}/parameters", {"path": "Device.DeviceInfo."})
        }
        info = {k: v for k, v in values.items() if k.startswith("Device.DeviceInfo.") and not k.endswith("UpTime")}
        shown.check(
            all(stored.get(k) == v for k, v in info.items()), "the store holds the values that the device sent", stored
        )
        device = self.client.get(f"/devices/{quoted(self.device)}")
        shown.check(device["state"] == "approved", "the store has the device approved", device["state"])
        return shown

    def settings_arrived(self) -> Shown:
        """The two settings are on the wire, in the store and on the device itself."""
        changes = [(_short(name), f"{self._read.get(name)} → {value}") for name, value in self._wanted.items()]
        shown = Shown(changes, (_only(self._set_session, "SetParameterValues", f">{INTERVAL}<"),))
        exchange = shown.sessions[0]
        request = _body(exchange, "SetParameterValues")
        shown.check(all(f">{name}<" in request for name in self._wanted), "one SetParameterValues names both", request)
        answer = ["SetParameterValues", "SetParameterValuesResponse"]
        shown.check(_elements(exchange) == answer, "the device answered it", _elements(exchange))
        for name, value in self._wanted.items():
            shown.check(self._read.get(name) != value, f"{_short(name)} was another before", self._read.get(name))
            stored = self._stored(name)
            shown.check(_same(stored, value), f"the store has {_short(name)} = {value}", stored)
            held = self._agent_value(name)
            shown.check(_same(held, value), f"the device itself has {_short(name)} = {value}", held)
        return shown

    def connection_request(self) -> Shown:
        """Read both back with a connection request: the session begins with 6 CONNECTION REQUEST."""
        names = list(self._wanted)
        started = time.monotonic()
        task = self.client.start_task(
            self.device, "GetParameterValues", {"parameter_names": names}, connection_request=True
        )
        task = self._task_done(task)
        took = time.monotonic() - started
        session = self._session("6 CONNECTION REQUEST")
        values = {item["name"]: item["value"] for item in task["result"]["parameter_list"]}
        shown = Shown([(_short(name), value) for name, value in values.items()], (session,))
        shown.facts.append(("from the click to the values", f"{took * 1000:.0f} ms"))
        self._check_events(shown, session, ["6 CONNECTION REQUEST"])
        shown.check(
            all(_same(values.get(n), v) for n, v in self._wanted.items()),
            "the device gives back the values that were set",
            values,
        )
        return shown

    def reboot(self) -> Shown:
        """Reboot by a connection request; the device comes back with 1 BOOT and M Reboot, and the settings have survived."""
        task = self.client.start_task(self.device, "Reboot", {"command_key": COMMAND_KEY}, connection_request=True)
        self._task_done(task)
        asked = self._session("6 CONNECTION REQUEST")
        session = self._session("1 BOOT")
        shown = Shown([], (asked, session), between=("the agent executes itself anew, as a box that restarts",))
        shown.check("RebootResponse" in _elements(asked), "the device answered Reboot", _elements(asked))
        self._check_events(shown, session, ["1 BOOT", "M Reboot"])
        shown.check(f">{COMMAND_KEY}<" in _body(session, "Inform"), f"M Reboot carries the command key {COMMAND_KEY}")
        for name, value in self._wanted.items():
            held = self._agent_value(name)
            shown.check(_same(held, value), f"{_short(name)} = {value} has survived", held)
        shown.facts += [(_short(name), f"{value} (kept over the reboot)") for name, value in self._wanted.items()]
        return shown

    def upgrade(self) -> Shown:
        """Store an image at the ACS and have the device fetch it: report first, restart after the response, as DKT's devices do."""
        from homeport.cli.file import FormBody
        from homeport.cpe.firmware.image import build_image

        before = self._agent_value(VERSION)
        # The payload of a real image is the device maker's; this one is as large as a small one.
        image = build_image(bytes(1_000_000), version=NEW_VERSION, models=[PROFILE.partition("-")[2]])
        fields = {"file_type": "1 Firmware Upgrade Image", "version": NEW_VERSION}
        form = FormBody(io.BytesIO(image), len(image), IMAGE, fields)
        stored = self.client.call("POST", "/files", content=form, content_type=form.content_type)
        args = {"command_key": UPGRADE_KEY, "file_type": "1 Firmware Upgrade Image", "file": IMAGE}
        task = self._task_done(self.client.start_task(self.device, "Download", args, connection_request=True))
        asked = self._session("6 CONNECTION REQUEST", containing="DownloadResponse")
        told = self._session("7 TRANSFER COMPLETE")
        booted = self._session("1 BOOT")
        shown = Shown(
            [
                ("version before", before),
                ("file", f"{IMAGE}, {stored['size'] / 1e6:.1f} MB, checked and in the other slot"),
            ],
            (_only(asked, "Download", UPGRADE_KEY), told, booted),
            between=(
                "the device fetches the file over HTTP and writes it",
                "the ACS has confirmed the report: the device starts the new image",
            ),
        )
        shown.check(stored["size"] == len(image), "the ACS has stored the whole image", stored)
        shown.check("DownloadResponse" in _elements(asked), "the device accepted the Download", _elements(asked))
        self._check_events(shown, told, ["7 TRANSFER COMPLETE", "M Download"])
        shown.check(f">{before}<" in _body(told, "Inform"), f"it reports from the old version {before}")
        report = _body(told, "TransferComplete")
        shown.check(f">{UPGRADE_KEY}<" in report and "<FaultCode>0<" in report, "TransferComplete says success", report)
        shown.check(task["result"]["command_key"] == UPGRADE_KEY, "the task has its result", task["result"])
        self._check_events(shown, booted, ["1 BOOT", "4 VALUE CHANGE"])
        shown.check(f">{NEW_VERSION}<" in _body(booted, "Inform"), f"the Inform after the restart says {NEW_VERSION}")
        shown.check(before != NEW_VERSION, f"it was {before} before", before)
        stored_version, held = self._stored(VERSION), self._agent_value(VERSION)
        shown.check(stored_version == NEW_VERSION, f"the store has {NEW_VERSION}", stored_version)
        shown.check(held == NEW_VERSION, f"the device itself says {NEW_VERSION}", held)
        shown.facts.append(("version after", held))
        return shown

    # Looking

    def new_sessions(self) -> Iterator[Mapping[str, Any]]:
        """Sessions that were not shown yet, oldest first."""
        listed = list(self.client.items(f"/devices/{quoted(self.device)}/sessions", limit=20))
        for row in sorted(listed, key=lambda s: str(s["started"])):
            if row["id"] not in self._seen:
                self._seen.add(row["id"])
                yield self.client.get(f"/sessions/{quoted(str(row['id']))}")

    def _session(self, first_event: str, *, containing: str = "") -> Mapping[str, Any]:
        """The next session with this event first (or any, for ""), which holds a message of this element; older ones are passed by."""
        found: list[Mapping[str, Any]] = []

        def look() -> bool:
            for session in self.new_sessions():
                events = session.get("events") or [""]
                if (not first_event or first_event == events[0]) and (
                    not containing or containing in _elements(session)
                ):
                    found.append(session)
                    return True
            return False

        self._until(look, f"a session with {first_event or containing}")
        return found[0]

    def _until(self, holds: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + STEP_PATIENCE
        while not holds():
            self.household.require_alive()
            if time.monotonic() > deadline:
                logs = "\n".join(
                    f"the last lines of the {child.name}:\n{child.last_lines()}" for child in self.household.children
                )
                raise StepFailed(f"expected within {STEP_PATIENCE:.0f} s: {what}\n{logs}", ExitCode.FAILED)
            time.sleep(0.05)

    def _task_done(self, task: dict[str, Any]) -> dict[str, Any]:
        latest = task

        def ended() -> bool:
            nonlocal latest
            latest = self.client.task(task["id"])
            return latest["status"] not in ("queued", "running")

        self._until(ended, f"the task {task['rpc']} ends")
        if latest["status"] != "done":
            raise StepFailed(
                f"expected: the task {task['rpc']} is done; seen: {latest['status']} {latest.get('fault') or ''}"
            )
        return latest

    def _agent(self, verb: str, **args: Any) -> Any:
        from homeport.cpe.control import ControlClient

        return ControlClient(self.cpe_dir).call(verb, **args)

    @property
    def page_url(self) -> str:
        """Where the device's own page is."""
        from homeport.errors import TransportError

        try:
            return str(self._agent("status").get("web_url") or "not served")
        except TransportError:
            return "where its log says: it is restarting"

    def _agent_value(self, name: str) -> str:
        return str(self._agent("get", paths=[name])[name])

    def _stored(self, name: str) -> str:
        items = list(self.client.items(f"/devices/{quoted(self.device)}/parameters", {"path": name}))
        return str(items[0]["value"]) if items else ""

    def _check_events(self, shown: Shown, session: Mapping[str, Any], events: list[str]) -> None:
        inform = _body(session, "Inform")
        shown.check(
            all(f">{event}<" in inform for event in events),
            f"the Inform carries {', '.join(events)}",
            session.get("events"),
        )
        shown.check(
            list(session["events"]) == events, f"the store has the session under {', '.join(events)}", session["events"]
        )
        shown.check(
            session["outcome"] == "success", "the session ended well", f"{session['outcome']} {session.get('reason')}"
        )

    @staticmethod
    def _check_elements(shown: Shown, session: Mapping[str, Any], wanted: list[str]) -> None:
        said = ", ".join(element or "empty" for element in wanted)
        shown.check(_elements(session) == wanted, f"the messages are {said}", _elements(session))


def _elements(session: Mapping[str, Any]) -> list[str]:
    return [message.get("element") or "" for message in session.get("messages") or ()]


def _body(session: Mapping[str, Any], element: str) -> str:
    return next((str(m.get("body") or "") for m in session.get("messages") or () if m.get("element") == element), "")


def _only(session: Mapping[str, Any], element: str, text: str) -> Mapping[str, Any]:
    """The session with nothing but the one message of this element and text, and the answer to it."""
    messages = session.get("messages") or []
    at = next(
        (i for i, m in enumerate(messages) if m.get("element") == element and text in str(m.get("body"))), len(messages)
    )
    return {**session, "messages": messages[at : at + 2], "began": messages[0]["at"] if messages else None}


def _short(name: str) -> str:
    return name.removeprefix("Device.")


def _same(a: object, b: str) -> bool:
    """Whether two texts of a value mean the same; a boolean has two spellings each."""
    booleans = {"1": "true", "0": "false"}
    return booleans.get(str(a), str(a)) == booleans.get(b, b)


def _optical(values: Mapping[str, str]) -> str:
    """The received optical power in dBm: OpticalSignalLevel counts in thousandths (TR-181 Device.Optical.Interface.{i}.)."""
    level = values.get("Device.Optical.Interface.1.OpticalSignalLevel", "")
    try:
        return f"{int(level) / 1000:.1f} dBm"
    except ValueError:
        return level


def data_paths(directory: Path) -> dict[str, str]:
    """What to put into the environment so that the commands in another terminal find the demo's ACS and agent."""
    return {"HOMEPORT_DATA_DIR": str(directory / "acs"), "HOMEPORT_STATE_DIR": str(directory / "cpe")}
