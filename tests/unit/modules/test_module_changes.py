"""ChangeDUState from its acceptance to its report: every operation has its own result, and nothing is lost to a power cut."""

import asyncio

import msgspec
import pytest

from homeport.codec.envelope import Envelope, encode
from homeport.codec.messages import (
    AutonomousDUStateChangeComplete,
    AutonOpResultStruct,
    ChangeDUState,
    ChangeDUStateResponse,
    DUStateChangeComplete,
    InstallOpStruct,
    UninstallOpStruct,
    UpdateOpStruct,
)
from homeport.cpe.modules.records import NO_UUID
from homeport.errors import Fault, StoreError
from homeport.terms import UNKNOWN_TIME, CwmpVersion
from homeport.transport.files import FileTransferError, Trouble
from support.box_environment import Box, package
from support.xsd import validator

UUID = "11111111-2222-3333-4444-555555555555"
OTHER = "99999999-2222-3333-4444-555555555555"
UNIT = "Device.SoftwareModules.DeploymentUnit.1"
ENVIRONMENT = "Device.SoftwareModules.ExecEnv.1."


@pytest.mark.case("T19")
def test_each_operation_has_its_result_in_the_order_of_the_request(live):
    """Two Installs, one from nowhere: one Installed, one Failed with 9015; event 11 with M ChangeDUState."""

    async def scene(bench):
        bench.network.content["http://files/good"] = package()
        operations = (InstallOpStruct("http://files/bad"), InstallOpStruct("http://files/good", UUID))
        assert isinstance(bench.service.handle(ChangeDUState(operations, "two")), ChangeDUStateResponse)
        await bench.until(lambda: bench.owed, "the report")
        assert [e for e in bench.events if e != "4 VALUE CHANGE"] == ["11 DU STATE CHANGE COMPLETE", "M ChangeDUState"]
        report = bench.acknowledge()
        bad, good = report.results
        assert (bad.current_state, bad.fault.fault_code, bad.uuid, bad.deployment_unit_ref) == (
            "Failed",
            9015,
            NO_UUID,
            "",
        )
        assert (good.current_state, good.fault.fault_code, good.uuid) == ("Installed", 0, UUID)
        assert good.execution_unit_ref_list == "Device.SoftwareModules.ExecutionUnit.1" and good.resolved
        assert bench.model.exists(good.deployment_unit_ref + ".")
        assert UNKNOWN_TIME < good.start_time <= good.complete_time and good.complete_time.endswith("Z")
        assert [e for e in bench.events if e != "4 VALUE CHANGE"] == []

    live(scene)


@pytest.mark.case("T20")
def test_what_cannot_be_installed_is_told_by_its_fault(live):
    """Duplicate 9026, bad UUID 9022, unknown environment 9023, disabled 9024, unfit 9025, no room 9027, no URL 9003, scheme 9013."""

    async def scene(bench):
        async def fault(**fields):
            url = fields.pop("url", "http://files/a")
            (result,) = await bench.change(InstallOpStruct(url, **fields))
            assert result.current_state == "Failed" and result.fault.fault_string
            return result.fault.fault_code

        assert (await bench.install(package(), uuid=UUID)).current_state == "Installed"
        assert await fault(uuid=UUID) == 9026
        assert await fault(uuid="not-a-uuid") == 9022
        assert await fault(uuid=OTHER, execution_env_ref="Device.SoftwareModules.ExecEnv.7.") == 9023
        assert await fault(url="") == 9003
        assert await fault(url="gopher://files/a") == 9013
        assert await fault(url="file:///etc/passwd") == 9013
        bench.network.content["http://files/tar"] = b"something else"
        assert await fault(url="http://files/tar") == 9025
        bench.box.full = True
        assert await fault(uuid=OTHER) == 9027
        bench.box.full = False
        bench.set("ExecEnv.1.Enable", "false")
        await bench.until(lambda: bench.value("ExecEnv.1.Status") == "Disabled")
        assert await fault(uuid=OTHER, execution_env_ref=ENVIRONMENT) == 9024
        assert await fault(uuid=OTHER) == 9024
        assert bench.tables().keys() == {
            "DeploymentUnit.1.Status",
            "ExecutionUnit.1.Status",
            "ExecutionUnit.1.ExecutionFaultCode",
        }

    live(scene)


@pytest.mark.case("T20")
def test_what_cannot_be_updated_or_removed_is_told_by_its_fault(live):
    """Lower version 9030, the same 9032, unknown 9028, bad UUID 9022, several versions and none named 9031."""

    async def scene(bench):
        async def fault(operation):
            (result,) = await bench.change(operation)
            assert result.current_state == "Failed"
            return result.fault.fault_code

        await bench.install(package(version="2.0"), uuid=UUID)
        bench.network.content["http://files/old"] = package(version="1.9")
        bench.network.content["http://files/stranger"] = package("stranger", "3.0")
        assert await fault(UpdateOpStruct(UUID, url="http://files/old")) == 9030
        assert await fault(UpdateOpStruct(UUID)) == 9032
        assert await fault(UpdateOpStruct(UUID, url="http://files/stranger")) == 9018
        assert await fault(UpdateOpStruct(OTHER)) == 9028
        assert await fault(UpdateOpStruct(url="http://files/never")) == 9028
        assert await fault(UninstallOpStruct(OTHER)) == 9028
        assert await fault(UninstallOpStruct("x")) == 9022
        assert await fault(UninstallOpStruct(UUID, execution_env_ref="Device.SoftwareModules.ExecEnv.9")) == 9023
        await bench.install(package(version="3.0"), "http://files/b", uuid=UUID)
        assert await fault(UpdateOpStruct(UUID)) == 9031
        assert (
            bench.value("DeploymentUnit.1.Version") == "2.0" and bench.value("DeploymentUnit.1.Status") == "Installed"
        )

    live(scene)


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (Trouble.CREDENTIALS, 9012),
        (Trouble.UNREACHABLE, 9015),
        (Trouble.NOT_ACCESSIBLE, 9016),
        (Trouble.INCOMPLETE, 9017),
        (Trouble.CORRUPT, 9018),
        (Trouble.UNTRUSTED, 9018),
        (Trouble.SPACE, 9027),
        (Trouble.SERVER, 9016),
        (Trouble.LOCAL, 9001),
    ],
)
def test_a_download_that_fails_has_a_code_that_results_may_carry(live, trouble, code):
    """Only codes of DeploymentUnitCPEFaultCodeType: 9010, 9002 and 9019 are not among them."""

    async def scene(bench):
        bench.network.content["http://files/a"] = FileTransferError(trouble, "so it is")
        (result,) = await bench.change(InstallOpStruct("http://files/a"))
        assert (result.fault.fault_code, result.fault.fault_string) == (code, "so it is")

    live(scene)


@pytest.mark.case("T21")
def test_without_a_uuid_the_same_one_is_derived_every_time(live):
    """Version 3 of RFC 4122, of vendor and name: the second Install is a duplicate."""

    async def scene(bench):
        first = await bench.install(package())
        assert first.uuid[14] == "3"
        second = await bench.install(package())
        assert (second.fault.fault_code, first.fault.fault_code) == (9026, 0)
        other = await bench.install(package(vendor="Somebody else"))
        assert other.uuid != first.uuid and other.fault.fault_code == 0

    live(scene)


def test_an_update_by_uuid_takes_the_stored_url_and_its_credentials(live):
    """UUID only: from where it came; UUID and URL: from there, which is the stored URL from then on."""

    async def scene(bench):
        await bench.install(package(version="1.0"), uuid=UUID, username="me", password="secret")
        bench.network.content["http://files/a"] = package(version="1.1")
        (result,) = await bench.change(UpdateOpStruct(UUID))
        assert (result.current_state, result.version, result.fault.fault_code) == ("Installed", "1.1", 0)
        assert bench.network.asked[-1] == ("http://files/a", "me")
        bench.network.content["http://files/new"] = package(version="1.2")
        await bench.change(UpdateOpStruct(UUID, url="http://files/new"))
        assert bench.value("DeploymentUnit.1.URL") == "http://files/new"
        assert bench.value("DeploymentUnit.1.Version") == "1.2"
        bench.network.content["http://files/new"] = package(version="1.3")
        (result,) = await bench.change(UpdateOpStruct(url="http://files/new"))
        assert result.version == "1.3" and result.uuid == UUID
        assert list(bench.box.contents.values()) == ["1.3"]

    live(scene)


def test_an_update_of_everything_tells_of_each_unit(live):
    """Neither UUID nor URL: every unit, each with its own result; one that fails stays as it was."""

    async def scene(bench):
        await bench.install(package("a", "1.0"), "http://files/a", uuid=UUID)
        await bench.install(package("b", "1.0"), "http://files/b", uuid=OTHER)
        bench.network.content["http://files/b"] = package("b", "2.0")
        results = await bench.change(UpdateOpStruct(), InstallOpStruct("http://files/never"))
        assert [(r.uuid, r.version, r.fault.fault_code) for r in results] == [
            (UUID, "1.0", 9032),
            (OTHER, "2.0", 0),
            (NO_UUID, "", 9015),
        ]

    live(scene)


def test_an_update_keeps_running_what_ran(live):
    """Units are stopped for the exchange and started again; one that is new in the package gets its own row, one that is gone loses it."""

    async def scene(bench):
        units = [{"name": n, "command": ["x"]} for n in ("stays", "goes")]
        await bench.install(package(units=units), uuid=UUID)
        bench.set("ExecutionUnit.1.RequestedState", "Active")
        await bench.clock.advance(1)
        assert bench.value("ExecutionUnit.1.Status") == "Active"
        units = [{"name": n, "command": ["x"]} for n in ("new", "stays")]
        bench.network.content["http://files/a"] = package(version="2", units=units)
        (result,) = await bench.change(UpdateOpStruct(UUID))
        assert (
            result.execution_unit_ref_list.replace("Device.SoftwareModules.", "") == "ExecutionUnit.3,ExecutionUnit.1"
        )
        await bench.clock.advance(1)
        assert bench.value("ExecutionUnit.1.Status") == "Active" and bench.box.started == ["stays", "stays"]
        assert bench.model.instances("Device.SoftwareModules.ExecutionUnit.") == [1, 3]

    live(scene)


def test_a_failed_update_leaves_the_old_version_running(live):
    """The result is Failed; the unit is Installed, and what ran still runs."""

    async def scene(bench):
        await bench.install(package(), uuid=UUID)
        bench.set("ExecutionUnit.1.RequestedState", "Active")
        await bench.clock.advance(1)
        bench.network.content["http://files/a"] = FileTransferError(Trouble.NOT_ACCESSIBLE, "gone")
        (result,) = await bench.change(UpdateOpStruct(UUID))
        assert (result.current_state, result.version, result.deployment_unit_ref) == ("Failed", "1.0", UNIT)
        assert bench.tables() == {
            "DeploymentUnit.1.Status": "Installed",
            "ExecutionUnit.1.Status": "Active",
            "ExecutionUnit.1.ExecutionFaultCode": "NoFault",
        }
        assert bench.box.started == ["main"]

    live(scene)


def test_an_uninstall_without_version_removes_all_versions(live):
    """Running units are stopped; rows, contents and the report's reference are gone."""

    async def scene(bench):
        await bench.install(package(version="1.0"), "http://files/a", uuid=UUID)
        await bench.install(package(version="2.0"), "http://files/b", uuid=UUID)
        bench.set("ExecutionUnit.2.RequestedState", "Active")
        await bench.clock.advance(1)
        results = await bench.change(UninstallOpStruct(UUID))
        assert [(r.version, r.current_state, r.deployment_unit_ref) for r in results] == [
            ("1.0", "Uninstalled", ""),
            ("2.0", "Uninstalled", ""),
        ]
        assert results[1].execution_unit_ref_list == "Device.SoftwareModules.ExecutionUnit.2"
        assert bench.tables() == {} and bench.box.contents == {} and bench.box.living == []
        assert bench.model.instances("Device.SoftwareModules.DeploymentUnit.") == []
        assert (await bench.install(package(), uuid=UUID)).deployment_unit_ref.endswith("DeploymentUnit.3")

    live(scene)


def test_an_uninstall_names_a_version_or_an_environment(bench, live):
    """Only what is meant goes; a reference may begin with a dot, as in the schema's examples."""
    bench.environments = [Box(), Box(name="second")]

    async def scene(bench):
        await bench.install(package(), "http://files/a", uuid=UUID)
        await bench.install(package(), "http://files/a", uuid=UUID, execution_env_ref=".SoftwareModules.ExecEnv.2.")
        assert bench.value("DeploymentUnit.2.ExecutionEnvRef") == "Device.SoftwareModules.ExecEnv.2"
        await bench.change(UninstallOpStruct(UUID, execution_env_ref=ENVIRONMENT))
        assert bench.model.instances("Device.SoftwareModules.DeploymentUnit.") == [2]
        (result,) = await bench.change(UninstallOpStruct(UUID, "7.0"))
        assert result.fault.fault_code == 9028

    live(scene)


def test_a_package_goes_to_the_first_environment_that_takes_it(bench, live):
    """Without ExecutionEnvRef the device chooses; a disabled one is passed over."""
    bench.environments = [Box(), Box(name="second")]

    async def scene(bench):
        bench.set("ExecEnv.1.Enable", "false")
        await bench.until(lambda: bench.value("ExecEnv.1.Status") == "Disabled")
        await bench.install(package(), uuid=UUID)
        assert bench.value("DeploymentUnit.1.ExecutionEnvRef") == "Device.SoftwareModules.ExecEnv.2"

    live(scene)


def test_nothing_begins_before_the_session_has_ended(live):
    """Response first, work after: also where another session's request is being done."""

    async def scene(bench):
        bench.network.content["http://files/a"] = package()
        bench.service.session_opened()
        bench.service.handle(ChangeDUState((InstallOpStruct("http://files/a"),), "later"))
        for _ in range(20):
            await bench.clock.settle()
        assert bench.network.asked == []
        bench.service.session_closed()
        await bench.until(lambda: bench.owed)
        assert bench.acknowledge().results[0].current_state == "Installed"

    live(scene)


def test_the_row_says_what_is_under_way(live):
    """Installing from the first moment, then Installed; Updating; Uninstalling."""

    async def scene(bench):
        import asyncio

        bench.network.gate = asyncio.Event()
        bench.network.content["http://files/a"] = package()
        bench.service.handle(ChangeDUState((InstallOpStruct("http://files/a", UUID),), "k"))
        await bench.until(lambda: bench.network.asked)
        assert bench.tables() == {"DeploymentUnit.1.Status": "Installing"}
        bench.network.gate.set()
        await bench.until(lambda: bench.owed)
        bench.acknowledge()
        await bench.idle()
        bench.network.gate = asyncio.Event()
        bench.network.content["http://files/a"] = package(version="2.0")
        bench.service.handle(ChangeDUState((UpdateOpStruct(UUID),), "k"))
        await bench.until(lambda: len(bench.network.asked) == 2)
        assert bench.value("DeploymentUnit.1.Status") == "Updating"
        assert bench.refused("ExecutionUnit.1.RequestedState", "Active") == 9001
        bench.network.gate.set()
        await bench.until(lambda: bench.owed == 2)
        await bench.idle()
        assert bench.value("DeploymentUnit.1.Status") == "Installed"

    live(scene)


def test_requests_are_bounded(live):
    """9004 for the 17th; 9003 for none, and for a CommandKey that is too long; nothing of them is remembered."""

    async def scene(bench):
        import asyncio

        bench.network.gate = asyncio.Event()
        for number in range(16):
            bench.service.handle(ChangeDUState((InstallOpStruct("http://files/a"),), f"{number}"))
        for request, code in (
            (ChangeDUState((InstallOpStruct("http://files/a"),), "too many"), 9004),
            (ChangeDUState((), "none"), 9003),
            (ChangeDUState((InstallOpStruct("http://files/a"),), "k" * 33), 9003),
        ):
            with pytest.raises(Fault) as caught:
                bench.service.handle(request)
            assert caught.value.code == code
        assert len(bench.service.shelf.requests) == 16

    live(scene)


def test_a_request_that_is_repeated_after_a_lost_answer_is_done_once(live):
    """Same CommandKey and operations until the report is confirmed; another key, or no key, is another request."""

    async def scene(bench):
        bench.network.content["http://files/a"] = package()
        bench.service.session_opened()
        operations = (InstallOpStruct("http://files/a"),)
        for key in ("k", "k", "other", "", ""):
            assert isinstance(bench.service.handle(ChangeDUState(operations, key)), ChangeDUStateResponse)
        assert [r.command_key for r in bench.service.shelf.requests.values()] == ["k", "other", "", ""]
        bench.service.session_closed()
        await bench.idle()
        bench.service.handle(ChangeDUState(operations, "k"))
        assert not bench.service.shelf.requests
        for _ in range(4):
            bench.acknowledge()
        bench.service.handle(ChangeDUState(operations, "k"))
        assert len(bench.service.shelf.requests) == 1

    live(scene)


def test_a_power_cut_in_the_middle_costs_nothing(live):
    """The request is done again from where it was; results of operations that were done stay; one report."""

    async def scene(bench):
        import asyncio

        bench.network.content["http://files/a"] = package("a")
        bench.network.content["http://files/b"] = package("b")
        operations = (InstallOpStruct("http://files/a"), InstallOpStruct("http://files/b"))
        bench.service.handle(ChangeDUState(operations, "cut"))
        await bench.until(lambda: len(bench.network.asked) == 1)
        bench.network.gate = asyncio.Event()
        await bench.until(lambda: len(bench.network.asked) == 2, "the second download")
        assert sorted(bench.tables()) == [
            "DeploymentUnit.1.Status",
            "DeploymentUnit.2.Status",
            "ExecutionUnit.1.ExecutionFaultCode",
            "ExecutionUnit.1.Status",
        ]
        await bench.off()
        bench.network.gate = None
        await bench.on()
        await bench.until(lambda: bench.owed)
        report = bench.acknowledge()
        assert [r.current_state for r in report.results] == ["Installed", "Installed"]
        assert [url for url, _ in bench.network.asked] == ["http://files/a", "http://files/b", "http://files/b"]
        assert len(bench.box.contents) == 2 and not list((bench.directory / "packages").iterdir())
        await bench.again()
        assert not bench.ledger.owes_requests and not bench.service.shelf.requests

    live(scene)


def test_an_operation_that_makes_the_device_fall_is_given_up(live):
    """After four starts it has its result: 9017, with the reason."""

    async def scene(bench):
        import asyncio

        bench.network.gate = asyncio.Event()
        bench.service.handle(ChangeDUState((InstallOpStruct("http://files/a"),), "loop"))
        for number in range(1, 5):
            await bench.until(lambda n=number: len(bench.network.asked) == n)
            await bench.again()
        await bench.until(lambda: bench.owed)
        (result,) = bench.acknowledge().results
        assert result.fault.fault_code == 9017 and "4 times" in result.fault.fault_string
        assert bench.tables() == {} and len(bench.network.asked) == 4

    live(scene)


def test_a_full_disk_delays_the_report_and_loses_nothing(live, monkeypatch):
    """The result is written when there is room; the ACS hears it then."""

    async def scene(bench):
        bench.network.content["http://files/a"] = package()
        finish, full = bench.service.shelf.finish, [True]

        def fails(*args, **fields):
            if full[0]:
                raise StoreError("the disk is full")
            finish(*args, **fields)

        monkeypatch.setattr(bench.service.shelf, "finish", fails)
        bench.service.handle(ChangeDUState((InstallOpStruct("http://files/a"),), "full"))
        await bench.until(lambda: bench.box.contents)
        await bench.clock.advance(31)
        assert not bench.ledger.owes_requests
        full[0] = False
        await bench.clock.advance(31)
        await bench.until(lambda: bench.owed)
        assert bench.acknowledge().results[0].current_state == "Installed"

    live(scene)


@pytest.mark.parametrize("model", ["InternetGatewayDevice:1.14", "Device:2.2", "Device:2.9"])
def test_older_models_have_modules_too(bench, live, model):
    """What a model lacks (restarts, figures, tables of files) is left out; paths begin with its root."""
    root = bench.use(model)

    async def scene(bench):
        units = [{"name": "main", "command": ["x"], "auto_start": True, "restart": "on-failure"}]
        result = await bench.install(package(units=units, configuration=["a.conf"]), uuid=UUID)
        assert result.deployment_unit_ref == f"{root}SoftwareModules.DeploymentUnit.1"
        await bench.clock.advance(1)
        status = f"{result.execution_unit_ref_list}.Status"
        assert bench.model.value(status) == "Active"
        bench.box.living[0].end(failed=True)
        await bench.clock.advance(1)
        assert bench.model.value(status) == "Idle"
        await bench.clock.advance(6)
        assert bench.model.value(status) == "Active"
        reference = f"{root}SoftwareModules.ExecEnv.1"
        (removed,) = await bench.change(UninstallOpStruct(UUID, execution_env_ref=reference))
        assert removed.current_state == "Uninstalled"

    live(scene)


def test_every_report_fits_the_schema(live):
    """Results of every kind, asked for and not: the UUID where none is known, empty references, each fault code (cwmp-1-2.xsd)."""
    validate = validator()

    async def scene(bench):
        reports = []
        for number in range(2):
            bench.network.content["http://files/a"] = package(version=f"1.{number}")
            operations = [
                InstallOpStruct("http://files/a", UUID),
                InstallOpStruct("http://files/never"),
                InstallOpStruct("http://files/a", "bad"),
                InstallOpStruct("", OTHER, execution_env_ref="Device.SoftwareModules.ExecEnv.9"),
                UpdateOpStruct(),
                UninstallOpStruct(OTHER),
                UninstallOpStruct(UUID),
            ]
            reports.append(await bench.change(*operations))
        for results in reports:
            asked = DUStateChangeComplete(tuple(results), "k")
            own = AutonomousDUStateChangeComplete(
                tuple(AutonOpResultStruct(**msgspec.structs.asdict(r), operation_performed="Install") for r in results)
            )
            for message in (asked, own):
                for version in (CwmpVersion.V1_2, CwmpVersion.V1_3, CwmpVersion.V1_4):
                    assert validate(encode(Envelope(body=message, id="1", urn=version.urn))) == []

    live(scene)


def test_a_defect_in_an_operation_fails_it_and_not_those_after_it(live, caplog):
    """Whatever goes wrong inside the agent: the request ends, and the ACS hears of it."""

    async def scene(bench):
        whole, failing = bench.network.fetch, iter([True])

        async def fetch(url, destination, **options):
            if next(failing, False):
                raise RuntimeError("a defect")
            return await whole(url, destination, **options)

        bench.service._worker._fetch = fetch
        bench.network.content["http://files/a"] = package()
        first, second = await bench.change(InstallOpStruct("http://files/a"), InstallOpStruct("http://files/a", UUID))
        assert (first.current_state, first.fault.fault_code) == ("Failed", 9001)
        assert second.current_state == "Installed" and "a defect" in caplog.text

    live(scene)


def test_a_defect_after_the_result_is_written_down_leaves_the_result(live):
    """One operation, one result: what is on disk stands, and what follows is done."""

    async def scene(bench):
        build, failing = bench.service.estate.build, iter([True])

        def broken(unit):
            if next(failing, False):
                raise RuntimeError("a defect")
            build(unit)

        bench.service.estate.build = broken
        bench.network.content["http://files/a"] = package()
        bench.network.content["http://files/b"] = package("other")
        results = await bench.change(InstallOpStruct("http://files/a"), InstallOpStruct("http://files/b", UUID))
        assert [r.current_state for r in results] == ["Installed", "Installed"]

    live(scene)


def test_a_bootstrap_in_the_middle_of_an_update_is_not_forgotten(live):
    """What was installed when the device said `0 BOOTSTRAP` is what a Reset brings back, also where an Update was under way."""

    async def scene(bench):
        await bench.install(package(version="1.0"), uuid=UUID)
        bench.network.content["http://files/a"] = package(version="2.0")
        bench.network.gate = asyncio.Event()
        bench.service.handle(ChangeDUState((UpdateOpStruct(UUID),), "k"))
        await bench.until(lambda: bench.tables()["DeploymentUnit.1.Status"] == "Updating", "the update")
        bench.service.bootstrapped()
        bench.network.gate.set()
        await bench.until(lambda: bench.ledger.owes_requests, "the report")
        bench.acknowledge()
        await bench.idle()
        assert bench.value("DeploymentUnit.1.Version") == "2.0"
        bench.set("ExecEnv.1.Reset", "true")
        await bench.until(lambda: bench.value("DeploymentUnit.1.Version") == "1.0", "the reset")

    live(scene)
