"""Column generation on a box: the Lagrangian bound, its multipliers, and a relaxed point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.boxes import BoxRules
from mafl_opt.formulations.limits import widened
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.prices.patterns.box import Box, block_minimum
from mafl_opt.solvers.prices.patterns.columns import Patterns
from mafl_opt.solvers.prices.patterns.knapsack import Knapsacks
from mafl_opt.solvers.prices.patterns.master import Master, Point
from mafl_opt.solvers.prices.patterns.multipliers import Multipliers
from mafl_opt.solvers.prices.patterns.sessions import Sessions
from mafl_opt.solvers.schedule import Schedule

__all__ = ["Effort", "Found", "Relaxation"]

Floats = NDArray[np.float64]

# Weight of the best multipliers so far (dual smoothing, Wentges 1997).
_SMOOTHING = 0.5
# Labels of a knapsack, and how near its value has to be, relative: little work while multipliers
# are far from good ones, more when that stops helping.
_LEVELS = ((100, 1e-2), (1000, 1e-3), (8000, 0.0))
# Rounds without a better bound after which it is more.
_IDLE = 2
# Rounds without a better bound after which nothing more is to be had, but by round-off.
_STALLED = 40
# Patterns that stay in the master when there are twice as many: of all, and more for each block.
_KEPT, _KEPT_A_BLOCK = 1000, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How far column generation goes.

    Attributes
    ----------
    rounds : int
    close : float
        It ends where bound and master are as close, relative to the objective.
    target : float
        It ends at a bound as high,
    hopeless : float
        or at a master's value below.
    smooth : bool
        Whether to ask between the master's multipliers and the best so far.
    """

    rounds: int = 200
    close: float = 1e-5
    target: float = np.inf
    hopeless: float = -np.inf
    smooth: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """What column generation found.

    Attributes
    ----------
    bound : float
        Of all plans in the box.
    prices : Multipliers
        Which prove it.
    point : Point or None
        The last optimum of the master.
    """

    bound: float
    prices: Multipliers
    point: Point | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Priced:
    """Patterns of least reduced cost.

    Attributes
    ----------
    bound : float
        The Lagrangian bound.
    patterns : Patterns
    cost : (patterns,)
        Their reduced costs, without the blocks' own multipliers.
    exact : bool
        Whether labels were enough; else bound and patterns could be better.
    """

    bound: float
    patterns: Patterns
    cost: Floats
    exact: bool


class Relaxation:
    """The pattern relaxation of a problem, with all columns met so far.

    Parameters
    ----------
    problem : Problem
    rules : BoxRules
    top : float
        Objective of a plan, and
    progress, excess : (tasks,)
        its A_j and Y_j: the scales of the master.
    stop : callable
    whole_slots : bool
        Whether a pattern is of all tasks of an aggregation together, a device being in one of them
        at most; else it is of one task.
    """

    def __init__(
        self, problem: Problem, rules: BoxRules, top: float, progress: Floats, excess: Floats,
        stop: Callable[[], bool], *, whole_slots: bool = False,
    ) -> None:  # fmt: skip
        s = problem.scenario
        self.scenario, self.rules, self.stop = s, rules, stop
        self.sessions = Sessions.of(problem)
        capacity = np.tile(widened(s.tasks.step_cap), s.num_slots)
        c = self.sessions
        self.whole_slots = whole_slots
        self.block = c.upload - 1 if whole_slots else c.block
        self.knapsacks = Knapsacks(
            c.block, c.device, c.step, capacity, s.num_devices,
            together=s.num_tasks if whole_slots else 1,
        )  # fmt: skip
        blocks = s.num_slots * (1 if whole_slots else s.num_tasks)
        self.master = Master(s, c, rules, blocks, top, progress, excess)
        self.barred = np.zeros(len(c), dtype=bool)
        self.solves = self.pricings = 0

    def take_plan(self, schedule: Schedule) -> None:
        """Add the patterns of a plan."""
        place = np.full(int(self.sessions.column.max(initial=-1)) + 1, -1)
        place[self.sessions.column] = np.arange(len(self.sessions))
        columns = np.array([k for k in schedule.batch if k < place.size], dtype=np.int64)
        sizes = np.array([schedule.batch[int(k)] for k in columns], dtype=float)
        rows = place[columns]
        order = np.argsort(self.block[rows], kind="stable")
        order = order[rows[order] >= 0]
        block, size = np.unique(self.block[rows[order]], return_counts=True)
        self.master.add(
            Patterns(
                block=block,
                first=np.concatenate([[0], size.cumsum()]),
                session=rows[order],
                batch=sizes[order],
            )
        )

    def marginal(self, progress: Floats, excess: Floats) -> Multipliers:
        """Return what N_j and A_j are worth at a point; nothing else costs anything."""
        used = self.master.used
        error, gain = np.zeros(self.scenario.num_tasks), np.zeros(self.scenario.num_tasks)
        error[used] = self.rules.weight[used] / progress[used]
        gain[used] = error[used] * (self.rules.start[used] / progress[used] + excess[used])
        return replace(Multipliers.zero(self.scenario), error=error, progress=gain)

    def price(self, prices: Multipliers, box: Box, level: int = -1, close: float = 1e-6) -> Priced:
        """Return the Lagrangian bound at some multipliers and the patterns that attain it."""
        self.pricings += 1
        s, counts = self.scenario, tuple(self.master.counts)
        cost, batch = self.sessions.reduced_costs(prices, s.energy_weight, counts)
        cost[self.barred] = np.inf
        labels, relative = _LEVELS[level]
        tolerance = 0.3 * close * abs(self.master.scale) / self.scenario.num_slots
        chosen = self.knapsacks.solve(cost, labels=labels, tolerance=tolerance, relative=relative)
        patterns = Patterns(
            block=chosen.owner, first=chosen.first, session=chosen.option,
            batch=batch[chosen.option],
        )  # fmt: skip
        bound = self.fixed_part(prices, box) + float(chosen.value.sum())
        return Priced(bound=bound, patterns=patterns, cost=chosen.cost, exact=chosen.exact)

    def true_excess(self, point: Point) -> Floats:
        """Return R_j / A_j of a point, where the relaxation may have put less; (tasks,)."""
        return self.numerator(point) / np.maximum(point.progress, 1e-300)

    def numerator(self, point: Point) -> Floats:
        """Return R_j = sum of phi over a point; (tasks,)."""
        patterns, c, tasks = self.master.patterns, self.sessions, self.scenario.num_tasks
        error = c.error_at(patterns.batch, patterns.session)
        task = c.task[patterns.session]
        used = self.usage(point)[patterns.owner]
        return np.asarray(np.bincount(task, used * error, minlength=tasks), dtype=float)

    def usage(self, point: Point) -> Floats:
        """Return the usage of all patterns, those that came after the point too; (patterns,)."""
        more = len(self.master.patterns) - point.usage.size
        return np.concatenate([point.usage, np.zeros(more)])

    def fixed_part(self, prices: Multipliers, box: Box) -> float:
        """Return the Lagrangian bound without the knapsacks."""
        s = self.scenario
        value = -float(prices.uplink @ s.network.uplink_capacity) - float(prices.device_slot.sum())
        value -= float(prices.energy @ self.master.budget)
        value += sum(self.ratio_part(prices, box, j) for j in self.master.used.tolist())
        for count, price in zip(self.master.counts, prices.counts, strict=False):
            low, high = box.counts.get(count, (0, np.inf))
            if price > 0:
                value -= price * high
            elif price < 0:
                value -= price * low
        return value

    def ratio_part(self, prices: Multipliers, box: Box, j: int) -> float:
        """Return the least that the ratio of a task adds to the Lagrangian in a box."""
        return block_minimum(
            float(self.rules.weight[j]), float(self.rules.start[j]),
            (float(box.low[j]), float(box.high[j])),
            (float(box.excess_low[j]), float(box.excess_high[j])),
            float(prices.error[j]), float(prices.progress[j]),
        )  # fmt: skip

    def forget(self, prices: Multipliers) -> None:
        """Take patterns of large reduced cost out of the master when there are many."""
        patterns = self.master.patterns
        most = _KEPT + _KEPT_A_BLOCK * (int(self.block.max(initial=0)) + 1)
        if len(patterns) > 2 * most:
            cost = self.pattern_costs(patterns, prices)
            least = np.full(int(self.block.max()) + 1, np.inf)
            np.minimum.at(least, patterns.block, cost)
            # Against the best of its block, whose own multiplier is not among the prices.
            self.master.keep(np.argsort(cost - least[patterns.block], kind="stable")[:most])

    def generate(self, box: Box, start: Multipliers | None, effort: Effort) -> Found:
        """Solve the relaxation on a box.

        Parameters
        ----------
        box : Box
        start : Multipliers or None
            To begin with.
        effort : Effort
        """
        master = self.master
        master.set_box(box)
        best, prices = -np.inf, start or Multipliers.zero(self.scenario)
        point: Point | None = None
        if start is not None:
            first = self.price(start, box)
            best = first.bound
            if best >= effort.target:
                return Found(bound=best, prices=prices, point=None)
            master.add(first.patterns)
        size, level, idle = abs(master.scale), 0, 0
        for _ in range(effort.rounds):
            if self.stop():
                break
            solved = master.solve()
            self.solves += 1
            if solved is None:
                break
            point, dual = solved
            refined = master.refine(point, 0.1 * max(effort.close, 1e-6))
            near = point.value - best <= effort.close * size or point.value < effort.hopeless
            if near and point.missing < 1e-9 and not refined:
                break
            smoothing = _SMOOTHING if effort.smooth and np.isfinite(best) else 0.0
            added = False
            while not added:
                asked = dual.mixed(prices, smoothing) if smoothing else dual
                found = self.price(asked, box, level, effort.close)
                if found.bound > best:
                    best, prices = found.bound, asked
                    idle = 0
                else:
                    idle += 1
                if idle % _IDLE == 0 and idle:
                    level = min(level + 1, len(_LEVELS) - 1)
                if best >= effort.target:
                    return Found(bound=best, prices=prices, point=point)
                good = self._improving(found.patterns, dual)
                added = bool(good.size)
                master.add(found.patterns.take(good))
                if added:
                    break
                if smoothing:
                    smoothing = 0.0
                elif level + 1 < len(_LEVELS):
                    level += 1
                else:
                    break
            if not (added or refined) or idle > _STALLED:
                break
        return Found(bound=best, prices=prices, point=point)

    def _improving(self, patterns: Patterns, dual: Multipliers) -> NDArray[np.int64]:
        """Return which patterns have negative reduced cost at the master's own duals."""
        reduced = self.pattern_costs(patterns, dual)
        good: NDArray[np.int64] = np.flatnonzero(reduced < -1e-8 * abs(self.master.scale))
        return good

    def pattern_costs(self, patterns: Patterns, dual: Multipliers) -> Floats:
        """Return the reduced costs of patterns at the master's duals; (patterns,)."""
        if not len(patterns):
            return np.zeros(0)
        c, s = self.sessions, self.scenario
        rows, batch = patterns.session, patterns.batch
        i, j = c.device[rows], c.task[rows]
        total = np.hstack([np.zeros((s.num_devices, 1)), dual.device_slot.cumsum(axis=1)])
        cost = dual.error[j] * c.error_at(batch, rows) - dual.progress[j] * c.progress[rows]
        cost += (s.energy_weight + dual.energy[i]) * c.energy_j(batch, rows)
        cost += dual.uplink[c.upload[rows] - 1]
        cost += total[i, c.upload[rows]] - total[i, c.receive[rows]]
        for count, price in zip(self.master.counts, dual.counts, strict=False):
            cost += price * (c.counted(count)[rows] & (batch > count.batch_above))
        reduced = np.bincount(patterns.owner, cost, len(patterns))
        reduced += self.master.block_dual[patterns.block]
        return np.asarray(reduced)
