"""Whether the ACS hears of transfers that it did not ask for: as AutonomousTransferCompletePolicy says."""

import pytest

from cpe_support.open_agent import SERVER, standard_profile
from homeport.cpe.transfers.policy import policy_of
from homeport.model.tree import DataModel
from homeport.terms import Writer

POLICY = SERVER + "AutonomousTransferCompletePolicy."
FIRMWARE = "1 Firmware Upgrade Image"
ALL = {"FileTypeFilter": FIRMWARE, "TransferTypeFilter": "Both", "ResultTypeFilter": "Both"}


def model(**values: str) -> DataModel:
    made = DataModel(standard_profile("Device:2.19", "ManagementServer.AutonomousTransferCompletePolicy."))
    with made.transaction(Writer.ACS) as change:
        for name, text in values.items():
            change.set(POLICY + name, text)
        change.commit()
    return made


@pytest.mark.case("E13")
@pytest.mark.parametrize(
    ("values", "reported"),
    [
        ({}, False),
        ({"Enable": "true"}, False),
        ({**ALL, "Enable": "true"}, True),
        ({**ALL, "Enable": "false"}, False),
        ({**ALL, "Enable": "true", "FileTypeFilter": "2 Web Content"}, False),
        ({**ALL, "Enable": "true", "TransferTypeFilter": "Upload"}, False),
        ({**ALL, "Enable": "true", "TransferTypeFilter": "Download"}, True),
        ({**ALL, "Enable": "true", "ResultTypeFilter": "Failure"}, False),
    ],
)
def test_an_autonomous_download_is_reported_where_every_filter_lets_it_pass(values, reported):
    """Enable, kind of transfer, result and file type; an empty list of types lets none pass."""
    assert policy_of(model(**values)).reports(is_download=True, success=True, file_type=FIRMWARE) is reported


@pytest.mark.case("E13")
def test_a_device_without_the_policy_object_reports_none():
    """As the factory value Enable false does."""
    made = DataModel(standard_profile("Device:2.19"))
    assert not policy_of(made).reports(is_download=True, success=True, file_type=FIRMWARE)
