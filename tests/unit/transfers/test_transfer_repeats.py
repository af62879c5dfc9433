"""A file server that cannot serve just now: how often and when a transfer is begun again, and what never is."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from homeport.codec.messages import CancelTransfer, GetQueuedTransfers, GetQueuedTransfersResponse, Upload
from homeport.cpe.transfers.records import Kind
from homeport.cpe.transfers.repeats import Repeats
from homeport.cpe.transfers.rules import TransferRules
from homeport.transport.files import FileLimits, FileTransferError, Trouble

from .conftest import SPLASH, Bench, Live, download, schedule

URL = "http://files/a"
AWAY = FileTransferError(Trouble.UNREACHABLE, "cannot reach files: Connection refused")


async def tries(bench: Bench, seconds: float, *, step: float = 2.5) -> list[float]:
    """Moments of the attempts, in seconds from now, while that much time passes or until a report is owed."""
    began = bench.clock.time
    bench.network.asked.clear()
    while bench.clock.time < began + seconds and not bench.reports:
        await bench.quiet()
        bench.clock.advance(step)
    await bench.quiet()
    return [at - began for _, at in bench.network.asked]


def test_a_server_that_restarts_fails_no_download(live: Live) -> None:
    """Refused twice, then served: one report, without a fault; it began with the first attempt."""

    async def scene(bench: Bench) -> None:
        bench.options["random"] = lambda: 0.0
        service = await bench.on()
        bench.network.content[URL] = AWAY
        service.handle(download("k"))
        assert await tries(bench, 11) == [0, 5]
        assert bench.reports == []
        bench.network.content[URL] = b"firmware"
        await tries(bench, 20)
        assert bench.installer.content == [b"firmware"]
        assert [(r.command_key, r.fault_struct.fault_code, r.fault_struct.fault_string) for r in bench.reports] == [
            ("k", 0, "")
        ]
        assert bench.reports[0].start_time == "2027-01-15T08:00:00Z"

    live(scene)


def test_the_attempts_have_an_end_and_the_acs_is_told_how_many_there_were(live: Live) -> None:
    """Waits that double up to the longest one, then the fault of the last attempt, once, and nothing more."""

    async def scene(bench: Bench) -> None:
        bench.options |= {
            "random": lambda: 1.0,
            "rules": TransferRules(repeats=Repeats(most=5, first=10.0, longest=50.0)),
        }
        service = await bench.on()
        bench.network.content[URL] = AWAY
        service.handle(download("k"))
        assert await tries(bench, 1000, step=10) == [0, 10, 30, 70, 120, 170]
        fault = bench.reports[0].fault_struct
        assert (fault.fault_code, fault.fault_string) == (9015, f"{AWAY} (tried 6 times)")
        bench.clock.advance(10_000)
        await bench.quiet()
        assert len(bench.reports) == 1 and len(bench.network.asked) == 6

    live(scene)


@pytest.mark.parametrize(
    ("trouble", "passing"),
    [
        (Trouble.CREDENTIALS, None),
        (Trouble.NOT_ACCESSIBLE, None),
        (Trouble.CORRUPT, None),
        (Trouble.UNTRUSTED, None),
        (Trouble.SPACE, None),
        (Trouble.SERVER, None),
        (Trouble.UNREACHABLE, False),  # a certificate that does not hold
    ],
)
def test_what_will_be_no_better_in_a_minute_is_the_end_at_once(
    live: Live, trouble: Trouble, passing: bool | None
) -> None:
    """401, 403, 404, a wrong file, no room: asked once, reported at once."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        bench.network.content[URL] = FileTransferError(trouble, "no", passing=passing)
        service.handle(download("k"))
        await bench.until(lambda: bench.reports)
        assert len(bench.network.asked) == 1
        assert bench.reports[0].fault_struct.fault_string == "no"

    live(scene)


def test_a_server_that_names_a_time_is_left_alone_so_long(live: Live) -> None:
    """Retry-After 100: not before, and up to a quarter later, so that a fleet does not come at once."""

    async def scene(bench: Bench) -> None:
        bench.network.content[URL] = FileTransferError(Trouble.SERVER, "busy", passing=True, retry_after=100)
        for chance, moment in ((0.0, 100), (1.0, 125)):
            bench.options["random"] = lambda chance=chance: chance
            service = await bench.on()
            service.handle(download("k"))
            assert await tries(bench, 130, step=25) == [0, moment]
            service.handle(CancelTransfer("k"))
            await bench.off()
        await bench.on()

    live(scene)


def test_a_window_waits_for_the_time_that_the_server_names(live: Live) -> None:
    """MaxRetries stays the ACS's count; 30 s between attempts become the server's 60."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        bench.network.content[URL] = FileTransferError(Trouble.SERVER, "busy", passing=True, retry_after=60)
        service.handle(schedule((0, 300, "2 Immediately", 1)))
        assert await tries(bench, 200, step=20) == [0, 60]

    live(scene)


def test_all_attempts_lie_within_the_time_limit(live: Live) -> None:
    """Each attempt has what the ones before left; a wait that would end later is not begun, and a restart of the agent keeps the count."""

    async def scene(bench: Bench) -> None:
        bench.options |= {"random": lambda: 1.0, "limits": FileLimits(total=60.0)}
        service = await bench.on()
        bench.network.content[URL] = AWAY
        service.handle(download("k"))
        assert await tries(bench, 1000, step=10) == [0, 10, 30]
        assert [limits.total for limits in bench.network.limits] == [60, 50, 30]
        assert bench.reports[0].fault_struct.fault_string.endswith("(tried 3 times)")

    live(scene)


def test_a_restart_of_the_agent_keeps_the_count(live: Live) -> None:
    """Power cuts between the attempts give no new ones for ever, and the repetitions are not taken for power cuts."""

    async def scene(bench: Bench) -> None:
        bench.options |= {"random": lambda: 1.0, "rules": TransferRules(repeats=Repeats(most=6), restarts=1)}
        service = await bench.on()
        bench.network.content[URL] = AWAY
        service.handle(download("k"))
        for count in (1, 2, 3, 4, 5, 6):
            await bench.until(lambda n=count: len(bench.network.asked) == n and not bench.service._tasks)
            await bench.again()
        await bench.until(lambda: bench.reports)
        assert bench.reports[0].fault_struct.fault_string == f"{AWAY} (tried 7 times)"

    live(scene)


def test_one_that_waits_for_its_server_is_in_progress_and_holds_up_no_other(live: Live) -> None:
    """GetQueuedTransfers says 2, people see the trouble and when it goes on; another download passes; CancelTransfer ends it."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        bench.network.content[URL] = AWAY
        bench.network.content["http://files/b"] = b"b"
        service.handle(download("k"))
        service.handle(download("other", url="http://files/b"))
        await bench.until(lambda: bench.reports)
        assert [r.command_key for r in bench.reports] == ["other"]
        answer = service.handle(GetQueuedTransfers())
        assert isinstance(answer, GetQueuedTransfersResponse)
        assert [(t.command_key, t.state) for t in answer.transfer_list if t.command_key == "k"] == [("k", 2)]
        row = service.status()[0]
        assert (row.fault_code, row.fault_string) == (9015, str(AWAY)) and 5 <= (row.due_in or 0) <= 10
        service.handle(CancelTransfer("k"))
        bench.clock.advance(1000)
        await bench.quiet()
        assert len(bench.reports) == 1 and len(bench.network.asked) == 2

    live(scene)


def test_an_upload_is_repeated_too(live: Live) -> None:
    """The file is written and sent anew."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        bench.network.content["http://files/up"] = FileTransferError(Trouble.INCOMPLETE, "cut")
        service.handle(Upload("u", "3 Vendor Configuration File", "http://files/up"))
        await bench.until(lambda: bench.network.asked)
        await bench.quiet()
        del bench.network.content["http://files/up"]
        await tries(bench, 20)
        assert [r.fault_struct.fault_code for r in bench.reports] == [0]
        assert bench.network.taken == {"http://files/up": b"configuration"}

    live(scene)


def test_a_person_at_the_device_hears_of_the_trouble_at_once(live: Live) -> None:
    """He waits for the end, and decides himself whether to try again."""

    async def scene(bench: Bench) -> None:
        service = await bench.on()
        bench.network.content[URL] = AWAY
        number = service.start_own(Kind.DOWNLOAD, SPLASH, URL)
        await bench.until(lambda: service.finished(number))
        assert len(bench.network.asked) == 1

    live(scene)


def test_a_download_goes_on_where_the_server_was_lost(live: Live, bench: Bench) -> None:
    """What lies on the disk between two attempts is there for the next one: the place is the same, and nothing tidies it."""

    async def scene(bench: Bench) -> None:
        seen: list[bytes] = []

        async def fetch(url: str, destination: Path, **options: Any) -> Any:
            part = destination.with_name(destination.name + ".part")
            seen.append(await asyncio.to_thread(part.read_bytes) if part.exists() else b"")
            part.write_bytes(b"half")
            raise FileTransferError(Trouble.INCOMPLETE, "cut")

        bench.network.fetch = fetch  # type: ignore[method-assign]
        service = await bench.on()
        service.handle(download("k"))
        await tries(bench, 30)
        assert seen == [b"", b"half", b"half"][: len(seen)] and len(seen) >= 2

    live(scene)


def test_waits_are_spread_and_bounded() -> None:
    """The upper half of a range that doubles; a count of any size is no overflow."""
    rule = Repeats()
    assert [rule.wait(n, asked=0, random=lambda: 0.0) for n in (1, 2, 3, 6, 10_000)] == [5, 10, 20, 150, 150]
    assert [rule.wait(n, asked=0, random=lambda: 1.0) for n in (1, 2, 3, 6, 10_000)] == [10, 20, 40, 300, 300]
    assert rule.wait(1, asked=90, random=lambda: 0.5) == 90 * 1.125
