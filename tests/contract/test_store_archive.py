"""Backups: everything comes back, in the same kind of database or the other, and what is not whole is refused."""

import asyncio
import gzip
import os
import pwd
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from homeport.acs.records import (
    CredentialRecord,
    DeviceRecord,
    EventRecord,
    GroupLogin,
    SessionRecord,
    StoredValue,
    TaskRecord,
)
from homeport.acs.storage.interface import Conflict, SessionChange, TaskChange, UnitOfWork, ValuesChange
from homeport.acs.storage.sql import archive
from homeport.cli.main import run as homeport
from homeport.errors import StoreError
from support.postgres import needs_postgres, shared_server

Place = Callable[[Path, str], Path | str]


def sqlite_place(directory: Path, name: str) -> Path | str:
    return directory / f"{name}.db"


def postgres_place(directory: Path, name: str) -> Path | str:
    return shared_server().new_database()


POSTGRES = pytest.param(postgres_place, marks=[pytest.mark.postgres, needs_postgres], id="postgres")
SQLITE = pytest.param(sqlite_place, id="sqlite")


async def fill(place: Path | str) -> None:
    """Two devices with one of everything."""
    store = archive.store_of(place)
    await store.open()
    unit = UnitOfWork()
    for id in ("S1", "S2"):
        unit.devices.append(DeviceRecord(id=id, oui="00D0F1", product_class="", serial_number=id, tags=("gold",)))
        values = {f"Device.P{i}": StoredValue(f"{id}-{i}", "string", True, 1.5) for i in range(50)}
        unit.values.append(ValuesChange(id, values))
        unit.tasks.append(TaskChange(TaskRecord(id=f"t{id}", device=id, rpc="Reboot", args={}, attempts=2), None))
        unit.events.append(EventRecord(id=f"e{id}", device=id, session="s", at=1.0, code="1 BOOT"))
        record = SessionRecord(id=f"s{id}", device=id, started=1.0, ended=2.0, outcome="success")
        unit.sessions.append(SessionChange(record))
    await store.commit(unit)
    access = UnitOfWork()
    access.credentials.append(CredentialRecord(username="u", device="S1", ha1_md5="a", ha1_sha256="b"))
    group = GroupLogin(name="g", ouis=("00D0F1",), old_sha256="c", old_until=9.0)
    access.credentials.append(CredentialRecord(username="g", ha1_md5="a", ha1_sha256="b", group=group))
    await store.commit(access)
    await store.commit(_small("S1"))
    await store.secret("nonce")
    await store.close()


def _small(id: str) -> UnitOfWork:
    unit = UnitOfWork()
    unit.values.append(ValuesChange(id, {"Device.P1": StoredValue("newer")}))
    return unit


async def told(place: Path | str) -> list[object]:
    """What a store tells of it."""
    store = archive.store_of(place)
    await store.open()
    out: list[object] = [await store.secret("nonce"), await store.credential("u"), await store.credential("g")]
    for id in ("S1", "S2"):
        out += [await store.device(id), await store.values(id), await store.reported(id), await store.open_tasks(id)]
        out += [await store.events_of(id, limit=9, cursor=None), await store.session(f"s{id}")]
    unit = UnitOfWork()
    unit.devices.append(DeviceRecord(id="S3", oui="", product_class="", serial_number="S3"))
    unit.values.append(ValuesChange("S3", {f"Device.Q{i}": StoredValue("1") for i in range(50)}))
    await store.commit(unit)  # new rows find their place behind the restored ones
    assert len(await store.values("S3")) == 50
    await store.close()
    return out


@pytest.mark.parametrize("there", [SQLITE, POSTGRES])
@pytest.mark.parametrize("here", [SQLITE, POSTGRES])
def test_everything_comes_back_wherever_it_is_restored(here: Place, there: Place, tmp_path: Path) -> None:
    """A backup of one database fills the other kind too: the way from SQLite to PostgreSQL and back."""
    source, target, file = here(tmp_path, "source"), there(tmp_path, "target"), tmp_path / "backup"

    async def scene() -> None:
        await fill(source)
        counts = await archive.backup(source, file)
        assert counts["device"] == counts["task"] == counts["session"] == 2
        assert await archive.restore(target, file) == counts
        assert await archive.check(target) == (counts, [])
        assert await told(target) == await told(source)

    asyncio.run(scene())
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("place", [SQLITE, POSTGRES])
def test_only_an_empty_database_is_filled(place: Place, tmp_path: Path) -> None:
    """Nothing that is there is written over."""
    source = place(tmp_path, "source")

    async def scene() -> None:
        await fill(source)
        await archive.backup(source, tmp_path / "backup")
        with pytest.raises(StoreError, match="not empty"):
            await archive.restore(source, tmp_path / "backup")

    asyncio.run(scene())


@pytest.mark.parametrize("damage", ["cut", "text", "shortened"])
def test_a_file_that_is_not_whole_is_refused_before_anything_is_made(damage: str, tmp_path: Path) -> None:
    """A cut file, a foreign one, one that ends without its foot."""
    file = tmp_path / "backup"

    async def scene() -> None:
        await fill(tmp_path / "acs.db")
        await archive.backup(tmp_path / "acs.db", file)
        body = file.read_bytes()
        match damage:
            case "cut":
                file.write_bytes(body[: len(body) // 2])
            case "text":
                file.write_bytes(gzip.compress(b"\0\0\0\5hello"))
            case _:
                file.write_bytes(gzip.compress(gzip.decompress(body)[:-20]))
        with pytest.raises(StoreError, match=r"backup|newer"):
            await archive.restore(tmp_path / "new.db", file)
        assert not (tmp_path / "new.db").exists()

    asyncio.run(scene())


def test_a_file_that_was_damaged_anywhere_is_refused_with_a_sentence(tmp_path: Path) -> None:
    """Whatever the decompressor, the checksum or the decoder says of it."""
    asyncio.run(fill(tmp_path / "acs.db"))
    asyncio.run(archive.backup(tmp_path / "acs.db", tmp_path / "backup"))
    body = (tmp_path / "backup").read_bytes()
    for at in range(0, len(body) - 16, len(body) // 40):
        (tmp_path / "backup").write_bytes(body[:at] + bytes(b ^ 0xFF for b in body[at : at + 16]) + body[at + 16 :])
        with pytest.raises(StoreError):
            list(archive.read(tmp_path / "backup"))


def test_a_value_that_was_changed_in_a_backup_is_found_by_its_checksum(tmp_path: Path) -> None:
    """All rows can be read, and there are as many as there should be."""
    asyncio.run(fill(tmp_path / "acs.db"))
    asyncio.run(archive.backup(tmp_path / "acs.db", tmp_path / "backup"))
    plain = gzip.decompress((tmp_path / "backup").read_bytes())
    good = gzip.compress(plain, compresslevel=0, mtime=0)
    assert good.count(b"Reboot") == 2
    (tmp_path / "backup").write_bytes(good)
    assert len(list(archive.read(tmp_path / "backup"))) > 10
    (tmp_path / "backup").write_bytes(good.replace(b"Reboot", b"reboot"))
    with pytest.raises(StoreError):
        list(archive.read(tmp_path / "backup"))


@pytest.mark.parametrize("place", [SQLITE, POSTGRES])
def test_a_damaged_task_keeps_nothing_else_from_being_restored(place: Place, tmp_path: Path) -> None:
    """A backup takes rows as they are; what cannot be read comes along, and is found by the check."""
    target = place(tmp_path, "target")

    async def scene() -> None:
        await fill(tmp_path / "acs.db")
        connection = sqlite3.connect(tmp_path / "acs.db")
        with connection:
            connection.execute("UPDATE task SET record = x'ff' WHERE id = 'tS2'")
        connection.close()
        await archive.backup(tmp_path / "acs.db", tmp_path / "backup")
        await archive.restore(target, tmp_path / "backup")
        counts, wrong = await archive.check(target)
        assert counts["task"] == 2 and len(wrong) == 1 and "task tS2" in wrong[0]
        store = archive.store_of(target)
        await store.open()
        assert [t.id for t in await store.open_tasks("S1")] == ["tS1"]
        await store.close()

    asyncio.run(scene())


def test_the_check_reads_values_and_names_their_device(tmp_path: Path) -> None:
    """What the ACS tells of them names this check as the way to know more; a key of the database says nothing to people."""

    async def scene() -> None:
        for number, damage in enumerate(("vals = x'C1'", "path_list = 2")):
            place = tmp_path / f"{number}.db"
            await fill(place)
            connection = sqlite3.connect(place)
            with connection:
                connection.execute("INSERT INTO path_list (id, hash, paths) VALUES (2, x'00', x'90')")
                connection.execute(
                    f"UPDATE device_values SET {damage} WHERE device = (SELECT key FROM device WHERE id = 'S2')"
                )
            connection.close()
            _, wrong = await archive.check(place)
            assert len(wrong) == 1 and wrong[0].startswith("device_values S2: ")

    asyncio.run(scene())


def test_a_database_that_is_not_empty_keeps_its_layout(tmp_path: Path) -> None:
    """Restored into by mistake: nodes of the version before may be working on it."""
    place = tmp_path / "acs.db"

    async def scene() -> None:
        await fill(place)
        await archive.backup(place, tmp_path / "backup")
        connection = sqlite3.connect(place)
        connection.execute("PRAGMA user_version = 5")
        with pytest.raises(StoreError, match="older Homeport"):
            await archive.restore(place, tmp_path / "backup")
        assert connection.execute("PRAGMA user_version").fetchone() == (5,)
        connection.close()

    asyncio.run(scene())


@pytest.mark.postgres
@needs_postgres
def test_a_wish_that_is_told_again_after_a_restore_is_known(tmp_path: Path) -> None:
    """Its idempotency key comes back with the task."""
    place = shared_server().new_database()

    def wish(id: str) -> UnitOfWork:
        unit = UnitOfWork()
        unit.tasks.append(TaskChange(TaskRecord(id=id, device="S1", rpc="Reboot", args={}, idempotency_key="k"), None))
        return unit

    async def scene() -> None:
        await fill(tmp_path / "acs.db")
        store = archive.store_of(tmp_path / "acs.db")
        await store.open()
        await store.commit(wish("first"))
        await store.close()
        await archive.backup(tmp_path / "acs.db", tmp_path / "backup")
        await archive.restore(place, tmp_path / "backup")
        again = archive.store_of(place)
        await again.open()
        with pytest.raises(Conflict, match="the task first has the same idempotency key"):
            await again.commit(wish("again"))
        await again.close()

    asyncio.run(scene())


def test_the_command_backs_up_restores_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`homeport acs db`: a way there and back, and a broken row is found with exit status 1."""
    data, file = tmp_path / "data", str(tmp_path / "backup")
    data.mkdir()
    asyncio.run(fill(data / "acs.db"))
    assert homeport(["acs", "db", "migrate", "--data-dir", str(data)]) == 0
    assert homeport(["acs", "db", "backup", file, "--data-dir", str(data)]) == 0
    again = ["--database", f"sqlite:///{tmp_path}/again.db"]
    assert homeport(["acs", "db", "restore", file, *again]) == 0
    assert homeport(["acs", "db", "check", *again]) == 0
    connection = sqlite3.connect(tmp_path / "again.db")
    with connection:
        connection.execute("UPDATE task SET record = x'ff' WHERE id = 'tS2'")
    connection.close()
    capsys.readouterr()
    assert homeport(["acs", "db", "check", *again]) == 1
    assert "task tS2" in capsys.readouterr().err
    assert homeport(["acs", "db", "backup", file, "--data-dir", str(tmp_path / "nowhere")]) == 1
    assert homeport(["acs", "db", "check", "--database", "mysql://x"]) == 2


def test_the_command_finds_the_database_as_the_acs_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its configuration file, which also keeps a password off the command line, or by HOMEPORT_DATA_DIR as other commands."""
    asyncio.run(fill(tmp_path / "acs.db"))
    config = tmp_path / "acs.toml"
    config.write_text(f'[acs]\ndata_dir = "{tmp_path}"\ncwmp_listen = "127.0.0.1:7547"\n')
    assert homeport(["acs", "db", "check", "--config", str(config)]) == 0
    monkeypatch.setenv("HOMEPORT_DATA_DIR", str(tmp_path))
    assert homeport(["acs", "db", "check"]) == 0
    assert homeport(["acs", "db", "check", "--data-dir", str(tmp_path / "other")]) == 1
    assert "there is no database" in capsys.readouterr().err


@pytest.mark.parametrize(("layout", "says"), [(999, "newer Homeport"), (1, "acs db migrate"), (0, "no database of")])
def test_a_database_of_another_layout_is_not_half_read(tmp_path: Path, layout: int, says: str) -> None:
    """A backup of what this version does not know would miss rows without a word."""
    place = tmp_path / "acs.db"

    async def scene() -> None:
        await fill(place)
        connection = sqlite3.connect(place)
        connection.execute(f"PRAGMA user_version = {layout}")
        connection.close()
        for deed in (archive.backup(place, tmp_path / "backup"), archive.check(place)):
            with pytest.raises(StoreError, match=says):
                await deed

    asyncio.run(scene())
    assert not (tmp_path / "backup").exists()


def test_a_backup_takes_the_place_of_no_device_and_no_link(tmp_path: Path) -> None:
    """/dev/stdout is not replaced by a file, and a link to the place of backups stays a link."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "real")

    async def scene() -> None:
        await fill(tmp_path / "acs.db")
        with pytest.raises(StoreError, match="no ordinary file"):
            await archive.backup(tmp_path / "acs.db", tmp_path / "pipe")
        await archive.backup(tmp_path / "acs.db", tmp_path / "link")

    asyncio.run(scene())
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").is_file()


def test_a_damaged_database_is_told_with_the_cure(tmp_path: Path) -> None:
    """What is no database any more can only come from a backup."""
    (tmp_path / "acs.db").write_text("nothing that SQLite knows" * 100)
    with pytest.raises(StoreError, match="restore a backup"):
        asyncio.run(archive.check(tmp_path / "acs.db"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root restores for another user")
def test_what_root_restores_belongs_to_the_user_of_the_service(tmp_path: Path) -> None:
    """The backup is readable by root alone, the directory is the service's; the service could not open root's database."""
    asyncio.run(fill(tmp_path / "source.db"))
    asyncio.run(archive.backup(tmp_path / "source.db", tmp_path / "backup"))
    with tempfile.TemporaryDirectory(dir="/tmp") as open_to_all:
        os.chmod(open_to_all, 0o755)
        home = Path(open_to_all) / "acs"
        home.mkdir(mode=0o700)
        nobody = pwd.getpwnam("nobody").pw_uid
        os.chown(home, nobody, nobody)
        assert homeport(["acs", "db", "restore", str(tmp_path / "backup"), "--data-dir", str(home)]) == 0
        assert {path.stat().st_uid for path in home.iterdir()} == {nobody}
        assert homeport(["acs", "db", "migrate", "--data-dir", str(home)]) == 0
        assert {path.stat().st_uid for path in home.iterdir()} == {nobody}
        assert homeport(["acs", "db", "check", "--data-dir", str(home)]) == 0
