"""The ratio blocks of a large fleet: boxes of A_j and of the excess Y_j, bounded by answers.

With R_j = N_j - Gamma'_j and Y_j = R_j / A_j the bound of a task is Gamma'_j / A_j + Y_j: the first
part is convex in A_j, and only R_j = Y_j A_j is not. On a box of (A_j, Y_j) the Lagrangian's block

    gamma (Gamma' / A + Y) - lam (Gamma' + Y A) + mu A

is linear in Y and, at either end of Y, unimodal in A: its minimum has a closed form. The dual is
concave in the prices, so that a mixture of tables is worth at least the mixture of their values: a
leaf is bounded by the best mixture, which a small linear program finds.
"""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
from numpy.typing import NDArray

from mafl_opt.solvers.prices.fleet.arcs import Table
from mafl_opt.solvers.prices.fleet.arrays import Tasks
from mafl_opt.solvers.prices.highs import quiet_highs

__all__ = ["Mixtures", "Range", "mix", "progress_points", "ratio_blocks"]

Floats = NDArray[np.float64]

# Points of A at which the blocks, and tangents of 1/A, are taken.
_POINTS = 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Range:
    """A box of A_j and of the excess Y_j = (N_j - Gamma'_j) / A_j; arrays (tasks,)."""

    low: Floats
    high: Floats
    excess_low: Floats
    excess_high: Floats

    def split(self, what: str, task: int, at: float) -> tuple[Range, Range]:
        """Cut the range of ``progress`` or ``excess`` of a task in two."""
        names = ("low", "high") if what == "progress" else ("excess_low", "excess_high")
        parts = []
        for name in reversed(names):
            values = {key: getattr(self, key).copy() for key in self.__slots__}
            values[name][task] = at
            parts.append(Range(**values))
        return parts[0], parts[1]


def progress_points(low: float, high: float) -> Floats:
    """Points of a range of A at equal ratios; (6,)."""
    return np.asarray(np.geomspace(low, high, _POINTS))


def mix(tables: list[Table], weights: Floats) -> Table:
    """Return the mixture of tables; weights sum to 1."""
    kept = np.flatnonzero(weights > 0)
    return Table(*(sum(weights[k] * tables[k][part] for k in kept) for part in range(4)))


class Mixtures:
    """Tables with their answers, and the best mixture of them on a box.

    Parameters
    ----------
    tasks : Tasks
    typical : Table
        By whose prices the linear program is scaled.
    """

    def __init__(self, tasks: Tasks, typical: Table) -> None:
        self._tasks = tasks
        self._used = np.flatnonzero(tasks.weight > 0)
        error, progress = (np.where(x > 0, x, 1.0) for x in (typical.error, typical.progress))
        self._scale = typical._replace(error=error, progress=progress)
        self.tables: list[Table] = []
        self.values: list[float] = []
        self._lp = lp = quiet_highs()
        lp.changeObjectiveSense(highspy.ObjSense.kMaximize)
        none, nothing = np.zeros(0, dtype=np.int32), np.zeros(0)
        count = self._used.size
        lp.addRow(1.0, 1.0, 0, none, nothing)
        for _ in range(2 * count):
            lp.addRow(0.0, 0.0, 0, none, nothing)
        self._block_row = 1 + 2 * count
        for _ in range(2 * _POINTS * count):
            lp.addRow(-highspy.kHighsInf, 0.0, 0, none, nothing)
        for k in range(2 * count):
            row = np.array([1 + k], dtype=np.int32)
            lp.addCol(0.0, 0.0, highspy.kHighsInf, 1, row, np.array([-1.0]))
        for k in range(count):
            rows = np.arange(2 * _POINTS, dtype=np.int32) + self._block_row + 2 * _POINTS * k
            ones = np.ones(rows.size)
            lp.addCol(1.0, -highspy.kHighsInf, highspy.kHighsInf, rows.size, rows, ones)

    def add(self, table: Table, value: float) -> None:
        """Add a table and the value of the dual there, ratio blocks left out."""
        used = self._used
        entries = np.concatenate([
            [1.0], table.error[used] / self._scale.error[used],
            table.progress[used] / self._scale.progress[used],
        ])  # fmt: skip
        rows = np.arange(entries.size, dtype=np.int32)
        self._lp.addCol(value, 0.0, highspy.kHighsInf, rows.size, rows, entries)
        self.tables.append(table)
        self.values.append(value)

    def has(self, table: Table) -> bool:
        """Whether the table is there already."""
        return any(
            all(np.array_equal(a, b) for a, b in zip(table, one, strict=True))
            for one in self.tables
        )

    def improve(self, number: int, value: float) -> None:
        """Raise the value of a table."""
        self.values[number] = max(value, self.values[number])
        self._lp.changeColCost(3 * self._used.size + number, self.values[number])

    def best(self, box: Range) -> tuple[float, Floats]:
        """Bound of the best mixture on a box, and its weights; (tables,)."""
        lp, t = self._lp, self._tasks
        for k, j in enumerate(self._used):
            row = self._block_row + 2 * _POINTS * k
            for a in progress_points(box.low[j], box.high[j]):
                for y in (box.excess_low[j], box.excess_high[j]):
                    error = (y * a + t.start[j]) * self._scale.error[j]
                    lp.changeCoeff(int(row), int(k), error)
                    lp.changeCoeff(int(row), int(self._used.size + k), -a * self._scale.progress[j])
                    limit = t.weight[j] * (t.start[j] / a + y)
                    lp.changeRowBounds(int(row), -highspy.kHighsInf, limit)
                    row += 1
        lp.run()
        if lp.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            raise ArithmeticError(f"HiGHS: {lp.modelStatusToString(lp.getModelStatus())}")
        x = np.array(lp.getSolution().col_value)[3 * self._used.size :]
        weights = np.where(x > 1e-9, x, 0.0)
        weights /= weights.sum()
        return self.bound(box, weights), weights

    def bound(self, box: Range, weights: Floats) -> float:
        """Lower bound of O over the plans with totals in a box, from a mixture of tables."""
        # Weights found before the last tables came say nothing about those.
        known = weights.size
        error = weights @ np.array([table.error for table in self.tables[:known]])
        progress = weights @ np.array([table.progress for table in self.tables[:known]])
        total = float(weights @ np.array(self.values[:known]))
        return total + ratio_blocks(self._tasks, error, progress, box)


def ratio_blocks(tasks: Tasks, error: Floats, progress: Floats, box: Range) -> float:
    """Least of the ratio blocks of all weighted tasks over a box, at their prices."""
    total = 0.0
    for j in np.flatnonzero(tasks.weight > 0):
        total += _block(
            float(tasks.weight[j]), float(tasks.start[j]), float(error[j]), float(progress[j]),
            (float(box.low[j]), float(box.high[j])),
            (float(box.excess_low[j]), float(box.excess_high[j])),
        )  # fmt: skip
    return total


def _block(
    weight: float, start: float, error: float, progress: float,
    between: tuple[float, float], excess: tuple[float, float],
) -> float:  # fmt: skip
    """Minimum of gamma (Gamma' / A + Y) - lam (Gamma' + Y A) + mu A over a box."""
    low, high = between
    least = np.inf
    for y in excess:
        slope = progress - error * y
        best = np.sqrt(weight * start / slope) if slope > 0 else high
        for a in (low, high, min(max(best, low), high)):
            least = min(least, weight * (start / a + y) + slope * a)
    return float(least - error * start)
