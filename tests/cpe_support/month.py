"""A scripted month of sessions on the virtual clock, with the power cut at hundreds of random points, and the books of it."""

import random
from typing import Any

from homeport.codec.messages import (
    ArgStruct,
    AutonomousDUStateChangeComplete,
    AutonomousTransferComplete,
    AutonOpResultStruct,
    DUStateChangeComplete,
    Inform,
    Kicked,
    OpResultStruct,
    ParameterValueStruct,
    Reboot,
    Request,
    RequestDownload,
    ScheduleInform,
    SetParameterAttributes,
    SetParameterAttributesStruct,
    SetParameterValues,
    SetParameterValuesResponse,
    TransferComplete,
)
from homeport.cpe.event_queue import RULES
from homeport.terms import EventCode, RpcName, Writer

SSID = "Device.WiFi.SSID"
CHANNEL = "Device.WiFi.Channel"
CUTS = 150
DAY = 86_400.0
VENDOR_M, VENDOR = "M X_00256D_Done", "X 00256D Alarm"
POLICIES = {
    "PeriodicInformEnable": ("1", "boolean"),
    "PeriodicInformInterval": ("21600", "unsignedInt"),
    "HeartbeatPolicy.Enable": ("1", "boolean"),
    "HeartbeatPolicy.ReportingInterval": ("28800", "unsignedInt"),
    "StandbyPolicy.CRUnawarenessMaxDuration": ("3600", "int"),
}


def owed_requests(key: str) -> list[tuple[Request, EventCode]]:
    """One of each request that a device owes its ACS, told apart by the key, with its event."""
    done = (key, "DeploymentUnit.1.", "1", "Installed", True, "", "2027-01-01T00:00:00Z", "2027-01-01T00:00:01Z")
    return [
        (TransferComplete(key), EventCode.M_DOWNLOAD),
        (TransferComplete(key), EventCode.M_SCHEDULE_DOWNLOAD),
        (TransferComplete(key), EventCode.M_UPLOAD),
        (DUStateChangeComplete((OpResultStruct(*done),), key), EventCode.M_CHANGE_DU_STATE),
        (Kicked(key, "referer", "", "http://next.example/"), EventCode.KICKED),
        (RequestDownload("1 Firmware Upgrade Image", (ArgStruct("key", key),)), EventCode.REQUEST_DOWNLOAD),
        (
            AutonomousTransferComplete("", f"http://f.example/{key}", False, "1 Firmware Upgrade Image", 1, key),
            EventCode.AUTONOMOUS_TRANSFER_COMPLETE,
        ),
        (
            AutonomousDUStateChangeComplete((AutonOpResultStruct(*done, operation_performed="Install"),)),
            EventCode.AUTONOMOUS_DU_STATE_CHANGE_COMPLETE,
        ),
    ]


class Month:
    """Plays the month and keeps the books: what was promised, and what the agent knows the ACS to have heard."""

    def __init__(self, bench: Any, seed: int, cuts: int = CUTS) -> None:
        """bench: a Bench, or what looks like one and runs its agent in a process of its own. cuts: how often the power goes."""
        self.bench = bench
        self.all_cuts = cuts
        self.dice = random.Random(seed)
        self.heard: list[Inform] = []
        self.promised: set[tuple[str, str]] = set()
        self.owed: list[tuple[Request, EventCode]] = []
        """Requests that the device owed to the ACS, in order."""
        self.confirmed: list[tuple[Request, int]] = []
        """Requests whose answer the agent has heard, and how many Informs it had heard answered then."""
        self.delivered: list[Request] = []
        """Requests that the ACS answered, whether or not the answer arrived."""
        self.asked: set[tuple[str, str]] = set()
        """Events of the commands that the ACS gave out, whether or not they arrived."""
        self._unconfirmed: Request | None = None
        self.caused = dict.fromkeys((EventCode.DIAGNOSTICS_COMPLETE, EventCode.WAKEUP, VENDOR), 0)
        self.cuts = 0
        self._cut_in = 0
        self._number = 0
        bench.on_post = self._watch

    def _watch(self, body: bytes) -> None:
        bench = self.bench
        informs = bench.informs
        if informs and b":Inform>" not in body and (not self.heard or self.heard[-1] is not informs[-1]):
            self.heard.append(informs[-1])  # another POST of the session: the agent has the InformResponse
        if self._unconfirmed is not None and b":Inform>" not in body:
            self.confirmed.append((self._unconfirmed, len(self.heard)))  # and that of its own request
        self._unconfirmed = next((r for r, _ in self.owed if self._carries(body, r)), None)
        for kind, response in (("M Reboot", b"RebootResponse>"), ("M ScheduleInform", b"ScheduleInformResponse>")):
            if response in body:
                # A promise from the moment at which the request was handled, whether or not the response got through.
                self.promised.add((kind, self._asked[kind].pop(0)))
        self._cut_in -= 1
        if self._cut_in == 0:
            bench.silent = self.dice.choice(bench.ways_to_cut)
        if self._unconfirmed is not None and bench.silent != "before":
            self.delivered.append(self._unconfirmed)

    @staticmethod
    def _carries(body: bytes, request: Request) -> bool:
        """Whether a POST is this request: by its name and its key, which ends with a full stop."""
        key = getattr(request, "command_key", "") or getattr(request, "command", "")
        key = key or getattr(request, "target_file_name", "") or _key_of(request)
        return f":{request.element}>".encode() in body and f">{key}<".encode() in body

    async def play(self) -> None:
        bench, dice = self.bench, self.dice
        self._asked: dict[str, list[str]] = {"M Reboot": [], "M ScheduleInform": []}
        await bench.start()
        notify = SetParameterAttributes((SetParameterAttributesStruct(SSID, True, 1),))
        policies = tuple(
            ParameterValueStruct(f"Device.ManagementServer.{name}", value, kind)
            for name, (value, kind) in POLICIES.items()
        )
        await bench.ask(notify, SetParameterValues(policies, ""))
        for n in range(len(owed_requests("m."))):  # each kind once, however short the month is
            self._owe(*owed_requests(f"m{n}.")[n])
        while self.cuts < self.all_cuts:
            self._cut_in = dice.randrange(1, 8)
            self._number += 1
            deed = dice.randrange(9)
            bench.acs.requests.clear()
            for key_list in self._asked.values():
                key_list.clear()
            if deed == 0:
                self._ask("M Reboot", Reboot(f"r{self._number}"), f"r{self._number}")
            elif deed == 1:
                self._ask(
                    "M ScheduleInform", ScheduleInform(dice.randrange(1, 7200), f"s{self._number}"), f"s{self._number}"
                )
            elif deed == 2:
                bench.acs.requests.append(
                    SetParameterValues(
                        (ParameterValueStruct(CHANNEL, str(dice.randrange(1, 14)), "unsignedInt"),), f"k{self._number}"
                    )
                )
            elif deed == 3:
                bench.agent.model.set_local(SSID, f"net{self._number}", Writer.LOCAL)
            elif deed in (4, 5):
                # Several at once: the answer to the first must not take the event of the second.
                for request, event in dice.sample(owed_requests(f"o{self._number}."), 3):
                    if all(request != r for r, _ in self.owed):
                        self._owe(request, event)
                if deed == 5:
                    self._owe(*dice.choice(owed_requests(f"p{self._number}.")))
            elif deed == 6:
                for code in (EventCode.DIAGNOSTICS_COMPLETE, VENDOR):
                    self.caused[code] += 1
                    bench.agent.trigger(code)
                self.promised.add((VENDOR_M, f"v{self._number}"))
                bench.agent.trigger(VENDOR_M, f"v{self._number}")
            elif deed == 7:
                self.caused[EventCode.WAKEUP] += 1
                bench.clock.standby(7200.0)
            if deed != 8:  # else the next contact is the periodic one or a heartbeat
                bench.agent.connection_requested()
            await self._pass(dice.uniform(1.0, 2 * DAY * 30 / self.all_cuts))
        bench.acs.requests.clear()
        self._cut_in = -1
        await self._pass(3 * DAY)

    def _owe(self, request: Request, event: EventCode) -> None:
        key = getattr(request, "command_key", "")
        self.owed.append((request, event))
        self.bench.agent.ledger.owe_request(request, event, key)
        self.bench.agent.contact()

    def _ask(self, kind: str, request: Reboot | ScheduleInform, key: str) -> None:
        self._asked[kind].append(key)
        self.asked.add((kind, key))
        self.bench.acs.requests.append(request)

    async def _pass(self, seconds: float) -> None:
        """Let time pass; whenever the power goes, or a restart is due, start again."""
        bench = self.bench
        end = bench.clock.monotonic() + seconds
        while True:
            await bench.clock.settle()
            if bench.silent:
                self.cuts += 1
                await bench.power_cut()
                bench.silent = ""
                await bench.start()
            elif bench.ended:
                await bench.restarted()
            elif bench.clock.monotonic() >= end:
                return
            else:
                await bench.clock.advance(min(1800.0, end - bench.clock.monotonic()))

    def check(self, *, between_messages: bool = False) -> None:
        """Whether the books balance. between_messages: the power also went while the agent worked, so it may have kept what its last
        message does not show: a command that it did but never answered, an answer that it stored before it could go on.
        """
        told = [(e.event_code, e.command_key) for inform in self.heard for e in inform.event]
        codes, wanted = {code for code, _ in told}, {*(str(c) for c in EventCode), VENDOR_M, VENDOR}
        assert codes == wanted, f"the month is not complete: {wanted - codes} never came, {codes - wanted} came"
        by_inform = {VENDOR_M, *(str(c) for c, rule in RULES.items() if rule.cleared_by is RpcName.INFORM)}
        keyed = [t for t in told if t[0].startswith("M ") and t[0] in by_inform]
        assert len(keyed) == len(set(keyed)), "an event was told again after its response"
        informs = (
            self.bench.informs if between_messages else self.heard
        )  # all that were answered, whether or not it was heard
        reported = {(e.event_code, e.command_key) for inform in informs for e in inform.event}
        assert self.promised <= reported, "an accepted command was not reported"
        possible = self.promised | self.asked if between_messages else self.promised
        assert set(keyed) <= possible, "a command was reported that was never accepted"
        assert told.count(("0 BOOTSTRAP", "")) == 1
        heard = self.delivered if between_messages else [c for c, _ in self.confirmed]
        assert [r for r, _ in self.owed if r not in heard] == [], "a request was lost"
        confirmed = [id(r) for r, _ in self.confirmed]
        assert len(confirmed) == len(set(confirmed)), "a request was sent again after its answer"
        events = {id(r): (str(e), getattr(r, "command_key", "")) for r, e in self.owed}
        for request, before in self.confirmed:
            event = events[id(request)]
            if event[1]:
                later = [(e.event_code, e.command_key) for i in self.heard[before:] for e in i.event]
                assert event not in later, "an event was told again after the answer that clears it"
        for code, times in self.caused.items():
            assert 0 < told.count((code, "")) <= times, f"{code} was told more often than it happened, or never"
        alone = [i for i in self.heard for e in i.event if e.event_code == EventCode.HEARTBEAT]
        assert all(len(i.event) == 1 for i in alone)
        names = [p.value for i in informs for p in i.parameter_list if p.name == SSID]
        agent = self.bench.agent
        assert agent is not None and not agent.ledger.owes_requests
        assert names[-1] == agent.model.value(SSID), "the last local change was not reported"
        last = next((r for r, a in reversed(self.bench.acs.answers) if isinstance(a, SetParameterValuesResponse)), None)
        assert isinstance(last, SetParameterValues)


def _key_of(request: Request) -> str:
    """The key inside a structure."""
    if isinstance(request, RequestDownload):
        return request.file_type_arg[0].value
    assert isinstance(request, AutonomousDUStateChangeComplete)
    return request.results[0].uuid
