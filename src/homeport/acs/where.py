"""Conditions on devices: a short whitelist of Python's expressions, checked once and compiled to a closure.

`model == "797xx" and "gold" in tags and param("Device.DeviceInfo.SoftwareVersion") < "2.1"`. The same checked tree is translated to
SQL in storage/sql. Nothing is ever evaluated as Python. A comparison with something unknown is false.
"""

import ast
import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import Struct

from homeport.acs.records import DeviceRecord, DeviceState, is_online
from homeport.errors import HomeportError

MAX_LENGTH: Final = 2_000
MAX_NODES: Final = 200

TEXT_FIELDS: Final = frozenset(
    {
        "id",
        "oui",
        "product_class",
        "serial_number",
        "manufacturer",
        "model",
        "software_version",
        "hardware_version",
        "provisioning_code",
        "address",
        "state",
    }
)
NUMBER_FIELDS: Final = frozenset({"first_seen", "last_inform"})
STATES: Final = tuple(sorted(state.value for state in DeviceState))
TEXT_TESTS: Final = frozenset({"startswith", "endswith", "contains"})

Param = Callable[[str], str | None]
"""Gives a device's parameter by its path, None where it is not known."""


class WhereError(HomeportError):
    """The expression is not one of the few that are allowed; the message says where, what is wrong, and shows one that works."""


class _Wrong(Exception):
    """A part of the expression cannot be taken."""

    def __init__(self, node: ast.expr, why: str) -> None:
        super().__init__(why)
        self.node, self.why = node, why


class Field(Struct, frozen=True):
    name: str


class Parameter(Struct, frozen=True):
    path: str
    number: bool = False


class Literal(Struct, frozen=True):
    value: str | float


class Compare(Struct, frozen=True):
    """op: one of == != < <= > >=."""

    op: str
    left: "Operand"
    right: "Operand"


class TextTest(Struct, frozen=True):
    """test: startswith, endswith or contains."""

    test: str
    subject: "Operand"
    text: str


class Member(Struct, frozen=True):
    """Whether the device has a tag (subject None), or whether the operand is one of the given texts."""

    subject: "Operand | None"
    texts: tuple[str, ...]


class Not(Struct, frozen=True):
    inner: "Condition"


class Online(Struct, frozen=True):
    """Whether the device is online at this time, seconds since 1970."""

    now: float


class Both(Struct, frozen=True):
    """all: every part holds; else: one is enough."""

    all: bool
    parts: tuple["Condition", ...]


class Always(Struct, frozen=True):
    value: bool


Operand = Field | Parameter | Literal
Condition = Compare | TextTest | Member | Not | Both | Always | Online
Test = Callable[[DeviceRecord, Param], bool]

_EXAMPLE = 'an example that works: model == "797xx" and "gold" in tags'
_TEXTS: Final = re.compile(r"\"[^\"]*\"|'[^']*'")
_ONE_EQUALS: Final = re.compile(r"(?<![=!<>])=(?!=)")
"""What people write who think of SQL."""

_OPS: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_MIRRORED: Final = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Where(Struct, frozen=True):
    """A checked condition. text: as the user wrote it. test: the compiled closure."""

    text: str
    condition: Condition
    test: Test


def parse(text: str, *, now: float = 0.0) -> Where:
    """The condition that the text says. now: what `online` and `age` mean, seconds since 1970. Raises WhereError."""
    if len(text) > MAX_LENGTH:
        raise WhereError(f"the condition is {len(text)} characters long; at most {MAX_LENGTH} are allowed")
    source = text.strip()
    try:
        tree = ast.parse(source, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        where = ""
        if isinstance(e, SyntaxError) and e.offset is not None and "\n" not in source:
            where = f"at character {(e.offset or len(source) + 1) + _blanks(text)}: "  # 0: the end came too early
        said = f"{where}{getattr(e, 'msg', e)}"
        if _ONE_EQUALS.search(_TEXTS.sub("", source)):
            said += "; two values are compared by =="
        raise WhereError(f"the condition is not an expression ({said}); {_EXAMPLE}") from e
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise WhereError(f"the condition has too many parts; at most {MAX_NODES} are allowed")
    try:
        condition = _condition(_Timed(now).visit(tree.body))
    except _Wrong as e:
        part = ast.get_source_segment(source, e.node) or ""
        where = f"at character {_place(source, e.node) + _blanks(text)}"
        raise WhereError(f"{where}, {part[:100]!r}: {e.why}; {_EXAMPLE}") from None
    return Where(text=text, condition=condition, test=_compile(condition))


def _blanks(text: str) -> int:
    """How many blanks the text begins with."""
    return len(text) - len(text.lstrip())


def _place(source: str, node: ast.expr) -> int:
    """Which character of the source the part begins with, from 1; `ast` counts lines, and bytes of UTF-8."""
    lines = source.splitlines(keepends=True)
    line = lines[node.lineno - 1].encode()[: node.col_offset]
    return sum(map(len, lines[: node.lineno - 1])) + len(line.decode(errors="replace")) + 1


class _Timed(ast.NodeTransformer):
    """Puts the time where it is asked for: `age(FIELD)` and `online` know what time it is; the comparison becomes one of the field."""

    def __init__(self, now: float) -> None:
        self._now = now

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.copy_location(_OnlineNode(self._now), node) if node.id == "online" else node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        match node:
            case ast.Call(func=ast.Name(id="age"), args=[ast.Name(id=name)], keywords=[]) if name in NUMBER_FIELDS:
                return ast.copy_location(_AgeNode(name, self._now), node)
        return node


class _OnlineNode(ast.expr):
    _fields = ()

    def __init__(self, now: float) -> None:
        super().__init__()
        self.now = now


class _AgeNode(ast.expr):
    _fields = ()

    def __init__(self, field: str, now: float) -> None:
        super().__init__()
        self.field, self.now = field, now


def uses_parameters(condition: Condition) -> bool:
    """Whether the condition asks for what no column holds: values of parameters, or whether the device is online."""
    match condition:
        case Compare(left=left, right=right):
            return isinstance(left, Parameter) or isinstance(right, Parameter)
        case TextTest(subject=subject) | Member(subject=subject):
            return isinstance(subject, Parameter)
        case Not(inner=inner):
            return uses_parameters(inner)
        case Both(parts=parts):
            return any(uses_parameters(p) for p in parts)
        case Online():
            return True
        case Always():
            return False


def _condition(node: ast.expr) -> Condition:
    match node:
        case _OnlineNode(now=now):
            return Online(now)
        case ast.BoolOp(op=op, values=values):
            return Both(isinstance(op, ast.And), tuple(_condition(v) for v in values))
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return Not(_condition(inner))
        case ast.Constant(value=bool() as value):
            return Always(value)
        case ast.Compare(left=left, ops=ops, comparators=rights):
            parts = []
            for relation, right in zip(ops, rights, strict=True):
                parts.append(_comparison(node, left, relation, right))
                left = right
            return parts[0] if len(parts) == 1 else Both(True, tuple(parts))
        case ast.Call(func=ast.Name(id=name), args=[subject, ast.Constant(value=str() as text)], keywords=[]):
            if name not in TEXT_TESTS:
                raise _call(node)
            operand = _operand(subject)
            if _is_number(operand):
                raise _Wrong(node, "this function takes text")
            return TextTest(name, operand, text)
    if isinstance(node, ast.Call):
        raise _call(node)
    raise _Wrong(node, "this is not a condition")


def _call(node: ast.Call) -> _Wrong:
    """Why this call cannot be taken."""
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name in TEXT_TESTS:
        return _Wrong(node, f'write {name}(FIELD, "text")')
    if name == "age":
        return _Wrong(node, f"write age({') or age('.join(sorted(NUMBER_FIELDS))}), and compare it with seconds")
    if name == "param":
        return _Wrong(node, 'write param("Device.…"), and compare it')
    return _Wrong(node, f"there is no such function; there are age, param, {', '.join(sorted(TEXT_TESTS))}")


def _comparison(node: ast.expr, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Condition:
    if isinstance(op, ast.In | ast.NotIn):
        member = _member(node, left, right)
        return Not(member) if isinstance(op, ast.NotIn) else member
    if type(op) not in _OPS:
        raise _Wrong(node, "this comparison is not allowed")
    if isinstance(left, _AgeNode) or isinstance(right, _AgeNode):
        return _age(left, _OPS[type(op)], right)
    a, b = _operand(left), _operand(right)
    if isinstance(a, Parameter) and _is_number(b):
        a = Parameter(a.path, True)
    if isinstance(b, Parameter) and _is_number(a):
        b = Parameter(b.path, True)
    if _is_number(a) != _is_number(b):
        raise _Wrong(node, "text and a number cannot be compared")
    if type(op) in (ast.Eq, ast.NotEq):
        for subject, other in ((a, b), (b, a)):
            _known_states(node, subject, [str(other.value)] if isinstance(other, Literal) else [])
    return Compare(_OPS[type(op)], a, b)


def _age(left: ast.expr, op: str, right: ast.expr) -> Condition:
    """`age(FIELD) > 60` is `FIELD < now - 60`."""
    if isinstance(right, _AgeNode) and not isinstance(left, _AgeNode):
        left, right, op = right, left, _MIRRORED[op]
    assert isinstance(left, _AgeNode)
    seconds = None if isinstance(right, _AgeNode) else _operand(right)
    if not isinstance(seconds, Literal) or isinstance(seconds.value, str):
        raise _Wrong(left, f"it is compared with a number of seconds: age({left.field}) > 3600")
    return Compare(_MIRRORED[op], Field(left.field), Literal(left.now - seconds.value))


def _member(node: ast.expr, left: ast.expr, right: ast.expr) -> Condition:
    if isinstance(right, ast.Name) and right.id == "tags":
        if isinstance(left, ast.Constant) and isinstance(left.value, str):
            return Member(None, (left.value,))
        raise _Wrong(node, "only a text can be looked for in tags")
    if isinstance(right, ast.Tuple | ast.List | ast.Set):
        texts = [e.value for e in right.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)]
        if len(texts) == len(right.elts):
            operand = _operand(left)
            if not _is_number(operand):
                _known_states(node, operand, texts)
                return Member(operand, tuple(texts))
    raise _Wrong(node, "`in` takes tags, or a list of texts")


def _operand(node: ast.expr) -> Operand:
    match node:
        case _OnlineNode():
            raise _Wrong(node, "online is compared with nothing; write online, or not online")
        case ast.Name(id=name) if name in TEXT_FIELDS or name in NUMBER_FIELDS:
            return Field(name)
        case ast.Name(id="tags"):
            raise _Wrong(node, 'tags is compared with nothing; write "gold" in tags')
        case ast.Name(id=name):
            there = (*sorted(TEXT_FIELDS | NUMBER_FIELDS), "online", "tags")
            near = difflib.get_close_matches(name, there, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise _Wrong(node, f"there is no field {name}; {meant}there are {', '.join(there)}")
        case ast.Constant(value=bool()):
            raise _Wrong(node, "a truth value cannot be compared; parameters are text, write 'true' or '1' in quotes")
        case ast.Constant(value=str() as text):
            return Literal(text)
        case ast.Constant(value=int() | float() as number):
            return Literal(_finite(node, number))
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return Literal(-_finite(node, number))
        case ast.Call(func=ast.Name(id="param"), args=[ast.Constant(value=str() as path)], keywords=[]):
            return Parameter(path)
    if isinstance(node, ast.Call):
        raise _call(node)
    raise _Wrong(node, "this is neither a field, nor param(PATH), nor a text or number")


def _finite(node: ast.expr, number: float) -> float:
    try:
        found = float(number)
    except OverflowError:
        found = math.inf
    if math.isinf(found):
        raise _Wrong(node, "this number is too large")
    return found


def _known_states(node: ast.expr, subject: Operand, texts: Iterable[str]) -> None:
    """Refuse a state that there is not: it would select nothing, without a word."""
    wrong = [text for text in texts if text not in STATES] if subject == Field("state") else []
    if wrong:
        raise _Wrong(node, f"there is no state {wrong[0]!r}; there are {', '.join(STATES)}")


def _is_number(operand: Operand) -> bool:
    match operand:
        case Field(name=name):
            return name in NUMBER_FIELDS
        case Parameter(number=number):
            return number
        case Literal(value=value):
            return not isinstance(value, str)


def _compile(condition: Condition) -> Test:
    match condition:
        case Online(now=now):
            return lambda d, p: is_online(d, now)
        case Always(value=value):
            return lambda d, p: value
        case Not(inner=inner):
            test = _compile(inner)
            return lambda d, p: not test(d, p)
        case Both(all=every, parts=parts):
            tests = [_compile(p) for p in parts]
            if every:
                return lambda d, p: all(t(d, p) for t in tests)
            return lambda d, p: any(t(d, p) for t in tests)
        case Member(subject=None, texts=texts):
            return lambda d, p: texts[0] in d.tags
        case Member(subject=subject, texts=texts):
            assert subject is not None
            get, among = _getter(subject), frozenset(texts)
            return lambda d, p: get(d, p) in among
        case TextTest(test=test_name, subject=subject, text=text):
            get = _getter(subject)
            match test_name:
                case "startswith":
                    return lambda d, p: str(get(d, p) or "").startswith(text)
                case "endswith":
                    return lambda d, p: str(get(d, p) or "").endswith(text)
            return lambda d, p: text in str(get(d, p) or "")
        case Compare(op=op, left=left, right=right):
            a, b, compare = _getter(left), _getter(right), _COMPARE[op]

            def test_compare(d: DeviceRecord, p: Param) -> bool:
                x, y = a(d, p), b(d, p)
                return x is not None and y is not None and compare(x, y)

            return test_compare


def _getter(operand: Operand) -> Callable[[DeviceRecord, Param], str | float | None]:
    match operand:
        case Literal(value=value):
            return lambda d, p: value
        case Field(name=name):
            get = operator.attrgetter(name)
            return lambda d, p: get(d)
        case Parameter(path=path, number=False):
            return lambda d, p: p(path)
        case Parameter(path=path):
            return lambda d, p: _number(p(path))


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
