"""Types and facets: which texts a parameter takes, and what they mean."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.errors import Fault
from homeport.model.schema import load_schema
from homeport.model.types import (
    BOOLEAN,
    DATE_TIME,
    INT,
    UNSIGNED_INT,
    UNSIGNED_LONG,
    Enumerated,
    Range,
    Syntax,
    check_type,
    checker,
    first_value,
    to_value,
)
from homeport.model.values import join_list, split_list, time_text, to_text, to_time
from homeport.terms import INFINITE_TIME, UNKNOWN_TIME, ValueType

S = ValueType.STRING


def accepts(syntax: Syntax, text: str, *, device: bool = False) -> str:
    return checker(syntax)(text, device)


def refusal(syntax: Syntax, text: str, *, device: bool = False) -> tuple[int, str]:
    with pytest.raises(Fault) as caught:
        checker(syntax)(text, device)
    return int(caught.value.code), caught.value.text


@pytest.mark.case("R21")
@pytest.mark.parametrize(("text", "canonical"), [("true", "true"), ("1", "true"), ("false", "false"), (" 0 ", "false")])
def test_a_boolean_takes_both_spellings(text: str, canonical: str) -> None:
    """xsd:boolean has four texts for two values."""
    assert accepts(BOOLEAN, text) == canonical


@pytest.mark.parametrize("text", ["True", "yes", "2", ""])
def test_a_boolean_takes_nothing_else(text: str) -> None:
    """Other texts are of another type: 9006."""
    code, why = refusal(BOOLEAN, text)
    assert code == 9006
    assert "true, false, 1 or 0" in why


@pytest.mark.parametrize(
    ("syntax", "text", "code"),
    [
        (UNSIGNED_INT, "-1", 9007),
        (UNSIGNED_INT, "4294967296", 9007),
        (UNSIGNED_INT, "1.5", 9006),
        (UNSIGNED_INT, "", 9006),
        (UNSIGNED_INT, "٣", 9006),
        (INT, "2147483648", 9007),
        (INT, "abc", 9006),
        (UNSIGNED_LONG, "18446744073709551616", 9007),
        (Syntax(ValueType.LONG), "9223372036854775808", 9007),
    ],
)
def test_a_number_outside_its_type_is_9007_and_what_is_no_number_is_9006(syntax: Syntax, text: str, code: int) -> None:
    """A negative number in an unsigned parameter is a wrong value, not a wrong type."""
    assert refusal(syntax, text)[0] == code


@pytest.mark.parametrize(("text", "canonical"), [("007", "7"), (" 12 ", "12"), ("+3", "3"), ("-0", "0")])
def test_a_number_has_one_canonical_text(text: str, canonical: str) -> None:
    """Leading zeros, signs and blanks do not survive."""
    assert accepts(INT, text) == canonical


def test_a_range_names_what_it_expects() -> None:
    """The message of a refusal says the bounds."""
    syntax = Syntax(ValueType.INT, ranges=(Range(-1, -1), Range(10, 100, 5)))
    assert accepts(syntax, "-1") == "-1"
    assert accepts(syntax, "95") == "95"
    code, why = refusal(syntax, "96")
    assert code == 9007
    assert "-1..-1" in why
    assert "10..100 in steps of 5" in why


def test_a_decimal_keeps_its_digits_and_its_bounds() -> None:
    """Decimals are compared exactly, never through binary floating point."""
    syntax = Syntax(ValueType.DECIMAL, ranges=(Range("0.1", "0.3"),))
    assert accepts(syntax, "0.30") == "0.30"
    assert refusal(syntax, "0.30000000000000000001")[0] == 9007
    assert refusal(syntax, "1e3")[0] == 9006
    assert to_value(syntax, "0.25") == Decimal("0.25")


@pytest.mark.case("R25")
@pytest.mark.parametrize(
    "text",
    [
        UNKNOWN_TIME,
        INFINITE_TIME,
        "2026-02-28T23:59:59Z",
        "2026-02-28T23:59:59.12Z",
        "2026-01-01T00:00:00+00:00",
        "0001-01-02T03:04:05",
    ],
)
def test_a_date_time_may_be_utc_unknown_infinite_or_since_boot(text: str) -> None:
    """TR-106 3.2.2."""
    assert accepts(DATE_TIME, text) == text


@pytest.mark.case("R25")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("2026-01-01T00:00:00", 9007),
        ("2026-01-01T00:00:00+02:00", 9007),
        ("2026-02-30T00:00:00Z", 9007),
        ("0000-01-01T00:00:00Z", 9007),
        ("2026-01-01", 9006),
        ("tomorrow", 9006),
    ],
)
def test_a_date_time_without_a_place_in_utc_is_refused(text: str, code: int) -> None:
    """Only a time relative to boot, in a year below 1000, has no zone."""
    assert refusal(DATE_TIME, text)[0] == code


def test_times_mean_moments_durations_or_nothing() -> None:
    """The unknown time is None, a time since boot is a duration, everything else a moment in UTC."""
    assert to_time(UNKNOWN_TIME) is None
    assert to_time("0001-01-02T03:04:05") == timedelta(days=1, hours=3, minutes=4, seconds=5)
    assert to_time("2026-01-01T02:00:00+02:00") == datetime(2026, 1, 1, tzinfo=UTC)
    assert to_time("2026-01-01T02:00:00") == datetime(2026, 1, 1, 2, tzinfo=UTC)
    assert to_time("9999-12-31T23:59:59-01:00") == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@given(
    st.integers(-30_000_000_000_000_000, 250_000_000_000_000_000).map(
        lambda n: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=n)
    )
)
def test_a_moment_survives_its_text(moment: datetime) -> None:
    """text and meaning are inverse, to the microsecond."""
    assert to_time(time_text(moment)) == moment
    assert accepts(DATE_TIME, time_text(moment)) == time_text(moment)


@given(st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=300_000)))
def test_a_time_since_boot_survives_its_text(since: timedelta) -> None:
    """Whole seconds since boot are kept."""
    whole = timedelta(seconds=int(since.total_seconds()))
    if whole:
        assert to_time(time_text(whole)) == whole


def test_binary_sizes_count_octets() -> None:
    """A size of hexBinary or base64 is that of the octets, not of their text."""
    hexadecimal = Syntax(ValueType.HEX_BINARY, sizes=((2, 3),))
    assert accepts(hexadecimal, "0aFF") == "0aFF"
    assert refusal(hexadecimal, "0a")[0] == 9007
    assert refusal(hexadecimal, "0a0")[0] == 9006
    assert refusal(hexadecimal, "xx")[0] == 9006
    base64 = Syntax(ValueType.BASE64, sizes=((0, 3),))
    assert accepts(base64, "AQID") == "AQID"
    assert refusal(base64, "AQIDBA==") == (9007, "'AQIDBA==' is not allowed: expected at most 3 octets, this has 4")
    assert refusal(base64, "A")[0] == 9006


@pytest.mark.case("R17")
def test_sizes_patterns_and_enumerations_refuse_with_what_they_expect() -> None:
    """9007 with a message that says what would do."""
    assert "at most 3 characters, this has 4" in refusal(Syntax(S, sizes=((0, 3),)), "äöüß")[1]
    assert accepts(Syntax(S, sizes=((0, 3),)), "äöü") == "äöü"
    mac = Syntax(S, "MACAddress", patterns=("", "([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}"))
    assert accepts(mac, "") == ""
    assert accepts(mac, "00:11:22:aa:BB:cc") == "00:11:22:aa:BB:cc"
    assert "MACAddress" in refusal(mac, "00:11:22:aa:BB:cc\n")[1]
    kind = Syntax(S, enumeration=(Enumerated("Auto"), Enumerated("Half")))
    code, why = refusal(kind, "auto")
    assert code == 9007
    assert "'Auto', 'Half'" in why


def test_a_value_that_only_the_device_reports_is_refused_to_others() -> None:
    """An enumeration's read-only values may be reported, not written."""
    state = Syntax(S, enumeration=(Enumerated("Requested"), Enumerated("Complete", read_only=True)))
    assert accepts(state, "Complete", device=True) == "Complete"
    code, why = refusal(state, "Complete")
    assert code == 9007
    assert "Complete" not in why.partition("expected")[2]


@pytest.mark.case("R59")
@pytest.mark.parametrize("text", ["", "1wan", "a b", "wan.1", "x" * 65, "ä"])
def test_an_alias_begins_with_a_letter_and_holds_only_simple_characters(text: str) -> None:
    """1 to 64 letters, digits, - and _, a letter first."""
    alias = Syntax(S, "Alias", sizes=((0, 64),))
    assert refusal(alias, text)[0] == 9007
    assert accepts(alias, "cpe-1_A") == "cpe-1_A"


def test_a_list_checks_each_item_and_itself() -> None:
    """Items by their type, the list by its number of items and the length of its text."""
    syntax = Syntax(
        ValueType.UNSIGNED_INT, ranges=(Range(1, 9),), is_list=True, list_items=(0, 3), list_sizes=((0, 5),)
    )
    assert syntax.wire is S
    assert accepts(syntax, " 1 , 2,3") == "1,2,3"
    assert accepts(syntax, "") == ""
    assert refusal(syntax, "1,2,3,4")[0] == 9007
    assert refusal(syntax, "0")[0] == 9007
    assert refusal(syntax, "1,x")[0] == 9006
    assert to_value(syntax, "1,2") == [1, 2]


@given(st.lists(st.text("ab, %20C5[]ä", min_size=1)))
def test_list_items_survive_commas_blanks_and_percent_signs(items: list[str]) -> None:
    """Joining and splitting are inverse."""
    assert split_list(join_list(items)) == items


def test_nested_lists_keep_their_brackets() -> None:
    """An item of a list may be a list in brackets; brackets must balance."""
    assert split_list("[1,2],[3]", nested=True) == ["[1,2]", "[3]"]
    with pytest.raises(Fault):
        split_list("[1,2", nested=True)


@pytest.mark.case("R16")
@pytest.mark.parametrize(
    ("given_type", "expected", "fine"),
    [
        ("xsd:boolean", ValueType.BOOLEAN, True),
        ("xsd:string", ValueType.BOOLEAN, False),
        ("boolean", ValueType.STRING, False),
        ("xsd:int", ValueType.UNSIGNED_INT, True),
        ("unsignedInt", ValueType.UNSIGNED_LONG, True),
        ("xsd:base64", ValueType.BASE64, True),
        ("SOAP-ENC:base64", ValueType.BASE64, True),
        ("int", ValueType.DECIMAL, True),
        ("int", ValueType.DATE_TIME, False),
        ("object", ValueType.INT, True),
        ("xsd:", ValueType.INT, True),
        ("vendor:thing", ValueType.STRING, True),
        (None, ValueType.INT, True),
    ],
)
def test_an_xsi_type_must_fit_where_it_says_something(given_type: str | None, expected: ValueType, fine: bool) -> None:
    """Known types must fit; whole numbers stand for each other, and unknown names say nothing."""
    if fine:
        check_type(given_type, expected)
    else:
        with pytest.raises(Fault) as caught:
            check_type(given_type, expected)
        assert caught.value.code == 9006


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (Decimal("1.50"), "1.50"),
        (b"\x0a\xff", "0AFF"),
        (None, UNKNOWN_TIME),
        (["a b", "c"], "a%20b,c"),
        ("x", "x"),
    ],
)
def test_python_values_have_their_text(value: object, text: str) -> None:
    """What a source gives becomes the wire's text."""
    assert to_text(value) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "syntax",
    [
        BOOLEAN,
        DATE_TIME,
        Syntax(ValueType.UNSIGNED_INT, ranges=(Range(1000, 65535),)),
        Syntax(ValueType.INT, ranges=(Range(None, -5),)),
        Syntax(ValueType.DECIMAL, ranges=(Range("0.5", None),)),
        Syntax(S, sizes=((6, 6),)),
        Syntax(S, "UUID", sizes=((36, 36),), patterns=("[A-Fa-f0-9]{8}-([A-Fa-f0-9]{4}-){3}[A-Fa-f0-9]{12}",)),
        Syntax(S, enumeration=(Enumerated("Up", status="deprecated"), Enumerated("Down"))),
        Syntax(S, "Alias"),
        Syntax(ValueType.HEX_BINARY, sizes=((2, 4),)),
        Syntax(ValueType.BASE64, sizes=((5, 5),)),
        Syntax(ValueType.INT, is_list=True, list_items=(4, 4)),
    ],
)
def test_a_first_value_is_always_allowed(syntax: Syntax) -> None:
    """What a parameter without a default begins with fits its own type."""
    text = first_value(syntax)
    assert accepts(syntax, text, device=True) == text


_SYNTAXES = list(
    dict.fromkeys(p.syntax for name in ("Device:2.19", "VoiceService:2.0") for p in load_schema(name).parameters())
)


@given(
    st.sampled_from(_SYNTAXES),
    st.one_of(
        st.text(max_size=30),
        st.integers(-(2**70), 2**70).map(str),
        st.sampled_from(["true", "0", "", UNKNOWN_TIME, "0AFF", "1.5", "AQID", "a,b", "%20", "[1],[2]", "192.0.2.1"]),
    ),
)
def test_any_text_is_refused_or_has_one_canonical_form(syntax: Syntax, text: str) -> None:
    """For every type of the published models: 9006 or 9007, or a text that is its own canonical form and has a meaning."""
    try:
        canonical = accepts(syntax, text)
    except Fault as fault:
        assert fault.code in (9006, 9007)
        return
    assert accepts(syntax, canonical) == canonical
    to_value(syntax, canonical)
