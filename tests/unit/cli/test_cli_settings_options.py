"""Flags made from a settings dataclass: the hand reading, typer's reading and the help say the same."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from homeport.acs.config import AcsSettings
from homeport.cli.exits import CliError, ExitCode
from homeport.cli.settings_options import ParsedFlags, load_settings, misspelt, negative, parse_flags, typer_command
from homeport.cpe.config import CpeSettings
from homeport.errors import ConfigError
from homeport.settings import describe, setting


@dataclass(frozen=True, slots=True)
class Small:
    """A settings class with one field of each kind."""

    name: str = setting("x", "A word")
    port: int = setting(1, "A number", unit="seconds")
    fast: bool = setting(False, "A switch")
    maybe: bool | None = setting(None, "A switch that may be unset")
    where: Path | None = setting(None, "A path")
    many: tuple[str, ...] = setting((), "Several words")
    kind: str = setting("a", "One of two", choices=("a", "b"))


COMMAND_LINES = [
    [],
    ["--name", "y"],
    ["--name=y=z"],
    ["--port", "-5"],
    ["--fast", "--no-maybe"],
    ["--no-fast", "--maybe"],
    ["--where", "/tmp/x"],
    ["--many", "a,b", "--many", "c"],
    ["--kind=b"],
]


def by_typer(words: list[str]) -> Small:
    seen: list[Small] = []

    def act(settings: Small) -> int:
        seen.append(settings)
        return 0

    app = typer.Typer()
    app.command()(typer_command(Small, "small", act, "help"))
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return seen[0]


@pytest.mark.parametrize("words", COMMAND_LINES, ids=" ".join)
def test_hand_reading_and_typer_agree(words: list[str]) -> None:
    """Both readings of the same command line load the same settings."""
    by_hand = load_settings(Small, "small", parse_flags(Small, words, verb="small"))
    assert by_hand == by_typer(words)


@pytest.mark.parametrize("cls", [AcsSettings, CpeSettings])
def test_every_setting_has_a_flag(cls: type) -> None:
    """Each field of the two programs is read from its flag, switches in both directions."""
    for row in describe(cls):
        if row.type is bool:
            assert parse_flags(cls, [row.flag], verb="v").values == {row.name: True}
            assert parse_flags(cls, [negative(row)], verb="v").values == {row.name: False}
        else:
            assert parse_flags(cls, [row.flag, "7"], verb="v").values == {row.name: "7"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nmae", "x"], "did you mean --name?"),
        (["--name"], "--name needs a value"),
        (["stray"], "no argument stray"),
        (["--fast=yes"], "no option --fast"),
    ],
)
def test_wrong_command_lines_name_the_cure(words: list[str], said: str) -> None:
    """A flag that does not exist is refused with the nearest one, a missing value with the flag."""
    with pytest.raises(CliError) as caught:
        parse_flags(Small, words, verb="small")
    assert said in str(caught.value)
    assert caught.value.code == ExitCode.USAGE


def test_configuration_file_comes_from_flag_or_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HOMEPORT_CONFIG names the file where --config does not; the flag counts first."""
    (tmp_path / "one.toml").write_text('name = "one"\n')
    (tmp_path / "two.toml").write_text('[small]\nname = "two"\n')
    monkeypatch.setenv("HOMEPORT_CONFIG", str(tmp_path / "one.toml"))
    assert load_settings(Small, "small", ParsedFlags({}, None)).name == "one"
    assert (
        load_settings(Small, "small", parse_flags(Small, ["--config", str(tmp_path / "two.toml")], verb="v")).name
        == "two"
    )


def test_the_programs_own_variable_for_the_file_counts_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HOMEPORT_SMALL_CONFIG is stronger than HOMEPORT_CONFIG, for typer as by hand."""
    (tmp_path / "own.toml").write_text('name = "own"\n')
    (tmp_path / "all.toml").write_text('name = "all"\n')
    monkeypatch.setenv("HOMEPORT_SMALL_CONFIG", str(tmp_path / "own.toml"))
    monkeypatch.setenv("HOMEPORT_CONFIG", str(tmp_path / "all.toml"))
    assert load_settings(Small, "small", ParsedFlags({}, None)).name == "own"
    assert by_typer([]).name == "own"


def test_a_value_from_the_environment_is_blamed_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """typer reads the variable too, but the error names the variable, not a flag that nobody typed."""
    monkeypatch.setenv("HOMEPORT_SMALL_PORT", "many")
    app = typer.Typer()
    app.command()(typer_command(Small, "small", lambda settings: 0, "help"))
    result: Any = CliRunner().invoke(app, [])
    assert isinstance(result.exception, ConfigError)
    assert "HOMEPORT_SMALL_PORT" in str(result.exception)


def test_a_variable_that_is_nearly_a_setting_is_told() -> None:
    """A misspelt password would leave the door open without a word; what is nobody's setting is left alone."""
    names = [
        "HOMEPORT_SMALL_NAEM",
        "HOMEPORT_SMALL_NAME",
        "HOMEPORT_SMALL_CONFIG",
        "HOMEPORT_SMALL_X",
        "HOMEPORT_ACS",
        "PATH",
    ]
    assert misspelt(Small, "small", names) == [("HOMEPORT_SMALL_NAEM", "HOMEPORT_SMALL_NAME")]
