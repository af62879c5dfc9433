"""Conditions on devices as SQL: the part that columns can answer. What asks for parameters is left to the closure."""

from typing import Any

from homeport.acs.where import (
    Always,
    Both,
    Compare,
    Condition,
    Field,
    Literal,
    Member,
    Not,
    Online,
    Operand,
    Parameter,
    TextTest,
    uses_parameters,
)


def to_sql(condition: Condition) -> tuple[str, list[Any]]:
    """(SQL, parameters) that select at least the devices that the condition selects, and no other where it is exact."""
    if isinstance(condition, Both) and condition.all:
        parts = [p for p in condition.parts if not uses_parameters(p)]
        return _join(parts, " AND ", "1")
    if uses_parameters(condition):
        return "1", []
    return _exact(condition)


def _join(parts: "list[Condition] | tuple[Condition, ...]", word: str, nothing: str) -> tuple[str, list[Any]]:
    texts, values = [], []
    for part in parts:
        text, more = _exact(part)
        texts.append(text)
        values += more
    return (f"({word.join(texts)})" if texts else nothing), values


def _exact(condition: Condition) -> tuple[str, list[Any]]:
    match condition:
        case Always(value=value):
            return ("1" if value else "0"), []
        case Not(inner=inner):
            text, values = _exact(inner)
            return f"NOT {text}", values
        case Both(all=every, parts=parts):
            return _join(parts, " AND " if every else " OR ", "1" if every else "0")
        case Member(subject=None, texts=texts):
            return "(instr(d.tags, ?) > 0)", [f"|{texts[0]}|"]
        case Member(subject=subject, texts=texts):
            assert subject is not None
            name, values = _operand(subject)
            return f"({name} IN ({', '.join('?' * len(texts))}))", values + list(texts)
        case TextTest(test=test, subject=subject, text=text):
            name, values = _operand(subject)
            if test == "contains":
                return f"(instr({name}, ?) > 0)", [*values, text]
            if test == "startswith":
                return f"(substr({name}, 1, ?) = ?)", [*values, len(text), text]
            # substr counts from the end for a negative start; the empty text ends everything.
            return ("1", []) if not text else (f"(substr({name}, ?) = ?)", [*values, -len(text), text])
        case Compare(op=op, left=left, right=right):
            a, first = _operand(left)
            b, second = _operand(right)
            return f"({a} {'=' if op == '==' else op} {b})", first + second
        case Online():
            raise AssertionError("what columns cannot answer never reaches here")


def _operand(operand: Operand) -> tuple[str, list[Any]]:
    match operand:
        case Field(name=name):
            return f"d.{name}", []
        case Literal(value=value):
            return "?", [value]
        case Parameter():
            raise AssertionError("conditions on parameters never reach here")
