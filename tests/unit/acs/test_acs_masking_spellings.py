"""A secret is masked by what the parser reads, however it is written.

HOMEPORT_SPELLINGS=20000 tries as many ways.
"""

import html
import os
import random
import re

import pytest

from homeport.acs.engine.effects import SECRET_ENDINGS
from homeport.acs.services import masking
from homeport.acs.services.masking import MASK, plain_url, shown
from homeport.codec.concealing import TOO_DEEP
from homeport.codec.envelope import decode
from homeport.codec.messages import AutonomousTransferComplete, GetParameterValuesResponse
from support.spellings import NAMES, SECRET, URL, Speller, every_way

WAYS = int(os.environ.get("HOMEPORT_SPELLINGS", "120"))


def read(text: str) -> str:
    """All that somebody can make of a text: references resolved, sections opened, comments and tags taken out."""
    text = text.replace("<![CDATA[", "").replace("]]>", "")
    text = re.sub(r"<!--.*?(?:-->|\Z)|<\?.*?(?:\?>|\Z)", "", text, flags=re.DOTALL)
    return html.unescape(text).replace("\0", "")


def test_a_secret_is_masked_in_every_spelling_that_the_parser_reads() -> None:
    """References, sections, comments, prefixes, attributes, order, encodings; and the other values stay as they are."""
    for seed in range(WAYS):
        names = tuple(random.Random(seed).sample(NAMES, 2))
        body = every_way(seed, lambda s, names=names: s.envelope("GetParameterValuesResponse", s.values(names)))  # type: ignore[misc]
        message = decode(body).body
        assert isinstance(message, GetParameterValuesResponse)
        assert [(p.name, p.value) for p in message.parameter_list][1::2] == [(name, SECRET) for name in names], seed
        assert not masking.without_secrets(message)
        text = shown(body, 100_000)
        assert SECRET not in text and SECRET not in read(text), (seed, text)
        assert text.count(MASK) == 2, (seed, text)
        assert read(text).count("in plain view") == 2, (seed, text)


def test_the_quick_way_and_the_exact_one_show_the_same() -> None:
    """What nearly all devices send is masked without a look at every tag."""
    for seed in range(0, WAYS, 4):
        names = tuple(random.Random(seed).sample(NAMES, 3))
        body = every_way(seed, lambda s, names=names: s.envelope("GetParameterValuesResponse", s.values(names)))  # type: ignore[misc]
        text = body.decode()
        assert masking._without(text, odd=False) == plain_url(masking._CONCEALER.conceal(text)) != text


def test_any_text_is_shown_without_an_error() -> None:
    """Pieces of markup in any order; what is not there cannot be made of it."""
    pieces = (
        "<",
        "</",
        ">",
        "/>",
        "<a:>",
        "</a:>",
        "<Name>",
        "</Name>",
        "<Value>",
        "</Value>",
        "<Value ",
        "<n:Value a='",
        '"',
        "'",
    )
    pieces += (
        "<![CDATA[",
        "]]>",
        "<!--",
        "-->",
        "<?",
        "?>",
        "Device.X.Password",
        "hunter2",
        "&#80;",
        "&#x",
        "&",
        "\x01",
        "://u:p@h",
    )
    pieces += (
        "<Password>",
        "</Password>",
        "<VoucherList>",
        "</VoucherList>",
        "<S>",
        "</S>",
        " ",
        "\n",
        "?token=x",
        "PIN",
        "Key<",
        ".X_",
    )
    chance = random.Random(7)
    for _ in range(WAYS):
        text = "".join(chance.choices(pieces, k=chance.randint(1, 60)))
        assert isinstance(masking._without(text, odd=chance.random() < 0.5), str)


def test_a_secret_is_masked_wherever_its_message_is_cut() -> None:
    """Only the beginning of a long message is kept; a part of a secret is a secret too."""
    for seed in range(0, WAYS, 30):
        body = every_way(seed, lambda s: s.envelope("GetParameterValuesResponse", s.values(NAMES[:1])))
        for at in range(0, len(body), 7):
            assert SECRET[:8] not in read(shown(body[:at], 100_000, size=len(body))), (seed, at)


def test_a_secret_in_a_url_is_masked_in_every_spelling() -> None:
    """Logins and tokens inside of values that are none themselves."""
    for seed in range(0, WAYS, 3):

        def make(s: Speller) -> str:
            url = s.text(URL)
            urls = f"<AnnounceURL>{url}</AnnounceURL><TransferURL>{url}</TransferURL>"
            rest = (
                "<IsDownload>1</IsDownload><FileType>1 F</FileType><FileSize>1</FileSize><TargetFileName/><FaultStruct>"
            )
            rest += "<FaultCode>0</FaultCode><FaultString/></FaultStruct><StartTime>2026-11-21T06:00:00Z</StartTime>"
            return s.envelope(
                "AutonomousTransferComplete", f"{urls}{rest}<CompleteTime>2026-11-21T06:00:00Z</CompleteTime>"
            )

        body = every_way(seed, make)
        message = decode(body).body
        assert isinstance(message, AutonomousTransferComplete) and message.transfer_url == URL
        text = shown(body, 100_000)
        assert SECRET not in text and SECRET not in read(text), (seed, text)
        assert "files.example" in read(text)


@pytest.mark.parametrize(
    "element",
    [
        "<URL>https&#58;//u:hunter2@h/</URL>",
        "<URL>https://h/?x=1&#38;token=hunter2</URL>",
    ],
)
def test_a_secret_of_a_url_is_masked_in_this_spelling(element: str) -> None:
    """By the letter: each was shown once."""
    for text in (f"<a>{element}</a>", f"<a>{element}"):
        seen = shown(text.encode(), 10_000)
        assert "hunter" not in seen and MASK in seen, seen


def test_every_secret_name_has_a_word_that_is_looked_for() -> None:
    """Messages without any of these words are not looked through."""
    for ending in SECRET_ENDINGS:
        assert ending == "PIN" or any(hint in ending.lower() for hint in masking._HINTS), ending


@pytest.mark.parametrize(
    "text",
    [
        "://?" + "passw" * 50_000 + " =",
        "://&" + "token" * 50_000 + "@=",
        "<a>" * 80_000,
        "<a " * 80_000,
        "<a" + "'" * 250_000,
        "<Name>&#" + "0" * 250_000,
        "<Name>x.Password</Name><Value>" + "<b>" * 190 + "</c>" * 60_000,
        "<Name>x.Password</Name><Value>v</Value>" * 6_000 + "&#1;",
        "<![CDATA[<!--" * 20_000,
        "<!--" + "<!-- -" * 40_000,
        "<?" * 120_000,
    ],
)
def test_a_text_that_is_made_to_take_long_does_not(text: str) -> None:
    """A quarter of a megabyte of a message is looked through while all other devices wait; once it took minutes."""
    from time import process_time

    began = process_time()
    masking._without(text)
    plain_url(text)
    assert process_time() - began < 0.7


def test_what_is_nested_too_deeply_is_not_shown() -> None:
    """The parser refuses it too."""
    assert shown(b"<a>" * 1_000 + b"&#1;", 10_000) == TOO_DEEP
