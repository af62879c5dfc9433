"""The page of `homeport decode --html`: every session as a ladder.

Self-contained: no script, no address of another host; everything that came from the recording is escaped.
"""

from html import escape

from homeport.codec.ladder_html import STYLE, count, ladder
from homeport.codec.sessions import Session

_STYLE = """
:root { color-scheme: light dark }
* { box-sizing: border-box }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem }
h1 { font-size: 1.4rem; margin: 0 0 .2rem }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem }
.dim { opacity: .7 }
"""


def page(found: tuple[Session, ...], *, name: str) -> str:
    """A whole HTML document."""
    messages = sum(len(session.rungs) for session in found)
    findings = [f for session in found for rung in session.rungs for f in rung.findings]
    errors = sum(f.level == "error" for f in findings)
    counts = ((len(found), "session"), (messages, "message"), (errors, "error"), (len(findings) - errors, "note"))
    said = ", ".join(count(number, word) for number, word in counts)
    body = "\n".join(f"<h2>{escape(session.title)}</h2>\n{ladder(session)}" for session in found)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(name)} – Homeport</title><style>{_STYLE}{STYLE}</style></head>\n<body><h1>{escape(name)}</h1>"
        f'<div class="dim">{said}. Select a message to see its content.</div>\n{body}\n'
        f'<p class="dim">Made by homeport decode. Secrets are masked unless --reveal was given.</p></body></html>\n'
    )
