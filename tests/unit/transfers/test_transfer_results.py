"""When transfers run and what they report."""

import asyncio

import pytest

from homeport.codec.messages import (
    AutonomousTransferComplete,
    EventStruct,
    RequestDownload,
    TransferComplete,
    Upload,
)
from homeport.cpe.transfers.policy import AutonomousPolicy
from homeport.cpe.transfers.records import Kind, State
from homeport.cpe.transfers.rules import TransferRules
from homeport.transport.files import FileTransferError, Trouble

from .conftest import ONCE, SPLASH, Applied, Bench, Live, download


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
        bench.options["rules"] = ONCE
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
    """The fault code tells the troubles apart; a device may take the first one for the end."""

    async def scene(bench: Bench) -> None:
        bench.options["rules"] = ONCE
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
            bench.network.content["http://files/a"] = b"x"
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
