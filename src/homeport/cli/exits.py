"""Exit codes, and the error that carries one. The table in the documentation is made from `ExitCode`."""

from enum import IntEnum

from homeport.errors import HomeportError


class ExitCode(IntEnum):
    """What a script can tell from the exit status of any `homeport` command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    FAULT = 5
    TIMEOUT = 6

    @property
    def meaning(self) -> str:
        """One sentence for help texts and documentation."""
        return _MEANING[self]


_MEANING = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "failed: not found, an internal error of the ACS, a check that did not hold",
    ExitCode.USAGE: "the command line is wrong: unknown option, missing argument, value that does not fit",
    ExitCode.UNREACHABLE: "the ACS (or the agent's control socket) cannot be reached",
    ExitCode.REFUSED: "refused: no token or a wrong one, device in quarantine, not permitted",
    ExitCode.FAULT: "the device answered with a fault",
    ExitCode.TIMEOUT: "not finished in the time given; the task stays queued",
}


class CliError(HomeportError):
    """Ends the command: the message is one line with the fact and the cure, the code is the exit status."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code
