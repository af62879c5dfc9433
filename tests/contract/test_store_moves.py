"""A device under another id: what every store promises of it. The stores are those of conftest.py."""

from typing import Any

import pytest

from homeport.acs.records import (
    Behaviour,
    CredentialRecord,
    DeviceState,
    EventRecord,
    FaultRecord,
    FileRecord,
    LeaseRecord,
    SessionRecord,
    StoredValue,
    TaskPhase,
    TaskStatus,
)
from homeport.acs.storage.interface import Conflict, SessionChange, Store, TaskChange, UnitOfWork, ValuesChange
from support.store_rows import Run, a_device, a_task, unit

OLD, NEW = "00D0F1-X-S1", "00D0F1-X-S2"


def a_login(username: str, device: str) -> CredentialRecord:
    return CredentialRecord(username=username, device=device, ha1_md5="a", ha1_sha256="b")


def of_the_old() -> UnitOfWork:
    """Everything that a device can have."""
    return unit(
        devices=[
            a_device(
                "S1",
                tags=("gold", "north"),
                first_seen=5.0,
                last_inform=50.0,
                model="M1",
                behaviour=Behaviour(max_names=16, prolog=True),
                connection_request_username="u",
                connection_request_password="p",
            )
        ],
        values=[ValuesChange(OLD, {f"Device.{i:03}": StoredValue("old", updated=1.0) for i in range(200)})],
        tasks=[
            TaskChange(a_task("t1", priority=1), None),
            TaskChange(a_task("t2", status=TaskStatus.DONE, finished=9.0), None),
            TaskChange(a_task("t3", status=TaskStatus.UNKNOWN), None),
            TaskChange(a_task("t4", status=TaskStatus.RUNNING, phase=TaskPhase.TRANSFER), None),
        ],
        sessions=[SessionChange(SessionRecord(id="s1", device=OLD, started=1.0, ended=2.0, outcome="success"))],
        events=[EventRecord(id=f"e{i:04}", device=OLD, session="s1", at=1.0, code="1 BOOT") for i in range(1_100)],
        faults=[
            FaultRecord(id="f1", device=OLD, session="s1", task="t2", at=1.0, rpc="Reboot", code=9002, string="no")
        ],
        files=[FileRecord(name="up", size=1, sha256="a", device=OLD), FileRecord(name="fw", size=1, sha256="b")],
        credentials=[a_login("u1", OLD)],
    )


async def everything(store: Store, id: str) -> dict[str, Any]:
    """What the store tells of a device, with the ids that stand inside the records."""
    tasks = (await store.tasks_of(id, limit=99, cursor=None)).items
    sessions = (await store.sessions_of(id, limit=99, cursor=None)).items
    events = (await store.events_of(id, limit=9_999, cursor=None)).items
    faults = (await store.faults(device=id, limit=99, cursor=None)).items
    login = await store.credential_of(id)
    rows = (*tasks, *sessions, *events, *faults, *(await store.open_tasks(id)))
    return {
        "tasks": [t.id for t in tasks],
        "open": [t.id for t in await store.open_tasks(id)],
        "sessions": [s.id for s in sessions],
        "events": len(events),
        "faults": [f.id for f in faults],
        "login": login.username if login is not None else None,
        "owners": {r.device for r in rows},
    }


NOTHING: dict[str, Any] = {
    "tasks": [],
    "open": [],
    "sessions": [],
    "events": 0,
    "faults": [],
    "login": None,
    "owners": set(),
}


def test_a_merged_device_gives_all_that_it_has(store: Store, run: Run) -> None:
    """Tasks, histories, tags, login, habits and values are under the new id, also inside the records; the old one is gone."""

    async def scene() -> None:
        await store.commit(of_the_old())
        younger = {f"Device.{i:03}": StoredValue("new", updated=7.0) for i in range(100, 260)}
        await store.commit(
            unit(
                devices=[
                    a_device(
                        "S2",
                        tags=("south",),
                        first_seen=60.0,
                        last_inform=70.0,
                        model="M2",
                        state=DeviceState.QUARANTINED,
                        behaviour=Behaviour(max_names=64),
                    )
                ],
                values=[ValuesChange(NEW, younger)],
                tasks=[TaskChange(a_task("t0", NEW), None)],
            )
        )
        await store.open_tasks(NEW), await store.device(OLD), await store.reported(OLD)
        await store.commit(unit(moved=[(OLD, NEW)]))
        assert await store.device(OLD) is None
        assert await everything(store, OLD) == NOTHING
        assert await everything(store, NEW) == {
            "tasks": ["t4", "t3", "t2", "t1", "t0"],
            "open": ["t1", "t0", "t3", "t4"],
            "sessions": ["s1"],
            "events": 1_100,
            "faults": ["f1"],
            "login": "u1",
            "owners": {NEW},
        }
        now = await store.fresh(NEW)
        assert now is not None
        assert (now.tags, now.state, now.model) == (("gold", "north", "south"), DeviceState.APPROVED, "M2")
        assert (now.first_seen, now.last_inform) == (5.0, 70.0)
        assert now.behaviour == Behaviour(max_names=64, prolog=True)
        assert (now.connection_request_username, now.connection_request_password) == ("u", "p")
        values = await store.values(NEW)
        assert [v.value for v in values.values()] == ["old"] * 100 + ["new"] * 160
        task, session, login = await store.task("t2"), await store.session("s1"), await store.credential("u1")
        assert task is not None and session is not None and login is not None
        assert {task.device, session.record.device, login.device} == {NEW}
        assert {f.name: f.device for f in (await store.files(limit=9)).items} == {"fw": "", "up": NEW}
        assert await store.device_count() == 1

    run(scene())


def test_a_device_that_has_its_own_login_keeps_it(store: Store, run: Run) -> None:
    """The old one's goes with the old device: two would let two devices be one."""
    run(store.commit(of_the_old()))
    run(store.commit(unit(devices=[a_device("S2")], credentials=[a_login("u2", NEW)])))
    run(store.commit(unit(moved=[(OLD, NEW)])))
    assert run(store.credential("u1")) is None
    assert run(store.credential_of(NEW)).username == "u2"


def test_a_renamed_device_is_made_and_filled_in_one_unit(store: Store, run: Run) -> None:
    """Only the identity is another one; where the id exists already nothing happens."""
    blank = a_device("S2", state=DeviceState.QUARANTINED)
    run(store.commit(of_the_old()))
    before = run(store.device(OLD))
    run(store.commit(unit(devices=[a_device("S3")])))
    with pytest.raises(Conflict):
        run(store.commit(unit(devices=[a_device("S3")], moved=[(OLD, "00D0F1-X-S3")])))
    assert run(everything(store, OLD))["events"] == 1_100
    run(store.commit(unit(devices=[blank], moved=[(OLD, NEW)])))
    after = run(store.fresh(NEW))
    assert (after.serial_number, after.tags, after.state) == ("S2", before.tags, before.state)
    assert (after.behaviour, after.model, after.last_inform) == (before.behaviour, "M1", 50.0)
    assert len(run(store.values(NEW))) == 200
    assert run(everything(store, NEW))["open"] == ["t1", "t3", "t4"]
    assert run(store.device(OLD)) is None


@pytest.mark.parametrize("why", ["sent", "lease", "no old", "no new", "same"])
def test_a_move_that_does_not_fit_changes_nothing(store: Store, run: Run, why: str) -> None:
    """A task that was sent, a session that may go on, a device that is not there: conflict, and all of the unit is left out."""
    run(
        store.commit(unit(devices=[a_device("S1", tags=("a",)), a_device("S2")], tasks=[TaskChange(a_task("t"), None)]))
    )
    pair = {"no old": ("00D0F1-X-S9", NEW), "no new": (OLD, "00D0F1-X-S9"), "same": (OLD, OLD)}.get(why, (OLD, NEW))
    if why == "sent":
        sent = a_task("t", status=TaskStatus.RUNNING, phase=TaskPhase.SENT)
        run(store.commit(unit(tasks=[TaskChange(sent, frozenset({TaskStatus.QUEUED}))])))
    if why == "lease":
        lease = LeaseRecord(device=OLD, session="s", cookie="c", node=store.node, until=9e9, state=b"")
        run(store.commit(unit(leases=[lease])))
    with pytest.raises(Conflict):
        run(store.commit(unit(moved=[pair], files=[FileRecord(name="x", size=1, sha256="a")])))
    assert run(store.fresh(OLD)).tags == ("a",)
    assert run(store.fresh(NEW)).tags == ()
    assert [t.id for t in run(store.open_tasks(OLD))] == ["t"]
    assert run(store.open_tasks(NEW)) in ((), [])
    assert run(store.files(limit=9)).items == ()


def test_what_waits_to_be_written_goes_along(store: Store, run: Run) -> None:
    """Touched facts and histories of the last moment are under the new id, too."""

    async def scene() -> None:
        await store.commit(unit(devices=[a_device("S1"), a_device("S2")]))
        store.touch(OLD, {"last_inform": 77.0}, {"Device.A": StoredValue("1")})
        ended = SessionRecord(id="s", device=OLD, started=1.0, ended=2.0, outcome="success")
        store.later(unit(sessions=[SessionChange(ended)]))
        await store.commit(unit(moved=[(OLD, NEW)]))
        now = await store.device(NEW)
        assert now is not None and now.last_inform == 77.0
        assert (await store.values(NEW))["Device.A"].value == "1"
        assert [s.device for s in (await store.sessions_of(NEW, limit=9, cursor=None)).items] == [NEW]

    run(scene())


def test_a_session_of_the_old_device_writes_nothing_into_the_new_ones_tasks(store: Store, run: Run) -> None:
    """It began before the move and knows the task under the old id: its change conflicts, and the task stays as it is."""
    run(store.commit(unit(devices=[a_device("S1"), a_device("S2")], tasks=[TaskChange(a_task("t"), None)])))
    run(store.commit(unit(moved=[(OLD, NEW)])))
    late = a_task("t", status=TaskStatus.RUNNING, phase=TaskPhase.SENT)
    with pytest.raises(Conflict):
        run(store.commit(unit(tasks=[TaskChange(late, frozenset({TaskStatus.QUEUED}))])))
    task = run(store.task("t"))
    assert (task.device, task.status) == (NEW, TaskStatus.QUEUED)
    sent = a_task("t", NEW, status=TaskStatus.RUNNING, phase=TaskPhase.SENT)
    run(store.commit(unit(tasks=[TaskChange(sent, frozenset({TaskStatus.QUEUED}))])))
    assert [t.status for t in run(store.open_tasks(NEW))] == [TaskStatus.RUNNING]
