"""Conditions on devices: what is allowed, what it means, and that nothing else gets through."""

import pytest

from homeport.acs.records import DeviceRecord
from homeport.acs.where import MAX_LENGTH, WhereError, parse

DEVICE = DeviceRecord(
    id="d", oui="00D0F1", product_class="X", serial_number="S1", model="797xx", tags=("gold",), last_inform=100.0
)
PARAMETERS = {"Device.Level": "7", "Device.Word": "abc"}


def holds(text: str) -> bool:
    return parse(text).test(DEVICE, PARAMETERS.get)


@pytest.mark.parametrize(
    "text",
    [
        'model == "797xx" and "gold" in tags',
        "last_inform > 99 and last_inform <= 1e2",
        "1 < last_inform < 1000",
        "last_inform > -5",
        'param("Device.Level") > 6.5',
        '7 == param("Device.Level")',
        'param("Device.Word") < "abd"',
        'not param("Device.Nothing") == "x"',
        'startswith(param("Device.Word"), "ab")',
        'serial_number in ["S1", "S2"]',
        'serial_number not in ("S3",)',
        "  model=='797xx'  ",
    ],
)
def test_a_true_condition_holds(text: str) -> None:
    """What Python would say of the same expression."""
    assert holds(text)


@pytest.mark.parametrize(
    "text",
    [
        'param("Device.Word") > 1',
        'param("Device.Nothing") != "x"',
        'not "gold" in tags',
        'contains(model, "798")',
        "False",
    ],
)
def test_a_condition_on_something_unknown_or_untrue_does_not_hold(text: str) -> None:
    """A parameter that is missing, or is no number, compares with nothing."""
    assert not holds(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "model",
        "1",
        "model = 'x'",
        "__import__('os').system('x')",
        "model.__class__ == 'x'",
        "open('/etc/passwd') == 'x'",
        "[d for d in tags] == 'x'",
        "(lambda: 1)() == 1",
        "model == 1",
        "last_inform == '1'",
        "model == True",
        "param(model) == 'x'",
        "param('a', 'b') == 'x'",
        "1 in tags",
        "model in tags",
        "model in (1, 2)",
        "nothing == 'x'",
        "model is 'x'",
        "model ** 2 == 4",
        "f'{model}' == 'x'",
        "startswith(model, serial_number)",
        "startswith(last_inform, '1')",
        "matches(model, '.*')",
        "model == 'x' if True else False",
        "(" * 300 + "True" + ")" * 300,
        "not " * 2000 + "True",
        " or ".join(["model == 'x'"] * 300),
        "model == '" + "x" * MAX_LENGTH + "'",
        "model == 'x'\0",
    ],
)
def test_everything_else_is_refused_with_a_sentence(text: str) -> None:
    """Only the few forms of the whitelist are compiled; the message shows one that works, or the limit."""
    with pytest.raises(WhereError):
        parse(text)


@pytest.mark.parametrize("text", ['tags == "gold"', 'startswith(tags, "gold")', '"gold" != tags'])
def test_tags_that_are_compared_are_answered_with_how_they_are_asked_for(text: str) -> None:
    """There is such a field, only not for this."""
    with pytest.raises(WhereError, match='write "gold" in tags'):
        parse(text)


@pytest.mark.parametrize(
    ("interval", "age", "online"),
    [(60, 180.0, True), (60, 180.1, False), (3600, 7260.0, True), (0, 86_400.0, True), (0, 86_401.0, False)],
)
def test_online_goes_by_the_device_s_own_interval(interval: int, age: float, online: bool) -> None:
    """Heard of within twice its interval and a minute; within a day where it has told none."""
    device = DeviceRecord(
        id="d", oui="00D0F1", product_class="X", serial_number="S1", last_inform=1e9, inform_interval=interval
    )
    assert parse("online", now=1e9 + age).test(device, PARAMETERS.get) is online
    assert parse("not online", now=1e9 + age).test(device, PARAMETERS.get) is not online
    assert parse(f"age(last_inform) >= {age}", now=1e9 + age).test(device, PARAMETERS.get)
    assert not parse(f"{age} < age(last_inform)", now=1e9 + age).test(device, PARAMETERS.get)


@pytest.mark.parametrize(
    "text",
    [
        "age(model) > 1",
        "age(last_inform)",
        'age(last_inform) > "1"',
        "age(last_inform) > age(first_seen)",
        "online == 1",
    ],
)
def test_time_is_asked_for_in_one_way(text: str) -> None:
    """What is meant otherwise is refused with an example."""
    with pytest.raises(WhereError, match=r"age|example|not online"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model ==", r"at character \d+: invalid syntax"),
        ('model = "x"', r"at character \d+: .*; two values are compared by =="),
        ('model == "a=b" and', r"at character \d+: [^;]*\);"),
        ('  mdel == "x"', r"at character 3, 'mdel': there is no field mdel; did you mean model\? there are address"),
        (
            'serial_number == "é" and foo(model)',
            r"at character 26, 'foo\(model\)': there is no such function; there are age",
        ),
        ("online and age(model) < 5", r"write age\(first_seen\) or age\(last_inform\)"),
        ("startswith(model)", r'write startswith\(FIELD, "text"\)'),
        ('state == "quarantine"', r"there is no state 'quarantine'; there are approved, quarantined, refused"),
        ('state in ("approved", "new")', "there is no state 'new'"),
        ('model == "a" if online else False', r"at character 1, 'model == \"a\" if online else False'"),
        (f"last_inform < {10**400}", "too large"),
    ],
)
def test_a_refusal_says_where_and_what_to_write(text: str, says: str) -> None:
    """The place counts characters from 1, the part is quoted as it was written."""
    with pytest.raises(WhereError, match=says):
        parse(text)
