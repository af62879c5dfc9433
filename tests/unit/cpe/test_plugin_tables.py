"""Live tables: rows that a plug-in reports, their instance numbers, and rows that the ACS adds and deletes."""

from typing import Any

from cpe_support.plugged import Plugged
from homeport.cpe.devices.plugin import LATER, Plugin, Row
from homeport.model.changes import CommitRecord
from homeport.terms import FaultCode, Writer

HOST = "Device.Hosts.Host."
HOST_COLUMNS = ("PhysAddress", "IPAddress", "HostName", "Active")


def host(number: int, **more: Any) -> dict[str, Any]:
    return {"PhysAddress": f"02:00:00:00:00:{number:02x}", "IPAddress": f"192.0.2.{number}", "Active": True, **more}


class Hosts:
    """A plug-in whose hosts the test changes."""

    def __init__(self, *numbers: int, **options: Any) -> None:
        self.rows = [host(n) for n in numbers]
        self.calls = 0
        self.plugin = Plugin("hosts")
        options.setdefault("key", "PhysAddress")
        self.table = self.plugin.table("Device.Hosts.Host.{i}.", columns=HOST_COLUMNS, **options)(self.read)

    def read(self) -> list[dict[str, Any]]:
        self.calls += 1
        return self.rows


def numbers(plugged: Plugged, table: str = HOST) -> dict[str, int]:
    """The last two digits of each row's address and its instance number."""
    rows = [n.name for n in plugged.model.names(table, True)]
    return {plugged.value(r + "PhysAddress")[-2:]: int(r.rstrip(".").rpartition(".")[2]) for r in rows}


def test_rows_are_what_the_function_reports_now() -> None:
    """Reading a table asks for its rows; the count follows, and one request asks once."""
    hosts = Hosts(1, 2)
    plugged = Plugged(hosts.plugin)
    found = plugged.values("Device.Hosts.")
    assert found["HostNumberOfEntries"] == "2" and hosts.calls == 1
    hosts.rows.append(host(3))
    assert plugged.value("Device.Hosts.HostNumberOfEntries") == "3"
    hosts.rows.clear()
    assert plugged.model.names(HOST, True) == []


def test_a_key_keeps_its_instance_number_while_it_is_there() -> None:
    """Order does not matter; what comes back after having gone gets a new number (TR-069a6 A.3.2.6: numbers are not used again)."""
    hosts = Hosts(1, 2, 3)
    plugged = Plugged(hosts.plugin)
    assert numbers(plugged) == {"01": 1, "02": 2, "03": 3}
    hosts.rows = [host(3), host(1)]
    assert numbers(plugged) == {"01": 1, "03": 3}
    hosts.rows = [host(2), host(3), host(1)]
    assert numbers(plugged) == {"01": 1, "02": 4, "03": 3}


def test_numbers_hold_over_a_restart() -> None:
    """The key's columns are kept with the data model, so the same host has the same number after a start."""
    hosts = Hosts(1, 2, 3)
    before = Plugged(hosts.plugin)
    numbers(before)
    hosts.rows = [host(2), host(3)]
    numbers(before)
    after = Plugged(Hosts(4, 3, 2).plugin, state=before.model.dump_state())
    assert numbers(after) == {"02": 2, "03": 3, "04": 4}


def test_volatile_rows_do_not_wear_out_the_flash() -> None:
    """Rows that come and go all the time are not written to disk one by one."""
    steady, volatile = Plugged(Hosts(1).plugin), Plugged(Hosts(1, volatile=True).plugin)
    for plugged in (steady, volatile):
        plugged.values("Device.Hosts.")

    def durable(records: list[CommitRecord]) -> list[bool]:
        return [r.durable for r in records]

    assert durable(steady.records) == [True] and durable(volatile.records) == [False]


def test_a_key_may_be_a_function() -> None:
    """Where no column identifies a row, a function of it does; the numbers then hold while the agent runs."""
    hosts = Hosts(1, 2, key=lambda row: row["IPAddress"])
    plugged = Plugged(hosts.plugin)
    assert numbers(plugged) == {"01": 1, "02": 2}
    hosts.rows = [host(2), host(1)]
    assert numbers(plugged) == {"01": 1, "02": 2}


def test_a_failing_table_keeps_its_rows() -> None:
    """When the function fails, hangs or returns nonsense, the rows of before stay with what was known of them."""
    hosts = Hosts(1, 2)
    plugged = Plugged(hosts.plugin)
    before = plugged.values("Device.Hosts.")
    for nonsense in (None, 5, {"PhysAddress": "x"}, ["text"]):
        hosts.rows = nonsense  # type: ignore[assignment]
        assert plugged.values("Device.Hosts.") == before


def test_a_row_that_makes_no_sense_is_left_out_alone() -> None:
    """A row without its key, or a second one with the same key, does not spoil the others."""
    hosts = Hosts(1, 2)
    hosts.rows += [{"IPAddress": "192.0.2.9"}, host(1, IPAddress="192.0.2.8")]
    plugged = Plugged(hosts.plugin)
    assert numbers(plugged) == {"01": 1, "02": 2}
    assert plugged.value(HOST + "1.IPAddress") == "192.0.2.1"


def test_a_column_that_does_not_fit_is_left_alone() -> None:
    """A value of the wrong type leaves the stored one; the row and its other columns are shown."""
    hosts = Hosts(1)
    hosts.rows[0]["Active"] = "perhaps"
    found = Plugged(hosts.plugin).values(HOST)
    assert (found["1.Active"], found["1.IPAddress"]) == ("false", "192.0.2.1")


def test_tables_inside_tables_get_the_row_around_them() -> None:
    """The function of an inner table is called for each outer row; numbers are counted in each."""
    box = Plugin("box")
    box.table("Device.IP.Interface.{i}.", key="Name", columns=["Name"])(lambda: [{"Name": "wan"}, {"Name": "lan"}])
    seen = []

    @box.table("Device.IP.Interface.{i}.IPv4Address.{i}.", key="IPAddress", columns=["IPAddress"])
    def addresses(interface: Row) -> list[dict[str, str]]:
        seen.append(interface.key)
        last = {"wan": (1, 2), "lan": (3,)}[str(interface.key)]
        return [{"IPAddress": f"192.0.2.{n}"} for n in last]

    plugged = Plugged(box)
    assert {k: v for k, v in plugged.values("Device.IP.Interface.").items() if k.endswith("IPAddress")} == {
        "1.IPv4Address.1.IPAddress": "192.0.2.1",
        "1.IPv4Address.2.IPAddress": "192.0.2.2",
        "2.IPv4Address.1.IPAddress": "192.0.2.3",
    }
    assert seen == ["wan", "lan"]
    assert (
        plugged.host.path_of("Device.IP.Interface.2.IPv4Address.", "192.0.2.3") == "Device.IP.Interface.2.IPv4Address.1"
    )
    assert plugged.host.path_of("Device.IP.Interface.{i}.", "lan") == "Device.IP.Interface.2"


def test_parameters_of_live_rows_know_their_key_and_columns() -> None:
    """A `@parameter` of a live table's rows gets the row with its key and what the table's function said."""
    hosts = Hosts(7)
    hosts.plugin.parameter("Device.Hosts.Host.{i}.HostName")(lambda row: f"host-{row['IPAddress']}-{row.key[-2:]}")
    assert Plugged(hosts.plugin).value(HOST + "1.HostName") == "host-192.0.2.7-07"


def test_rows_of_the_device_itself_cannot_be_added_or_deleted() -> None:
    """Where the plug-in has no `add`, an AddObject is refused with 9001 although the model would allow it."""
    box = Plugin("box")
    box.table("Device.NAT.PortMapping.{i}.", key="ExternalPort", columns=("ExternalPort",))(
        lambda: [{"ExternalPort": 80}]
    )
    plugged = Plugged(box)
    plugged.values("Device.NAT.")

    def change(verb: str, path: str) -> None:
        with plugged.model.transaction(Writer.ACS) as transaction:
            getattr(transaction, verb)(path)
            transaction.commit()

    for verb, path in (("add_object", "Device.NAT.PortMapping."), ("delete_object", "Device.NAT.PortMapping.1.")):
        fault = plugged.refusal(lambda verb=verb, path=path: change(verb, path))  # type: ignore[misc]
        assert fault.code is FaultCode.REQUEST_DENIED and "come from the device itself" in fault.text
    assert plugged.values("Device.NAT.")["PortMappingNumberOfEntries"] == "1"


class Mappings:
    """Port mappings that the ACS may write: `kernel` is what the device does."""

    def __init__(self) -> None:
        self.kernel: dict[str, dict[str, Any]] = {}
        self.said: list[tuple[Any, ...]] = []
        self.plugin = Plugin("nat")
        columns = ("Enable", "ExternalPort", "InternalClient")
        table = self.plugin.table("Device.NAT.PortMapping.{i}.", key="ExternalPort", columns=columns)(self.rows)
        table.add(lambda row: self.said.append(("add", row.path)))
        table.delete(self.delete)
        table.validate(self.validate)
        table.apply(self.apply)
        self.plugged = Plugged(self.plugin)

    def rows(self) -> list[dict[str, Any]]:
        return [{"ExternalPort": p, **v} for p, v in self.kernel.items()]

    def validate(self, row: Row, name: str, value: Any) -> None:
        if name == "ExternalPort" and value == 22:
            raise ValueError("port 22 is the device's own")

    def apply(self, row: Row, values: dict[str, Any]) -> int:
        self.said.append(("apply", row.path, values))
        port = row.stored("ExternalPort")
        if row.stored("Enable") == "true" and port != "0":
            self.kernel[port] = {"InternalClient": row.stored("InternalClient"), "Enable": True}
            return LATER
        return 0

    def delete(self, row: Row) -> None:
        self.said.append(("delete", row.path, row.key))
        self.kernel.pop(row.stored("ExternalPort"), None)

    def add(self) -> str:
        with self.plugged.model.transaction(Writer.ACS) as change:
            number = change.add_object("Device.NAT.PortMapping.")
            change.commit()
        return f"NAT__PortMapping__{number}__"


def test_a_row_that_the_acs_adds_stays_until_the_device_has_it() -> None:
    """An added row is not yet on the device; it is kept, and known by its key when the device reports it."""
    nat = Mappings()
    row = nat.add()
    assert nat.plugged.values("Device.NAT.")["PortMappingNumberOfEntries"] == "1", (
        "kept though the device has no such row"
    )
    status = nat.plugged.set(
        **{row + "Enable": "true", row + "ExternalPort": "8080", row + "InternalClient": "192.0.2.9"}
    )
    assert status == 1
    assert nat.said[-1][2] == {"Enable": True, "ExternalPort": 8080, "InternalClient": "192.0.2.9"}
    found = nat.plugged.values("Device.NAT.PortMapping.")
    assert (found["1.ExternalPort"], found["1.InternalClient"]) == ("8080", "192.0.2.9")
    nat.kernel.clear()
    assert nat.plugged.model.names("Device.NAT.PortMapping.", True) == [], "the device had it and has it no more"


def test_a_deleted_row_is_deleted_on_the_device() -> None:
    """DeleteObject calls `delete` with the row as it was."""
    nat = Mappings()
    nat.kernel["443"] = {"InternalClient": "192.0.2.4", "Enable": True}
    nat.plugged.values("Device.NAT.")
    with nat.plugged.model.transaction(Writer.ACS) as change:
        change.delete_object("Device.NAT.PortMapping.1.")
        change.commit()
    assert nat.said == [("delete", "Device.NAT.PortMapping.1.", "443")]
    assert nat.plugged.model.names("Device.NAT.PortMapping.", True) == []


def test_a_refused_column_undoes_nothing_because_nothing_was_done() -> None:
    """A refusal of `validate` comes before any apply; the fault names the column."""
    nat = Mappings()
    row = nat.add()
    fault = nat.plugged.refusal(lambda: nat.plugged.set(**{row + "ExternalPort": "22", row + "Enable": "true"}))
    assert [(p.name, p.text) for p in fault.parameters] == [
        ("Device.NAT.PortMapping.1.ExternalPort", "port 22 is the device's own")
    ]
    assert [s[0] for s in nat.said] == ["add"]
