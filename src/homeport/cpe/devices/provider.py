"""A plug-in in any language: a process that reads requests as JSON lines on its stdin and answers on its stdout.

    --> {"id":1,"do":"hello","protocol":1}
    <-- {"id":1,"ok":true,"parameters":[{"path":"Device.DeviceInfo.UpTime"}],"tables":[...]}
    --> {"id":2,"do":"get","paths":["Device.DeviceInfo.UpTime"]}
    <-- {"id":2,"ok":true,"values":{"Device.DeviceInfo.UpTime":"3600"}}

docs/reference/provider-protocol.md describes all of it. This module makes a Plugin of what the process says that it serves; the process
itself (start, end, limits, garbage) is `provider_process`'s.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from homeport.cpe.devices.declarations import Row, normal
from homeport.cpe.devices.plugin import LATER, Plugin
from homeport.cpe.devices.provider_process import ProviderFailed, ProviderProcess
from homeport.cpe.journal import LOG
from homeport.errors import ConfigError, Fault
from homeport.model.path import generic
from homeport.terms import FaultCode

PROTOCOL: Final = 1

MARGIN: Final = 0.5
"""Seconds that the call around a request lasts longer than the request, so that the request's own limit comes first."""


class ParameterOffer(msgspec.Struct):
    """A parameter that a provider serves. poll: seconds between looks at it, 0 for on demand. set: it takes new values.

    type: of a vendor's own parameter, which no model has.
    """

    path: str
    type: str = ""
    poll: float = 0.0
    set: bool = False


class TableOffer(msgspec.Struct):
    """A table whose rows a provider reports. key: its columns that identify a row. set: columns take new values.

    add: the ACS may add and delete rows. volatile: rows come and go all the time.
    """

    path: str
    key: str | tuple[str, ...]
    columns: tuple[str, ...] = ()
    set: bool = False
    add: bool = False
    volatile: bool = False
    poll: float = 0.0


class Offer(msgspec.Struct):
    """What a provider says of itself in its answer to `hello`."""

    parameters: tuple[ParameterOffer | str, ...] = ()
    tables: tuple[TableOffer, ...] = ()


class Description(msgspec.Struct, forbid_unknown_fields=True):
    """A provider's description, a TOML file.

    command: program and arguments, never a shell's line. limit: seconds for one request. start_limit: seconds for the first answer.
    environment: variables that the process gets beside the agent's own.
    """

    command: tuple[str, ...]
    name: str = ""
    limit: float = 5.0
    start_limit: float = 10.0
    environment: dict[str, str] = {}


def provider_from_file(path: Path, memory: Path | None = None) -> Plugin:
    """The plug-in that a description names, its process started.

    memory: a directory that keeps what the provider serves, so that a device whose provider is late still has its parameters.
    Raises ConfigError where the description cannot be used, or its program cannot be run.
    """
    import tomllib

    try:
        description = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Description)
    except OSError as e:
        raise ConfigError(f"cannot read the provider {path}: {e.strerror}") from e
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{path} is not TOML: {e}") from e
    except msgspec.ValidationError as e:
        raise ConfigError(
            f'{path}: {e}; a provider is described by command = ["/bin/sh", "box.sh"] and, if need be, name, limit, '
            "start_limit and environment"
        ) from e
    if not description.command or description.limit <= 0 or description.start_limit <= 0:
        raise ConfigError(f"{path}: command must name a program, limit and start_limit must be more than 0 seconds")
    return Provider(description, path, memory).plugin


class Provider:
    """One provider: its process, and the plug-in that stands for it."""

    def __init__(self, description: Description, path: Path, memory: Path | None) -> None:
        self.name = description.name or path.stem
        self._limit = description.limit
        self._settable: set[str] = set()
        self.plugin = Plugin(self.name)
        self.process = ProviderProcess(
            self.name,
            description.command,
            folder=path.absolute().parent,
            environment=description.environment,
            start_limit=description.start_limit,
            said=self._said,
        )
        self.plugin.closers.append(self.process.close)
        self.plugin.restarts = lambda: max(0, self.process.starts - 1)
        self._offer = self._offered(memory / f"{self.name}.json" if memory is not None else None)
        self._declare(self._offer)

    # --- what it serves ---------------------------------------------------------------------------------------------------------

    def _offered(self, kept: Path | None) -> Offer:
        """What the provider says at its start; where it is late or confused, what it said the last time."""
        try:
            answer = self.process.start(PROTOCOL)
            offer = msgspec.convert(answer, Offer)
        except ProviderFailed as e:
            return self._remembered(kept, str(e))
        except msgspec.ValidationError as e:
            return self._remembered(kept, f"its answer to hello cannot be understood: {e}")
        if kept is not None:
            content = msgspec.json.encode(offer)
            try:
                if not kept.exists() or kept.read_bytes() != content:
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    kept.write_bytes(content)
            except OSError as e:
                LOG.debug("what the provider %s serves is not kept: %s", self.name, e)
        return offer

    def _remembered(self, kept: Path | None, reason: str) -> Offer:
        LOG.error("the provider %s: %s", self.name, reason)
        try:
            offer = msgspec.json.decode(kept.read_bytes(), type=Offer) if kept is not None else Offer()
        except (OSError, msgspec.MsgspecError):
            return Offer()
        LOG.warning("the provider %s: its parameters of the last start are shown", self.name)
        return offer

    def _declare(self, offer: Offer) -> None:
        by_poll: dict[float, list[str]] = {}
        types: dict[str, str] = {}
        for item in offer.parameters:
            row = ParameterOffer(item) if isinstance(item, str) else item
            by_poll.setdefault(row.poll, []).append(row.path)
            if row.type:
                types[normal(row.path)] = row.type
            if row.set:
                self._settable.add(normal(row.path))
        for poll, paths in by_poll.items():
            declared = self.plugin.bundle(*paths, poll=poll, limit=self._limit + MARGIN)(self._get)
            declared.types = {path: types[path] for path in declared.paths if path in types}
            if self._settable.intersection(declared.paths):
                declared.validate(self._check_parameter)
                declared.apply(lambda values: self._set(self._own(values)))
                declared.undo(lambda values: self._undo(self._own(values)))
        for offered in offer.tables:
            self._declare_table(offered)

    def _declare_table(self, offered: TableOffer) -> None:
        path = offered.path

        def rows(around: Row | None = None) -> Sequence[Mapping[str, Any]]:
            answer = self._ask("rows", path=path, **_around(around))
            found = answer.get("rows")
            if not isinstance(found, list):
                raise ProviderFailed(f"the provider {self.name} gave no rows for {path}")
            return found

        rows.__qualname__ = f"rows of {path}"
        declared = self.plugin.table(
            path,
            key=offered.key,
            columns=offered.columns,
            volatile=offered.volatile,
            poll=offered.poll,
            limit=self._limit + MARGIN,
        )(rows)
        if offered.set:
            declared.validate(lambda row, name, value: self._check(row.path + name, value))
            declared.apply(lambda row, values: self._set(_below(row, values), **_row(row)))
            declared.undo(lambda row, values: self._undo(_below(row, values), **_row(row)))
        if offered.add:
            declared.add(lambda row: self._done(self._ask("add", **_row(row))))
            declared.delete(lambda row: self._done(self._ask("delete", **_row(row))))

    # --- requests ---------------------------------------------------------------------------------------------------------------

    def _get(self, paths: Sequence[str]) -> Mapping[str, Any]:
        answer = self._ask("get", paths=list(paths))
        values = answer.get("values")
        if not isinstance(values, dict):
            raise ProviderFailed(f"the provider {self.name} gave no values")
        failed = answer.get("errors")
        errors = (
            {p: ProviderFailed(self.process.masked(str(why))) for p, why in failed.items()}
            if isinstance(failed, dict)
            else {}
        )
        return values | errors

    def _check_parameter(self, path: str, value: Any) -> None:
        if self._own({path: value}):
            self._check(path, value)

    def _own(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of some new values that the provider wants to hear of; the others are the data model's alone."""
        return {p: v for p, v in values.items() if p in self._settable or generic(p) in self._settable}

    def _check(self, path: str, value: Any) -> None:
        self._refusals(self._ask("check", values={path: _text(value)}), FaultCode.INVALID_PARAMETER_VALUE)

    def _set(self, values: Mapping[str, Any], **more: Any) -> int:
        if not values:
            return 0
        return self._done(self._ask("set", values={p: _text(v) for p, v in values.items()}, **more))

    def _undo(self, values: Mapping[str, Any], **more: Any) -> int:
        if not values:
            return 0
        return self._done(self._ask("set", values={p: _text(v) for p, v in values.items()}, undo=True, **more))

    def _done(self, answer: Mapping[str, Any]) -> int:
        self._refusals(answer, FaultCode.INTERNAL_ERROR)
        return LATER if answer.get("later") is True else 0

    def _refusals(self, answer: Mapping[str, Any], code: FaultCode) -> None:
        errors = answer.get("errors")
        if isinstance(errors, dict) and errors:
            path, why = next(iter(errors.items()))
            if isinstance(why, dict):
                given = why.get("code")
                code = FaultCode(given) if given in _CODES else code
                why = why.get("text", "refused")
            raise Fault(code, f"{path}: {self.process.masked(str(why))}")

    def _ask(self, do: str, **arguments: Any) -> Mapping[str, Any]:
        """One request and its answer. Raises ProviderFailed with a sentence, Fault where the provider names a code."""
        answer = self.process.request(do, arguments, limit=self._limit)
        if answer.get("ok") is False and not answer.get("errors"):
            code = answer.get("code")
            why = self.process.masked(str(answer.get("error") or "refused"))
            raise Fault(FaultCode(code) if code in _CODES else FaultCode.INTERNAL_ERROR, f"{self.name}: {why}")
        return answer

    # --- what it says by itself -------------------------------------------------------------------------------------------------

    def _said(self, message: Mapping[str, Any]) -> bool:
        """A line that answers no request; whether it means anything."""
        changed, event, line = message.get("changed"), message.get("event"), message.get("log")
        if isinstance(changed, list) and all(isinstance(p, str) for p in changed):
            self.plugin.changed(*changed)
            return True
        if isinstance(event, str):
            self.plugin.event(event, str(message.get("command_key", "")))
            return True
        if isinstance(line, str):
            LOG.info("%s: %s", self.name, self.process.masked(line[:1000]))
            return True
        return False


_CODES: Final = frozenset({9001, 9002, 9003, 9004, 9005, 9006, 9007, 9008})
"""Fault codes that a provider may choose (TR-069a6 A.5.1)."""


def _around(row: Row | None) -> dict[str, Any]:
    return {} if row is None else _row(row)


def _row(row: Row) -> dict[str, Any]:
    key = row.key if isinstance(row.key, str) else list(row.key)
    return {"row": row.path, "key": key}


def _below(row: Row, values: Mapping[str, Any]) -> dict[str, Any]:
    return {row.path + name: value for name, value in values.items()}


def _text(value: Any) -> str:
    from homeport.model.values import to_text

    return to_text(value)
