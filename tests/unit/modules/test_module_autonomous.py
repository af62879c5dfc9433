"""Changes that the ACS did not ask for: reported as DUStateChangeComplPolicy says, and in no other way."""

import pytest

from homeport.codec.messages import AutonomousDUStateChangeComplete
from homeport.cpe.modules.policy import ChangePolicy
from homeport.cpe.modules.records import Kind, Operation
from homeport.terms import Writer
from support.box_environment import package

POLICY = "Device.ManagementServer.DUStateChangeComplPolicy."
EVERYTHING = {
    "Enable": "true",
    "OperationTypeFilter": "Install,Update,Uninstall",
    "ResultTypeFilter": "Both",
    "FaultCodeFilter": "9015,9028",
}


def allow(bench, **values):
    with bench.model.transaction(Writer.ACS) as change:
        for name, text in values.items():
            change.set(POLICY + name, text)
        change.commit()


async def by_hand(bench, *operations):
    """Results of a change that a person at the device makes."""
    number = bench.service.start_own(operations)
    await bench.until(lambda: any(r.number == number for r in bench.service.finished))
    await bench.idle()
    return next(r.results for r in bench.service.finished if r.number == number)


@pytest.mark.case("T23")
@pytest.mark.case("E13")
def test_a_local_install_is_reported_where_the_policy_wants_it(live, tmp_path):
    """Event 12 and AutonomousDUStateChangeComplete with the operation; without Enable neither."""

    async def scene(bench):
        file = tmp_path / "a package"
        file.write_bytes(package())
        install = Operation(Kind.INSTALL, url=file.as_uri())
        (result,) = await by_hand(bench, install)
        assert result.current_state == "Installed"
        assert not bench.ledger.owes_requests and "12 AUTONOMOUS DU STATE CHANGE COMPLETE" not in bench.events
        allow(bench, **EVERYTHING)
        file.write_bytes(package(version="2.0"))
        await by_hand(bench, install)
        assert "12 AUTONOMOUS DU STATE CHANGE COMPLETE" in bench.events and "M ChangeDUState" not in bench.events
        report = bench.acknowledge()
        assert isinstance(report, AutonomousDUStateChangeComplete)
        assert [(r.operation_performed, r.version) for r in report.results] == [("Install", "2.0")]
        assert "12 AUTONOMOUS DU STATE CHANGE COMPLETE" not in bench.events

    live(scene)


@pytest.mark.case("E13")
def test_only_what_passes_the_filters_is_in_the_report(live):
    """Of three operations, the one whose type, result and fault code are wanted; a local change of a file is one of them."""

    async def scene(bench):
        allow(bench, **{**EVERYTHING, "OperationTypeFilter": "Update,Uninstall", "ResultTypeFilter": "Failure"})
        unknown = "11111111-2222-3333-4444-555555555555"
        results = await by_hand(
            bench,
            Operation(Kind.INSTALL, url="http://files/never"),
            Operation(Kind.UPDATE, uuid="bad"),
            Operation(Kind.UNINSTALL, uuid=unknown),
        )
        assert [r.fault.fault_code for r in results] == [9015, 9022, 9028]
        (told,) = bench.acknowledge().results
        assert (told.operation_performed, told.uuid) == ("Uninstall", unknown)

    live(scene)


def test_a_file_that_is_not_there_is_told_to_the_person(live):
    """9016 with the name of the file."""

    async def scene(bench):
        (result,) = await by_hand(bench, Operation(Kind.INSTALL, url="file:///no/such/file"))
        assert result.fault.fault_code == 9016 and "/no/such/file" in result.fault.fault_string

    live(scene)


@pytest.mark.case("E13")
@pytest.mark.parametrize(
    ("policy", "operation", "code", "reported"),
    [
        (ChangePolicy(), "Install", 0, False),
        (ChangePolicy(True), "Install", 0, False),
        (ChangePolicy(True, frozenset({"Install"})), "Install", 0, True),
        (ChangePolicy(False, frozenset({"Install"})), "Install", 0, False),
        (ChangePolicy(True, frozenset({"Install"})), "Update", 0, False),
        (ChangePolicy(True, frozenset({"Install"}), "Failure"), "Install", 0, False),
        (ChangePolicy(True, frozenset({"Install"}), "Success"), "Install", 0, True),
        (ChangePolicy(True, frozenset({"Install"}), "Both"), "Install", 9015, False),
        (ChangePolicy(True, frozenset({"Install"}), "Both", frozenset({9015})), "Install", 9015, True),
        (ChangePolicy(True, frozenset({"Install"}), "Success", frozenset({9015})), "Install", 9015, False),
        (ChangePolicy(True, frozenset({"Install"}), "Failure", frozenset({9016})), "Install", 9015, False),
    ],
)
def test_a_change_passes_every_filter_or_is_not_reported(policy, operation, code, reported):
    """Empty lists let nothing pass; fault codes concern failures only (TR-181 DUStateChangeComplPolicy)."""
    assert policy.reports(operation, code) is reported
