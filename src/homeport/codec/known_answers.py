"""Long answers that differ from an earlier one only in their ID and their values: the same list in the same envelope.

`known_lists` knows a list again wherever it stands; here the whole body is known, so that nothing of it needs a look but the ID and the
values. These are looked at as there: no tag, no reference, no character that XML forbids. What is different in anything else, or has a
reference, is left to the other ways.
"""

from typing import Final

from msgspec import Struct

from homeport.codec import messages as m
from homeport.codec.limits import CodecLimits
from homeport.codec.novelty import Luck, Seen, drop_oldest

MAX_ANSWERS: Final = 128
"""Each at most as long as `fast_informs.MAX_LENGTH`; all together take 8 MB at the most."""

_CUT: Final = "</Value>"
_HEAD: Final = 4096
_ORDINARY: Final = bytes(c for c in range(0x20, 0x100) if c not in b"<&") + b"\t\n"


class KnownAnswer(Struct, frozen=True):
    """What an answer says that was read ahead."""

    message: m.GetParameterValuesResponse
    id: str
    urn: str


class _Form(Struct, frozen=True):
    """One answer without its ID and values.

    before, behind: what stands before the ID, and from there to the first value. prefixes: of each further piece; of the last one all.
    size: characters that are not of these texts.
    """

    limits: CodecLimits
    before: str
    behind: str
    prefixes: tuple[str, ...]
    size: int
    names: tuple[str, ...]
    types: tuple[str, ...]
    urn: str

    def read(self, pieces: list[str], length: int) -> KnownAnswer | None:
        """What these pieces of an answer say; None where they are not of this form. length: characters of the answer."""
        prefixes = self.prefixes
        if len(pieces) != len(prefixes) + 1 or pieces[-1] != prefixes[-1]:
            return None
        first = pieces[0]
        begin = len(self.before)
        end = first.find(self.behind, begin)
        if end < 0 or not first.startswith(self.before):
            return None
        cwmp_id = first[begin:end]
        texts = [first[end + len(self.behind) :], *map(str.removeprefix, pieces[1:], prefixes)]
        joined = f"{cwmp_id}{''.join(texts)}"
        # A piece that begins otherwise has kept all of its characters.
        if len(joined) + self.size != length or len(cwmp_id) > self.limits.max_header_text:
            return None
        if joined.encode().translate(None, _ORDINARY) or ("]" in joined and "]]>" in joined):
            return None
        if not joined.isascii() and ("\ufffe" in joined or "\uffff" in joined):
            return None
        answer = m.GetParameterValuesResponse(tuple(map(m.ParameterValueStruct, self.names, texts, self.types)))
        # They are at hand here; the last text is what stands behind the rows.
        answer.__dict__["columns"] = self.names, tuple(texts[:-1]), self.types
        return KnownAnswer(answer, cwmp_id, self.urn)


class KnownAnswers:
    """The forms met so far, by what stands between the ID and the first value's name; what was learnt first is dropped first."""

    def __init__(self, most: int = MAX_ANSWERS) -> None:
        self._most = most
        self._forms: dict[str, tuple[_Form, Luck]] = {}
        self._seen = Seen()

    def __len__(self) -> int:
        return len(self._forms)

    def forget(self) -> None:
        """Everything."""
        self._forms.clear()
        self._seen.forget()

    def recall(self, text: str, limits: CodecLimits) -> KnownAnswer | None:
        """What an answer says that has the form of an earlier one; None for all others."""
        form, luck = self._forms.get(_key(text), (None, None))
        if (
            form is None
            or luck is None
            or form.limits is not limits
            or len(text) > limits.max_text
            or not luck.try_now()
        ):
            return None
        found = form.read(text.split(_CUT), len(text))
        luck.found(found is not None)
        return found

    def learn(
        self, text: str, answer: KnownAnswer, names: tuple[str, ...], types: tuple[str, ...], limits: CodecLimits
    ) -> None:
        """Remembers the form of an answer that comes a second time. answer: what was read from it; names, types: of its rows."""
        if not self._seen.worth_a_look():
            return
        key = _key(text)
        if not key or not self._seen.is_second(hash((key, names))):
            return
        pieces = text.split(_CUT)
        before, marked, rest = pieces[0].partition(f">{answer.id}</")
        values = [row.value for row in answer.message.parameter_list]
        end_tag, _, header = rest.partition(">")
        if not marked or len(pieces) != len(values) + 1:
            return
        if end_tag.rpartition(":")[2] != "ID" or before.count(":ID") != 1 or ":ID" in header:
            return
        before, first = f"{before}>", f"</{rest}"
        constant = [first, *pieces[1:-1]]
        if not all(map(str.endswith, constant, values)):
            return
        behind, *prefixes = [piece[: len(piece) - len(value)] for piece, value in zip(constant, values, strict=True)]
        prefixes.append(pieces[-1])
        size = len(before) + len(behind) + len("".join(prefixes)) + len(_CUT) * len(values)
        form = _Form(limits, before, behind, tuple(prefixes), size, names, types, answer.urn)
        if form.read(pieces, len(text)) != answer:
            return
        if len(self._forms) >= self._most:
            drop_oldest(self._forms)
        self._forms[key] = (form, Luck())


ANSWERS: Final = KnownAnswers()


def _key(text: str) -> str:
    """What stands between the ID and the end of the first name; "" where that is not found."""
    begin = text.find(":ID>", 0, _HEAD)
    end = text.find("</Name>", begin, _HEAD) if begin >= 0 else -1
    return text[begin:end] if end >= 0 else ""
