"""`homeport acs db`: backups of the database, restoring them, its layout, and whether all of it can be read."""

import asyncio
from collections.abc import Coroutine
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from homeport.cli import output
from homeport.cli.as_owner import as_owner
from homeport.cli.common import AsJson, group
from homeport.cli.exits import CliError, ExitCode

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
    from homeport.acs.config import AcsSettings
    from homeport.cli.settings_options import ParsedFlags, load_settings

    settings = load_settings(AcsSettings, "acs", ParsedFlags({"data_dir": data_dir, "database": database}, config))
    named = settings.database
    if named.startswith(("postgresql://", "postgres://")):
        return named
    if named and not named.startswith("sqlite:///"):
        raise CliError("--database takes sqlite:///PATH or postgresql://USER@HOST/NAME", ExitCode.USAGE)
    return Path(named.removeprefix("sqlite:///")) if named else settings.data_dir / "acs.db"


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
def check(data_dir: DataDir = None, database: Database = None, config: Config = None, as_json: AsJson = False) -> None:
    """Read every row and say what cannot be read; exit status 1 where something is wrong."""
    from homeport.acs.storage.sql import archive

    counts, wrong = _run(archive.check(_place(data_dir, database, config)), "reading everything")
    _report(counts, as_json, wrong=wrong)
    if wrong:
        if not as_json:
            for line in wrong[:20]:
                output.note(line)
        raise CliError(f"{len(wrong)} things are wrong in the database; restore a backup into a new one")
    output.note("everything can be read")
