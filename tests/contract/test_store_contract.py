"""What every store promises: one suite, run against the reference in memory, SQLite and PostgreSQL."""

import asyncio
from typing import Any

import pytest

from homeport.acs.records import (
    Behaviour,
    CredentialRecord,
    DeviceState,
    Document,
    EventRecord,
    FaultDetail,
    FaultRecord,
    FileRecord,
    GroupLogin,
    MessageTrace,
    SessionRecord,
    StoredValue,
    TaskPhase,
    TaskStatus,
    TokenRecord,
    Want,
)
from homeport.acs.storage.interface import (
    Conflict,
    DocumentChange,
    SessionChange,
    Store,
    TaskChange,
    UnitOfWork,
    ValuesChange,
)
from homeport.acs.storage.memory import MemoryStore
from homeport.acs.storage.sql import postgres, sqlite
from homeport.acs.storage.sql.postgres import PostgresStore
from homeport.acs.where import parse
from support.store_rows import Run, a_device, a_task, unit


def test_a_device_comes_back_with_every_field(store: Store, run: Run) -> None:
    """What was put is what is got, whichever fields have a column."""
    device = a_device(
        manufacturer="Example",
        state=DeviceState.QUARANTINED,
        first_seen=1.5,
        last_inform=2.5,
        last_boot=3.5,
        last_bootstrap=4.5,
        address="192.0.2.1",
        root="Device.",
        urn="urn:dslforum-org:cwmp-1-2",
        model="797xx",
        software_version="1.2",
        hardware_version="A",
        provisioning_code="code",
        tags=("gold", "north"),
        inform_interval=300,
        connection_request_url="http://192.0.2.1:7547/x",
        connection_request_username="u",
        jabber_id="cpe@xmpp.example/r",
        notified=1_700_000_000,
        connection_request_password="p",
        wants=(Want.DISCOVER, Want.CREDENTIALS),
        quirks=("no-id",),
        behaviour=Behaviour(prolog=True, max_names=32),
    )
    run(store.commit(unit(devices=[device])))
    assert run(store.device(device.id)) == device
    assert run(store.devices(None, limit=10, cursor=None)).items == (device,)
    assert run(store.device("nobody")) is None


def test_a_device_that_exists_is_not_made_again(store: Store, run: Run) -> None:
    """Making a device is for new ones; the unit is then refused whole."""
    run(store.commit(unit(devices=[a_device()])))
    with pytest.raises(Conflict):
        run(store.commit(unit(devices=[a_device("S2"), a_device()])))
    assert run(store.device("00D0F1-X-S2")) is None


def test_fields_are_patched_one_by_one(store: Store, run: Run) -> None:
    """Two writers who change different fields do not undo each other."""
    run(store.commit(unit(devices=[a_device()])))
    run(store.commit(unit(patches=[("00D0F1-X-S1", {"tags": ("gold",)})])))
    run(store.commit(unit(patches=[("00D0F1-X-S1", {"model": "797xx"}), ("nobody", {"model": "y"})])))
    found = run(store.device("00D0F1-X-S1"))
    assert (found.tags, found.model) == (("gold",), "797xx")


def test_fields_are_made_of_the_device_as_it_is_when_it_is_written(store: Store, run: Run) -> None:
    """Who adds to what is there takes away nothing that others have added in the same moment."""
    device = a_device()
    run(store.commit(unit(devices=[device])))

    def tagged(tag: str) -> UnitOfWork:
        return unit(patches=[(device.id, lambda now: {"tags": (*now.tags, tag)})])

    async def all_at_once() -> None:
        await asyncio.gather(*(store.commit(tagged(f"t{number}")) for number in range(9)))
        await store.commit(unit(patches=[("nobody", lambda now: {"tags": now.tags})]))

    run(all_at_once())
    found = run(store.fresh(device.id))
    assert found is not None
    assert sorted(found.tags) == [f"t{number}" for number in range(9)]


def test_touched_facts_are_seen_at_once_and_survive_a_flush(store: Store, run: Run) -> None:
    """Reading sees what waits for the disk."""
    run(store.commit(unit(devices=[a_device()])))
    store.touch("00D0F1-X-S1", {"last_inform": 7.0}, {"Device.X": StoredValue("1", "int", None, 7.0)})
    store.touch("nobody", {"last_inform": 7.0}, {})
    assert run(store.device("00D0F1-X-S1")).last_inform == 7.0
    assert run(store.reported("00D0F1-X-S1"))["Device.X"] == "1"
    assert run(store.values("00D0F1-X-S1"))["Device.X"].value == "1"
    run(store.flush())
    assert run(store.devices(None, limit=1, cursor=None)).items[0].last_inform == 7.0


def test_values_are_merged_and_known_facts_stay_known(store: Store, run: Run) -> None:
    """Names from GetParameterNames and values from GetParameterValues meet in one entry."""
    id = "00D0F1-X-S1"
    run(store.commit(unit(devices=[a_device()])))
    names = {"Device.A": StoredValue(None, "string", True, 1.0), "Device.B.": StoredValue(None, "object", False, 1.0)}
    run(store.commit(unit(values=[ValuesChange(id, names)])))
    run(store.commit(unit(values=[ValuesChange(id, {"Device.A": StoredValue("5", "int", None, 2.0)})])))
    run(store.commit(unit(values=[ValuesChange(id, {"Device.A": StoredValue(None, "string", False, 3.0)})])))
    assert run(store.values(id)) == {
        "Device.A": StoredValue("5", "int", False, 2.0),
        "Device.B.": StoredValue(None, "object", False, 1.0),
    }


@pytest.mark.parametrize("count", [1, 33, 200, 1000])
def test_values_of_any_number_come_back_in_the_order_of_their_paths(store: Store, run: Run, count: int) -> None:
    """A few values, and more than fit a delta, read the same."""
    id = "00D0F1-X-S1"
    run(store.commit(unit(devices=[a_device()])))
    values = {f"Device.P{i:04}": StoredValue(str(i), "int", bool(i % 2), float(i)) for i in range(count)}
    run(store.commit(unit(values=[ValuesChange(id, dict(reversed(values.items())))])))
    assert list(run(store.values(id)).items()) == list(values.items())


def test_many_small_changes_add_up(store: Store, run: Run) -> None:
    """However the changes are packed on the way, the last value of each path counts."""
    id = "00D0F1-X-S1"
    run(store.commit(unit(devices=[a_device()])))
    for i in range(300):
        change = {f"Device.P{i}": StoredValue(str(i)), "Device.Last": StoredValue(str(i))}
        if i % 2:
            store.touch(id, {"last_inform": float(i)}, change)
        else:
            run(store.commit(unit(values=[ValuesChange(id, change)])))
    run(store.flush())
    values = run(store.values(id))
    assert len(values) == 301
    assert values["Device.Last"].value == "299"
    assert values["Device.P17"].value == "17"


def test_a_removed_object_goes_with_everything_below(store: Store, run: Run) -> None:
    """DeleteObject takes the subtree, and nothing whose name only begins alike."""
    id = "00D0F1-X-S1"
    run(store.commit(unit(devices=[a_device()])))
    paths = ["Device.T.1.", "Device.T.1.A", "Device.T.1.B.C", "Device.T.10.A", "Device.T.2.A"]
    run(store.commit(unit(values=[ValuesChange(id, {p: StoredValue("x") for p in paths})])))
    change = ValuesChange(id, {"Device.New": StoredValue("y")}, removed=("Device.T.1.",))
    run(store.commit(unit(values=[change])))
    assert list(run(store.values(id))) == ["Device.New", "Device.T.10.A", "Device.T.2.A"]
    assert list(run(store.values(id, "Device.T."))) == ["Device.T.10.A", "Device.T.2.A"]
    assert list(run(store.values(id, "Device.New"))) == ["Device.New"]
    assert run(store.values(id, "Device.N")) == {}


def test_two_refreshes_at_once_leave_the_younger_one(store: Store, run: Run) -> None:
    """A second change that is written before the first is on the disk builds on it."""
    id = "00D0F1-X-S1"
    run(store.commit(unit(devices=[a_device()])))

    async def both() -> None:
        first = ValuesChange(id, {f"Device.P{i}": StoredValue("old") for i in range(100)})
        second = ValuesChange(id, {f"Device.P{i}": StoredValue("new") for i in range(50, 150)})
        await asyncio.gather(store.commit(unit(values=[first])), store.commit(unit(values=[second])))

    run(both())
    values = run(store.values(id))
    assert len(values) == 150
    assert (values["Device.P0"].value, values["Device.P149"].value, values["Device.P75"].value) == ("old", "new", "new")


def test_open_tasks_come_by_priority_and_age(store: Store, run: Run) -> None:
    """The next task is the most urgent, and among equals the oldest."""
    run(store.commit(unit(devices=[a_device()])))
    assert list(run(store.open_tasks("00D0F1-X-S1"))) == []
    assert run(store.figures()).open_tasks == 0
    tasks = [a_task("t1", created=7.0), a_task("t2", priority=5, created=8.0), a_task("t3", created=9.0)]
    tasks += [a_task("t4", status=TaskStatus.DONE, finished=1.0)]
    run(store.commit(unit(tasks=[TaskChange(t, None) for t in tasks])))
    assert [t.id for t in run(store.open_tasks("00D0F1-X-S1"))] == ["t2", "t1", "t3"]
    figures = run(store.figures())
    assert (figures.open_tasks, figures.oldest_task) == (3, 7.0)
    assert run(store.task("t4")) == tasks[3]


def test_a_task_changes_only_from_the_status_that_is_expected(store: Store, run: Run) -> None:
    """A cancelled task is not brought back to life by a session that read it before."""
    run(store.commit(unit(devices=[a_device()], tasks=[TaskChange(a_task(), None)])))
    cancelled = a_task(status=TaskStatus.CANCELLED, finished=5.0)
    run(store.commit(unit(tasks=[TaskChange(cancelled, frozenset({TaskStatus.QUEUED}))])))
    running = TaskChange(a_task(status=TaskStatus.RUNNING), frozenset({TaskStatus.QUEUED}))
    with pytest.raises(Conflict):
        run(store.commit(unit(tasks=[running], patches=[("00D0F1-X-S1", {"model": "never"})])))
    assert run(store.task("t1")) == cancelled
    if not isinstance(store, MemoryStore):
        assert run(store.devices(None, limit=1, cursor=None)).items[0].model == ""
    assert run(store.device("00D0F1-X-S1")).model == ""


def test_who_writes_later_is_told_what_became_of_it(store: Store, run: Run) -> None:
    """Readers see it at once; the teller waits until it is on the disk, or hears why it is not."""
    told: list[BaseException | None] = []

    async def scene() -> None:
        await store.commit(
            unit(devices=[a_device()], tasks=[TaskChange(a_task(), None), TaskChange(a_task("t2"), None)])
        )
        values = ValuesChange("00D0F1-X-S1", {f"Device.P{n}": StoredValue("1", updated=1.0) for n in range(100)})
        ended = TaskChange(a_task(status=TaskStatus.DONE, finished=5.0), frozenset({TaskStatus.QUEUED}))
        store.later(unit(tasks=[ended], values=[values]), told.append)
        assert (await store.task("t1") or a_task()).status is TaskStatus.DONE
        assert [t.id for t in await store.open_tasks("00D0F1-X-S1")] == ["t2"]
        assert len(await store.values("00D0F1-X-S1")) == 100
        await store.flush()
        assert told == [None]
        store.later(unit(tasks=[ended], patches=[("00D0F1-X-S1", {"model": "never"})]), told.append)
        await store.flush()
        assert isinstance(told[1], Conflict)
        assert (await store.device("00D0F1-X-S1") or a_device()).model == ""
        assert [t.id for t in await store.open_tasks("00D0F1-X-S1")] == ["t2"]

    run(scene())


def test_a_failed_unit_does_not_spoil_its_neighbours(store: Store, run: Run) -> None:
    """Units that are written in one group succeed and fail each for itself."""
    run(store.commit(unit(devices=[a_device()], tasks=[TaskChange(a_task(), None)])))

    async def together() -> list[Any]:
        units = [
            unit(tasks=[TaskChange(a_task("t2"), None)]),
            unit(tasks=[TaskChange(a_task(status=TaskStatus.DONE), frozenset({TaskStatus.RUNNING}))]),
            unit(tasks=[TaskChange(a_task("t3"), None)]),
        ]
        return await asyncio.gather(*(store.commit(u) for u in units), return_exceptions=True)

    outcome = run(together())
    assert outcome[0] is None
    assert isinstance(outcome[1], Conflict)
    assert outcome[2] is None
    assert [t.id for t in run(store.open_tasks("00D0F1-X-S1"))] == ["t1", "t2", "t3"]


def test_interrupted_tasks_are_those_that_were_sent_and_not_answered(store: Store, run: Run) -> None:
    """A task that waits for the end of a transfer is not interrupted: its end comes in a later session."""
    run(store.commit(unit(devices=[a_device()])))
    tasks = [
        a_task("t1"),
        a_task("t2", status=TaskStatus.RUNNING, phase=TaskPhase.SENT),
        a_task("t3", status=TaskStatus.RUNNING, phase=TaskPhase.TRANSFER),
    ]
    run(store.commit(unit(tasks=[TaskChange(t, None) for t in tasks])))
    if isinstance(store, PostgresStore):
        run(store._link.fetch("UPDATE task SET node = 'gone'"))  # the process that sent them has ended
    assert [t.id for t in run(store.interrupted_tasks(limit=10, now=0.0))] == ["t2"]


def test_tasks_page_from_the_youngest(store: Store, run: Run) -> None:
    """A cursor goes on behind the last row, without gaps and without doubles."""
    run(store.commit(unit(devices=[a_device()], tasks=[TaskChange(a_task(f"t{i}"), None) for i in range(7)])))
    seen, cursor = [], None
    while True:
        page = run(store.tasks_of("00D0F1-X-S1", limit=3, cursor=cursor))
        seen += [t.id for t in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert seen == ["t6", "t5", "t4", "t3", "t2", "t1", "t0"]


def test_a_session_keeps_its_messages(store: Store, run: Run) -> None:
    """A history row that was written behind is there for the next reader."""
    run(store.commit(unit(devices=[a_device()])))
    record = SessionRecord(id="s1", device="00D0F1-X-S1", started=1.0, ended=2.0, outcome="success", events=("1 BOOT",))
    messages = (MessageTrace(1.0, "cpe", "Inform", 5, "<a/>"), MessageTrace(1.1, "acs", "InformResponse", 4, "<b/>"))
    store.later(unit(sessions=[SessionChange(record, messages)]))
    assert run(store.sessions_of("00D0F1-X-S1", limit=5, cursor=None)).items == (record,)
    assert run(store.session("s1")) == SessionChange(record, messages)
    assert run(store.session("s2")) is None


def test_events_and_faults_come_youngest_first(store: Store, run: Run) -> None:
    """Histories are read from their end."""
    id = "00D0F1-X-S1"
    run(store.commit(unit(devices=[a_device(), a_device("S2")])))
    events = [EventRecord(id=f"e{i}", device=id, session="s", at=float(i), code="1 BOOT") for i in range(3)]
    faults = [
        FaultRecord(id="f1", device=id, session="s", task="t", at=1.0, rpc="Reboot", code=9001, string="no"),
        FaultRecord(id="f2", device="00D0F1-X-S2", session="s", task="t", at=2.0, rpc="Reboot", code=9002, string="no"),
    ]
    run(store.commit(unit(events=events, faults=faults)))
    assert [e.id for e in run(store.events_of(id, limit=2, cursor=None)).items] == ["e2", "e1"]
    assert [f.id for f in run(store.faults(device=None, limit=9, cursor=None)).items] == ["f2", "f1"]
    assert [f.id for f in run(store.faults(device=id, limit=9, cursor=None)).items] == ["f1"]


def test_a_deleted_device_takes_everything_with_it(store: Store, run: Run) -> None:
    """Nothing of a deleted device stays, and its id may come again as a new device."""
    id = "00D0F1-X-S1"
    everything = unit(
        devices=[a_device()],
        values=[ValuesChange(id, {f"Device.{i}": StoredValue("1") for i in range(50)})],
        tasks=[TaskChange(a_task(), None)],
        events=[EventRecord(id="e", device=id, session="s", at=1.0, code="1 BOOT")],
        credentials=[CredentialRecord(username="u", device=id, ha1_md5="a", ha1_sha256="b")],
    )
    run(store.commit(everything))
    run(store.commit(unit(deleted_devices=[id])))
    assert run(store.device(id)) is None
    assert run(store.task("t1")) is None
    assert run(store.credential("u")) is None
    assert run(store.events_of(id, limit=1, cursor=None)).items == ()
    run(store.commit(unit(devices=[a_device()])))
    assert run(store.values(id)) == {}


@pytest.mark.parametrize(
    ("where", "serials"),
    [
        ('model == "797xx"', ["S1", "S3"]),
        ('model != "797xx"', ["S2"]),
        ('"gold" in tags', ["S1"]),
        ('"old" in tags', []),
        ('"gold" not in tags and model == "797xx"', ["S3"]),
        ("last_inform > 15", ["S2", "S3"]),
        ("10 < last_inform <= 20", ["S2"]),
        ('software_version < "2.1"', ["S1", "S2"]),
        ('not (model == "797xx" or last_inform < 15)', ["S2"]),
        ('startswith(serial_number, "S") and endswith(id, "2")', ["S2"]),
        ('contains(manufacturer, "xamp")', ["S1", "S2", "S3"]),
        ('endswith(model, "")', ["S1", "S2", "S3"]),
        ('model in ("new", "797xx")', ["S1", "S3"]),
        ('state == "quarantined"', ["S3"]),
        ('param("Device.Level") == "3"', ["S3"]),
        ('param("Device.Level") < 2.5 and model == "797xx"', ["S1"]),
        ('param("Device.Nothing") != "x"', []),
        ('not param("Device.Nothing") == "x"', ["S1", "S2", "S3"]),
        ('param("Device.Level") in ("1", "2") or "gold" in tags', ["S1", "S2"]),
        ("age(last_inform) > 86400", ["S1", "S2"]),
        ("86400 >= age(last_inform)", ["S3"]),
        ("online", ["S3"]),
        ('not online and model == "797xx"', ["S1"]),
        ('online or "gold" in tags', ["S1", "S3"]),
        ("True", ["S1", "S2", "S3"]),
        ("False", []),
    ],
)
def test_conditions_select_the_same_devices_in_every_store(
    store: Store, run: Run, where: str, serials: list[str]
) -> None:
    """The closure and its translation to SQL agree."""
    common = {"manufacturer": "Example"}
    devices = [
        a_device("S1", model="797xx", tags=("gold", "golden"), last_inform=10.0, software_version="1.9", **common),
        a_device("S2", model="other", tags=("golden",), last_inform=20.0, software_version="2.0", **common),
        a_device(
            "S3", model="797xx", last_inform=30.0, software_version="2.1", state=DeviceState.QUARANTINED, **common
        ),
    ]
    run(store.commit(unit(devices=devices)))
    for i, device in enumerate(devices):
        many = {f"Device.P{n}": StoredValue("x") for n in range(40)}
        run(store.commit(unit(values=[ValuesChange(device.id, many | {"Device.Level": StoredValue(str(i + 1))})])))
    found = run(store.devices(parse(where, now=86_425.0), limit=10, cursor=None))
    assert [d.serial_number for d in found.items] == serials
    pages, cursor = [], None
    while True:
        page = run(store.devices(parse(where, now=86_425.0), limit=1, cursor=cursor))
        pages += [d.serial_number for d in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert pages == serials


def test_old_histories_are_pruned_and_open_tasks_never(store: Store, run: Run) -> None:
    """Retention removes what is finished and old, nothing else."""
    id = "00D0F1-X-S1"
    run(store.commit(unit(devices=[a_device()])))
    sessions = [
        SessionChange(SessionRecord(id=f"s{i}", device=id, started=0.0, ended=float(i), outcome="success"))
        for i in range(4)
    ]
    failed = a_task("t2", status=TaskStatus.FAILED, finished=1.0, fault=FaultDetail(9002, "no"))
    run(store.commit(unit(sessions=sessions, tasks=[TaskChange(a_task("t1"), None), TaskChange(failed, None)])))
    assert run(store.prune(sessions_before=2.0, tasks_before=2.0)) == 3
    assert [s.id for s in run(store.sessions_of(id, limit=9, cursor=None)).items] == ["s3", "s2"]
    assert run(store.task("t1")) is not None
    assert run(store.task("t2")) is None


def test_what_is_old_goes_in_parts(store: Store, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A year of history that goes at once would hold up who writes, or take longer than a statement may, every hour anew."""
    for module in (postgres, sqlite):
        monkeypatch.setattr(module, "DELETED_AT_ONCE", 2)
    id = "00D0F1-X-S1"
    sessions = [SessionRecord(id=f"s{i}", device=id, started=0.0, ended=float(i), outcome="success") for i in range(8)]
    documents = [DocumentChange(Document("hook", f"d{i}", b"", due=float(i))) for i in range(8)]
    run(store.commit(unit(devices=[a_device()], sessions=[SessionChange(s) for s in sessions], documents=documents)))
    assert run(store.prune(sessions_before=5.0, tasks_before=5.0)) == 5
    assert run(store.prune(sessions_before=5.0, tasks_before=5.0)) == 0
    assert [s.id for s in run(store.sessions_of(id, limit=9, cursor=None)).items] == ["s7", "s6", "s5"]
    assert run(store.forget_documents("hook", due_before=6.0)) == 6
    assert [d.name for d in run(store.documents("hook", limit=9)).items] == ["d6", "d7"]


def test_access_and_files_are_found_by_name(store: Store, run: Run) -> None:
    """Credentials, tokens, files and secrets come back; a newer token of a name replaces the older."""
    credential = CredentialRecord(username="u", device="d", ha1_md5="a", ha1_sha256="b", created=1.0)
    file = FileRecord(name="fw.bin", size=3, sha256="ab", file_type="1 Firmware Upgrade Image")
    old, new = TokenRecord(digest="x", name="admin", created=1.0), TokenRecord(digest="y", name="admin", created=2.0)
    run(store.commit(unit(credentials=[credential], files=[file], tokens=[old])))
    run(store.commit(unit(tokens=[new])))
    assert run(store.credential("u")) == credential
    assert run(store.credential_of("d")) == credential
    assert run(store.token("x")) is None
    assert run(store.token("y")) == run(store.token_named("admin")) == new
    assert (run(store.file("fw.bin")), run(store.files(limit=9)).items) == (file, (file,))
    run(store.commit(unit(deleted_files=["fw.bin"], deleted_credentials=["u"])))
    assert run(store.file("fw.bin")) is None
    assert run(store.credential("u")) is None
    secret = run(store.secret("nonce"))
    assert len(secret) == 32
    assert run(store.secret("nonce")) == secret != run(store.secret("other"))


def test_files_come_page_by_page_in_the_order_of_their_names(store: Store, run: Run) -> None:
    """What comes or goes between two pages moves no other file out of the next one."""
    names = [f"f{number}.bin" for number in range(7)]
    run(store.commit(unit(files=[FileRecord(name=name, size=1, sha256="ab") for name in reversed(names)])))
    first = run(store.files(limit=3))
    assert ([f.name for f in first.items], first.next) == (names[:3], names[2])
    run(store.commit(unit(deleted_files=[names[2]], files=[FileRecord(name="f0.new", size=1, sha256="ab")])))
    second = run(store.files(limit=3, cursor=first.next))
    assert [f.name for f in second.items] == names[3:6]
    last = run(store.files(limit=3, cursor=second.next))
    assert ([f.name for f in last.items], last.next) == (names[6:], None)


def test_a_group_s_login_is_written_with_its_document_or_not_at_all(store: Store, run: Run) -> None:
    """Of two who change a group at the same time the second finds it changed; the row that devices are checked by stays with the first."""

    def login(sha: str, **fields: Any) -> CredentialRecord:
        group = GroupLogin(name="g", ouis=("00D0F1",), tags=("ftth",), state=DeviceState.QUARANTINED, **fields)
        return CredentialRecord(username="u", ha1_md5="m", ha1_sha256=sha, created=1.0, group=group)

    def change(record: CredentialRecord, expect: bytes) -> UnitOfWork:
        document = DocumentChange(Document("group", "g", record.ha1_sha256.encode()), expect=expect)
        return unit(credentials=[record], documents=[document])

    first, second, late = login("a"), login("b", old_sha256="a", old_until=9.0), login("c")
    run(store.commit(change(first, b"")))
    assert run(store.credential("u")) == first
    run(store.commit(change(second, b"a")))
    with pytest.raises(Conflict):
        run(store.commit(change(late, b"a")))
    assert run(store.credential("u")) == second
    run(store.commit(unit(devices=[a_device()])))
    run(store.commit(unit(deleted_devices=[a_device().id])))
    assert run(store.credential("u")) == second


def test_all_tokens_are_listed_by_name(store: Store, run: Run) -> None:
    """With whom they belong to and when they end."""
    one = TokenRecord(digest="x", name="b", created=1.0)
    two = TokenRecord(digest="y", name="a", created=2.0, user="eve", expires=9.0)
    run(store.commit(unit(tokens=[one, two])))
    assert list(run(store.tokens())) == [two, one]


def test_orphaned_tasks_are_the_young_queued_ones(store: Store, run: Run) -> None:
    """Those from an id on that nobody has sent."""
    tasks = [a_task(f"t{n}") for n in range(4)]
    unit_ = unit(devices=[a_device()], tasks=[TaskChange(t, None) for t in tasks])
    run(store.commit(unit_))
    sent = a_task("t3", status=TaskStatus.RUNNING, phase=TaskPhase.SENT)
    run(store.commit(unit(tasks=[TaskChange(sent, frozenset({TaskStatus.QUEUED}))])))
    if isinstance(store, PostgresStore):
        run(store._link.fetch("DELETE FROM node"))  # no process lives that could have made them
    assert [t.id for t in run(store.orphaned_tasks(since="t1", limit=10))] == ["t1", "t2"]
    assert len(run(store.orphaned_tasks(since="t1", limit=1))) <= 1


def test_devices_that_are_not_approved_are_counted_up_to_a_limit(store: Store, run: Run) -> None:
    """Waiting and refused ones; an approved one counts no more."""
    states = [DeviceState.QUARANTINED] * 3 + [DeviceState.REFUSED, DeviceState.APPROVED]
    devices = [a_device(f"S{n}", state=state, address=f"192.0.2.{n % 2}") for n, state in enumerate(states)]
    run(store.commit(unit(devices=devices)))
    assert run(store.unapproved_addresses()) == {"192.0.2.0": 2, "192.0.2.1": 2}
    assert [run(store.unapproved_count(limit)) for limit in (3, 4, 100)] == [3, 4, 4]
    run(store.commit(unit(patches=[("00D0F1-X-S0", {"state": DeviceState.APPROVED})])))
    run(store.commit(unit(deleted_devices=["00D0F1-X-S3"])))
    assert run(store.unapproved_count(100)) == 2
