"""The restricted master of a large fleet: a small linear program over answers to prices.

Devices are cut into groups; every price table asked so far gives a column a group: what the group's
plans add up to. The ratio is relaxed on a box of A_j and Y_j = (N_j - Gamma'_j) / A_j (see
`ratio`): the convex hull of (A, Y, Y A, Gamma' / A) is that of the two ends of Y, so A has a share
and tangents of Gamma' / A at either, and Y is their mixture.
Its duals are prices of everything devices share. Scaled: N by Gamma', A by half the step caps' sum,
limits to 1. A trust region can hold the duals of the limits near given prices: a column that adds
to a limit at the highest price, and one that takes of it at the lowest (boxstep method).
"""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
from numpy.typing import NDArray

from mafl_opt.solvers.prices.fleet.arcs import Table
from mafl_opt.solvers.prices.fleet.arrays import Tasks
from mafl_opt.solvers.prices.fleet.ratio import Range, progress_points, ratio_blocks
from mafl_opt.solvers.prices.highs import quiet_highs

__all__ = ["Master", "Point", "worth"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_INF = highspy.kHighsInf
# Cost of missing progress by its whole scale, in typical objectives, and so many times what it is
# worth where a box has least of it: prices of progress end there.
_ELASTIC, _DEARER = 100.0, 2.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Point:
    """Solution of the master.

    value : float
        Of the relaxation; no bound, answers are missing.
    error, progress, energy
        R_j = N_j - Gamma'_j, A_j (tasks,) and J of the mixture of answers.
    ratio : (tasks,)
        What the relaxation takes for Gamma'_j / A_j + Y_j.
    table : Table
        Its duals.
    shares : (tables,)
        How much of the mixture was answered to each table asked so far; sums to 1.
    """

    value: float
    error: Floats
    progress: Floats
    ratio: Floats
    energy: float
    table: Table
    shares: Floats

    def objective(self, tasks: Tasks) -> float:
        """O of the mixture of plans; inf while it leaves a weighted task untrained."""
        used = tasks.weight > 0
        if (self.progress[used] <= 0).any():
            return np.inf
        ratio = (tasks.start + self.error)[used] / self.progress[used]
        return float(tasks.weight[used] @ ratio) + tasks.energy_weight * self.energy


class Master:
    """The linear program; see the module's docstring.

    Parameters
    ----------
    tasks : Tasks
    groups : int
    scale : float
        Typical objective.

    Attributes
    ----------
    tables : list of Table
        Asked so far.
    """

    def __init__(self, tasks: Tasks, groups: int, scale: float) -> None:
        self.tasks, self.groups, self.scale = tasks, groups, scale
        self.num_tasks, self.num_slots = tasks.bits.size, tasks.capacity.size
        self.by_progress = 0.5 * self.num_slots * tasks.cap
        self.by_error = np.where(tasks.start > 0, tasks.start, 1.0)
        self._used = tasks.weight > 0
        self.tables: list[Table] = []
        self._values: list[float] = []
        self._asked: list[int] = []
        self._totals = [np.zeros(1 + 2 * self.num_tasks + self.num_slots * (1 + self.num_tasks))]
        self._lp = lp = quiet_highs()
        shared = self.num_slots * (1 + self.num_tasks)
        none, nothing = np.zeros(0, dtype=np.int32), np.zeros(0)
        for _ in range(shared + groups):
            lp.addRow(-_INF, 1.0, 0, none, nothing)
        self._group_row = shared
        self._progress_row = shared + groups
        self._error_row = self._progress_row + self.num_tasks
        self._end_row = self._error_row + self.num_tasks
        self._tangent_row = self._end_row + 4 * self.num_tasks
        for _ in range(self.num_tasks):
            lp.addRow(0.0, _INF, 0, none, nothing)
        for _ in range(5 * self.num_tasks):
            lp.addRow(-_INF, 0.0, 0, none, nothing)
        points = progress_points(1.0, 1.0).size
        for _ in range(2 * points * self.num_tasks):
            lp.addRow(-_INF, _INF, 0, none, nothing)
        # A at the low and the high end of Y, what stands for Gamma' / A there, the weight of the
        # high end, what A is short of; more numbers come with the box.
        for end in range(2):
            for j in range(self.num_tasks):
                rows = [self._progress_row + j, *(self._end_row + 4 * j + 2 * end + np.arange(2))]
                index = np.array(rows, dtype=np.int32)
                lp.addCol(0.0, 0.0, 1.0, 3, index, np.array([-1.0, 1.0, -1.0]))
        price = tasks.weight * self.by_error / self.by_progress / scale
        for end in range(2):
            for j in range(self.num_tasks):
                first = self._tangent_row + points * (2 * j + end)
                index = np.arange(first, first + points, dtype=np.int32)
                lp.addCol(price[j], 0.0, _INF, points, index, np.ones(points))
        for _ in range(self.num_tasks):
            lp.addCol(0.0, 0.0, 1.0, 0, none, nothing)
        for j in range(self.num_tasks):
            row = np.array([self._progress_row + j], dtype=np.int32)
            lp.addCol(0.0, 0.0, _INF, 1, row, np.array([1.0]))
        self._price = price
        self._fixed = 6 * self.num_tasks
        lp.addCol(0.0, 1.0, 1.0, 0, none, nothing)
        self._trust = np.arange(2 * shared, dtype=np.int32) + self._fixed + 1
        for side in (-1.0, 1.0):
            for limit in range(shared):
                lp.addCol(0.0, 0.0, 0.0, 1, np.array([limit], dtype=np.int32), np.array([side]))

    def add(self, table: Table, totals: Floats, value: float = -np.inf) -> None:
        """Add what groups' plans at a table add up to.

        Parameters
        ----------
        table : Table
        totals : (groups, 1 + 2 J + G + G J)
            As `kernel` orders it.
        value : float
            Of the dual there, ratio blocks left out; -inf where it is of no use.
        """
        tasks = self.tasks
        self.tables.append(table)
        self._values.append(value)
        for group, row in enumerate(totals):
            if not row.any():
                continue
            index, entry = self._entries(row)
            some = np.flatnonzero(entry)
            self._lp.addCol(
                tasks.energy_weight * row[0] / self.scale, 0.0, _INF, some.size + 1,
                np.append(index[some], self._group_row + group).astype(np.int32),
                np.append(entry[some], 1.0),
            )  # fmt: skip
            self._totals.append(row)
            self._asked.append(len(self.tables) - 1)

    def correct(self, totals: Floats) -> None:
        """Add fixed totals to whatever is chosen: what the answers are known to miss."""
        index, value = self._entries(totals)
        for row, entry in zip(index, value, strict=True):
            self._lp.changeCoeff(int(row), self._fixed, float(entry))
        self._lp.changeColCost(self._fixed, self.tasks.energy_weight * totals[0] / self.scale)
        self._totals[0] = totals

    def _entries(self, totals: Floats) -> tuple[Ints, Floats]:
        """Rows and scaled entries of a column."""
        tasks, most, slots = self.tasks, self.num_tasks, self.num_slots
        error = totals[1 : 1 + most] / self.by_error
        progress = totals[1 + most : 1 + 2 * most] / self.by_progress
        uplink = totals[1 + 2 * most : 1 + 2 * most + slots] / np.maximum(tasks.capacity, 1.0)
        step = totals[1 + 2 * most + slots :].reshape(-1, most) / tasks.cap
        index = np.concatenate([
            np.arange(self._group_row), np.arange(self._progress_row, self._end_row)
        ])  # fmt: skip
        return index, np.concatenate([uplink, step.ravel(), progress, error])

    def dual(self, box: Range) -> tuple[float, Table]:
        """Highest value of the dual on a box at a table asked so far, and that table."""
        values = [
            value
            + worth(self.tasks, table, self._totals[0])
            + ratio_blocks(self.tasks, table.error, table.progress, box)
            for table, value in zip(self.tables, self._values, strict=True)
        ]
        best = int(np.argmax(values))
        return values[best], self.tables[best]

    def _trust_near(self, centre: Table | None, radius: float) -> None:
        """Hold the prices of limits near those of a table, or let them go.

        The radius is relative to the price of a step cap at which progress is worth nothing.
        """
        count = self._trust.size
        cost, most = np.zeros(count), np.zeros(count)
        if centre is not None:
            by_step = 0.5 * centre.progress * self.tasks.cap
            step = (centre.step * self.tasks.cap).ravel()
            price = np.concatenate([centre.uplink * np.maximum(self.tasks.capacity, 1.0), step])
            reach = np.concatenate([
                np.full(self.num_slots, by_step.sum()), np.tile(by_step, self.num_slots)
            ])  # fmt: skip
            low = price - radius * reach
            cost = np.concatenate([price + radius * reach, -np.maximum(low, 0.0)]) / self.scale
            # A price of 0 at least is what the limit itself says.
            most = np.where(np.concatenate([reach > 0, low > 0]), _INF, 0.0)
        self._lp.changeColsCost(count, self._trust, cost)
        self._lp.changeColsBounds(count, self._trust, np.zeros(count), most)

    def solve(self, box: Range, centre: Table | None = None, radius: float = 0.0) -> Point:
        """Solve on a box; what cannot reach it misses it at a high price.

        Parameters
        ----------
        box : Range
        centre : Table or None
            Where the prices of limits are looked for; what the mixture then uses may exceed them.
        radius : float
            How far from there, see `_trust_near`.
        """
        self._trust_near(centre, radius)
        tasks, most, lp = self.tasks, self.num_tasks, self._lp
        by_ratio = self.by_error / self.by_progress
        low, high = box.low / self.by_progress, box.high / self.by_progress
        least, top = box.excess_low / by_ratio, box.excess_high / by_ratio
        start = tasks.start / self.by_error
        worth = tasks.weight * tasks.start / box.low**2 * self.by_progress / self.scale
        offset = float(self._price[self._used] @ least[self._used])
        for j in np.flatnonzero(self._used).tolist():
            ends, weight = (j, most + j), 4 * most + j
            lp.changeColCost(5 * most + j, _ELASTIC + _DEARER * worth[j])
            lp.changeColCost(weight, self._price[j] * (top[j] - least[j]))
            for end, excess in zip(ends, (least[j], top[j]), strict=True):
                lp.changeColBounds(end, 0.0, high[j])
                lp.changeCoeff(self._error_row + j, end, -excess)
            # (1 - w) A_l <= A <= (1 - w) A_u at the low end, the same with w at the high one.
            row = self._end_row + 4 * j
            for k, value in enumerate((high[j], -low[j], -high[j], low[j])):
                lp.changeCoeff(row + k, weight, value)
                lp.changeRowBounds(row + k, -_INF, value if k < 2 else 0.0)
            points = progress_points(low[j], high[j])
            for end, column in enumerate(ends):
                row = self._tangent_row + points.size * (2 * j + end)
                for k, at in enumerate(points.tolist()):
                    steep = 2.0 * start[j] / at
                    lp.changeCoeff(row + k, column, start[j] / at**2)
                    lp.changeCoeff(row + k, weight, -steep if end else steep)
                    lp.changeRowBounds(row + k, 0.0 if end else steep, _INF)
        lp.run()
        if lp.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            raise ArithmeticError(f"HiGHS: {lp.modelStatusToString(lp.getModelStatus())}")
        solution = lp.getSolution()
        x, dual = np.array(solution.col_value), -np.array(solution.row_dual) * self.scale
        chosen = x[self._trust[-1] + 1 :]
        totals = self._totals[0] + chosen @ np.array(self._totals[1:])
        shares = np.bincount(self._asked, chosen, minlength=len(self.tables))
        slots = self.num_slots
        error = dual[self._error_row : self._end_row]
        progress = -dual[self._progress_row : self._error_row]
        table = Table(
            error=np.maximum(error, 0.0) / self.by_error * self._used,
            progress=np.maximum(progress, 0.0) / self.by_progress * self._used,
            uplink=np.maximum(dual[:slots], 0.0) / np.maximum(tasks.capacity, 1.0),
            step=np.maximum(dual[slots : slots * (1 + most)], 0.0).reshape(slots, most) / tasks.cap,
        )
        return Point(
            value=(float(lp.getObjectiveValue()) + offset) * self.scale,
            error=totals[1 : 1 + most],
            progress=totals[1 + most : 1 + 2 * most],
            ratio=(x[2 * most : 4 * most].reshape(2, most).sum(axis=0) + least
                   + x[4 * most : 5 * most] * (top - least)) * by_ratio,
            energy=float(totals[0]), table=table, shares=shares / max(float(shares.sum()), 1e-300),
        )  # fmt: skip


def worth(tasks: Tasks, table: Table, totals: Floats) -> float:
    """Cost of fixed totals at the prices."""
    most, slots = tasks.bits.size, tasks.capacity.size
    uplink = totals[1 + 2 * most : 1 + 2 * most + slots]
    step = totals[1 + 2 * most + slots :].reshape(slots, most)
    return float(
        tasks.energy_weight * totals[0] + table.error @ totals[1 : 1 + most]
        - table.progress @ totals[1 + most : 1 + 2 * most]
        + table.uplink @ uplink + (table.step * step).sum()
    )  # fmt: skip
