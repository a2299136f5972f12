"""Bounds of nodes: what the search knows at any time, and the relaxation that it bounds with."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.boxes import box_rules
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.branching import objective_ceiling
from mafl_opt.solvers.prices.patterns.box import Box, root_box, tighten
from mafl_opt.solvers.prices.patterns.generation import Effort, Found, Relaxation
from mafl_opt.solvers.prices.patterns.tree import GUARD, Node, leaves

__all__ = ["Bounding"]

Floats = NDArray[np.float64]

# The claim is a little stronger than the gap asks, for what rounding costs; never closer than this.
_CLOSER, _LEAST_GAP = 1e-3, 3e-7
# How near master and bound have to be: at most, relative, and in gaps asked for.
_CLOSE, _CLOSE_GAPS = 1e-5, 0.1
# Part of a node's gap that patterns of whole slots have to close to be worth their time.
_WIDER = 0.15


class Bounding:
    """Bounds of parts of the plans of one problem.

    Parameters
    ----------
    run : Run
        With a plan if one is known.

    Attributes
    ----------
    rules : BoxRules
    relaxation : Relaxation
    root : Node
        Of all plans; the search splits it.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.rules = run, box_rules(run.problem)
        self.ceiling = objective_ceiling(run.problem)
        schedule, rules = run.schedule, self.rules
        progress = np.where(rules.progress_most > 0, 0.5 * rules.progress_most, 1.0)
        excess = rules.slope.copy()
        if schedule is not None:
            trained = schedule.progress > 0
            progress = np.where(trained, schedule.progress, progress)
            excess = np.where(trained, (schedule.numerator - rules.start) / progress, excess)
        # Where nothing is lost by errors any scale does.
        excess = np.where(excess > 0, excess, np.maximum(rules.start / progress, 1e-12))
        self._about = progress, excess
        self._scale = min(
            run.objective, 2.0 * float(rules.weight @ (rules.start / progress + excess))
        )
        self.relaxation = self._new_relaxation(whole_slots=False)
        prices = self.relaxation.marginal(progress, excess)
        self.root = Node(box=root_box(rules), bound=-math.inf, prices=prices)
        self.root.bound = self.relaxation.price(prices, self.box(self.root)).bound

    def _new_relaxation(self, *, whole_slots: bool) -> Relaxation:
        relaxation = Relaxation(
            self.run.problem, self.rules, self._scale, *self._about, self.run.stop,
            whole_slots=whole_slots,
        )  # fmt: skip
        if self.run.schedule is not None:
            relaxation.take_plan(self.run.schedule)
        if whole_slots:
            for count in self.relaxation.master.counts:
                relaxation.master.add_count(count)
        return relaxation

    def use_whole_slots(self) -> None:
        """Bound by patterns of whole slots from now on."""
        self.relaxation = self._new_relaxation(whole_slots=True)

    @property
    def top(self) -> float:
        """Objective of the best plan; without one, more than any plan has."""
        return min(self.run.objective, self.ceiling)

    @property
    def target(self) -> float:
        """Bound at which a node needs no more work."""
        if self.run.best is None:
            return self.ceiling * (1.0 + _LEAST_GAP)
        gap = max(self.run.options.gap * (1.0 - _CLOSER) - 2.0 * GUARD, _LEAST_GAP)
        return self.top - gap * abs(self.top)

    @property
    def proved(self) -> float:
        """Least bound of the leaves; at most the objective, which is attained."""
        return min(self.run.objective, self.target, *(node.bound for node in leaves(self.root)))

    @property
    def close(self) -> float:
        """How near master and bound have to be, relative."""
        return min(_CLOSE, _CLOSE_GAPS * max(self.run.options.gap, _LEAST_GAP))

    def effort(self) -> Effort:
        """Return what it takes to bound a node as well as it can be."""
        return Effort(target=self.target, close=self.close)

    def totals(self) -> tuple[Floats, Floats]:
        """A_j and Y_j of the best plan, or typical ones."""
        schedule = self.run.schedule
        if schedule is None:
            return self._about
        progress = np.where(schedule.progress > 0, schedule.progress, 1.0)
        return progress, (schedule.numerator - self.rules.start) / progress

    def box(self, node: Node) -> Box:
        """Leave of a node's box what plans better than the target can be in."""
        return tighten(self.rules, node.box, self.target)

    def bound(self, node: Node, effort: Effort | None = None) -> Found | None:
        """Bound a node, as well as it can be by default; None where no better plan is in it."""
        box = self.box(node)
        if box.empty:
            node.bound = math.inf
            return None
        self.relaxation.forget(node.prices)
        found = self.relaxation.generate(box, node.prices, effort or self.effort())
        if found.bound > node.bound:
            node.bound, node.prices = found.bound, found.prices
            node.whole_slots = self.relaxation.whole_slots
        return found

    def losses(self, found: Found) -> Floats:
        """Return what the relaxed ratio of each task is too low by; (tasks,)."""
        if found.point is None:
            return np.zeros_like(self.rules.weight)
        true, weight = self.relaxation.true_excess(found.point), self.rules.weight
        return np.where(weight > 0, weight * (true - found.point.excess), 0.0)

    def widen(self, node: Node, found: Found) -> Found:
        """Go over to patterns of whole slots if they close more of a node's gap."""
        before = self.relaxation
        self.use_whole_slots()
        least = node.bound
        wider = self.bound(node)
        if wider is not None and node.bound - least >= _WIDER * (self.target - least):
            self.run.note("whole slots")
            return wider
        self.relaxation = before
        return found
