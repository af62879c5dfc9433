"""What every refusal of the REST API looks like."""

from typing import Any


def is_error(answer: Any, status: int, code: str) -> None:
    assert answer.status == status, answer.body
    error = answer.json["error"]
    assert set(error) == {"code", "message", "details"}
    assert error["code"] == code
    assert error["message"]
