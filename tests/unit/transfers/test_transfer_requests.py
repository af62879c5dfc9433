"""What is accepted, what is refused and how, and what the queue shows. Time is virtual, the state is on disk."""

from typing import Any

import pytest

from homeport.codec.messages import (
    CancelTransfer,
    CancelTransferResponse,
    DownloadResponse,
    GetAllQueuedTransfers,
    GetQueuedTransfers,
    QueuedTransferStruct,
    ScheduleDownload,
    TimeWindowStruct,
    Upload,
    UploadResponse,
)
from homeport.cpe.transfers.records import State
from homeport.errors import Fault
from homeport.terms import UNKNOWN_TIME
from homeport.transport.files import FileLimits, FileOptions

from .conftest import Bench, Live, download


def refused(bench: Bench, request: Any) -> int:
    """The code with which a request is refused; nothing is queued."""
    before = len(bench.service.queue)
    with pytest.raises(Fault) as caught:
        bench.service.handle(request)
    assert len(bench.service.queue) == before
    return int(caught.value.code)


@pytest.mark.case("T02")
def test_a_download_is_accepted_for_later_with_unknown_times(live: Live) -> None:
    """Status 1, both times unknown, and the transfer on disk before the response leaves."""

    async def scene(bench: Bench) -> None:
        service = await bench.on(run=False)
        assert service.handle(download()) == DownloadResponse(1, UNKNOWN_TIME, UNKNOWN_TIME)
        assert service.handle(
            Upload(command_key="u", file_type="3 Vendor Configuration File", url="http://f/u")
        ) == UploadResponse(1, UNKNOWN_TIME, UNKNOWN_TIME)
        assert len(bench.on_disk()) == 2

    live(scene)


@pytest.mark.case("T05")
def test_an_unsupported_protocol_is_refused_at_once(live: Live) -> None:
    """9013 in the response of the RPC, for downloads and uploads."""

    async def scene(bench: Bench) -> None:
        bench.options["options"] = FileOptions(schemes=("tftp",))
        await bench.on(run=False)
        assert refused(bench, download(url="ftp://h/f")) == 9013
        assert refused(bench, download(url="gopher://h/f")) == 9013
        assert refused(bench, Upload(command_key="", file_type="4 Vendor Log File", url="http://h/f")) == 9013
        assert isinstance(bench.service.handle(download(url="tftp://h/f")), DownloadResponse)

    live(scene)


@pytest.mark.case("T06")
@pytest.mark.parametrize(
    "request_",
    [
        download(file_type="9 Nonsense"),
        download(file_type="3 Vendor Configuration File"),
        download(file_type=""),
        download(url=""),
        download(url="not a url"),
        download(url="http://user:pw@h/f"),
        download(url="http://h/" + "a" * 260),
        download(delay_seconds=-1),
        download(file_size=-1),
        download(key="k" * 33),
        Upload(command_key="u", file_type="1 Firmware Upgrade Image", url="http://h/f"),
    ],
)
def test_malformed_arguments_are_refused_with_9003(live: Live, request_: Any) -> None:
    """An unknown file type, a URL that is none or holds a user name, negative numbers, a long key."""

    async def scene(bench: Bench) -> None:
        await bench.on(run=False)
        assert refused(bench, request_) == 9003

    live(scene)


@pytest.mark.case("T11")
def test_an_upload_of_a_row_that_is_not_there_is_refused(live: Live) -> None:
    """`3 Vendor Configuration File 9`: no such row, 9003; row 1 and no row at all are fine."""

    async def scene(bench: Bench) -> None:
        service = await bench.on(run=False)
        for name in ("3 Vendor Configuration File 9", "4 Vendor Log File 0", "4 Vendor Log File x"):
            assert refused(bench, Upload(command_key="u", file_type=name, url="http://h/f")) == 9003
        for name in ("3 Vendor Configuration File 1", "3 Vendor Configuration File", "4 Vendor Log File 1"):
            service.handle(Upload(command_key="u", file_type=name, url="http://h/f"))

    live(scene)


def test_a_file_that_has_no_room_is_refused_with_9004(live: Live) -> None:
    """FileSize above what the device takes; the same with policy and 9001."""

    async def scene(bench: Bench) -> None:
        bench.options["limits"] = FileLimits(max_size=1000, reserve=0)
        bench.options["refuse"] = lambda t: "not on a Friday" if t.command_key == "friday" else ""
        await bench.on(run=False)
        assert refused(bench, download(file_size=1001)) == 9004
        assert refused(bench, download(key="friday")) == 9001
        bench.service.handle(download(file_size=1000))

    live(scene)


@pytest.mark.case("T07")
def test_sixteen_transfers_are_queued_and_listed_the_next_is_refused(live: Live) -> None:
    """GetQueuedTransfers and GetAllQueuedTransfers show them in state 1; the 17th is answered 9004."""

    async def scene(bench: Bench) -> None:
        service = await bench.on(run=False)
        for n in range(15):
            service.handle(download(f"k{n}", file_size=n, target_file_name="t"))
        service.handle(Upload(command_key="up", file_type="3 Vendor Configuration File 1", url="http://h/u"))
        assert refused(bench, download("one too many")) == 9004
        listed: Any = service.handle(GetQueuedTransfers())
        assert listed.transfer_list[0] == QueuedTransferStruct("k0", 1)
        assert len(listed.transfer_list) == 16
        everything: Any = service.handle(GetAllQueuedTransfers())
        last = everything.transfer_list[-1]
        assert (last.command_key, last.is_download, last.file_type) == ("up", False, "6 Vendor Configuration File 1")
        first = everything.transfer_list[3]
        assert (first.state, first.is_download, first.file_type, first.file_size, first.target_file_name) == (
            1,
            True,
            "X 00256D Splash",
            3,
            "t",
        )

    live(scene)


@pytest.mark.case("T08")
def test_a_queued_transfer_is_cancelled_without_a_report(live: Live) -> None:
    """It is gone from memory and disk, also after a restart; an unknown key is no fault; all with the same key go."""

    async def scene(bench: Bench) -> None:
        bench.network.content["http://files/a"] = b"x"
        service = await bench.on()
        for key in ("a", "a", "b"):
            service.handle(download(key, delay_seconds=100))
        assert service.handle(CancelTransfer("nobody's")) == CancelTransferResponse()
        service.handle(CancelTransfer("a"))
        assert [t.command_key for t in service.queue] == ["b"]
        service = await bench.again()
        assert [t.command_key for t in service.queue] == ["b"]
        bench.clock.advance(200)
        await bench.until(lambda: bench.reports)
        assert [r.command_key for r in bench.reports] == ["b"]

    live(scene)


@pytest.mark.case("T08")
def test_a_transfer_under_way_is_stopped_by_cancel(live: Live) -> None:
    """State 2: the bytes stop, nothing is reported, its files are gone; the next transfer begins."""

    async def scene(bench: Bench) -> None:
        import asyncio

        service = await bench.on()
        bench.network.gate = asyncio.Event()
        bench.network.content["http://files/a"] = b"x"
        service.handle(download("a"))
        await bench.until(lambda: bench.network.asked)
        assert service.queue.queued() == (QueuedTransferStruct("a", 2),)
        service.handle(download("b"))
        service.handle(CancelTransfer("a"))
        bench.network.gate.set()
        await bench.until(lambda: bench.reports)
        assert [r.command_key for r in bench.reports] == ["b"]
        assert list((bench.directory / "files").iterdir()) == []

    live(scene)


@pytest.mark.case("T08")
@pytest.mark.parametrize("stage", ["installing", "completed"])
def test_what_is_being_applied_or_is_over_cannot_be_cancelled(live: Live, stage: str) -> None:
    """9021, and the report comes; another transfer with the same key stays too."""

    async def scene(bench: Bench) -> None:
        import asyncio

        service = await bench.on()
        bench.network.content["http://files/a"] = b"x"
        bench.installer.gate = asyncio.Event() if stage == "installing" else None
        service.handle(download("a"))
        service.handle(download("a", delay_seconds=50))
        await bench.until(lambda: bench.state_of("a").value == stage)
        with pytest.raises(Fault) as caught:
            service.handle(CancelTransfer("a"))
        assert caught.value.code == 9021
        assert len(service.queue) == 2
        if bench.installer.gate:
            bench.installer.gate.set()
        await bench.until(lambda: bench.state_of("a") is State.COMPLETED)
        assert bench.reports[0].fault_struct.fault_code == 0

    live(scene)


@pytest.mark.case("T13")
@pytest.mark.parametrize(
    "windows",
    [
        (),
        ((5, 5, "1 At Any Time", 0),),
        ((10, 5, "1 At Any Time", 0),),
        ((5, 65, "1 At Any Time", 0), (60, 100, "1 At Any Time", 0)),
        ((50, 65, "1 At Any Time", 0), (5, 10, "1 At Any Time", 0)),
        ((5, 65, "3 When Idle", 0),),
        ((5, 65, "4 Confirmation Needed", 0),),
        ((5, 65, "X ACME Never", 0),),
        ((5, 65, "2 Immediately", -2),),
        ((1, 2, "2 Immediately", 0), (3, 4, "2 Immediately", 0), (5, 6, "2 Immediately", 0)),
    ],
)
def test_windows_that_make_no_sense_are_refused(live: Live, windows: tuple[tuple[Any, ...], ...]) -> None:
    """Overlap, end before start, a third window, a mode that this device cannot keep: 9003."""
    listed = tuple(TimeWindowStruct(s, e, mode, max_retries=n) for s, e, mode, n in windows)

    async def scene(bench: Bench) -> None:
        await bench.on(run=False)
        request = ScheduleDownload("s", "X 00256D Splash", "http://h/f", time_window_list=listed)
        assert refused(bench, request) == 9003

    live(scene)


def test_modes_are_supported_where_the_device_can_keep_to_them(live: Live) -> None:
    """3 needs to know idleness, 4 needs somebody to ask."""

    async def scene(bench: Bench) -> None:
        bench.options.update(idle=lambda: True, asks=True)
        service = await bench.on(run=False)
        assert len(service.modes) == 4

    live(scene)


def test_nothing_is_accepted_that_the_disk_does_not_take(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disk before reply: a full disk raises, and no transfer is left in memory."""
    from homeport.errors import StoreUnavailable

    async def scene(bench: Bench) -> None:
        service = await bench.on(run=False)

        def full() -> Any:
            raise StoreUnavailable("the disk is full")

        monkeypatch.setattr(bench.store, "transaction", full)
        with pytest.raises(StoreUnavailable):
            service.handle(download())
        assert len(service.queue) == 0

    live(scene)
