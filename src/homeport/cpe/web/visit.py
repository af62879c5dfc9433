"""What a page knows of the request it answers, and what it gives back."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Visit:
    """One request of somebody who may see the page.

    ask: a verb of the control socket with its arguments; gives what the socket would. form: the fields of a POST, token checked.
    query: what stands behind the question mark. staged: values of the configuration form that wait for Apply. token: for our forms.
    with_login: there is a password, so there is a way out. inside: the visitor may see pages. status, here: for the frame of the page.
    """

    ask: Callable[..., Awaitable[dict[str, Any]]]
    form: dict[str, str]
    query: dict[str, str]
    staged: dict[str, str]
    token: str
    posted: bool
    path: str
    with_login: bool
    inside: bool
    status: dict[str, Any] = field(default_factory=dict)
    here: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """A page's content: a template with its values, or where to go instead, or a file (name, content) to be saved."""

    template: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    to: str = ""
    file: tuple[str, bytes] | None = None
