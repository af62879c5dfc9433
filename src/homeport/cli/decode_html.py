"""The page of `homeport decode --html`: every session as a ladder, each rung opens to its content and findings.

Self-contained: no script, no address of another host; everything that came from the recording is escaped.
"""

from html import escape

from homeport.codec.sessions import Rung, Session
from homeport.terms import Role

_STYLE = """
:root { color-scheme: light dark; --line: #8b96a5; --cpe: #0b6bcb; --acs: #1f7a1f; --bad: #c41c1c; --note: #9a5b13; --soft: #8881 }
* { box-sizing: border-box }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem }
h1 { font-size: 1.4rem; margin: 0 0 .2rem }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem }
.dim { opacity: .7 }
td { overflow-wrap: anywhere }
.ladder { position: relative; padding: .2rem 0 1rem }
.ladder::before, .ladder::after { content: ""; position: absolute; top: 1.8rem; bottom: 0; width: 2px; background: var(--line) }
.ladder::before { left: 3rem }
.ladder::after { right: 3rem }
.ends { display: flex; justify-content: space-between; font-weight: 700 }
.ends span { width: 6rem; text-align: center }
details { margin: .15rem calc(3rem + 2px) }
summary { list-style: none; cursor: pointer; padding: .3rem .6rem 0; border-radius: 4px }
summary::-webkit-details-marker { display: none }
summary:hover { background: var(--soft) }
summary:focus-visible { outline: 2px solid var(--cpe) }
.name { font-weight: 600 }
.arrow { display: block; height: 10px; position: relative; margin: 1px -.6rem 0 }
.arrow::before { content: ""; position: absolute; left: 0; right: 0; top: 4px; border-top: 2px solid currentColor }
.arrow::after { content: ""; position: absolute; top: 0; border: 5px solid transparent }
.cpe .arrow { color: var(--cpe) }
.cpe .arrow::after { right: 0; border-left: 9px solid currentColor; border-right: 0 }
.acs .arrow { color: var(--acs) }
.acs .arrow::after { left: 0; border-right: 9px solid currentColor; border-left: 0 }
.acs summary { text-align: right }
.none .arrow { color: var(--line) }
.empty .arrow::before { border-top-style: dashed }
.badge { font-size: .8rem; padding: 0 .45rem; border-radius: 1rem; color: #fff; background: var(--bad); margin-left: .4rem }
.badge.note { background: var(--note) }
.content { background: var(--soft); border-radius: 6px; padding: .6rem .8rem; margin: .3rem .6rem .8rem }
table { border-collapse: collapse; width: 100%; font-size: .9rem }
td { padding: .1rem .5rem .1rem 0; vertical-align: top }
ul { margin: .2rem 0 .5rem; padding-left: 1.2rem }
li.error { color: var(--bad) }
li.note { color: var(--note) }
.clause { opacity: .75; font-size: .85em }
@media (prefers-color-scheme: dark) { :root { --cpe: #6cb2ff; --acs: #7fce7f; --bad: #ff7b72; --note: #e3b341 } .badge { color: #000 } }
"""


def page(found: tuple[Session, ...], *, name: str) -> str:
    """A whole HTML document."""
    messages = sum(len(session.rungs) for session in found)
    findings = [f for session in found for rung in session.rungs for f in rung.findings]
    errors = sum(f.level == "error" for f in findings)
    counts = ((len(found), "session"), (messages, "message"), (errors, "error"), (len(findings) - errors, "note"))
    said = ", ".join(_count(number, word) for number, word in counts)
    body = "\n".join(_session(session) for session in found)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(name)} – Homeport</title><style>{_STYLE}</style></head>\n<body><h1>{escape(name)}</h1>"
        f'<div class="dim">{said}. Select a message to see its content.</div>\n{body}\n'
        f'<p class="dim">Made by homeport decode. Secrets are masked unless --reveal was given.</p></body></html>\n'
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _session(session: Session) -> str:
    rungs = "\n".join(_rung(rung) for rung in session.rungs)
    return (
        f"<h2>{escape(session.title)}</h2>\n"
        f'<div class="ladder"><div class="ends"><span>CPE</span><span>ACS</span></div>\n{rungs}\n</div>'
    )


def _rung(rung: Rung) -> str:
    side = {Role.CPE: "cpe", Role.ACS: "acs", None: "none"}[rung.sender]
    errors = sum(f.level == "error" for f in rung.findings)
    notes = len(rung.findings) - errors
    badges = f'<span class="badge">{_count(errors, "error")}</span>' if errors else ""
    badges += f'<span class="badge note">{_count(notes, "note")}</span>' if notes else ""
    gist = f' <span class="dim">{escape(rung.gist)}</span>' if rung.gist else ""
    opened = " open" if errors else ""
    empty = " empty" if rung.report.empty else ""
    return (
        f'<details class="{side}{empty}"{opened}><summary><span class="name">{escape(rung.report.title)}</span>{gist}{badges}'
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
    if rung.report.lines:
        rows = "".join(
            f'<tr><td style="padding-left:{line.depth * 1.2:.1f}rem">{escape(line.name)}</td><td>{escape(line.value)}</td>'
            f'<td class="dim">{escape(line.note)}</td></tr>'
            for line in rung.report.lines
        )
        parts.append(f"<table>{rows}</table>")
    return "".join(parts)
