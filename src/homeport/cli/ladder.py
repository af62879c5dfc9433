"""A session as a ladder: the CPE's messages point right, the ACS's point left, time runs down.

Made from `GET sessions/{id}` of the REST API; drawn as rich text on a terminal and as plain characters elsewhere.
"""

import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from homeport.cli import output
from homeport.cli.when import seconds_of, told

if TYPE_CHECKING:
    from rich.console import Group

LINE = 34
"""Characters between the two posts of the ladder."""

STYLES = {"cpe": "cyan", "acs": "green"}
"""The colour of each sender."""


_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>\s*")


class Rung(NamedTuple):
    """One message. at: seconds since the session began. sender: `cpe` or `acs`. title: its element or what its empty body means.

    details: what is worth reading of it, short.
    """

    at: float
    sender: str
    title: str
    details: str
    size: int


def rungs(session: Mapping[str, Any]) -> list[Rung]:
    """The messages of a session of the REST API, oldest first.

    `began` in the session is the moment that counts as 0 where some messages were left out; else the first message's.
    """
    from homeport.cli.gist import gist

    messages = session.get("messages") or []
    begin = seconds_of(session.get("began") or messages[0]["at"]) if messages else 0.0
    out = []
    for i, message in enumerate(messages):
        sender = message["direction"]
        last = i == len(messages) - 1
        element = message.get("element") or _empty(sender, last)
        out.append(
            Rung(seconds_of(message["at"]) - begin, sender, element, gist(message), int(message.get("size") or 0))
        )
    return out


def _empty(sender: str, last: bool) -> str:
    if sender == "cpe":
        return "(empty: your turn)"
    return "(empty: nothing more)" if last else "(empty)"


def rung_text(rung: Rung) -> str:
    """The arrow of one message with its name above the line: `── Inform ─────▶`."""
    name = f" {rung.title} "
    rest = LINE - len(name) - 3
    if rung.sender == "cpe":
        return "──" + name + "─" * max(rest, 0) + "▶"
    return "◀──" + name + "─" * max(rest, 0)


def ladder(session: Mapping[str, Any], *, most: int = 10_000) -> "Group":
    """The ladder of one session between its two posts, one line a message; of more than `most` the middle is left out."""
    from rich.console import Group
    from rich.text import Text

    rows = rungs(session)
    lines = [
        Text.assemble(" " * 9, ("CPE", f"bold {STYLES['cpe']}"), " " * (LINE - 4), ("ACS", f"bold {STYLES['acs']}"))
    ]
    left_out = max(0, len(rows) - most)
    for i, rung in enumerate(rows):
        if left_out and i == most // 2:
            lines.append(Text(f"{'':>9}│{f'{left_out} more messages':^{LINE}}│", style="dim"))
        if most // 2 <= i < most // 2 + left_out:
            continue
        at = f"{rung.at * 1000:5.0f} ms "
        lines.append(
            Text.assemble((at, "dim"), "│", (rung_text(rung), STYLES[rung.sender]), "│ ", (rung.details, "dim"))
        )
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)


def readable(body: str) -> str:
    """A message's XML with an element a line; as it is where it is none, or was cut. What a terminal would obey is shown, not done."""
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_blank_text=True
    )
    try:
        root = etree.fromstring(_DECLARATION.sub("", body).encode(), parser)  # text has no encoding of its own any more
    except etree.XMLSyntaxError:
        return output.harmless(body)
    etree.indent(root)
    return output.harmless(etree.tostring(root, encoding="unicode"))


def print_session(session: Mapping[str, Any], *, bodies: bool = False) -> None:
    """One session on stdout: a header, the ladder, how it ended."""
    from rich.console import Console
    from rich.text import Text

    out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    events = ", ".join(session.get("events") or ()) or "no events"
    began = f"  {told(session['started'])}" if session.get("started") else ""
    out.print(Text.assemble((str(session["device"]), "bold"), f"  {events}", (began, "dim")))
    out.print(ladder(session))
    if bodies:
        for message in session.get("messages") or ():
            out.print(
                Text(
                    f"\n--- {message['direction']}  {message.get('element') or '(empty)'}  {message.get('size')} bytes",
                    style="bold",
                )
            )
            if message.get("body"):
                print(readable(message["body"]))
    reason = session.get("reason") or ""
    out.print(
        Text(
            f"{session['outcome']}{': ' + reason if reason else ''}",
            style="green" if session["outcome"] == "success" else "red",
        )
    )
