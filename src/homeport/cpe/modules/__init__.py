"""Software modules: deployment units that are installed, updated and removed, and the execution units that run out of them.

The service talks to the rest of the agent; an `Environment` runs things. `native` is built in and runs child processes; others are
plug-ins.
"""

from homeport.cpe.modules.interface import (
    Ended,
    Environment,
    EnvironmentFacts,
    Limits,
    PackageSpec,
    Place,
    Requirement,
    Restarts,
    Running,
    Space,
    UnitSpec,
    Usage,
)

__all__ = [
    "Environment",
    "EnvironmentFacts",
    "Running",
    "Ended",
    "Usage",
    "Space",
    "Place",
    "PackageSpec",
    "UnitSpec",
    "Limits",
    "Requirement",
    "Restarts",
]
