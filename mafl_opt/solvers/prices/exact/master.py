"""The restricted master: a linear program over device plans, solved by HiGHS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mafl_opt.solvers.prices.exact.knapsack import Cut, separate
from mafl_opt.solvers.prices.exact.oracle import Limits, Oracle, Plans
from mafl_opt.solvers.prices.exact.ratios import RatioBox
from mafl_opt.solvers.prices.exact.tariff import Tariff
from mafl_opt.solvers.prices.highs import linear_program, quiet_highs

__all__ = ["Master", "Point"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Cost of leaving a node by its whole size, in objectives: far above any true price.
_ELASTIC = 30.0
_TANGENTS = 3
# Plans kept from node to node, by device, and rounds after which an idle cut is dropped.
_KEPT_PLANS = 100
_PATIENCE = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Point:
    """Optimum of the restricted master.

    value : float
    plans : (plans,), shares of the plans in the pool
    progress, ratio : (tasks,), A_j and Xi_j; nan without a box
    elastic : float
        By how much the node had to be left.
    tariff : Tariff
    """

    value: float
    plans: Floats
    progress: Floats
    ratio: Floats
    elastic: float
    tariff: Tariff


class Master:
    """Pool of device plans and cuts, and the linear program over them on one node at a time.

    Parameters
    ----------
    oracle : Oracle
    scale : float
        Typical objective.
    """

    def __init__(self, oracle: Oracle, scale: float) -> None:
        self.oracle, self.scale = oracle, scale
        self.plans: Plans = []
        self.cuts: list[Cut] = []
        self._known: set[tuple[int, tuple[int, ...]]] = set()
        self._parts: list[Floats] = []
        s = oracle.problem.scenario
        self._used = np.flatnonzero(s.tasks.weight > 0)
        self._devices, self._slots, self._tasks = s.num_devices, s.num_slots, s.num_tasks
        self._capacity = np.array(s.network.uplink_capacity, dtype=float)
        self._theta = np.array(s.tasks.step_cap, dtype=float)
        self._cut_matrix = np.zeros((0, len(oracle.columns)))
        self._age = np.zeros(0, dtype=np.int64)
        self._paid = np.zeros(0)
        self._lp: Any = None

    # -- the pool --------------------------------------------------------------------------

    def add(self, plans: Plans) -> int:
        """Add plans to the pool, and to the program if one is framed; returns how many are new."""
        fresh = [plan for plan in plans if plan not in self._known]
        for plan in fresh:
            self._known.add(plan)
            self.plans.append(plan)
            self._parts.append(self._totals(plan[1]))
        if fresh and self._lp is not None:
            self._append(np.arange(len(self.plans) - len(fresh), len(self.plans)))
        return len(fresh)

    def _totals(self, chosen: tuple[int, ...]) -> Floats:
        """Energy, N_j, A_j, uploads, steps over caps of a plan, flat."""
        o, c = self.oracle, self.oracle.columns
        k = np.array(chosen, dtype=np.int64)
        at = o.choices.column[k]
        out = np.zeros(1 + 2 * self._tasks + self._slots * (1 + self._tasks))
        out[0] = o.choices.energy[k].sum()
        task, upload = c.task[at], c.upload[at] - 1
        np.add.at(out, 1 + task, o.choices.error[k])
        np.add.at(out, 1 + self._tasks + task, c.progress[at])
        np.add.at(out, 1 + 2 * self._tasks + upload, 1.0)
        cap = 1 + 2 * self._tasks + self._slots + upload * self._tasks + task
        np.add.at(out, cap, c.step[at] / self._theta[task])
        return out

    def forget(self, cost: Floats) -> None:
        """Keep the cheapest plans of every device at the costs of choices; ends the program."""
        value = np.array([cost[list(chosen)].sum() for _, chosen in self.plans])
        device = np.array([i for i, _ in self.plans], dtype=np.int64)
        order = np.lexsort((value, device))
        rank = np.arange(order.size) - np.searchsorted(device[order], device[order])
        kept = np.sort(order[rank < _KEPT_PLANS])
        self.plans = [self.plans[k] for k in kept]
        self._parts = [self._parts[k] for k in kept]
        self._known = set(self.plans)
        self._lp = None

    # -- the program -----------------------------------------------------------------------

    def frame(self, limits: Limits, box: RatioBox | None, weights: tuple[Floats, Floats]) -> None:
        """Set the program up for a node.

        Parameters
        ----------
        limits : Limits
        box : RatioBox or None
            None: the ratios are replaced by the linear ``weights``.
        weights : two arrays (tasks,)
            lam and mu in the costs of plans; zero with a box.
        """
        self._box, self._limits, self._weights = box, limits, weights
        rules, inf = self.oracle.rules, highspy.kHighsInf
        used = self._used if box is not None else self._used[:0]
        count = used.size
        forced = limits.forced.any(axis=1)
        devices, caps = self._devices, self._slots * self._tasks
        upper = [np.ones(devices), self._capacity, np.ones(caps)]
        lower = [np.where(forced, 1.0, -inf), np.full(self._slots + caps, -inf)]
        # Columns: A, Xi, lack of A, excess of N, emptiness of forced devices.
        cost = [np.zeros(count), rules.weight[used], *[np.zeros(count)] * 2, np.zeros(devices)]
        low = [np.zeros(4 * count + devices)]
        high = [np.full(4 * count, inf), np.where(forced, inf, 0.0)]
        entries: list[tuple[int, int, float]] = []
        row = devices + self._slots + caps
        first_void = 4 * count
        entries += [(i, first_void + i, 1.0) for i in range(devices)]
        cost[4] = np.full(devices, _ELASTIC * self.scale)
        if box is not None:
            a_ref, x_ref = box.progress_max[used], np.maximum(box.ratio_max[used], 1e-300)
            self._a_ref, self._n_ref = a_ref, a_ref * x_ref
            low[0][: 2 * count] = np.append(box.progress_min[used], box.ratio_min[used])
            high[0][: 2 * count] = np.append(box.progress_max[used], box.ratio_max[used])
            cost[2] = np.full(count, _ELASTIC * self.scale)
            cost[3] = np.full(count, _ELASTIC * self.scale)
            rhs = []
            for k, j in enumerate(used):
                al, au = box.progress_min[j], box.progress_max[j]
                xl, xu = box.ratio_min[j], box.ratio_max[j]
                entries += [(row + k, k, 1.0 / a_ref[k]), (row + k, 2 * count + k, -1.0)]
                for m, (x_end, a_end) in enumerate(((xl, au), (xu, al))):
                    r = row + count * (1 + m) + k
                    entries += [(r, k, -x_end / self._n_ref[k]),
                                (r, count + k, -a_end / self._n_ref[k]),
                                (r, 3 * count + k, -1.0)]  # fmt: skip
            rhs.append(np.zeros(count))
            for x_end, a_end in ((box.ratio_min[used], box.progress_max[used]),
                                 (box.ratio_max[used], box.progress_min[used])):  # fmt: skip
                rhs.append((-x_end * a_end - rules.start[used]) / self._n_ref)
            upper += rhs
            lower.append(np.full(3 * count, -inf))
            row += 3 * count
            for t in range(_TANGENTS):
                at = box.progress_min[used] + (box.progress_max - box.progress_min)[used] * (
                    t / max(_TANGENTS - 1, 1))  # fmt: skip
                for k in range(count):
                    entries += [(row + k, k, -rules.start[used[k]] / at[k] ** 2 / x_ref[k]),
                                (row + k, count + k, -1.0 / x_ref[k])]  # fmt: skip
                upper.append(-(2 * rules.start[used] / at + rules.slope[used]) / x_ref)
                lower.append(np.full(count, -inf))
                row += count
        self._fixed_rows = row
        upper.append(np.ones(len(self.cuts)))
        lower.append(np.full(len(self.cuts), -inf))
        row += len(self.cuts)
        rows, cols, values = (np.array(part) for part in zip(*entries, strict=True))
        size = 4 * count + devices
        self._lp = quiet_highs()
        self._lp.passModel(
            linear_program(
                sp.csc_array((values, (rows, cols)), shape=(row, size)),
                col_cost=np.concatenate(cost), col_lower=np.concatenate(low),
                col_upper=np.concatenate(high), row_lower=np.concatenate(lower),
                row_upper=np.concatenate(upper),
            )
        )  # fmt: skip
        self._own = size
        self._append(np.arange(len(self.plans)))

    def _coefficients(self, which: Ints) -> sp.csc_array:
        """Rows by plans of the program; (rows, which)."""
        t, g = self._tasks, self._slots
        parts = np.array([self._parts[k] for k in which]).reshape(which.size, -1)
        device = np.array([self.plans[k][0] for k in which])
        first = sp.csc_array(
            (np.ones(which.size), (device, np.arange(which.size))),
            shape=(self._devices, which.size),
        )
        blocks = [parts[:, 1 + 2 * t : 1 + 2 * t + g + g * t].T]
        if self._box is not None:
            used = self._used
            error = parts[:, 1 + used].T / self._n_ref[:, None]
            blocks += [-parts[:, 1 + t + used].T / self._a_ref[:, None], error, error,
                       np.zeros((_TANGENTS * used.size, which.size))]  # fmt: skip
        if self.cuts:
            blocks.append(self._cut_rows(self._cut_matrix, which))
        return sp.csc_array(sp.vstack([first, *(sp.csc_array(block) for block in blocks)]))

    def _cut_rows(self, matrix: Floats, which: Ints) -> Floats:
        """Coefficients of plans in cuts; (cuts, which)."""
        column = self.oracle.choices.column
        flat = np.concatenate([column[list(self.plans[k][1])] for k in which])
        edges = np.cumsum([0, *(len(self.plans[k][1]) for k in which)])[:-1]
        return np.asarray(np.add.reduceat(matrix[:, flat], edges, axis=1))

    def costs(self, which: Ints) -> Floats:
        """Costs of plans in the program."""
        parts = np.array([self._parts[k] for k in which]).reshape(which.size, -1)
        t, (lam, mu) = self._tasks, self._weights
        spent = self.oracle.problem.scenario.energy_weight * parts[:, 0]
        return np.asarray(spent + parts[:, 1 : 1 + t] @ lam - parts[:, 1 + t : 1 + 2 * t] @ mu)

    def _append(self, which: Ints) -> None:
        if not which.size or self._lp is None:
            return
        matrix = self._coefficients(which)
        high = np.array([
            0.0 if self._barred(self.plans[k]) else highspy.kHighsInf for k in which
        ])  # fmt: skip
        self._lp.addCols(
            which.size, self.costs(which), np.zeros(which.size), high, matrix.nnz,
            matrix.indptr[:-1].astype(np.int32), matrix.indices.astype(np.int32), matrix.data,
        )  # fmt: skip

    def _barred(self, plan: tuple[int, tuple[int, ...]]) -> bool:
        limits, c, (device, chosen) = self._limits, self.oracle.columns, plan
        if limits.barred[list(chosen)].any():
            return True
        idle = limits.forced[device].copy()
        for k in self.oracle.choices.column[list(chosen)]:
            idle[c.receive[k] : c.upload[k]] = False
        return bool(idle.any())

    def solve(self) -> Point | None:
        """Solve the program; None when HiGHS gives no optimum."""
        lp = self._lp
        if lp is None:
            return None
        lp.run()
        if lp.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        found = lp.getSolution()
        x, dual = np.array(found.col_value), -np.array(found.row_dual)
        dual = np.maximum(dual, 0.0)
        t, g, d, used = self._tasks, self._slots, self._devices, self._used
        count = used.size if self._box is not None else 0
        lam, mu = (w.copy() for w in self._weights)
        progress, ratio = np.full(t, np.nan), np.full(t, np.nan)
        row = d + g + g * t
        if self._box is not None:
            mu[used] += dual[row : row + count] / self._a_ref
            both = dual[row + count : row + 2 * count] + dual[row + 2 * count : row + 3 * count]
            lam[used] += both / self._n_ref
            progress[used], ratio[used] = x[:count], x[count : 2 * count]
        session, paid = np.zeros(len(self.oracle.columns)), dual[self._fixed_rows :]
        self._paid = paid
        if self.cuts:
            session += paid @ self._cut_matrix
        return Point(
            value=float(lp.getInfo().objective_function_value), plans=x[self._own :],
            progress=progress, ratio=ratio,
            elastic=float(x[2 * count : self._own].sum()),
            tariff=Tariff(
                numerator=lam, progress=mu, uplink=dual[d : d + g],
                step=dual[d + g : row].reshape(g, t) / self._theta, session=session,
                earned=np.array([paid.sum()]),
            ),
        )  # fmt: skip

    # -- cuts ------------------------------------------------------------------------------

    def usage(self, shares: Floats) -> Floats:
        """Fractional x of every choice; (choices,)."""
        x = np.zeros(self.oracle.choices.column.size)
        for k in np.flatnonzero(shares > 1e-9):
            x[list(self.plans[k][1])] += shares[k]
        return x

    def cut(self, shares: Floats) -> int:
        """Separate the step caps' hulls at a point; returns how many cuts are new."""
        x = np.bincount(
            self.oracle.choices.column, self.usage(shares), minlength=len(self.oracle.columns)
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
            if self._lp is not None:
                row_values = self._cut_rows(dense[None], np.arange(len(self.plans)))[0]
                at = np.flatnonzero(row_values)
                self._lp.addRow(-highspy.kHighsInf, 1.0, at.size,
                                (self._own + at).astype(np.int32), row_values[at])  # fmt: skip
        return len(new)

    def _drop_idle(self) -> None:
        """Drop the cuts that have not been paid for in the last rounds."""
        self._age = np.where(self._paid > 0, 0, self._age + 1)
        idle = np.flatnonzero(self._age > _PATIENCE)
        if not idle.size:
            return
        kept = np.flatnonzero(self._age <= _PATIENCE)
        self.cuts = [self.cuts[k] for k in kept]
        self._age, self._cut_matrix = self._age[kept], self._cut_matrix[kept]
        if self._lp is not None:
            self._lp.deleteRows(idle.size, (self._fixed_rows + idle).astype(np.int32))
