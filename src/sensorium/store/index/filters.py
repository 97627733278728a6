"""Conditions on metadata columns: a small language, parsed to a value, never executed as code.

    price < 10 and kind in ('tea', 'kettle') and not sold
    `name with spaces` = "red" or weight is null

Comparisons are = (or ==) != < <= > >= and in (...). A row without a value fulfils no comparison and no negation of one,
as in SQL; `is null` and `is not null` ask for it. `and` binds more tightly than `or`, `not` more tightly than both.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.types import InputError

TOKEN = re.compile(
    r"""\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?!\w))|(?P<string>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.)*")"""
    r"""|(?P<tick>`[^`]+`)|(?P<sign><=|>=|!=|<>|==|=|<|>|\(|\)|,)|(?P<word>[^\W\d][\w.]*))"""
)
COMPARE = {"=": "equal", "==": "equal", "!=": "not_equal", "<>": "not_equal", "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal"}  # fmt: skip
RESERVED = {"and", "or", "not", "in", "is", "null", "true", "false"}
DEEPEST = 50  # brackets within brackets
EXAMPLE = "write for example: price < 10 and kind in ('tea', 'kettle') and not sold"

Value = str | int | float | bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Compare:
    """A column against a value, by one of the names in COMPARE's values."""

    column: str
    by: str
    value: Value


@dataclass(frozen=True, kw_only=True, slots=True)
class Among:
    """A column whose value is one of several."""

    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """A column without a value."""

    column: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Not:
    """What is not so."""

    part: "Node"


@dataclass(frozen=True, kw_only=True, slots=True)
class All:
    """All of the parts."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Some:
    """At least one of the parts."""

    parts: tuple["Node", ...]


Node = Compare | Among | Missing | Not | All | Some


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """A condition on the rows of an index; `Filter.parse` reads it from text."""

    tree: Node

    @classmethod
    def parse(cls, text: str) -> "Filter":
        """Read a condition (see the module). Raises InputError that names the position of what is wrong."""
        return cls(tree=_Parser(text).whole())

    def mask(self, table: Any) -> np.ndarray:
        """(n,) bool: which rows of a pyarrow table fulfil it.

        Raises InputError for a column that is not there and for a value of another kind than the column's.
        """
        found = _evaluate(self.tree, table)
        return found.fill_null(False).to_numpy(zero_copy_only=False).astype(bool)


def _evaluate(node: Node, table: Any) -> Any:
    """A pyarrow array of true, false and null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(node, Not):
        return pc.invert(_evaluate(node.part, table))
    if isinstance(node, All | Some):
        join: Callable = pc.and_kleene if isinstance(node, All) else pc.or_kleene
        found = _evaluate(node.parts[0], table)
        for part in node.parts[1:]:
            found = join(found, _evaluate(part, table))
        return found
    column = _column(table, node.column)
    if isinstance(node, Missing):
        return column.is_null()
    values = node.values if isinstance(node, Among) else (node.value,)
    for value in values:
        _same_kind(node.column, column.type, value)
    if pa.types.is_null(column.type):
        return pa.chunked_array([pa.nulls(len(column), pa.bool_())])
    if isinstance(node, Compare):
        return getattr(pc, node.by)(column, pa.scalar(node.value))
    if pa.types.is_integer(column.type):
        column = (
            column.cast(pa.float64(), safe=False) if any(isinstance(v, float) for v in values) else column
        )
    found = pc.is_in(column, pa.array(list(values)).cast(column.type))
    return pc.if_else(column.is_valid(), found, pa.scalar(None, pa.bool_()))


def _column(table: Any, name: str) -> Any:
    import pyarrow as pa

    if name not in table.column_names:
        raise InputError(
            "no such column in the index", got=name, fix=f"it has {', '.join(table.column_names)}"
        )
    found = table.column(name)
    return found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found])


def _same_kind(name: str, kind: Any, value: Value) -> None:
    import pyarrow as pa

    text, boolean = pa.types.is_large_string(kind) or pa.types.is_string(kind), pa.types.is_boolean(kind)
    if pa.types.is_null(kind) or (isinstance(value, str) == text and isinstance(value, bool) == boolean):
        return
    held, how = (
        ("texts", "'...'")
        if text
        else ("true and false", "true or false")
        if boolean
        else ("numbers", "a number")
    )
    raise InputError(f"the column {name} holds {held}", got=value, fix=f"compare it with {how}")


class _Parser:
    """Recursive descent over the tokens of one condition."""

    def __init__(self, text: str):
        self.text, self.at, self.depth = text, 0, 0
        self.tokens = self._tokens()

    def whole(self) -> Node:
        found = self._some()
        if self._peek()[0] != "end":
            raise self._wrong("'and', 'or' or the end")
        return found

    def _tokens(self) -> list[tuple[str, str, int]]:
        found, at, end = [], 0, len(self.text.rstrip())
        while at < end:
            match = TOKEN.match(self.text, at)
            if match is None or match.lastgroup is None:
                at += len(self.text[at:]) - len(self.text[at:].lstrip())
                raise self._error("something that is no condition", at)
            word = match[match.lastgroup]
            kind = match.lastgroup
            if kind == "word" and word.lower() in RESERVED:
                kind, word = "key", word.lower()
            found.append((kind, word, match.start(match.lastgroup)))
            at = match.end()
        return [*found, ("end", "", end)]

    def _peek(self) -> tuple[str, str, int]:
        return self.tokens[self.at]

    def _take(self, *words: str) -> str:
        """The next token where it is one of these signs or key words, else ""."""
        kind, word, _ = self._peek()
        if kind in ("sign", "key") and word in words:
            self.at += 1
            return word
        return ""

    def _need(self, word: str) -> None:
        if not self._take(word):
            raise self._wrong(f"'{word}'")

    def _some(self) -> Node:
        parts = [self._all()]
        while self._take("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Some(parts=tuple(parts))

    def _all(self) -> Node:
        parts = [self._not()]
        while self._take("and"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else All(parts=tuple(parts))

    def _not(self) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._wrong(f"at most {DEEPEST} conditions within each other")
        if self._take("not"):
            found: Node = Not(part=self._not())
        elif self._take("("):
            found = self._some()
            self._need(")")
        else:
            found = self._leaf()
        self.depth -= 1
        return found

    def _leaf(self) -> Node:
        kind, word, _ = self._peek()
        if kind not in ("word", "tick"):
            raise self._wrong("the name of a column")
        self.at += 1
        column = word.strip("`") if kind == "tick" else word
        if self._take("is"):
            negated = self._take("not")
            self._need("null")
            return Not(part=Missing(column=column)) if negated else Missing(column=column)
        if self._take("in"):
            return Among(column=column, values=self._values())
        if self._take("not"):
            self._need("in")
            return Not(part=Among(column=column, values=self._values()))
        if by := self._take(*COMPARE):
            return Compare(column=column, by=COMPARE[by], value=self._value())
        return Compare(column=column, by="equal", value=True)  # `sold` alone

    def _values(self) -> tuple[Value, ...]:
        self._need("(")
        found = [self._value()]
        while self._take(","):
            found.append(self._value())
        self._need(")")
        kinds = {
            "text" if isinstance(v, str) else "boolean" if isinstance(v, bool) else "number" for v in found
        }
        if len(kinds) > 1:
            raise InputError(
                "a list of values of different kinds", got=self.text, fix="give texts only, or numbers only"
            )
        return tuple(map(float, found)) if any(isinstance(v, float) for v in found) else tuple(found)

    def _value(self) -> Value:
        kind, word, _ = self._peek()
        if kind == "key" and word in ("true", "false"):
            value: Value = word == "true"
        elif kind == "number":
            whole = re.fullmatch(r"[-+]?\d{1,18}", word)
            value = int(word) if whole else float(word)
        elif kind == "string":
            inner = word[1:-1].replace("''", "'") if word[0] == "'" else word[1:-1]
            value = re.sub(r"\\(.)", r"\1", inner)
        else:
            raise self._wrong("a value: a number, 'text', true or false")
        self.at += 1
        return value

    def _wrong(self, expected: str) -> InputError:
        kind, word, at = self._peek()
        return self._error(
            f"{'the end' if kind == 'end' else json.dumps(word, ensure_ascii=False)}, not {expected}", at
        )

    def _error(self, found: str, at: int) -> InputError:
        mark = f"{self.text[:at]}>>>{self.text[at:]}"
        return InputError(
            f"the condition cannot be read: at character {at + 1} stands {found}", got=mark, fix=EXAMPLE
        )


def filter_of(where: "Filter | str | None", table: Any) -> np.ndarray:
    """(n,) bool: rows that fulfil a condition, all where there is none. Raises InputError."""
    if where is None:
        return np.ones(table.num_rows, bool)
    return (Filter.parse(where) if isinstance(where, str) else where).mask(table)
