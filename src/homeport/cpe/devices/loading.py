"""Finds plug-ins: Python files, modules and descriptions of providers that the settings name, and what is installed.

An installed package offers its plug-ins as entry points of the group `homeport.devices`; each names a module, a Plugin, or a class or
function without arguments that makes one of these. Nothing is imported where there is no plug-in.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

from homeport.errors import ConfigError, HomeportError

if TYPE_CHECKING:
    from homeport.cpe.devices.plugin import Plugin

GROUP: Final = "homeport.devices"


def plugins_for(named: Sequence[str], memory: Path | None = None) -> "list[Plugin]":
    """The plug-ins that are installed, then those that are named, which count before them.

    named: paths of Python files or of descriptions of providers (`.toml`), or names of modules. memory: where it is kept what providers
    serve. Raises ConfigError that names the plug-in.
    """
    found = [_made(value, f"the entry point {name}") for name, value in _entry_points()]
    try:
        found.extend(_named(name, memory) for name in named)
    except BaseException:
        for plugin in found:
            for closer in plugin.closers:
                closer()
        raise
    return found


def _named(name: str, memory: Path | None) -> "Plugin":
    if name.endswith(".toml"):
        from homeport.cpe.devices.provider import provider_from_file

        return provider_from_file(Path(name).expanduser(), memory)
    if name.endswith(".py") or os.sep in name:
        return _made(module_of_file(Path(name).expanduser()), name)
    import importlib

    try:
        return _made(importlib.import_module(name), name)
    except ModuleNotFoundError as e:
        raise ConfigError(
            f"the plug-in {name} is not there: {e}; give the path of its file, or install its package"
        ) from e
    except HomeportError:
        raise
    except Exception as e:
        raise ConfigError(f"the plug-in {name} cannot be loaded: {_where(e)}{type(e).__name__}: {e}") from e


def module_of_file(path: Path) -> ModuleType:
    """The module in a Python file. Raises ConfigError that says where it fails."""
    import importlib.util

    name = "homeport_plugin_" + "".join(c if c.isalnum() else "_" for c in path.stem)
    spec = importlib.util.spec_from_file_location(name, path.absolute())
    if spec is None or spec.loader is None:
        raise ConfigError(f"the plug-in {path} is no Python file; its name ends with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # for dataclasses and pickles in it, as an import would
    try:
        spec.loader.exec_module(module)
    except FileNotFoundError as e:
        raise ConfigError(f"the plug-in {path} is not there; correct the setting plugins") from e
    except HomeportError:
        raise
    except Exception as e:
        raise ConfigError(f"the plug-in {path} cannot be loaded: {_where(e)}{type(e).__name__}: {e}") from e
    return module


def _where(error: Exception) -> str:
    """`line 12: `, where the error arose in the plug-in."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: "
    line, trace = 0, error.__traceback__
    while trace is not None:
        if "importlib" not in trace.tb_frame.f_code.co_filename:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"line {line}: " if line else ""


def _made(value: object, origin: str) -> "Plugin":
    """The plug-in that a module, object, class or function gives."""
    from homeport.cpe.devices.plugin import Plugin

    if isinstance(value, type) or (callable(value) and not isinstance(value, Plugin)):
        try:
            value = value()
        except HomeportError:
            raise
        except Exception as e:
            raise ConfigError(f"the plug-in of {origin} cannot be made: {type(e).__name__}: {e}") from e
    name = value.name if isinstance(value, Plugin) else origin.rpartition("/")[2].removesuffix(".py")
    plugin = Plugin.of(value, name=name)
    if isinstance(value, Plugin):
        plugin = value
    if not (plugin.declarations or plugin.listeners or plugin.moments):
        raise ConfigError(
            f"{origin} declares nothing; mark a function with @parameter(...), @group(...) or @table(...) from "
            "homeport.cpe.devices.plugin"
        )
    return plugin


def _entry_points() -> Iterator[tuple[str, object]]:
    """(name, what it names) of each installed plug-in."""
    if not any(_offers(folder) for folder in sys.path):
        return
    from importlib.metadata import entry_points  # 20 ms and 2 MB that only a device with installed plug-ins pays

    for point in entry_points(group=GROUP):
        try:
            yield point.name, point.load()
        except HomeportError:
            raise
        except Exception as e:
            raise ConfigError(
                f"the installed plug-in {point.name} ({point.value}) cannot be loaded: {type(e).__name__}: {e}"
            ) from e


def _offers(folder: str) -> bool:
    """Whether a package in this folder has entry points of our group, found out without importing anything."""
    try:
        names = [e.name for e in os.scandir(folder or ".") if e.name.endswith((".dist-info", ".egg-info"))]
    except OSError:
        return False  # sys.path may name what is not there, and zip files
    for name in names:
        try:
            with open(os.path.join(folder, name, "entry_points.txt"), encoding="utf-8", errors="replace") as file:
                if f"[{GROUP}]" in file.read():
                    return True
        except OSError:
            continue  # most packages have none
    return False
