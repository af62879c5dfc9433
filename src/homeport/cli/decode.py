"""`homeport decode FILE`: one SOAP body or a recorded session as something a person can read, with what is wrong in it and why."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeport.cli import output
from homeport.cli.common import AsJson
from homeport.cli.exits import CliError, ExitCode
from homeport.codec.recording import split
from homeport.codec.sessions import Rung, Session, sessions
from homeport.errors import MessageRefused
from homeport.terms import Role

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)

_ARROWS = {Role.CPE: "CPE ──▶ ACS", Role.ACS: "CPE ◀── ACS", None: "     ?     "}
_LEVEL_STYLE = {"error": "red", "note": "yellow"}


@app.command()
def decode(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A SOAP body, an HTTP dump, or the text of a followed TCP stream; - reads stdin."
        ),
    ],
    json: AsJson = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="OUT", help="Also write a page with the ladder of every session.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 when anything breaks a schema or a rule.")
    ] = False,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show passwords and keys instead of a mask.")] = False,
) -> None:
    """Show what CWMP messages say, and where they break a schema or a rule, each with its clause."""
    found = read(file, reveal=reveal)
    if html is not None:
        from homeport.cli.decode_html import page

        try:
            html.write_text(page(found, name=str(file)), encoding="utf-8")
        except OSError as e:
            raise CliError(f"cannot write {html}: {e.strerror}; name a file in a directory that exists") from e
        output.note(f"wrote {html}")
    if json:
        output.print_json(as_json(found))
    elif html is None or sys.stdout.isatty():
        show(found, output.console())
    if not any(rung.report.envelope is not None for session in found for rung in session.rungs):
        reasons = [rung.report.error for session in found for rung in session.rungs if rung.report.error]
        raise CliError(f"{file} holds no CWMP message: {reasons[0] if reasons else 'every body is empty.'}")
    errors = sum(finding.level == "error" for session in found for rung in session.rungs for finding in rung.findings)
    if strict and errors:
        raise typer.Exit(int(ExitCode.FAILED))


def read(file: Path, *, reveal: bool = False) -> tuple[Session, ...]:
    """The sessions in a file, or on stdin for `-`. Raises CliError."""
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as e:
        raise CliError(f"cannot read {file}: {e.strerror or e}") from e
    try:
        return sessions(split(data), reveal=reveal)
    except MessageRefused as e:
        raise CliError(f"{file}: {e}") from e


def as_json(found: tuple[Session, ...]) -> dict[str, Any]:
    """Everything that the text shows, as plain data."""
    return {"sessions": [{"title": s.title, "messages": [_rung_json(rung) for rung in s.rungs]} for s in found]}


def _rung_json(rung: Rung) -> dict[str, Any]:
    envelope = rung.report.envelope
    return {
        "number": rung.number,
        "sender": str(rung.sender) if rung.sender is not None else None,
        "http": rung.http.line or None,
        "method": rung.report.title,
        "gist": rung.gist,
        "size": rung.report.size,
        "id": envelope.id if envelope is not None else None,
        "namespace": envelope.urn if envelope is not None else None,
        "error": rung.report.error or None,
        "quirks": list(envelope.quirks) if envelope is not None else [],
        "content": [
            {"depth": line.depth, "name": line.name, "value": line.value, "note": line.note}
            for line in rung.report.lines
        ],
        "findings": [{"level": f.level, "clause": f.clause, "where": f.where, "text": f.text} for f in rung.findings],
    }


def show(found: tuple[Session, ...], console: "Console") -> None:
    """The sessions as text: each message with its content, then what is to be said about it."""
    from rich.text import Text

    total = 0
    for session in found:
        if len(session.rungs) > 1:
            console.print(Text.assemble(("Session  ", "bold"), session.title, f"  ({len(session.rungs)} messages)"))
        for rung in session.rungs:
            total += len(rung.findings)
            _show_rung(rung, console)
    console.print(Text("No findings." if not total else f"{total} finding{'s' if total > 1 else ''}.", style="bold"))


def _show_rung(rung: Rung, console: "Console") -> None:
    from rich.text import Text

    envelope = rung.report.envelope
    facts = [f"{rung.report.size} bytes"]
    if envelope is not None:
        facts = [f"ID {envelope.id!r}" if envelope.id is not None else "no ID", envelope.urn, *facts]
    head = Text.assemble((_ARROWS[rung.sender], "cyan" if rung.sender is Role.CPE else "green"), "  ")
    head.append(rung.report.title, style="bold")
    head.append("  " + ", ".join(facts), style="dim")
    if rung.http.line:
        head.append("  " + _printable(rung.http.line), style="dim")
    console.print(head, soft_wrap=True)
    for line in rung.report.lines:
        text = Text("    " + "  " * line.depth + _printable(line.name))
        if line.value:
            text.append(" = ", style="dim").append(_printable(line.value))
        if line.note:
            text.append(f"  {_printable(line.note)}", style="dim")
        console.print(text, soft_wrap=True)
    for finding in rung.findings:
        where = f"{_printable(finding.where)}: " if finding.where else ""
        console.print(
            Text.assemble(
                "  ",
                (f"{finding.level}", _LEVEL_STYLE[finding.level]),
                f"  {where}{_printable(finding.text)}",
                (f"  [{finding.clause}]", "dim"),
            ),
            soft_wrap=True,
        )


def _printable(text: str) -> str:
    """Text of a peer without what would steer the terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
