"""`homeport acs`: the server that manages devices."""

from homeport.acs.config import AcsSettings
from homeport.cli import db
from homeport.cli.common import group
from homeport.cli.settings_help import command_class
from homeport.cli.settings_options import typer_command

app = group("Run the server that manages devices (ACS).")
app.add_typer(db.app, name="db", help="Back up, restore and check the ACS's database.")


@app.callback()
def acs() -> None:
    """Run the server that manages devices (ACS)."""


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
