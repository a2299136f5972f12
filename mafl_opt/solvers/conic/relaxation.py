"""The lifted relaxation in cvxpy, on boxes of A_j and on the columns that matter."""

from __future__ import annotations

import time
from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.lifted import LiftedForm, lift
from mafl_opt.formulations.pricing import Box, Prices, lagrangian_bound
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.cones import minimise
from mafl_opt.solvers.leaves import RelaxedPoint

__all__ = ["ColumnPool", "Relaxation"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# ECOS stalls a little short of its usual accuracy on these cones; any prices give a valid bound.
_ACCURACY: dict[str, dict[str, Any]] = {
    "clarabel": {},
    "ecos": {"abstol_inacc": 1e-2, "reltol_inacc": 1e-2, "feastol_inacc": 1e-4},
    "scs": {"eps_abs": 1e-5, "eps_rel": 1e-5},
}
# Cost of leaving a box by its whole scaled width, in scaled objectives: far above any true price.
_ELASTIC = 100.0
# A column is kept when using it costs less than this share of the gap more than the best plan.
_KEEP = 0.05
# The kept columns will do when the bound over all columns loses at most this share of the gap.
_LOSS = 0.02
_MOST_PASSES = 4
# Below this, x of an interior-point solution is zero.
_USED = 1e-6


class Relaxation:
    """The lifted relaxation, compiled once; boxes enter as parameters.

    Parameters
    ----------
    problem : Problem
    solver : str
        ``clarabel``, ``ecos`` or ``scs``.
    scale : float
        Typical objective, by which the objective is divided.
    kept : (kept columns,)
        Columns of the problem that the relaxation sees.
    """

    def __init__(self, problem: Problem, solver: str, scale: float, kept: Ints) -> None:
        self._problem, self._solver, self._scale, self._kept = problem, solver, scale, kept
        self._form = lift(problem.scenario, problem.columns.take(kept))
        s, form = problem.scenario, self._form
        n, used = kept.size, np.flatnonzero(s.tasks.weight > 0)
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
        # An inaccurate point is welcome: the bound is derived from its prices alone, and any prices
        # give a valid one.
        if not minimise(self._model, self._solver, time_limit, **_ACCURACY[self._solver]):
            return None
        if self._x.value is None or any(row.dual_value is None for row in self._rows.values()):
            return None
        x = np.zeros(len(self._problem.columns))
        x[self._kept] = np.clip(self._x.value, 0.0, 1.0)
        return RelaxedPoint(
            value=float(self._model.value) * self._scale,
            x=x,
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


class ColumnPool:
    """The relaxation on the columns that matter, more of them as needed.

    A bound is valid at any prices, so prices may come from a relaxation that sees only some
    columns, as long as the bound itself is taken over all. The first box is solved with every
    column; later ones with those that came close to being used, until the bound over all columns
    is about what the kept ones promise.

    Parameters
    ----------
    problem : Problem
    solver : str
    scale : float
    """

    def __init__(self, problem: Problem, solver: str, scale: float) -> None:
        self._problem, self._solver, self._scale = problem, solver, scale
        self._kept = np.ones(len(problem.columns), dtype=bool)
        self._relaxation = self._compile()
        self._first = True

    def solve(self, box: Box, top: float, time_limit: float | None) -> RelaxedPoint | None:
        """Solve on a box; `top` is the incumbent's objective. None: no point from the solver."""
        began = time.perf_counter()
        for _ in range(_MOST_PASSES):
            left = None if time_limit is None else time_limit - (time.perf_counter() - began)
            point = self._relaxation.solve(box, left)
            if point is None:
                return None
            problem = self._problem
            bound, _, batch = lagrangian_bound(
                problem.scenario, problem.columns, problem.program, point.prices, box
            )
            gap = max(top - bound, 1e-6 * abs(top))
            if not self._first and point.value - bound <= _LOSS * gap:
                return point
            cost = point.prices.reduced_costs(problem.scenario, problem.columns, batch)
            near = problem.program.slack(cost) <= _KEEP * gap
            if self._first:
                self._first = False
                self._kept = near | (point.x > _USED)
                self._relaxation = self._compile()
                return point
            if not (near & ~self._kept).any():
                return point
            self._kept |= near
            self._relaxation = self._compile()
        return point

    def _compile(self) -> Relaxation:
        return Relaxation(self._problem, self._solver, self._scale, np.flatnonzero(self._kept))
