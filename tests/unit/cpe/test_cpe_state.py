"""The state directory: atomic, durable, locked, versioned, and clear about what is wrong."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from homeport.cpe.state import AGENT, EVENT, FORMAT, IDENTITY, MODEL, Store
from homeport.errors import StoreError, StoreUnavailable


def test_facts_survive_closing(tmp_path: Path):
    """What a transaction stored is there at the next start."""
    store = Store(tmp_path)
    with store.transaction() as t:
        t.put(MODEL, "Device.X", {"value": "1"})
        t.put(AGENT, "url", "http://a/")
    store.close()
    store = Store(tmp_path)
    assert store.get(MODEL, "Device.X") == {"value": "1"}
    assert store.items(AGENT) == [("url", "http://a/")]
    store.close()


def test_a_transaction_that_raises_changes_nothing(tmp_path: Path):
    """All or nothing, across buckets."""
    store = Store(tmp_path)
    with pytest.raises(RuntimeError), store.transaction() as t:
        t.put(MODEL, "a", 1)
        t.put(EVENT, "1", {})
        raise RuntimeError
    assert store.items(MODEL) == [] == store.items(EVENT)
    with store.transaction() as t:
        t.put(MODEL, "a", 2)
    assert store.get(MODEL, "a") == 2
    store.close()


def test_a_block_inside_a_block_joins_it(tmp_path: Path):
    """The data model's own persisting joins the handler's transaction, so that both are on disk together or not at all."""
    store = Store(tmp_path)
    with pytest.raises(RuntimeError), store.transaction():
        with store.transaction() as inner:
            inner.put(MODEL, "a", 1)
        raise RuntimeError
    assert store.get(MODEL, "a") is None
    store.close()


def test_a_bucket_can_be_replaced_and_emptied(tmp_path: Path):
    """The event queue is written as a whole; a factory reset empties buckets but leaves the identity."""
    store = Store(tmp_path)
    with store.transaction() as t:
        t.put(IDENTITY, "serial", "1")
        t.replace(EVENT, [("1", "a"), ("2", "b")])
        t.replace(EVENT, [("3", "c")])
    assert store.items(EVENT) == [("3", "c")]
    with store.transaction() as t:
        t.clear(EVENT)
        t.remove(IDENTITY, "nothing")
    assert store.items(EVENT) == []
    assert store.get(IDENTITY, "serial") == "1"
    store.close()


def test_a_second_agent_is_turned_away(tmp_path: Path):
    """One agent per state directory; the message names the other's process."""
    store = Store(tmp_path)
    with pytest.raises(StoreError, match=str(os.getpid())):
        Store(tmp_path)
    store.close()
    Store(tmp_path).close()


def test_the_files_are_for_their_owner_only(tmp_path: Path):
    """They hold passwords."""
    store = Store(tmp_path / "state")
    with store.transaction() as t:
        t.put(MODEL, "a", 1)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    for file in (tmp_path / "state").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file
    store.close()


def test_a_newer_releases_state_is_refused_untouched(tmp_path: Path):
    """Going back to an older release must not destroy what the newer one wrote."""
    Store(tmp_path).close()
    db = sqlite3.connect(tmp_path / "state.db")
    db.execute(f"PRAGMA user_version = {FORMAT + 1}")
    db.close()
    with pytest.raises(StoreError, match="newer release"):
        Store(tmp_path)


def test_a_damaged_file_is_reported_with_the_cure(tmp_path: Path):
    """Nothing is thrown away without being asked."""
    tmp_path.joinpath("state.db").write_bytes(b"this is not a database, but it is long enough" * 100)
    with pytest.raises(StoreError, match="move it away"):
        Store(tmp_path)


def test_a_directory_that_cannot_be_made_is_a_store_error(tmp_path: Path):
    """The message names the directory and the flag."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="--state-dir"):
        Store(tmp_path / "file" / "state")


def test_a_full_disk_is_a_clear_passing_state(tmp_path: Path):
    """Nothing is changed, the error says what to do, and the store works again when there is room."""
    store = Store(tmp_path)
    with store.transaction() as t:
        t.put(MODEL, "a", "before")
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailable, match="full"), store.transaction() as t:
        t.put(MODEL, "a", "after")
        t.put(MODEL, "big", "x" * 100_000)
    assert store.get(MODEL, "a") == "before"
    store._db.execute("PRAGMA max_page_count = 100000")
    with store.transaction() as t:
        t.put(MODEL, "a", "after")
    assert store.get(MODEL, "a") == "after"
    store.close()


CHILD = """
import sys
from pathlib import Path
from homeport.cpe.state import Store
store = Store(Path(sys.argv[1]))
n = store.get("agent", "n", 0)
while True:
    n += 1
    with store.transaction() as t:
        t.put("agent", "n", n)
        t.put("model", "n", n)
    sys.stdout.write(f"{n}\\n")
    sys.stdout.flush()
"""


def test_kill_9_loses_no_committed_fact_and_tears_none_apart(tmp_path: Path):
    """A process that is killed between commits: what it had said to be stored is there, and both halves agree."""
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        said = 0
        for _ in range(25):
            said = int(child.stdout.readline())
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        store = Store(tmp_path)
        assert store.get(AGENT, "n") >= said
        assert store.get(AGENT, "n") == store.get(MODEL, "n")
        store.close()
