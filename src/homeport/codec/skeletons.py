"""Trees of small bodies, remembered by their markup.

A device's messages differ in their texts far more often than in their tags. Once the XML parser has accepted a body, its tags and
attributes (the skeleton) are kept with a light tree; a later body with the very same markup only fills in its texts. Well-formedness then
rests on the texts alone, and those are checked: no reference, no carriage return, no character that XML forbids, no stray mark.
What the readers see is equal to what the parser would have given them; what they decide is decided anew each time.
"""

from typing import Any, Final

from homeport.codec.limits import CodecLimits

MAX_LENGTH: Final = 8192
"""Characters; longer bodies gain little and would make the memory large."""

MAX_REMEMBERED: Final = 256
"""Skeletons; the one unused for longest is dropped first. Measured: 9 MB with Informs of 4 KB, 16 MB with the longest bodies."""

_ORDINARY: Final = bytes(c for c in range(0x20, 0x100) if c not in b"<>&") + b"\t\n"


class Light(list[Any]):
    """An element as the readers know it: a list of its children with tag, text and attributes."""

    __slots__ = ("attributes", "tag", "text")

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        super().__init__()
        self.tag = tag
        self.text = ""
        self.attributes = attributes

    def get(self, key: str) -> str | None:
        """The attribute's value, None where it is absent."""
        return self.attributes.get(key)

    def items(self) -> list[tuple[str, str]]:
        """All attributes."""
        return list(self.attributes.items())


class Skeleton:
    """A remembered tree. elements: with the place of each one's text among the texts of the body.

    plan: whatever the owner of the memory worked out for this markup.
    """

    __slots__ = ("elements", "limits", "plan", "root")

    def __init__(self, root: Light, elements: list[tuple[Light, int]], limits: CodecLimits) -> None:
        self.root = root
        self.elements = elements
        self.limits = limits
        self.plan: Any = None

    def fill(self, texts: list[str]) -> Light:
        """The root of the tree with these texts in it."""
        for element, place in self.elements:
            element.text = texts[place]
        return self.root


class Memory:
    """The skeletons met so far. One body at a time uses a skeleton: it is taken out and put back, so threads do not share one."""

    def __init__(self, size: int = MAX_REMEMBERED) -> None:
        self._size = size
        self._known: dict[str, Skeleton] = {}
        self._seen: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._known)

    def forget(self) -> None:
        """Everything."""
        self._known.clear()
        self._seen.clear()

    def split(self, text: str) -> tuple[str, list[str]] | None:
        """The markup and the texts of a small body; None where only the parser may judge it."""
        if len(text) > MAX_LENGTH:
            return None
        marks = text.encode().translate(None, _ORDINARY)
        if (
            not marks
            or marks != b"<>" * (len(marks) // 2)
            or (not text.isascii() and ("\ufffe" in text or "\uffff" in text))
        ):
            return None
        pieces = text.replace("<", ">").split(
            ">"
        )  # "", a tag, the text behind it, a tag and so on: the marks alternate.
        end = pieces.pop()
        if text.startswith("<?xml") and pieces[2:3] and pieces[2].strip():
            return None  # Text between the prolog and the envelope.
        return f"{pieces[0]}<{'<'.join(pieces[1::2])}>{end}", pieces[2::2]

    def is_second(self, markup: str) -> bool:
        """Whether this markup was asked about before. Learning one that never comes again costs more than it saves."""
        mark = hash(markup)
        if mark in self._seen:
            self._seen.pop(mark, None)
            return True
        if len(self._seen) >= 8 * self._size:
            self._seen.clear()
        self._seen[mark] = None
        return False

    def recall(self, markup: str, limits: CodecLimits) -> Skeleton | None:
        """The skeleton of this markup, taken out of the memory until `keep`."""
        skeleton = self._known.pop(markup, None)
        if skeleton is None or skeleton.limits is not limits:
            return None
        return skeleton

    def keep(self, markup: str, skeleton: Skeleton) -> None:
        """Puts a skeleton (back) as the one used last."""
        while len(self._known) >= self._size:
            try:
                del self._known[next(iter(self._known))]
            except (
                KeyError,
                RuntimeError,
                StopIteration,
            ):  # Another thread was at it; the size is only a bound on memory.
                break
        self._known[markup] = skeleton

    def learn(self, markup: str, texts: list[str], root: Any, limits: CodecLimits) -> Skeleton | None:
        """Remembers what the parser made of a body, and gives it back; None where a text is not where the markup says."""
        if limits.max_text < MAX_LENGTH or not markup.startswith("<"):
            return None
        source = root.iter()
        stack: list[Light] = []
        elements: list[tuple[Light, int]] = []
        top: Light | None = None
        for place, token in enumerate(markup.split("<")[1:]):
            if place == 0 and token.startswith("?xml "):
                continue
            if token[:1] in ("!", "?", ""):
                return None
            if token[0] == "/":
                stack.pop()
                continue
            origin = next(source, None)
            if origin is None:
                return None
            light = Light(origin.tag, dict(origin.attrib))
            text = texts[place] if place < len(texts) else ""
            if stack:
                stack[-1].append(light)
            else:
                top = light
            if token[-1] != "/":
                stack.append(light)
                if (origin.text or "") != text:
                    return None
                elements.append((light, place))
        if top is None or next(source, None) is not None:
            return None
        skeleton = Skeleton(top, elements, limits)
        self.keep(markup, skeleton)
        return skeleton


MEMORY: Final = Memory()
