"""`homeport cpe enable` and `disable`: DKT's three ways to start the agent, while it runs or before it does."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from homeport.cli import output
from homeport.cli.as_owner import as_owner
from homeport.cli.common import ask_password
from homeport.cli.cpe_ask import StateDir, ask, directory, told
from homeport.cli.exits import CliError, ExitCode


def enable(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="URL|FILE",
            help="The ACS's URL, or a configuration file; left out: what is stored.",
            show_default=False,
        ),
    ] = None,
    user: Annotated[
        str | None, typer.Argument(metavar="USER", help="User name for the ACS.", show_default=False)
    ] = None,
    password: Annotated[
        str | None, typer.Argument(metavar="PASSWORD", help="Its password; - asks for it.", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Argument(metavar="PORT", help="The ACS's port, if the URL has none.", show_default=False)
    ] = None,
    tftp: Annotated[
        str | None,
        typer.Option("--tftp", metavar="HOST", help="Where FILE is; default: the TFTP server that DHCP named."),
    ] = None,
    profile: Annotated[
        str, typer.Option("--profile", metavar="NAME", help="What to check against before the agent has ever run.")
    ] = "",
    state_dir: StateDir = None,
) -> None:
    """Let the agent contact an ACS: the stored one, the one of URL, or the one that a configuration file names.

    enable   ·   enable URL USER [PASSWORD [PORT]]   ·   enable FILE --tftp HOST
    """
    from homeport.cpe.enable import Order, order_of_file, order_of_url

    if what is None:
        if tftp is not None:
            raise CliError("--tftp says where a file is; name the file: enable FILE --tftp HOST", ExitCode.USAGE)
        order = Order()
    elif "://" in what and tftp is None:
        order = order_of_url(what, user or "", _password(password), port)
    elif user is not None:
        raise CliError(f"{what!r} is no URL; expected for example http://acs.example.net:7547/", ExitCode.USAGE)
    else:
        order = told(lambda: order_of_file(_file(what, tftp, directory(state_dir))))
    answer = _give(order, state_dir, profile)
    if answer is None:
        return
    if answer["url"]:
        print(
            f"the agent contacts {answer['url']} ({answer['source']}); see how it went: {output.program()} cpe show status"
        )
    else:
        print(
            "switched on; no ACS is known yet: the agent waits for a DHCP lease that names one, or for: enable URL USER"
        )


def disable(state_dir: StateDir = None) -> None:
    """Let the agent contact no ACS any more, until `enable`; the configuration stays."""
    from homeport.cpe.enable import Order

    if _give(Order(on=False), state_dir, "") is not None:
        print(f"CWMP is switched off; switch it on again: {output.program()} cpe enable")


def _give(order: Any, state_dir: Path | None, profile: str) -> dict[str, Any] | None:
    """Let the running agent carry it out, or leave it for the next start (None)."""
    import msgspec

    try:
        answer: dict[str, Any] = ask(state_dir, "enable", **msgspec.to_builtins(order))
    except CliError as e:
        if e.code != ExitCode.UNREACHABLE:
            raise
    else:
        return answer
    told(lambda: _leave(order, directory(state_dir), profile))
    return None


def _leave(order: Any, home: Path, profile: str) -> None:
    from homeport.cpe.enable import check, leave, stored_model
    from homeport.cpe.state import Store

    with as_owner(home):
        store = Store(home)
        try:
            known = stored_model(store, profile)
            if known is not None:
                check(order, known[0])
            leave(order, store)
        finally:
            store.close()
    if not order.on:
        print(f"no agent runs with {home}; the next one that starts contacts no ACS")
        return
    checked = f"checked against the profile {known[1]}" if known else "its device model is not known yet (--profile)"
    print(f"no agent runs with {home}; the next one that starts does it ({checked}): {output.program()} cpe run")


def _password(given: str | None) -> str:
    if given != "-":
        return given or ""
    if sys.stdin.isatty():
        return ask_password("Password for the ACS")
    return sys.stdin.readline().rstrip("\r\n")


def _file(name: str, tftp: str | None, home: Path) -> bytes:
    """The configuration file: from --tftp, or from this machine, or from the TFTP server that DHCP named."""
    from homeport.cpe.enable import fetch_configuration
    from homeport.cpe.leases.lease import kept_leases

    if tftp is None and Path(name).is_file():
        try:
            return Path(name).read_bytes()
        except OSError as e:
            raise CliError(f"cannot read {name}: {e.strerror}") from e
    server = tftp or next((lease.tftp_server for lease in kept_leases(home) if lease.tftp_server), "")
    if not server:
        raise CliError(
            f"there is no file {name} here, and no DHCP lease names a TFTP server; say where it is: enable {name} --tftp HOST",
            ExitCode.USAGE,
        )
    return fetch_configuration(name, server)
