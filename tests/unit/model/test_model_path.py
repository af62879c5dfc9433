"""Paths: names, instance numbers, aliases, wildcards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.errors import Fault
from homeport.model.path import WILDCARD, Alias, Path, generic, segment_text


def test_a_path_is_split_into_names_and_instances() -> None:
    """Digits are instance numbers, brackets hold an alias, a star is any instance."""
    path = Path.parse("Device.IP.Interface.[cpe-wan].IPv4Address.12.*.X_EXAMPLE-COM_Foo")
    assert path.segments == (
        "Device",
        "IP",
        "Interface",
        Alias("cpe-wan"),
        "IPv4Address",
        12,
        WILDCARD,
        "X_EXAMPLE-COM_Foo",
    )
    assert not path.partial
    assert not path.plain
    assert ".".join(map(segment_text, path.segments)) == path.text


def test_the_empty_path_and_a_trailing_dot_are_partial() -> None:
    """Both name an object with everything below it."""
    assert Path.parse("").partial
    assert Path.parse("Device.").partial
    assert Path.parse("Device.").segments == ("Device",)


def test_equal_texts_give_the_same_object() -> None:
    """Paths are interned."""
    assert Path.parse("Device.A.1.B") is Path.parse("Device.A.1.B")


@pytest.mark.case("R30")
@pytest.mark.parametrize(
    "text",
    [
        ".",
        ".Device.",
        "Device..A",
        "Device.01.",
        "Device.0.",
        "1.A",
        "*.A",
        "[a].B",
        "Device.[1a].",
        "Device.a b",
        "Device.[]",
        "Dévice.",
        "Device.A\n",
    ],
)
def test_what_is_no_path_is_9005(text: str) -> None:
    """The fault of a wrong path is 9005, whatever is wrong with it."""
    with pytest.raises(Fault) as caught:
        Path.parse(text)
    assert caught.value.code == 9005


def test_a_path_longer_than_cwmp_carries_is_refused() -> None:
    """At most 256 characters; the message does not repeat them all."""
    with pytest.raises(Fault, match="at most 256") as caught:
        Path.parse("Device." + "A" * 300)
    assert len(caught.value.text) < 200


@given(st.text(max_size=40))
def test_any_text_is_a_path_or_9005(text: str) -> None:
    """No text makes the parser fail in another way."""
    try:
        assert Path.parse(text).text == text
    except Fault as fault:
        assert fault.code == 9005


def test_a_generic_path_names_no_instance() -> None:
    """Instances become {i}, the model's own spelling."""
    assert generic("Device.A.1.B.[x].C.*.") == "Device.A.{i}.B.{i}.C.{i}."
    assert generic("Device.A.1.B") == "Device.A.{i}.B"


def test_very_many_paths_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that invents paths fills the intern table to its limit, not beyond."""
    from homeport.model import path as module

    monkeypatch.setattr(module, "_INTERN_LIMIT", 100)
    for n in range(1000):
        Path.parse(f"Device.Flood{n}.")
    assert len(module._interned) <= 100
