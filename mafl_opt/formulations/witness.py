"""Witnesses of non-convexity: two points of a constraint block whose midpoint breaks it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mafl_opt.formulations.places import PLACES, Point
from mafl_opt.formulations.problem import Problem
from mafl_opt.formulations.session_figures import SessionFigures

__all__ = ["Witness", "find_witness"]

_PAIRS = 200
# Round-off of a feasible point, and a violation far above it; both relative to the limit.
_MET = 1e-9
_BROKEN = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """Two points that satisfy a block and whose midpoint does not.

    Attributes
    ----------
    where : str
        Which of the block's constraints.
    first, second : dict
        Values of each variable, one a session where there are several.
    amount, limit : float
        By how much the midpoint breaks the constraint, and its right-hand side, in `unit`.
    unit : str
    """

    where: str
    first: dict[str, tuple[float, ...]]
    second: dict[str, tuple[float, ...]]
    amount: float
    limit: float
    unit: str

    @property
    def middle(self) -> dict[str, tuple[float, ...]]:
        """The midpoint."""
        return {
            name: tuple(0.5 * (a + b) for a, b in zip(values, self.second[name], strict=True))
            for name, values in self.first.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        points = {"first": self.first, "second": self.second, "middle": self.middle}
        plain = {key: {n: list(v) for n, v in point.items()} for key, point in points.items()}
        return {"where": self.where, **plain, "amount": self.amount, "limit": self.limit,
                "unit": self.unit}  # fmt: skip


def find_witness(problem: Problem, block: str, rng: np.random.Generator) -> Witness | None:
    """Look for a witness among drawn pairs of points of a block; ``None`` when none turned up."""
    for place in PLACES[block](problem, SessionFigures.of(problem), rng):
        size = abs(place.limit) or 1.0
        best: tuple[float, Point, Point] | None = None
        for _ in range(_PAIRS):
            first, second = place.draw(), place.draw()
            if first is None or second is None:
                continue
            assert max(place.violation(first), place.violation(second)) <= _MET * size, place.where
            amount = place.violation({k: 0.5 * (v + second[k]) for k, v in first.items()})
            if best is None or amount > best[0]:
                best = (amount, first, second)
        if best is not None and best[0] > _BROKEN * size:
            amount, first, second = best
            return Witness(
                where=place.where, first=_tuples(first), second=_tuples(second), amount=amount,
                limit=place.limit, unit=place.unit,
            )  # fmt: skip
    return None


def _tuples(point: Point) -> dict[str, tuple[float, ...]]:
    return {name: tuple(np.ravel(value).tolist()) for name, value in point.items()}
