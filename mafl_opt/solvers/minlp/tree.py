"""Branch and bound around the packed relaxation: on the ranges of A, then on the sessions.

A node is a region of (N, A), columns that are barred and sets of columns one of which is due. Its
bound is `tolls.tolled_bound`; columns and ranges of A that the tolls rule out beside the incumbent
are barred and cut off. As the regions get smaller, the lines between which N_j lies are drawn
closer by linear programs of their own, with the incumbent as a limit: the envelope of N/A loses
with the product of the ranges of A and of N/A.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.bound import initial_error
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.improve import Improver
from mafl_opt.solvers.minlp.forks import find_fork
from mafl_opt.solvers.minlp.knapsacks import Knapsacks
from mafl_opt.solvers.minlp.packed import Basis, Packed, PackedPoint
from mafl_opt.solvers.minlp.points import outer_points
from mafl_opt.solvers.minlp.tolls import Goal, Region, tolled_slack
from mafl_opt.solvers.recovery import recover

__all__ = ["Node", "Tree"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Batch sizes at which an edge is taken grow by this factor: at the root, then among what is left if
# that gives so many points at most.
_COARSE, _FINE, _FINE_POINTS = 2.0, 1.3, 30_000
# Solves of the relaxation at the root, and at a node.
_ROOT_ROUNDS, _NODE_ROUNDS = 40, 6
# Distance between relaxation and bound that will do, by the node's gap.
_CLOSE = 0.03
# The envelope is split while it loses this share of a node's gap, and this of the objective.
_LOSS_SHARE, _LOSS = 0.06, 3e-4
# A child has this share of the range of A at least.
_SMALLEST_CHILD = 0.2
# Splits of A, beside one a task, after which the lines around N are drawn anew.
_SPLITS = 1
# A dive, down to a plan, is made once in so many times, and its plan is shaken once in so many. At
# the first nodes plans are made anyhow.
_EVERY_DIVE, _EVERY_SHAKE, _FIRST_PLANS = 8, 40, 5
# Taken off the lines around N, relative to the objective.
_GUARD = 1e-9
# A bound is news when it closes this share of the gap.
_NEWS = 0.01
# Without a time limit, the search ends when so many nodes close less than this share of the gap.
_PATIENCE, _PAY = 200, 0.02


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Node:
    """A part of the tree.

    region : Region
    barred : (columns,)
    owed : tuple of (columns,)
    splits : int
        Of A, since the lines around N were drawn; None where they never were.
    basis : Basis or None
        Of the node above.
    """

    region: Region
    barred: Mask
    owed: tuple[Mask, ...] = ()
    splits: int | None = None
    basis: Basis | None = None


class Tree:
    """A search by branch and bound.

    Parameters
    ----------
    run : Run
        Gets plans and bounds.
    improver : Improver
    root : Node
        Holds every plan better than the incumbent.
    batch : two (columns,)
        Range of batch sizes of such plans.
    ceiling : float
        Objective no plan exceeds, in place of an incumbent's.

    Attributes
    ----------
    whole : list of (bound, Node)
        Nodes whose relaxed point leaves nothing to fork: it is whole but for batch sizes.
    """

    def __init__(
        self, run: Run, improver: Improver, root: Node, batch: tuple[Ints, Ints], ceiling: float
    ) -> None:
        self._run, self._improver, self._ceiling = run, improver, ceiling
        self._problem, self._goal = run.problem, Goal.of(run.problem)
        self._knapsacks, self._batch = Knapsacks(run.problem), batch
        self._packed = self._compile(root.barred, _COARSE)
        self._open: list[tuple[float, int, Node]] = [(-np.inf, 0, root)]
        self._nodes = self._trips = self._pushed = 0
        self.whole: list[tuple[float, Node]] = []

    @property
    def top(self) -> float:
        """Objective that plans must stay below."""
        return min(self._run.objective, self._ceiling)

    def open_bound(self) -> float:
        """Lower bound of the plans in nodes still to be expanded."""
        return self._open[0][0] if self._open else np.inf

    def bound(self) -> float:
        """Lower bound of every plan."""
        return min([self.top, self.open_bound(), *(bound for bound, _ in self.whole)])

    def search(self) -> None:
        """Search until the gap is reached, time is up, or nothing is left to fork or worth it."""
        run, history = self._run, [self.bound()]
        while self._open and not run.stop() and not self._stalled(history):
            if self.open_bound() >= self.top * (1.0 - run.options.gap):
                break
            bound, _, node = heapq.heappop(self._open)
            if not self._descend(bound, node, deep=self._trips % _EVERY_DIVE == 0):
                break
            self._trips += 1
            history.append(self.bound())
            self._tell()
        self._tell(last=True)

    def _descend(self, bound: float, node: Node, *, deep: bool) -> bool:
        """Expand a node, and if `deep` its likelier child and so on; false without an answer."""
        parts = [(bound, node)]
        while parts:
            bound, node = parts.pop(0)
            found = self._relax(node)
            if found is None and not self._packed.infeasible():
                self.whole.append((bound, node))
                return False
            parts = self._expand(bound, node, found) if found is not None else []
            self._nodes += 1
            if not deep or self._run.stop():
                break
            for part in parts[1:]:
                self._push(*part)
            del parts[1:]
            self._tell(parts)
        for part in parts:
            self._push(*part)
        wanted = deep or self._nodes < _FIRST_PLANS
        if found is not None and wanted and not self._run.stop():
            recover(
                self._run, self._improver, found.point.x, found.tolls,
                thorough=self._trips % _EVERY_SHAKE == 0,
            )  # fmt: skip
        return True

    def _tell(self, held: Sequence[tuple[float, Node]] = (), *, last: bool = False) -> None:
        """Report the bound over all nodes, those held back from the open ones included."""
        bound, run = min([self.bound(), *(part[0] for part in held)]), self._run
        if last or run.bound is None or bound - run.bound >= _NEWS * (self.top - run.bound):
            run.raise_bound(bound, f"node {self._nodes}")

    def _stalled(self, history: list[float]) -> bool:
        if self._run.remaining() is not None or len(history) <= _PATIENCE:
            return False
        return history[-1] - history[-1 - _PATIENCE] < _PAY * (self.top - history[-1])

    # -- one node --------------------------------------------------------------------------

    def _expand(self, bound: float, node: Node, found: PackedPoint) -> list[tuple[float, Node]]:
        """Cut a relaxed node down and fork it; returns its parts with bounds, likelier first."""
        bound, top = max(bound, found.bound), self.top
        if bound >= top:
            return []
        slack = top - found.bound
        barred = node.barred | (tolled_slack(self._problem, found.tolls) > slack)
        region, splits, basis = node.region, node.splits, self._packed.basis()
        due = splits is None or splits >= self._problem.scenario.num_tasks + _SPLITS
        if due and not self._run.stop():
            region, splits = self._draw_lines(region, found), 0
        region = replace(region.trimmed(found.tolls, slack), top=top)
        if not self._nodes:
            self._packed, basis = self._compile(barred, _FINE, self._packed.sets), None
        node = replace(node, region=region, barred=barred, splits=splits, basis=basis)
        return [(bound, part) for part in self._split(bound, node, found)]

    def _relax(self, node: Node) -> PackedPoint | None:
        top, run = self.top, self._run
        region = replace(node.region, top=top)
        self._packed.frame(region, node.barred, node.owed, node.basis)
        return self._packed.minimise(
            self._goal, enough=top * (1.0 - run.options.gap), close=1e-3 * top,
            rounds=_NODE_ROUNDS if self._nodes else _ROOT_ROUNDS, time_limit=run.remaining(),
        )  # fmt: skip

    def _compile(
        self, barred: Mask, growth: float, sets: Sequence[tuple[int, Ints]] = ()
    ) -> Packed:  # fmt: skip
        index, (low, high) = np.flatnonzero(~barred), self._batch
        points = outer_points(self._problem.columns, index, low[index], high[index], growth)
        if growth < _COARSE and len(points) > _FINE_POINTS:
            return self._compile(barred, _COARSE, sets)
        return Packed(self._problem, self._knapsacks, points, self.top, sets)

    def _split(self, bound: float, node: Node, found: PackedPoint) -> list[Node]:
        """Fork a node on A where the envelope is loose, else on sessions."""
        point, weight = found.point, self._problem.scenario.tasks.weight
        used = np.flatnonzero(weight > 0)
        loose = weight[used] * (point.numerator / point.progress - point.ratio)
        k = int(np.argmax(loose))
        if loose[k] > max(_LOSS_SHARE * (self.top - bound), _LOSS * self.top):
            j, region = used[k], node.region
            margin = _SMALLEST_CHILD * (region.high[j] - region.low[j])
            at = np.clip(point.progress[k], region.low[j] + margin, region.high[j] - margin)
            left, right = region.high.copy(), region.low.copy()
            left[j] = right[j] = at
            regions = (replace(region, high=left), replace(region, low=right))
            return [replace(node, region=part, splits=(node.splits or 0) + 1) for part in regions]
        fork = find_fork(self._problem, point.x)
        if fork is None:
            self.whole.append((bound, node))
            return []
        owed = (*node.owed, fork.asked & ~node.barred)
        without = replace(node, barred=node.barred | fork.asked)
        within = replace(node, barred=node.barred | fork.rivals, owed=owed)
        return [within, without] if fork.amount >= 0.5 else [without, within]

    def _push(self, bound: float, node: Node) -> None:
        self._pushed += 1
        heapq.heappush(self._open, (bound, self._pushed, node))

    # -- lines around N --------------------------------------------------------------------

    def _draw_lines(self, region: Region, found: PackedPoint) -> Region:
        """Draw the lines between which N_j lies in plans below the incumbent closer.

        Above, gamma_j N_j / A_j is at most the incumbent less the least of what else O adds up;
        below, N_j - Gamma'_j - slope A_j is least at some value that the slope then takes up. Both
        are goals for the relaxation as it is framed.
        """
        rules, top, goal = region.rules, self.top, self._goal
        rest, slope = rules.rest.copy(), rules.slope.copy()
        start = initial_error(self._problem.scenario)
        for k, j in enumerate(np.flatnonzero(rules.weight > 0)):
            unit = np.zeros_like(rest)
            unit[j] = rules.weight[j]
            others = replace(goal, ratio=goal.ratio - unit)
            rest[j] = max(rest[j], self._least(others, top))
            a = float(found.point.progress[k])
            rate = (float(found.point.numerator[k]) - start[j]) / a
            above = Goal(ratio=0 * unit, error=unit / a, progress=unit * rate / a, energy=0.0)
            short = self._least(above, top) * a / rules.weight[j] - start[j]
            base = region.low[j] if short < 0 else region.high[j]
            slope[j] = max(slope[j], rate + short / base)
        return replace(region, rules=replace(rules, rest=rest, slope=slope))

    def _least(self, goal: Goal, top: float) -> float:
        """Least value of a goal where O stays below `top`, as the relaxation is framed."""
        found = self._packed.minimise(
            goal, enough=np.inf, close=1e-3 * top, rounds=_NODE_ROUNDS,
            time_limit=self._run.remaining(), below=top,
        )  # fmt: skip
        return -np.inf if found is None else found.bound - _GUARD * top
