"""Many light agents on one loop: each keeps on disk (its attributes) what a real one does, over any failure of its ACS.

They speak through real sockets with homeport's codec. What each did for a task is written down under the task's key, so that a test can
ask how often anything was done.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit

from homeport.codec import messages as m
from homeport.codec.envelope import Envelope, decode, encode
from homeport.errors import HomeportError
from support.acs_wire import OUI, PRODUCT, Answer, Connection

URN = "urn:dslforum-org:cwmp-1-2"
ANSWER_WITHIN = 8.0
Url = Callable[[], str]


class SessionLost(Exception):
    """The ACS went away, or would not go on."""


class LoadAgent:
    """One device. url: where the ACS is now. chance: decides what a real device's firmware and line decide.

    done: what was done, by (RPC, key); told: TransferCompletes that were answered, by key.
    """

    def __init__(self, number: int, url: Url, chance: random.Random) -> None:
        self.serial = f"L{number:05d}"
        self.id = f"{OUI}-{PRODUCT}-{self.serial}"
        self.done: Counter[tuple[str, str]] = Counter()
        self.told: Counter[str] = Counter()
        self.sessions = self.failed = self.repeated = 0
        self._url = url
        self._chance = chance
        self._source = (f"127.1.{number // 250}.{number % 250 + 1}", 0)
        self._events: list[tuple[str, str]] = [("0 BOOTSTRAP", ""), ("1 BOOT", "")]
        self._reboots: list[str] = []
        self._queue: dict[str, str] = {}  # command key -> begun, done
        self._instances: set[int] = set()
        self._values = {"Device.ManagementServer.PeriodicInformInterval": "300"}
        self._retries = 0
        self._ids = itertools.count(1)
        self._cookie = ""
        self._connection: Connection | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Sessions until `stop`; between them what the last one asked for: reboots, transfers."""
        while not stop.is_set():
            try:
                await self._session()
                self.sessions += 1
                self._retries = 0
            except (SessionLost, OSError, asyncio.IncompleteReadError, TimeoutError, HomeportError):
                self.failed += 1
                self._retries += 1
            await self._disconnect()
            self._between()
            await asyncio.sleep(self._chance.uniform(0.02, 0.2) * min(1 + self._retries, 5))

    def _between(self) -> None:
        for key in self._reboots:
            self._events += [("1 BOOT", "")] * (("1 BOOT", "") not in self._events) + [("M Reboot", key)]
            self._retries = 0
        self._reboots.clear()
        for key, state in self._queue.items():
            if state == "begun" and self._chance.random() < 0.7:
                self._queue[key] = "done"
                self._events += [("7 TRANSFER COMPLETE", "")] * (("7 TRANSFER COMPLETE", "") not in self._events)
                self._events.append(("M Download", key))

    # --- one session ---

    async def _session(self) -> None:
        self._cookie = ""
        events = list(self._events) or [("2 PERIODIC", "")]
        inform = m.Inform(
            device_id=m.DeviceIdStruct("Example", OUI, PRODUCT, self.serial),
            event=tuple(m.EventStruct(code, key) for code, key in events),
            current_time="2026-11-21T06:00:00Z",
            retry_count=self._retries,
            parameter_list=(
                m.ParameterValueStruct("Device.DeviceInfo.SoftwareVersion", "1.0"),
                m.ParameterValueStruct("Device.ManagementServer.ConnectionRequestURL", "http://127.0.0.1:1/none"),
            ),
        )
        self._is(await self._call(inform), m.InformResponse)
        self._events = self._events[len(events) if self._events else 0 :]
        for key in [k for k, state in self._queue.items() if state == "done"]:
            answer = await self._call(
                m.TransferComplete(key, m.FaultStruct(), "2026-11-21T06:00:00Z", "2026-11-21T06:00:01Z")
            )
            self._is(answer, m.TransferCompleteResponse)
            self.told[key] += 1
            del self._queue[key]
        answer = await self._post(b"")
        while answer.status == 200:
            asked = decode(answer.body)
            said: m.Message = m.FaultMessage(9000, "Method not supported")
            if isinstance(asked.body, m.Request):
                said = self._do(asked.body)
            answer = await self._post(encode(Envelope(body=said, id=asked.id, urn=URN)))
        if answer.status != 204:
            raise SessionLost(f"{answer.status} {answer.body[:200]!r}")

    async def _call(self, message: m.Message) -> m.Message | None:
        answer = await self._post(encode(Envelope(body=message, id=f"c{next(self._ids)}", urn=URN)))
        if answer.status != 200:
            raise SessionLost(f"{answer.status} {answer.body[:200]!r}")
        return decode(answer.body).body

    @staticmethod
    def _is(answer: m.Message | None, kind: type[m.Message]) -> None:
        if not isinstance(answer, kind):
            raise SessionLost(f"{kind.__name__} was expected, not {answer!r}")

    async def _post(self, body: bytes) -> Answer:
        """The answer; where the ACS has gone, half of the devices try a few times to go on with the session elsewhere."""
        if self._cookie and self._chance.random() < 0.5:
            await asyncio.sleep(
                self._chance.uniform(0.0, 0.05)
            )  # it has to think: a session is open for longer than a kill takes
        tries = self._chance.choice((1, 1, 8)) if self._cookie else 1
        for left in range(tries, 0, -1):
            try:
                async with asyncio.timeout(ANSWER_WITHIN):
                    answer = await self._exchange(body)
                if answer.status not in (502, 503) or left == 1:
                    return answer
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                if left == 1:
                    raise
            await self._disconnect()
            self.repeated += 1
            await asyncio.sleep(self._chance.uniform(0.05, 0.5))
        raise AssertionError("the last try returns or raises")

    async def _exchange(self, body: bytes) -> Answer:
        if self._connection is None:
            parts = urlsplit(self._url())
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port, local_addr=self._source)
            self._connection = Connection(reader, writer, parts.netloc)
        headers = {"Content-Type": 'text/xml; charset="utf-8"', "SOAPAction": ""} if body else {}
        if self._cookie:
            headers["Cookie"] = self._cookie
        answer = await self._connection.request("POST", "/", body, headers)
        if "set-cookie" in answer.headers:
            self._cookie = answer.headers["set-cookie"].partition(";")[0]
        if answer.headers.get("connection", "").lower() == "close":
            await self._disconnect()
        return answer

    async def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.writer.transport.abort()
            self._connection = None

    # --- what it can do ---

    def _do(self, request: m.Request) -> m.Message:
        match request:
            case m.GetParameterNames():
                rows = [m.ParameterInfoStruct(f"Device.Table.{n}.", True) for n in sorted(self._instances)]
                return m.GetParameterNamesResponse(tuple(rows))
            case m.GetParameterValues(parameter_names=names):
                values = self._values
                return m.GetParameterValuesResponse(tuple(m.ParameterValueStruct(n, values.get(n, "v")) for n in names))
            case m.SetParameterValues(parameter_list=rows, parameter_key=key):
                self.done["SetParameterValues", key] += 1
                self._values.update((row.name, row.value) for row in rows)
                return m.SetParameterValuesResponse(0)
            case m.AddObject(parameter_key=key):
                self.done["AddObject", key] += 1
                self._instances.add(max(self._instances, default=0) + 1)
                return m.AddObjectResponse(max(self._instances), 0)
            case m.Reboot(command_key=key):
                self.done["Reboot", key] += 1
                self._reboots.append(key)
                return m.RebootResponse()
            case m.Download(command_key=key):
                self.done["Download", key] += 1
                self._queue[key] = "begun"
                return m.DownloadResponse(1)
            case m.GetAllQueuedTransfers():
                rows_queued = [
                    m.AllQueuedTransferStruct(
                        k, 3 if state == "done" else 2, True, "3 Vendor Configuration File", 0, ""
                    )
                    for k, state in self._queue.items()
                ]
                return m.GetAllQueuedTransfersResponse(tuple(rows_queued))
        return m.FaultMessage(9000, "Method not supported")
