"""`homeport acs db`: backups of the database, restoring them, its layout, and whether all of it can be read."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from homeport.cli import output
from homeport.cli.common import AsJson, group
from homeport.cli.exits import CliError, ExitCode

app = group("Back up, restore and check the ACS's database.")

T = TypeVar("T")

DataDir = Annotated[
    Path,
    typer.Option("--data-dir", envvar="HOMEPORT_ACS_DATA_DIR", metavar="DIR", help="The data directory of the ACS."),
]
Database = Annotated[
    str,
    typer.Option(
        "--database",
        envvar="HOMEPORT_ACS_DATABASE",
        metavar="URL",
        help="The database, as in homeport acs serve: sqlite:///PATH or postgresql://USER@HOST/NAME;"
        " default: SQLite in the data directory.",
    ),
]
DEFAULT = Path("acs-data")


def _place(data_dir: Path, database: str) -> Path | str:
    if database.startswith(("postgresql://", "postgres://")):
        return database
    if database and not database.startswith("sqlite:///"):
        raise CliError("--database takes sqlite:///PATH or postgresql://USER@HOST/NAME", ExitCode.USAGE)
    return Path(database.removeprefix("sqlite:///")) if database else data_dir / "acs.db"


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
    data_dir: DataDir = DEFAULT,
    database: Database = "",
    as_json: AsJson = False,
) -> None:
    """Write all rows of the database into one file, while the ACS works.

    The file holds passwords and secrets and is readable by its owner only. Firmware and other files of the data
    directory are not in it: copy DIR/files beside it.
    """
    from homeport.acs.storage.sql import archive

    counts = _run(archive.backup(_place(data_dir, database), file), "writing the backup")
    _report(counts, as_json, file=str(file))


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.", exists=True, dir_okay=False)],
    data_dir: DataDir = DEFAULT,
    database: Database = "",
    as_json: AsJson = False,
) -> None:
    """Fill a new or empty database from a backup, of SQLite or PostgreSQL whichever made it."""
    from homeport.acs.storage.sql import archive

    place = _place(data_dir, database)
    if isinstance(place, Path):
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as e:
            raise CliError(f"cannot make {place.parent}: {e.strerror}; choose another place") from e
    _report(_run(archive.restore(place, file), "restoring"), as_json, file=str(file))


@app.command()
def migrate(data_dir: DataDir = DEFAULT, database: Database = "") -> None:
    """Bring the database's layout up to date now, not at the next start of the ACS."""
    from homeport.acs.storage.sql import archive

    place = _place(data_dir, database)
    if isinstance(place, Path) and not place.exists():
        raise CliError(f"there is no database {place}; choose another with --data-dir or --database")
    _run(archive.migrate(place), "migrating")
    output.note("the layout is up to date")


@app.command()
def check(data_dir: DataDir = DEFAULT, database: Database = "", as_json: AsJson = False) -> None:
    """Read every row and say what cannot be read; exit status 1 where something is wrong."""
    from homeport.acs.storage.sql import archive

    counts, wrong = _run(archive.check(_place(data_dir, database)), "reading everything")
    _report(counts, as_json, wrong=wrong)
    if wrong:
        if not as_json:
            for line in wrong[:20]:
                output.note(line)
        raise CliError(f"{len(wrong)} things are wrong in the database; restore a backup into a new one")
    output.note("everything can be read")
