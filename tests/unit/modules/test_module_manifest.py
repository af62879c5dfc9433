"""The manifest of a native package: what it may say, and that everything else is refused with the name of the field."""

import json
import re
from pathlib import Path

import pytest

from homeport.cpe.modules.interface import Requirement, Restarts
from homeport.cpe.modules.manifest import MOST_BYTES, parse_manifest
from homeport.cpe.modules.operations import derived_uuid, older
from homeport.errors import Fault

WHOLE = """
format = "homeport-module/1"
name = "hello"
vendor = "Example"
version = "1.0.0"
uuid = "F0000000-0000-4000-8000-000000000001"
description = "says hello"
requires = [{ name = "base", vendor = "Example", version = "1.2" }]
configuration = ["etc/hello.conf"]

[[unit]]
name = "hello"
command = ["bin/hello", "--loop"]
auto_start = true
run_level = 3
restart = "on-failure"
stop_after = 2
environment = { GREETING = "hi" }
limits = { memory = 1000000, files = 16 }
"""


def manifest(**fields):
    whole = {"format": "homeport-module/1", "name": "a", "vendor": "b", "version": "1", **fields}
    return json.dumps(whole).encode()


def with_unit(**fields):
    return manifest(unit=[{"name": "u", "command": ["x"], **fields}])


def test_everything_that_a_manifest_may_say_is_understood():
    """TOML; the UUID in lower case."""
    spec = parse_manifest(WHOLE.encode(), "module.toml")
    assert (spec.name, spec.version, spec.uuid) == ("hello", "1.0.0", "f0000000-0000-4000-8000-000000000001")
    assert spec.requires == (Requirement("base", "Example", "1.2"),) and spec.configuration == ("etc/hello.conf",)
    (unit,) = spec.units
    assert (unit.command, unit.auto_start, unit.run_level) == (("bin/hello", "--loop"), True, 3)
    assert (unit.restart, unit.stop_after, unit.limits.memory) == (Restarts.ON_FAILURE, 2.0, 1_000_000)


def test_the_manifest_of_the_documentation_is_one():
    """What the how-to shows can be copied."""
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "software-modules.md").read_text()
    (block,) = (b for b in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "homeport-module/1" in b)
    spec = parse_manifest(block.encode(), "module.toml")
    assert spec.units[0].command == ("bin/hello", "--loop") and spec.configuration == ("hello.conf",)


def test_a_manifest_may_be_json():
    """The same fields; a library has no units."""
    assert parse_manifest(manifest(), "module.json").units == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (manifest(format="homeport-module/2"), "homeport-module/2"),
        (manifest(colour="red"), "colour"),
        (manifest(name=""), "name"),
        (manifest(version="1" * 33), "version"),
        (manifest(name="a\nb"), "name"),
        (manifest(uuid="1"), "UUID"),
        (manifest(configuration=["../etc/passwd"]), "configuration"),
        (manifest(configuration=["a", "a"]), "twice"),
        (with_unit(name="../up"), "unit name"),
        (with_unit(command=[]), "no command"),
        (with_unit(command=["../../bin/sh"]), "command"),
        (with_unit(command="rm -rf /"), "command"),
        (with_unit(command=["a\0b"]), "zero byte"),
        (with_unit(environment={"LD_PRELOAD": "evil.so"}), "LD_PRELOAD"),
        (with_unit(environment={"HOMEPORT_RUN": "x"}), "HOMEPORT_RUN"),
        (with_unit(environment={"A B": "x"}), "A B"),
        (with_unit(limits={"memory": -1}), "memory"),
        (with_unit(limits={"gold": 1}), "gold"),
        (with_unit(stop_after=1e9), "stop_after"),
        (with_unit(run_level=70000), "run_level"),
        (with_unit(restart="perhaps"), "restart"),
        (manifest(unit=[{"name": "u", "command": ["x"]}] * 2), "twice"),
        (manifest(unit=[{"name": f"u{n}", "command": ["x"]} for n in range(33)]), "at most 32"),
        (b"{", "cannot be read"),
        (b"[" * 100_000, str(MOST_BYTES)),
        (b"[" * 50_000, "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[]", "None"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(content, said):
    """9018, or 9025 where it is another format; never another error."""
    with pytest.raises(Fault) as caught:
        parse_manifest(content, "module.json")
    assert caught.value.code in (9018, 9025) and said in caught.value.text and len(caught.value.text) <= 256


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ("1", "2"),
        ("1.9", "1.10"),
        ("1.0-rc1", "1.0"),
        ("1.0-rc1", "1.0-rc2"),
        ("1.0", "1.0.1"),
        ("v1.2", "1.3"),
        ("1.0alpha", "1.0beta"),
    ],
)
def test_versions_are_compared_by_their_numbers(lower, higher):
    """What is called a release candidate comes before its release."""
    assert older(lower, higher) and not older(higher, lower)


def test_versions_that_mean_the_same_are_not_older():
    """Zeros at the end and a leading v say nothing."""
    assert not older("1.0", "1") and not older("1", "v1.0.0")


def test_the_derived_uuid_is_one_of_version_3():
    """The same for the same vendor and name, another for others (TR-069a6 Annex H)."""
    assert derived_uuid("a", "b") == derived_uuid("a", "b") != derived_uuid("b", "a")
    assert derived_uuid("a", "b")[14] == "3"
