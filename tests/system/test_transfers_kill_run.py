"""kill -9 of the whole agent at random points between the Download request and TransferCompleteResponse: exactly one result.

Few kills by default; HOMEPORT_TEST_KILLS=200 is the full run.
"""

import asyncio
import os
import random
import re
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from cpe_support.http_acs import HttpAcs, Post
from homeport.codec.messages import (
    Download,
    GetQueuedTransfers,
    GetQueuedTransfersResponse,
    Message,
    TransferComplete,
)
from homeport.cpe.control import ControlClient
from homeport.cpe.firmware.image import build_image
from homeport.errors import TransportError
from homeport.session.events import Event, InformReceived, RequestReceived, ResponseReceived
from homeport.terms import EventCode
from homeport.transport.driver import HttpAnswer
from homeport.transport.loopback import LoopbackAcs
from support.file_store import FileStore
from support.nursery import Child, shared_nursery

pytestmark = pytest.mark.system

KILLS = int(os.environ.get("HOMEPORT_TEST_KILLS", "3"))
FIRST_GUESS = 0.3
"""Seconds that a transfer may take; instants are drawn from what the last one of its kind took that was not killed."""
LAST_MESSAGE = 4
"""The device's messages from DownloadResponse to TransferComplete: the response, the session's end, an Inform, the report."""
AFTER_THE_END = "after the end"

CASES = (
    ("1 Firmware Upgrade Image", "/image", 0),
    ("X 00256D Splash", "/splash", 0),
    ("3 Vendor Configuration File", "/splash", 9018),
    ("1 Firmware Upgrade Image", "/missing", 9016),
)


class CarefulAcs(LoopbackAcs):
    """Asks for one download; where it cannot know whether that was accepted, it looks into the queue before it asks again."""

    def __init__(self, download: Download) -> None:
        super().__init__()
        self.download = download
        self.asked = self.accepted = False
        self.reports: list[TransferComplete] = []
        self.bare_results: list[str] = []
        self.confirmed = False

    def _react(self, event: Event, now: float) -> HttpAnswer | None:
        if isinstance(event, InformReceived):
            self.requests.clear()
            if not self.accepted and not self.reports:
                self.requests.append(GetQueuedTransfers() if self.asked else self.download)
            codes = [e.event_code for e in event.inform.event]
            if EventCode.TRANSFER_COMPLETE in codes and EventCode.M_DOWNLOAD not in codes:
                self.bare_results.append(", ".join(codes))
        if isinstance(event, RequestReceived) and isinstance(event.request, TransferComplete):
            self.reports.append(event.request)
        answer = super()._react(event, now)
        if isinstance(event, ResponseReceived):
            self._heard(event.request, event.response)
        return answer

    def _heard(self, request: Message, response: Message) -> None:
        if isinstance(request, Download):
            self.accepted = True
        elif isinstance(response, GetQueuedTransfersResponse) and not self.reports:
            self.accepted = any(t.command_key == self.download.command_key for t in response.transfer_list)
            if not self.accepted:
                self.requests.append(self.download)

    def _ask(self, now: float) -> bytes:
        self.asked = self.asked or self.download in self.requests
        self.confirmed = bool(self.reports) and not self.requests
        return super()._ask(now)


class Round:
    """One device, one Download, one kill."""

    def __init__(self, acs: HttpAcs, store: FileStore, directory: Path, number: int, lasts: float) -> None:
        self.dice = random.Random(number)
        self.acs, self.directory = acs, directory
        file_type, path, self.code = CASES[number % len(CASES)]
        self.key = f"kill {number}"
        self.core = CarefulAcs(Download(self.key, file_type, store.url(path)))
        self.at_message = self.dice.randint(1, LAST_MESSAGE) if self.dice.random() < 0.5 else 0
        self.instant = self.dice.uniform(0.0, lasts)
        self.agent: Child | None = None
        self.killed = ""
        self.posts = 0
        self.began = self.took = 0.0
        self.order = "restart-first" if number % 8 < 4 else "report-first"
        self.kill_now = asyncio.Event()

    def start(self) -> None:
        self.agent = shared_nursery().start(
            *("cpe", "run", "--acs-url", self.acs.url, "--state-dir", str(self.directory / "state")),
            *("--serial", "KILL0001", "--connection-request-listen", "127.0.0.1", "--connection-request-port", "0"),
            *("--web-port", "0", "--retry-minimum-wait", "1", "--retry-multiplier", "1000"),
            *("--reboot", "restart", "--firmware-order", self.order),
            *("--transfer-directories", f"X 00256D Splash={self.directory / 'splashes'}"),
            log=self.directory / "agent.log",
        )

    def before_answer(self, number: int, post: Post) -> None:
        """Called for every POST; the first that sees the Download under way starts the clock of the kill."""
        if self.killed or not self.core.asked:
            return
        self.posts += 1
        if self.posts == 1:
            self.began = time.monotonic()
        if self.posts == 1 and not self.at_message:
            asyncio.get_running_loop().call_later(self.instant, self.kill, "at an instant")
        elif self.posts == self.at_message:
            heard = self.dice.random() < 0.5
            if heard:
                self.core(post.body)  # the ACS has heard it, and its answer is lost
            self.kill(f"at message {self.at_message}{', which was heard' if heard else ''}")
            raise ConnectionError("the device is gone")

    def kill(self, how: str) -> None:
        assert self.agent is not None
        if not self.killed:
            self.killed = how if not self.core.confirmed else AFTER_THE_END
            self.agent.kill()
            self.agent.wait(30)
            self.kill_now.set()

    async def play(self) -> None:
        self.acs.core, self.acs.before_answer = self.core, self.before_answer
        self.start()
        try:
            async with asyncio.timeout(30):
                await asyncio.wait(
                    (asyncio.ensure_future(self.kill_now.wait()), asyncio.ensure_future(self.over())),
                    return_when=asyncio.FIRST_COMPLETED,
                )
            self.took = time.monotonic() - self.began
            if not self.killed:
                self.kill(AFTER_THE_END)
            self.start()
            await self.over()
            await self.settled()
        finally:
            assert self.agent is not None
            self.agent.kill()
            self.agent.wait(30)
        self.check()

    async def over(self) -> None:
        await self.acs.until(lambda: self.core.confirmed, limit=25)

    async def settled(self) -> None:
        """The device has nothing more to say."""
        end = time.monotonic() + 15
        while not await asyncio.to_thread(self.owes_nothing):
            assert time.monotonic() < end, (self.key, self.killed)
            await asyncio.sleep(0.02)

    def owes_nothing(self) -> bool:
        try:
            status = ControlClient(self.directory / "state").call("status")
        except TransportError:
            return False  # it is starting
        return not status["transfers"] and not status["pending_events"]

    def check(self) -> None:
        """One result, under its key, with its fault; a report that is repeated is the same word for word."""
        told = set(self.core.reports)
        assert len(told) == 1, (self.key, self.killed, told)
        (report,) = told
        assert (report.command_key, report.fault_struct.fault_code) == (self.key, self.code), (self.killed, report)
        assert not self.core.bare_results


@pytest.mark.case("T15")
def test_a_killed_agent_has_exactly_one_result(tmp_path: Path) -> None:
    """Whatever the moment: the right CommandKey, the right fault, nothing lost and nothing reported twice."""

    async def main() -> Counter[str]:
        ways: Counter[str] = Counter()
        with FileStore() as store:
            store.files["/image"] = build_image(bytes(400_000), version="2.0.0")
            store.files["/splash"] = b"a splash" * 20_000
            store.pause = 0.01
            async with HttpAcs() as acs:
                lasts = dict.fromkeys(range(len(CASES)), FIRST_GUESS)
                for number in range(4 * KILLS):
                    if ways.total() - ways[AFTER_THE_END] == KILLS:
                        break
                    directory = tmp_path / f"{number}"
                    directory.mkdir()
                    case = number % len(CASES)
                    played = Round(acs, store, directory, number, lasts[case])
                    await played.play()
                    if played.killed == AFTER_THE_END:
                        lasts[case] = played.took
                    ways[re.sub(r" \d+", "", played.killed)] += 1
                    shutil.rmtree(directory)
        return ways

    ways = asyncio.run(main())
    assert ways.total() - ways[AFTER_THE_END] == KILLS, ways
