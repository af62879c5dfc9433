"""The documentation under test: every command line in it parses, what can run runs, every link leads somewhere."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.acs.config import AcsSettings
from homeport.cli.cwmp import translate
from homeport.cli.main import VERBS, application, run
from homeport.cli.settings_options import load_settings, parse_flags
from homeport.cpe.config import CpeSettings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
COMMAND = re.compile(r"^(?:    |\$ )((?:homeport|cwmp|make|export)\b.*)$", re.MULTILINE)
INLINE = re.compile(r"`((?:homeport|cwmp|make) [^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
SETTINGS = {("acs", "serve"): (AcsSettings, "acs"), ("cpe", "run"): (CpeSettings, "cpe")}


def examples() -> Iterator[Any]:
    """(page, line) of every whole command line: indented in a block of its own."""
    for page in PAGES:
        if "Made by `homeport docs-reference" in page.read_text():
            continue
        for line in COMMAND.findall(page.read_text()):
            yield pytest.param(line, id=f"{page.name}: {line[:70]}")


def parse(words: list[str]) -> None:
    """Let the command line parse the words, without doing what they say. Raises what it raises for a wrong one."""
    import typer

    context = typer.main.get_command(application()).make_context("homeport", list(words))
    command: Any = context.command
    while hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("line", list(examples()))
def test_every_command_line_parses(line: str) -> None:
    """What a page tells people to type is understood, with its options and its number of arguments."""
    words = shlex.split(line)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), (
            f"the Makefile has no target {words[1]}"
        )
        return
    if words[0] == "export":
        assert re.fullmatch(r"(HOMEPORT_[A-Z_]+|PATH)=\S+", words[1])
        return
    if words == ["homeport", "--help"]:
        return
    rest = translate(words[1:]) if words[0] == "cwmp" else words[1:]
    program = tuple(rest[:2])
    if program in SETTINGS:
        cls, name = SETTINGS[program]
        flags = parse_flags(cls, rest[2:], verb=" ".join(program))
        if flags.config is not None:
            flags = type(flags)(flags.values, ROOT / flags.config)
        load_settings(cls, name, flags)
    parse(rest)


@pytest.mark.parametrize("line", [p for p in examples() if p.values[0].startswith("homeport option43")])
def test_examples_that_need_nothing_run(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The option 43 examples are complete in themselves."""
    assert run(shlex.split(line)[1:]) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_every_example_script_runs(script: Path) -> None:
    """A script under examples/ runs as it stands, without a warning."""
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_inline_commands_name_verbs_that_exist() -> None:
    """A command named in running text begins with words that the program knows."""
    wrong = []
    for page in PAGES:
        for text in INLINE.findall(page.read_text()):
            words = text.split()
            if (
                words[0] == "homeport"
                and words[1] not in VERBS
                and not words[1].startswith("-")
                and words[1] not in ("VERB", "ARGV", "...")
            ):
                wrong.append(f"{page.name}: {text}")
    assert not wrong


def anchors(page: Path) -> set[str]:
    """The addresses of a page's headings, as a forge makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_somewhere() -> None:
    """Links between pages, to their headings, and to pictures resolve."""
    wrong = []
    for page in PAGES:
        for target in LINK.findall(page.read_text()):
            file, _, heading = target.partition("#")
            there = page.parent / file if file else page
            if "://" not in target and (not there.exists() or (heading and heading not in anchors(there))):
                wrong.append(f"{page.relative_to(ROOT)}: {target}")
    assert not wrong


def test_every_verb_is_in_a_guide() -> None:
    """Each verb that help lists is used in some example."""
    text = "\n".join(str(p.values[0]) for p in examples())
    missing = [
        name for name, verb in VERBS.items() if not verb.hidden and f"homeport {name}" not in text and name != "demo"
    ]
    assert not missing
