"""A session as a picture in HTML: the CPE's messages point right, the ACS's left, each rung opens to its content and findings.

Used by `homeport decode --html` and by the agent's web page. No script and no style attribute, so that a page may forbid both; everything
that came over the network is escaped. Pure.
"""

from collections.abc import Sequence
from html import escape
from typing import Final

from homeport.codec.sessions import Rung, Session
from homeport.terms import Role

MOST_LINES: Final = 2000
"""Lines of one message's content that are shown; a browser on a telephone stumbles over more."""

_DEEPEST: Final = 8

STYLE: Final = (
    """
.ladder { --line: #8b96a5; --cpe: #0b6bcb; --acs: #1f7a1f; --bad: #c41c1c; --note: #9a5b13; --soft: #8881 }
.ladder { position: relative; padding: .2rem 0 1rem }
.ladder::before, .ladder::after { content: ""; position: absolute; top: 1.8rem; bottom: 0; width: 2px; background: var(--line) }
.ladder::before { left: 3rem }
.ladder::after { right: 3rem }
.ladder td { overflow-wrap: anywhere }
.ladder td.dim { white-space: nowrap }
.ladder .dim { opacity: .7 }
.ladder .ends { display: flex; justify-content: space-between; font-weight: 700 }
.ladder .ends span { width: 6rem; text-align: center }
.ladder details { margin: .15rem calc(3rem + 2px) }
.ladder summary { list-style: none; cursor: pointer; padding: .3rem .6rem 0; border-radius: 4px }
.ladder summary::-webkit-details-marker { display: none }
.ladder summary:hover { background: var(--soft) }
.ladder summary:focus-visible { outline: 2px solid var(--cpe) }
.ladder .name { font-weight: 600 }
.ladder .at { float: left; font-size: .8rem; opacity: .7; margin-right: .6rem; font-variant-numeric: tabular-nums }
.ladder .arrow { display: block; height: 10px; position: relative; margin: 1px -.6rem 0; clear: both }
.ladder .arrow::before { content: ""; position: absolute; left: 0; right: 0; top: 4px; border-top: 2px solid currentColor }
.ladder .arrow::after { content: ""; position: absolute; top: 0; border: 5px solid transparent }
.ladder .cpe .arrow { color: var(--cpe) }
.ladder .cpe .arrow::after { right: 0; border-left: 9px solid currentColor; border-right: 0 }
.ladder .acs .arrow { color: var(--acs) }
.ladder .acs .arrow::after { left: 0; border-right: 9px solid currentColor; border-left: 0 }
.ladder .acs summary { text-align: right }
.ladder .none .arrow { color: var(--line) }
.ladder .empty .arrow::before { border-top-style: dashed }
.ladder .badge { font-size: .8rem; padding: 0 .45rem; border-radius: 1rem; color: #fff; background: var(--bad); margin-left: .4rem }
.ladder .badge.note { background: var(--note) }
.ladder .content { background: var(--soft); border-radius: 6px; padding: .6rem .8rem; margin: .3rem .6rem .8rem }
.ladder table { border-collapse: collapse; width: 100%; font-size: .9rem }
.ladder td { padding: .1rem .5rem .1rem 0; vertical-align: top }
.ladder ul { margin: .2rem 0 .5rem; padding-left: 1.2rem }
.ladder li.error { color: var(--bad) }
.ladder li.note { color: var(--note) }
.ladder .clause { opacity: .75; font-size: .85em }
"""
    + "".join(f".ladder td.d{depth} {{ padding-left: {depth * 1.2:.1f}rem }}\n" for depth in range(1, _DEEPEST + 1))
    + """@media (prefers-color-scheme: dark) {
.ladder { --cpe: #6cb2ff; --acs: #7fce7f; --bad: #ff7b72; --note: #e3b341 } .ladder .badge { color: #000 } }
@media (max-width: 40rem) {
.ladder::before { left: .4rem } .ladder::after { right: .4rem } .ladder details { margin: .15rem calc(.4rem + 2px) } }
"""
)
"""What a page that shows ladders puts into its style sheet."""


def ladder(session: Session, *, times: Sequence[str] = ()) -> str:
    """The ladder of one session, a `<div class="ladder">`. times: what to say of each message's moment, in their order."""
    rungs = "\n".join(_rung(rung, times[i] if i < len(times) else "") for i, rung in enumerate(session.rungs))
    return f'<div class="ladder"><div class="ends"><span>CPE</span><span>ACS</span></div>\n{rungs}\n</div>'


def count(number: int, word: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def _rung(rung: Rung, at: str) -> str:
    side = {Role.CPE: "cpe", Role.ACS: "acs", None: "none"}[rung.sender]
    errors = sum(f.level == "error" for f in rung.findings)
    notes = len(rung.findings) - errors
    badges = f'<span class="badge">{count(errors, "error")}</span>' if errors else ""
    badges += f'<span class="badge note">{count(notes, "note")}</span>' if notes else ""
    gist = f' <span class="dim">{escape(rung.gist)}</span>' if rung.gist else ""
    moment = f'<span class="at">{escape(at)}</span>' if at else ""
    opened = " open" if errors else ""
    empty = " empty" if rung.report.empty else ""
    return (
        f'<details class="{side}{empty}"{opened}><summary>{moment}<span class="name">{escape(rung.report.title)}</span>{gist}{badges}'
        f'<span class="arrow"></span></summary><div class="content">{_content(rung)}</div></details>'
    )


def _content(rung: Rung) -> str:
    parts = []
    envelope = rung.report.envelope
    facts = [f"message {rung.number}", f"{rung.report.size} bytes"]
    if rung.http.line:
        facts.append(rung.http.line)
    if envelope is not None:
        facts += [f"ID {envelope.id}" if envelope.id is not None else "no ID", envelope.urn]
    parts.append(f'<div class="dim">{escape(" · ".join(facts))}</div>')
    if rung.findings:
        items = "".join(
            f'<li class="{escape(f.level)}">{escape(f.where + ": " if f.where else "")}{escape(f.text)} '
            f'<span class="clause">[{escape(f.clause)}]</span></li>'
            for f in rung.findings
        )
        parts.append(f"<ul>{items}</ul>")
    lines = rung.report.lines
    if lines:
        rows = "".join(
            f'<tr><td class="d{min(line.depth, _DEEPEST)}">{escape(line.name)}</td><td>{escape(line.value)}</td>'
            f'<td class="dim">{escape(line.note)}</td></tr>'
            for line in lines[:MOST_LINES]
        )
        more = len(lines) - MOST_LINES
        if more > 0:
            rows += f'<tr><td class="dim" colspan="3">and {count(more, "more line")}</td></tr>'
        parts.append(f"<table>{rows}</table>")
    return "".join(parts)
