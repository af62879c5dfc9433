"""The straight way from the texts of a remembered skeleton to its message.

A body in which everything stands as the schema has it needs no search: which text belongs into which field is settled by its markup. A
plan holds these places. It knows only the plainest forms of each kind; any other text raises `NotPlain`, and the readers of `reading`
take over with all their tolerance. A plan never decides anything that a reader would decide otherwise.
"""

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from msgspec import Struct

from homeport.codec import messages as m
from homeport.codec.fast_lists import MARK, Rows
from homeport.codec.fields import Array, Field, Flag, Nested, Number, Text, Time
from homeport.codec.limits import CodecLimits
from homeport.codec.reading import ARRAY_TYPE, XSD_TYPES, XSI_TYPE
from homeport.codec.rpc_table import FIELDS
from homeport.codec.skeletons import Light
from homeport.codec.struct_table import STRUCTS

Plan = Callable[[list[str], Rows | None], Any]
"""(the texts of a body, its rows that were read ahead) -> a value. Raises NotPlain."""


class NotPlain(Exception):
    """A text, or a markup, that only the readers understand."""


def plan_of(cls: type[m.Message], element: Light, places: Mapping[int, int], limits: CodecLimits) -> Plan | None:
    """The plan for a message's element; None where its markup is not the plain one.

    places: of an element's text, by the element's id(); an element that cannot have one is absent and counts as empty.
    """
    try:
        return _Planner(places, limits).struct(cls, FIELDS[cls], element)
    except NotPlain:
        return None


class _Planner:
    """Makes the plans of one skeleton."""

    def __init__(self, places: Mapping[int, int], limits: CodecLimits) -> None:
        self._places = places
        self._limits = limits

    def struct(self, cls: type[Struct], fields: tuple[Field, ...], element: Light) -> Plan:
        """All fields are there, once, in order."""
        if [child.tag for child in element] != [field.element for field in fields]:
            raise NotPlain
        by_name = {field.attribute: (field.kind, child) for field, child in zip(fields, element, strict=True)}
        ordered = [by_name[name] for name in cls.__struct_fields__]
        if len(ordered) > 1 and all(isinstance(kind, Text) and not kind.path for kind, _ in ordered):
            texts = itemgetter(*[self._place(child) for _, child in ordered])
            return lambda t, rows: cls(*texts(t))
        plans = [self._kind(kind, child) for kind, child in ordered]
        return lambda t, rows: cls(*[plan(t, rows) for plan in plans])

    def _place(self, element: Light) -> int:
        return self._places.get(id(element), -1)

    def _kind(self, kind: Any, element: Light) -> Plan:
        if isinstance(kind, Text):
            return _path(self._place(element)) if kind.path else _text(self._place(element))
        if isinstance(kind, Time):
            return _time(self._place(element))
        if isinstance(kind, Number):
            return _number(self._place(element), kind)
        if isinstance(kind, Flag):
            return _flag(self._place(element))
        if isinstance(kind, Nested):
            return self.struct(kind.part, STRUCTS[kind.part], element)
        if isinstance(kind, Array):
            return self._array(kind, element)
        raise NotPlain

    def _array(self, kind: Array, container: Light) -> Plan:
        count = container.get(ARRAY_TYPE) or ""
        most = self._limits.max_list
        marked = [child for child in container if child.get(MARK) is not None]
        if marked:
            if len(marked) != len(container):
                raise NotPlain
            values = kind.item is m.ParameterValueStruct
            return _rows(count, most, [self._parameter(child)[2] if values else "" for child in marked])
        if not count.endswith(f"[{len(container)}]") or len(container) > most:
            raise NotPlain
        if any(child.tag != kind.entry for child in container):
            raise NotPlain
        if isinstance(kind.item, Text):
            plans = [self._kind(kind.item, child) for child in container]
        elif kind.item is m.ParameterValueStruct:
            return _parameters([self._parameter(child) for child in container])
        else:
            plans = [self.struct(kind.item, STRUCTS[kind.item], child) for child in container]
        return lambda t, rows: tuple([plan(t, rows) for plan in plans])

    def _parameter(self, element: Light) -> tuple[int, int, str]:
        """Places of name and value, and the type."""
        if [child.tag for child in element] != ["Name", "Value"]:
            raise NotPlain
        kind = XSD_TYPES.get(element[1].get(XSI_TYPE) or "")
        if kind is None:
            raise NotPlain
        return self._place(element[0]), self._place(element[1]), kind


def _parameters(rows: list[tuple[int, int, str]]) -> Plan:
    name_places, value_places = [name for name, _, _ in rows], [value for _, value, _ in rows]
    types = [kind for _, _, kind in rows]

    def plan(t: list[str], ahead: Rows | None) -> tuple[m.ParameterValueStruct, ...]:
        names = [t[place] for place in name_places]
        for name in names:
            if name[-1:] == "." or name != name.strip():
                raise NotPlain
        return tuple(map(m.ParameterValueStruct, names, [t[place] for place in value_places], types))

    return plan


def _text(place: int) -> Plan:
    return lambda t, rows: t[place]


def _path(place: int) -> Plan:
    def plan(t: list[str], rows: Rows | None) -> str:
        text = t[place]
        if text != text.strip():
            raise NotPlain
        return text

    return plan


def _time(place: int) -> Plan:
    def plan(t: list[str], rows: Rows | None) -> str:
        text = t[place]
        if text != text.strip() or (text and text[-1] != "Z" and text[-6:-5] not in ("+", "-")):
            raise NotPlain
        return text

    return plan


def _number(place: int, kind: Number) -> Plan:
    known = {str(n): n for n in kind.allowed or range(max(kind.low, 0), 10)}

    def plan(t: list[str], rows: Rows | None) -> int:
        number = known.get(t[place])
        if number is None:
            raise NotPlain
        return number

    return plan


def _flag(place: int) -> Plan:
    known = {"0": False, "1": True, "false": False, "true": True}

    def plan(t: list[str], rows: Rows | None) -> bool:
        flag = known.get(t[place])
        if flag is None:
            raise NotPlain
        return flag

    return plan


def _rows(count: str, most: int, types: list[str]) -> Plan:
    """types: those of the rows that stand for the kinds, in order."""

    def plan(t: list[str], rows: Rows | None) -> tuple[Any, ...]:
        if rows is None or len(rows.runs) != 1 or len(rows.marks) != len(types):
            raise NotPlain
        number = len(rows.names)
        if number > most or not count.endswith(f"[{number}]"):
            raise NotPlain
        return tuple(
            rows.structs(
                {kind: known for (_, kind), known in zip(rows.marks, types, strict=True)} if not rows.types else {}
            )
        )

    return plan
