"""What every store makes of units that do not fit, as a whole or in part: the one in memory is the reference, so it must not take more."""

import asyncio
from typing import Any

import pytest

from homeport.acs.records import CredentialRecord, EventRecord, FaultRecord, LeaseRecord, SessionRecord, TaskStatus
from homeport.acs.storage.interface import Conflict, SessionChange, Store, TaskChange
from support.store_rows import Run, a_device, a_task, unit

ID = a_device().id
QUEUED = frozenset({TaskStatus.QUEUED})


def an_event() -> EventRecord:
    return EventRecord(id="e", device=ID, session="s", at=1.0, code="1 BOOT")


def a_fault() -> FaultRecord:
    return FaultRecord(id="f", device=ID, session="s", task="t", at=1.0, rpc="Reboot", code=9001, string="no")


@pytest.mark.parametrize(
    "rows",
    [{"tasks": [TaskChange(a_task(), None)]}, {"events": [an_event()]}, {"faults": [a_fault()]}],
    ids=["task", "event", "fault"],
)
def test_rows_of_a_device_that_is_gone_are_refused_with_their_unit(store: Store, run: Run, rows: Any) -> None:
    """It may have been deleted while its session went on."""
    run(store.commit(unit(devices=[a_device("S2")])))
    with pytest.raises(Conflict):
        run(store.commit(unit(patches=[(a_device("S2").id, {"model": "never"})], **rows)))
    assert run(store.task("t1")) is None
    assert run(store.events_of(ID, limit=1, cursor=None)).items == ()
    assert run(store.fresh(a_device("S2").id)).model == ""


def test_what_nobody_waits_for_of_a_device_that_is_gone_is_left_out(store: Store, run: Run) -> None:
    """Its session ends a moment after it was deleted: nothing of it comes back, and nobody is told of an error."""

    async def scene() -> None:
        await store.commit(unit(devices=[a_device()]))
        await store.commit(unit(deleted_devices=[ID]))
        ended = SessionRecord(id="s", device=ID, started=1.0, ended=2.0, outcome="success")
        store.later(unit(sessions=[SessionChange(ended)], released=[(ID, "s")]))
        store.later(unit(events=[an_event()]))
        await store.flush()
        assert await store.session("s") is None
        await store.commit(unit(devices=[a_device()]))
        assert (await store.sessions_of(ID, limit=1, cursor=None)).items == ()
        assert (await store.events_of(ID, limit=1, cursor=None)).items == ()

    run(scene())


def test_a_device_that_comes_twice_in_one_unit_is_refused(store: Store, run: Run) -> None:
    """Two ways of writing one id must not become one device by chance."""
    with pytest.raises(Conflict):
        run(store.commit(unit(devices=[a_device(), a_device(model="other")])))
    assert run(store.device(ID)) is None


def test_a_task_is_made_and_changed_in_one_unit(store: Store, run: Run) -> None:
    """The second change finds the task as the first one leaves it."""
    run(store.commit(unit(devices=[a_device()])))
    made, sent = a_task(), a_task(status=TaskStatus.RUNNING, attempts=1)
    run(store.commit(unit(tasks=[TaskChange(made, None), TaskChange(sent, QUEUED)])))
    assert run(store.task("t1")) == sent
    with pytest.raises(Conflict):
        run(store.commit(unit(tasks=[TaskChange(a_task("t2"), None), TaskChange(a_task("t2"), None)])))
    assert run(store.task("t2")) is None


def test_a_device_has_one_login_of_its_own(store: Store, run: Run) -> None:
    """A new one takes the place of the old one, under whatever user name."""
    run(store.commit(unit(devices=[a_device()])))
    old, new = (CredentialRecord(username=name, device=ID, ha1_md5=name, ha1_sha256=name) for name in ("old", "new"))
    run(store.commit(unit(credentials=[old])))
    run(store.commit(unit(credentials=[new])))
    assert run(store.credential("old")) is None
    assert run(store.credential_of(ID)) == run(store.credential("new")) == new


def test_a_session_that_is_over_leaves_no_lease_however_late_its_row_is_written(store: Store, run: Run) -> None:
    """Both may be in one group, where the session was ended while somebody waited for the row."""
    run(store.commit(unit(devices=[a_device()])))
    lease = LeaseRecord(device=ID, session="s", cookie="c", node=store.node, until=9.0, state=b"")

    async def together() -> None:
        await asyncio.gather(store.commit(unit(leases=[lease])), store.commit(unit(released=[(ID, "s")])))

    run(together())
    assert run(store.lease("c")) is None
