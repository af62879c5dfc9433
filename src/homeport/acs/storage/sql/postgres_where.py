"""Conditions on devices as PostgreSQL's SQL: the part that columns can answer. What asks for parameters is left to the closure."""

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
    TextTest,
    uses_parameters,
)


class Translation:
    """SQL with numbered parameters, of which the first `before` are the caller's. values: those of the condition."""

    def __init__(self, condition: Condition, *, before: int) -> None:
        self.values: list[Any] = []
        self._before = before
        self.sql = self._coarse(condition)

    def _coarse(self, condition: Condition) -> str:
        """Selects at least the devices that the condition selects, and no other where no parameter is asked for."""
        if isinstance(condition, Both) and condition.all:
            return self._join([p for p in condition.parts if not uses_parameters(p)], " AND ", "true")
        return "true" if uses_parameters(condition) else self._exact(condition)

    def _join(self, parts: "list[Condition] | tuple[Condition, ...]", word: str, nothing: str) -> str:
        return f"({word.join([self._exact(part) for part in parts])})" if parts else nothing

    def _put(self, value: Any, type: str) -> str:
        self.values.append(value)
        return f"${self._before + len(self.values)}::{type}"

    def _text(self, text: str) -> str:
        # No row holds a NUL, but a condition may ask for one: U+FFFF, which no XML holds, is found as seldom.
        plain = text.replace("\0", "\uffff").encode("utf-8", "replace").decode()
        return f'({self._put(plain, "text")} COLLATE "C")'

    def _exact(self, condition: Condition) -> str:
        match condition:
            case Always(value=value):
                return "true" if value else "false"
            case Not(inner=inner):
                return f"(NOT {self._exact(inner)})"
            case Both(all=every, parts=parts):
                return self._join(parts, " AND " if every else " OR ", "true" if every else "false")
            case Member(subject=None, texts=texts):
                return f"(strpos(d.tags, {self._text(f'|{texts[0]}|')}) > 0)"
            case Member(subject=subject, texts=texts):
                assert subject is not None
                name = self._operand(subject)
                return f"({name} IN ({', '.join([self._text(t) for t in texts])}))" if texts else "false"
            case TextTest(test=test, subject=subject, text=text):
                name = self._operand(subject)
                if test == "contains":
                    return f"(strpos({name}, {self._text(text)}) > 0)"
                side = "left" if test == "startswith" else "right"
                return f"({side}({name}, {len(text)}) = {self._text(text)})"
            case Compare(op=op, left=left, right=right):
                a, b = self._operand(left), self._operand(right)
                return f"({a} {'=' if op == '==' else op} {b})"
            case Online():
                raise AssertionError("what columns cannot answer never reaches here")

    def _operand(self, operand: Operand) -> str:
        match operand:
            case Field(name=name):
                return f"d.{name}"
            case Literal(value=str() as text):
                return self._text(text)
            case Literal(value=number):
                return self._put(float(number), "float8")
        raise AssertionError("conditions on parameters never reach here")
