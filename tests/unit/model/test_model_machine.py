"""Random histories of a device: whatever is added, deleted, set, refused or restarted, the tree keeps its promises."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from homeport.errors import Fault
from homeport.model.changes import CommitRecord
from homeport.model.tree import DataModel
from homeport.terms import FaultCode, Writer
from model_support.small import SCHEMA

NET = "Device.Net."
WRITERS = st.sampled_from([Writer.ACS, Writer.SYSTEM])


class Device(RuleBasedStateMachine):
    """A device of the small model, a shadow of what it must hold, and a journal of its commits."""

    interfaces = Bundle("interfaces")
    routes = Bundle("routes")

    def __init__(self) -> None:
        super().__init__()
        self.records: list[CommitRecord] = []
        self.refuse = False
        self.model = self._opened(DataModel(SCHEMA))
        self.used: dict[str, set[int]] = {"Interface": set(), "Route": set()}
        self.live: dict[str, set[int]] = {"Interface": set(), "Route": set()}

    def _opened(self, model: DataModel) -> DataModel:
        model.persist = self.records.append
        model.hook(NET, apply=self._hook, undo=lambda changes, view: None)
        return model

    def _hook(self, changes: Any, view: Any) -> None:
        if self.refuse:
            raise Fault(FaultCode.REQUEST_DENIED, "the device refuses")

    def _add(self, table: str, alias: str) -> int | None:
        with self.model.transaction(Writer.ACS) as change:
            try:
                number = change.add_object(f"{NET}{table}.{alias}")
                change.commit()
            except Fault as fault:
                assert fault.code in (9004, 9007)
                return None
        assert number not in self.used[table], "an instance number was used again"
        self.used[table].add(number)
        self.live[table].add(number)
        return number

    @rule(target=interfaces, alias=st.sampled_from(["", "[a].", "[b].", "[cpe-3]."]))
    def add_interface(self, alias: str) -> Any:
        number = self._add("Interface", alias)
        return multiple() if number is None else number

    @rule(target=routes, alias=st.sampled_from(["", "[a].", "[b]."]))
    def add_route(self, alias: str) -> Any:
        number = self._add("Route", alias)
        return multiple() if number is None else number

    @rule(number=consumes(interfaces), writer=WRITERS)
    def delete_interface(self, number: int, writer: Writer) -> None:
        self._delete("Interface", number, writer)

    @rule(number=consumes(routes), writer=WRITERS)
    def delete_route(self, number: int, writer: Writer) -> None:
        self._delete("Route", number, writer)

    def _delete(self, table: str, number: int, writer: Writer) -> None:
        with self.model.transaction(writer) as change:
            change.delete_object(f"{NET}{table}.{number}.")
            change.commit()
        self.live[table].discard(number)

    @rule(route=routes, interface=interfaces, field=st.sampled_from(["Interface", "Backups", "Seen"]))
    def point(self, route: int, interface: int, field: str) -> None:
        self._set([(f"Route.{route}.{field}", f"{NET}Interface.{interface}")])

    @rule(route=routes, order=st.integers(1, 6))
    def order(self, route: int, order: int) -> None:
        self._set([(f"Route.{route}.Order", str(order))])

    @rule(
        route=routes,
        values=st.fixed_dictionaries(
            {},
            optional={
                "Enable": st.sampled_from(["true", "false"]),
                "Destination": st.sampled_from(["x", "y", ""]),
                "Metric": st.sampled_from(["0", "1", "-1"]),
                "Alias": st.sampled_from(["a", "b", "1bad"]),
                "Nope": st.just("1"),
            },
        ),
    )
    def set_route(self, route: int, values: dict[str, str]) -> None:
        self._set([(f"Route.{route}.{k}", v) for k, v in values.items()])

    def _set(self, items: list[tuple[str, str]]) -> None:
        before, count = self.model.dump_state(), len(self.records)
        with self.model.transaction(Writer.ACS) as change:
            for name, text in items:
                change.set(NET + name, text)
            change.parameter_key(f"k{count}")
            try:
                change.commit()
            except Fault as fault:
                assert fault.code == 9003 and fault.parameters
                assert self.model.dump_state() == before, "a refused request left a trace"
                assert len(self.records) == count
                return
        for name, text in items:
            if not name.endswith("Order"):
                assert self.model.value(NET + name) == text

    @rule(route=routes, interface=interfaces)
    def a_refusing_device_changes_nothing(self, route: int, interface: int) -> None:
        before = self.model.dump_state()
        self.refuse = True
        try:
            with self.model.transaction(Writer.ACS) as change:
                change.set(f"{NET}Route.{route}.Destination", "refused")
                change.delete_object(f"{NET}Interface.{interface}.")
                change.add_object(f"{NET}Route.")
                change.commit()
            raise AssertionError("the hook should have refused")
        except Fault:
            pass
        finally:
            self.refuse = False
        assert self.model.dump_state() == before

    @rule()
    def restart_from_a_dump(self) -> None:
        values = self.model.get("")
        self.model = self._opened(DataModel(SCHEMA, state=self.model.dump_state()))
        assert self.model.get("") == values

    @rule()
    @precondition(lambda self: self.records)
    def restart_from_the_journal(self) -> None:
        state = self.model.dump_state()
        again = DataModel(SCHEMA)
        for record in self.records:
            assert again.replay(record) == []
        assert again.dump_state() == state

    @invariant()
    def rows_and_counts_agree(self) -> None:
        for table, numbers in self.live.items():
            assert set(self.model.instances(f"{NET}{table}.")) == numbers
            assert self.model.value(f"{NET}{table}NumberOfEntries") == str(len(numbers))
        assert len(self.live["Interface"]) <= 4

    @invariant()
    def keys_are_unique(self) -> None:
        for table in self.live:
            aliases = [v.value for v in self.model.get(f"{NET}{table}.*.Alias")]
            assert len(aliases) == len(set(aliases))
        enabled = [n for n in self.live["Route"] if self.model.value(f"{NET}Route.{n}.Enable") == "true"]
        keys = [tuple(self.model.value(f"{NET}Route.{n}.{p}") for p in ("Destination", "Metric")) for n in enabled]
        assert len(keys) == len(set(keys))

    @invariant()
    def orders_have_no_gaps(self) -> None:
        orders = sorted(int(v.value) for v in self.model.get(f"{NET}Route.*.Order"))
        assert orders == list(range(1, len(orders) + 1))

    @invariant()
    def strong_references_lead_somewhere(self) -> None:
        for field in ("Interface", "Backups"):
            for found in self.model.get(f"{NET}Route.*.{field}"):
                assert all(self.model.exists(item + ".") for item in found.value.split(",") if item)

    @invariant()
    def every_value_fits_its_type(self) -> None:
        for found in self.model.get(NET):
            assert self.model.definition(found.name).check(found.value, device=True) == found.value


Device.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestDevice = Device.TestCase
