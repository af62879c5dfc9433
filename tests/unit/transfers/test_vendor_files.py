"""The configuration file: what an upload gives a download takes, all of it or nothing; and the log files."""

import asyncio
import json
from pathlib import Path

import pytest

from homeport.cpe.transfers.file_types import Restart
from homeport.cpe.transfers.records import Kind, Transfer
from homeport.cpe.transfers.vendor_files import (
    VendorConfiguration,
    VendorLogs,
    apply_configuration,
    export_configuration,
)
from homeport.model.profile import load_profile
from homeport.model.tree import DataModel
from homeport.terms import Writer
from homeport.transport.files import FileTransferError, Trouble

TRANSFER = Transfer(1, Kind.UPLOAD, "k", "3 Vendor Configuration File 1", "http://f/u")
INTERVAL = "Device.ManagementServer.PeriodicInformInterval"


@pytest.fixture
def model() -> DataModel:
    return DataModel(load_profile("dkt-797xx"))


def everything(model: DataModel) -> dict[str, str]:
    return {v.name: v.value for v in model.get("")}


def test_an_export_is_accepted_again_and_changes_nothing(model: DataModel) -> None:
    """Upload, then Download of the same file: the device is as it was."""
    before = everything(model)
    assert apply_configuration(model, export_configuration(model)) in (0, 1)
    assert everything(model) == before


def test_a_file_brings_back_values(model: DataModel) -> None:
    """What was changed after the export is as it was then."""
    saved = export_configuration(model)
    before = everything(model)
    model.set_local(INTERVAL, "12345", Writer.LOCAL)
    apply_configuration(model, saved)
    assert everything(model) == before


def test_rows_come_and_go_with_the_file(model: DataModel) -> None:
    """Rows of the file are added, others deleted; values follow rows whose number has changed."""
    table = next((n.name for n in model.names("Device.", False) if n.writable and n.name.endswith(".")
                  and not n.name[:-1].rpartition(".")[2].isdigit()), "")  # fmt: skip
    if not table:
        pytest.skip("the profile has no table that can grow")
    with model.transaction(Writer.LOCAL) as change:
        kept = change.add_object(table)
        change.commit()
    saved, rows = export_configuration(model), model.instances(table)
    with model.transaction(Writer.LOCAL) as change:
        change.delete_object(f"{table}{kept}.")
        change.add_object(table)
        change.add_object(table)
        change.commit()
    apply_configuration(model, saved)
    assert len(model.instances(table)) == len(rows)


def test_secrets_are_not_in_the_file(model: DataModel) -> None:
    """Hidden parameters are left out, so that a restore keeps the device's passwords."""
    model.set_local("Device.ManagementServer.Password", "very secret", Writer.LOCAL)
    saved = export_configuration(model)
    assert b"very secret" not in saved
    apply_configuration(model, saved)
    assert model.value("Device.ManagementServer.Password", reveal=True) == "very secret"


@pytest.mark.parametrize(
    "spoil",
    [
        {"Device.ManagementServer.PeriodicInformInterval": "not a number"},
        {"Device.Nothing.Like.This": "1"},
        {"Device.DeviceInfo.SerialNumber": "my own"},
    ],
)
def test_one_wrong_value_spoils_the_whole_file(model: DataModel, spoil: dict[str, str]) -> None:
    """All or nothing: 9018, and no other value of the file is taken."""
    data = json.loads(export_configuration(model))
    data["values"][INTERVAL] = "777"
    data["values"] = {**data["values"], **spoil}
    before = everything(model)
    with pytest.raises(FileTransferError) as caught:
        apply_configuration(model, json.dumps(data).encode())
    assert caught.value.trouble is Trouble.CORRUPT
    assert everything(model) == before


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\xfe", b"[1]", b'{"format": "other"}', b"[" * 100_000])
def test_a_file_that_is_no_configuration_is_corrupt(model: DataModel, data: bytes) -> None:
    """Whatever it is, it is answered with 9018."""
    with pytest.raises(FileTransferError) as caught:
        apply_configuration(model, data)
    assert caught.value.trouble is Trouble.CORRUPT


def test_the_plug_in_writes_and_applies_files(model: DataModel, tmp_path: Path) -> None:
    """Upload writes the export, download applies it; other rows than those of the device are refused."""
    plug_in = VendorConfiguration(model)

    async def main() -> None:
        await plug_in.write(tmp_path / "c", TRANSFER)
        model.set_local(INTERVAL, "4711", Writer.LOCAL)
        assert await plug_in.apply(tmp_path / "c", TRANSFER) in (Restart.NO, Restart.AFTER_REPORT)

    asyncio.run(main())
    assert model.value(INTERVAL) != "4711"
    assert plug_in.has(None) and not plug_in.has(99)


def test_a_log_is_joined_from_its_files(tmp_path: Path) -> None:
    """Oldest first; a part that was never written is passed over."""
    (tmp_path / "client.log").write_text("new\n")
    logs = VendorLogs(lambda: {1: [tmp_path / "client.log.1", tmp_path / "client.log"], 2: [tmp_path / "x"]})
    asyncio.run(logs.write(tmp_path / "out", TRANSFER))
    assert (tmp_path / "out").read_text() == "new\n"
    (tmp_path / "client.log.1").write_text("old\n")
    asyncio.run(logs.write(tmp_path / "out", TRANSFER))
    assert (tmp_path / "out").read_text() == "old\nnew\n"
    assert logs.has(None) and logs.has(2) and not logs.has(3)
