"""From a request to a page: who may see it, which page it is, and the headers that keep a browser on our side.

Everything that a page shows or does goes through the verbs of the control socket; the page has no other way into the agent.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from homeport.cpe.control import Verb
from homeport.cpe.web import password as passwords
from homeport.cpe.web.listener import Answer, Request
from homeport.cpe.web.login import Logins, new_cookie
from homeport.cpe.web.pages import PAGES, Page, Visit
from homeport.cpe.web.render import Renderer
from homeport.errors import ConfigError

_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    # Not no-referrer: a browser would then send `Origin: null` with our own forms.
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
)
_MOST_FIELDS: Final = 100
_STATIC: Final = {
    "/static/style.css": ("style.css", "text/css; charset=utf-8"),
    "/static/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/static/icon.svg": ("icon.svg", "image/svg+xml"),
    "/favicon.ico": ("icon.svg", "image/svg+xml"),
}


class PageApp:
    """The page of one agent."""

    def __init__(
        self,
        verbs: Mapping[str, Verb],
        *,
        directory: Path,
        password_hash: str,
        loopback: bool,
        port: int,
        say: Callable[[str], None],
        may_enter: Callable[[str, int], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """directory: the state directory, which may hold the password. password_hash: the setting. loopback: nobody else reaches us.

        port: to tell our cookie from those of other agents on this machine. say: the configuration log. may_enter: whether the local user
        behind a connection from this address and port needs no password.
        """
        self._verbs = verbs
        self._directory = directory
        self._setting = password_hash
        self._loopback = loopback
        self._cookie_name = f"homeport_{port}"
        self._say = say
        self._may_enter = may_enter
        self._clock = clock
        self._logins = Logins()
        self._hashing = asyncio.Lock()
        self._render = Renderer()
        self._staged: dict[str, str] = {}

    async def answer(self, request: Request) -> Answer:
        """The answer to one request."""
        if request.path in _STATIC:
            return self._static(request)
        if request.method not in ("GET", "HEAD", "POST"):
            return self._plain(405, "only GET and POST are understood here", [("Allow", "GET, HEAD, POST")])
        try:
            wanted = passwords.kept(self._directory, self._setting)
        except ConfigError as e:
            return self._plain(503, str(e))
        refusal = self._refused(request, wanted)
        if refusal is not None:
            return refusal
        cookie = _cookie(request, self._cookie_name)
        inside = not wanted or self._logins.known(cookie, wanted, self._clock())
        fresh = "" if cookie else new_cookie()
        form = _fields(request.body.decode("utf-8", "replace")) if request.method == "POST" else {}
        if request.method == "POST" and not self._logins.token_fits(cookie, form.pop("csrf", "")):
            return self._plain(
                403, "this form is out of date or not from this page; go back, load the page anew, and send it again"
            )
        visit = Visit(
            ask=self._asker(request),
            form=form,
            query=_fields(request.query),
            staged=self._staged,
            token=self._logins.token(cookie or fresh),
            posted=request.method == "POST",
            path=request.path,
            with_login=bool(wanted),
            inside=inside,
        )
        if request.path == "/login":
            return await self._login(request, visit, wanted, cookie, fresh)
        if not inside:
            return self._to("/login?" + urlencode({"next": request.path}) if request.method == "GET" else "/login")
        if request.path == "/logout" and visit.posted:
            self._logins.close(cookie)
            return self._to("/login?said=out", self._cookie("", request, "Max-Age=0"))
        return await self._page(visit, self._cookie(fresh, request) if fresh else None)

    # --- who may come in ----------------------------------------------------------------------------------------------------

    def _refused(self, request: Request, wanted: str) -> Answer | None:
        """An answer to requests that no page of ours makes."""
        host = request.head.get("host")
        if not wanted:
            if not self._loopback:
                return self._plain(
                    503,
                    "This page is reached from elsewhere and has no password yet. "
                    "Set one on the device: homeport cpe web-password",
                )
            if not _is_own_name(host):
                # Without a login, a page of a stranger that lets its name lead here must not read ours (DNS rebinding).
                return self._plain(421, "this page answers to localhost only, as long as it has no password")
            if "may enter" not in request.known:
                request.known["may enter"] = self._may_enter(request.source, request.port)
            if not request.known["may enter"]:
                return self._plain(
                    403,
                    "As long as it has no password, this page is for the agent's own user, root and the members of control_group. "
                    "Set a password: homeport cpe web-password",
                )
        if request.method != "POST":
            return None
        origin, site = request.head.get("origin"), request.head.get("sec-fetch-site")
        if site not in ("", "same-origin", "none"):
            return self._plain(403, "this form was sent from another page")
        if origin and (urlsplit(origin).netloc != host or urlsplit(origin).scheme not in ("http", "https")):
            return self._plain(403, "this form was sent from another page")
        if request.head.get("content-type").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            return self._plain(403, "only forms of this page are taken")
        return None

    async def _login(self, request: Request, visit: Visit, wanted: str, cookie: str, fresh: str) -> Answer:
        if not wanted or (visit.inside and not visit.posted):
            return self._to("/status")
        error, status = "", 200
        if visit.posted:
            if not self._logins.may_guess(request.source, self._clock()):
                error, status = "Too many attempts. Wait half a minute and try again.", 429
            else:
                async with self._hashing:  # one at a time: each takes 16 MB for a moment
                    right = await asyncio.to_thread(passwords.fits, visit.form.get("password", ""), wanted)
                if right:
                    self._logins.close(cookie)
                    self._say(f"login at the web page from {request.source}")
                    return self._to(
                        _own_path(visit.form.get("next", "")),
                        self._cookie(self._logins.open(wanted, self._clock()), request),
                    )
                self._say(f"login at the web page from {request.source} refused: wrong password")
                error, status = "That is not the password.", 403
        body = self._render.page(
            "login.html", visit, {"error": error, "next": visit.form.get("next") or visit.query.get("next", "")}
        )
        headers = [("Retry-After", "30")] if status == 429 else []
        return self._html(status, body, [*headers, *([self._cookie(fresh, request)] if fresh else [])])

    # --- pages ----------------------------------------------------------------------------------------------------------------

    async def _page(self, visit: Visit, cookie: tuple[str, str] | None) -> Answer:
        page = next((p for p in PAGES if p.matches(visit.path)), None)
        more = [cookie] if cookie else []
        if page is None:
            body = self._render.page(
                "wrong.html", await self._framed(visit), {"title": "Not here", "text": "There is no such page."}
            )
            return self._html(404, body, more)
        if visit.posted and not page.takes_forms:
            return self._plain(405, "this page takes no form", [("Allow", "GET, HEAD")])
        result = await page.make(visit)
        if result.to:
            return self._to(result.to, *more)
        if result.file is not None:
            name = result.file[0]
            kind = [("Content-Type", "application/gzip"), ("Content-Disposition", f'attachment; filename="{name}"')]
            return Answer(200, result.file[1], [*kind, ("Cache-Control", "no-store"), *_HEADERS, *more])
        body = self._render.page(result.template, await self._framed(visit, page), result.values)
        return self._html(result.status, body, more)

    async def _framed(self, visit: Visit, page: Page | None = None) -> Visit:
        """The visit with what stands around every page."""
        visit.status = (await visit.ask("status")).get("result") or {}
        visit.here = page.path if page is not None else ""
        return visit

    def _asker(self, request: Request) -> Callable[..., Awaitable[dict[str, Any]]]:
        from homeport.cpe.control import answer

        who = f"a person at the web page, from {request.source}"

        async def ask(verb: str, **args: Any) -> dict[str, Any]:
            return await answer(self._verbs[verb], {**args, "who": who})

        return ask

    # --- answers ----------------------------------------------------------------------------------------------------------------

    def _static(self, request: Request) -> Answer:
        name, kind = _STATIC[request.path]
        if request.method not in ("GET", "HEAD"):
            return self._plain(405, "nothing to send here", [("Allow", "GET, HEAD")])
        return Answer(
            200, self._render.file(name), [("Content-Type", kind), ("Cache-Control", "max-age=3600"), *_HEADERS]
        )

    def _html(self, status: int, body: bytes, more: list[tuple[str, str]]) -> Answer:
        kind = ("Content-Type", "text/html; charset=utf-8")
        return Answer(status, body, [kind, ("Cache-Control", "no-store"), *_HEADERS, *more])

    def _plain(self, status: int, text: str, more: list[tuple[str, str]] | None = None) -> Answer:
        kind = ("Content-Type", "text/plain; charset=utf-8")
        return Answer(status, text.encode() + b"\n", [kind, ("Cache-Control", "no-store"), *_HEADERS, *(more or [])])

    def _to(self, path: str, *more: tuple[str, str]) -> Answer:
        return Answer(303, b"", [("Location", path), ("Cache-Control", "no-store"), *_HEADERS, *more])

    def _cookie(self, value: str, request: Request, *more: str) -> tuple[str, str]:
        parts = [f"{self._cookie_name}={value}", "Path=/", "HttpOnly", "SameSite=Strict", *more]
        return ("Set-Cookie", "; ".join([*parts, *(["Secure"] if request.secure else [])]))


def _fields(text: str) -> dict[str, str]:
    """The fields of a form or a query; of a repeated one the last."""
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        return {}  # more fields than any page of ours has


def _cookie(request: Request, name: str) -> str:
    for line in request.head.all("cookie"):
        for part in line.split(";"):
            key, _, value = part.strip().partition("=")
            if key == name:
                return value[:128]
    return ""


def _is_own_name(host: str) -> bool:
    """Whether a Host header names this machine as only this machine can be named."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    return name.lower().rstrip(".") in ("localhost", "127.0.0.1", "[::1]")


def _own_path(text: str) -> str:
    """Where to go after a login: a path of ours, and nothing that a browser could take for another site."""
    if (
        text.startswith("/")
        and not text.startswith(("//", "/\\"))
        and all(" " < c < "\x7f" and c != "\\" for c in text)
    ):
        return text
    return "/status"
