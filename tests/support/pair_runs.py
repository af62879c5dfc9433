"""A random walk of both real programs together: an operator's tasks of all kinds, an agent, an ACS, and kill -9 of either or both.

What the device did is read from the device itself: its log of what it was asked and answered, and its values at the end. `judge` compares
that with what the ACS says of each task.
"""

import asyncio
import contextlib
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from homeport.cpe import journal
from homeport.cpe.control import ControlClient
from homeport.cpe.firmware.image import build_image
from homeport.errors import HomeportError
from support.acs_files import form
from support.acs_wire import Connection
from support.ends import Agent
from support.kill_runs import FINAL, Operator
from support.tap import Passed, Tap

IGD = "InternetGatewayDevice."
TABLE = f"{IGD}WANDevice.1.WANConnectionDevice.1.WANIPConnection.1.PortMapping."
SET = f"{IGD}DeviceInfo.ProvisioningCode"
CONFIGURED = f"{IGD}Time.NTPServer1"
WATCHED = f"{IGD}LANDevice.1.LANHostConfigManagement.DomainName"

FIRMWARE, CONFIGURATION, LOG = "1 Firmware Upgrade Image", "3 Vendor Configuration File", "2 Vendor Log File"
TRANSFERS = {"Download", "Upload", "ScheduleDownload"}

ACS_OPTIONS = ("--cpe-auth", "open", "--task-attempts", "1000", "--file-rate", "1000000")
"""task_attempts: in a long walk a task can lose its session more often than a real one ever will. file_rate: a file takes a while."""

AGENT_OPTIONS = (
    *("--profile", "igd", "--reboot", "restart", "--web-port", "0"),
    *("--transfer-retries", "50", "--transfer-retry-wait", "1", "--transfer-retry-longest", "2"),
)

KINDS = (
    *("SetParameterValues", "SetParameterValues", "AddObject", "AddObject", "DeleteObject", "Reboot", "FactoryReset"),
    *("Firmware", "Configuration", "Configuration", "Upload", "Upload", "ScheduleInform", "SetParameterAttributes"),
    *("GetParameterValues", "ScheduleDownload", "CancelTransfer"),
)

WORDS = (
    *(b":InformResponse>", b":Inform>", b":TransferComplete>", b":TransferCompleteResponse", b":AddObject>"),
    *(b":AddObjectResponse>", b":DeleteObjectResponse>", b":Reboot>", b":RebootResponse", b":DownloadResponse>"),
    *(b":Download>", b":UploadResponse>", b":SetParameterValuesResponse>", b":FactoryResetResponse", b":Fault>"),
    *(b":CancelTransferResponse", b":GetAllQueuedTransfersResponse>", b":ScheduleInformResponse", b""),
)
"""At which messages something is killed; b"" is the empty POST after InformResponse, or the end of a session."""

SETTLE_WITHIN = 120.0


class Wish(NamedTuple):
    """One task that was made. kind: as in KINDS."""

    key: str
    kind: str
    rpc: str
    args: dict[str, Any]
    task: str


class Deed(NamedTuple):
    """One request that the device has executed, as it has written it down. answer: "" where it was killed before it had one."""

    rpc: str
    said: str
    answer: str


class Pair:
    """An agent and its ACS. kill, restart: of whatever the ACS consists of."""

    def __init__(
        self,
        folder: Path,
        serial: str,
        operator: Operator,
        *,
        cwmp: str,
        kill: Callable[[], None],
        restart: Callable[[], None],
        seed: int,
    ) -> None:
        self.serial, self.operator, self.chance = serial, operator, random.Random(seed)
        self.tap = Tap(cwmp, before=self._before)
        self.agent = Agent(folder / serial, "", serial, *AGENT_OPTIONS)
        self.id = ""
        self.wishes: list[Wish] = []
        self.kills: list[str] = []
        self._kill_acs, self._restart_acs = kill, restart
        self._word: bytes | None = None
        self._victims: tuple[str, ...] = ()
        self._killed = asyncio.Event()
        self._is_killed = False
        self._one_kill = threading.Lock()
        self._loop = asyncio.get_running_loop()

    # --- the walk ---

    async def walk(self, points: int) -> None:
        """Wishes and kills; then all is left alone until it is settled, and judged. Fails with the story of what is wrong."""
        with self.tap:
            self.agent.acs_url = self.tap.url
            self.agent.start()
            try:
                self.id = await self._known()
                for _ in range(points):
                    await self._point()
                tasks = await self._settled()
                self._judge(tasks, await self._events(), await self._sessions())
            finally:
                self.agent.kill()

    async def _known(self) -> str:
        while True:
            condition = quote(f'serial_number == "{self.serial}"')
            _, page = await self.operator.call("GET", f"devices?where={condition}")
            if page["items"]:
                return str(page["items"][0]["id"])
            await asyncio.sleep(0.05)

    async def _point(self) -> None:
        """Some wishes, and a kill in the middle of what they cause."""
        chance = self.chance
        self._killed.clear()
        self._is_killed = False
        self._victims = chance.choice((("agent",), ("acs",), ("agent", "acs"), ("acs", "agent")))
        at_word = chance.random() < 0.6
        if at_word:
            self._word = chance.choice(WORDS)
        kinds = [chance.choice(KINDS) for _ in range(chance.randint(1, 4))]
        wishing = asyncio.create_task(self._wish_all(kinds))  # they may have to wait until the ACS is back
        if at_word:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.5):
                    await self._killed.wait()
        elif chance.random() < 0.5:
            await self._bytes_under_way()
        else:
            await asyncio.sleep(chance.uniform(0.0, 1.0))
        self._word = None
        await asyncio.to_thread(self._kill, "by the clock")
        if chance.random() < 0.15:
            await asyncio.to_thread(self._start, chance.uniform(0.0, 0.5))
            self._is_killed = False
            await asyncio.to_thread(self._kill, "just after the start")
        await asyncio.to_thread(self._start, chance.uniform(0.0, 0.5))
        async with asyncio.timeout(30):
            await wishing

    async def _wish_all(self, kinds: list[str]) -> None:
        for kind in kinds:
            await self._wish(kind)

    async def _bytes_under_way(self) -> None:
        """Wait for a file that has begun to arrive, for a while."""
        files = self.agent.state / "transfers"
        for _ in range(40):
            if any(f.suffix != ".file" for f in files.glob("*.file*")):
                return
            await asyncio.sleep(0.025)

    def _before(self, number: int, message: Passed) -> bool:
        word = self._word
        if word is None or (word not in message.body if word else message.body):
            return True
        self._word = None
        side = "agent" if message.sender == "cpe" else "acs"
        self._kill(f"at {message.sender}'s {word.decode() or 'empty message'}")
        # What the other side has sent is lost where its receiver is gone; what a killed one had sent may still arrive.
        return side in self._victims and len(self._victims) == 1

    def _kill(self, how: str) -> None:
        with self._one_kill:
            if self._is_killed:
                return
            self._is_killed = True
            for victim in self._victims:
                self._kill_acs() if victim == "acs" else self.agent.kill()
            self.kills.append(f"{time.strftime('%H:%M:%S', time.gmtime())} {' and '.join(self._victims)} {how}")
        self._loop.call_soon_threadsafe(self._killed.set)

    def _start(self, pause: float) -> None:
        for number, victim in enumerate(sorted(self._victims, key=lambda _: self.chance.random())):
            if number:
                time.sleep(pause)  # the one comes back before the other
            self._restart_acs() if victim == "acs" else self._start_agent()

    def _start_agent(self) -> None:
        if self.agent.process is None:
            self.agent.start()

    # --- wishes ---

    async def _wish(self, kind: str) -> None:
        key = f"{self.serial}-{len(self.wishes)}"
        args: dict[str, Any]
        rpc = kind
        match kind:
            case "SetParameterValues":
                args = {"parameter_list": [{"name": SET, "value": key, "type": "string"}], "parameter_key": key}
            case "AddObject":
                args = {"object_name": TABLE, "parameter_key": key}
            case "DeleteObject":
                row = await self._a_row()
                if row is None:
                    return
                args = {"object_name": row, "parameter_key": key}
            case "Reboot":
                args = {"command_key": key}
            case "FactoryReset":
                if self.chance.random() < 0.5:
                    return  # it ends so much that more would hide the rest
                args = {}
            case "Firmware":
                rpc = "Download"
                args = {"command_key": key, "file_type": FIRMWARE, "file": self.chance.choice(("fw-2", "fw-3"))}
            case "Configuration":
                rpc = "Download"
                args = {"command_key": key, "file_type": CONFIGURATION, "file": self.chance.choice(("cfg-a", "cfg-b"))}
            case "ScheduleDownload":
                window = {"window_start": 0, "window_end": 3_000, "window_mode": "1 At Any Time", "max_retries": 50}
                args = {"command_key": key, "file_type": CONFIGURATION, "file": "cfg-a", "time_window_list": [window]}
            case "Upload":
                args = {"command_key": key, "file_type": self.chance.choice(("1 Vendor Configuration File", LOG))}
            case "ScheduleInform":
                args = {"delay_seconds": 1, "command_key": key}
            case "SetParameterAttributes":
                row_of = {"name": WATCHED, "notification_change": True, "notification": self.chance.randint(0, 2)}
                args = {"parameter_list": [row_of | {"access_list_change": False, "access_list": []}]}
            case "GetParameterValues":
                args = {"parameter_names": [IGD]}
            case "CancelTransfer":
                later = {"command_key": key, "file_type": CONFIGURATION, "file": "cfg-b", "delay_seconds": 3_600}
                await self._make(key, "Cancelled", "Download", later)
                args = {"command_key": key}
                key += "c"
        await self._make(key, kind, rpc, args)

    async def _make(self, key: str, kind: str, rpc: str, args: dict[str, Any]) -> None:
        wish = {"rpc": rpc, "args": args, "connection_request": True}
        status, made = await self.operator.call("POST", f"devices/{quote(self.id)}/tasks", wish, key=key)
        assert status == 201, made
        self.wishes.append(Wish(key, kind, rpc, args, str(made["id"])))
        self.operator.tasks[key] = (made["id"], rpc)

    def _since_reset(self) -> list[Wish]:
        """The wishes after the last FactoryReset: what came before is wiped."""
        last = max((n for n, w in enumerate(self.wishes) if w.rpc == "FactoryReset"), default=-1)
        return self.wishes[last + 1 :]

    async def _a_row(self) -> str | None:
        wishes = self._since_reset()
        asked = {w.args["object_name"] for w in wishes if w.rpc == "DeleteObject"}
        for wish in wishes:
            if wish.rpc == "AddObject":
                _, task = await self.operator.call("GET", f"tasks/{wish.task}")
                if task["status"] == "done":
                    row = f"{TABLE}{task['result']['instance_number']}."
                    if row not in asked:
                        return row
        return None

    # --- the end ---

    async def _tasks(self) -> dict[str, Any]:
        _, page = await self.operator.call("GET", f"devices/{quote(self.id)}/tasks?limit=1000")
        return {t["id"]: t for t in page["items"]}

    async def _events(self) -> list[Any]:
        return await self._all("events")

    async def _sessions(self) -> set[str]:
        """The ids of those that the history shows."""
        return {s["id"] for s in await self._all("sessions")}

    async def _all(self, what: str) -> list[Any]:
        found: list[Any] = []
        cursor = ""
        while True:
            _, page = await self.operator.call("GET", f"devices/{quote(self.id)}/{what}?limit=100{cursor}")
            found += page["items"]
            if page["next"] is None:
                return found
            cursor = f"&cursor={page['next']}"

    async def _settled(self) -> dict[str, Any]:
        """All tasks once they have ended and the device owes nothing any more."""
        end = time.monotonic() + SETTLE_WITHIN
        while True:
            tasks = await self._tasks()
            left = [t for t in tasks.values() if t["status"] not in FINAL]
            if not left and self._at_rest():
                return await self._tasks()
            if time.monotonic() > end:
                what = [(t["id"], t["rpc"], t["status"], t["phase"]) for t in left]
                raise AssertionError(self.story([f"not ended: {w}" for w in what] or ["the device is not at rest"]))
            await asyncio.sleep(0.2)

    def _at_rest(self) -> bool:
        with contextlib.suppress(HomeportError):
            said = self.ask("status")
            waiting = [t for t in said["transfers"] if t["command_key"] not in self._called_off()]
            return not waiting and said["state"] == "waiting" and not said["retry_count"] and self._told_all()
        return False

    def _told_all(self) -> bool:
        """Whether no scheduled contact is to come soon."""
        return "scheduled" not in self.ask("status")["next_contact_reason"]

    def _called_off(self) -> set[str]:
        return {w.args["command_key"] for w in self.wishes if w.rpc == "CancelTransfer"}

    def ask(self, verb: str, **args: Any) -> Any:
        """What the running agent says."""
        return ControlClient(self.agent.state).call(verb, **args)

    def value(self, path: str) -> str:
        """A parameter at the device."""
        return next(str(row["value"]) for row in self.ask("params", path=path) if row["path"] == path)

    def deeds(self) -> list[Deed]:
        """What the device has done, in order, as it has written it down. "(factory defaults)" stands where it forgot everything."""
        done: list[Deed] = []
        asked: tuple[str, str] | None = None
        for line in journal.read("client", self.agent.state, last=1_000_000):
            text = line.partition(" ")[2]
            arrow, _, rest = text.partition(" ")
            rpc, _, said = rest.partition(" ")
            if arrow == "<-" and not rpc.endswith("Response") and rpc not in ("connection", "Fault"):
                if asked is not None:
                    done.append(Deed(*asked, ""))
                asked = (rpc, said)
            elif arrow == "->" and asked is not None and (rpc == f"{asked[0]}Response" or rpc == "Fault"):
                done.append(Deed(*asked, rest))
                asked = None
            else:
                if asked is not None:
                    done.append(Deed(*asked, ""))
                asked = None
                if arrow == "->" and rpc == "TransferComplete":
                    done.append(Deed(rpc, said, ""))
                elif text.endswith("started, first contact") and done:
                    done.append(Deed("(factory defaults)", "", ""))
        return done

    def _judge(self, tasks: dict[str, Any], events: list[Any], sessions: set[str]) -> None:
        wrong = judge(self, tasks, events)
        holes = {e["session"] for e in events} - sessions - {events[0]["session"]}  # the youngest may be open
        wrong += [f"events of a session that is not in the history: {id}" for id in holes]
        if wrong:
            raise AssertionError(self.story(wrong))

    def story(self, wrong: list[str]) -> str:
        """What is wrong, and all that is needed to find out why."""
        parts = [*wrong, "--- kills", *self.kills, "--- wishes", *(f"{w.task} {w.key} {w.kind}" for w in self.wishes)]
        return "\n".join([*parts, f"--- the device is in {self.agent.state}"])


def judge(pair: Pair, tasks: dict[str, Any], events: list[Any]) -> list[str]:
    """What the ACS says against what the device did."""
    wrong: list[str] = []
    wanted = {w.task for w in pair.wishes}
    if len(wanted) != len(pair.wishes) or set(tasks) != wanted:
        wrong.append(f"lost: {wanted - set(tasks)}; too many: {set(tasks) - wanted}")
    deeds = pair.deeds()
    resets = [n for n, w in enumerate(pair.wishes) if w.rpc == "FactoryReset"]
    keyed = Counter((e["code"], e["command_key"]) for e in events if e["command_key"])
    for what, count in keyed.items():
        if count > 1:
            wrong.append(f"the event {what} is kept {count} times")
    for number, wish in enumerate(pair.wishes):
        task = tasks.get(wish.task)
        if task is not None:
            wiped = any(n > number for n in resets)
            wrong += [f"{wish.kind} {wish.key} {wish.task}: {w}" for w in _one(wish, task, deeds, keyed, wiped=wiped)]
    wrong += _totals(pair, tasks, deeds)
    for what, count in pair.operator.ends.items():
        if count > 1:
            wrong.append(f"the end {what} was told {count} times")
    return wrong


def _one(wish: Wish, task: dict[str, Any], deeds: list[Deed], keyed: Counter[Any], *, wiped: bool) -> list[str]:
    """What is wrong with one task. wiped: the device was set back to factory defaults after it."""
    status, fault, result = task["status"], task["fault"], task["result"] or {}
    quoted = f"key {wish.key!r}"
    mine = [d for d in deeds if d.rpc == wish.rpc and (quoted in d.said or f"={wish.key}" in f"{d.said} ")]
    answered = [d for d in mine if d.answer == f"{wish.rpc}Response"]
    ended = [d.said for d in deeds if d.rpc == "TransferComplete" and quoted in d.said]
    wrong: list[str] = []
    if status not in ("done", "cancelled" if wish.kind == "Cancelled" else "done"):
        known = wish.rpc in TRANSFERS and (ended or wiped)
        gone = wish.rpc == "DeleteObject" and wiped
        if not known and not gone:
            wrong.append(f"{status}: {fault}")
    match wish.rpc:
        case "Reboot":
            if len(answered) > 1:
                wrong.append(f"accepted {len(answered)} times")
            if answered and not wiped and not keyed["M Reboot", wish.key]:
                wrong.append("M Reboot was not told")
            if not answered and "1 BOOT" not in str(result):
                wrong.append("the device never accepted it")
        case "ScheduleInform" if not wiped:
            if not keyed["M ScheduleInform", wish.key]:
                wrong.append("M ScheduleInform was not told")
        case "SetParameterValues":
            if not answered:
                wrong.append("the device has not set it")
        case "Download" | "Upload" | "ScheduleDownload":
            if len(answered) > 1:
                wrong.append(f"accepted {len(answered)} times")
            if len(set(ended)) > 1:
                wrong.append(f"ended in several ways: {set(ended)}")
            if status == "done" and not any(e.endswith(" done") for e in ended):
                wrong.append(f"said to be done; the device: {ended}")
            if status == "failed" and fault["code"] and not any(f"failed: {fault['code']}" in e for e in ended):
                wrong.append(f"said to have failed with {fault}; the device: {ended}")
            if ended and not keyed["TransferComplete", wish.key] and not wiped:
                wrong.append("its TransferComplete is not among the events")
            if wish.rpc == "Upload" and status == "done" and not result.get("file"):
                wrong.append("done, but no file was received")
    return wrong


def _totals(pair: Pair, tasks: dict[str, Any], deeds: list[Deed]) -> list[str]:
    """What is wrong with the device as it is now."""
    wrong: list[str] = []
    by_rpc = {rpc: [w for w in pair.wishes if w.rpc == rpc] for rpc in ("AddObject", "FactoryReset")}
    for rpc, wishes in by_rpc.items():
        made = sum(d.rpc == rpc and d.answer == f"{rpc}Response" for d in deeds)
        if made != len(wishes):
            wrong.append(f"{rpc} was done {made} times for {len(wishes)} tasks")
    since = pair._since_reset()
    rows = {f"{TABLE}{tasks[w.task]['result']['instance_number']}." for w in since if w.rpc == "AddObject"}
    rows -= {w.args["object_name"] for w in since if w.rpc == "DeleteObject" and tasks[w.task]["status"] == "done"}
    there = {row["path"] for row in pair.ask("browse", path=TABLE)["objects"]}
    if rows != there:
        wrong.append(f"rows at the device: {sorted(there)}; by the tasks: {sorted(rows)}")
    last = next((w.key for w in reversed(since) if w.rpc == "SetParameterValues"), None)
    if last is not None and pair.value(SET) != last:
        wrong.append(f"{SET} is {pair.value(SET)!r}, should be {last!r}")
    ends = [d for d in deeds if d.rpc in ("TransferComplete", "(factory defaults)")]
    forgot = max((n for n, d in enumerate(ends) if d.rpc != "TransferComplete"), default=-1)
    order = list(dict.fromkeys(d.said for d in ends[forgot + 1 :] if d.said.endswith(" done")))
    by_key = {w.key: w for w in pair.wishes}
    applied = [by_key[found[1]] for said in order if (found := re.match(r"key '([^']*)'", said))]
    configured = [w.args["file"] for w in applied if w.args.get("file_type") == CONFIGURATION]
    if configured and pair.value(CONFIGURED) != f"{configured[-1]}.example":
        wrong.append(f"{CONFIGURED} is {pair.value(CONFIGURED)!r}, but {configured[-1]} was applied last")
    return wrong


async def store_files(operator: Operator) -> None:
    """The firmware and the configurations that the tasks name."""
    files = {
        "fw-2": (FIRMWARE, build_image(bytes(300_000), version="2.0.0")),
        "fw-3": (FIRMWARE, build_image(bytes(300_000), version="3.0.0")),
    }
    for name in ("cfg-a", "cfg-b"):
        content = {"format": "homeport-configuration/1", "description": "x" * 200_000, "rows": {}}
        content |= {"values": {CONFIGURED: f"{name}.example"}}
        files[name] = (CONFIGURATION, json.dumps(content).encode())
    for name, (file_type, data) in files.items():
        body, headers = form(name, data, {"file_type": file_type})
        headers["Authorization"] = f"Bearer {operator._token()}"
        connection = await Connection.to(operator._url())
        answer = await connection.request("POST", "/api/v1/files", body, headers)
        await connection.close()
        assert answer.status == 201, answer


async def play(
    walks: int,
    points: int,
    seed: int,
    make: Callable[[int], Pair],
    operator: Operator,
    progress: Callable[[str], None],
) -> None:
    """Walks one after the other, each with a device of its own."""
    await store_files(operator)
    listener = asyncio.create_task(operator.listen())
    began = time.monotonic()
    try:
        for number in range(walks):
            await make(number).walk(points)
            progress(f"walk {number} of {walks} (seed {seed + number}): {time.monotonic() - began:.0f} s")
            if listener.done():
                listener.result()
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
