"""The configuration form: Submit checks the values and keeps them apart, Apply puts them in force, all or none."""

from typing import Any

from homeport.cpe.web.visit import Made, Visit


async def configuration(visit: Visit) -> Made:
    """The form, and what its buttons do."""
    rows = (await visit.ask("settings"))["result"]
    action = visit.form.get("action", "")
    if visit.posted and action == "discard":
        visit.staged.clear()
        return Made(to="/configuration?said=discarded")
    if visit.posted and action == "apply":
        return await _apply(visit, rows)
    if visit.posted:
        return await _submit(visit, rows)
    return _form(visit, rows, visit.staged, {})


async def _submit(visit: Visit, rows: list[dict[str, Any]]) -> Made:
    entered = _entered(visit, rows)
    changed = {row["name"]: entered[row["name"]] for row in rows if row["name"] in entered and _differs(row, entered)}
    if not changed:
        visit.staged.clear()
        return Made(to="/configuration?said=same")
    answer = await visit.ask("set", values=changed, check=True)
    if not answer["ok"]:
        return _form(visit, rows, entered, _errors(answer))
    visit.staged.clear()
    visit.staged.update(changed)
    return Made(to="/configuration?said=submitted")


async def _apply(visit: Visit, rows: list[dict[str, Any]]) -> Made:
    if not visit.staged:
        return Made(to="/configuration?said=same")
    answer = await visit.ask("set", values=dict(visit.staged))
    if not answer["ok"]:
        return _form(visit, rows, visit.staged, _errors(answer))
    visit.staged.clear()
    return Made(to=f"/configuration?said={'applied' if answer['result']['status'] == 0 else 'later'}")


def _form(visit: Visit, rows: list[dict[str, Any]], entered: dict[str, str], errors: dict[str, str]) -> Made:
    fields = []
    for row in rows:
        value = entered.get(row["name"], row["value"])
        secret = row["kind"] == "secret"
        fields.append(
            {
                **row,
                "value": "" if secret else value,
                "error": errors.get(row["name"], ""),
                "retype": secret and bool(errors) and bool(entered.get(row["name"])),
            }
        )
    waiting = [
        {
            "label": row["label"],
            "old": _said(row, row["value"]),
            "new": _said(row, visit.staged[row["name"]], new=True),
        }
        for row in rows
        if row["name"] in visit.staged
    ]
    other = errors.get("", "")
    values = {"fields": fields, "waiting": waiting, "errors": len(errors), "other": other}
    return Made("configuration.html", values, status=400 if errors else 200)


def _entered(visit: Visit, rows: list[dict[str, Any]]) -> dict[str, str]:
    """What the form says, by setting; an empty secret means that nobody touched it."""
    found: dict[str, str] = {}
    for row in rows:
        name = row["name"]
        if row["read_only"] or row["missing"]:
            continue
        if row["kind"] == "switch":
            found[name] = "true" if visit.form.get(name) == "true" else "false"
        elif row["kind"] == "secret":
            if visit.form.get(f"{name}.remove") == "true":
                found[name] = ""
            elif visit.form.get(name):
                found[name] = visit.form[name]
        elif name in visit.form:
            found[name] = visit.form[name].strip()
    return found


def _differs(row: dict[str, Any], entered: dict[str, str]) -> bool:
    if row["kind"] == "secret":
        return bool(entered[row["name"]]) or bool(row["is_set"])
    return bool(entered[row["name"]] != row["value"])


def _errors(answer: dict[str, Any]) -> dict[str, str]:
    """Sentence by setting; under "" what belongs to none."""
    found = {p["name"]: str(p["error"]) for p in answer.get("parameters", ())}
    return found or {"": str(answer["error"])}


def _said(row: dict[str, Any], value: str, *, new: bool = False) -> str:
    if row["kind"] == "secret":
        if new:
            return "a new one" if value else "none"
        return "the present one" if row["is_set"] else "none"
    if row["kind"] == "switch":
        return "on" if value == "true" else "off"
    return value or "(empty)"
