"""The seam between the agent and its transfers: what is loaded when, what the settings decide, what a broken state does."""

import asyncio
import json
import sys

import pytest

from cpe_support.bench import Bench
from homeport.codec.messages import Download, DownloadResponse, FaultMessage, GetQueuedTransfers, GetRPCMethods
from homeport.cpe.firmware.install import UPGRADE
from homeport.cpe.parts import part
from homeport.cpe.parts.transfers import TransfersPart
from homeport.cpe.transfers.service import TransferService
from homeport.errors import StoreError

VERSION = "Device.DeviceInfo.SoftwareVersion"
FILE = Download("key", UPGRADE, "http://files.example/image", delay_seconds=60)


def play(tmp_path, scene, **settings):
    """scene(bench, agent, part) with transfers in the agent."""

    async def run():
        bench = Bench(tmp_path, parts=lambda agent: [TransfersPart(agent)], **settings)
        agent = await bench.start()
        await scene(bench, agent)
        await bench.stop()

    asyncio.run(run())


async def informed(bench, count):
    """Wait for so many Informs: the start waits for a thread or a process of its own, which the virtual clock does not know."""
    for _ in range(1000):
        if len(bench.informs) >= count:
            break
        await asyncio.sleep(0.01)
    await bench.clock.settle()
    assert len(bench.informs) == count


def test_nothing_is_built_before_the_first_transfer(tmp_path):
    """GetRPCMethods names them, the status lists none, and no service was made."""

    async def scene(bench, agent):
        (methods,) = await bench.ask(GetRPCMethods())
        assert {"Download", "Upload", "ScheduleDownload", "CancelTransfer"} <= set(methods.method_list)
        assert agent.parts.transfers == ()
        assert not (tmp_path / "transfers").exists()

    play(tmp_path, scene)


def test_an_accepted_transfer_is_found_again_after_a_power_cut(tmp_path):
    """It is in the status and in the queue, with its key; the query of its URL is not shown."""

    async def scene(bench, agent):
        (answer,) = await bench.ask(Download("key", UPGRADE, "http://files.example/i?secret", delay_seconds=60))
        assert isinstance(answer, DownloadResponse)
        await bench.power_cut()
        agent = await bench.start()
        await informed(bench, 3)
        (row,) = agent.parts.transfers
        assert (row.command_key, row.url, row.state) == ("key", "http://files.example/i", "queued")
        (queue,) = await bench.ask(GetQueuedTransfers())
        assert [t.command_key for t in queue.transfer_list] == ["key"]

    play(tmp_path, scene)


def test_a_device_without_updater_takes_no_firmware(tmp_path):
    """9003, as for any file type that it does not know."""

    async def scene(bench, agent):
        (answer,) = await bench.ask(FILE)
        assert isinstance(answer, FaultMessage) and answer.fault_code == 9003

    play(tmp_path, scene, firmware_updater="none")


@pytest.mark.parametrize("works", [True, False])
def test_the_devices_own_program_says_which_firmware_runs(tmp_path, works):
    """Its version is in the first Inform; where it fails, the model's value stands and the agent goes on."""
    status = {"slots": [{"name": "a", "version": "7.1", "running": True}]} if works else {}

    async def scene(bench, agent):
        await informed(bench, 1)
        assert bench.values()[VERSION] == ("7.1" if works else "1.0")

    command = (sys.executable, "-c", f"print({json.dumps(status)!r})")
    play(tmp_path, scene, firmware_updater="program", firmware_command=command)


def test_transfers_that_cannot_be_taken_up_are_refused_not_forgotten(tmp_path, monkeypatch):
    """A state that cannot be read at the start: new ones are answered 9002, the sessions go on."""

    async def scene(bench, agent):
        await bench.ask(FILE)
        await bench.power_cut()

        async def broken(self):
            raise StoreError("the disk fails")

        monkeypatch.setattr(TransferService, "start", broken)
        await bench.start()
        await informed(bench, 3)
        (answer,) = await bench.ask(FILE)
        assert isinstance(answer, FaultMessage) and answer.fault_code == 9002

    play(tmp_path, scene)


def test_transfers_are_taken_up_as_soon_as_the_disk_lets_us(tmp_path, monkeypatch):
    """A disk that was full at the start is no reason to forget what was accepted until the next restart."""
    whole, troubles = TransferService.start, iter([True, True])
    monkeypatch.setattr(part, "REST", 0.01)

    async def failing(self):
        if next(troubles, False):
            raise StoreError("the disk is full")
        await whole(self)

    async def scene(bench, agent):
        await bench.ask(FILE)
        await bench.power_cut()
        monkeypatch.setattr(TransferService, "start", failing)
        await bench.start()
        async with asyncio.timeout(5):
            while not isinstance((await bench.ask(FILE))[0], DownloadResponse):
                await asyncio.sleep(0.01)
        (queue,) = await bench.ask(GetQueuedTransfers())
        assert len(queue.transfer_list) == 2

    play(tmp_path, scene)
