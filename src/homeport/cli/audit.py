"""`homeport audit`: who changed what at an ACS. A verb with one meaning, so it has no sub-verbs."""

from typing import Annotated

import typer

from homeport.cli import output
from homeport.cli.common import Acs, AsCsv, AsJson, Token, connect
from homeport.cli.when import exact, shown

app = typer.Typer(rich_markup_mode="rich", add_completion=False, pretty_exceptions_enable=False)


@app.command("audit")
def list_changes(
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Of one user or token.")] = None,
    path: Annotated[
        str | None, typer.Option("--path", metavar="PATH", help="Of REST paths that begin so, such as /api/v1/files.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many, newest first.")] = 50,
    acs: Acs = None,
    token: Token = None,
    json: AsJson = False,
    csv: AsCsv = False,
) -> None:
    """Who asked for which change at the ACS, and what came of it, the newest first."""
    rows = list(connect(acs, token).items("/audit", {"by": by, "path": path}, limit=limit))
    if json:
        output.print_json(rows)
        return
    output.print_table(
        ("WHEN", "WHO", "FROM", "ASKED FOR", "ANSWER", "WHAT"),
        [
            (
                exact(r["at"]) if csv else shown(r["at"]),
                r["by"],
                r["address"],
                f"{r['method']} {r['path'].removeprefix('/api/v1/')}",
                str(r["status"] or "none"),
                r["what"] if csv else r["what"][:80],
            )
            for r in rows
        ],
        empty="no changes",
        csv=csv,
    )
