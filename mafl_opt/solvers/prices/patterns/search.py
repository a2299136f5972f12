"""The search: a plan, its box, shaving, then a tree on totals and numbers of sessions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.boxes import box_rules
from mafl_opt.solvers.annealing import Annealer
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.branching import objective_ceiling
from mafl_opt.solvers.prices.patterns.batches import resized
from mafl_opt.solvers.prices.patterns.box import Box, root_box, tighten
from mafl_opt.solvers.prices.patterns.generation import Effort, Found, Relaxation
from mafl_opt.solvers.prices.patterns.master import Point
from mafl_opt.solvers.prices.patterns.multipliers import Count, Multipliers
from mafl_opt.solvers.prices.patterns.plans import centred, dive, near, solve_integer
from mafl_opt.solvers.prices.patterns.tree import (
    GUARD,
    Node,
    leaves,
    named_counts,
    read_tree,
    sides,
    tree_certificate,
)

__all__ = ["Search"]

Floats = NDArray[np.float64]

# The claim is a little stronger than the gap asks, for what rounding costs; never closer than this.
_CLOSER, _LEAST_GAP = 1e-3, 3e-7
# Part of the way from an end of a range to the plan's point that probing tries to cut off.
_PROBED = 0.6
# Smallest part of a total that is cut off, rounds of cutting with a node's own multipliers and of
# bisection, and what their bound may lose by rounding.
_LEAST_CUT, _TRIMS, _BISECTIONS, _ROUND_OFF = 1e-3, 8, 20, 1e-9
# How near master and bound have to be: at most, relative, and in gaps asked for.
_CLOSE, _CLOSE_GAPS = 1e-5, 0.1
# Share of what a node lacks that ratios lose from which on they are split.
_LOOSE = 0.3
# Part of a node's gap that patterns of whole slots have to close to be worth their time.
_WIDER = 0.15
# Without a time limit a search ends when the last half of so many nodes closed less of the gap.
_PATIENCE, _PAY = 400, 0.05
# Moves of annealing a device and slot: to begin with, and around what dives find.
_QUICK, _POLISH = 300, 600
# Counts that are tried before one is split on, and how far.
_TRIES, _TRY_ROUNDS = 4, 4
# A plan as near the relaxed value of its narrow box needs no more search; what HiGHS may spend on
# others.
_GOOD, _FIRST_EFFORT, _EFFORT = 1e-4, 20, 20


class Search:
    """Branch and price over patterns on one problem.

    Parameters
    ----------
    run : Run
        With a plan if one is known; gets better ones, and bounds.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.rules = run, box_rules(run.problem)
        self.annealer = Annealer(run.problem, np.random.default_rng(run.options.seed), run.stop)
        self._anneal(_QUICK, warm=False)
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
        self.about = progress, excess
        self.scale = min(
            run.objective, 2.0 * float(rules.weight @ (rules.start / progress + excess))
        )
        self.relaxation = self._relaxation(whole_slots=False)
        prices = self.relaxation.marginal(progress, excess)
        self.root = Node(box=root_box(rules), bound=-math.inf, prices=prices)
        self.root.bound = self.relaxation.price(prices, self._box(self.root)).bound

    def _relaxation(self, *, whole_slots: bool) -> Relaxation:
        relaxation = Relaxation(
            self.run.problem, self.rules, self.scale, *self.about, self.run.stop,
            whole_slots=whole_slots,
        )  # fmt: skip
        if self.run.schedule is not None:
            relaxation.take_plan(self.run.schedule)
        if whole_slots:
            for count in self.relaxation.master.counts:
                relaxation.master.add_count(count)
        return relaxation

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
    def _close(self) -> float:
        """How near master and bound have to be, relative."""
        return min(_CLOSE, _CLOSE_GAPS * max(self.run.options.gap, _LEAST_GAP))

    @property
    def _proved(self) -> bool:
        """Whether a bound that the run had before is enough."""
        return self.run.bound is not None and self.run.bound >= self.target

    def _totals(self) -> tuple[Floats, Floats]:
        """A_j and Y_j of the best plan, or typical ones."""
        schedule = self.run.schedule
        if schedule is None:
            return self.about
        progress = np.where(schedule.progress > 0, schedule.progress, 1.0)
        return progress, (schedule.numerator - self.rules.start) / progress

    def _box(self, node: Node) -> Box:
        """Leave of a node's box what plans better than the target can be in."""
        return tighten(self.rules, node.box, self.target)

    def certificate(self) -> dict[str, Any]:
        """Return the tree with its multipliers, no deeper than its bound needs."""
        bound = min(self.bound, 1e300)
        return tree_certificate(self.root, bound, self.relaxation.master.counts)

    @property
    def bound(self) -> float:
        """Least bound of the leaves; at most the objective, which is attained."""
        return min(self.run.objective, self.target, *(node.bound for node in leaves(self.root)))

    def read(self, certificate: dict[str, Any]) -> None:
        """Go on with the tree of a certificate; its leaves are bounded anew.

        Raises
        ------
        InputError
            If it is not a certificate of this search.
        """
        for count in named_counts(certificate):
            self.relaxation.master.add_count(count)
        read_tree(self.root, certificate, self.relaxation.master.counts)
        if any(node.whole_slots for node in leaves(self.root)):
            self.relaxation = self._relaxation(whole_slots=True)
        for node in leaves(self.root):
            box = self._box(node)
            node.bound = math.inf if box.empty else self.relaxation.price(node.prices, box).bound
            # The certificate has to say how the bound was found.
            node.whole_slots = self.relaxation.whole_slots

    # -- plans -----------------------------------------------------------------------------

    def _anneal(self, effort: int, *, warm: bool) -> None:
        """Search around the best plan."""
        if self.run.schedule is not None and not self.run.stop():
            self.annealer.search(
                self.run.schedule, effort=effort, warm=warm, seconds=self.run.remaining(),
                found=lambda found: self.run.offer(found, "annealing"),
            )  # fmt: skip
            if self.run.schedule is not None:
                self.run.offer(resized(self.run.schedule), "batch sizes")

    def find_plans(self) -> None:
        """Dive about the relaxed optimum, and take its patterns whole where that leaves a gap."""
        box = tighten(self.rules, self.root.box, self.top)
        narrow, prices, value = centred(self.relaxation, box, *self._totals(), self.root.prices)
        dive(self.run, self.relaxation, narrow, prices)
        self._anneal(_POLISH, warm=True)
        if self.run.objective - value > _GOOD * abs(value) and not self.run.stop():
            solve_integer(self.run, self.relaxation, narrow, _FIRST_EFFORT)

    def _plans_near(self, node: Node, found: Found, effort: int) -> None:
        """Look for plans about the relaxed point of a node."""
        if found.point is None or found.point.missing > 0:
            return
        relaxation = self.relaxation
        excess = relaxation.true_excess(found.point)
        narrow = near(self._box(node), found.point.progress, excess)
        dive(self.run, relaxation, narrow, found.prices)
        self._anneal(_POLISH, warm=True)
        if not self.run.stop():
            solve_integer(self.run, relaxation, narrow, effort)

    # -- proof -----------------------------------------------------------------------------

    def prove(self, after: Callable[[Search], None]) -> None:
        """Raise the bound until all leaves reach the target, or time is up.

        `after` is called with the search before every node.
        """
        if not self.root.children and not self._proved:
            self._shave(self.root)
        solved, seek, asked = 0, 2, False
        stuck: set[int] = set()
        bounds: list[float] = []
        while not self.run.stop():
            after(self)
            self.run.raise_bound(self.bound, f"node {solved}")
            open_ = [node for node in leaves(self.root) if node.bound < self.target]
            bounds.append(self.bound)
            if not open_ or self._proved or self._stalled(bounds):
                return
            open_ = [node for node in open_ if id(node) not in stuck]
            if not open_:
                return
            node = min(open_, key=lambda n: n.bound)
            found = self._bound(node, Effort(target=self.target, close=self._close))
            solved += 1
            if node.bound >= self.target or found is None or self.run.stop():
                continue
            if not asked and self._losses(found).sum() <= _LOOSE * (self.target - node.bound):
                asked = True
                found = self._widen(node, found)
                if node.bound >= self.target or self.run.stop():
                    continue
            if solved >= seek:
                self._plans_near(node, found, _EFFORT * solved)
                seek = 2 * solved
            if not self._split(node, found):
                stuck.add(id(node))

    def _stalled(self, bounds: list[float]) -> bool:
        """Whether the last half of many nodes closed too little to go on without a time limit."""
        if self.run.options.time_limit is not None or len(bounds) < _PATIENCE:
            return False
        return bounds[-1] - bounds[len(bounds) // 2] < _PAY * (self.target - bounds[-1])

    def _bound(self, node: Node, effort: Effort) -> Found | None:
        """Bound a node; None where no plan better than the target is in it."""
        box = self._box(node)
        if box.empty:
            node.bound = math.inf
            return None
        self.relaxation.forget(node.prices)
        found = self.relaxation.generate(box, node.prices, effort)
        if found.bound > node.bound:
            node.bound, node.prices = found.bound, found.prices
            node.whole_slots = self.relaxation.whole_slots
        return found

    def _shave(self, node: Node) -> None:
        """Cut off what is far from the plan's point, end by end (bound tightening by probing)."""
        self._bound(node, Effort(target=self.target, close=self._close))
        self.run.raise_bound(self.bound, "root")
        node = self._trim(node)
        for kind, j, side in self._ends(node):
            if node.bound >= self.target or self.run.stop():
                return
            node = self._shave_end(node, kind, j, side) or node
        self.run.raise_bound(self.bound, "shaved")

    def _trim(self, node: Node) -> Node:
        """Cut off what a node's own multipliers prove, and find better ones for what is left."""
        for _ in range(_TRIMS):
            if node.bound >= self.target or self.run.stop():
                break
            before = node
            box = self._box(node)
            if box.empty:
                break
            value = self.relaxation.price(node.prices, box).bound
            for kind, j, side in self._ends(node):
                box = self._box(node)
                at = self._reach(node, box, value, kind, j, side)
                if at is None:
                    continue
                rest = node.part({kind: j, "at": at})[1 - side]
                node.children[side].bound = self.target
                value += self._change(node.prices, box, self._box(rest), j)
                node = rest
                node.bound = max(node.bound, value)
            if node is before:
                break
            self._bound(node, Effort(target=self.target, close=self._close))
        return node

    def _change(self, prices: Multipliers, box: Box, part: Box, j: int) -> float:
        """Return what the Lagrangian gains on a part of a box that differs in one task."""
        relaxation = self.relaxation
        return relaxation.ratio_part(prices, part, j) - relaxation.ratio_part(prices, box, j)

    def _reach(
        self, node: Node, box: Box, value: float, kind: str, j: int, side: int
    ) -> float | None:
        """Return how far from an end of a range the node's multipliers reach the target."""
        end, point = self._end(box, kind, j, side)

        def cut_off(part: float) -> bool:
            split = {kind: j, "at": end + part * (point - end)}
            gain = self._change(node.prices, box, sides(box, split)[side], j)
            return value + gain >= self.target * (1.0 + _ROUND_OFF)

        least, most = 0.0, 1.0
        for _ in range(_BISECTIONS):
            middle = 0.5 * (least + most)
            least, most = (middle, most) if cut_off(middle) else (least, middle)
        at = end + least * (point - end)
        return None if abs(at - end) < _LEAST_CUT * abs(point) else at

    def _end(self, box: Box, kind: str, j: int, side: int) -> tuple[float, float]:
        """Return an end of a range and where the plan is in it."""
        progress, excess = self._totals()
        if kind == "progress":
            return float((box.low, box.high)[side][j]), float(progress[j])
        return float((box.excess_low, box.excess_high)[side][j]), float(excess[j])

    def _ends(self, node: Node) -> list[tuple[str, int, int]]:
        """Return the ends of all ranges, the widest first."""
        progress, excess = self._totals()
        box = tighten(self.rules, node.box, self.target)
        out = []
        for j in self.relaxation.master.used.tolist():
            for kind, low, high, at in (
                ("progress", box.low[j], box.high[j], progress[j]),
                ("excess", box.excess_low[j], box.excess_high[j], excess[j]),
            ):
                size = max(abs(at), 1e-300)
                out.append((max(at - low, 0.0) / size, kind, j, 0))
                out.append((max(high - at, 0.0) / size, kind, j, 1))
        return [entry[1:] for entry in sorted(out, key=lambda e: -e[0])]

    def _shave_end(self, node: Node, kind: str, j: int, side: int) -> Node | None:
        """Try to cut a part of the way from an end to the plan's point off."""
        box = self._box(node)
        if box.empty:
            node.bound = math.inf
            return node
        end, point = self._end(box, kind, j, side)
        at = end + _PROBED * (point - end)
        if (at > end) == bool(side) or abs(at - end) < _LEAST_CUT * abs(point):
            return None
        split = {kind: j, "at": float(at)}
        trial = Node(
            box=sides(node.box, split)[side], bound=node.bound, prices=node.prices,
            whole_slots=node.whole_slots,
        )  # fmt: skip
        self._bound(
            trial, Effort(target=self.target, hopeless=self.target, close=self._close, rounds=25)
        )
        if trial.bound < self.target:
            return None
        rest = node.part(split)[1 - side]
        node.children[side] = trial
        return rest

    def _losses(self, found: Found) -> Floats:
        """Return what the relaxed ratio of each task is too low by; (tasks,)."""
        if found.point is None:
            return np.zeros_like(self.rules.weight)
        true, weight = self.relaxation.true_excess(found.point), self.rules.weight
        return np.where(weight > 0, weight * (true - found.point.excess), 0.0)

    def _widen(self, node: Node, found: Found) -> Found:
        """Go over to patterns of whole slots if they close more of a node's gap."""
        before = self.relaxation
        self.relaxation = self._relaxation(whole_slots=True)
        least = node.bound
        wider = self._bound(node, Effort(target=self.target, close=self._close))
        if wider is not None and node.bound - least >= _WIDER * (self.target - least):
            self.run.note("whole slots")
            return wider
        self.relaxation = before
        return found

    def _split(self, node: Node, found: Found) -> bool:
        """Split a node on a ratio or a number of sessions; false where no split helps."""
        if found.point is None:
            return False
        point, losses = found.point, self._losses(found)
        true = self.relaxation.true_excess(point)
        counted = self._counts(point)
        if counted and losses.sum() <= _LOOSE * (self.target - node.bound):
            self._split_count(node, counted)
            return True
        used = self.relaxation.master.used
        j = int(used[np.argmax(losses[used])])
        return self._split_ratio(node, j, float(point.progress[j]), float(true[j]))

    def _split_ratio(self, node: Node, j: int, progress: float, excess: float) -> bool:
        """Split the relatively wider of a task's two ranges."""
        box = self._box(node)
        ends = (
            ("progress", box.low[j], box.high[j], progress),
            ("excess", box.excess_low[j], box.excess_high[j], excess),
        )
        kind, low, high, at = max(ends, key=lambda end: (end[2] - end[1]) / max(end[2], 1e-300))
        if high - low <= 1e-9 * high:
            return False
        inner = 0.2 * (high - low)
        node.part({kind: j, "at": float(np.clip(at, low + inner, high - inner))})
        return True

    def _counts(self, point: Point) -> list[tuple[Count, float]]:
        """Numbers of sessions that are no whole numbers, coarse ones first."""
        relaxation = self.relaxation
        patterns, c, s = relaxation.master.patterns, relaxation.sessions, relaxation.scenario
        inside = np.flatnonzero(relaxation.usage(point)[patterns.owner] > 1e-9)
        usage, rows = relaxation.usage(point)[patterns.owner[inside]], patterns.session[inside]
        i, j, u, r = c.device[rows], c.task[rows], c.upload[rows], c.receive[rows]
        number, batch = c.iterations[rows], patterns.batch[inside].astype(np.int64)
        groups: list[dict[Count, float]] = [{}, {}, {}, {}]
        for d, t, x in zip(i.tolist(), j.tolist(), usage.tolist(), strict=True):
            for count in (Count(device=d), Count(task=t), Count(device=d, task=t)):
                groups[0][count] = groups[0].get(count, 0.0) + x
        for pair in np.unique(i * s.num_tasks + j).tolist():
            d, t = divmod(pair, s.num_tasks)
            mine = (i == d) & (j == t)
            for above in np.unique(number[mine])[:-1].tolist():
                count = Count(device=d, task=t, iterations_above=above)
                groups[1][count] = float(usage[mine & (number > above)].sum())
            for above in np.unique(batch[mine])[:-1].tolist():
                count = Count(device=d, task=t, batch_above=above)
                groups[2][count] = float(usage[mine & (batch > above)].sum())
            for upload in np.unique(u[mine]).tolist():
                ending = mine & (u == upload)
                groups[3][Count(device=d, task=t, upload=upload)] = float(usage[ending].sum())
                for receive in np.unique(r[ending])[:-1].tolist():
                    count = Count(device=d, task=t, upload=upload, receive=receive)
                    groups[3][count] = float(usage[ending & (r == receive)].sum())
        out: list[tuple[Count, float]] = []
        for group in groups:
            open_ = [(k, v) for k, v in group.items() if min(v % 1, 1 - v % 1) > 1e-4]
            out += sorted(open_, key=lambda entry: abs(entry[1] % 1 - 0.5))[:_TRIES]
        return out[: 2 * _TRIES] if len(out) > 2 * _TRIES else out

    def _split_count(self, node: Node, counted: list[tuple[Count, float]]) -> None:
        """Try the splits on some counts for a few rounds and make the one that gains most."""
        best, chosen = -1.0, node
        effort = Effort(target=self.target, rounds=_TRY_ROUNDS, close=self._close)
        for count, value in counted:
            trial = replace(node)
            gain = 1.0
            for part in trial.part({**count.to_dict(), "sessions": math.floor(value)}):
                self._bound(part, effort)
                gain *= max(min(part.bound, self.target) - node.bound, 1e-9 * self.target)
            if gain > best:
                best, chosen = gain, trial
            if self.run.stop():
                break
        node.split, node.children = chosen.split, chosen.children
