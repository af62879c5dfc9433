"""`homeport acs db check` and the file store: each content is there and whole, and what belongs to no file is told."""

import asyncio
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from homeport.acs.records import FileRecord
from homeport.acs.storage.blob_check import examine
from homeport.acs.storage.blobs import BEGUN, YOUNG, Blobs
from homeport.acs.storage.interface import UnitOfWork
from homeport.acs.storage.sql.sqlite import SqliteStore
from homeport.cli.main import run as homeport

NOW = 1_000_000.0


def stored(blobs: Blobs, name: str, content: bytes) -> FileRecord:
    """A file as it should be; old enough to be looked at."""
    blobs.prepare()
    part = blobs.begin(1_000_000)
    part.write(content)
    part.finish()
    blobs.place(part)
    os.utime(blobs.path(part.sha256), (1, 1))
    return FileRecord(name=name, size=len(content), sha256=part.sha256)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "files")


def test_files_that_are_whole_are_counted_once(blobs: Blobs) -> None:
    """Two names of one content are one; an empty one is whole, too. What was read is told for a bar."""
    records = [stored(blobs, "a", b"abc"), stored(blobs, "empty", b"")]
    records.append(replace(records[0], name="b"))
    told: list[int] = []
    found = examine(blobs, lambda: records, told.append, now=NOW)
    assert (found.files, found.bytes, found.wrong, found.orphans, found.unfinished) == (2, 3, [], [], [])
    assert sum(told) == 3


def test_what_is_not_as_its_row_says_is_named(blobs: Blobs) -> None:
    """Gone, shortened, changed in a byte, another size in the row, and unreadable; each with its file's name."""
    records = {name: stored(blobs, name, name.encode() * 100) for name in ("gone", "short", "bit", "row", "fine")}
    blobs.path(records["gone"].sha256).unlink()
    blobs.path(records["short"].sha256).write_bytes(b"short" * 20)
    blobs.path(records["bit"].sha256).write_bytes(b"bit" * 99 + b"Bit")
    records["row"] = replace(records["row"], size=7)
    folder = stored(blobs, "folder", b"folder")
    blobs.path(folder.sha256).unlink()
    blobs.path(folder.sha256).mkdir()
    found = examine(blobs, lambda: [*records.values(), folder], now=NOW)
    assert [line.partition(":")[0] for line in found.wrong] == [
        "file gone",
        "file short",
        "file bit",
        "file row",
        "file folder",
    ]
    for line, says in zip(
        found.wrong, ("not there", "damaged", "damaged", "300 bytes, and not 7", "cannot"), strict=True
    ):
        assert says in line
    assert found.files == 2


def test_what_changes_while_it_is_read_is_no_damage(blobs: Blobs) -> None:
    """A file that is deleted or replaced meanwhile; one that is stored meanwhile is no leftover."""
    record, kept = stored(blobs, "going", b"going"), stored(blobs, "kept", b"kept")
    late = stored(blobs, "late", b"late")
    blobs.path(record.sha256).unlink()
    answers: Iterator[list[FileRecord]] = iter([[record, kept], [kept, late]])
    found = examine(blobs, lambda: next(answers), now=NOW)
    assert (found.wrong, found.orphans) == ([], [])


def test_leftovers_are_told_and_what_is_being_written_is_not(blobs: Blobs) -> None:
    """A content without a row, and a part whose writer is dead; a young one may be about to get its row."""
    orphan = stored(blobs, "x", b"orphan")
    young = stored(blobs, "y", b"young")
    os.utime(blobs.path(young.sha256), (NOW - YOUNG / 2, NOW - YOUNG / 2))
    parts = blobs.directory / "parts"
    for name, age in (("dead", BEGUN * 2), ("begun", 1.0), ("written", BEGUN * 2)):
        (parts / name).write_bytes(b"half")
        os.utime(parts / name, (NOW - age, NOW - age))
    with (parts / "written").open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        found = examine(blobs, list, now=NOW)
    assert found.orphans == [blobs.path(orphan.sha256)]
    assert found.unfinished == [parts / "dead"]
    assert all((parts / name).exists() for name in ("dead", "begun", "written"))


def test_a_store_that_was_never_used_has_nothing_wrong(blobs: Blobs) -> None:
    """And is not made by looking."""
    assert examine(blobs, list, now=NOW).wrong == []
    assert not blobs.directory.exists()


# --- the command ---


def kept_in(data: Path, *records: FileRecord) -> None:
    """A database that has these files."""

    async def scene() -> None:
        store = SqliteStore(data / "acs.db")
        await store.open()
        unit = UnitOfWork()
        unit.files += records
        await store.commit(unit)
        await store.close()

    asyncio.run(scene())


def test_the_command_reads_the_files_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1 where one is damaged, 0 where something is left over; with --no-files it looks at the rows alone."""
    blobs = Blobs(tmp_path / "files")
    record = stored(blobs, "fw.bin", b"firmware")
    kept_in(tmp_path, record)
    check = ["acs", "db", "check", "--data-dir", str(tmp_path)]
    assert homeport(check) == 0
    assert "1 files in" in capsys.readouterr().err
    orphan = blobs.path(stored(blobs, "x", b"orphan").sha256)
    assert homeport(check) == 0
    said = capsys.readouterr().err
    assert f"belongs to no file: {orphan}" in said
    assert "--remove-leftovers" in said
    assert homeport([*check, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == {"whole": 1, "bytes": 8, "leftovers": [str(orphan)], "removed": 0}
    assert homeport([*check, "--remove-leftovers"]) == 0
    assert "1 were deleted" in capsys.readouterr().err
    assert not orphan.exists()
    blobs.path(record.sha256).write_bytes(b"fermware")
    assert homeport(check) == 1
    said = capsys.readouterr().err
    assert "file fw.bin: its content is damaged" in said
    assert "homeport file delete" in said
    assert homeport([*check, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["wrong"] != []
    assert homeport([*check, "--no-files"]) == 0
    assert homeport([*check, "--no-files", "--remove-leftovers"]) == 2


def test_nothing_is_deleted_where_rows_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged row may be the one that names a content."""
    blobs = Blobs(tmp_path / "files")
    record = stored(blobs, "fw.bin", b"firmware")
    kept_in(tmp_path, record)
    connection = sqlite3.connect(tmp_path / "acs.db")
    with connection:
        connection.execute("UPDATE file SET record = x'ff'")
    connection.close()
    assert homeport(["acs", "db", "check", "--data-dir", str(tmp_path), "--remove-leftovers"]) == 1
    assert "they stay" in capsys.readouterr().err
    assert blobs.path(record.sha256).exists()
