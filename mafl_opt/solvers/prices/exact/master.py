"""The restricted master: a linear program over device plans that HiGHS keeps from node to node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mafl_opt.solvers.prices.exact.knapsack import Cut, separate
from mafl_opt.solvers.prices.exact.oracle import Limits, Oracle, Plans
from mafl_opt.solvers.prices.exact.pool import Pool
from mafl_opt.solvers.prices.exact.ratios import RatioBox
from mafl_opt.solvers.prices.exact.tariff import Tariff
from mafl_opt.solvers.prices.highs import linear_program, quiet_highs

__all__ = ["Master", "Point"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Cost of leaving a node by its whole size, in objectives: far above any true price.
_ELASTIC = 30.0
# Tangents of Gamma' / A on a box, how far below it, relative, they may stay, and how often they are
# moved before prices are asked for.
_TANGENTS = 6
_LOW, _TOUCHES = 1e-5, 1
# Plans by device at which the dearer ones are forgotten, and how many then stay.
_MOST_PLANS, _KEPT_PLANS = 120, 60
# Rounds after which an idle cut is dropped.
_PATIENCE = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Point:
    """Optimum of the restricted master.

    value : float
    plans : (plans,), shares of the plans in the pool
    progress, excess : (tasks,), A_j and Y_j; nan for tasks of weight 0
    elastic : float
        By how much the node had to be left.
    tariff : Tariff
    """

    value: float
    plans: Floats
    progress: Floats
    excess: Floats
    elastic: float
    tariff: Tariff


class Master:
    """Device plans, cuts, and the linear program over them, set to one node at a time.

    Its columns are A, Y, Gamma' / A, lack of A, excess of N (of each weighted task), emptiness of
    each device, then the plans. Its rows are devices, uplinks, step caps, A, two sides of Y A,
    tangents of Gamma' / A, then the cuts.

    Parameters
    ----------
    oracle : Oracle
    box : RatioBox
        Holds those of all nodes.
    scale : float
        Typical objective.

    Attributes
    ----------
    pool : Pool
    cuts : list of Cut
    shared : (slots * (1 + tasks),)
        Limits on what plans share, as in the pool.
    """

    def __init__(self, oracle: Oracle, box: RatioBox, scale: float) -> None:
        self.oracle, self.pool = oracle, Pool(oracle)
        self.cuts: list[Cut] = []
        s, rules = oracle.problem.scenario, oracle.rules
        self._used = used = np.flatnonzero(s.tasks.weight > 0)
        self._devices, self._slots, self._tasks = s.num_devices, s.num_slots, s.num_tasks
        self._theta = np.array(s.tasks.step_cap, dtype=float)
        capacity = np.array(s.network.uplink_capacity, dtype=float)
        self.shared = np.append(capacity, np.ones(s.num_slots * s.num_tasks))
        self._cut_matrix = np.zeros((0, len(oracle.columns)))
        self._age, self._paid = np.zeros(0, dtype=np.int64), np.zeros(0)
        self._a_ref = box.progress_max[used]
        self._n_ref = np.maximum(self._a_ref * box.excess_max[used], 1e-300)
        self._start = rules.start[used]
        self._t_ref = np.where(self._start > 0, self._start / self._a_ref, 1.0)
        self._touched = np.zeros((used.size, _TANGENTS))
        count, shared = used.size, self._slots * (1 + self._tasks)
        self._lack_row = self._devices + shared
        self._cut_row = self._lack_row + (3 + _TANGENTS) * count
        self._plan_column = 5 * count + self._devices
        self._lp = self._empty_program(scale)

    def _empty_program(self, scale: float) -> Any:
        """Return the program without plans and cuts; `frame` gives boxes their numbers."""
        inf, count, devices = highspy.kHighsInf, self._used.size, self._devices
        k = np.arange(count)
        entries = [(np.arange(devices), 5 * count + np.arange(devices), np.ones(devices))]
        entries += [(self._lack_row + k, k, 1.0 / self._a_ref),
                    (self._lack_row + k, 3 * count + k, -np.ones(count))]  # fmt: skip
        for m in (1, 2):
            entries += [(self._lack_row + m * count + k, 4 * count + k, -np.ones(count))]
        for m in range(_TANGENTS):
            row = self._lack_row + (3 + m) * count + k
            entries += [(row, 2 * count + k, -1.0 / self._t_ref)]
        rows, cols, values = (np.concatenate(part) for part in zip(*entries, strict=True))
        gamma, nothing = self.oracle.rules.weight[self._used], np.zeros(count)
        dear = _ELASTIC * scale
        high = np.concatenate([np.full(5 * count, inf), np.zeros(devices)])
        limit = np.concatenate([np.ones(devices), self.shared, np.zeros((3 + _TANGENTS) * count)])
        lp = quiet_highs(simplex_strategy=0)
        lp.passModel(
            linear_program(
                sp.csc_array((values, (rows, cols)), shape=(self._cut_row, self._plan_column)),
                col_cost=np.concatenate([
                    nothing, gamma, gamma, np.full(2 * count + devices, dear),
                ]),
                col_lower=np.zeros(self._plan_column), col_upper=high,
                row_lower=np.full(limit.size, -inf), row_upper=limit,
            )
        )  # fmt: skip
        return lp

    # -- plans -----------------------------------------------------------------------------

    def add(self, plans: Plans) -> int:
        """Add plans to the pool and to the program; returns how many are new."""
        before = len(self.pool)
        fresh = self.pool.add(plans)
        if fresh:
            which = np.arange(before, before + fresh)
            barred = self.pool.barred(self._limits)[which]
            used, pool = self._used, self.pool
            error = pool.error[which][:, used].T / self._n_ref[:, None]
            start, row, value = pool.coefficients(
                which, -pool.progress[which][:, used].T / self._a_ref[:, None], error, error,
                np.zeros((_TANGENTS * used.size, fresh)), pool.in_cuts(self._cut_matrix, which),
            )  # fmt: skip
            self._lp.addCols(
                fresh, self.oracle.problem.scenario.energy_weight * pool.energy[which],
                np.zeros(fresh), np.where(barred, 0.0, highspy.kHighsInf), row.size, start, row,
                value,
            )  # fmt: skip
        return fresh

    def _forget(self, cost: Floats) -> None:
        """Keep the cheapest plans of every device at the costs of choices, when there are many."""
        pool = self.pool
        if len(pool) <= _MOST_PLANS * self._devices:
            return
        value = pool.values(cost)
        order = np.lexsort((value, pool.device))
        device = pool.device[order]
        rank = np.arange(order.size) - np.searchsorted(device, device)
        stays = self._basic()[0][self._plan_column :]
        stays[order[rank < _KEPT_PLANS]] = True
        gone, basis = np.flatnonzero(~stays), self._lp.getBasis()
        self._lp.deleteCols(gone.size, (self._plan_column + gone).astype(np.int32))
        pool.keep(np.flatnonzero(stays))
        status = basis.col_status
        kept = [*range(self._plan_column), *(self._plan_column + np.flatnonzero(stays))]
        basis.col_status = [status[k] for k in kept]
        self._lp.setBasis(basis)

    def _basic(self) -> tuple[Bools, Bools]:
        """Which columns, and which rows, are basic."""
        columns, rows = (np.zeros(n, dtype=bool) for n in self._size())
        basic = np.array(self._lp.getBasicVariables()[1])
        columns[basic[basic >= 0]] = True
        rows[-1 - basic[basic < 0]] = True
        return columns, rows

    def _size(self) -> tuple[int, int]:
        return self._lp.getNumCol(), self._lp.getNumRow()

    # -- the program -----------------------------------------------------------------------

    def frame(self, limits: Limits, box: RatioBox, cost: Floats) -> None:
        """Set the program to a node.

        Parameters
        ----------
        limits : Limits
        box : RatioBox
        cost : (choices,)
            Reduced costs that tell which plans may be worth keeping.
        """
        self._limits = limits
        self._forget(cost)
        lp, used, count, inf = self._lp, self._used, self._used.size, highspy.kHighsInf
        low_a, high_a = box.progress_min[used], box.progress_max[used]
        low_y, high_y = box.excess_min[used], box.excess_max[used]
        first = np.arange(2 * count, dtype=np.int32)
        lp.changeColsBounds(
            first.size, first, np.append(low_a, low_y), np.append(high_a, high_y)
        )  # fmt: skip
        for m, (y, a) in enumerate(((low_y, high_a), (high_y, low_a))):
            for k in range(count):
                row = self._lack_row + (1 + m) * count + k
                lp.changeCoeff(row, k, -y[k] / self._n_ref[k])
                lp.changeCoeff(row, count + k, -a[k] / self._n_ref[k])
                lp.changeRowBounds(row, -inf, -y[k] * a[k] / self._n_ref[k])
        for k in np.flatnonzero(self._start > 0).tolist():
            for m, a in enumerate(np.geomspace(low_a[k], high_a[k], _TANGENTS).tolist()):
                self._touch(k, m, a)
        forced = np.asarray(limits.forced.any(axis=1))
        for i in range(self._devices):
            lp.changeRowBounds(i, 1.0 if forced[i] else -inf, 1.0)
        devices = np.arange(5 * count, self._plan_column, dtype=np.int32)
        lp.changeColsBounds(
            devices.size, devices, np.zeros(devices.size), np.where(forced, inf, 0.0)
        )
        plans = np.arange(len(self.pool), dtype=np.int32)
        if plans.size:
            high = np.where(self.pool.barred(limits), 0.0, inf)
            lp.changeColsBounds(
                plans.size, self._plan_column + plans, np.zeros(plans.size), high
            )  # fmt: skip

    def fix(self, plan: int) -> None:
        """Let a device use one plan of the pool and no other, until the next `frame`."""
        own = np.flatnonzero(self.pool.device == self.pool.device[plan])
        mine = (own == plan).astype(float)
        columns = (self._plan_column + own).astype(np.int32)
        self._lp.changeColsBounds(own.size, columns, mine, mine)

    def _touch(self, k: int, m: int, a: float) -> None:
        """Put a tangent of Gamma' / A of a weighted task at a value of A."""
        row = self._lack_row + (3 + m) * self._used.size + k
        self._touched[k, m] = a
        slope = self._start[k] / a**2 / self._t_ref[k]
        self._lp.changeCoeff(row, k, -slope)
        self._lp.changeRowBounds(row, -highspy.kHighsInf, -2.0 * a * slope)

    def _touch_at(self, x: Floats) -> bool:
        """Move the furthest tangents to a point that they leave too low; whether there was any."""
        count, moved = self._used.size, False
        for k in np.flatnonzero(self._start > 0).tolist():
            a, low = float(x[k]), float(x[2 * count + k])
            if low < self._start[k] / a * (1.0 - _LOW):
                self._touch(k, int(np.argmax(np.abs(np.log(self._touched[k] / a)))), a)
                moved = True
        return moved

    def solve(self) -> Point | None:
        """Solve the program; None when HiGHS gives no optimum."""
        lp = self._lp
        for touches in range(_TOUCHES, -1, -1):
            lp.run()
            if lp.getModelStatus() != highspy.HighsModelStatus.kOptimal:
                # Once more, from nothing.
                lp.clearSolver()
                lp.run()
                if lp.getModelStatus() != highspy.HighsModelStatus.kOptimal:
                    return None
            found = lp.getSolution()
            x = np.array(found.col_value)
            if not touches or not self._touch_at(x):
                break
        dual = np.maximum(-np.array(found.row_dual), 0.0)
        t, g, d, used = self._tasks, self._slots, self._devices, self._used
        count, row = used.size, self._lack_row
        lam, mu = np.zeros(t), np.zeros(t)
        progress, excess = np.full(t, np.nan), np.full(t, np.nan)
        mu[used] = dual[row : row + count] / self._a_ref
        both = dual[row + count : row + 2 * count] + dual[row + 2 * count : row + 3 * count]
        lam[used] = both / self._n_ref
        progress[used], excess[used] = x[:count], x[count : 2 * count]
        self._paid = paid = dual[self._cut_row :]
        asked = np.flatnonzero(paid)
        session = paid[asked] @ self._cut_matrix[asked]
        return Point(
            value=float(lp.getInfo().objective_function_value), plans=x[self._plan_column :],
            progress=progress, excess=excess,
            elastic=float(x[3 * count : self._plan_column].sum()),
            tariff=Tariff(
                numerator=lam, progress=mu, uplink=dual[d : d + g],
                step=dual[d + g : row].reshape(g, t) / self._theta, session=session,
                earned=np.array([paid.sum()]),
            ),
        )  # fmt: skip

    # -- cuts ------------------------------------------------------------------------------

    def cut(self, shares: Floats) -> int:
        """Separate the step caps' hulls at a point; returns how many cuts are new."""
        x = np.bincount(
            self.oracle.choices.column, self.pool.usage(shares), minlength=len(self.oracle.columns)
        ).astype(np.float64)
        self._drop_idle()
        new = [
            found
            for index, row in enumerate(self.oracle.caps)
            if (found := separate(row, index, x[row.columns])) is not None
        ]
        for found in new:
            dense = np.zeros(x.size)
            dense[found.columns] = found.coefficient
            self._cut_matrix = np.vstack([self._cut_matrix, dense])
            self.cuts.append(found)
            self._age = np.append(self._age, 0)
            values = self.pool.in_cuts(dense[None], np.arange(len(self.pool)))[0]
            at = np.flatnonzero(values)
            self._lp.addRow(-highspy.kHighsInf, 1.0, at.size,
                            (self._plan_column + at).astype(np.int32), values[at])  # fmt: skip
        return len(new)

    def _drop_idle(self) -> None:
        """Drop the cuts that have not been paid for in the last rounds."""
        self._age = np.where(self._paid > 0, 0, self._age + 1)
        if not (self._age > _PATIENCE).any():
            return
        # Without what is basic there, the basis stays one.
        kept = (self._age <= _PATIENCE) | ~self._basic()[1][self._cut_row :]
        idle, stays = np.flatnonzero(~kept), np.flatnonzero(kept)
        basis = self._lp.getBasis()
        self._lp.deleteRows(idle.size, (self._cut_row + idle).astype(np.int32))
        status = basis.row_status
        rows = [*range(self._cut_row), *(self._cut_row + stays)]
        basis.row_status = [status[k] for k in rows]
        self._lp.setBasis(basis)
        self.cuts = [self.cuts[k] for k in stays]
        self._age, self._cut_matrix = self._age[stays], self._cut_matrix[stays]
