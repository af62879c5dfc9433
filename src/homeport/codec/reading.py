"""Elements to messages: one reader per kind of field, made once from the table.

A reader takes an element and the `Reading` of the envelope it stands in, and gives the value. Tolerances that the field needs are here,
each under its name; what cannot be understood raises `ArgumentProblem`, which names the element.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct, structs

from homeport.codec import messages as m
from homeport.codec.fast_lists import MARK, Rows
from homeport.codec.fields import Array, Field, Flag, Kind, Nested, Number, Repeated, Text, Time, default_of
from homeport.codec.limits import CodecLimits
from homeport.codec.quirks import Quirk
from homeport.codec.rpc_table import FIELDS
from homeport.codec.struct_table import STRUCTS
from homeport.codec.xml_read import Element, local_name
from homeport.terms import FaultCode, ValueType

SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
ENVELOPE: Final = f"{{{SOAP}}}Envelope"
HEADER: Final = f"{{{SOAP}}}Header"
BODY: Final = f"{{{SOAP}}}Body"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
XSI_TYPE: Final = f"{{{XSI}}}type"
SOAP_ENCODING: Final = "http://schemas.xmlsoap.org/soap/encoding/"
ARRAY_TYPE: Final = f"{{{SOAP_ENCODING}}}arrayType"
_LONG_LISTS: Final = ("ParameterInfoStruct", "ParameterAttributeStruct")
"""Entries of lists that may be read in parts, beside those of values."""

_COUNT: Final = re.compile(r"\[\s*([0-9]*)\s*\]\s*$")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,20}")
_TYPES: Final = {str(t): str(t) for t in ValueType}
_TYPES_FOLDED: Final = {str(t).lower(): str(t) for t in ValueType}
XSD_TYPES: Final = {f"xsd:{t}": str(t) for t in ValueType}
_TRUTHS: Final = {"1": True, "true": True, "0": False, "false": False}
_ODD_TRUTHS: Final = {"yes": True, "on": True, "no": False, "off": False, "true": True, "false": False, "": False}


class ArgumentProblem(Exception):
    """Raised by a reader: what is wrong with which element; the envelope turns it into a refusal that can be answered."""

    def __init__(self, text: str, code: FaultCode = FaultCode.INVALID_ARGUMENTS) -> None:
        super().__init__(text)
        self.code = code


class Reading:
    """What the readers of one envelope share.

    quirks: those met so far, in the order of their first use. rows: a list that was read ahead; used: whether a reader took it.
    elsewhere: entries of the message's list that are read by others; None where this is one of these, so that its count says nothing.
    """

    __slots__ = ("elsewhere", "limits", "quirks", "rows", "used")

    def __init__(
        self, limits: CodecLimits, quirks: dict[Quirk, None], rows: Rows | None = None, elsewhere: int | None = 0
    ) -> None:
        self.limits = limits
        self.quirks = quirks
        self.rows = rows
        self.elsewhere = elsewhere
        self.used = False

    def ahead(self, container: Element, entry: str) -> tuple[list[int], int]:
        """The places of the rows that stand for those read ahead, if this is their list, and how many rows it has with them."""
        rows = self.rows
        if rows is None or rows.entry != entry:
            return [], len(container)
        places = []
        marks = []
        for place, child in enumerate(container):
            mark = child.get(MARK)
            if mark is not None:
                marks.append(mark)
                places.append(place)
        if marks != [str(run) for run, _ in rows.marks]:
            return [], len(container)
        self.used = True
        return places, len(container) - len(places) + len(rows.names)

    def with_rows(self, values: list[Any], places: list[int]) -> tuple[Any, ...]:
        """The entries of a list, with all that the marked ones stand for in their place."""
        rows = self.rows
        if rows is None or not places:
            return tuple(values)
        types = {kind: getattr(values[place], "type", "") for place, (_, kind) in zip(places, rows.marks, strict=True)}
        whole_list = rows.structs(types)
        if len(places) == len(values):
            return tuple(whole_list)
        whole: list[Any] = []
        behind = 0
        last = -1
        for place, (run, _) in zip(places, rows.marks, strict=True):
            whole += values[behind:place]
            behind = place + 1
            if run != last:
                begin, end = rows.runs[run]
                whole += whole_list[begin:end]
                last = run
        return (*whole, *values[behind:])


Reader = Callable[[Element, Reading], Any]


def read_message(cls: type[m.Message], element: Element, reading: Reading) -> Any:
    """The message that a body's element holds. Raises ArgumentProblem."""
    return _MESSAGE_READERS[cls](element, reading)


# --- plain kinds --------------------------------------------------------------------------------------------------------------


def _read_text(element: Element, reading: Reading) -> str:
    return element.text or ""


def _read_path(element: Element, reading: Reading) -> str:
    text: str = element.text or ""
    stripped = text.strip()
    if len(stripped) != len(text):
        reading.quirks[Quirk.SPACE_AROUND_TEXT] = None
    return stripped


def _read_time(element: Element, reading: Reading) -> str:
    return read_time(element.text or "", reading.quirks)


def read_time(text: str, quirks: dict[Quirk, None]) -> str:
    """The text of a dateTime, as it is but for white space around it."""
    text = text.strip()
    if text and text[-1] != "Z" and text[-6:-5] not in ("+", "-") and text[-5:-4] not in ("+", "-"):
        quirks[Quirk.LOCAL_TIME] = None
    return text


def _read_flag(element: Element, reading: Reading) -> bool:
    text: str = element.text or ""
    value = _TRUTHS.get(text)
    if value is not None:
        return value
    value = _TRUTHS.get(text.strip())
    if value is not None:
        reading.quirks[Quirk.SPACE_AROUND_TEXT] = None
        return value
    value = _ODD_TRUTHS.get(text.strip().lower())
    if value is None:
        raise ArgumentProblem(f"{local_name(element.tag)} is {_quoted(text)}, not a truth value (0, 1, true, false)")
    reading.quirks[Quirk.ODD_BOOLEAN] = None
    return value


def _number_reader(kind: Number) -> Reader:
    low, high = kind.low, kind.high
    allowed = frozenset(kind.allowed)
    common = {str(n): n for n in range(10) if low <= n <= high and (not allowed or n in allowed)}

    def read(element: Element, reading: Reading) -> int:
        text: str = element.text or ""
        if text in common:
            return common[text]
        stripped = text.strip()
        if len(stripped) != len(text):
            reading.quirks[Quirk.SPACE_AROUND_TEXT] = None
        if not stripped:
            reading.quirks[Quirk.EMPTY_NUMBER] = None
            stripped = "0"
        if not _INTEGER.fullmatch(stripped):
            raise ArgumentProblem(f"{local_name(element.tag)} is {_quoted(text)}, not a number")
        value = int(stripped)
        if len(stripped) > 1 and stripped[0] in "+0":
            reading.quirks[Quirk.NUMBER_FORM] = None
        if not low <= value <= high:
            raise ArgumentProblem(f"{local_name(element.tag)} is {value}, outside {low} to {high}")
        if allowed and value not in allowed:
            raise ArgumentProblem(
                f"{local_name(element.tag)} is {value}, not one of {', '.join(map(str, kind.allowed))}"
            )
        return value

    return read


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


# --- structs ------------------------------------------------------------------------------------------------------------------


def _struct_reader(cls: type[Struct], fields: tuple[Field, ...]) -> Reader:
    """Reads the children of one element into a class. Elements are found by local name, whatever their order."""
    order = [field.element for field in fields]
    readers = [_reader(field.kind) for field in fields]
    plain = tuple(field.attribute for field in fields) == cls.__struct_fields__
    places = [[field.attribute for field in fields].index(name) for name in cls.__struct_fields__]
    plan = [
        (field.element, reader, field, default_of(cls, field.attribute, field.kind))
        for field, reader in zip(fields, readers, strict=True)
    ]
    known = frozenset(order)
    lists = frozenset(field.element for field in fields if isinstance(field.kind, Repeated))
    name = getattr(cls, "element", "") or cls.__name__

    def read(element: Element, reading: Reading) -> Any:
        children = list(element)
        if not lists and [child.tag for child in children] == order:
            values = [reader(child, reading) for reader, child in zip(readers, children, strict=True)]
        else:
            values = search(children, reading)
        return cls(*values) if plain else cls(*[values[place] for place in places])

    def search(children: list[Element], reading: Reading) -> list[Any]:
        found: dict[str, Any] = {}
        quirks = reading.quirks
        for child in children:
            tag = child.tag
            if tag not in known:
                if tag[0] == "{":
                    quirks[Quirk.QUALIFIED_ARGUMENT] = None
                tag = local_name(tag)
                if tag not in known:
                    quirks[Quirk.UNKNOWN_ELEMENT] = None
                    continue
            if tag in lists:
                found.setdefault(tag, []).append(child)
            elif tag in found:
                quirks[Quirk.REPEATED_ELEMENT] = None
            else:
                found[tag] = child
        if list(found) != [element for element in order if element in found]:
            quirks[Quirk.ELEMENT_ORDER] = None
        values = []
        for wanted, reader, field, default in plan:
            child = found.get(wanted)
            if child is not None:
                values.append(reader(child, reading))
            elif field.optional:
                values.append(default)
            elif field.lenient:
                quirks[Quirk.MISSING_ELEMENT] = None
                values.append(default)
            else:
                raise ArgumentProblem(f"{name} has no {wanted}")
        return values

    return read


def _nothing_reader(cls: type[Struct]) -> Reader:
    """Reads a message without arguments; the one instance serves all."""
    instance = cls()

    def read(element: Element, reading: Reading) -> Any:
        if len(element):
            reading.quirks[Quirk.UNKNOWN_ELEMENT] = None
        return instance

    return read


def _repeated_reader(kind: Repeated) -> Reader:
    readers = {name: _PART_READERS[part] for name, part in kind.parts.items()}
    only = next(iter(readers.values())) if not kind.typed else None
    entry = next(iter(kind.parts))

    def read(elements: list[Element], reading: Reading) -> tuple[Any, ...]:
        if only is not None and len(elements) == 1 and len(elements[0]) and _holds_only(elements[0], entry):
            reading.quirks[Quirk.WRAPPED_LIST] = None
            elements = list(elements[0])
        _check_length(len(elements), elements[0], reading)
        values = []
        for element in elements:
            reader = only
            if reader is None:
                type_name = xsi_type(element, reading).rpartition(":")[2]
                reader = readers.get(type_name)
                if reader is None:
                    raise ArgumentProblem(
                        f"{local_name(element.tag)} has the type {_quoted(type_name)}, not one of {', '.join(readers)}"
                    )
            values.append(reader(element, reading))
        return tuple(values)

    return read


def _holds_only(element: Element, entry: str) -> bool:
    """Whether all its children have the name of a struct: the list that the standard's tables show, and its schema does not have."""
    return all(local_name(child.tag) == entry for child in element)


# --- arrays -------------------------------------------------------------------------------------------------------------------


def _array_reader(kind: Array) -> Reader:
    entry = kind.entry
    item: Callable[[Element, Reading], Any]
    if kind.item is m.ParameterValueStruct:
        return _read_parameter_values
    if isinstance(kind.item, Text):
        item = _reader(kind.item)
    else:
        item = _PART_READERS[kind.item]

    check = _check_list if entry in _LONG_LISTS else _check_array_type

    def read(container: Element, reading: Reading) -> tuple[Any, ...]:
        places, count = reading.ahead(container, entry)
        check(container, count, reading)
        values: list[Any] = []
        for element in container:
            tag = element.tag
            if tag != entry:
                _check_entry_name(tag, entry, reading)
            values.append(item(element, reading))
        return reading.with_rows(values, places)

    return read


def _read_parameter_values(container: Element, reading: Reading) -> tuple[m.ParameterValueStruct, ...]:
    """The list of the largest messages: the readers' rules unrolled, since each step here is done 5,000 times."""
    places, count = reading.ahead(container, "ParameterValueStruct")
    _check_list(container, count, reading)
    values: list[m.ParameterValueStruct] = []
    append = values.append
    make = m.ParameterValueStruct
    types = XSD_TYPES
    for element in container:
        if len(element) == 2 and element.tag == "ParameterValueStruct":
            name_element, value_element = element
            if name_element.tag == "Name" and value_element.tag == "Value":
                name = name_element.text or ""
                type_name = types.get(value_element.get(XSI_TYPE))
                if type_name is not None and name[-1:] != "." and name == name.strip():
                    append(make(name, value_element.text or "", type_name))
                    continue
        append(_read_odd_parameter(element, reading))
    return reading.with_rows(values, places)


def _read_odd_parameter(element: Element, reading: Reading) -> m.ParameterValueStruct:
    quirks = reading.quirks
    if element.tag != "ParameterValueStruct":
        _check_entry_name(element.tag, "ParameterValueStruct", reading)
    name_element = value_element = None
    for child in element:
        tag = child.tag
        if tag[0] == "{":
            quirks[Quirk.QUALIFIED_ARGUMENT] = None
        tag = local_name(tag)
        if tag == "Name" and name_element is None:
            name_element = child
        elif tag == "Value" and value_element is None:
            value_element = child
        else:
            quirks[Quirk.REPEATED_ELEMENT if tag in ("Name", "Value") else Quirk.UNKNOWN_ELEMENT] = None
    if name_element is None:
        raise ArgumentProblem("ParameterValueStruct has no Name")
    name = _read_path(name_element, reading)
    if value_element is None:
        quirks[Quirk.MISSING_VALUE] = None
        return m.ParameterValueStruct(name, "", "")
    if name[-1:] == ".":
        quirks[Quirk.OBJECT_ROW] = None
    return m.ParameterValueStruct(name, value_element.text or "", _value_type(value_element, reading))


def _value_type(element: Element, reading: Reading) -> str:
    """The local name of xsi:type where the standard knows it, else ""."""
    text = xsi_type(element, reading)
    if not text:
        reading.quirks[Quirk.MISSING_TYPE] = None
        return ""
    local = text.rpartition(":")[2].strip()
    known = _TYPES.get(local)
    if known is not None:
        return known
    if local in ("base64", "Base64"):
        reading.quirks[Quirk.OLD_BASE64] = None
        return "base64Binary"
    known = _TYPES_FOLDED.get(local.lower())
    if known is not None:
        reading.quirks[Quirk.TYPE_CASE] = None
        return known
    reading.quirks[Quirk.UNKNOWN_TYPE] = None
    return ""


def xsi_type(element: Element, reading: Reading) -> str:
    """The text of xsi:type; by local name where its namespace is that of 1999, another, or none."""
    text = element.get(XSI_TYPE)
    if text is not None:
        return str(text)
    for key, value in element.items():
        if local_name(key) == "type":
            reading.quirks[Quirk.OLD_SCHEMA_NAMESPACE] = None
            return str(value)
    return ""


def _check_entry_name(tag: str, entry: str, reading: Reading) -> None:
    if tag[0] == "{":
        reading.quirks[Quirk.QUALIFIED_ARGUMENT] = None
    if local_name(tag) != entry:
        reading.quirks[Quirk.ARRAY_ITEM_NAME] = None


def _check_length(count: int, element: Element, reading: Reading) -> None:
    if count > reading.limits.max_list:
        raise ArgumentProblem(
            f"{local_name(element.tag)} has {count} entries; at most {reading.limits.max_list} are read (setting max_list)",
            FaultCode.RESOURCES_EXCEEDED,
        )


def _check_list(container: Element, count: int, reading: Reading) -> None:
    """The same for an array of structs, of which some may be read elsewhere."""
    if reading.elsewhere is None:
        _check_length(count, container, reading)
    else:
        _check_array_type(container, count + reading.elsewhere, reading)


def _check_array_type(container: Element, count: int, reading: Reading) -> None:
    """Names what is odd about an array's count; the number of entries is counted, never believed."""
    _check_length(count, container, reading)
    text = container.get(ARRAY_TYPE)
    if text is None:
        for key, value in container.items():
            if local_name(key) == "arrayType":
                text = value
    elif text.endswith(f"[{count}]"):
        return
    found = _COUNT.search(text) if text else None
    if found is None:
        reading.quirks[Quirk.MISSING_ARRAY_TYPE] = None
        return
    name_count(found.group(1), count, reading.quirks)


def name_count(digits: str, count: int, quirks: dict[Quirk, None]) -> None:
    """Names what is odd about the digits of a count."""
    if len(digits) > 1 and digits[0] == "0":
        quirks[Quirk.ZERO_PADDED_COUNT] = None
    if digits.lstrip("0") != (str(count) if count else "") or not digits:
        quirks[Quirk.WRONG_COUNT] = None


# --- construction -------------------------------------------------------------------------------------------------------------


def _reader(kind: Kind) -> Any:
    if isinstance(kind, Text):
        return _read_path if kind.path else _read_text
    if isinstance(kind, Number):
        return _number_reader(kind)
    if isinstance(kind, Flag):
        return _read_flag
    if isinstance(kind, Time):
        return _read_time
    if isinstance(kind, Nested):
        if not kind.may_lack:
            return _PART_READERS[kind.part]
        fields = STRUCTS[kind.part]
        return _struct_reader(
            kind.part,
            tuple(
                structs.replace(field, optional=True) if field.element in kind.may_lack else field for field in fields
            ),
        )
    if isinstance(kind, Array):
        return _array_reader(kind)
    return _repeated_reader(kind)


_PART_READERS: Final[dict[type[Struct], Reader]] = {}
for _part, _fields in STRUCTS.items():
    if _part is not m.ParameterValueStruct:  # It has no field for xsi:type; _read_parameter_values reads it.
        _PART_READERS[_part] = _struct_reader(_part, _fields)

_MESSAGE_READERS: Final[dict[type[m.Message], Reader]] = {
    cls: _struct_reader(cls, fields) if fields else _nothing_reader(cls)
    for cls, fields in FIELDS.items()
    if issubclass(cls, m.Message)
}


def read_spv_fault(element: Element, reading: Reading) -> m.SetParameterValuesFault:
    """One parameter's part of a SetParameterValues fault."""
    result = _PART_READERS[m.SetParameterValuesFault](element, reading)
    assert isinstance(result, m.SetParameterValuesFault)
    return result


def read_fault_code(element: Element, reading: Reading) -> int:
    """A FaultCode, which some stacks write with space around it."""
    value = _FAULT_CODE(element, reading)
    assert isinstance(value, int)
    return value


_FAULT_CODE: Final = _number_reader(Number())
