"""Lower bounds of a large fleet: branching on boxes of A_j and Y_j over mixtures of price tables.

Best first. A node is bounded by the best mixture of the tables answered so far; the master tells
whether a new table could lift it, otherwise the node is split. The tree at any moment is a
certificate.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.solvers.prices.cuts import far_cut
from mafl_opt.solvers.prices.fleet.arcs import Table
from mafl_opt.solvers.prices.fleet.arrays import Fleet, Tasks
from mafl_opt.solvers.prices.fleet.learning import blend
from mafl_opt.solvers.prices.fleet.master import Master, Point
from mafl_opt.solvers.prices.fleet.ratio import Mixtures, Range, mix

__all__ = ["Proof", "root_range"]

Floats = NDArray[np.float64]

# A table is asked for when the master promises this part of what the node lacks.
_PROMISE = 0.6
_MOST_ASKED = 3
_MOST_NODES, _DEEPEST = 20_000, 200
# The least part of the way to the master's table that is gone.
_LEAST_STEP = 0.05
# How near the mixtures of plans, relative, the bound is brought where it cannot reach the target.
_SPARE = 3e-5


@dataclass(slots=True, eq=False)
class _Node:
    box: Range
    bound: float
    weights: Floats
    depth: int = 0
    asked: int = 0
    split: tuple[str, int, float] | None = None
    children: list[_Node | None] = field(default_factory=list)


class Proof:
    """The tree.

    Parameters
    ----------
    tasks : Tasks
    master : Master
        Where to look for tables.
    mixtures : Mixtures
        Tables with their answers; at least one.
    root : Range
        Holds every plan worth having, see `root_range`.
    """

    def __init__(self, tasks: Tasks, master: Master, mixtures: Mixtures, root: Range) -> None:
        self.tasks, self.master, self.mixtures = tasks, master, mixtures
        bound, weights = mixtures.best(root)
        self._root = _Node(root, bound, weights)
        self._open: list[tuple[float, int, _Node]] = [(bound, 0, self._root)]
        self._count = 1

    @property
    def bound(self) -> float:
        """No plan inside the root range has a lower O; holds wherever Ctrl-C cuts in."""
        return _least(self._root)

    def push(
        self, target: float, ask: Callable[[Table], float],
        tighten: Callable[[Range], Range | None], stop: Callable[[], bool],
        refine: Callable[[int], bool] | None = None,
    ) -> None:  # fmt: skip
        """Raise the bound to the target.

        Parameters
        ----------
        target : float
        ask : callable
            Gives the dual value of a table, after adding its answers to the master.
        refine : callable or None
            Improves the value of a table, given its number; false when it is as good as it gets.
        tighten : callable
            Cuts a range to where plans worth having can be; None when there are none.
        stop : callable
        """
        while self._open and self._open[0][0] < target and self._count < _MOST_NODES and not stop():
            _, _, node = heapq.heappop(self._open)
            bound, weights = self.mixtures.best(node.box)
            if bound > node.bound:
                node.weights, node.bound = weights, bound
                if self._open and bound > self._open[0][0]:
                    self._put(node)
                    continue
            if node.bound >= target:
                self._put(node)
                continue
            if refine is not None and any(
                refine(int(k)) for k in np.argsort(-node.weights)[:3] if node.weights[k] > 0
            ):
                self._put(node)
                continue
            point = self.master.solve(node.box)
            mixed = point.objective(self.tasks)
            if mixed < target and self._holds(node.box, point):
                # Mixtures of plans reach below: no prices lift the bound above that.
                target = min(target, mixed - _SPARE * abs(mixed))
                if node.bound >= target:
                    self._put(node)
                    continue
            promised = point.value - node.bound > _PROMISE * (target - node.bound)
            if promised and node.asked < _MOST_ASKED:
                node.asked += 1
                reach = 2.0 * (target - node.bound) / (point.value - node.bound)
                old = 1.0 - float(np.clip(reach, _LEAST_STEP, 0.5))
                table = blend(mix(self.mixtures.tables, node.weights), point.table, old)
                if not self.mixtures.has(table):
                    self.mixtures.add(table, ask(table))
                    self._put(node)
                    continue
            if node.depth == _DEEPEST or not self._split(node, point, tighten):
                # Whatever keeps its bound down, splits do not change it.
                self._put(node)
                return

    def _holds(self, box: Range, point: Point) -> bool:
        """Whether the totals of a point lie in a box, and need not be missed at a price."""
        used = self.tasks.weight > 0
        excess = point.error[used] / np.maximum(point.progress[used], 1e-300)
        inside = (point.progress[used] >= box.low[used] * (1 - 1e-9)) & (
            excess <= box.excess_high[used] * (1 + 1e-9)
        )
        return bool(inside.all())

    def _put(self, node: _Node) -> None:
        self._count += 1
        heapq.heappush(self._open, (node.bound, self._count, node))

    def _split(self, node: _Node, point: Point, tighten: Callable[[Range], Range | None]) -> bool:
        """Split the task whose ratio the relaxation misses most; false where nothing is left to."""
        box, t = node.box, self.tasks
        at = np.clip(point.progress, box.low, box.high)
        loose = t.weight * ((t.start + point.error) / at - point.ratio)
        # A task without weight has no ratio.
        j = int(np.argmax(np.where(t.weight > 0, loose, -np.inf)))
        cut = far_cut((
            ("progress", box.low[j], box.high[j], at[j]),
            ("excess", box.excess_low[j], box.excess_high[j], point.error[j] / at[j]),
        ))  # fmt: skip
        if cut is None:
            return False
        what, value = cut
        node.split = (what, j, value)
        for part in box.split(what, j, value):
            inside = tighten(part)
            child = None
            if inside is not None:
                bound, weights = self.mixtures.best(inside)
                inherited = self.mixtures.bound(inside, node.weights)
                if bound < inherited:
                    bound, weights = inherited, node.weights
                child = _Node(inside, bound, weights, node.depth + 1)
                self._put(child)
            node.children.append(child)
        return True

    def tables_used(self) -> list[int]:
        """Numbers of the tables that leaves rest on."""
        used: set[int] = set()
        waiting: list[_Node | None] = [self._root]
        while waiting:
            node = waiting.pop()
            if node is not None and node.split is None:
                used.update(np.flatnonzero(node.weights).tolist())
            elif node is not None:
                waiting.extend(node.children)
        return sorted(used)

    def to_dict(self) -> dict[str, Any]:
        """Return the tree as a certificate lists it, with tables numbered as they were added."""
        return _listed(self._root)


def _least(root: _Node) -> float:
    """Least bound of the leaves; a node without both children is one."""
    least, waiting = np.inf, [root]
    while waiting:
        node = waiting.pop()
        if len(node.children) < 2:
            least = min(least, node.bound)
        else:
            waiting += [child for child in node.children if child is not None]
    return least


def _listed(node: _Node | None) -> dict[str, Any]:
    if node is None:
        return {"prices": 0}
    if node.split is None or len(node.children) < 2:
        used = np.flatnonzero(node.weights)
        if used.size == 1:
            return {"prices": int(used[0])}
        return {"prices": used.tolist(), "weights": node.weights[used].tolist()}
    what, task, at = node.split
    low, high = node.children
    return {"split": {what: task, "at": at}, "low": _listed(low), "high": _listed(high)}


def root_range(
    fleet: Fleet, tasks: Tasks, incumbent: float
) -> tuple[Range, Callable[[Range], Range | None]]:
    """Range of A_j and Y_j of plans better than the incumbent (model page, section 6, fact 6).

    Returns
    -------
    root : Range
    tighten : callable
        Cuts any range by Gamma'_j / A_j + Y_j <= (incumbent - rest) / gamma_j.
    """
    used = tasks.weight > 0
    high = 0.5 * tasks.capacity.size * tasks.cap
    slope, least = np.zeros(high.size), np.zeros(high.size)
    for j in range(high.size):
        slope[j], least[j] = _best_session(fleet, tasks, j)
    terms = tasks.weight * (tasks.start / high + slope)
    room = np.full(high.size, np.inf)
    room[used] = (incumbent - (terms.sum() - terms[used])) / tasks.weight[used]
    low = np.maximum(least, tasks.start / np.maximum(room - slope, 1e-300))
    root = Range(
        low=np.minimum(low, high), high=high, excess_low=slope,
        excess_high=np.where(used, np.maximum(room - tasks.start / high, slope), slope),
    )  # fmt: skip

    def tighten(box: Range) -> Range | None:
        top = np.where(used, np.minimum(box.excess_high, room - tasks.start / box.high), slope)
        bottom = np.maximum(box.low, tasks.start / np.maximum(room - box.excess_low, 1e-300))
        bottom = np.where(used, bottom, box.low)
        if (used & ((bottom > box.high) | (top < box.excess_low))).any():
            return None
        return Range(low=bottom, high=box.high, excess_low=box.excess_low, excess_high=top)

    return root, tighten


def _best_session(fleet: Fleet, tasks: Tasks, j: int) -> tuple[float, float]:
    """Lower bounds of phi / a and of a over the sessions of a task."""
    holds = fleet.samples[:, j] > 0
    if not holds.any():
        return 0.0, float(tasks.cap[j])
    slope = np.inf
    steps = slice(1, int(tasks.most_iterations[j]) + 1)
    for tau in range(min(int(tasks.most_stale[j]), tasks.capacity.size - 1) + 1):
        apart = float((fleet.dissimilarity[holds, j] + fleet.drift[holds, j] * (tau + 1)).min())
        apart += tasks.moved[j, tau]
        square = apart**2 * tasks.drift_0[j, steps]
        square += 2.0 * apart * tasks.slope[j] * tasks.drift_1[j, steps]
        square += tasks.slope[j] ** 2 * tasks.drift_2[j, steps]
        slope = min(slope, float((square / tasks.first[j, steps]).min()))
    share = float(fleet.share[holds, j].min()) * float(tasks.stale_weight[j].min())
    return slope * (1 - 1e-9), 0.5 * tasks.rate[j] * share * tasks.first[j, 1] * (1 - 1e-9)
