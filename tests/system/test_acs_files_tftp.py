"""Stored files by TFTP, for devices that know nothing else: on demand, read-only, and only what an operator has stored."""

import asyncio
from pathlib import Path

import pytest

from homeport.transport.files import FileTransferError, Trouble, fetch, put
from support.acs_files import CONFIGURATION, add, ask, ordered
from support.acs_wire import acs, run

CONTENT = b"vega" * 700


def test_operators_files_are_given_and_nothing_else(tmp_path: Path) -> None:
    """By name; not the database, not what a device has sent; a deleted file is gone, a replaced one new."""

    async def scene() -> None:
        async with acs(tmp_path / "acs", tftp_listen="127.0.0.1:0") as bed:
            await add(bed, "vega.cfg", CONTENT)
            device = await bed.device()
            await device.session("1 BOOT")
            _, order = await ordered(bed, device, "Upload", {"file_type": CONFIGURATION, "file": "sent.cfg"})
            assert (await ask(order.url, "PUT", b"secret")).status == 201
            door = bed.app.tftp
            assert door is not None
            await door.refresh()
            base = f"tftp://127.0.0.1:{door.port}"
            target = tmp_path / "got"
            await fetch(f"{base}/vega.cfg", target)
            assert target.read_bytes() == CONTENT
            for name in ("sent.cfg", "../acs.db", "../../acs.db", ".vega.cfg.new", "nothing"):
                with pytest.raises(FileTransferError) as refused:
                    await fetch(f"{base}/{name}", tmp_path / "other")
                assert refused.value.trouble is Trouble.NOT_ACCESSIBLE, name
            with pytest.raises(FileTransferError):
                await put(f"{base}/new.cfg", target)
            assert (await bed.rest("DELETE", "files/vega.cfg")).status == 204
            async with asyncio.timeout(10):
                while (tmp_path / "acs" / "files" / "tftp" / "vega.cfg").exists():
                    await asyncio.sleep(0.01)

    run(scene())


def test_without_the_setting_there_is_no_tftp(tmp_path: Path) -> None:
    """It has no authentication, so it is off unless asked for."""

    async def scene() -> None:
        async with acs(tmp_path) as bed:
            assert bed.app.tftp is None

    run(scene())
