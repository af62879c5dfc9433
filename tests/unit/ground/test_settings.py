"""Settings: one declaration, four sources, one order of precedence, errors that name the source and the cure."""

import dataclasses
from pathlib import Path

import pytest

from homeport.errors import ConfigError
from homeport.settings import describe, load, setting


@dataclasses.dataclass(frozen=True)
class Lamp:
    """A program's settings."""

    colour: str = setting("white", "What it shines.", choices=("white", "red"))
    watts: int = setting(5, "How strong.", unit="W")
    dim_after: float | None = setting(None, "When it dims.", unit="seconds")
    on: bool = setting(False, "Whether it shines.")
    state_dir: Path = setting(Path("/var/lib/lamp"), "Where it keeps things.")
    rooms: tuple[str, ...] = setting((), "Where it shines.")
    key: str = setting("", "Its secret.", secret=True)


def read(flags=None, environment=None, file=None):
    return load(Lamp, program="lamp", flags=flags or {}, environment=environment or {}, file=file)


def test_defaults_hold_when_nothing_is_said():
    """Every setting has a default."""
    assert read() == Lamp()


def test_flags_win_over_environment_and_file(tmp_path):
    """Precedence: command line, environment, file, default."""
    file = tmp_path / "lamp.toml"
    file.write_text('watts = 1\ncolour = "red"\non = true\n')
    got = read({"watts": 3}, {"HOMEPORT_LAMP_WATTS": "2", "HOMEPORT_LAMP_COLOUR": "white"}, file)
    assert (got.watts, got.colour, got.on) == (3, "white", True)


def test_specific_environment_name_wins_over_the_general_one():
    """HOMEPORT_LAMP_WATTS is more specific than HOMEPORT_WATTS."""
    assert read(environment={"HOMEPORT_WATTS": "7"}).watts == 7
    assert read(environment={"HOMEPORT_WATTS": "7", "HOMEPORT_LAMP_WATTS": "8"}).watts == 8


def test_a_table_of_the_program_counts_alone(tmp_path):
    """One file can configure several programs."""
    file = tmp_path / "homeport.toml"
    file.write_text('[lamp]\nwatts = 9\nstate-dir = "/tmp/x"\n[other]\nwatts = 1\n')
    assert read(file=file).watts == 9
    assert read(file=file).state_dir == Path("/tmp/x")


@pytest.mark.parametrize(("text", "value"), [("1", True), ("yes", True), ("ON", True), ("false", False), ("0", False)])
def test_switches_are_read_from_words(text, value):
    """Environment variables are text."""
    assert read(environment={"HOMEPORT_LAMP_ON": text}).on is value


def test_lists_are_read_from_commas_and_from_arrays(tmp_path):
    """`a, b` in the environment is ["a", "b"] in TOML."""
    file = tmp_path / "l.toml"
    file.write_text('rooms = ["hall", "attic"]\n')
    assert read(environment={"HOMEPORT_LAMP_ROOMS": "hall, attic"}).rooms == ("hall", "attic")
    assert read(file=file).rooms == ("hall", "attic")


def test_an_optional_number_is_converted():
    """float | None takes a number."""
    assert read(environment={"HOMEPORT_LAMP_DIM_AFTER": "1.5"}).dim_after == 1.5


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"HOMEPORT_LAMP_WATTS": "many"}, "HOMEPORT_LAMP_WATTS"),
        ({"HOMEPORT_LAMP_ON": "maybe"}, "expected bool"),
        ({"HOMEPORT_LAMP_COLOUR": "blue"}, "not one of white, red"),
    ],
)
def test_a_value_that_does_not_fit_names_its_source(environment, said):
    """The message says where the wrong value came from and what was expected."""
    with pytest.raises(ConfigError, match=said):
        read(environment=environment)


def test_a_number_where_text_is_wanted_is_refused(tmp_path):
    """TOML types are checked, not coerced."""
    file = tmp_path / "l.toml"
    file.write_text("colour = 5\n")
    with pytest.raises(ConfigError, match="colour"):
        read(file=file)
    file.write_text("watts = true\n")
    with pytest.raises(ConfigError, match="watts"):
        read(file=file)


def test_an_unknown_key_is_refused_with_the_known_ones(tmp_path):
    """A misspelt setting must not be silently ignored."""
    file = tmp_path / "l.toml"
    file.write_text("speed_of_light = 5\n")
    with pytest.raises(ConfigError, match="the settings are: colour"):
        read(file=file)
    file.write_text("wats = 5\n")
    with pytest.raises(ConfigError, match="there is no setting 'wats'; did you mean 'watts'\\?"):
        read(file=file)


def test_a_missing_or_broken_file_is_a_config_error(tmp_path):
    """Not a traceback."""
    with pytest.raises(ConfigError, match="cannot read"):
        read(file=tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("= = =")
    with pytest.raises(ConfigError, match="not TOML"):
        read(file=tmp_path / "bad.toml")


def test_describe_gives_the_rows_that_flags_and_docs_are_made_from():
    """Name, flag, environment name, unit and secrecy of every field."""
    rows = {r.name: r for r in describe(Lamp)}
    assert rows["dim_after"].flag == "--dim-after"
    assert rows["dim_after"].optional
    assert rows["dim_after"].environment_name("lamp") == "HOMEPORT_LAMP_DIM_AFTER"
    assert rows["watts"].unit == "W"
    assert rows["key"].secret
