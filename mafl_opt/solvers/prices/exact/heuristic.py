"""Good plans by integer programs at fixed ratio weights.

At the weights of a plan, lam = gamma / A and mu = gamma N / A^2, the objective is linear and the
bound by columns and cuts nearly tight, so few choices can be in a better plan; HiGHS combines them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.bound import initial_error
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.improve import fill
from mafl_opt.solvers.prices.exact.integer import solve_integer
from mafl_opt.solvers.prices.exact.master import Master, Point
from mafl_opt.solvers.prices.exact.node import Effort, generate
from mafl_opt.solvers.prices.exact.oracle import Oracle, Plans
from mafl_opt.solvers.prices.exact.tariff import Tariff
from mafl_opt.solvers.schedule import Schedule

__all__ = ["Heuristic"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_ROUNDS = 4
_EFFORT = Effort(rounds=12, iterations=500)
_MOST_CHOICES = 4_000
# Share of the gap asked for that an integer program may leave.
_ACCURACY = 0.1
_LEAST_GAP = 1e-7
_THOROUGH, _QUICK = 500, 100
_SAME = 1e-9
# Part of the time left that one integer program may take: the bound needs most of it.
_SHARE = 0.15


class Heuristic:
    """Integer programs around the best plan of a run.

    Parameters
    ----------
    run : Run
    oracle : Oracle
    master : Master

    Attributes
    ----------
    tariff : Tariff or None
        The last prices found at a plan's weights.
    """

    def __init__(self, run: Run, oracle: Oracle, master: Master) -> None:
        self.run, self.oracle, self.master = run, oracle, master
        self.tariff: Tariff | None = None
        c = oracle.choices
        keys = zip(c.column.tolist(), c.batch.tolist(), strict=True)
        self._where = {key: k for k, key in enumerate(keys)}

    def improve(self) -> None:
        """Improve the best plan at its own ratio weights, again while that helps."""
        for _ in range(_ROUNDS):
            best, before = self.run.best, self.run.objective
            if not isinstance(best, Schedule) or not np.isfinite(before) or self.run.stop():
                return
            self._improve(best)
            if self.run.objective >= before * (1 - _SAME):
                return

    def _improve(self, best: Schedule) -> None:
        oracle, master = self.oracle, self.master
        weights = self._weights(best)
        own = self._linear(best, weights)
        plans = self._plans(best)
        start = self.tariff and replace(self.tariff, numerator=weights[0], progress=weights[1])
        master.scale = abs(self.run.objective)
        master.add(plans)
        _, tariff, _ = generate(
            master, oracle.free, None, weights, start, own, _EFFORT, self.run.stop
        )
        self.tariff = tariff or self.tariff
        if tariff is None or self.run.stop():
            return
        bound, answer = oracle.bound(tariff, oracle.free, None)
        slack = oracle.slacks(tariff, oracle.free, answer)
        gap = own - bound
        near = np.sort(slack[slack <= gap])
        limit = gap if near.size <= _MOST_CHOICES else float(near[_MOST_CHOICES])
        mine = np.array(sorted(k for _, chosen in plans for k in chosen), dtype=np.int64)
        chosen = np.union1d(np.flatnonzero(slack <= limit), mine)
        self._combine(chosen, weights, mine, own, _THOROUGH)

    def around(self, point: Point) -> None:
        """Combine the plans of the master's pool at the weights of a fractional point."""
        best = self.run.best
        if not isinstance(best, Schedule):
            return
        weights = self._weights(best)
        used = np.flatnonzero(np.isfinite(point.progress) & (point.progress > 0))
        weights[0][used] = self.oracle.rules.weight[used] / point.progress[used]
        weights[1][used] = weights[0][used] * point.ratio[used]
        mine = np.array(sorted(k for _, p in self._plans(best) for k in p), dtype=np.int64)
        pool = [k for _, chosen in self.master.plans for k in chosen]
        chosen = np.union1d(np.array(pool, dtype=np.int64), mine)
        self._combine(chosen, weights, mine, np.inf, _QUICK)

    def offer(self, chosen: Ints, event: str) -> None:
        """Offer some choices as a plan, filled up where there is room."""
        schedule, c = Schedule(self.run.problem), self.oracle.choices
        for k in chosen:
            column, batch = int(c.column[k]), int(c.batch[k])
            # HiGHS misses limits by its tolerance: what no longer fits is left out.
            if schedule.fits(column, batch):
                schedule.insert(column, batch)
        fill(schedule)
        self.run.offer(schedule, event)

    def _combine(
        self, chosen: Ints, weights: tuple[Floats, Floats], start: Ints, ceiling: float, effort: int
    ) -> None:
        gap = _ACCURACY * max(self.run.options.gap, _LEAST_GAP) * abs(self.run.objective)
        left = self.run.remaining()
        found = solve_integer(
            self.oracle, chosen, weights, self.master.cuts, start, ceiling=ceiling, gap=gap,
            effort=effort, seconds=None if left is None else _SHARE * left,
        )  # fmt: skip
        for plan in found:
            self.offer(plan, "integer program")

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

    def _plans(self, schedule: Schedule) -> Plans:
        """Device plans of a schedule, as choices."""
        c = self.oracle.columns
        by_device: dict[int, list[int]] = {}
        for column, batch in schedule.batch.items():
            by_device.setdefault(int(c.device[column]), []).append(self._where[column, batch])
        return [(i, tuple(sorted(chosen))) for i, chosen in sorted(by_device.items())]
