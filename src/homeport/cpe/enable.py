"""Switching the agent on and off, and pointing it to an ACS: DKT's three ways to start, for a running agent and for one that starts later.

A wish is an `Order`. A running agent carries it out at once; otherwise it lies in the state directory until the next start. Everything is
checked before anything is changed, and one transaction makes all of it or nothing.
Source: DKT's document, "Booting Procedure": stored configuration; URL, user name, password, port; configuration file by TFTP.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import msgspec

from homeport.cpe.discovery import url_problem
from homeport.cpe.management import Management
from homeport.cpe.startup import LOCAL, keep_url_source
from homeport.cpe.state import AGENT, Store
from homeport.errors import ConfigError, Fault, HomeportError, ParameterFault
from homeport.model.tree import DataModel
from homeport.terms import Writer

Say = Callable[[str], None]

MAX_FILE: Final = 1 << 20
"""Bytes of a configuration file: a device of 5,000 parameters has 0.3 MB of them."""

_SWITCHED_OFF: Final = "switched_off"
_ORDER: Final = "order"
_PROFILE: Final = "profile"
_PATH: Final = re.compile(r"[A-Za-z_][\w.-]*\.[\w.-]*|[A-Za-z_]\w*", re.ASCII)


class Entry(msgspec.Struct, frozen=True):
    """One line of a configuration file. line: its number, from 1."""

    line: int
    path: str
    value: str


class Order(msgspec.Struct, frozen=True):
    """What a person wants. on: contact an ACS or not. server: values of ManagementServer by name. entries: a configuration file's lines.

    document: a configuration file in the form that devices upload, "" for none; an order has a document or values, not both.
    """

    on: bool = True
    server: dict[str, str] = {}
    entries: tuple[Entry, ...] = ()
    document: str = ""


# --- what a person typed ------------------------------------------------------------------------------------------------------


def order_of_url(url: str, username: str = "", password: str = "", port: int | None = None) -> Order:
    """`enable URL USER PASSWORD PORT`. port: goes into the URL. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        own = parts.port
    except ValueError:
        parts, own = None, None
    if port is not None and parts is not None:
        if not 0 < port < 65536:
            raise ConfigError(f"port {port}: expected 1 to 65535, for example 7547")
        if own not in (None, port):
            raise ConfigError(f"the URL names port {own}, and {port} is given beside it; leave one of them out")
        if own is None and parts.netloc:
            url = urlunsplit(parts._replace(netloc=f"{parts.netloc}:{port}"))
    problem = url_problem(url)
    if problem:
        raise ConfigError(problem)
    server = {"URL": url}
    if username:
        server |= {"Username": username, "Password": password}
    for name, text in server.items():
        if len(text) > 256:
            raise ConfigError(f"{name} has {len(text)} characters, at most 256 are allowed")
    return Order(server=server)


def order_of_file(data: bytes) -> Order:
    """`enable FILE`: lines `PATH VALUE`, as DKT's document lists its model, or the JSON that a device uploads as its configuration.

    `#` begins a comment line. A value may have blanks and may stand in double quotes; `""` is the empty one. A path without a value is a
    heading where paths below it follow. Raises ConfigError with the number of each line that cannot be read.
    """
    if len(data) > MAX_FILE:
        raise ConfigError(f"the configuration file has {len(data)} bytes, at most {MAX_FILE} are taken")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise ConfigError("the configuration file is not text in UTF-8") from e
    if text.lstrip().startswith("{"):
        return Order(document=text)
    entries: list[Entry] = []
    bare: list[tuple[int, str]] = []
    wrong: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        path, value = _split(words)
        if not _PATH.fullmatch(path) or "\0" in words:
            wrong.append(f"line {number}: {path[:60]!r} is no parameter's path")
        elif value is None:
            bare.append((number, path.rstrip(".") + "."))
        else:
            entries.append(Entry(number, path, value))
    paths = [entry.path for entry in entries] + [path for _, path in bare]
    wrong += [
        f'line {number}: {heading[:-1]} has no value; write the value behind it, or "" for an empty one'
        for number, heading in bare
        if not any(path.startswith(heading) and path != heading for path in paths)
    ]
    seen: dict[str, int] = {}
    for entry in entries:
        if entry.path in seen:
            wrong.append(f"line {entry.line}: {entry.path} is in line {seen[entry.path]} already")
        seen.setdefault(entry.path, entry.line)
    if wrong:
        raise ConfigError("the configuration file cannot be used: " + _first(wrong))
    if not entries:
        raise ConfigError(
            "the configuration file names no parameter; a line is: Device.ManagementServer.URL http://acs.example.net:7547/"
        )
    return Order(entries=tuple(entries))


# --- doing it -----------------------------------------------------------------------------------------------------------------


def switched_off(store: Store) -> bool:
    """Whether a person has switched the agent off on a device whose model has no EnableCWMP."""
    return bool(store.get(AGENT, _SWITCHED_OFF, False))


def check(order: Order, model: DataModel) -> None:
    """Whether a device takes an order; model: a copy that may be spoilt. Raises HomeportError that says what does not fit."""
    _write(order, model, Management(model))


def carry_out(order: Order, model: DataModel, store: Store, say: Say) -> None:
    """Do what a person wants: all of it or nothing. Raises HomeportError where the device does not take it, StoreError."""
    management = Management(model)
    if order.document:
        check(order, DataModel(model.blueprint, state=model.dump_state()))
    with store.transaction() as transaction:
        if _names_url(order, management):
            # Also where the URL is the one that DHCP had named: it is a person's word now.
            keep_url_source(transaction, LOCAL)
        if order.on:
            transaction.remove(AGENT, _SWITCHED_OFF)
        elif not management.has("EnableCWMP"):
            transaction.put(AGENT, _SWITCHED_OFF, True)
        _write(order, model, management)
    if order.document:
        say("a configuration file was applied")
    say("CWMP is switched on" if order.on else "CWMP is switched off")


def leave(order: Order, store: Store) -> None:
    """Keep an order for the next start, in place of an older one. Raises StoreError."""
    older = msgspec.convert(store.get(AGENT, _ORDER, {}), Order)
    if not (order.server or order.entries or order.document):
        order = msgspec.structs.replace(older, on=order.on)  # only the switch
    with store.transaction() as transaction:
        transaction.put(AGENT, _ORDER, msgspec.to_builtins(order))


def take_up(model: DataModel, store: Store, say: Say) -> None:
    """At the agent's start: carry out what was left. What the device does not take is said, and not tried again. Raises StoreError."""
    left = store.get(AGENT, _ORDER)
    if left is None:
        return
    try:
        with store.transaction() as transaction:
            transaction.remove(AGENT, _ORDER)
            carry_out(msgspec.convert(left, Order), model, store, say)
    except (Fault, ConfigError) as e:
        say(f"`homeport cpe enable` is not carried out: {e}")
        with store.transaction() as transaction:
            transaction.remove(AGENT, _ORDER)


def remember_profile(store: Store, name: str) -> None:
    """Keep which profile the agent runs with, so that what is done without it knows the device's model. Raises StoreError."""
    place = str(Path(name).expanduser().absolute()) if name.endswith(".toml") else name
    if store.get(AGENT, _PROFILE) != place:
        with store.transaction() as transaction:
            transaction.put(AGENT, _PROFILE, place)


def stored_model(store: Store, profile_name: str = "") -> tuple[DataModel, str] | None:
    """A copy of the device's model as the state directory has it, and its profile; None where the profile is not known.

    profile_name: default the one that the agent ran with. Parameters that only plug-ins bring are not in it.
    """
    name = profile_name or str(store.get(AGENT, _PROFILE, ""))
    if not name:
        return None
    from homeport.cpe.agent import profile_of
    from homeport.cpe.ledger import Ledger
    from homeport.cpe.model_store import ModelStore

    try:
        profile = profile_of(name)
    except ConfigError:
        return None
    model = DataModel(profile)
    ModelStore(store, Ledger(store), "").restore(model)
    return model, profile.name


def _write(order: Order, model: DataModel, management: Management) -> None:
    """One commit. Raises before it, or leaves the model as the commit's failure leaves it: unchanged."""
    server = management.prefix
    values = {server + name: text for name, text in order.server.items()}
    values |= {entry.path: entry.value for entry in order.entries}
    url = values.get(server + "URL", management.url)
    problem = url_problem(url) if url else None
    if problem:
        raise ConfigError(problem)
    if management.has("EnableCWMP"):
        values.setdefault(server + "EnableCWMP", "true" if order.on else "false")
    if order.document:
        url = _apply_document(order.document, model, management)
    elif order.entries and not url:
        raise _no_acs(management)
    if not values:
        return
    transaction = model.transaction(Writer.LOCAL)
    for path, text in values.items():
        transaction.set(path, text, None)
    try:
        transaction.commit()
    except Fault as e:
        if not e.parameters:
            raise
        lines = {entry.path: entry.line for entry in order.entries}
        raise ConfigError("this device does not take it: " + _first([_line(p, lines) for p in e.parameters])) from e


def _apply_document(document: str, model: DataModel, management: Management) -> str:
    from homeport.cpe.transfers.vendor_files import apply_configuration
    from homeport.transport.files import FileTransferError

    try:
        apply_configuration(model, document.encode("utf-8"))
    except FileTransferError as e:
        raise ConfigError(str(e)) from e
    if not management.url:
        raise _no_acs(management)
    return management.url


def _no_acs(management: Management) -> ConfigError:
    example = f"{management.prefix}URL http://acs.example.net:7547/"
    return ConfigError(f"the configuration file names no ACS and none is stored; add: {example}")


def _names_url(order: Order, management: Management) -> bool:
    path = management.prefix + "URL"
    return "URL" in order.server or path in order.document or any(entry.path == path for entry in order.entries)


def _line(parameter: ParameterFault, lines: dict[str, int]) -> str:
    where = f"line {lines[parameter.name]}: " if parameter.name in lines else ""
    return f"{where}{parameter.name}: {int(parameter.code)} {parameter.text}"


def _first(sentences: list[str], most: int = 5) -> str:
    more = f"; and {len(sentences) - most} more" if len(sentences) > most else ""
    return "; ".join(sentences[:most]) + more


def _split(words: str) -> tuple[str, str | None]:
    """(path, value) of a line; between them blanks, or an equals sign."""
    found = re.match(r"([^\s=]+)(?:\s*=\s*|\s+)(.*)$", words)
    if found is None:
        return words, None
    path, value = found[1], found[2].strip()
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return path, value[1:-1]
    if not value:
        return path, None
    return path, value


def fetch_configuration(name: str, server: str) -> bytes:
    """A configuration file from a TFTP server. server: `HOST` or `HOST:PORT`. Raises HomeportError that says what failed."""
    import asyncio
    import tempfile
    from urllib.parse import quote

    from homeport.errors import RemoteProtocolError
    from homeport.transport.addresses import format_address, parse_address
    from homeport.transport.files import FileLimits, FileOptions, fetch

    try:
        address = parse_address(server, default_port=69)
    except RemoteProtocolError as e:
        raise ConfigError(f"--tftp {server!r}: {e}; expected for example 192.0.2.1") from e
    url = f"tftp://{format_address(address)}/{quote(name.lstrip('/'))}"
    with tempfile.TemporaryDirectory(prefix="homeport-") as folder:
        file = Path(folder) / "configuration"
        limits = FileLimits(total=60.0, connect=10.0, stall=10.0, max_size=MAX_FILE)
        try:
            asyncio.run(fetch(url, file, limits=limits, options=FileOptions(refuse_html=False)))
        except HomeportError as e:
            raise ConfigError(f"{name} cannot be fetched by TFTP from {server}: {e}") from e
        return file.read_bytes()
