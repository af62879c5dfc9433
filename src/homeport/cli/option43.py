"""`homeport option43`: the DHCP options that tell a device where its ACS is, written and read: 43, 125, and DHCPv6's 17."""

from typing import Annotated, Any

import typer

from homeport.cli import output
from homeport.cli.common import AsJson, group
from homeport.cli.exits import CliError, ExitCode
from homeport.cpe.discovery import (
    STANDARD_CODES,
    VEGA_CODES,
    Discovered,
    Form,
    decode_option17,
    decode_option43,
    decode_option125,
    encode_option43,
    option_bytes,
)
from homeport.cpe.server_lines import SERVERS, server_lines
from homeport.cpe.vendor_options import encode_option17, encode_option125, encode_text_form
from homeport.errors import ProtocolError

app = group("Encode and decode the DHCP option that tells a device where its ACS is.")

FORMS = ("standard", "vega", "bare", "hp", "eltex")
OPTIONS = (43, 125, 17)

FormOption = Annotated[
    str, typer.Option("--form", metavar="standard|vega", help="How the codes 3 and 4 of option 43 are meant.")
]
WhichOption = Annotated[int, typer.Option("--option", metavar="43|125|17", help="Which option: 17 is DHCPv6's.")]


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
    username: Annotated[
        str | None, typer.Option("--username", metavar="NAME", help="User name for the ACS, in the forms hp and eltex.")
    ] = None,
    password: Annotated[
        str | None, typer.Option("--password", metavar="TEXT", help="Its password, in the forms hp and eltex.")
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--form", metavar="|".join(FORMS), help="The layout of option 43: as the standard has it, or one vendor's."
        ),
    ] = "standard",
    option: WhichOption = 43,
    end_mark: Annotated[bool, typer.Option("--end-mark", help="Close option 43 with 255, as some servers do.")] = False,
    server: Annotated[
        str | None,
        typer.Option("--for", metavar="|".join(SERVERS), help="Print the lines for that server's configuration."),
    ] = None,
    dnsmasq: Annotated[bool, typer.Option("--dnsmasq", help="The same as --for dnsmasq.")] = False,
) -> None:
    """Print the option's bytes in hexadecimal, or the lines that make a DHCP server send them."""
    server = "dnsmasq" if dnsmasq and server is None else server
    if server is not None and server not in SERVERS:
        raise CliError(f"--for is {', '.join(SERVERS[:-1])} or {SERVERS[-1]}, not {server!r}", ExitCode.USAGE)
    facts = Discovered(
        url=url,
        provisioning_code=provisioning_code,
        retry_minimum_wait=retry_minimum_wait,
        retry_multiplier=retry_multiplier,
        periodic_inform_enable=periodic_inform_enable,
        periodic_inform_interval=periodic_inform_interval,
        username=username,
        password=password,
    )
    data = _encoded(facts, form, option, end_mark=end_mark)
    if server is None:
        print(data.hex(":"))
    else:
        print(server_lines(server, option, data, facts, form=form), end="")


def _encoded(facts: Discovered, form: str, option: int, *, end_mark: bool) -> bytes:
    common: dict[str, Any] = {
        "url": facts.url,
        "provisioning_code": facts.provisioning_code,
        "retry_minimum_wait": facts.retry_minimum_wait,
        "retry_multiplier": facts.retry_multiplier,
    }
    periodic: dict[str, Any] = {
        "periodic_inform_enable": facts.periodic_inform_enable,
        "periodic_inform_interval": facts.periodic_inform_interval,
    }
    if form not in FORMS:
        raise CliError(f"--form is one of {', '.join(FORMS)}, not {form!r}", ExitCode.USAGE)
    if option not in OPTIONS:
        raise CliError(f"--option is 43, 125 or 17, not {option}", ExitCode.USAGE)
    if option != 43 and form != "standard":
        raise CliError(f"option {option} has one form only; leave --form {form} out", ExitCode.USAGE)
    usual = form in ("standard", "vega") and option == 43
    unfit = [name for name, value in periodic.items() if value is not None and not usual]
    if form not in ("standard", "vega"):
        unfit += [n for n in ("retry_minimum_wait", "retry_multiplier") if common[n] is not None]
    if form not in ("hp", "eltex"):
        unfit += [n for n in ("username", "password") if getattr(facts, n) is not None]
    if end_mark and not usual:
        unfit.append("end_mark")
    if unfit:
        what = f"option {option}" if option != 43 else f"the {form} form of option 43"
        raise CliError(f"{what} has no place for --{unfit[0].replace('_', '-')}; leave it out", ExitCode.USAGE)
    if option == 125:
        return encode_option125(**common)
    if option == 17:
        return encode_option17(**common)
    if usual:
        return encode_option43(**common, **periodic, form=_form(form), end_mark=end_mark)
    return encode_text_form(
        form,
        url=facts.url or "",
        provisioning_code=facts.provisioning_code,
        username=facts.username,
        password=facts.password,
    )


@app.command()
def decode(
    data: Annotated[
        list[str], typer.Argument(metavar="HEX", help="The option's bytes: 01:2c:68..., 01 2c 68, 0x012c68.")
    ],
    form: FormOption = "standard",
    option: WhichOption = 43,
    json: AsJson = False,
) -> None:
    """Say what the option's bytes mean, in whatever of the known layouts they are."""
    content = option_bytes(" ".join(data))
    meant = _form(form)
    if option not in OPTIONS:
        raise CliError(f"--option is 43, 125 or 17, not {option}", ExitCode.USAGE)
    try:
        if option == 43:
            found = decode_option43(content, form=meant)
        else:
            found = decode_option125(content) if option == 125 else decode_option17(content)
    except ProtocolError as e:
        raise CliError(str(e)) from e
    if json:
        output.print_json({name: getattr(found, name) for name in Discovered.__dataclass_fields__})
        return
    output.print_fields(facts(found, form=meant, option=option))
    for warning in found.warnings:
        output.note(f"warning: {warning}")


def facts(found: Discovered, *, form: Form = "standard", option: int = 43) -> list[tuple[str, str]]:
    """What was found, in words, with the sub-option code that said it."""
    table = VEGA_CODES if form == "vega" and option == 43 else STANDARD_CODES
    codes = {name: code + (10 if option == 125 else 0) for code, name in table.items()}
    words = {
        "url": "ACS URL",
        "provisioning_code": "provisioning code",
        "retry_minimum_wait": "retry minimum wait",
        "retry_multiplier": "retry multiplier",
        "periodic_inform_enable": "periodic inform enable",
        "periodic_inform_interval": "periodic inform interval",
        "username": "user name",
        "password": "password",
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
