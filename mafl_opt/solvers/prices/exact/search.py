"""The search on small fleets: plans at fixed ratio weights, then a tree of boxes and splits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.certificate import certified_bound
from mafl_opt.formulations.pricing import Prices
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.branching import objective_ceiling
from mafl_opt.solvers.improve import Improver
from mafl_opt.solvers.prices.exact.dive import dive
from mafl_opt.solvers.prices.exact.heuristic import Heuristic
from mafl_opt.solvers.prices.exact.master import Master, Point
from mafl_opt.solvers.prices.exact.node import Effort, Node, generate
from mafl_opt.solvers.prices.exact.oracle import DeviceSplit, Limits, Oracle
from mafl_opt.solvers.prices.exact.ratios import root_box, tighten
from mafl_opt.solvers.prices.exact.splits import (
    RatioSplit,
    device_candidates,
    make_split,
    ratio_candidate,
    ratio_losses,
    sides,
    trim,
)
from mafl_opt.solvers.prices.exact.tariff import Tariff
from mafl_opt.solvers.recovery import recover

__all__ = ["Search"]

Floats = NDArray[np.float64]

_BOX = Effort(rounds=0, iterations=80)
_CUTS = Effort(rounds=6, iterations=200)
_DEEP = Effort(rounds=3, iterations=120)
# Splits that are tried before one is made, and how far.
_TRIES = 3
_TRY = Effort(rounds=0, iterations=5)
_LEAST_GAIN = 1e-6
# Ratios are split while they hold this share of what a node lacks; below the second, sessions are.
_LOOSE, _TIGHT = 0.35, 0.05
# The claim is a little stronger than the gap asks, for what rounding prices and sums costs.
_CLOSER = 1e-3
_LEAST_GAP = 3e-7
# Time kept for deriving the certificate again, relative to what its tables take by those of some
# nodes, and to the time limit at most; and what it may be late, in seconds or by the limit.
_MEASURED, _RESERVE, _MOST_RESERVE = (4, 16, 64, 256, 1024), 1.2, 0.4
_GRACE_S, _GRACE = 3.0, 0.03
# What is claimed is lower by this, relative: the checker widens limits and rounds downwards.
_GUARD = 2e-8
# Fewer and fewer nodes are dived from; dives to a local search and an integer program; choices and
# effort of the first program, and how many times of that the later ones grow to.
_PROGRAMS = 3
_CHOICES, _EFFORT, _MOST_TIMES = 100, 20, 3


class Search:
    """Branch and price on one problem.

    Parameters
    ----------
    run : Run
        Gets plans and bounds.
    improver : Improver
    """

    def __init__(self, run: Run, improver: Improver) -> None:
        self.run, self.improver, problem = run, improver, run.problem
        self.oracle = Oracle(problem)
        self.ceiling = objective_ceiling(problem)
        nothing = Tariff.nothing(problem)
        box = root_box(self.oracle.rules, self.top)
        # At no prices devices cost nothing. Asking them would compile before there is any plan.
        bound = self.oracle.ratios(nothing, box)
        self.root = Node(box=box, splits=(), bound=bound, tariff=nothing)
        self._open = [self.root]
        self._solved, self._next_try, self._tries = 0, 1, 0
        self._seconds_a_table = 0.0

    @property
    def top(self) -> float:
        """Objective of the best plan; without one, more than any plan has."""
        return min(self.run.objective, self.ceiling)

    @property
    def target(self) -> float:
        """Bound at which a node needs no more work."""
        if self.run.best is None:
            return self.ceiling * (1.0 + _LEAST_GAP)
        gap = max(self.run.options.gap * (1.0 - _CLOSER), _LEAST_GAP)
        return self.top - gap * abs(self.top)

    def resume(self, leaves: list[Node]) -> None:
        """Go on with these leaves, which the root has been split into."""
        self._open = leaves

    def branch(self, after: Callable[[Search], None]) -> None:
        """Work on the open node of least bound until all reach the target, or time is up.

        `after` is called with the search before every node.
        """
        self.root.box = root_box(self.oracle.rules, self.top)
        self.master = Master(self.oracle, self.root.box, self.top)
        self.heuristic = Heuristic(self.run, self.oracle, self.master)
        while not self.run.stop():
            after(self)
            self.run.raise_bound(
                min(self.bound(), self.run.objective), f"node {self._solved}"
            )  # fmt: skip
            self._open = [node for node in self._open if node.bound < self.target]
            if not self._open:
                return
            node = min(self._open, key=lambda n: n.bound)
            self._open.remove(node)
            self._open += self._work(node)
            self._keep_time(node.tariff)

    def _keep_time(self, tariff: Tariff) -> None:
        """Reserve what deriving the certificate again will take, by what one price table takes."""
        limit = self.run.options.time_limit
        if limit is None:
            return
        if self._solved in _MEASURED:
            alone = {
                "kind": "tree", "bound": self.top, "tree": {"prices": 0},
                "prices": [tariff.to_dict(self.oracle.columns)],
            }  # fmt: skip
            begun = time.perf_counter()
            certified_bound(self.run.problem.scenario, alone)
            self._seconds_a_table = time.perf_counter() - begun
        tables = len({id(node.tariff) for node in self._needed(self.bound())})
        late = _RESERVE * tables * self._seconds_a_table - max(_GRACE_S, _GRACE * limit)
        self.run.reserve = min(max(late, 0.0), _MOST_RESERVE * limit)

    def bound(self) -> float:
        """Least bound of the leaves."""
        return min(node.bound for node in self._needed(np.inf))

    def _needed(self, bound: float) -> Iterator[Node]:
        """Leaves of the tree, or what stands above them where that proves a bound already."""
        stack = [self.root]
        while stack:
            node = stack.pop()
            if node.split is None or node.bound >= bound:
                yield node
            else:
                stack += node.children

    def _work(self, node: Node) -> list[Node]:
        """Bound a node; returns what is left of it, split. Nothing: done, or no split helps."""
        oracle, master = self.oracle, self.master
        limits = oracle.limits(node.splits)
        node.box = tighten(oracle.rules, node.box, self.top)
        self._solved += 1
        tariff, point, losses = node.tariff, None, np.zeros_like(oracle.rules.weight)
        for effort in (_BOX, _DEEP if node.splits else _CUTS):
            bound, tariff, found = generate(
                master, limits, node.box, tariff, self.target, effort, self.run.stop
            )
            point = found or point
            if point is None or bound >= self.target or self.run.stop():
                break
            losses = ratio_losses(master, point)
            if losses.sum() > _LOOSE * (self.target - bound):
                break
        self._offer_tariff(node, tariff)
        if point is None or node.bound >= self.target or self.run.stop():
            return []
        candidates: list[RatioSplit | DeviceSplit] = [*device_candidates(master, point, _TRIES)]
        self._seek_plans(point, tariff, limits)
        rest = trim(oracle, node, self.target)
        ratio = ratio_candidate(master, rest.box, point, losses)
        share = self.target - node.bound
        if ratio is not None and losses.sum() > _LOOSE * share:
            return make_split(rest, ratio, sides(rest, ratio))
        if ratio is not None and (not candidates or losses.sum() > _TIGHT * share):
            candidates.append(ratio)
        return self._split(rest, candidates, tariff) if candidates else []

    def _split(
        self, node: Node, candidates: list[RatioSplit | DeviceSplit], tariff: Tariff
    ) -> list[Node]:
        """Try splits for a few iterations and make the one that raises both sides most."""
        most, chosen, found = -1.0, candidates[0], [tariff, tariff]
        for split in candidates:
            gain, tariffs = 1.0, []
            for part in sides(node, split):
                limits = self.oracle.limits(part.splits)
                bound, better, _ = generate(
                    self.master, limits, part.box, tariff, self.target, _TRY, self.run.stop
                )
                tariffs.append(better)
                gain *= max(min(bound, self.target) - node.bound, _LEAST_GAIN * self.top)
            if gain > most:
                most, chosen, found = gain, split, tariffs
        children = sides(node, chosen)
        for part, better in zip(children, found, strict=True):
            self._offer_tariff(part, better)
        return make_split(node, chosen, children)

    def _offer_tariff(self, node: Node, tariff: Tariff) -> None:
        limits = self.oracle.limits(node.splits)
        short, bound = self.oracle.settled(tariff, limits, node.box, self.target)
        if bound > node.bound:
            node.tariff, node.bound = short, bound

    def _seek_plans(self, point: Point, tariff: Tariff, limits: Limits) -> None:
        """Turn a node's point into plans: as it is, rounded, or by an integer program."""
        x = self.master.pool.usage(point.plans)
        self.heuristic.offer(np.flatnonzero(x > 0.5), "node")
        if self.run.best is None:
            s, c = self.run.problem.scenario, self.oracle.columns
            prices = Prices(
                numerator=tariff.numerator, progress=tariff.progress, uplink=tariff.uplink,
                step_cap=tariff.step, energy=np.zeros(s.num_devices),
            )  # fmt: skip
            wish = np.bincount(self.oracle.choices.column, x, minlength=len(c))
            recover(self.run, self.improver, np.clip(wish, 0, 1), prices, thorough=False)
        elif self._solved >= self._next_try:
            self._tries += 1
            self._next_try += 1 + self._tries // 2
            found = self.heuristic.offer(
                dive(self.master, point, limits, self.run.stop), "dive"
            )  # fmt: skip
            if self._tries % _PROGRAMS == 0:
                self.run.offer(self.improver.descend(found), "local search")
                times = min(self._tries // _PROGRAMS, _MOST_TIMES)
                self.heuristic.around(point, tariff, _CHOICES * times, _EFFORT * times)

    def certificate(self) -> dict[str, Any]:
        """Return the tree with its prices, as a certificate, no deeper than its bound needs."""
        bound = min(self.bound(), 1e300)
        tables: dict[int, int] = {}
        prices: list[dict[str, Any]] = []
        out: dict[str, Any] = {}
        stack = [(self.root, out)]
        while stack:
            node, entry = stack.pop()
            if node.split is None or node.bound >= bound:
                key = id(node.tariff)
                if key not in tables:
                    tables[key] = len(prices)
                    prices.append(node.tariff.to_dict(self.oracle.columns))
                entry["prices"] = tables[key]
                continue
            entry["split"], entry["low"], entry["high"] = dict(node.split), {}, {}
            stack += [(node.children[0], entry["low"]), (node.children[1], entry["high"])]
        return {
            "kind": "tree", "bound": bound - _GUARD * abs(bound), "prices": prices, "tree": out,
        }  # fmt: skip
