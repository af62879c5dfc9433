"""How `homeport cpe show status` tells of transfers."""

import pytest

from homeport.cli.cpe_show import _status_fields
from homeport.cpe.status import AgentStatus
from homeport.cpe.transfers.rules import TransferStatus


def line(**row: object) -> str:
    """What is shown of one transfer."""
    import msgspec

    given = {
        **{"number": 1, "kind": "Download", "command_key": "k", "file_type": "1 Firmware Upgrade Image"},
        **{"url": "http://files.example/f", "state": "running", "done": 0, "total": None, "due_in": None},
        **{"fault_code": 0, "fault_string": ""},
    }
    status = AgentStatus(transfers=(TransferStatus(**{**given, **row}),))
    (shown,) = [text for name, text in _status_fields(msgspec.to_builtins(status)) if name == "transfer"]
    head = "Download of 1 Firmware Upgrade Image, key 'k', http://files.example/f: "
    assert shown.startswith(head)
    return shown.removeprefix(head)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"done": 250_000, "total": 1_000_000}, "25 % of 1.0 MB"),
        ({"done": 250_000}, "0.2 MB so far"),
        ({"state": "queued", "due_in": 30.0}, "begins in 30 s"),
        ({"state": "queued", "due_in": 0.0}, "queued"),
        ({"state": "installing"}, "installing"),
        ({"state": "completed"}, "done; the ACS is to be told"),
        (
            {"state": "completed", "fault_code": 9016, "fault_string": "404"},
            "failed, 9016 404; the ACS is to be told",
        ),
    ],
)
def test_a_transfer_is_one_line(row: dict[str, object], words: str) -> None:
    """How far it is, or what came of it."""
    assert line(**row) == words
