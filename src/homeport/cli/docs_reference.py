"""`homeport docs-reference DIR`: the reference pages, made from what the program itself knows; a test keeps the committed ones fresh."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from homeport.cli.exits import ExitCode
from homeport.cli.main import VERBS, load_verb
from homeport.cli.settings_options import default_text, metavar, negative
from homeport.settings import describe

COMMON = ("--acs", "--token", "--state-dir", "--wait", "--no-connection-request", "--yes", "--json")
"""Options that many commands share; described once."""

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)

MADE = "<!-- Made by `homeport docs-reference docs/reference`; edit the source, not this page. -->\n"


@app.command()
def docs_reference(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the pages are written.")],
) -> None:
    """Write the generated reference pages."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (directory / name).write_text(text, encoding="utf-8")
        print(directory / name)


def pages() -> dict[str, str]:
    """File name -> Markdown of each generated page."""
    from homeport.acs.config import AcsSettings
    from homeport.cpe.config import CpeSettings
    from homeport.session.states import reference_page

    return {
        "cli.md": MADE + _cli(),
        "exit-codes.md": MADE + _exit_codes(),
        "rest.md": MADE + _rest(),
        "session-states.md": reference_page(),
        "settings-acs.md": MADE + _settings(AcsSettings, "acs", "acs serve"),
        "settings-cpe.md": MADE + _settings(CpeSettings, "cpe", "cpe run"),
    }


def _exit_codes() -> str:
    rows = [(str(int(code)), code.meaning) for code in ExitCode]
    rows += [("130", "interrupted by Ctrl-C")]
    text = "Every `homeport` command ends with one of these. An error is one line on standard error, with what to do about it;\n"
    text += "`HOMEPORT_DEBUG=1` shows the traceback instead.\n"
    return f"# Exit codes\n\n{text}\n{_table(('code', 'meaning'), rows)}"


def _settings(cls: type, program: str, path: str) -> str:
    rows = []
    for row in describe(cls):
        flag = f"`{row.flag}`, `{negative(row)}`" if row.type is bool else f"`{row.flag} {metavar(row)}`"
        default = default_text(row)
        said = row.help.rstrip(".") + "." + (f" In {row.unit}." if row.unit else "")
        rows.append(
            (flag, f"`{row.name}`", f"`{row.environment_name(program)}`", f"`{default}`" if default else "", said)
        )
    text = (
        f"Each setting of `homeport {path}` is a flag, a key of the configuration file and an environment variable.\n"
        "The command line counts first, then the environment, then the file, then the default. The file is TOML (`--config FILE`);\n"
        f"its table `[{program}]` counts, or its top level where there is none.\n"
    )
    return f"# Settings of `homeport {path}`\n\n{text}\n{_table(('flag', 'key', 'environment', 'default', 'meaning'), rows)}"


def _cli() -> str:
    parts = [
        "# Command line\n\n`homeport --help` and `homeport VERB --help` print the same. [Exit codes](exit-codes.md) are common to all.\n"
    ]
    for name, verb in VERBS.items():
        if verb.hidden:
            continue
        parts.append(f"\n## homeport {name}\n")
        command = typer.main.get_command(load_verb(name))
        if hasattr(command, "commands"):
            parts.append(f"\n{verb.help}\n")
        for path, one in _leaves(command, f"homeport {name}"):
            parts.append(_command(path, one, heading=path != f"homeport {name}"))
    parts.append("\n## Common options\n\n" + _table(("", ""), list(_common().values())))
    parts.append("\n## cwmp\n\nThe same program under the command names of a Vega gateway.\n\n")
    from homeport.cli.cwmp import SPELLINGS

    rows = [
        (f"`cwmp {' '.join(words)}`", f"`homeport {' '.join(ours)}`", what) for words, (ours, what) in SPELLINGS.items()
    ]
    parts.append(_table(("command", "is", "shows or does"), rows))
    return "".join(parts)


def _common() -> dict[str, tuple[str, str]]:
    """The shared options, each as it is first met."""
    found: dict[str, tuple[str, str]] = {}
    for name, verb in VERBS.items():
        if not verb.hidden:
            for path, command in _leaves(typer.main.get_command(load_verb(name)), name):
                for option in command.params if path not in ("acs serve", "cpe run") else ():
                    flag = option.opts[0] if option.param_type_name == "option" else ""
                    if flag in COMMON:
                        found.setdefault(flag, (_flags(option), _words(option.help) + _extras(option)))
    return {flag: found[flag] for flag in COMMON}


def _leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield path, command
        return
    for name, sub in subcommands.items():
        if not sub.hidden:
            yield from _leaves(sub, f"{path} {name}")


def _command(path: str, command: Any, *, heading: bool) -> str:
    """One command: usage, help, arguments and options."""
    shown = [p for p in command.params if not getattr(p, "hidden", False)]
    arguments = [p for p in shown if p.param_type_name == "argument"]
    options = [p for p in shown if p.param_type_name == "option"]
    usage = " ".join([path, *(_placeholder(p) for p in arguments), *(["[OPTIONS]"] if options else [])])
    lines = [f"\n### {path}\n" if heading else "", f"\n    {usage}\n", f"\n{_words(command.help)}\n"]
    page = {"homeport acs serve": "settings-acs.md", "homeport cpe run": "settings-cpe.md"}.get(path)
    if page:
        return "".join([*lines, f"\nIts options are its [settings]({page}).\n"])
    common = [p for p in options if p.opts[0] in COMMON]
    rows = [(f"`{_placeholder(p)}`", _words(p.help)) for p in arguments]
    rows += [(_flags(p), _words(p.help) + _extras(p)) for p in options if p not in common]
    if rows:
        lines += ["\n", _table(("", ""), rows)]
    if common:
        lines.append(f"\nAlso {', '.join(f'`{p.opts[0]}`' for p in common)}: [common options](#common-options).\n")
    return "".join(lines)


def _placeholder(parameter: Any) -> str:
    name = parameter.metavar or str(parameter.name).upper()
    name += "..." if parameter.nargs == -1 else ""
    return name if parameter.required else f"[{name}]"


def _flags(parameter: Any) -> str:
    value = f" {parameter.metavar}" if parameter.metavar and not parameter.is_flag else ""
    return ", ".join(f"`{flag}{value}`" for flag in [*parameter.opts, *parameter.secondary_opts])


def _extras(parameter: Any) -> str:
    parts = []
    if parameter.default not in (None, False, "", (), []) and not parameter.is_flag:
        default = parameter.default
        parts.append(f"Default: `{f'{default:g}' if isinstance(default, float) else default}`.")
    if parameter.envvar:
        names = [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar
        parts.append(f"Environment: {', '.join(f'`{name}`' for name in names)}.")
    return " ".join(["", *parts]) if parts else ""


def _words(help: str | None) -> str:
    return (help or "").replace(r"\[", "[").strip()


def _rest() -> str:
    description = _openapi()
    rows = []
    for path, methods in description["paths"].items():
        for method, one in methods.items():
            said = one.get("summary") or ""
            more = (one.get("description") or "").strip().split("\n\n")[0].replace("\n", " ")
            rows.append((f"`{method.upper()} {path}`", one["x-scope"] or "-", _answer(one), more or said))
    text = (
        "Below `/api/v1` on the address of `--http-listen`, with the header `Authorization: Bearer TOKEN`.\n"
        "The first start of the ACS writes the first token to `admin.token` in its data directory.\n"
        "The scope is what the token must allow at least: `read`, `operate` or `admin`; `any` token will do, or none (`-`).\n"
        "The full description (OpenAPI) is at `/api/openapi.json`.\n"
        'Every error has the shape `{"error": {"code", "message", "details"}}`.\n'
        "A device's id may hold percent signs (`00259E-HG8245%2DX-1`). As in any URL, they are encoded in a path and in `device=`\n"
        "(`00259E-HG8245%252DX-1`); an id that is pasted as it stands is understood, too, where it cannot mean another one.\n"
    )
    calls = _table(("call", "scope", "answer", "meaning"), rows)
    return f"# REST API\n\n{text}\n{calls}\n## What answers hold\n\n{_PAGES}{_shapes(description)}"


_PAGES = (
    "What is not marked with `?` is never null; what has no type is a text. A time is ISO 8601 in UTC with microseconds.\n"
    'An answer whose name ends with `Page` is `{"items": [...], "next": CURSOR or null}`; `cursor=CURSOR` gives the next one.\n\n'
)


def _answer(call: dict[str, Any]) -> str:
    """What a call answers with where all is well."""
    status, answer = next((s, a) for s, a in call["responses"].items() if s.startswith("2"))
    for kind, content in answer.get("content", {}).items():
        schema = content["schema"]
        if "$ref" not in schema:
            return str(kind)
        name = schema["$ref"].rpartition("/")[2]
        return f"`{name}`"
    return str(status)


def _shapes(description: dict[str, Any]) -> str:
    """The answers' shapes, those inside of others behind them."""
    shapes = description["components"]["schemas"]
    wanted = [
        schema["$ref"].rpartition("/")[2]
        for methods in description["paths"].values()
        for call in methods.values()
        for status, answer in call["responses"].items()
        for content in answer.get("content", {}).values()
        for schema in [content["schema"], *content.get("x-line", {}).get("anyOf", ())]
        if "$ref" in schema
    ]
    rows = []
    seen = {"Error"}
    while wanted:
        name = wanted.pop(0)
        if name in seen:
            continue
        seen.add(name)
        shape = shapes[name]
        wanted = [*_inside(shape), *wanted]
        if "properties" in shape and not name.endswith("Page"):
            fields = [f"`{field}` {_type(told, shapes)}".strip() for field, told in shape["properties"].items()]
            rows.append((f"`{name}`", " ".join(shape.get("description", "").split()), ", ".join(fields)))
    return _table(("answer", "meaning", "fields"), rows)


def _inside(schema: Any) -> list[str]:
    """The names of the shapes that a schema refers to."""
    if isinstance(schema, dict):
        found = [schema["$ref"].rpartition("/")[2]] if "$ref" in schema else []
        return found + [name for value in schema.values() for name in _inside(value)]
    return [name for value in schema for name in _inside(value)] if isinstance(schema, list) else []


def _type(schema: dict[str, Any], shapes: dict[str, Any]) -> str:
    """A field's type for people, "" for a text; `?` where it may be null."""
    if "anyOf" in schema:
        return f"{' or '.join(_type(one, shapes) or 'text' for one in schema['anyOf'] if one.get('type') != 'null')}?"
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"({'|'.join(shapes[name]['enum'])})" if "enum" in shapes[name] else f"`{name}`"
    if "enum" in schema:
        return f"({'|'.join(schema['enum'])})"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}), shapes) or 'texts'}"
    kind = "time" if schema.get("format") == "date-time" else str(schema.get("type", "any"))
    return "" if kind == "string" else kind


def _openapi() -> dict[str, Any]:
    """The REST API's own description, of an ACS that is put together but not started."""
    from homeport.acs.api.app import Services, build
    from homeport.acs.config import AcsSettings
    from homeport.acs.services.audit import Audit
    from homeport.acs.services.devices import Devices
    from homeport.acs.services.files import Files
    from homeport.acs.services.groups import Groups
    from homeport.acs.services.hub import Hub
    from homeport.acs.services.tasks import Tasks
    from homeport.acs.services.users import Users
    from homeport.acs.services.webhook_post import post
    from homeport.acs.services.webhooks import Webhooks
    from homeport.acs.storage.blobs import Blobs
    from homeport.acs.storage.memory import MemoryStore

    async def nobody(header: str | None) -> None:
        return None

    async def quiet(device: str) -> bool:
        return False

    hub = Hub(MemoryStore(), AcsSettings(), clock=lambda: 0.0)
    files = Files(hub, Blobs(Path("files")), b"", lambda address: "")
    tasks = Tasks(hub, lambda device, task: None, files)
    app = build(
        Services(
            hub=hub,
            devices=Devices(hub, quiet),
            tasks=tasks,
            files=files,
            groups=Groups(hub),
            users=Users(hub),
            webhooks=Webhooks(hub, post, monotonic=lambda: 0.0),
            audit=Audit(hub),
            token_holder=nobody,
            snapshots=list,
        )
    )
    return app.openapi()


def _table(headers: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(headers) + " |", "|" + "---|" * len(headers)]
    lines += ["| " + " | ".join(cell.replace("|", r"\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
