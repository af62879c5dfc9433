"""When transfers run, what they report, and that exactly one report follows each, over restarts and crashes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from homeport.codec.messages import (
    AutonomousTransferComplete,
    EventStruct,
    RequestDownload,
    ScheduleDownload,
    TimeWindowStruct,
    TransferComplete,
    Upload,
)
from homeport.cpe.ledger import Ledger
from homeport.cpe.state import Store, StoreTransaction
from homeport.cpe.transfers.file_types import Restart
from homeport.cpe.transfers.policy import AutonomousPolicy
from homeport.cpe.transfers.records import Kind, State
from homeport.cpe.transfers.rules import TransferRules
from homeport.errors import HomeportError, StoreUnavailable
from homeport.terms import UNKNOWN_TIME
from homeport.transport.files import FileTransferError, Trouble

from .conftest import Applied, Bench, download

Live = Callable[[Callable[[Bench], Awaitable[None]]], None]
SPLASH = "X 00256D Splash"


def schedule(*windows: tuple[int, int, str, int], key: str = "s") -> ScheduleDownload:
    """A ScheduleDownload with windows (start, end, mode, retries)."""
    listed = tuple(TimeWindowStruct(s, e, mode, "please", n) for s, e, mode, n in windows)
    return ScheduleDownload(key, SPLASH, "http://files/a", time_window_list=listed)


def test_a_file_is_fetched_after_the_session_that_asked_for_it(live: Live) -> None:
    """T01's first half: nothing is fetched while the session is open."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        bench.network.content["http://files/a"] = b"picture"
        service.session_opened()
        service.handle(download("k"))
        await bench.quiet()
        assert bench.network.asked == []
        service.session_closed()
        await bench.until(lambda: bench.reports)
        assert bench.installer.content == [b"picture"]
        assert bench.owed == 1

    live(scene)


@pytest.mark.case("T24")
@pytest.mark.case("T01")
def test_a_success_is_reported_with_its_key_and_its_times_in_utc(live: Live) -> None:
    """TransferComplete with fault 0 and an empty string, start before completion, `7 TRANSFER COMPLETE` and `M Download`."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        bench.network.content["http://files/a"] = b"x"
        bench.network.gate = asyncio.Event()
        service.handle(download("key 1"))
        await bench.until(lambda: bench.network.asked)
        bench.clock.advance(7)
        bench.network.gate.set()
        await bench.until(lambda: bench.reports)
        (report,) = bench.reports
        assert isinstance(report, TransferComplete)
        assert (report.command_key, report.fault_struct.fault_code, report.fault_struct.fault_string) == (
            "key 1",
            0,
            "",
        )
        assert (report.start_time, report.complete_time) == ("2027-01-15T08:00:00Z", "2027-01-15T08:00:07Z")
        assert bench.events == [EventStruct("7 TRANSFER COMPLETE"), EventStruct("M Download", "key 1")]
        assert service.queue.queued()[0].state == 3
        assert bench.acknowledge() == report
        assert len(service.queue) == 0 and bench.events == [] and bench.on_disk() == []

    live(scene)


@pytest.mark.case("T03")
def test_delay_seconds_are_waited_for(live: Live) -> None:
    """DelaySeconds=30: no request before 30 s have passed."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        service.handle(download("k", delay_seconds=30))
        began = bench.clock.time
        for _ in range(29):
            bench.clock.advance(1)
            await bench.quiet()
        assert bench.network.asked == []
        assert [s.due_in for s in service.status()] == [1.0]
        bench.clock.advance(1)
        await bench.until(lambda: bench.reports)
        assert bench.network.asked == [("http://files/a", began + 30)]

    live(scene)


@pytest.mark.parametrize("clock_is_set", [True, False])
@pytest.mark.case("T15")
def test_a_delay_goes_on_over_a_restart(live: Live, clock_is_set: bool) -> None:
    """With a clock the remaining time counts, without one the delay begins anew (unverified)."""

    async def scene(bench: Bench) -> None:
        if not clock_is_set:
            bench.clock.offset = 0.0
        service = await bench.on()
        service.handle(download("k", delay_seconds=100))
        service = await bench.again(60)
        assert [s.due_in for s in service.status()] == [40.0 if clock_is_set else 100.0]
        bench.clock.advance(41)
        await bench.quiet()
        assert bool(bench.network.asked) is clock_is_set
        bench.clock.advance(60)
        await bench.until(lambda: bench.reports)
        assert (bench.reports[0].start_time == UNKNOWN_TIME) is not clock_is_set

    live(scene)


@pytest.mark.case("T04")
@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (Trouble.UNREACHABLE, 9015),
        (Trouble.NOT_ACCESSIBLE, 9016),
        (Trouble.CREDENTIALS, 9012),
        (Trouble.INCOMPLETE, 9017),
        (Trouble.CORRUPT, 9018),
        (Trouble.UNTRUSTED, 9019),
        (Trouble.SERVER, 9010),
    ],
)
def test_a_failed_download_is_reported_once_and_not_tried_again(live: Live, trouble: Trouble, code: int) -> None:
    """The fault code tells the troubles apart."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        bench.network.content["http://files/a"] = FileTransferError(trouble, "it " + "was " * 100)
        service.handle(download("new"))
        await bench.until(lambda: len(bench.reports) == 1)
        bench.clock.advance(10_000)
        await bench.quiet()
        assert [r.fault_struct.fault_code for r in bench.reports] == [code]
        assert all(0 < len(r.fault_struct.fault_string) <= 256 for r in bench.reports)
        assert len(bench.network.asked) == 1

    live(scene)


@pytest.mark.case("T10")
def test_an_upload_is_written_sent_and_reported(live: Live) -> None:
    """`M Upload`; anything that goes wrong is 9011, credentials 9012."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        request = Upload(command_key="u", file_type="3 Vendor Configuration File 1", url="http://files/up")
        service.handle(request)
        await bench.until(lambda: bench.reports)
        assert bench.network.taken == {"http://files/up": b"configuration"}
        assert bench.reports[0].fault_struct.fault_code == 0
        assert EventStruct("M Upload", "u") in bench.events
        bench.acknowledge()
        for trouble, code in ((Trouble.NOT_ACCESSIBLE, 9011), (Trouble.CREDENTIALS, 9012)):
            bench.network.content["http://files/up"] = FileTransferError(trouble, "no")
            service.handle(request)
            await bench.until(lambda: bench.reports)
            assert bench.reports[0].fault_struct.fault_code == code
            bench.acknowledge()

    live(scene)


def test_one_transfer_runs_at_a_time(live: Live) -> None:
    """The second begins when the first is over; with `parallel` two run at once."""

    async def scene(bench: Bench) -> None:
        for parallel in (1, 2):
            bench.options["rules"] = TransferRules(parallel=parallel)
            bench.network.asked.clear()
            bench.network.gate = asyncio.Event()
            service = await bench.on()
            service.handle(download("a"))
            service.handle(download("b"))
            await bench.quiet()
            assert len(bench.network.asked) == parallel
            bench.network.gate.set()
            await bench.until(lambda: len(bench.reports) == 2)
            bench.acknowledge()
            bench.acknowledge()
            await bench.off()
        await bench.on()

    live(scene)


@pytest.mark.case("T16")
def test_a_transfer_that_ends_while_a_session_is_open_is_reported_in_it(live: Live) -> None:
    """The report is owed at once: the session may carry it without a new Inform."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        bench.network.content["http://files/a"] = b"x"
        bench.network.gate = asyncio.Event()
        service.handle(download("k"))
        await bench.until(lambda: bench.network.asked)
        service.session_opened()
        bench.ledger.take_events()
        bench.network.gate.set()
        await bench.until(lambda: bench.reports)
        request = bench.ledger.next_request()
        assert request == bench.reports[0]
        service.acknowledged(request)
        assert bench.events == []

    live(scene)


def test_what_disturbs_a_session_is_applied_after_it(live: Live) -> None:
    """A configuration file does not change values while the ACS is reading them."""

    async def scene(bench: Bench) -> None:
        bench.installer = Applied(disturbs=True)
        service = await bench.on()
        bench.network.content["http://files/a"] = b"x"
        bench.network.gate = asyncio.Event()
        service.handle(download("k"))
        await bench.until(lambda: bench.network.asked)
        service.session_opened()
        bench.network.gate.set()
        await bench.until(lambda: bench.state_of("k") is State.INSTALLING)
        await bench.quiet()
        assert bench.installer.content == []
        service.session_closed()
        await bench.until(lambda: bench.reports)

    live(scene)


def test_a_defect_in_a_plug_in_is_reported_as_9002(live: Live) -> None:
    """The service goes on with the next transfer."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        bench.network.content["http://files/a"] = b"x"
        bench.installer.error = ZeroDivisionError("oops")
        service.handle(download("a"))
        await bench.until(lambda: bench.reports)
        assert bench.reports[0].fault_struct.fault_code == 9002
        bench.installer.error = None
        service.handle(download("b"))
        await bench.until(lambda: len(bench.reports) == 2)

    live(scene)


# --- ScheduleDownload ---------------------------------------------------------------------------------------------------------


@pytest.mark.case("T12")
def test_a_scheduled_download_starts_inside_its_window(live: Live) -> None:
    """Window 5 to 65 s: the request comes at 5 s; `M ScheduleDownload`; the time limit is what is left of the window."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        began = bench.clock.time
        bench.network.content["http://files/a"] = b"x"
        service.handle(schedule((5, 65, "1 At Any Time", 0)))
        await bench.quiet()
        assert bench.network.asked == []
        bench.clock.advance(5)
        await bench.until(lambda: bench.reports)
        assert bench.network.asked == [("http://files/a", began + 5)]
        assert bench.network.limits[0].total == 60
        assert EventStruct("M ScheduleDownload", "s") in bench.events
        assert bench.reports[0].fault_struct.fault_code == 0

    live(scene)


@pytest.mark.case("T14")
def test_retries_stay_inside_their_window_and_the_second_window_is_used(live: Live) -> None:
    """MaxRetries 1 in the first window, 0 in the second: two attempts, then one; then the transfer's fault."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        began = bench.clock.time
        service.handle(schedule((0, 100, "2 Immediately", 1), (200, 300, "2 Immediately", 0)))
        while bench.clock.time < began + 400:
            await bench.quiet()
            bench.clock.advance(10)
        await bench.until(lambda: bench.reports)
        assert [t - began for _, t in bench.network.asked] == [0, 30, 200]
        assert bench.reports[0].fault_struct.fault_code == 9015
        assert len(bench.reports) == 1

    live(scene)


@pytest.mark.case("T14")
def test_windows_that_pass_unused_end_in_9020(live: Live) -> None:
    """A device that was off, or never idle, says that it could not."""

    async def scene(bench: Bench) -> None:
        bench.options["idle"] = lambda: False
        service = await bench.on()
        service.handle(schedule((5, 65, "1 At Any Time", 0), key="off"))
        service.handle(schedule((0, 500, "3 When Idle", 0), key="busy"))
        service = await bench.again(100)
        await bench.until(lambda: len(bench.reports) == 1)
        for _ in range(50):
            bench.clock.advance(10)
            await bench.quiet()
        await bench.until(lambda: len(bench.reports) == 2)
        assert [(r.command_key, r.fault_struct.fault_code) for r in bench.reports] == [("off", 9020), ("busy", 9020)]
        assert bench.network.asked == []

    live(scene)


def test_a_window_that_ends_before_the_file_is_applied_is_missed(live: Live) -> None:
    """Transfer and application have to lie within a window."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        bench.network.content["http://files/a"] = b"x"
        bench.network.gate = asyncio.Event()
        service.handle(schedule((0, 50, "2 Immediately", 3)))
        await bench.until(lambda: bench.network.asked)
        bench.clock.advance(60)
        bench.network.gate.set()
        await bench.until(lambda: bench.reports)
        assert bench.reports[0].fault_struct.fault_code == 9020
        assert bench.installer.content == []

    live(scene)


def test_consent_and_idleness_are_waited_for(live: Live) -> None:
    """Modes 3 and 4: begun only when the device is idle, or its user said yes to the message."""

    async def scene(bench: Bench) -> None:
        idle = [False]
        bench.options.update(asks=True, idle=lambda: idle[0])
        service = await bench.on()
        bench.network.content["http://files/a"] = b"x"
        service.handle(schedule((0, 500, "4 Confirmation Needed", 0), key="ask"))
        bench.clock.advance(10)
        await bench.quiet()
        (shown,) = service.status()
        assert bench.network.asked == [] and shown.question == "please"
        service = await bench.again(10)
        service.answer_user(shown.number, yes=True)
        await bench.until(lambda: len(bench.reports) == 1)
        with pytest.raises(HomeportError, match="asks nobody"):
            service.answer_user(shown.number, yes=True)
        service.handle(schedule((0, 500, "3 When Idle", 0), key="idle"))
        await bench.quiet()
        assert len(bench.network.asked) == 1 and service.status()[-1].waits_for == "idle"
        idle[0] = True
        bench.clock.advance(5)
        await bench.until(lambda: len(bench.reports) == 2)

    live(scene)


def test_a_user_who_does_not_want_it_ends_the_window(live: Live) -> None:
    """9001 at once where there is no other window; a second window may still do it."""

    async def scene(bench: Bench) -> None:
        bench.options["asks"] = True
        service = await bench.on()
        bench.network.content["http://files/a"] = b"x"
        service.handle(schedule((0, 500, "4 Confirmation Needed", 5), key="no"))
        service.answer_user(service.status()[0].number, yes=False)
        await bench.until(lambda: len(bench.reports) == 1)
        assert bench.reports[0].fault_struct.fault_code == 9001
        windows = (0, 50, "4 Confirmation Needed", 5), (60, 90, "1 At Any Time", 0)
        service.handle(schedule(*windows, key="later"))
        service.answer_user(service.status()[-1].number, yes=False)
        bench.clock.advance(55)
        await bench.quiet()
        assert not bench.network.asked
        bench.clock.advance(10)
        await bench.until(lambda: len(bench.reports) == 2)
        assert bench.reports[1].fault_struct.fault_code == 0

    live(scene)


# --- restarts -----------------------------------------------------------------------------------------------------------------


@pytest.mark.case("T15")
@pytest.mark.parametrize("at", ["queued", "running", "installing", "completed"])
def test_a_power_cut_loses_no_transfer_and_doubles_none(live: Live, at: str) -> None:
    """Whatever the moment, the transfer is done and reported once."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        bench.network.content["http://files/a"] = b"x"
        bench.network.gate = gate = asyncio.Event()
        if at == "installing":
            bench.installer.gate = asyncio.Event()
        service.handle(download("k", delay_seconds=5 if at == "queued" else 0))
        if at in ("installing", "completed"):
            gate.set()
        await bench.until(lambda: bench.state_of("k").value == at and (at != "running" or bench.network.asked))
        bench.network.gate = bench.installer.gate = None
        await bench.again(1)
        bench.clock.advance(10)
        await bench.until(lambda: bench.reports)
        assert [(r.command_key, r.fault_struct.fault_code) for r in bench.reports] == [("k", 0)]
        assert bench.events == [EventStruct("7 TRANSFER COMPLETE"), EventStruct("M Download", "k")]
        bench.acknowledge()
        service = await bench.again(1)
        await bench.quiet()
        assert len(service.queue) == 0 and bench.reports == [] and not bench.ledger.owes_requests

    live(scene)


def test_a_transfer_that_was_cut_off_is_begun_again_on_a_clock_that_runs(live: Live) -> None:
    """Two readings of a clock differ: what is due now must not be found due a moment later for ever."""

    async def scene(bench: Bench) -> None:
        bench.clock.creep = 1e-7
        bench.network.content["http://files/a"] = b"x"
        bench.network.gate = asyncio.Event()
        service = await bench.on()
        service.handle(download("k"))
        service.handle(schedule((0, 500, "2 Immediately", 3)))
        await bench.until(lambda: bench.network.asked)
        bench.network.gate = None
        await bench.again(1)
        await bench.until(lambda: len(bench.reports) == 2)

    live(scene)


def test_a_transfer_that_kills_the_device_is_given_up(live: Live) -> None:
    """After three restarts during the same transfer it is reported as failed instead of begun again."""

    async def scene(bench: Bench) -> None:
        bench.network.gate = asyncio.Event()
        service = await bench.on()
        service.handle(download("k"))
        for n in range(1, 5):
            await bench.until(lambda n=n: len(bench.network.asked) == n)
            await bench.again(1)
        await bench.until(lambda: bench.reports)
        assert bench.reports[0].fault_struct.fault_code == 9010
        assert "restarted" in bench.reports[0].fault_struct.fault_string

    live(scene)


def test_a_device_restarts_after_the_report_where_the_file_wants_it(live: Live) -> None:
    """DKT's order: TransferComplete, its response, the end of the session, the restart."""

    async def scene(bench: Bench) -> None:
        bench.installer = Applied(Restart.AFTER_REPORT)
        service = await bench.on()
        bench.network.content["http://files/a"] = b"x"
        service.handle(download("k"))
        await bench.until(lambda: bench.reports)
        await bench.quiet()
        assert bench.restarts == []
        service.session_opened()
        bench.acknowledge()
        await bench.quiet()
        assert bench.restarts == []
        service.session_closed()
        await bench.until(lambda: bench.restarts)
        await bench.again(5)
        await bench.quiet()
        assert len(bench.restarts) == 1

    live(scene)


def test_a_device_reports_after_the_restart_where_the_file_wants_it(live: Live) -> None:
    """The standard's order: no report before the restart, then `7 TRANSFER COMPLETE` and `M Download` with the first Inform."""

    async def scene(bench: Bench) -> None:
        bench.installer = Applied(Restart.BEFORE_REPORT)
        service = await bench.on()
        bench.network.content["http://files/a"] = b"x"
        service.handle(download("k"))
        await bench.until(lambda: bench.restarts)
        assert bench.reports == []
        assert service.queue.queued()[0].state == 3
        await bench.again(30)
        assert [r.command_key for r in bench.reports] == ["k"]
        assert bench.reports[0].complete_time > bench.reports[0].start_time
        assert [e.event_code for e in bench.ledger.events] == ["1 BOOT", "7 TRANSFER COMPLETE", "M Download"]

    live(scene)


def test_a_result_that_finds_no_room_on_disk_is_reported_when_there_is_some(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is kept in memory and not sent before it is on disk."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        bench.network.content["http://files/a"] = b"x"
        bench.installer.gate = asyncio.Event()
        service.handle(download("k"))
        await bench.until(lambda: bench.state_of("k") is State.INSTALLING)
        real = bench.store.transaction
        full = [True]

        def transaction() -> Any:
            if full[0]:
                raise StoreUnavailable("the disk is full")
            return real()

        monkeypatch.setattr(bench.store, "transaction", transaction)
        bench.installer.gate.set()
        await bench.until(lambda: bench.state_of("k") is State.COMPLETED)
        await bench.quiet()
        assert not bench.ledger.owes_requests
        full[0] = False
        bench.clock.advance(31)
        await bench.until(lambda: bench.ledger.owes_requests)
        assert bench.owed == 1

    live(scene)


class Killed(BaseException):
    """kill -9."""


class MortalLedger(Ledger):
    """Dies before or after its n-th commit."""

    left = 0
    after = False
    dead = False

    @contextmanager
    def promise(self) -> Iterator[StoreTransaction]:
        cls = type(self)
        cls.left -= 1
        cls.dead = cls.dead or (cls.left == 0 and not cls.after)
        if cls.dead:
            raise Killed
        with super().promise() as transaction:
            yield transaction
        if cls.left == 0:
            cls.dead = True
            raise Killed


@pytest.mark.case("T15")
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("restart", "works"), [*((r, True) for r in Restart), (Restart.NO, False)])
def test_a_crash_at_any_commit_leads_to_exactly_one_result(
    tmp_path: Path, after: bool, restart: Restart, works: bool
) -> None:
    """The process dies before or after each commit in turn; from acceptance to the confirmed report there is one outcome."""

    async def life(n: int) -> bool:
        """One life of a device that dies at commit n; False where it lives through it all."""
        bench = Bench(tmp_path / f"{n}")
        bench.ledger_class = MortalLedger
        bench.installer = Applied(restart)
        if works:
            bench.network.content["http://files/a"] = b"x"
        MortalLedger.left, MortalLedger.after, MortalLedger.dead = n, after, False
        died = accepted = False
        confirmed: list[Any] = []
        deaths = 0
        while True:
            try:
                service = await bench.on()
                if not accepted:
                    # An ACS that got no response does not know; it looks into the queue before it asks again.
                    if not service.queue.queued() and not confirmed:
                        service.handle(download("the key"))
                    accepted = True
                for _ in range(400):
                    await asyncio.sleep(0)
                    if MortalLedger.dead:
                        raise Killed
                    if bench.ledger.owes_requests or bench.restarts:
                        break
                    await asyncio.sleep(0.0003)
                if bench.ledger.owes_requests:
                    request = bench.ledger.next_request()
                    confirmed.append(request)
                    bench.service.acknowledged(request)
                elif bench.restarts:
                    bench.restarts.clear()
                    await bench.off()
                    continue
                await bench.off()
                break
            except Killed:
                died, deaths = True, deaths + 1
                MortalLedger.left, MortalLedger.dead = 0, False
                await bench.off()
        store = Store(bench.directory / "state")
        assert not Ledger(store).owes_requests
        assert [k for k, _ in store.items("transfer") if k.isdigit()] == []
        store.close()
        assert {r.command_key for r in confirmed} == {"the key"}
        # A report whose confirmation was lost in the crash is sent once more, word for word.
        assert len(set(confirmed)) == 1 and len(confirmed) <= 1 + deaths
        assert confirmed[0].fault_struct.fault_code == (0 if works else 9015)
        return died

    n = 1
    while asyncio.run(life(n)):
        n += 1
    assert n > 3


# --- without the ACS ----------------------------------------------------------------------------------------------------------


def test_a_transfer_of_the_device_itself_is_reported_as_the_policy_says(live: Live) -> None:
    """AutonomousTransferComplete with where it came from and its size; not counted among the ACS's transfers."""

    async def scene(bench: Bench) -> None:
        policy = AutonomousPolicy(enable=True, file_types=frozenset({SPLASH}))
        bench.options["policy"] = lambda: policy
        service = await bench.on()
        bench.network.content["http://files/a"] = b"12345"
        service.start_own(Kind.DOWNLOAD, SPLASH, "http://files/a", announce_url="http://announce")
        assert service.queue.queued() == () and len(service.queue.all_queued()) == 1
        await bench.until(lambda: bench.reports)
        (report,) = bench.reports
        assert isinstance(report, AutonomousTransferComplete)
        assert (report.announce_url, report.transfer_url) == ("http://announce", "http://files/a")
        assert (report.is_download, report.file_size, report.fault_struct.fault_code) == (True, 5, 0)
        assert bench.events == [EventStruct("10 AUTONOMOUS TRANSFER COMPLETE")]
        bench.acknowledge()
        policy = AutonomousPolicy(enable=True, result="Failure", file_types=frozenset({SPLASH}))
        service.start_own(Kind.DOWNLOAD, SPLASH, "http://files/a")
        await bench.until(lambda: len(service.queue) == 0)
        assert bench.events == []

    live(scene)


@pytest.mark.parametrize(
    ("policy", "download_", "success", "file_type", "reported"),
    [
        (AutonomousPolicy(), True, True, SPLASH, False),
        (AutonomousPolicy(enable=True), True, True, SPLASH, False),
        (AutonomousPolicy(True, file_types=frozenset({SPLASH})), True, True, SPLASH, True),
        (AutonomousPolicy(True, "Upload", file_types=frozenset({SPLASH})), True, True, SPLASH, False),
        (AutonomousPolicy(True, "Download", "Failure", frozenset({SPLASH})), True, False, SPLASH, True),
        (
            AutonomousPolicy(True, "Upload", "Success", frozenset({"4 Vendor Log File"})),
            False,
            True,
            "7 Vendor Log File 3",
            True,
        ),
    ],
)
def test_the_filters_of_the_policy(
    policy: AutonomousPolicy, download_: bool, success: bool, file_type: str, reported: bool
) -> None:
    """AutonomousTransferCompletePolicy: an empty FileTypeFilter reports nothing."""
    assert policy.reports(is_download=download_, success=success, file_type=file_type) is reported


def test_the_device_asks_for_a_download(live: Live) -> None:
    """RequestDownload is owed with `9 REQUEST DOWNLOAD`."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        service.request_download("2 Web Content", {"Version": "2"})
        request = bench.ledger.next_request()
        assert isinstance(request, RequestDownload)
        assert request.file_type_arg[0].name == "Version"
        assert bench.events == [EventStruct("9 REQUEST DOWNLOAD")]
        assert bench.owed == 1

    live(scene)
