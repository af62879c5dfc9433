"""How the command line shows things: tables on a terminal, tab-separated lines in a pipe, JSON on request, errors as one line."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from rich.console import Console

_COMMANDS = dict.fromkeys([0x1B, *range(0x7F, 0xA0)], "\N{REPLACEMENT CHARACTER}")
"""Characters that a terminal takes for the begin of a command; XML allows those of eight bits in a value."""


def harmless(text: str) -> str:
    """Text of several lines without what a terminal would obey."""
    return text.translate(_COMMANDS)


def console(*, stderr: bool = False) -> "Console":
    """A rich console for stdout or stderr; rich is imported here, so that JSON output does not pay for it."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def to_person() -> bool:
    """Whether standard output is a terminal; in a pipe or a file a program reads it."""
    return sys.stdout.isatty()


def print_json(data: Any) -> None:
    """data as indented JSON on stdout, keys in the order they came."""
    text = msgspec.json.format(msgspec.json.encode(data), indent=2)
    sys.stdout.write(text.decode() + "\n")


def print_table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    styles: Sequence[str] = (),
    empty: str = "",
    csv: bool = False,
) -> None:
    """Rows for a person (terminal: a table that folds long cells) or for a script (pipe: one line each, separated by tabs).

    empty: said on stderr where there are no rows; in a pipe the header line alone is printed. csv: comma-separated values, wherever
    they go.
    """
    rows = list(rows)
    if csv:
        print_csv(headers, rows)
        return
    if not sys.stdout.isatty():
        for row in [headers, *rows]:
            sys.stdout.write("\t".join(_one_line(cell) for cell in row) + "\n")
        if not rows and empty:
            note(empty)
        return
    if not rows:
        note(empty or "nothing to show")
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for i, header in enumerate(headers):
        table.add_column(header, overflow="fold", style=styles[i] if i < len(styles) else "")
    for row in rows:
        table.add_row(*(Text(cell.translate(_COMMANDS)) for cell in row))
    console().print(table)


def print_csv(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows as comma-separated values (RFC 4180) with a header line.

    A cell that a spreadsheet would take for a formula has an apostrophe before it: what is in it comes from devices.
    """
    import csv

    writer = csv.writer(sys.stdout)
    for row in [headers, *rows]:
        writer.writerow([f"'{cell}" if _is_formula(cell) else cell for cell in row])


def _is_formula(cell: str) -> bool:
    if not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return False
    try:
        float(cell)
    except ValueError:
        return True
    return False  # a number with its sign


def print_line(cells: Sequence[str], *, widths: Sequence[int]) -> None:
    """One row of a table without an end, at once: in a pipe separated by tabs, on a terminal filled up to these widths."""
    cells = [_one_line(cell) for cell in cells]
    if sys.stdout.isatty():
        padded = [f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=False)]
        print("  ".join([*padded, *cells[len(padded) :]]).translate(_COMMANDS), flush=True)
    else:
        print("\t".join(cells), flush=True)


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Name and value, one pair a line, values aligned."""
    pairs = list(fields)
    width = max((len(name) for name, _ in pairs), default=0)
    if sys.stdout.isatty():
        from rich.text import Text

        out = console()
        for name, value in pairs:
            out.print(Text.assemble((f"{name:<{width}}", "bold"), "  ", value))
        return
    for name, value in pairs:
        sys.stdout.write(f"{name}\t{_one_line(value)}\n")


def counted(number: int, thing: str) -> str:
    """`1 device`, `2 devices`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def note(text: str) -> None:
    """A remark for the person, on stderr so that pipes stay clean."""
    print(text, file=sys.stderr)


def error(text: str) -> None:
    """The one line that says what went wrong and what to do; red on a terminal."""
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        print(f"\x1b[1;31mhomeport:\x1b[0m {text}", file=sys.stderr)
    else:
        print(f"homeport: {text}", file=sys.stderr)


def program() -> str:
    """How this program can be called by name: `homeport`; where it is not on the PATH, its whole path."""
    import shutil

    here = _beside_python()
    found = shutil.which("homeport")
    if here is None or (found and os.path.realpath(found) == os.path.realpath(here)):
        return "homeport"
    return here


def path_export() -> str:
    """The line that puts this program on the PATH of a shell; "" where it is there already."""
    name = program()
    return "" if name == "homeport" else f'export PATH="{os.path.dirname(name)}:$PATH"'


def _beside_python() -> str | None:
    here = os.path.join(os.path.dirname(sys.executable), "homeport")
    return here if os.path.exists(here) else None


def _one_line(text: str) -> str:
    return text.replace("\t", " ").replace("\r", " ").replace("\n", " ")
