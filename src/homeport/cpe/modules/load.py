"""From the setting `module_environments` to environments: the built-in one by its name, others by module or entry point.

"native"                        child processes (native.py)
"acme.containers:environment"   the callable `environment` of that module: Setup -> Environment
"containers"                    an entry point of that name in the group `homeport.environments`, the same callable
"""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

from homeport.cpe.modules.interface import Environment, EnvironmentFacts, Setup
from homeport.errors import ConfigError

GROUP: Final = "homeport.environments"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,31}")

Factory = Callable[[Setup], Environment]


def load_environments(names: tuple[str, ...], directory: Path, setup: Setup) -> list[Environment]:
    """The environments, each with its own directory below. Raises ConfigError with what to correct."""
    made: list[Environment] = []
    for name in names:
        factory = _factory(name)
        place = directory / re.sub(r"[^A-Za-z0-9.-]", "-", name)
        environment = factory(dataclasses.replace(setup, directory=place))
        facts = getattr(environment, "facts", None)
        if not isinstance(facts, EnvironmentFacts) or not NAME.fullmatch(facts.name):
            raise ConfigError(
                f"module_environments: {name} gave no environment with a name of letters, digits, dot, hyphen"
            )
        if any(e.facts.name == facts.name for e in made):
            raise ConfigError(f"module_environments: two environments are called {facts.name}; leave one out")
        made.append(environment)
    return made


def _factory(name: str) -> Factory:
    if name == "native":
        from homeport.cpe.modules.native import NativeEnvironment

        return NativeEnvironment
    module, colon, attribute = name.partition(":")
    try:
        if colon and module.endswith(".py"):
            from homeport.cpe.devices.loading import module_of_file

            found = getattr(module_of_file(Path(module).expanduser()), attribute)
        elif colon:
            import importlib

            found = getattr(importlib.import_module(module), attribute)
        else:
            from importlib.metadata import entry_points

            points = list(entry_points(group=GROUP, name=name))
            if not points:
                raise ConfigError(
                    f"module_environments: there is no environment {name!r}; give native, package.module:name, or an installed one"
                )
            found = points[0].load()
    except (ImportError, AttributeError) as e:
        raise ConfigError(f"module_environments: {name} cannot be loaded: {e}") from e
    if not callable(found):
        raise ConfigError(f"module_environments: {name} is not something that makes an environment")
    return cast(Factory, found)
