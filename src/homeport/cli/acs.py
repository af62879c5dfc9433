"""`homeport acs`: the server that manages devices."""

import typer

from homeport.acs.config import AcsSettings
from homeport.cli import db, output
from homeport.cli.common import Acs, AsJson, connect, group
from homeport.cli.exits import ExitCode
from homeport.cli.settings_help import command_class
from homeport.cli.settings_options import typer_command

app = group("Run the server that manages devices (ACS).")
app.add_typer(db.app, name="db", help="Back up, restore and check the ACS's database.")


@app.callback()
def acs() -> None:
    """Run the server that manages devices (ACS)."""


@app.command()
def health(acs: Acs = None, json: AsJson = False) -> None:
    """Say whether an ACS works, and what an operator should see to; needs no token. Exit code 1 where something is wrong."""
    found = connect(acs, "none").get("/health")
    if json:
        output.print_json(found)
    else:
        workers = found.get("workers")
        fields = [
            ("status", found["status"]),
            ("trouble", found["trouble"] or ""),
            ("see to", found["notice"] or ""),
            ("workers", f"{workers['serving']} of {workers['wanted']} serve" if workers else ""),
            ("version", found["version"]),
        ]
        output.print_fields([(name, value) for name, value in fields if value])
    if found["status"] != "ok":
        raise typer.Exit(ExitCode.FAILED)


def _serve(settings: AcsSettings) -> int:
    from homeport.acs.process import main

    return main(settings)


HELP = (
    "Serve devices (CWMP), operators (REST) and files, until Ctrl-C.\n\n"
    "The first start makes the data directory and in it admin.token, which the REST API and `homeport device ...` ask for. "
    "New devices wait in quarantine until somebody approves them: homeport device approve DEVICE."
)

app.command("serve", cls=command_class(AcsSettings, program="acs", path="acs serve", help=HELP))(
    typer_command(AcsSettings, "acs", _serve, HELP)
)
