"""Secrets are taken out of a text where a parser would find them, however they are written there.

HOMEPORT_SPELLINGS=20000 tries as many ways.
"""

import os
import random
from typing import Final

import pytest

from homeport.codec.concealing import TOO_DEEP, Concealer
from support.spellings import NAMES, SECRET, every_way

WAYS = int(os.environ.get("HOMEPORT_SPELLINGS", "120"))
MASK: Final = "[...]"

CONCEALER: Final = Concealer(
    secret=lambda name: name in NAMES or name.endswith(("Password", "WEPKey")),
    hidden=lambda tag: tag in ("Password", "VoucherList"),
    plain=lambda text: text.replace("token", MASK),
    mask=MASK,
)


def test_every_spelling_is_concealed_and_nothing_else() -> None:
    """Two secrets and two other values, in each way of writing them that has an encoding of its own or none."""
    for seed in range(WAYS):
        names = tuple(random.Random(seed).sample(NAMES, 2))
        body = every_way(seed, lambda s, names=names: s.envelope("GetParameterValuesResponse", s.values(names)))  # type: ignore[misc]
        text = body.decode(errors="replace")
        if "\0" in text or "\ufffd" in text:
            continue  # which encoding it is, is not this module's to find out
        seen = CONCEALER.conceal(text)
        assert seen.count(MASK) >= 2 and SECRET not in seen, (seed, seen)


def test_what_is_no_secret_as_a_whole_is_given_to_the_caller() -> None:
    """Where it is not to be read as it is written; the rest of the text is his own."""
    for text in ("<Value>to&#107;en</Value>", "<Value>to<!-- -->ken</Value>", "<![CDATA[<b>token</b>]]>"):
        seen = CONCEALER.conceal(f"<a>{text}</a>")
        assert MASK in seen and "ken" not in seen


def test_what_is_nested_too_deeply_is_not_shown() -> None:
    """Elements in each other; texts with markup in each other are shown as far as they are looked at."""
    assert CONCEALER.conceal("<a>" * 1_000) == TOO_DEEP
    deep = "<Password>hunter2</Password>"
    for _ in range(6):
        deep = f"<!-- {deep} "
    assert "hunter2" not in CONCEALER.conceal(f"<a>{deep}</a>")


@pytest.mark.parametrize(
    "text",
    [
        "<a>" * 40_000,
        "<Name>&#" + "0" * 100_000,
        "<Name>x.Password</Name><Value>" + "<b>" * 190 + "</c>" * 20_000,
        "<![CDATA[<!--" * 9_000,
    ],
)
def test_a_text_that_is_made_to_take_long_does_not(text: str) -> None:
    """The work grows with the text and nothing else."""
    from time import process_time

    began = process_time()
    CONCEALER.conceal(text)
    assert process_time() - began < 0.7


@pytest.mark.parametrize(
    "element",
    [
        "<Name>Device.X.Pass&#119;ord</Name><Value>hunter2</Value>",
        "<Name>Device.WiFi.AccessPoint.1.Security.&#x57;EPKey</Name><Value>hunter2</Value>",
        "<Name><![CDATA[Device.X.Pass]]>word</Name><Value>hunter2</Value>",
        "<Name>Device.X.Pass<!-- - -->word</Name><Value>hunter2</Value>",
        "<Name>Device.X.Pass\x01word</Name><Value>hunter2</Value>",
        "<Name>Device.X.Pass\ufffeword</Name><Value>hunter2</Value>",
        "<Name >Device.X.Password</Name ><Value >hunter2</Value >",
        "<Name a='>'>Device.X.Password</Name><Value a='>'>hunter2</Value>",
        "<a-b:Name>Device.X.Password</a-b:Name><a-b:Value>hunter2</a-b:Value>",
        "<s><Value>hunter2</Value><Name>Device.X.Password</Name></s>",
        "<s><Value>hunter2</Value><Name>Device.X.Password</Name><Value>v</Value></s>",
        "<s><Name>Device.X.Password</Name><Name>Device.X.Y</Name><Value>hunter2</Value></s>",
        "<s><Name>Device.X.Password</Name><Other/><Value>hunter2</Value></s>",
        "<s><Name>Device.X.Password<b/>x</Name><Value>hunter2</Value></s>",
        "<s><Name>Device.X.Password</Name><Value>&#32;<![CDATA[hunter2]]></Value></s>",
        "<s><Name>Device.X.Password</Name><Value><b>hunter2</b></Value></s>",
        "<s><Name>Device.X.Password</Name><Value>v</Value><Value>hunter2</Value></s>",
        "<p:Password xsi:type='x'>hunter2</p:Password>",
        "<Value><![CDATA[<Password>hunter2</Password>]]></Value>",
        "<!-- <Name>Device.X.Password</Name><Value>hunter2</Value> -->",
        "<x-y:VoucherList><a><b>hunter2</b></a></x-y:VoucherList>",
        # What no parser takes: in doubt it is a secret.
        "<s><Name>Device.X.Password<Value>hunter2</Value></s>",
        "<s><Name>Device.X.Password</Nam><Value>hunter2</Value></s>",
        "<s><Name>Device.X.Password</Name><Value hunter2</Value></s>",
        "<s><Name>Device.X.Password</Name><Value>hunter2",
    ],
)
def test_a_secret_is_masked_in_this_spelling(element: str) -> None:
    """By the letter: each was shown once."""
    for text in (f"<a>{element}</a>", f"<a>{element}"):
        seen = CONCEALER.conceal(text)
        assert "hunter" not in seen and MASK in seen, seen


@pytest.mark.parametrize(
    "element",
    [
        "<s><Name>Device.X.KeyIndex</Name><Value>Password</Value></s>",
        "<s><Name>Device.X.&#80;asswordAge</Name><Value>3&lt;&#52;</Value></s>",
        "<PasswordHint>the dog</PasswordHint><string>Device.X.Password</string>",
        "<s><Name>Device.X.Password</Name><Value></Value></s><s><Name>Device.X.Password</Name><Value/></s>",
        "a < b & c <![CDATA[<x>]]> <?y?> <!-- z -->",
    ],
)
def test_what_only_looks_like_a_secret_stays_to_the_letter(element: str) -> None:
    """A history is read by people who look for a mistake."""
    assert CONCEALER.conceal(f"<a>{element}</a>") == f"<a>{element}</a>"
