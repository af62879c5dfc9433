"""Leases of sessions: what every store promises of them."""

from typing import Any

from homeport.acs.records import (
    LeaseRecord,
    TaskPhase,
    TaskStatus,
)
from homeport.acs.storage.interface import (
    Store,
    TaskChange,
)
from homeport.acs.storage.sql.postgres import PostgresStore
from support.store_rows import Run, a_device, a_task, unit


def a_lease(device: str = "00D0F1-X-S1", **fields: Any) -> LeaseRecord:
    given = {"session": "s1", "cookie": "c1", "node": "", "until": 100.0, "state": b"\x00state"} | fields
    return LeaseRecord(device=device, **given)


def test_a_device_has_one_lease_which_its_cookie_finds(store: Store, run: Run) -> None:
    """A new session's lease takes the place of the old one; a release counts for its own session only."""
    run(store.commit(unit(devices=[a_device()])))
    run(store.commit(unit(leases=[a_lease(), a_lease("nobody", cookie="c0")])))
    assert run(store.lease("c1")) == a_lease()
    assert run(store.lease("c0")) is None, "there is no such device"
    run(store.commit(unit(leases=[a_lease(session="s2", cookie="c2")])))
    assert run(store.lease("c1")) is None
    store.later(unit(released=[("00D0F1-X-S1", "s1")]))
    run(store.flush())
    assert run(store.lease("c2")) is not None
    store.later(unit(released=[("00D0F1-X-S1", "s2")]))
    run(store.flush())
    assert run(store.lease("c2")) is None


def test_leases_of_devices_without_cookies_are_found_by_address(store: Store, run: Run) -> None:
    """All of one address, and none of devices that give the cookie back."""
    devices = [a_device(f"S{n}") for n in (1, 2, 3)]
    hosts = ("192.0.2.7", "192.0.2.7", "")
    leases = [a_lease(d.id, session=d.id, cookie=d.id, host=h) for d, h in zip(devices, hosts, strict=True)]
    run(store.commit(unit(devices=devices, leases=leases)))
    assert sorted(x.device for x in run(store.leases_at("192.0.2.7"))) == [d.id for d in devices[:2]]
    assert run(store.leases_at("192.0.2.7"))[0].host == "192.0.2.7"
    assert run(store.leases_at("")) == run(store.leases_at("192.0.2.8")) == []
    run(store.commit(unit(leases=[a_lease(devices[0].id, session="next", cookie="next")])))
    assert [x.device for x in run(store.leases_at("192.0.2.7"))] == [devices[1].id]


def test_a_lease_is_taken_as_it_was_read_or_not_at_all(store: Store, run: Run) -> None:
    """What was replaced meanwhile is not taken."""
    run(store.commit(unit(devices=[a_device()], leases=[a_lease()])))
    assert run(store.take_lease(a_lease()))
    run(store.commit(unit(leases=[a_lease(session="s2", cookie="c2")])))
    assert not run(store.take_lease(a_lease()))


def test_expired_leases_are_given_once_and_those_of_living_sessions_stay(store: Store, run: Run) -> None:
    """Who gets one ends its session."""
    devices = [a_device(f"S{n}") for n in range(3)]
    leases = [a_lease(d.id, session=d.id, cookie=d.id, until=10.0 * n) for n, d in enumerate(devices)]
    run(store.commit(unit(devices=devices, leases=leases)))
    found = run(store.expired_leases(now=15.0, limit=10, living=[devices[1].id]))
    assert [x.device for x in found] == [devices[0].id]
    assert run(store.expired_leases(now=15.0, limit=10, living=[devices[1].id])) == []
    assert [x.device for x in run(store.expired_leases(now=15.0, limit=10, living=[]))] == [devices[1].id]
    assert run(store.lease(devices[2].id)) == leases[2]


def test_a_task_whose_session_may_be_continued_is_not_interrupted_yet(store: Store, run: Run) -> None:
    """Until the lease's time is over the device may come with its answer."""
    running = a_task(status=TaskStatus.RUNNING, phase=TaskPhase.SENT)
    run(store.commit(unit(devices=[a_device()], tasks=[TaskChange(running, None)], leases=[a_lease(until=100.0)])))
    if isinstance(store, PostgresStore):
        run(store._link.fetch("UPDATE task SET node = 'gone'"))  # the process that sent it has ended
    assert run(store.interrupted_tasks(limit=10, now=99.0)) == []
    assert [t.id for t in run(store.interrupted_tasks(limit=10, now=100.0))] == [running.id]
    run(store.commit(unit(deleted_devices=["00D0F1-X-S1"])))
    assert run(store.lease("c1")) is None
