"""`homeport cpe lease` and `homeport cpe hook`: DHCP leases handed to the agent, and the hooks of DHCP clients that do it."""

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from homeport.cli import output
from homeport.cli.common import AsJson, group
from homeport.cli.cpe_ask import StateDir, directory
from homeport.cli.lease import Handed, add_option, hand_over
from homeport.cpe.leases.hooks import HOOKS, Hook, hook_named, hook_text, install_hook, place_of

hook = group("Let DHCP clients hand their leases to the agent: which hooks there are, print one, install one.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Which client: " + ", ".join(HOOKS) + ".")]
Program = Annotated[
    Path | None, typer.Option("--program", metavar="FILE", help="The homeport that the hook calls; default: this one.")
]


def lease(
    interface: Annotated[
        str, typer.Option("--interface", metavar="NAME", help="The interface that has the lease, such as eth0.")
    ] = "",
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="CODE=HEX", help="An option's content: 43, 125, 66, 67, 150; with --ipv6 17."),
    ] = None,
    tftp_server: Annotated[
        str, typer.Option("--tftp-server", metavar="HOST", help="The TFTP server that the lease names, as text.")
    ] = "",
    ipv6: Annotated[bool, typer.Option("--ipv6", help="The lease is DHCPv6's.")] = False,
    released: Annotated[bool, typer.Option("--released", help="The lease has ended.")] = False,
    networkd: Annotated[
        bool,
        typer.Option("--networkd", help="Take the lease from systemd-networkd's own files; all without --interface."),
    ] = False,
    query: Annotated[
        bool, typer.Option("--query", help="Ask the DHCP server too, where what is here names no ACS (needs root).")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing unless it fails.")] = False,
    state_dir: StateDir = None,
) -> None:
    """Hand a DHCP lease to the agent; where none runs, it waits for the agent's start. What DHCP clients' hooks call."""
    handed = Handed(
        interface=interface,
        tftp_server=tftp_server,
        ipv6=ipv6,
        released=released,
        networkd=networkd,
        query=query,
        quiet=quiet,
        state_dir=state_dir,
    )
    for text in option or ():
        add_option(handed, text)
    for said in hand_over(handed):
        if not quiet:
            print(said)


@hook.command("list")
def hook_list(json: AsJson = False) -> None:
    """The DHCP clients that have a hook, and where it goes on this machine."""
    rows = []
    for found in HOOKS.values():
        place = place_of(found)
        rows.append({"name": found.name, "client": found.client, "place": str(place), "installed": place.exists()})
    if json:
        output.print_json(rows)
        return
    table = [(str(r["name"]), str(r["client"]), str(r["place"]), "yes" if r["installed"] else "no") for r in rows]
    output.print_table(("NAME", "DHCP CLIENT", "PLACE", "INSTALLED"), table)


@hook.command("print")
def hook_print(name: Name, program: Program = None, state_dir: StateDir = None) -> None:
    """Print a hook as it would be installed, for packages and images that are built elsewhere."""
    found = hook_named(name)
    print(_text(found, program, state_dir, place_of(found)), end="")


@hook.command("install")
def hook_install(
    name: Name,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Where to; default: the client's place on this machine.")
    ] = None,
    root: Annotated[
        Path, typer.Option("--root", metavar="DIR", help="Root of the file system that is being built.")
    ] = Path("/"),
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is not Homeport's.")] = False,
    program: Program = None,
    state_dir: StateDir = None,
) -> None:
    """Install a hook where its DHCP client looks for it, and say what else the client needs."""
    found = hook_named(name)
    place = to or place_of(found, root)
    path = root / str(place).lstrip("/") if to is None else to.expanduser().absolute()
    install_hook(found, _text(found, program, state_dir, place), path, force=force)
    print(f"{path} is installed: {found.client} hands its leases to the agent in {directory(state_dir)}")
    for line in found.then:
        print(line.format(place=place))


def _text(found: Hook, program: Path | None, state_dir: Path | None, place: Path) -> str:
    return hook_text(found, program=_program(program), state_dir=directory(state_dir), place=place)


def _program(given: Path | None) -> str:
    """The absolute path of the command that is `homeport`: hooks run without a PATH of ours."""
    if given is not None:
        return str(given)
    here = Path(sys.argv[0])
    if here.name == "homeport" and here.exists():
        return str(here.absolute())
    beside = Path(sys.executable).with_name("homeport")
    return str(beside) if beside.exists() else shutil.which("homeport") or "homeport"
