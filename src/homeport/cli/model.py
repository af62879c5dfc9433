"""`homeport model`: look into data models and device profiles, import new ones, check a device's parameters against them."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from homeport.cli import output
from homeport.cli.common import AsJson, group
from homeport.cli.exits import CliError, ExitCode

if TYPE_CHECKING:
    from homeport.model.checking import Finding
    from homeport.model.schema import ObjectDef, ParameterDef, Schema

app = group("Look into data models and device profiles, and import new ones.")

ModelOption = Annotated[
    str,
    typer.Option(
        "--model", metavar="MODEL", help="A shipped model (homeport model list) or a file; default: by the path's root."
    ),
]


@app.command("list")
def list_(json: AsJson = False) -> None:
    """List the models and device profiles that come with Homeport."""
    from homeport.model.profile import list_profiles, load_profile
    from homeport.model.schema import list_schemas, load_schema

    rows: list[dict[str, Any]] = []
    for name in list_schemas():
        schema = load_schema(name)
        objects = [o for o in schema.objects() if o.path]
        rows.append(
            {
                "name": name,
                "kind": "model" if schema.root else "service model",
                "objects": len(objects),
                "parameters": sum(len(o.parameters) for o in schema.objects()),
                "tables": sum(o.table for o in objects),
                "profiles": len(schema.profiles),
            }
        )
    devices = [load_profile(name) for name in list_profiles()]
    if json:
        output.print_json(
            {
                "models": rows,
                "device_profiles": [
                    {"name": d.name, "title": d.title, "model": d.schema.name, "parameters": len(d.parameters)}
                    for d in devices
                ],
            }
        )
        return
    shown = [
        [r["name"], r["kind"], str(r["objects"]), str(r["parameters"]), str(r["tables"]), str(r["profiles"])]
        for r in rows
    ]
    shown += [[d.name, f"device profile of {d.schema.name}", "", str(len(d.parameters)), "", ""] for d in devices]
    output.print_table(["name", "kind", "objects", "parameters", "tables", "profiles"], shown)


@app.command()
def show(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="A parameter or object, with numbers or {i}: Device.DeviceInfo.UpTime")
    ],
    model: ModelOption = "",
    json: AsJson = False,
) -> None:
    """Say what the model knows of a parameter (type, access, facets, since, profiles) or what an object holds."""
    from homeport.model.path import generic

    schema = _schema(model or _model_of(path))
    wanted = generic(path)
    parameter = schema.parameter(wanted)
    if parameter is not None:
        facts = _parameter_facts(parameter, schema)
        output.print_json(facts) if json else output.print_fields(_as_fields(facts))
        return
    spelled = wanted if wanted.endswith(".") or not wanted else wanted + "."
    definition = schema.object(spelled) or schema.object(spelled + "{i}.")
    if definition is None:
        raise CliError(f"{schema.name} has no {path}; {_hint(wanted, schema)}")
    _show_object(definition, schema, json=json)


def _show_object(definition: "ObjectDef", schema: "Schema", *, json: bool) -> None:
    from homeport.model.checking import object_facts, type_text

    facts = {
        "path": definition.path,
        "kind": object_facts(definition),
        "since": definition.since,
        "status": definition.status,
        "count": definition.count,
        "enable": definition.enable,
        "keys": [f"{', '.join(k.parameters)}{'' if k.functional else ' (not functional)'}" for k in definition.keys],
        "profiles": schema.profiles_with(definition.path),
    }
    rows = [
        {"name": p.name, "type": type_text(p), "access": "readWrite" if p.writable else "readOnly", "since": p.since}
        for p in definition.parameters
    ]
    if json:
        output.print_json({**facts, "parameters": rows, "objects": list(definition.children)})
        return
    output.print_fields(_as_fields(facts))
    print()
    table = [[r["name"], r["type"], r["access"], r["since"]] for r in rows]
    for child in definition.children:
        below = schema.object(child)
        assert below is not None
        table.append([child.removeprefix(definition.path), object_facts(below), "", below.since])
    output.print_table(["name", "type", "access", "since"], table, empty="it holds nothing")


def _parameter_facts(parameter: "ParameterDef", schema: "Schema") -> dict[str, Any]:
    from homeport.model.checking import facets, marks, type_text

    defaults = {
        "at creation": parameter.default_object,
        "from the factory": parameter.default_factory,
        "by the implementation": parameter.default_implementation,
    }
    return {
        "path": parameter.path,
        "type": type_text(parameter),
        "wire_type": parameter.type,
        "access": "readWrite" if parameter.writable else "readOnly",
        "facets": facets(parameter),
        "marks": marks(parameter),
        "since": parameter.since,
        "defaults": [f"{text!r} {when}" for when, text in defaults.items() if text is not None],
        "profiles": schema.profiles_with(parameter.path),
    }


def _as_fields(facts: dict[str, Any]) -> list[tuple[str, str]]:
    shown = [(k.replace("_", " "), "; ".join(v) if isinstance(v, list) else str(v)) for k, v in facts.items()]
    return [(k, v) for k, v in shown if v]


def _hint(wanted: str, schema: "Schema") -> str:
    leaf = wanted.removesuffix(".").rpartition(".")[2].lower()
    close = [p.path for p in schema.parameters() if p.name.lower() == leaf][:3] or [
        o.path for o in schema.objects() if o.name.lower() == leaf
    ][:3]
    return f"did you mean {' or '.join(close)}?" if close else f"look with: homeport model show {schema.root or 'PATH'}"


def _model_of(path: str) -> str:
    head = path.partition(".")[0]
    return {"InternetGatewayDevice": "InternetGatewayDevice", "Device": "Device:2"}.get(head) or (
        head if head in ("VoiceService", "STBService", "StorageService", "FAPService") else "Device:2"
    )


def _schema(name: str, services: tuple[str, ...] = ()) -> "Schema":
    from homeport.model.schema import Schema, load_schema
    from homeport.model.tables import unpack

    if name.endswith((".model", ".xml")) or "/" in name:
        file = Path(name)
        if name.endswith(".xml"):
            from homeport.model.schema_xml import import_model

            return import_model(file)
        try:
            return Schema.from_tables([unpack(file.read_bytes(), origin=name)])
        except OSError as e:
            raise CliError(f"{name} cannot be read: {e.strerror}; check the name") from e
    return load_schema(name, *services)


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Broadband Forum XML; what it imports must be beside it.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Where to write the compiled model.")],
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="SERVICE",
            help="A service to put below Services.: a shipped model's name, or a file. Repeatable.",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="Which model, where the file has several.")
    ] = "",
    on: Annotated[
        str, typer.Option("--on", metavar="MODEL", help="For a vendor's extension: the model that it extends.")
    ] = "",
) -> None:
    """Compile a model file (full, in parts, or a vendor's extension) into what Homeport loads."""
    from homeport.model.schema import Schema
    from homeport.model.schema_xml import compile_schema, import_extension, import_model
    from homeport.model.tables import pack

    schema = import_extension(file, _schema(on)) if on else import_model(file, model)
    if with_:
        tables = [compile_schema(schema), *(compile_schema(_schema(name)) for name in with_)]
        schema = Schema.from_tables(tables)
    data = pack(compile_schema(schema))
    try:
        out.write_bytes(data)
    except OSError as e:
        raise CliError(f"{out} cannot be written: {e.strerror}; choose another place with -o") from e
    objects = sum(1 for o in schema.objects() if o.path)
    print(
        f"{schema.name}: {objects} objects, {sum(1 for _ in schema.parameters())} parameters -> {out} ({len(data)} bytes)"
    )


@app.command()
def check(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The device's parameters: CSV (name,value,type,writable) or JSON.")
    ],
    model: ModelOption = "",
    profile: Annotated[
        list[str] | None,
        typer.Option(
            "--profile",
            metavar="NAME",
            help="A device profile (dkt-797xx) or one of the model's (Baseline:1). Repeatable.",
        ),
    ] = None,
    with_: Annotated[
        list[str] | None, typer.Option("--with", metavar="SERVICE", help="A service model below Services. Repeatable.")
    ] = None,
    json: AsJson = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="OUT", help="Write the report as a web page.")] = None,
) -> None:
    """Check a device's parameters against a model and profiles: missing, unknown, wrong type, wrong writability, wrong value.

    Ends with 1 when something is wrong; vendor extensions are only remarked on.
    """
    from homeport.model.checking import FindingKind, check_dump, read_dump
    from homeport.model.profile import list_profiles, load_profile

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise CliError(f"{file} cannot be read: {e}; it must be CSV or JSON in UTF-8") from e
    rows = read_dump(text, origin=file.name)
    if not rows:
        raise CliError(f"{file} holds no parameters; save a device's values there first")
    names = profile or []
    devices = [load_profile(n) for n in names if n in list_profiles()]
    if len(devices) > 1:
        raise CliError("only one device profile can be checked at a time", ExitCode.USAGE)
    device = devices[0] if devices else None
    schema = device.schema if device and not model else _schema(model or _model_of(rows[0].name), tuple(with_ or ()))
    findings = check_dump(rows, schema, device=device, profiles=[n for n in names if n not in list_profiles()])
    wrong = [f for f in findings if f.kind is not FindingKind.VENDOR]
    title = f"{file.name} against {schema.name}{''.join(f' and {n}' for n in names)}"
    if html is not None:
        html.write_text(_page(title, len(rows), findings), encoding="utf-8")
        output.note(f"the report is in {html}")
    if json:
        output.print_json(
            {
                "model": schema.name,
                "profiles": names,
                "parameters": len(rows),
                "ok": not wrong,
                "findings": [{"kind": f.kind.value, "path": f.path, "text": f.text} for f in findings],
            }
        )
    elif html is None:
        output.print_table(
            ["finding", "path", "what"], [[f.kind.value, f.path, f.text] for f in findings], empty="nothing is wrong"
        )
        output.note(f"{title}: {len(rows)} names, {len(wrong)} wrong, {len(findings) - len(wrong)} vendor extensions")
    if wrong:
        raise typer.Exit(int(ExitCode.FAILED))


def _page(title: str, names: int, findings: list["Finding"]) -> str:
    """The report as one self-contained page: a summary by kind, and a table of findings."""
    counts: dict[str, int] = {}
    for f in findings:
        counts[f.kind.value] = counts.get(f.kind.value, 0) + 1
    tiles = "".join(f"<div class='tile {k}'><b>{n}</b>{k}</div>" for k, n in counts.items())
    tiles = tiles or "<div class='tile ok'><b>0</b>findings</div>"
    rows = "".join(
        f"<tr class='{f.kind.value}'><td>{f.kind.value}</td><td><code>{escape(f.path)}</code></td><td>{escape(f.text)}</td></tr>"
        for f in findings
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #222; }}
h1 {{ font-size: 1.3rem; }} table {{ border-collapse: collapse; width: 100%; }}
td, th {{ text-align: left; padding: .35rem .7rem; border-bottom: 1px solid #ddd; vertical-align: top; }}
.tile {{ display: inline-block; padding: .6rem 1.2rem; margin: 0 .6rem 1rem 0; border-radius: .4rem; background: #fde8e8; }}
.tile b {{ display: block; font-size: 1.6rem; }} .tile.vendor {{ background: #e8eefc; }} .tile.ok {{ background: #e6f6ea; }}
tr.vendor {{ color: #667; }}
</style></head><body><h1>{escape(title)}</h1><p>{names} names were checked.</p>{tiles}
<table><thead><tr><th>finding</th><th>path</th><th>what</th></tr></thead><tbody>{rows}</tbody></table></body></html>
"""


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="The older model: a shipped one's name, or a file.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The newer model.")],
    json: AsJson = False,
) -> None:
    """Show what model B has otherwise than model A: objects and parameters added, removed, changed."""
    from homeport.model.checking import diff_schemas

    differences = diff_schemas(_schema(a), _schema(b))
    if json:
        output.print_json(
            [{"change": d.change, "path": d.path, "before": d.before, "after": d.after} for d in differences]
        )
        return
    rows = [[d.change, d.path, " -> ".join(t for t in (d.before, d.after) if t)] for d in differences]
    output.print_table(["change", "path", "what"], rows, empty="they are the same")
    counts = {c: sum(d.change == c for d in differences) for c in ("added", "removed", "changed")}
    output.note(", ".join(f"{n} {c}" for c, n in counts.items()))
