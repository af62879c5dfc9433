"""Transfers over restarts, power cuts and crashes: exactly one report follows each."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from homeport.codec.messages import (
    EventStruct,
)
from homeport.cpe.ledger import Ledger
from homeport.cpe.state import Store, StoreTransaction
from homeport.cpe.transfers.file_types import Restart
from homeport.cpe.transfers.records import State
from homeport.errors import StoreUnavailable
from homeport.terms import UNKNOWN_TIME

from .conftest import ONCE, Applied, Bench, Live, download, schedule


@pytest.mark.parametrize("clock_is_set", [True, False])
@pytest.mark.case("T15")
def test_a_delay_goes_on_over_a_restart(live: Live, clock_is_set: bool) -> None:
    """With a clock the remaining time counts, without one the delay begins anew (unverified)."""

    async def scene(bench: Bench) -> None:
        if not clock_is_set:
            bench.clock.offset = 0.0
        bench.network.content["http://files/a"] = b"x"
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
        else:
            bench.options["rules"] = ONCE
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
