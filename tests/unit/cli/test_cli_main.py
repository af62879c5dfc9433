"""The first word chooses the verb; only that verb's module is imported; errors are one line."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from homeport.cli.exits import CliError, ExitCode
from homeport.cli.main import VERBS, guarded, load_verb, run, run_cwmp
from homeport.errors import ConfigError, HomeportError


def imported_by(words: list[str]) -> set[str]:
    """The modules that a fresh interpreter holds after it ran `homeport WORDS`."""
    code = "import sys; from homeport.cli.main import run; run(sys.argv[1:]); print('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stderr.split())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`homeport --version` prints the version of the package."""
    from homeport._version import __version__

    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"homeport {__version__}\n"


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_lists_every_verb_and_loads_none(words: list[str]) -> None:
    """The list of verbs is a table; printing it imports no verb."""
    modules = imported_by(words)
    assert not modules & {verb.module for verb in VERBS.values()}


def test_one_verb_loads_only_itself() -> None:
    """`homeport option43` does not pay for devices, the demo or the ACS."""
    modules = imported_by(["option43", "--help"])
    assert "homeport.cli.option43" in modules
    assert not modules & {"homeport.cli.device", "homeport.cli.demo", "homeport.acs.config", "fastapi", "aiohttp"}


def test_what_the_agent_says_of_itself_is_shown_without_reading_messages(tmp_path: Path) -> None:
    """`homeport cpe show` asks over the socket: it does not pay for the codec, nor for the data model."""
    modules = imported_by(["cpe", "show", "status", "--state-dir", str(tmp_path)])
    assert "homeport.cpe.status" in modules
    assert not modules & {"homeport.codec", "homeport.model", "lxml", "fastapi", "aiohttp"}


def test_wrong_flag_of_the_agent_is_found_without_typer_and_rich() -> None:
    """The agent's command line is read by hand: a device does not pay for help texts."""
    modules = imported_by(["cpe", "run", "--no-such-flag"])
    assert "homeport.cpe.config" in modules
    assert not modules & {"typer", "rich", "click", "fastapi", "homeport.acs.config"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["devcie"], "Did you mean 'device'"),
        (["device", "gte"], "get"),
        (["device", "get"], "homeport device get --help"),
        (["--bogus"], "No such option"),
        (["option43", "encode", "http://x/", "--retry-minimum-wait", "soon"], "see homeport option43 encode --help"),
        (["option43", "encode", "ftp://x/"], "http"),
        (["cpe", "run", "--acs-ulr", "x"], "did you mean --acs-url?"),
        (["device", "list", "--acs", "http://127.0.0.1:x", "--token", "t"], "port"),
        (["user", "passwd", "--acs", "http://127.0.0.1:1", "--token", "t"], "homeport user passwd NAME"),
        (["device", "set", "D", "novalue", "--acs", "http://127.0.0.1:1", "--token", "t"], "PATH=VALUE"),
        (["device", "delete", "D", "Device.X", "--acs", "http://127.0.0.1:1", "--token", "t"], "ends with a dot"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_command_lines_are_one_line_with_the_cure(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Usage errors end with code 2 and one line on stderr."""
    assert run(words) == ExitCode.USAGE
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("homeport: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CliError("x", ExitCode.FAULT), ExitCode.FAULT),
        (ConfigError("x"), ExitCode.USAGE),
        (HomeportError("x"), ExitCode.FAILED),
        (ZeroDivisionError("x"), ExitCode.FAILED),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_become_exit_codes(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No error reaches the person as a traceback."""
    monkeypatch.delenv("HOMEPORT_DEBUG", raising=False)

    def act() -> int:
        raise error

    assert guarded(act) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_missing_package_is_told_with_the_command_that_installs_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The agent installs light; who starts an ACS without its packages is told which extra has them."""

    def act() -> int:
        raise ModuleNotFoundError("No module named 'fastapi'", name="fastapi")

    assert guarded(act) == ExitCode.FAILED
    err = capsys.readouterr().err
    assert "fastapi" in err
    assert "pip install 'homeport[acs]'" in err


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """HOMEPORT_DEBUG=1 lets errors through."""
    monkeypatch.setenv("HOMEPORT_DEBUG", "1")

    def act() -> int:
        raise HomeportError("x")

    with pytest.raises(HomeportError):
        guarded(act)


def test_a_closed_pipe_is_no_error() -> None:
    """`homeport ... | head` ends quietly."""
    pipeline = f"{sys.executable} -m homeport device --help | head -1 > /dev/null; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", pipeline], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "1")


@pytest.mark.parametrize("verb", VERBS)
def test_completion_knows_the_verbs(verb: str) -> None:
    """Typing the beginning of a verb and TAB offers it; hidden verbs are not offered."""
    assert (verb in completed(f"homeport {verb[:3]}")) is not VERBS[verb].hidden


def test_completion_goes_into_the_chosen_verb() -> None:
    """Completion behind a verb loads that verb and knows its sub-verbs and options."""
    assert "factory-reset" in completed("homeport device fac")
    assert "--next-level" in completed("homeport device names X --ne")
    assert "--acs-url" in completed("homeport cpe run --acs")
    assert "--cwmp-listen" in completed("homeport acs serve --cw")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_printed(shell: str) -> None:
    """--show-completion prints the script of the shell."""
    environment = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "homeport", "--show-completion", shell]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
    assert "_HOMEPORT_COMPLETE" in done.stdout


def completed(line: str) -> list[str]:
    words = line.split(" ")
    environment = {
        "_HOMEPORT_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, "-c", "import sys; from homeport.cli.main import run; sys.exit(run([]))"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--help"], ExitCode.OK, "cwmp show client log"),
        ([], ExitCode.USAGE, "cwmp show status"),
        (["show", "nothing"], ExitCode.USAGE, "the commands are"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_cwmp_names_its_commands(words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The Vega spellings are listed by help and by a wrong command."""
    assert run_cwmp(words) == code
    out = capsys.readouterr()
    assert said in out.out + out.err


def test_cwmp_spellings_are_commands_of_the_agent() -> None:
    """Each Vega spelling is translated to a command that exists; options behind it are kept."""
    from homeport.cli.cwmp import translate

    assert translate(["show", "client", "log", "--follow"]) == ["cpe", "show", "client-log", "--follow"]
    assert translate(["show", "config"]) == ["cpe", "show", "config"]


ASKS_AN_ACS = ("device", "task", "file", "group", "user", "token", "webhook", "audit")


def commands(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    """Every command below this one, with its options."""
    below = getattr(command, "commands", None)
    if below is None:
        yield path, {name for parameter in command.params for name in parameter.opts}
        return
    for name, one in below.items():
        yield from commands(one, *path, name)


@pytest.mark.parametrize("verb", ASKS_AN_ACS)
def test_every_command_that_asks_an_acs_can_answer_as_json_and_what_is_listed_is_shown(verb: str) -> None:
    """A script need not know which ones have it; a row of a list leads to all that is known of one."""
    found = dict(commands(typer.main.get_command(load_verb(verb)), verb))
    assert [path for path, options in found.items() if "--json" not in options] == []
    assert (verb, "list") not in found or (verb, "show") in found


def test_a_word_that_is_not_utf8_is_refused_with_the_cure(capsys: pytest.CaptureFixture[str]) -> None:
    """Old terminals give Latin-1, which cannot be written into a request: that is no bug of the program."""

    def act() -> int:
        return len("Stra\udcdfe".encode())

    assert guarded(act) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "Stra" in said and "UTF-8" in said and "internal error" not in said
