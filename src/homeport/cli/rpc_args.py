"""Arguments of `homeport device rpc`, as a person types them: NAME=VALUE words, or one JSON object."""

import json
from collections.abc import Sequence
from typing import Any

from homeport.cli.exits import CliError, ExitCode


def parse_args(words: Sequence[str]) -> dict[str, Any]:
    """The RPC's arguments. A value that is JSON (a number, true, a list, an object, quoted text) is taken as such, else as text.

    Raises CliError (usage) for words that are neither.
    """
    if len(words) == 1 and words[0].lstrip().startswith("{"):
        try:
            whole = json.loads(words[0])
        except ValueError as e:
            raise CliError(f"the arguments are not JSON: {e}", ExitCode.USAGE) from e
        if isinstance(whole, dict):
            return whole
    args: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise CliError(
                f"{word!r} is not NAME=VALUE; an example that works: parameter_names='[\"Device.DeviceInfo.\"]'",
                ExitCode.USAGE,
            )
        try:
            args[name] = json.loads(value)
        except ValueError:
            args[name] = value
    return args
