"""`cwmp`: the command names of a Vega gateway for the agent, which `homeport cpe ...` understands under its own."""

from collections.abc import Sequence

from homeport.cli.exits import CliError, ExitCode

SPELLINGS: dict[tuple[str, ...], tuple[tuple[str, ...], str]] = {
    ("show", "status"): (("cpe", "show", "status"), "whether the ACS is connected, since when, or why not"),
    ("show", "config"): (("cpe", "show", "config"), "the configuration, as data model and in words"),
    ("show", "log"): (("cpe", "show", "log"), "what changed the configuration"),
    ("show", "client", "log"): (("cpe", "show", "client-log"), "what the ACS asked for, and what was done"),
    ("show", "support"): (("cpe", "show", "support"), "everything in one archive, for whoever helps"),
    ("show", "cwmp"): (("cpe", "show", "cwmp"), "the settings under the names below, with their values"),
    ("set",): (("cpe", "set"), "change settings: cwmp set cwmp.acs_url=https://acs.example.com:7547/"),
    ("restart",): (("cpe", "restart"), "start the agent anew"),
}


def translate(words: Sequence[str]) -> list[str]:
    """The arguments of `homeport` for the arguments of `cwmp`; options behind the words are kept. Raises CliError (usage)."""
    plain = list(words)
    for spelling in sorted(SPELLINGS, key=len, reverse=True):
        if tuple(plain[: len(spelling)]) == spelling:
            return [*SPELLINGS[spelling][0], *plain[len(spelling) :]]
    raise CliError(f"cwmp has no command {' '.join(plain)!r}; {usage()}", ExitCode.USAGE)


def usage() -> str:
    """The commands, in one line."""
    return "the commands are: " + ", ".join("cwmp " + " ".join(spelling) for spelling in SPELLINGS)


def help_text() -> str:
    """What `cwmp --help` prints."""
    width = max(len(" ".join(spelling)) for spelling in SPELLINGS)
    lines = [f"  cwmp {' '.join(spelling):<{width}}   {what}" for spelling, (_, what) in SPELLINGS.items()]
    return "\n".join(
        [
            "Usage: cwmp COMMAND",
            "",
            "The agent on this device, under the command names of a Vega gateway.",
            "",
            *lines,
            "",
        ]
    )
