"""`homeport acs db`: backups of the database, restoring them, its layout, and whether all of it can be read."""

import asyncio
from collections.abc import Coroutine
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from homeport.cli import output
from homeport.cli.as_owner import as_owner
from homeport.cli.byte_bar import byte_bar
from homeport.cli.common import AsJson, group
from homeport.cli.exits import CliError, ExitCode

if TYPE_CHECKING:
    from homeport.acs.records import FileRecord
    from homeport.acs.storage.blob_check import FileFindings

app = group("Back up, restore and check the ACS's database.")

T = TypeVar("T")

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="The data directory of the ACS; else HOMEPORT_ACS_DATA_DIR or HOMEPORT_DATA_DIR, the configuration file, acs-data.",
    ),
]
Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="The database, as in homeport acs serve: sqlite:///PATH or postgresql://USER@HOST/NAME; else HOMEPORT_ACS_DATABASE,"
        " the configuration file, SQLite in the data directory.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The configuration file of the ACS (TOML), for its data_dir and database; else HOMEPORT_ACS_CONFIG or HOMEPORT_CONFIG.",
    ),
]


def _place(data_dir: Path | None, database: str | None, config: Path | None) -> Path | str:
    """The database that `homeport acs serve` would use with these options, this environment and this file."""
    return _places(data_dir, database, config)[0]


def _places(data_dir: Path | None, database: str | None, config: Path | None) -> tuple[Path | str, Path]:
    """The database, and the directory of the stored files."""
    from homeport.acs.config import AcsSettings
    from homeport.cli.settings_options import ParsedFlags, load_settings

    settings = load_settings(AcsSettings, "acs", ParsedFlags({"data_dir": data_dir, "database": database}, config))
    named = settings.database
    if named.startswith(("postgresql://", "postgres://")):
        return named, settings.data_dir / "files"
    if named and not named.startswith("sqlite:///"):
        raise CliError("--database takes sqlite:///PATH or postgresql://USER@HOST/NAME", ExitCode.USAGE)
    file = Path(named.removeprefix("sqlite:///")) if named else settings.data_dir / "acs.db"
    return file, settings.data_dir / "files"


def _as_owner(place: Path | str) -> AbstractContextManager[None]:
    """Root at work on the database of a service: what is made there belongs to the service's user, which must open it."""
    return as_owner(place.parent) if isinstance(place, Path) else nullcontext()


def _run(deed: Coroutine[Any, Any, T], what: str) -> T:
    with output.console(stderr=True).status(what):
        return asyncio.run(deed)


def _report(counts: dict[str, int], as_json: bool, **more: Any) -> None:
    if as_json:
        output.print_json({**more, "rows": counts})
    else:
        output.print_fields([(name.replace("_", " "), str(n)) for name, n in counts.items() if n])


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the backup goes.")],
    data_dir: DataDir = None,
    database: Database = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write all rows of the database into one file, while the ACS works.

    The file holds passwords and secrets and is readable by its owner only. Firmware and other files of the data
    directory are not in it: copy DIR/files beside it.
    """
    from homeport.acs.storage.sql import archive

    counts = _run(archive.backup(_place(data_dir, database, config), file), "writing the backup")
    _report(counts, as_json, file=str(file))
    output.note(f"all of this is in {file}, {file.stat().st_size} bytes; copy the directory files beside it")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.", exists=True, dir_okay=False)],
    data_dir: DataDir = None,
    database: Database = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Fill a new or empty database from a backup, of SQLite or PostgreSQL whichever made it."""
    from homeport.acs.storage.sql import archive

    place = _place(data_dir, database, config)
    try:
        opened = file.open("rb")
    except OSError as e:
        raise CliError(f"cannot read the backup {file}: {e.strerror}; take another one") from e
    with opened, _as_owner(place):
        if isinstance(place, Path):
            try:
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as e:
                raise CliError(f"cannot make {place.parent}: {e.strerror}; choose another place") from e
        _report(_run(archive.restore(place, file, opened), "restoring"), as_json, file=str(file))
    output.note("all of this is in the database now; the directory files goes into the ACS's data directory")


@app.command()
def migrate(data_dir: DataDir = None, database: Database = None, config: Config = None) -> None:
    """Bring the database's layout up to date now, not at the next start of the ACS."""
    from homeport.acs.storage.sql import archive

    place = _place(data_dir, database, config)
    if isinstance(place, Path) and not place.exists():
        raise CliError(f"there is no database {place}; choose another with --data-dir or --database")
    with _as_owner(place):
        _run(archive.migrate(place), "migrating")
    output.note("the layout is up to date")


@app.command()
def check(
    data_dir: DataDir = None,
    database: Database = None,
    config: Config = None,
    files: Annotated[
        bool, typer.Option("--files/--no-files", help="Whether to read the stored files (firmware, uploads), too.")
    ] = True,
    remove_leftovers: Annotated[
        bool,
        typer.Option(
            "--remove-leftovers",
            help="Delete what lies in the file store and belongs to no file; without it, it is told.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read every row and every stored file, and say what cannot be read; exit status 1 where something is wrong.

    Each file must be there with the size and the SHA-256 of its row. Contents that no row names and uploads that were
    cut off do no harm: they are told, and the ACS deletes them at its start.
    """
    from homeport.acs.storage.sql import archive

    if remove_leftovers and not files:
        raise CliError("--remove-leftovers goes with --files", ExitCode.USAGE)
    place, directory = _places(data_dir, database, config)
    counts, wrong = _run(archive.check(place), "reading everything")
    broken: list[str] = []
    told: dict[str, Any] = {}
    if files:
        found = _file_findings(place, directory)
        broken = found.wrong
        left = [str(path) for path in (*found.orphans, *found.unfinished)]
        removed = _remove_leftovers(place, directory) if remove_leftovers and left and not wrong else 0
        told = {"files": {"whole": found.files, "bytes": found.bytes, "leftovers": left, "removed": removed}}
    _report(counts, as_json, wrong=[*wrong, *broken], **told)
    if files and not as_json:
        output.note(f"{found.files} files in {directory} are whole ({found.bytes} bytes)")
        for path in left[:20]:
            output.note(f"belongs to no file: {path}")
        if left:
            cure = "run this with --remove-leftovers to delete them, or restart the ACS"
            if remove_leftovers:
                cure = "they stay: rows that cannot be read may name them" if wrong else f"{removed} were deleted"
            output.note(f"{len(left)} leftovers; {cure}")
    if not as_json:
        for line in [*wrong, *broken][:20]:
            output.note(line)
    if wrong:
        raise CliError(f"{len(wrong)} things are wrong in the database; restore a backup into a new one")
    if broken:
        raise CliError(
            f"{len(broken)} stored files are not whole; copy them from a backup of {directory},"
            " or delete them (homeport file delete) and add them anew"
        )
    output.note("everything can be read")


def _file_findings(place: Path | str, directory: Path) -> "FileFindings":
    from homeport.acs.storage.blob_check import examine
    from homeport.acs.storage.blobs import Blobs
    from homeport.acs.storage.sql import archive

    def records() -> list["FileRecord"]:
        return asyncio.run(archive.stored_files(place))

    size = sum({record.sha256: record.size for record in records()}.values())
    try:
        with byte_bar("reading the files", size) as shown:
            return examine(Blobs(directory), records, shown or (lambda count: None))
    except OSError as e:
        raise CliError(f"cannot look at {e.filename or directory}: {e.strerror}; run this as the ACS's user") from e


def _remove_leftovers(place: Path | str, directory: Path) -> int:
    """How many there were."""
    from homeport.acs.storage.blobs import Blobs
    from homeport.acs.storage.sql import archive

    blobs = Blobs(directory)
    wanted = {record.sha256 for record in asyncio.run(archive.stored_files(place))}
    with as_owner(directory):
        return blobs.prepare() + blobs.sweep(wanted)
