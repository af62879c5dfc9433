"""One message in all the ways in which it can be written so that the parser reads the same."""

import random
from collections.abc import Callable
from typing import Final

SECRET: Final = "Tr0ub4dor-and-3"
"""A value that nobody may see; it stands in nothing else."""

NAMES: Final = (
    "Device.ManagementServer.Password",
    "Device.WiFi.AccessPoint.1.Security.KeyPassphrase",
    "Device.WiFi.AccessPoint.1.Security.PreSharedKey",
    "InternetGatewayDevice.LANDevice.1.WLANConfiguration.1.WEPKey.4.WEPKey",
    "Device.WiFi.AccessPoint.1.WPS.PIN",
    "Device.X_VENDOR_Cloud.ApiKey",
    "Device.X_VENDOR_Cloud.PASSWORD",
    "Device.X_VENDOR_Login.AdminPasswd2",
)

ENCODINGS: Final = (
    *(
        "utf-8",
        "utf-8",
        "utf-8-sig",
        "utf-16",
        "utf-16-le",
        "utf-16-be",
        "iso-8859-1",
        "cp1252",
        "gb18030",
        "shift_jis",
    ),
)

URL: Final = f"https://user:{SECRET}@files.example/fw.bin?token={SECRET}"


class Speller:
    """Writes texts and elements. plain: as nearly all devices do, which leaves only the order and the form of elements to chance."""

    def __init__(self, chance: random.Random, *, plain: bool = False) -> None:
        self.chance = chance
        self.plain = plain
        self.prefix = chance.choice(("", "", "n:", "a-b.c:", "SOAP-ENV:"))

    def maybe(self, part: float = 0.3) -> bool:
        return not self.plain and self.chance.random() < part

    def character(self, c: str) -> str:
        number = ord(c)
        forms = [
            f"&#{number};",
            f"&#x{number:x};",
            f"&#x{number:X};",
            f"&#{number:09d};",
            f"&#x{number:06X};",
            f"<![CDATA[{c}]]>",
        ]
        return self.chance.choice(forms)

    def nothing(self) -> str:
        """What a parser reads nothing of, inside of a text."""
        return self.chance.choice(("<!-- -->", "<!--a <b> & c-->", "<?x?>", "<?x <y> ?>", "<![CDATA[]]>"))

    def text(self, text: str) -> str:
        """A text without characters of markup."""
        if not self.maybe(0.8):
            return text
        how = self.chance.random()
        if how < 0.3:
            return f"<![CDATA[{text}]]>"
        each = self.chance.choice((0.05, 0.3, 1.0))
        out = []
        for c in text:
            out.append(self.character(c) if self.chance.random() < each else c)
            if self.chance.random() < 0.05:
                out.append(self.nothing())
        return "".join(out)

    def blanks(self) -> str:
        return self.chance.choice((" ", "\n", "\r\n\t", "&#32;", "&#x9;")) if self.maybe(0.2) else ""

    def element(self, tag: str, content: str, attributes: str = "") -> str:
        tag = self.prefix + tag if tag in ("Name", "Value") else tag
        if self.maybe():
            attributes += self.chance.choice(
                (" a='>'", ' a=">"', " a = '\"'", "\n a='&lt;/Name&gt;'", " xsi:type='xsd:string'")
            )
        end = " " if self.maybe(0.2) else ""
        return f"<{tag}{attributes}>{content}</{tag}{end}>"

    def row(self, name: str, value: str) -> str:
        parts = [
            self.element("Name", self.blanks() + self.text(name) + self.blanks()),
            self.element("Value", self.text(value)),
        ]
        if self.chance.random() < 0.2:
            parts.reverse()
        if self.maybe():
            parts.insert(
                self.chance.randrange(3),
                self.chance.choice(("<Extra/>", "<!-- x -->", "\n", "<?x?>", "<Value2>v</Value2>")),
            )
        return self.element("ParameterValueStruct", "".join(parts))

    def envelope(self, method: str, content: str, *, id: str = "1", urn: str = "urn:dslforum-org:cwmp-1-0") -> str:
        return (
            '<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/" xmlns:n="urn:n" xmlns:a-b.c="urn:abc"'
            ' xmlns:SOAP-ENC="http://schemas.xmlsoap.org/soap/encoding/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
            f' xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:cwmp="{urn}"><SOAP-ENV:Header>'
            f'<cwmp:ID SOAP-ENV:mustUnderstand="1">{id}</cwmp:ID></SOAP-ENV:Header><SOAP-ENV:Body><cwmp:{method}>{content}'
            f"</cwmp:{method}></SOAP-ENV:Body></SOAP-ENV:Envelope>"
        )

    def values(self, names: tuple[str, ...]) -> str:
        """The content of a GetParameterValuesResponse, with a row that holds no secret around each that does."""
        rows = []
        for name in names:
            rows += (self.row("Device.DeviceInfo.ModelName", "in plain view"), self.row(name, SECRET))
        return f"<ParameterList>{''.join(rows)}</ParameterList>"

    def encoded(self, text: str) -> bytes:
        """The whole body. Prologs say what it is in."""
        codec = "utf-8" if self.plain else self.chance.choice(ENCODINGS)
        named = {"utf-8-sig": "utf-8", "cp1252": "windows-1252"}.get(codec, codec)
        prolog = (
            f'<?xml version="1.0" encoding="{named}"?>'
            if codec not in ("utf-8", "utf-16-le", "utf-16-be") or self.maybe()
            else ""
        )
        return (prolog + text).encode(codec)


def every_way(seed: int, make: Callable[[Speller], str]) -> bytes:
    """A body, written in a way that the seed says."""
    speller = Speller(random.Random(seed), plain=seed % 4 == 0)
    return speller.encoded(make(speller))
