"""Informs that differ from an earlier one only in the texts that differ from day to day.

Devices of one make and firmware write the same Inform but for the ID, serial number, events, time, retry count and values. What stands
before each of these texts is remembered from a plain Inform (`fast_informs`), cut at each end tag; a later one must have the same, to
the letter. So its markup and all other texts were judged before; the new texts are looked at whole: no mark that has a meaning in XML,
no character that XML forbids. Where anything is different, or a text is not of the plainest form, the other ways read the body.
"""

from collections.abc import Callable
from operator import itemgetter
from typing import Final

from msgspec import Struct, structs

from homeport.codec import messages as m
from homeport.codec.fast_informs import PlainInform
from homeport.codec.limits import CodecLimits
from homeport.codec.novelty import Luck, Seen, drop_oldest
from homeport.codec.quirks import Quirk
from homeport.codec.reading import read_time

MAX_LENGTH: Final = 8192
"""Characters; longer Informs are read as fast by the expressions, and would make the memory large."""

MAX_FORMS: Final = 512
"""Of all makes together; 512 Informs of 4 KB take 4 MB, of 8 KB 8 MB."""

FORMS_ALIKE: Final = 2
"""Forms of one make with as many tags: tried one after the other, the one used last first."""

_HEAD: Final = 4096
_CUT: Final = "</"
_ORDINARY: Final = bytes(c for c in range(0x20, 0x100) if c not in b"<&]") + b"\t\n"
_NUMBERS: Final = {str(number): number for number in range(100)}
_CHANGING: Final = frozenset({"ID", "SerialNumber", "EventCode", "CommandKey", "CurrentTime", "RetryCount", "Value"})
"""Local names of the elements whose texts may differ."""


class _Form(Struct, frozen=True):
    """One Inform, without the texts that may differ.

    prefixes: what stands in each piece before such a text. size: characters that are not of such texts.
    plain: what was read from it, without events and parameters.
    cwmp_id, serial_number, current_time, retry_count, events, values: the places of their texts; -1 where there is none, so it is empty.
    local_time: whether the time had no zone. changing: picks the texts that may differ.
    """

    limits: CodecLimits
    prefixes: tuple[str, ...]
    size: int
    plain: PlainInform
    names: tuple[str, ...]
    types: tuple[str, ...]
    cwmp_id: int
    serial_number: int
    current_time: int
    retry_count: int
    events: tuple[tuple[int, int], ...]
    values: tuple[int, ...]
    local_time: bool
    changing: Callable[[list[str]], tuple[str, ...]]

    def read(self, pieces: list[str], length: int) -> PlainInform | None:
        """What these pieces of an Inform say; None where they are not of this form. length: characters of the Inform."""
        probe = len(pieces) * 3 // 4  # Among the parameters, where forms of one make differ most.
        if not pieces[probe].startswith(self.prefixes[probe]):
            return None
        texts = list(map(str.removeprefix, pieces, self.prefixes))
        joined = "".join(texts)
        # A piece that begins otherwise has kept all of its characters; of one in which nothing may differ, nothing may be left.
        if len(joined) + self.size != length or "".join(self.changing(texts)) != joined:
            return None
        if joined.encode().translate(None, _ORDINARY):
            return None
        if not joined.isascii() and ("\ufffe" in joined or "\uffff" in joined):
            return None
        texts.append("")  # Place -1.
        retry_count = _NUMBERS.get(texts[self.retry_count])
        time = texts[self.current_time]
        plain = self.plain
        cwmp_id = texts[self.cwmp_id] if plain.id is not None else None
        if (
            retry_count is None
            or _is_local(time) is not self.local_time
            or (cwmp_id is not None and len(cwmp_id) > self.limits.max_header_text)
        ):
            return None
        inform = plain.message
        device = inform.device_id
        message = m.Inform(
            m.DeviceIdStruct(device.manufacturer, device.oui, device.product_class, texts[self.serial_number]),
            tuple([m.EventStruct(texts[code], texts[key]) for code, key in self.events]),
            time,
            retry_count,
            tuple(map(m.ParameterValueStruct, self.names, [texts[place] for place in self.values], self.types)),
            inform.max_envelopes,
        )
        return PlainInform(
            message, cwmp_id, plain.urn, plain.session_timeout, plain.supported_cwmp_versions, plain.quirks
        )


class KnownInforms:
    """The forms met so far, by what is written of the make and the number of end tags; those unused for longest are dropped first."""

    def __init__(self, most: int = MAX_FORMS) -> None:
        self._most = most // FORMS_ALIKE
        self._makes: dict[str, Luck] = {}
        self._forms: dict[tuple[str, int], tuple[_Form, ...]] = {}
        self._seen = Seen()

    def __len__(self) -> int:
        return sum(map(len, self._forms.values()))

    def forget(self) -> None:
        """Everything."""
        self._makes.clear()
        self._forms.clear()
        self._seen.forget()

    def recall(self, text: str, limits: CodecLimits) -> PlainInform | None:
        """What an Inform says that has the form of an earlier one; None for all others."""
        make = _make_of(text)
        luck = self._makes.get(make)
        if luck is None or len(text) > limits.max_text or not luck.try_now():
            return None
        pieces = text.split(_CUT)
        forms = self._forms.get((make, len(pieces)), ())
        for place, form in enumerate(forms):
            plain = form.read(pieces, len(text)) if form.limits is limits else None
            if plain is not None:
                if place:
                    self._forms[make, len(pieces)] = (form, *[other for other in forms if other is not form])
                luck.found(True)
                return plain
        luck.found(False)
        return None

    def learn(self, text: str, plain: PlainInform, limits: CodecLimits) -> None:
        """Remembers the form of a plain Inform that comes a second time. plain: what was read from it."""
        if len(text) > MAX_LENGTH or not self._seen.worth_a_look():
            return
        make, message = _make_of(text), plain.message
        rows = message.parameter_list
        named = [
            row.name for row in rows[:: max(1, len(rows) - 1)]
        ]  # The first and the last: what has changed stands last.
        mark = hash((make, len(message.event), *named, *[row.type for row in rows]))
        if not make or not self._seen.is_second(mark):
            return
        form = _form_of(text, plain, limits)
        if form is None:
            return
        key = (make, len(form.prefixes))
        forms = (form, *self._forms.pop(key, ()))[:FORMS_ALIKE]
        if len(self._forms) >= self._most:
            drop_oldest(self._forms)
            left = {make for make, _ in list(self._forms)}
            self._makes = {make: luck for make, luck in list(self._makes.items()) if make in left}
        self._forms[key] = forms
        self._makes[make] = Luck()


INFORMS: Final = KnownInforms()


def _make_of(text: str) -> str:
    """What is written from the ID, or the manufacturer where there is none, to the serial number; "" where that is not found."""
    begin = text.find(":ID>", 0, _HEAD)
    if begin < 0:
        begin = text.find("<Manufacturer", 0, _HEAD)
    return text[begin : text.find("<SerialNumber", begin, _HEAD)] if begin >= 0 else ""


def _is_local(time: str) -> bool | None:
    """Whether a time has no zone; None for one that is not plain."""
    if time != time.strip():
        return None
    quirks: dict[Quirk, None] = {}
    read_time(time, quirks)
    return bool(quirks)


def _form_of(text: str, plain: PlainInform, limits: CodecLimits) -> _Form | None:
    """The form of this Inform; None where reading it with the form would not give the same."""
    pieces = text.split(_CUT)
    closed = [piece.partition(">")[0].rpartition(":")[2].strip() for piece in pieces[1:]]
    prefixes = list(pieces)
    places: dict[str, list[int]] = {name: [] for name in _CHANGING}
    events: list[tuple[int, int]] = []
    values: list[int] = []
    for place, name in enumerate(closed):
        following = closed[place + 1] if place + 1 < len(closed) else ""
        if name == "EventCode":
            events.append((place, place + 1 if following == "CommandKey" else -1))
        elif name == "Name":
            values.append(place + 1 if following == "Value" else -1)
        if name in _CHANGING:
            places[name].append(place)
            prefixes[place] = pieces[place][: pieces[place].rindex(">") + 1]
    one = {name: found[0] if len(found) == 1 else -1 for name, found in places.items()}
    inform = plain.message
    form = _Form(
        limits,
        tuple(prefixes),
        len("".join(prefixes)) + len(_CUT) * (len(pieces) - 1),
        structs.replace(plain, message=structs.replace(inform, event=(), parameter_list=())),
        tuple([row.name for row in inform.parameter_list]),
        tuple([row.type for row in inform.parameter_list]),
        one["ID"],
        one["SerialNumber"],
        one["CurrentTime"],
        one["RetryCount"],
        tuple(events),
        tuple(values),
        str(Quirk.LOCAL_TIME) in plain.quirks,
        itemgetter(*sorted(place for found in places.values() for place in found)),
    )
    return form if len(values) == len(form.names) and form.read(pieces, len(text)) == plain else None
