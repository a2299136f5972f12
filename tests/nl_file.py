"""A reader of text .nl files, written after the format's description and apart from Pyomo.

D. M. Gay, "Writing .nl files" (Sandia report 2005-7907P), and the tables of "Hooking your solver to
AMPL". It knows the segments and operators that convex and polynomial models need, and fails on
any other.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

_BINARY = {0: operator.add, 1: operator.sub, 2: operator.mul, 3: operator.truediv, 5: math.pow}
_UNARY = {16: operator.neg, 39: math.sqrt, 43: math.log, 44: math.exp}
_SUM = 54


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NlFile:
    """One minimisation or maximisation with the names that stand beside it.

    Attributes
    ----------
    columns, rows : list of str
    column_limits, row_limits : list of (low, high)
    integer : int
        How many columns are integer or binary.
    bodies : list of callable
        Each row as a function of the list of values.
    objective : callable
    """

    columns: list[str]
    rows: list[str]
    column_limits: list[tuple[float, float]]
    row_limits: list[tuple[float, float]]
    integer: int
    bodies: list[Any]
    objective: Any

    def broken(self, point: dict[str, float], tolerance: float) -> set[str]:
        """Names of the rows that a point violates, and of the columns off their limits."""
        values = self.values(point)
        found = list(zip(self.columns, values, self.column_limits, strict=True))
        found += [
            (name, body(values), limits)
            for name, body, limits in zip(self.rows, self.bodies, self.row_limits, strict=True)
        ]
        return {
            name for name, value, (low, high) in found
            if not low - tolerance <= value <= high + tolerance
        }  # fmt: skip

    def values(self, point: dict[str, float]) -> list[float]:
        """Values in the order of the file; every column must be named, and no other."""
        assert set(point) == set(self.columns)
        return [point[name] for name in self.columns]

    def cost(self, point: dict[str, float]) -> float:
        """The objective at a point."""
        return self.objective(self.values(point))


def read_nl(path: Path) -> NlFile:
    """Read a .nl file with its .row and .col."""
    lines = [line.split("#")[0].strip() for line in path.read_text(encoding="ascii").splitlines()]
    header, lines = [line.split() for line in lines[:10]], lines[10:]
    assert header[0][0].startswith("g"), "a text .nl file"
    num_columns, num_rows, num_objectives = (int(word) for word in header[1][:3])
    assert num_objectives == 1
    defined: list[Any] = []
    nonlinear: dict[str, Any] = {}
    linear: dict[str, list[tuple[int, float]]] = {}
    limits: dict[str, list[tuple[float, float]]] = {}
    at = 0

    def pairs(count: int) -> list[tuple[int, float]]:
        nonlocal at
        part, at = lines[at : at + count], at + count
        return [(int(index), float(value)) for index, value in (line.split() for line in part)]

    def expression() -> Any:
        """Read one expression in prefix form; returns a function of columns and defined ones."""
        nonlocal at
        kind, word = lines[at][0], lines[at][1:]
        at += 1
        if kind == "n":
            number = float(word)
            return lambda v: number
        if kind == "v":
            index = int(word)
            if index < num_columns:
                return lambda v: v[index]
            return defined[index - num_columns]
        assert kind == "o", f"line {at + 10}: {kind}{word}"
        code = int(word)
        if code in _BINARY:
            function, left, right = _BINARY[code], expression(), expression()
            return lambda v: function(left(v), right(v))
        if code in _UNARY:
            function, inner = _UNARY[code], expression()
            return lambda v: function(inner(v))
        assert code == _SUM, f"operator {code}"
        count = int(lines[at])
        at += 1
        parts = [expression() for _ in range(count)]
        return lambda v: sum(part(v) for part in parts)

    while at < len(lines):
        key, numbers = lines[at][0], lines[at][1:].split()
        name = lines[at].split()[0]
        at += 1
        if key == "V":
            assert int(numbers[0]) == num_columns + len(defined)
            terms = pairs(int(numbers[1]))
            defined.append(_plus(expression(), terms))
        elif key in "CO":
            nonlinear[name] = expression()
        elif key in "JG":
            linear[name] = pairs(int(numbers[1]))
        elif key in "dx":
            pairs(int(numbers[0]))  # starting values
        elif key == "k":
            at += int(numbers[0])
        elif key in "br":
            count = num_columns if key == "b" else num_rows
            limits[key] = [_limits(line.split()) for line in lines[at : at + count]]
            at += count
        else:
            raise AssertionError(f"segment {name}")
    linear_binary, linear_integer, *nonlinear_integer = (int(word) for word in header[6][:5])
    names = path.with_suffix(".row").read_text(encoding="utf-8").split("\n")
    assert len(names) == num_rows + 2
    assert names[-1] == ""
    return NlFile(
        columns=path.with_suffix(".col").read_text(encoding="utf-8").splitlines(),
        rows=names[:num_rows],
        column_limits=limits["b"],
        row_limits=limits["r"],
        integer=linear_binary + linear_integer + sum(nonlinear_integer),
        bodies=[_plus(nonlinear[f"C{k}"], linear.get(f"J{k}", [])) for k in range(num_rows)],
        objective=_plus(nonlinear["O0"], linear.get("G0", [])),
    )


def _plus(function: Any, terms: list[tuple[int, float]]) -> Any:
    return lambda v: reduce(lambda total, term: total + term[1] * v[term[0]], terms, function(v))


def _limits(words: list[str]) -> tuple[float, float]:
    """One line of a segment of limits: 0 both, 1 above, 2 below, 3 none, 4 equal."""
    kind, numbers = int(words[0]), [float(word) for word in words[1:]]
    low = numbers[0] if kind in (0, 2, 4) else -math.inf
    high = {0: numbers[-1:], 1: numbers, 4: numbers}.get(kind, [math.inf])[0]
    return low, high
