"""Templates to bytes. Every value is escaped unless a template says that it is markup of ours; an unknown name is an error."""

from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from homeport._version import __version__
from homeport.codec.ladder_html import STYLE, ladder
from homeport.cpe.support import ladder_of
from homeport.cpe.web.pages import NAVIGATION, Visit
from homeport.cpe.web.words import FILTERS, SAID

_HERE: Final = Path(__file__).parent


class Renderer:
    """The page's templates and files."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters.update(FILTERS)
        self._environment.globals.update(navigation=NAVIGATION, version=__version__, ladder=_ladder, said=SAID)
        self._files: dict[str, bytes] = {}

    def page(self, template: str, visit: Visit, values: dict[str, Any]) -> bytes:
        """A whole page."""
        return self._environment.get_template(template).render(visit=visit, **values).encode("utf-8", "replace")

    def file(self, name: str) -> bytes:
        """A file of `static/`; name: one of ours, never a peer's."""
        if name not in self._files:
            content = (_HERE / "static" / name).read_bytes()
            self._files[name] = content + STYLE.encode() if name == "style.css" else content
        return self._files[name]


def _ladder(record: dict[str, Any]) -> Markup:
    session, times = ladder_of(record)
    return Markup(ladder(session, times=times))  # escapes what came over the network itself
