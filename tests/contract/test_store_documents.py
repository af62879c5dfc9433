"""Documents (few, found by name or by when they are due): what every store promises of them."""

from typing import Any

import pytest

from homeport.acs.records import (
    Document,
)
from homeport.acs.storage.interface import (
    Conflict,
    DocumentChange,
    Store,
)
from support.store_rows import Run, unit


def a_document(name: str = "one", record: bytes = b"a", due: float | None = None, kind: str = "hook") -> Document:
    return Document(kind, name, record, due)


def write(run: Run, store: Store, document: Document, **more: Any) -> None:
    run(store.commit(unit(documents=[DocumentChange(document, **more)])))


def test_documents_are_listed_by_name_in_both_directions(store: Store, run: Run) -> None:
    """By kind, page after page; what is written later is seen at once; a newer one of the same name takes the place of the older."""
    for name in ("b", "a", "c"):
        write(run, store, a_document(name))
    write(run, store, a_document("a", kind="user"))

    async def soon() -> None:
        store.later(unit(documents=[DocumentChange(a_document("b", b"new"))]))

    run(soon())
    assert run(store.document("hook", "b")) == a_document("b", b"new")
    assert run(store.document("hook", "z")) is None
    first = run(store.documents("hook", limit=2))
    assert [d.name for d in first.items] == ["a", "b"]
    assert [d.name for d in run(store.documents("hook", limit=2, cursor=first.next)).items] == ["c"]
    first = run(store.documents("hook", limit=2, youngest=True))
    assert [d.name for d in first.items] == ["c", "b"]
    rest = run(store.documents("hook", limit=2, youngest=True, cursor=first.next))
    assert ([d.name for d in rest.items], rest.next) == (["a"], None)
    assert [d.name for d in run(store.documents("user", limit=9)).items] == ["a"]
    assert [run(store.document_count(kind, 2)) for kind in ("hook", "user", "none")] == [2, 1, 0], (
        "no further than asked"
    )


def test_a_document_is_changed_only_as_its_writer_has_read_it(store: Store, run: Run) -> None:
    """What two writers change at the same time, one of them changes; the other is told."""
    write(run, store, a_document(), expect=b"")
    with pytest.raises(Conflict):
        write(run, store, a_document(record=b"b"), expect=b"")
    with pytest.raises(Conflict):
        write(run, store, a_document(record=b"c"), expect=b"b")
    write(run, store, a_document(record=b"c"), expect=b"a")
    with pytest.raises(Conflict):
        write(run, store, a_document(), gone=True, expect=b"a")
    assert run(store.document("hook", "one")) == a_document(record=b"c")
    write(run, store, a_document(), gone=True, expect=b"c")
    write(run, store, a_document("never"), gone=True)
    assert run(store.document("hook", "one")) is None
    with pytest.raises(Conflict):
        write(run, store, a_document(), gone=True, expect=b"c")
    assert run(store.device_count()) == 0, "the store goes on after a conflict"


def test_due_documents_come_in_the_order_of_their_urgency(store: Store, run: Run) -> None:
    """Those whose time has come, at most as many as asked for; what was due long ago can be forgotten."""
    for name, due in (("late", 30.0), ("soon", 10.0), ("sooner", 5.0), ("never", None)):
        write(run, store, a_document(name, due=due))
    assert [d.name for d in run(store.documents("hook", limit=9, due=10.0)).items] == ["sooner", "soon"]
    assert [d.name for d in run(store.documents("hook", limit=1, due=99.0)).items] == ["sooner"]
    assert run(store.forget_documents("hook", due_before=10.0)) == 1
    assert [d.name for d in run(store.documents("hook", limit=9)).items] == ["late", "never", "soon"]


def test_the_youngest_documents_can_be_told_from_the_others(store: Store, run: Run) -> None:
    """When the last of so many was due; none where there are no more; what is on its way counts, and what is never due does not."""
    for name, due in (("a", 5.0), ("b", 10.0), ("c", 30.0), ("never", None)):
        write(run, store, a_document(name, due=due))
    assert run(store.due_since("hook", 3)) is None
    assert run(store.due_since("hook", 2)) == 10.0
    assert run(store.due_since("other", 1)) is None

    async def soon() -> None:
        store.later(unit(documents=[DocumentChange(a_document("d", due=40.0))]))

    run(soon())
    assert run(store.due_since("hook", 2)) == 30.0
