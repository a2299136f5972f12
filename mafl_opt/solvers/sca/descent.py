"""From point to point: surrogates, steps, and the columns they are taken on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.status import Termination
from mafl_opt.formulations.pricing import Prices, best_batches
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.cones import OutOfTime, choose_solver
from mafl_opt.solvers.sca.point import Multipliers, NaturalForm, Point, Weights
from mafl_opt.solvers.sca.surrogate import SurrogateProblem

__all__ = ["Descent"]

Floats = NDArray[np.float64]

# Columns a surrogate sees; compiling grows with the square, and a few hundred hold every optimum.
_MOST_COLUMNS = 300
# KKT residual, in scaled objectives a unit of x: a hundredth of what a session is worth.
_STATIONARY = 2e-4
# Violation of a scaled row that counts as none; the integer recovery admits none at all.
_FEASIBLE = 1e-6
# Below this, x of an interior-point solution is zero.
_USED = 1e-6
# Columns every weighted task has among them, whatever the ranking.
_LEAST_COLUMNS = 20
# Steps beyond the minimiser that are tried, and the shortest one towards it.
_STEPS = (2.0, 4.0, 8.0)
_SHORTEST = 1e-3
# Shares of the way to x = 1/2; at a corner of the box an interior-point solver may stall.
_INWARDS = (1e-3, 1e-2)


class Descent:
    """A point of the natural form on its way down.

    Parameters
    ----------
    run : Run
        Its trace gets an entry an iteration.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._iteration = 0
        # The weights for which the point is known to be stationary.
        self._settled: Weights | None = None

    def begin(self, x: Floats, batch: Floats, rank: Floats) -> None:
        """Set out.

        Parameters
        ----------
        x, batch : (columns,)
        rank : (columns,)
            Columns of low rank are taken first, those with ``x = 1`` before all.
        """
        problem = self._run.problem
        kept = self._choose(x >= 1.0, rank)
        scale = self._run.objective
        form = NaturalForm(problem, kept, 1.0)
        point = form.trained(form.point(x[kept], batch[kept]))
        scale = scale if np.isfinite(scale) and scale > 0 else form.objective(point)
        self._take(NaturalForm(problem, kept, scale if scale > 0 else 1.0), point)
        self._multipliers = self._form.no_multipliers()

    def _take(self, form: NaturalForm, point: Point) -> None:
        self._form, self._point, self._settled = form, point, None
        self._surrogate = SurrogateProblem(form, choose_solver(self._run.options.solver))

    def infeasible(self) -> bool:
        """Whether a row is violated."""
        return self._form.violation(self._point) > _FEASIBLE

    def fraction(self) -> float:
        """Distance from an integer x."""
        return float(np.minimum(self._point.x, 1.0 - self._point.x).sum())

    def wish(self) -> Floats:
        """Return x of all columns; (columns,)."""
        x = np.zeros(len(self._run.problem.columns))
        x[self._form.kept] = self._point.x
        return x

    def prices(self) -> Prices:
        """Prices at the point."""
        return self._form.prices(self._point, self._multipliers)

    def iterate(self, weights: Weights, rounds: int, event: str) -> Termination:
        """Minimise surrogates until the KKT residual is small; `rounds` at most."""
        form = self._form
        for _ in range(rounds):
            if self._run.stop():
                return Termination.TIME_LIMIT
            try:
                solved = self._solve(weights)
            except OutOfTime:
                return Termination.TIME_LIMIT
            if solved is None:
                settled = self._settled == weights
                return Termination.LOCALLY_OPTIMAL if settled else Termination.NUMERICAL
            target, self._multipliers = solved
            step, moved = self._step(target, weights)
            residual = form.kkt(moved, self._multipliers, weights)
            self._iteration += 1
            self._point = moved
            violation = form.violation(moved)
            self._run.note(
                f"{event} {self._iteration}", relaxed=form.objective(moved) * form.scale,
                merit=form.merit(moved, weights) * form.scale, kkt=residual, violation=violation,
                integrality_weight=weights.integrality * form.scale, step=step,
                columns=form.kept.size,
            )  # fmt: skip
            refreshed = form.refresh(moved, self.prices())
            if form.merit(refreshed, weights) <= form.merit(moved, weights):
                self._point = refreshed
            done = violation <= _FEASIBLE and (residual <= _STATIONARY or not weights.objective)
            self._settled = weights if done else None
            if done or step < _SHORTEST:
                return Termination.LOCALLY_OPTIMAL if done else Termination.NUMERICAL
        return Termination.ITERATION_LIMIT

    def _solve(self, weights: Weights) -> tuple[Point, Multipliers] | None:
        """Minimise the surrogate at the point, or at one a little inside if the solver fails."""
        x = self._point.x
        for inwards in (0.0, *_INWARDS):
            at = replace(self._point, x=x + inwards * (0.5 - x))
            solved = self._surrogate.solve(at, weights, self._run.remaining())
            if solved is not None or self._run.stop():
                return solved
        return None

    def _step(self, target: Point, weights: Weights) -> tuple[float, Point]:
        """Longest step that still pays, or the longest below 1 that does not harm."""
        form, at = self._form, self._point
        best_step, best = 1.0, target
        least, now = form.merit(target, weights), form.merit(at, weights)
        while least > now and best_step >= _SHORTEST:
            best_step /= 2.0
            best = form.project(at.towards(target, best_step))
            least = form.merit(best, weights)
        if least > now:
            return 0.0, at
        for step in _STEPS if best_step >= 1.0 else ():
            further = form.project(at.towards(target, step))
            merit = form.merit(further, weights)
            if merit >= least:
                break
            best_step, best, least = step, further, merit
        return best_step, best

    def _choose(self, used: NDArray[np.bool_], rank: Floats) -> NDArray[np.int64]:
        """Pick columns: those in use, some of every weighted task, then by rank."""
        tasks, task = self._run.problem.scenario.tasks, self._run.problem.columns.task
        first = np.where(used, -np.inf, rank)
        for j in np.flatnonzero(tasks.weight > 0):
            own = np.flatnonzero(task == j)
            first[own[np.argsort(first[own], kind="stable")[:_LEAST_COLUMNS]]] = -np.inf
        return np.sort(np.argsort(first, kind="stable")[:_MOST_COLUMNS])

    def exchange(self, weights: Weights) -> bool:
        """Take in columns that would pay, for idle ones; false when none would."""
        form, problem = self._form, self._run.problem
        prices = self.prices()
        cost = form.left_out(prices, self._multipliers)
        x = self.wish()
        outside = np.ones(x.size, dtype=bool)
        outside[form.kept] = False
        if not (cost[outside] + weights.integrality < -_STATIONARY).any():
            return False
        kept = self._choose(x > _USED, cost)
        new = NaturalForm(problem, kept, form.scale)
        c = new.columns
        e = problem.scenario.energy_weight + prices.energy[c.device]
        fresh = new.point(x[kept], best_batches(c, prices.numerator[c.task], e).astype(np.float64))
        log_batch, log_speed = fresh.log_batch.copy(), fresh.log_speed.copy()
        _, here, there = np.intersect1d(kept, form.kept, return_indices=True)
        log_batch[here] = self._point.log_batch[there]
        # Frequencies are relative to each column's own, so they carry over as they are.
        log_speed[here] = self._point.log_speed[there]
        self._take(new, Point(x=fresh.x, log_batch=log_batch, log_speed=log_speed))
        self._multipliers = replace(self._multipliers, deadline=np.zeros(kept.size))
        return True
