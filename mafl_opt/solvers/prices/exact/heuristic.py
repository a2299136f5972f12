"""Good plans by integer programs at fixed ratio weights.

At the weights of a plan or of a fractional point, lam = gamma / A and mu = gamma N / A^2, the
objective is linear; few choices are cheap at a node's prices, and HiGHS combines those.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.bound import initial_error
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.improve import fill
from mafl_opt.solvers.prices.exact.integer import solve_integer
from mafl_opt.solvers.prices.exact.master import Master, Point
from mafl_opt.solvers.prices.exact.oracle import Oracle, Plans
from mafl_opt.solvers.prices.exact.splits import plain_excess
from mafl_opt.solvers.prices.exact.tariff import Tariff
from mafl_opt.solvers.schedule import Schedule

__all__ = ["Heuristic"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Share of the gap asked for that an integer program may leave.
_ACCURACY = 0.1
_LEAST_GAP = 1e-7
# Part of the time left that one integer program may take: the bound needs most of it.
_SHARE = 0.15


class Heuristic:
    """Integer programs around the points and the best plan of a run.

    Parameters
    ----------
    run : Run
    oracle : Oracle
    master : Master
    """

    def __init__(self, run: Run, oracle: Oracle, master: Master) -> None:
        self.run, self.oracle, self.master = run, oracle, master
        c = oracle.choices
        keys = zip(c.column.tolist(), c.batch.tolist(), strict=True)
        self._where = {key: k for k, key in enumerate(keys)}

    def around(self, point: Point, tariff: Tariff, most: int, effort: int) -> None:
        """Combine the cheapest choices at a point's weights, then at those of the best plan.

        Parameters
        ----------
        point : Point
        tariff : Tariff
            Prices that tell which choices are cheap.
        most : int
            How many choices to take, beside those of the point and of the best plan.
        effort : int
            Of HiGHS.
        """
        oracle = self.oracle
        slack = oracle.slacks(tariff, oracle.free, oracle.ask(tariff, oracle.free))
        near = np.argsort(slack, kind="stable")[:most]
        chosen = np.union1d(near, self.master.pool.choices(np.flatnonzero(point.plans > 0)))
        self._combine(chosen, self._weights_at(point), np.inf, effort)
        best = self.run.best
        if isinstance(best, Schedule) and np.isfinite(self.run.objective):
            weights = self._weights(best)
            self._combine(chosen, weights, self._linear(best, weights), effort)

    def offer(self, chosen: Ints, event: str) -> Schedule:
        """Offer some choices as a plan, filled up where there is room; returns it."""
        schedule, c = Schedule(self.run.problem), self.oracle.choices
        for k in chosen:
            column, batch = int(c.column[k]), int(c.batch[k])
            # HiGHS misses limits by its tolerance: what no longer fits is left out.
            if schedule.fits(column, batch):
                schedule.insert(column, batch)
        fill(schedule)
        self.run.offer(schedule, event)
        return schedule

    def plans_of(self, schedule: Schedule) -> Plans:
        """Device plans of a schedule, as choices."""
        c = self.oracle.columns
        by_device: dict[int, list[int]] = {}
        for column, batch in schedule.batch.items():
            by_device.setdefault(int(c.device[column]), []).append(self._where[column, batch])
        return [(i, tuple(sorted(chosen))) for i, chosen in sorted(by_device.items())]

    def _combine(
        self, chosen: Ints, weights: tuple[Floats, Floats], ceiling: float, effort: int
    ) -> None:
        if self.run.stop():
            return
        gap = _ACCURACY * max(self.run.options.gap, _LEAST_GAP) * abs(self.run.objective)
        left, best = self.run.remaining(), self.run.best
        start = np.zeros(0, dtype=np.int64)
        if isinstance(best, Schedule):
            mine = sorted(k for _, plan in self.plans_of(best) for k in plan)
            start = np.array(mine, dtype=np.int64)
        found = solve_integer(
            self.oracle, np.union1d(chosen, start), weights, self.master.cuts, start,
            ceiling=ceiling, gap=gap, effort=effort,
            seconds=None if left is None else _SHARE * left,
        )  # fmt: skip
        for plan in found:
            self.offer(plan, "integer program")

    def _weights_at(self, point: Point) -> tuple[Floats, Floats]:
        """Return lam and mu of a fractional point."""
        rules = self.oracle.rules
        a, excess = np.maximum(point.progress, 1e-300), plain_excess(self.master, point)
        used = rules.weight > 0
        lam = np.where(used, rules.weight / np.where(used, a, 1.0), 0.0)
        ratio = rules.start / np.where(used, a, 1.0) + np.where(used, excess, 0.0)
        return lam, np.asarray(lam * ratio)

    def _weights(self, best: Schedule) -> tuple[Floats, Floats]:
        """Return lam and mu of a plan: the slopes of gamma N / A; two arrays (tasks,)."""
        tasks = self.run.problem.scenario.tasks
        lam, mu = np.zeros_like(best.numerator), np.zeros_like(best.numerator)
        used = (tasks.weight > 0) & best.served()
        lam[used] = tasks.weight[used] / best.progress[used]
        mu[used] = lam[used] * best.numerator[used] / best.progress[used]
        return lam, mu

    def _linear(self, best: Schedule, weights: tuple[Floats, Floats]) -> float:
        s = self.run.problem.scenario
        own = weights[0] @ (best.numerator - initial_error(s)) - weights[1] @ best.progress
        return float(own + s.energy_weight * best.energy_j.sum())
