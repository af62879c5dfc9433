"""`homeport cpe`: run the agent on a device, and change what it does; what it shows is in cpe_show.

All but `run` talk to the running agent over its socket; the logs and the last known status of an agent that does not run are read from
its files.
"""

import sys
from typing import Annotated

import typer

from homeport.cli import output
from homeport.cli.common import AsJson, Yes, ask_password, confirm, group
from homeport.cli.cpe_ask import StateDir, ask, directory
from homeport.cli.cpe_dhcp import hook, lease
from homeport.cli.cpe_doctor import doctor
from homeport.cli.cpe_enable import disable, enable
from homeport.cli.cpe_module import module
from homeport.cli.cpe_show import show
from homeport.cli.cpe_transfer import confirm as confirm_transfer
from homeport.cli.cpe_transfer import refuse, request_download, transfer
from homeport.cli.exits import CliError, ExitCode
from homeport.cli.settings_help import command_class
from homeport.cli.settings_options import typer_command
from homeport.cpe.config import CpeSettings

app = group("Run the agent on a device (CPE), and see and change what it does.")
app.add_typer(show, name="show")
app.add_typer(hook, name="hook")
app.command()(lease)
app.command()(enable)
app.command()(disable)
app.add_typer(module, name="module")
app.command()(doctor)
app.add_typer(transfer, name="transfer")
app.command("confirm")(confirm_transfer)
app.command()(refuse)
app.command("request-download")(request_download)

RUN_HELP = (
    "Run the agent on this device, until Ctrl-C.\n\n"
    "It finds its ACS by --acs-url or `cpe enable`, else by DHCP (hooks of the DHCP client, --dhcp-query, --option43), else by its "
    "profile. See what it does: homeport cpe show status, or its web page at http://localhost:8081/."
)


def _run(settings: CpeSettings) -> int:
    from homeport.cpe.process import main

    return main(settings)


app.command("run", cls=command_class(CpeSettings, program="cpe", path="cpe run", help=RUN_HELP))(
    typer_command(CpeSettings, "cpe", _run, RUN_HELP)
)


@app.command()
def get(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Parameters, or objects (ending with a dot) with all below.")
    ],
    state_dir: StateDir = None,
    json: AsJson = False,
) -> None:
    """Read parameters on the device itself."""
    values = ask(state_dir, "get", paths=paths)
    if json:
        output.print_json(values)
        return
    output.print_table(("PATH", "VALUE"), list(values.items()), empty="nothing there")


@app.command("set-param")
def set_param(
    values: Annotated[
        list[str], typer.Argument(metavar="PATH=VALUE", help="Parameters and their new values; all or none are set.")
    ],
    state_dir: StateDir = None,
) -> None:
    """Set parameters on the device itself, as the person at the box; the ACS is told if it wants to know."""
    pairs = dict(_pair(text, "Device.DeviceInfo.ProvisioningCode=lab") for text in values)
    _said(pairs, ask(state_dir, "set-param", values=pairs))


@app.command("set")
def set_setting(
    values: Annotated[
        list[str],
        typer.Argument(metavar="NAME=VALUE", help="Settings under the names of a Vega gateway: cwmp.acs_url=URL."),
    ],
    state_dir: StateDir = None,
) -> None:
    """Set the connection to the ACS: URL, credentials, periodic contact."""
    pairs = dict(_pair(text, "cwmp.acs_url=https://acs.example.com:7547/") for text in values)
    _said(pairs, ask(state_dir, "set", values=pairs))


@app.command()
def inform(state_dir: StateDir = None) -> None:
    """Contact the ACS now instead of at the next periodic time."""
    ask(state_dir, "inform")
    print(f"a session begins; see how it went: {output.program()} cpe show status")


@app.command()
def restart(state_dir: StateDir = None) -> None:
    """Start the agent anew; values and owed events stay."""
    ask(state_dir, "restart")
    print("the agent restarts")


@app.command()
def reboot(yes: Yes = False, state_dir: StateDir = None) -> None:
    """Restart as a person at the power switch does: the ACS is told 1 BOOT."""
    confirm("Reboot this device?", yes=yes)
    ask(state_dir, "reboot")
    print("the device reboots")


@app.command("factory-reset")
def factory_reset(yes: Yes = False, state_dir: StateDir = None) -> None:
    """Restore the factory configuration and restart; the ACS is told 0 BOOTSTRAP, 1 BOOT."""
    confirm("Restore the factory configuration of this device?", yes=yes)
    ask(state_dir, "factory-reset")
    print("the device restores its factory configuration and restarts")


@app.command("web-password")
def web_password(
    state_dir: StateDir = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the password from standard input, for scripts.")] = False,
    only_print: Annotated[
        bool, typer.Option("--print", help="Print its hash for the setting web_password_hash, and keep nothing.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Forget the password.")] = False,
) -> None:
    """Set the password of the device's web page; it counts at once and ends all logins."""
    from homeport.cpe.web.password import forget, hash_of, keep, problem

    place = directory(state_dir)
    try:
        if remove:
            forget(place)
            print("the web page has no password any more; it is served on loopback only")
            return
        password = sys.stdin.readline().rstrip("\n") if stdin else _asked_twice()
        wrong = problem(password)
        if wrong:
            raise CliError(wrong, ExitCode.USAGE)
        if only_print:
            print(hash_of(password))
            return
        keep(place, hash_of(password))
    except OSError as e:
        raise CliError(
            f"{e.filename or place}: {e.strerror}; do it as the agent's user or root, or name its --state-dir"
        ) from e
    print(f"the web page of the agent in {place} asks for this password from now on")


def _asked_twice() -> str:
    password = ask_password("New password for the web page")
    if ask_password("The same again") != password:
        raise CliError("the two are not the same; nothing was changed", ExitCode.USAGE)
    return password


def _said(pairs: dict[str, str], answer: dict[str, int]) -> None:
    how = "set" if answer["status"] == 0 else "accepted; in force after the next restart"
    for name, value in pairs.items():
        print(f"{name} = {'********' if 'password' in name.lower() else value}  {how}")


def _pair(text: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CliError(f"{text!r} is not NAME=VALUE; an example that works: {example}", ExitCode.USAGE)
    return name.strip(), value
