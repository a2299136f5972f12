"""The search: a plan, its box, shaving, then a tree on totals and numbers of sessions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mafl_opt.solvers.annealing import Annealer
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.prices.cuts import far_cut
from mafl_opt.solvers.prices.patterns.batches import resized
from mafl_opt.solvers.prices.patterns.bounding import Bounding
from mafl_opt.solvers.prices.patterns.box import Box, tighten
from mafl_opt.solvers.prices.patterns.counting import fractional_counts
from mafl_opt.solvers.prices.patterns.generation import Effort, Found
from mafl_opt.solvers.prices.patterns.multipliers import Count
from mafl_opt.solvers.prices.patterns.plans import centred, dive, near, solve_integer
from mafl_opt.solvers.prices.patterns.shaving import Shaving
from mafl_opt.solvers.prices.patterns.tree import (
    Node,
    leaves,
    named_counts,
    read_tree,
    tree_certificate,
)

__all__ = ["Search"]

# Share of what a node lacks that ratios lose from which on they are split.
_LOOSE = 0.3
# Without a time limit a search ends when the last half of so many nodes closed less of the gap.
_PATIENCE, _PAY = 400, 0.05
# Moves of annealing a device and slot: to begin with, and around what dives find.
_QUICK, _POLISH = 300, 600
# Rounds that a split on a count is tried for.
_TRY_ROUNDS = 4
# Share of the time that programs over whole patterns may take, and seconds that each may at least.
_SHARE, _LEAST_S = 0.4, 2.0
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
        self.run = run
        self.annealer = Annealer(run.problem, np.random.default_rng(run.options.seed), run.stop)
        self._anneal(_QUICK, warm=False)
        self.nodes = Bounding(run)
        #: Seconds that programs over whole patterns took.
        self._spent = 0.0

    def certificate(self) -> dict[str, Any]:
        """Return the tree with its multipliers, no deeper than its bound needs."""
        bound = min(self.nodes.proved, 1e300)
        return tree_certificate(self.nodes.root, bound, self.nodes.relaxation.master.counts)

    def read(self, certificate: dict[str, Any]) -> None:
        """Go on with the tree of a certificate; its leaves are bounded anew.

        Raises
        ------
        InputError
            If it is not a certificate of this search.
        """
        nodes = self.nodes
        for count in named_counts(certificate):
            nodes.relaxation.master.add_count(count)
        read_tree(nodes.root, certificate, nodes.relaxation.master.counts)
        if any(node.whole_slots for node in leaves(nodes.root)):
            nodes.use_whole_slots()
        for node in leaves(nodes.root):
            box = nodes.box(node)
            node.bound = math.inf if box.empty else nodes.relaxation.price(node.prices, box).bound
            # The certificate has to say how the bound was found.
            node.whole_slots = nodes.relaxation.whole_slots

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
        nodes = self.nodes
        box = tighten(nodes.rules, nodes.root.box, nodes.top)
        narrow, prices, value = centred(nodes.relaxation, box, *nodes.totals(), nodes.root.prices)
        dive(self.run, nodes.relaxation, narrow, prices)
        self._anneal(_POLISH, warm=True)
        if self.run.objective - value > _GOOD * abs(value) and not self.run.stop():
            self._take_whole(narrow, _FIRST_EFFORT)

    def _plans_near(self, node: Node, found: Found, effort: int) -> None:
        """Look for plans about the relaxed point of a node."""
        if found.point is None or found.point.missing > 0:
            return
        relaxation = self.nodes.relaxation
        excess = relaxation.true_excess(found.point)
        narrow = near(self.nodes.box(node), found.point.progress, excess)
        dive(self.run, relaxation, narrow, found.prices)
        self._anneal(_POLISH, warm=True)
        if not self.run.stop():
            self._take_whole(narrow, effort)

    def _take_whole(self, box: Box, effort: int) -> None:
        """Solve the program over whole patterns; its time is a share of that of the search."""
        began, left = self.run.seconds, self.run.remaining()
        most = max(_LEAST_S, _SHARE * began - self._spent)
        solve_integer(
            self.run, self.nodes.relaxation, box, effort, most if left is None else min(most, left)
        )
        self._spent += self.run.seconds - began

    # -- proof -----------------------------------------------------------------------------

    def prove(self, after: Callable[[Search], None]) -> None:
        """Raise the bound until all leaves reach the target, or time is up.

        `after` is called with the search before every node.
        """
        nodes = self.nodes
        if not nodes.root.children and not self._proved:
            Shaving(nodes).shave(nodes.root)
        solved, seek, asked = 0, 2, False
        stuck: set[int] = set()
        bounds: list[float] = []
        while not self.run.stop():
            after(self)
            self.run.raise_bound(nodes.proved, f"node {solved}")
            open_ = [node for node in leaves(nodes.root) if node.bound < nodes.target]
            bounds.append(nodes.proved)
            if not open_ or self._proved or self._stalled(bounds):
                return
            open_ = [node for node in open_ if id(node) not in stuck]
            if not open_:
                return
            node = min(open_, key=lambda n: n.bound)
            found = nodes.bound(node)
            solved += 1
            if node.bound >= nodes.target or found is None or self.run.stop():
                continue
            if not asked and nodes.losses(found).sum() <= _LOOSE * (nodes.target - node.bound):
                asked = True
                found = nodes.widen(node, found)
                if node.bound >= nodes.target or self.run.stop():
                    continue
            if solved >= seek:
                self._plans_near(node, found, _EFFORT * solved)
                seek = 2 * solved
            if not self._split(node, found):
                stuck.add(id(node))

    @property
    def _proved(self) -> bool:
        """Whether a bound that the run had before is enough."""
        return self.run.bound is not None and self.run.bound >= self.nodes.target

    def _stalled(self, bounds: list[float]) -> bool:
        """Whether the last half of many nodes closed too little to go on without a time limit."""
        if self.run.options.time_limit is not None or len(bounds) < _PATIENCE:
            return False
        return bounds[-1] - bounds[len(bounds) // 2] < _PAY * (self.nodes.target - bounds[-1])

    def _split(self, node: Node, found: Found) -> bool:
        """Split a node on a ratio or a number of sessions; false where no split helps."""
        if found.point is None:
            return False
        nodes = self.nodes
        point, losses = found.point, nodes.losses(found)
        true = nodes.relaxation.true_excess(point)
        counted = fractional_counts(nodes.relaxation, point)
        if counted and losses.sum() <= _LOOSE * (nodes.target - node.bound):
            self._split_count(node, counted)
            return True
        used = nodes.relaxation.master.used
        j = int(used[np.argmax(losses[used])])
        return self._split_ratio(node, j, float(point.progress[j]), float(true[j]))

    def _split_ratio(self, node: Node, j: int, progress: float, excess: float) -> bool:
        """Split a range of a task; false where there is nothing left to split."""
        box = self.nodes.box(node)
        found = far_cut((
            ("progress", box.low[j], box.high[j], progress),
            ("excess", box.excess_low[j], box.excess_high[j], excess),
        ))  # fmt: skip
        if found is not None:
            node.part({found[0]: j, "at": found[1]})
        return found is not None

    def _split_count(self, node: Node, counted: list[tuple[Count, float]]) -> None:
        """Try the splits on some counts for a few rounds and make the one that gains most."""
        nodes = self.nodes
        best, chosen = -1.0, node
        effort = Effort(target=nodes.target, rounds=_TRY_ROUNDS, close=nodes.close)
        for count, value in counted:
            trial = replace(node)
            gain = 1.0
            for part in trial.part({**count.to_dict(), "sessions": math.floor(value)}):
                nodes.bound(part, effort)
                gain *= max(min(part.bound, nodes.target) - node.bound, 1e-9 * nodes.target)
            if gain > best:
                best, chosen = gain, trial
            if self.run.stop():
                break
        node.split, node.children = chosen.split, chosen.children
