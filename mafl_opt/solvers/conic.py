"""Backend `conic`: the lifted form through cvxpy, boxes of A_j, integer recovery.

The relaxation is convex on a box of the A_j. Each box gives prices; the prices give a lower bound
in closed form that owes nothing to the solver's tolerances (`pricing.lagrangian_bound`), a
fractional point that is rounded device by device, and cuts of the box against the incumbent.
Boxes are split while the envelope of N/A is what holds the bound back.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan
from mafl_opt.core.status import Termination
from mafl_opt.formulations.boxes import BoxRules, box_rules
from mafl_opt.formulations.lifted import LiftedForm, lift
from mafl_opt.formulations.pricing import Box, Prices, lagrangian_bound
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.improve import Improver, fill
from mafl_opt.solvers.schedule import Schedule

__all__ = ["Conic", "Relaxation", "RelaxedPoint"]

Floats = NDArray[np.float64]

_SOLVERS = {"clarabel": cp.CLARABEL, "ecos": cp.ECOS, "scs": cp.SCS}
# Rounds of ruin and recreate without improvement: first a few, at the end many.
_QUICK_ROUNDS = 30
_FINAL_ROUNDS = 250
# A box whose envelope is this close to the ratio, relative to the incumbent, is not worth a split.
_ENVELOPE_WORTH = 1e-3
_MOST_BOXES = 24
_OPTIMAL_GAP = 1e-6
# Cost of leaving a box by its whole scaled width, in scaled objectives: far above any true price.
_ELASTIC = 100.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RelaxedPoint:
    """Optimum of the relaxation on a box.

    x : (columns,)
    numerator, progress, ratio : (weighted tasks,)
        N_j, A_j and the envelope's value of N_j / A_j.
    prices : Prices
    """

    x: Floats
    numerator: Floats
    progress: Floats
    ratio: Floats
    prices: Prices


class Relaxation:
    """The lifted relaxation, compiled once; boxes enter as parameters.

    Parameters
    ----------
    problem : Problem
    solver : str
        ``clarabel``, ``ecos`` or ``scs``.
    scale : float
        Typical objective, by which the objective is divided.
    """

    def __init__(self, problem: Problem, solver: str, scale: float) -> None:
        self._problem, self._solver, self._scale = problem, solver, scale
        self._form = lift(problem)
        s, form = problem.scenario, self._form
        n, used = len(problem.columns), np.flatnonzero(s.tasks.weight > 0)
        self._used = used
        x, work, inverse = cp.Variable(n), cp.Variable(n), cp.Variable(n)
        numerator, progress = cp.Variable(used.size), cp.Variable(used.size)
        # Elastic: a box that no plan reaches must give prices too, not just "infeasible".
        excess, lack = cp.Variable(used.size, nonneg=True), cp.Variable(used.size, nonneg=True)
        self._x, self._numerator, self._progress = x, numerator, progress
        energy, cubic = _energy(form, x, work)
        error = form.numerator_start[used] + form.error_x[used] @ x + form.error_v[used] @ inverse
        self._rows = {
            "energy": energy <= form.energy_limit,
            "uplink": form.uplink @ x <= form.uplink_limit,
            "step_cap": form.step_cap @ x <= 1,
            "numerator": numerator + excess >= error,
            "progress": progress - lack <= form.progress[used] @ x,
        }
        rows = [
            x >= 0, form.exclusive @ x <= 1, work <= x, work >= cp.multiply(form.work_min, x),
            *_rotated(inverse, work, x), *cubic,
        ]  # fmt: skip
        ratio_rows, self._ratio = self._envelope(numerator, progress)
        factor = (s.tasks.weight * form.numerator_scale / form.progress_scale)[used] / scale
        price = s.energy_weight * form.energy_scale / scale
        cost = factor @ self._ratio + price @ energy + _ELASTIC * cp.sum(excess + lack)
        self._model = cp.Problem(cp.Minimize(cost), [*rows, *self._rows.values(), *ratio_rows])

    def _envelope(self, numerator: cp.Variable, progress: cp.Variable) -> tuple[list[Any], Any]:
        """Exact convex envelope of N/A over the box (fact 5)."""
        tasks = numerator.size
        self._low_n, self._high_n, self._span = (cp.Parameter(tasks, nonneg=True) for _ in range(3))
        self._low_a, self._high_a = (cp.Parameter(tasks, nonneg=True) for _ in range(2))
        part, low, high = cp.Variable(tasks), cp.Variable(tasks), cp.Variable(tasks)
        below, above = cp.Variable(tasks), cp.Variable(tasks)
        rows = [
            numerator == self._low_n + cp.multiply(self._span, part), low + high == progress,
            part >= 0, part <= 1,
            cp.multiply(self._low_a, 1 - part) <= low, low <= cp.multiply(self._high_a, 1 - part),
            cp.multiply(self._low_a, part) <= high, high <= cp.multiply(self._high_a, part),
            *_rotated(below, low, 1 - part), *_rotated(above, high, part),
        ]  # fmt: skip
        return rows, cp.multiply(self._low_n, below) + cp.multiply(self._high_n, above)

    def solve(self, box: Box, time_limit: float | None = None) -> RelaxedPoint | None:
        """Solve on a box; None when the numerical solver gave no point."""
        form, used = self._form, self._used
        by_n, by_a = form.numerator_scale[used], form.progress_scale[used]
        self._low_n.value = box.numerator_min[used] / by_n
        self._high_n.value = box.numerator_max[used] / by_n
        self._span.value = np.maximum(self._high_n.value - self._low_n.value, 0.0)
        self._low_a.value = box.progress_min[used] / by_a
        self._high_a.value = box.progress_max[used] / by_a
        options: dict[str, Any] = {}
        if time_limit is not None and self._solver == "clarabel":
            options["time_limit"] = max(time_limit, 0.01)
        elif time_limit is not None and self._solver == "scs":
            options["time_limit_secs"] = max(time_limit, 0.01)
        with warnings.catch_warnings():
            # An inaccurate point is welcome: the bound is derived from its prices alone, and any
            # prices give a valid one.
            warnings.filterwarnings("ignore", message="Solution may be inaccurate")
            warnings.filterwarnings("ignore", category=FutureWarning, module="cvxpy")
            try:
                self._model.solve(solver=_SOLVERS[self._solver], **options)
            except cp.error.SolverError:
                return None
        if self._x.value is None or any(row.dual_value is None for row in self._rows.values()):
            return None
        return RelaxedPoint(
            x=np.clip(self._x.value, 0.0, 1.0),
            numerator=self._numerator.value * by_n,
            progress=self._progress.value * by_a,
            ratio=self._ratio.value * by_n / by_a,
            prices=self._prices(),
        )

    def _prices(self) -> Prices:
        s, form, used = self._problem.scenario, self._form, self._used
        dual = {
            name: np.maximum(np.nan_to_num(np.asarray(row.dual_value, dtype=float)), 0.0)
            * self._scale
            for name, row in self._rows.items()
        }
        numerator, progress = np.zeros(s.num_tasks), np.zeros(s.num_tasks)
        numerator[used] = dual["numerator"] / form.numerator_scale[used]
        progress[used] = dual["progress"] / form.progress_scale[used]
        return Prices(
            numerator=numerator, progress=progress, uplink=dual["uplink"],
            step_cap=dual["step_cap"].reshape(s.num_slots, s.num_tasks) / s.tasks.step_cap,
            energy=dual["energy"] / form.energy_scale,
        )  # fmt: skip


def _energy(form: LiftedForm, x: cp.Variable, work: cp.Variable) -> tuple[Any, list[Any]]:
    """Energy by device; the cubic part b^3/x^2 as two rotated cones, which every solver has."""
    energy = form.energy_x @ x + form.energy_w @ work
    if not form.cubic.size:
        return energy, []
    square, cube = cp.Variable(form.cubic.size), cp.Variable(form.cubic.size)
    w, share = work[form.cubic], x[form.cubic]
    rows = [
        *_rotated(square, share, w), *_rotated(cube, w, square),
        cube >= cp.multiply(form.flat_ratio, w),
    ]  # fmt: skip
    return energy + form.energy_e @ cube, rows


def _rotated(product: Any, factor: Any, middle: Any) -> list[Any]:
    """Rows for middle^2 <= product * factor, elementwise, product and factor >= 0."""
    return [cp.SOC(product + factor, cp.vstack([2 * middle, product - factor]), axis=0)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Leaf:
    """A range of A, the best bound known for it and the prices that prove it."""

    low: Floats
    high: Floats
    bound: float
    prices: Prices

    def to_dict(self) -> dict[str, Any]:
        """Return the leaf as a certificate lists it."""
        return {
            "progress_min": self.low.tolist(),
            "progress_max": self.high.tolist(),
            "prices": self.prices.to_dict(),
        }


class Conic:
    """Convex relaxation on boxes of A_j, prices, bound, integer recovery."""

    name = "conic"
    summary = "convex lifting on boxes (cvxpy), certified bound, integer recovery"
    proves_bound = True
    accepts = frozenset({"time_limit", "gap", "seed", "solver", "start"})

    def missing(self) -> str:
        """cvxpy comes with the package."""
        return ""

    def solve(self, run: Run) -> Plan:
        """Bound by boxes, then search around what they suggest."""
        solver = run.options.solver or "clarabel"
        if solver not in _SOLVERS or _SOLVERS[solver] not in cp.installed_solvers():
            usable = [name for name, code in _SOLVERS.items() if code in cp.installed_solvers()]
            raise InputError("solver", "one of " + ", ".join(usable), solver)
        leaves: list[_Leaf] = []
        with run.interruptible():
            improver = Improver(run.problem, run.options.seed, run.stop)
            self._first(run, improver)
            self._bound(run, improver, solver, leaves)
            self._last(run, improver)
        return run.plan(self.name, self._verdict(run), _certificate(run, leaves))

    def _first(self, run: Run, improver: Improver) -> None:
        """Find an incumbent by greedy insertion and local search, beside the plan given."""
        if run.start is not None:
            run.offer(Schedule.from_sessions(run.problem, run.start.sessions), "start")
        schedule = Schedule(run.problem)
        fill(schedule)
        run.offer(schedule, "greedy")
        schedule = improver.descend(run.best or schedule)
        run.offer(schedule, "local search")
        schedule = improver.shake(
            schedule, rounds=_QUICK_ROUNDS, found=lambda found: run.offer(found, "local search")
        )

    def _bound(self, run: Run, improver: Improver, solver: str, leaves: list[_Leaf]) -> None:
        """Branch on boxes of A; `leaves` always covers every plan better than the incumbent."""
        problem, rules = run.problem, box_rules(run.problem)
        top = run.objective if run.best is not None else _objective_ceiling(run.problem)
        relaxation = Relaxation(problem, solver, top)
        low, high = rules.root(top)
        no_prices = _no_prices(problem)
        first = lagrangian_bound(
            problem.scenario, problem.columns, problem.program, no_prices, rules.box(low, high, top)
        )[0]
        open_leaves = [_Leaf(low=low, high=high, bound=first, prices=no_prices)]
        leaves[:] = open_leaves
        closed: list[_Leaf] = []
        solved = 0
        while open_leaves and solved < _MOST_BOXES and not run.stop():
            top = min(top, run.objective)
            leaf = min(open_leaves, key=lambda leaf: leaf.bound)
            if leaf.bound >= top * (1.0 - run.options.gap):
                break
            point = relaxation.solve(rules.box(leaf.low, leaf.high, top), run.remaining())
            solved += 1
            open_leaves.remove(leaf)
            if point is None:
                closed.append(leaf)
                continue
            self._recover(run, improver, point, thorough=solved == 1)
            leaf = _reprice(problem, rules, leaf, point.prices, top)
            slabs, children = _cut(rules, leaf, point, min(top, run.objective))
            closed += slabs
            (open_leaves if len(children) > 1 else closed).extend(children)
            leaves[:] = [*open_leaves, *closed]
            bound = min(leaf.bound for leaf in leaves)
            run.raise_bound(min(bound, run.objective), f"box {solved}")

    def _recover(
        self, run: Run, improver: Improver, point: RelaxedPoint, *, thorough: bool
    ) -> None:
        improver.charge(point.prices)
        schedule = improver.descend(improver.round(point.x, point.prices))
        run.offer(schedule, "rounding")
        if thorough:
            improver.shake(
                schedule, rounds=_QUICK_ROUNDS, found=lambda found: run.offer(found, "rounding")
            )

    def _last(self, run: Run, improver: Improver) -> None:
        """Search on from the best plan while the gap is open."""
        if run.best is None or self._verdict(run) is not Termination.COMPLETED:
            return
        improver.shake(
            run.best, rounds=_FINAL_ROUNDS, found=lambda found: run.offer(found, "local search")
        )

    def _verdict(self, run: Run) -> Termination:
        if run.bound is None:
            return Termination.NUMERICAL
        if run.best is None:
            proved = run.bound >= _objective_ceiling(run.problem)
            return Termination.INFEASIBLE if proved else Termination.COMPLETED
        gap = (run.objective - run.bound) / abs(run.objective) if run.objective else 0.0
        if gap <= _OPTIMAL_GAP:
            return Termination.OPTIMAL
        return Termination.GAP_REACHED if gap <= run.options.gap else Termination.COMPLETED


def _reprice(problem: Problem, rules: BoxRules, leaf: _Leaf, prices: Prices, top: float) -> _Leaf:
    """Give a leaf the new prices if they prove more than the ones it had."""
    box = rules.box(leaf.low, leaf.high, top)
    bound, _, _ = lagrangian_bound(problem.scenario, problem.columns, problem.program, prices, box)
    if bound <= leaf.bound:
        return leaf
    return _Leaf(low=leaf.low, high=leaf.high, bound=bound, prices=prices)


def _cut(
    rules: BoxRules, leaf: _Leaf, point: RelaxedPoint, top: float
) -> tuple[list[_Leaf], list[_Leaf]]:
    """Cut off what cannot beat the incumbent; split the rest where the envelope is loose.

    Returns
    -------
    slabs : list
        Cut off, each proved to hold nothing below `top`.
    children : list
        What is left: two leaves, or one when a split does not pay.
    """
    if leaf.bound >= top:
        return [], [leaf]
    low, high = rules.keep(leaf.low, leaf.high, top, leaf.prices, top - leaf.bound)
    slabs = []
    for j in range(low.size):
        for first, last in ((leaf.low[j], low[j]), (high[j], leaf.high[j])):
            if last > first:
                slab_low, slab_high = leaf.low.copy(), leaf.high.copy()
                slab_low[j], slab_high[j] = first, last
                slabs.append(_Leaf(low=slab_low, high=slab_high, bound=top, prices=leaf.prices))
    used = np.flatnonzero(rules.weight > 0)
    loose = rules.weight[used] * (point.numerator / point.progress - point.ratio)
    rest = _Leaf(low=low, high=high, bound=leaf.bound, prices=leaf.prices)
    if loose.max() < _ENVELOPE_WORTH * top:
        return slabs, [rest]
    j = used[int(np.argmax(loose))]
    width = high[j] - low[j]
    at = float(
        np.clip(point.progress[int(np.argmax(loose))], low[j] + 0.2 * width, high[j] - 0.2 * width)
    )
    left, right = high.copy(), low.copy()
    left[j] = right[j] = at
    return slabs, [
        _Leaf(low=low, high=left, bound=leaf.bound, prices=leaf.prices),
        _Leaf(low=right, high=high, bound=leaf.bound, prices=leaf.prices),
    ]


def _no_prices(problem: Problem) -> Prices:
    s = problem.scenario
    return Prices(
        numerator=np.zeros(s.num_tasks), progress=np.zeros(s.num_tasks),
        uplink=np.zeros(s.num_slots), step_cap=np.zeros((s.num_slots, s.num_tasks)),
        energy=np.zeros(s.num_devices),
    )  # fmt: skip


def _objective_ceiling(problem: Problem) -> float:
    """No feasible plan has a larger objective: all errors over the smallest progress."""
    s, c = problem.scenario, problem.columns
    total = float(s.energy_weight * s.devices.energy_budget_j.sum())
    for j in np.flatnonzero(s.tasks.weight > 0):
        own = c.task == j
        most = s.loss_drift[:, j].sum() + s.tasks.initial_gap[j]
        ones = np.ones(int(own.sum()))
        most += float(c.take(own).error_at(ones).sum())
        total += float(s.tasks.weight[j] * most / c.progress[own].min())
    return total


def _certificate(run: Run, leaves: list[_Leaf]) -> dict[str, Any] | None:
    if run.bound is None or not leaves:
        return None
    bound = run.bound if run.best is None else min(run.bound, run.objective)
    return {
        "kind": "lagrangian",
        "bound": bound,
        "leaves": [leaf.to_dict() for leaf in leaves],
    }
