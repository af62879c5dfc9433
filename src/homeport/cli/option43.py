"""`homeport option43`: the DHCP option that tells a device where its ACS is, written and read."""

from typing import Annotated

import typer

from homeport.cli import output
from homeport.cli.common import AsJson, group
from homeport.cli.exits import CliError, ExitCode
from homeport.cpe.discovery import (
    STANDARD_CODES,
    VEGA_CODES,
    Discovered,
    Form,
    decode_option43,
    encode_option43,
    option_bytes,
)
from homeport.errors import ProtocolError

app = group("Encode and decode the DHCP option that tells a device where its ACS is.")

FormOption = Annotated[str, typer.Option("--form", metavar="standard|vega", help="How the codes 3 and 4 are meant.")]


@app.command()
def encode(
    url: Annotated[str, typer.Argument(metavar="URL", help="The ACS, for example http://acs.example.net:7547/.")],
    provisioning_code: Annotated[
        str | None, typer.Option("--provisioning-code", metavar="TEXT", help="Code 2.")
    ] = None,
    retry_minimum_wait: Annotated[
        int | None, typer.Option("--retry-minimum-wait", metavar="SECONDS", help="Code 3.")
    ] = None,
    retry_multiplier: Annotated[
        int | None, typer.Option("--retry-multiplier", metavar="THOUSANDTHS", help="Code 4.")
    ] = None,
    periodic_inform_enable: Annotated[
        bool | None,
        typer.Option("--periodic-inform-enable/--no-periodic-inform-enable", help="Code 3 of the vega form."),
    ] = None,
    periodic_inform_interval: Annotated[
        int | None, typer.Option("--periodic-inform-interval", metavar="SECONDS", help="Code 4 of the vega form.")
    ] = None,
    form: FormOption = "standard",
    dnsmasq: Annotated[
        bool, typer.Option("--dnsmasq", help="Print the line for dnsmasq.conf instead of the bytes alone.")
    ] = False,
) -> None:
    """Print the option's bytes in hexadecimal, as a DHCP server must send them."""
    data = encode_option43(
        url=url,
        provisioning_code=provisioning_code,
        retry_minimum_wait=retry_minimum_wait,
        retry_multiplier=retry_multiplier,
        periodic_inform_enable=periodic_inform_enable,
        periodic_inform_interval=periodic_inform_interval,
        form=_form(form),
    )
    print(f"dhcp-option=43,{data.hex(':')}" if dnsmasq else data.hex(":"))


@app.command()
def decode(
    data: Annotated[
        list[str], typer.Argument(metavar="HEX", help="The option's bytes: 01:2c:68..., 01 2c 68, 0x012c68.")
    ],
    form: FormOption = "standard",
    json: AsJson = False,
) -> None:
    """Say what the option's bytes mean, in whatever of the known layouts they are."""
    content = option_bytes(" ".join(data))
    try:
        found = decode_option43(content, form=_form(form))
    except ProtocolError as e:
        raise CliError(str(e)) from e
    if json:
        output.print_json({name: getattr(found, name) for name in Discovered.__dataclass_fields__})
        return
    output.print_fields(facts(found, form=_form(form)))
    for warning in found.warnings:
        output.note(f"warning: {warning}")


def facts(found: Discovered, *, form: Form = "standard") -> list[tuple[str, str]]:
    """What was found, in words, with the sub-option code that said it."""
    codes = {name: code for code, name in (VEGA_CODES if form == "vega" else STANDARD_CODES).items()}
    words = {
        "url": "ACS URL",
        "provisioning_code": "provisioning code",
        "retry_minimum_wait": "retry minimum wait",
        "retry_multiplier": "retry multiplier",
        "periodic_inform_enable": "periodic inform enable",
        "periodic_inform_interval": "periodic inform interval",
        "username": "user name",
    }
    units = {"retry_minimum_wait": " s", "periodic_inform_interval": " s", "retry_multiplier": " / 1000"}
    rows = []
    for name, text in words.items():
        value = getattr(found, name)
        if value is not None:
            shown = "yes" if value is True else "no" if value is False else f"{value}{units.get(name, '')}"
            rows.append((f"{codes[name]} {text}" if name in codes else text, shown))
    return rows


def _form(text: str) -> Form:
    if text == "vega":
        return "vega"
    if text == "standard":
        return "standard"
    raise CliError(f"--form is standard or vega, not {text!r}", ExitCode.USAGE)
