"""The contents on the disk."""

import fcntl
import threading
from pathlib import Path
from typing import Any

import pytest

from homeport.acs.storage import blobs as module
from homeport.acs.storage.blobs import YOUNG, Blobs, TooLarge
from homeport.errors import StoreUnavailable


def stored(blobs: Blobs, content: bytes) -> str:
    """The hash of a content that was put in its place."""
    part = blobs.begin(1_000)
    part.write(content)
    part.finish()
    blobs.place(part)
    return part.sha256


def test_a_content_lies_under_its_hash_when_it_is_whole(tmp_path: Path) -> None:
    """Nothing of it in its place before."""
    blobs = Blobs(tmp_path)
    blobs.prepare()
    part = blobs.begin(1_000)
    part.write(b"abc")
    assert not blobs.path(part.sha256).exists()
    part.finish()
    blobs.place(part)
    assert blobs.path(part.sha256).read_bytes() == b"abc"


def test_what_is_being_written_is_not_cleared_away(tmp_path: Path) -> None:
    """Another process that starts on the directory leaves it; what nobody writes any more it deletes."""
    blobs = Blobs(tmp_path)
    blobs.prepare()
    part = blobs.begin(1_000)
    part.write(b"abc")
    (tmp_path / "parts" / "dead").write_bytes(b"half")
    assert Blobs(tmp_path).prepare() == 1
    part.finish()
    blobs.place(part)
    assert blobs.path(part.sha256).read_bytes() == b"abc"


def test_contents_without_a_row_go_once_they_are_old(tmp_path: Path) -> None:
    """A young one may be another process's, whose row comes."""
    blobs = Blobs(tmp_path)
    blobs.prepare()
    keep, drop = stored(blobs, b"keep"), stored(blobs, b"drop")
    assert blobs.sweep({keep}) == 0
    later = blobs.path(drop).stat().st_mtime + YOUNG + 1
    assert blobs.sweep({keep}, now=later) == 1
    assert (blobs.path(keep).exists(), blobs.path(drop).exists()) == (True, False)


def test_a_content_over_the_limit_leaves_nothing(tmp_path: Path) -> None:
    """The part is dropped."""
    blobs = Blobs(tmp_path)
    blobs.prepare()
    part = blobs.begin(3)
    with pytest.raises(TooLarge):
        part.write(b"abcd")
    part.drop()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_part_that_is_cleared_away_before_its_lock_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process starts in the moment between the making of the file and its lock."""
    blobs = Blobs(tmp_path)
    blobs.prepare()
    starts, lock = [Blobs(tmp_path)], fcntl.flock

    def locked(file: Any, how: int) -> None:
        if starts:
            assert starts.pop().prepare() == 1
        lock(file, how)

    monkeypatch.setattr(module.fcntl, "flock", locked)
    assert blobs.path(stored(blobs, b"abc")).read_bytes() == b"abc"


def test_what_cannot_be_put_in_its_place_leaves_nothing(tmp_path: Path) -> None:
    """Until the next start it would take the room that is missing."""
    blobs = Blobs(tmp_path)
    blobs.prepare()
    part = blobs.begin(1_000)
    part.write(b"abc")
    part.finish()
    blobs.path(part.sha256).parent.write_bytes(b"no directory")
    with pytest.raises(StoreUnavailable):
        blobs.place(part)
    part.drop()
    assert list((tmp_path / "parts").iterdir()) == []


def test_a_part_that_is_dropped_while_a_thread_writes_it_is_closed_behind_the_thread(tmp_path: Path) -> None:
    """Whoever sent it has hung up; a number that is closed under a write may be a connection's in the next moment."""
    blobs = Blobs(tmp_path)
    blobs.prepare()
    part = blobs.begin(10)
    writing, go_on = threading.Event(), threading.Event()
    file = part._file

    class Slow:
        closed = False

        def write(self, data: Any) -> int:
            writing.set()
            go_on.wait(5)
            return file.write(data)

        def close(self) -> None:
            file.close()

    part._file = Slow()  # type: ignore[assignment]
    thread = threading.Thread(target=part.write, args=(b"abc",))
    thread.start()
    writing.wait(5)
    part.drop()
    assert not file.closed
    go_on.set()
    thread.join(5)
    assert file.closed
    assert list((tmp_path / "parts").iterdir()) == []
    with pytest.raises(StoreUnavailable, match="given up"):
        part.write(b"more")
