"""The pages: what each asks the agent and hands to its template, and what each form does."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from homeport.cpe.web.configuration import configuration
from homeport.cpe.web.visit import Made, Visit
from homeport.cpe.web.words import HINTS

__all__ = ["NAVIGATION", "PAGES", "Made", "Page", "Visit"]

FOUND_AT_MOST: Final = 200
"""Parameters that one search shows."""

_ACTIONS: Final = {
    "inform": ("Contact the ACS now?", ""),
    "restart": (
        "Restart the agent?",
        "Values and owed events stay. It takes a few seconds; running transfers begin again.",
    ),
    "reboot": ("Reboot this device?", "What the device does besides is interrupted. The ACS is told 1 BOOT."),
    "factory-reset": (
        "Restore the factory configuration?",
        "Everything that the ACS and people have set on this device is lost. The ACS is told 0 BOOTSTRAP.",
    ),
}
"""Verb -> (the question, what it means). Without a meaning nothing is asked."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page. path: its address; below: it also answers for everything below that. make: its content."""

    path: str
    make: Callable[[Visit], Awaitable[Made]]
    takes_forms: bool = False
    below: bool = False

    def matches(self, path: str) -> bool:
        """Whether an address is this page's."""
        return path == self.path or (self.below and path.startswith(self.path + "/"))


async def front(visit: Visit) -> Made:
    """The address alone leads to the status."""
    return Made(to="/status")


async def status(visit: Visit) -> Made:
    """Show Status: connected or not, since when, why not, what comes next."""
    found = (await visit.ask("status"))["result"]
    last = found["last_session"] or {}
    hint = (
        HINTS.get(last.get("kind", ""), "")
        if found["connected"] is False and not found["state"].startswith("no ACS")
        else ""
    )
    return Made("status.html", {"found": found, "last": last, "hint": hint, "tab": "status"})


async def config(visit: Visit) -> Made:
    """Show Config: the data model's form and the readable one, side by side."""
    found = (await visit.ask("config"))["result"]
    return Made("config.html", {"found": found, "tab": "config"})


async def config_log(visit: Visit) -> Made:
    """Show Config Logs: who changed what, when, from what to what."""
    entries = (await visit.ask("log", entries=True))["result"]
    return Made("config_log.html", {"entries": entries[::-1], "tab": "config-log"})


async def client_log(visit: Visit) -> Made:
    """Show Client Logs: what the ACS asked for, and what was done."""
    lines = [line.partition(" ")[::2] for line in (await visit.ask("client-log"))["result"]]
    return Made("client_log.html", {"lines": lines[::-1], "tab": "client-log"})


async def transfers(visit: Visit) -> Made:
    """Files that are under way, with how far they are, and the question of one that waits for a person."""
    error = ""
    if visit.posted:
        yes = visit.form.get("answer") == "yes"
        answer = await visit.ask("transfer-answer", transfer=visit.form.get("transfer", ""), yes=yes)
        if answer["ok"]:
            return Made(to="/transfers")
        error = answer["error"]
    found = (await visit.ask("status"))["result"]
    return Made("transfers.html", {"rows": found["transfers"], "error": error}, status=400 if error else 200)


async def sessions(visit: Visit) -> Made:
    """The last sessions, or one of them as a ladder."""
    number = visit.path.removeprefix("/sessions").strip("/")
    if not number:
        return Made("sessions.html", {"rows": (await visit.ask("sessions"))["result"]})
    found = await visit.ask("session", number=int(number) if number.isdecimal() and len(number) < 10 else 0)
    if not found["ok"]:
        return Made("wrong.html", {"title": "Not here", "text": "This session is not remembered any more."}, status=404)
    return Made("session.html", {"record": found["result"]})


async def parameters(visit: Visit) -> Made:
    """The data model: one level of it, or what a search finds."""
    words = visit.query.get("q", "").strip()
    if words:
        rows = (await visit.ask("params"))["result"]
        wanted = words.lower().split()
        hits = [r for r in rows if all(w in r["path"].lower() or w in r["value"].lower() for w in wanted)]
        values = {"rows": hits[:FOUND_AT_MOST], "more": max(0, len(hits) - FOUND_AT_MOST), "words": words}
        return Made("parameters.html", {**values, "objects": [], "path": "", "crumbs": [], "error": ""})
    path = visit.query.get("path", "")
    found = await visit.ask("browse", path=path)
    values = found.get("result") or {"objects": [], "parameters": []}
    steps = path.removesuffix(".").split(".") if path else []
    crumbs = [(step, ".".join(steps[: i + 1]) + ".") for i, step in enumerate(steps)]
    return Made(
        "parameters.html",
        {
            "rows": values["parameters"],
            "objects": values["objects"],
            "path": path,
            "crumbs": crumbs,
            "more": 0,
            "words": "",
            "error": "" if found["ok"] else f"There is no {path} on this device.",
        },
        status=200 if found["ok"] else 404,
    )


async def parameter(visit: Visit) -> Made:
    """One parameter, and a form for its value where it can be written."""
    path = visit.form.get("path") or visit.query.get("path", "")
    rows: list[dict[str, Any]] = []
    if path and not path.endswith("."):
        rows = (await visit.ask("params", path=path)).get("result") or []
    if len(rows) != 1:
        text = "There is no such parameter on this device."
        return Made("wrong.html", {"title": "Not here", "text": text}, status=404)
    row, error = rows[0], ""
    if visit.posted:
        answer = await visit.ask("set-param", values={path: visit.form.get("value", "")})
        if answer["ok"]:
            said = "set" if answer["result"]["status"] == 0 else "set-later"
            return Made(to="/parameters/one?" + urlencode({"path": path, "said": said}))
        error = next((f"{p['error']} ({p['code']})" for p in answer.get("parameters", ())), answer["error"])
    entered = visit.form.get("value", "") if error and not row["secret"] else ("" if row["secret"] else row["value"])
    above = path.rpartition(".")[0] + "."
    return Made(
        "parameter.html", {"row": row, "error": error, "entered": entered, "above": above}, status=400 if error else 200
    )


async def device(visit: Visit) -> Made:
    """What a person can have the device do."""
    action = visit.path.removeprefix("/device").strip("/")
    if not action:
        return Made("device.html", {"found": (await visit.ask("status"))["result"]})
    if action not in _ACTIONS:
        return Made("wrong.html", {"title": "Not here", "text": "There is no such page."}, status=404)
    question, meaning = _ACTIONS[action]
    if not visit.posted or (meaning and visit.form.get("sure") != "yes"):
        return Made("confirm.html", {"action": action, "question": question, "meaning": meaning})
    answer = await visit.ask(action)
    if not answer["ok"]:
        return Made("wrong.html", {"title": question.rstrip("?"), "text": answer["error"]}, status=400)
    if action == "inform":
        return Made(to="/status?said=inform")
    return Made("restarting.html", {"action": action})


async def support(visit: Visit) -> Made:
    """The support archive, to be saved."""
    from homeport.cpe.support import archive, folder

    found = (await visit.ask("support"))["result"]
    answers = [await visit.ask("session", number=row["number"]) for row in reversed(found["sessions"])]
    rows = (await visit.ask("params"))["result"]
    content = archive(found, rows, [answer["result"] for answer in answers if answer["ok"]])
    return Made(file=(folder(found["status"]["device_id"] or "device") + ".tar.gz", content))


PAGES: Final = (
    Page("/", front),
    Page("/status", status),
    Page("/status/config", config),
    Page("/status/config-log", config_log),
    Page("/status/client-log", client_log),
    Page("/configuration", configuration, takes_forms=True),
    Page("/transfers", transfers, takes_forms=True),
    Page("/sessions", sessions, below=True),
    Page("/parameters", parameters),
    Page("/parameters/one", parameter, takes_forms=True),
    Page("/device", device, takes_forms=True, below=True),
    Page("/support", support),
)

NAVIGATION: Final = (
    ("/status", "Status"),
    ("/configuration", "Configuration"),
    ("/transfers", "Transfers"),
    ("/sessions", "Sessions"),
    ("/parameters", "Parameters"),
    ("/device", "Device"),
)
