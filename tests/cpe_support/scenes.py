"""Scenes with an agent on a virtual clock, and the requests that an ACS often makes in them."""

import asyncio

from cpe_support.bench import Bench
from homeport.codec.messages import (
    ParameterValueStruct,
    SetParameterAttributes,
    SetParameterAttributesStruct,
    SetParameterValues,
)

SERVER = "Device.ManagementServer."


def scene(make):
    """Run an `async def test(bench)` with a bench in the test's directory, which is stopped afterwards."""

    def test(tmp_path):
        async def play():
            bench = Bench(tmp_path)
            await make(bench)
            await bench.stop()
            assert bench.most_open_channels == 1

        asyncio.run(play())

    test.__name__ = make.__name__
    test.__doc__ = make.__doc__
    return test


def setting(**values: str) -> SetParameterValues:
    """SetParameterValues of ManagementServer parameters, each with its type."""
    return SetParameterValues(
        tuple(
            ParameterValueStruct(SERVER + name.replace("__", "."), value, type_of(name))
            for name, value in values.items()
        ),
        "key",
    )


def type_of(name: str) -> str:
    if name.endswith("Time"):
        return "dateTime"
    if "Enable" in name:
        return "boolean"
    return "unsignedInt" if name.endswith(("Interval", "Multiplier", "Throttle")) else "string"


def notify(name: str, value: int) -> SetParameterAttributes:
    return SetParameterAttributes((SetParameterAttributesStruct(name, True, value),))
