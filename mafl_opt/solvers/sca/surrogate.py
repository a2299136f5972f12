"""The convex surrogate of the natural form in cvxpy, compiled once and solved again and again."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.surrogates import product_tangent
from mafl_opt.solvers.cones import minimise
from mafl_opt.solvers.sca.point import Multipliers, NaturalForm, Point, Weights

__all__ = ["SurrogateProblem"]

Floats = NDArray[np.float64]

# Proximal weight: in scaled objectives, far below what one session is worth.
_PROXIMAL = 1e-3
# Largest step of log B and log f; the exponentials of a step stay of order one.
_REACH = float(np.log(3.0))
# Scaled N_j below this is taken for this.
_LEAST_ERROR = 1e-9
_LEAST_PROGRESS = 1e-9
_ROWS = ("exclusive", "uplink", "step_cap", "energy", "deadline")


class SurrogateProblem:
    """Convex problem that touches the natural form at a point and lies above it elsewhere.

    1 / B and B f^2 are taken relative to their values at the point, so the product surrogates fit
    sessions of any size. What depends on the point enters as parameters, seven vectors over the
    columns. Rows are elastic: there is a solution whatever the point.

    Parameters
    ----------
    form : NaturalForm
    solver : str
        A key of `cones.SOLVERS`.

    Attributes
    ----------
    optimum : float
        Least value of the last surrogate, proximal term included: between the merit of the point
        it touches at and the merit of its minimiser, in scaled objectives.
    """

    def __init__(self, form: NaturalForm, solver: str) -> None:
        self._form, self._solver = form, solver
        self.optimum = np.nan
        n, tasks, devices = form.kept.size, form.used.size, form.rows.energy_limit.size
        sizes = {
            "noise_square": n, "noise_slope": n, "noise_shift": tasks,
            "load_square": n, "load_slope": n, "load_shift": devices,
            "tilt": n, "batch": n, "speed": n,
            "numerator": tasks, "progress": tasks, "ratio": tasks, "price": 1, "elastic": 1,
        }  # fmt: skip
        positive = {"noise_square", "load_square", "numerator", "progress", "ratio", "price",
                    "elastic"}  # fmt: skip
        self._at = {k: cp.Parameter(size, nonneg=k in positive) for k, size in sizes.items()}
        self._x, self._batch, self._speed = cp.Variable(n), cp.Variable(n), cp.Variable(n)
        self._model = self._compile()

    def _compile(self) -> cp.Problem:
        form, at, rows, used = self._form, self._at, self._form.rows, self._form.used
        x, batch, speed = self._x, self._batch, self._speed
        inverse, load, inverse_square, load_square = (cp.Variable(x.size) for _ in range(4))
        numerator, progress, root, square, over = (cp.Variable(used.size) for _ in range(5))
        energy = cp.Variable(rows.energy_limit.size)
        limits = {"exclusive": np.ones(rows.exclusive.shape[0]), "uplink": rows.uplink_limit,
                  "step_cap": np.ones(rows.step_cap.shape[0]),
                  "energy": rows.energy_limit}  # fmt: skip
        slack = {name: cp.Variable(limit.size, nonneg=True) for name, limit in limits.items()}
        left = {"exclusive": rows.exclusive @ x, "uplink": rows.uplink @ x,
                "step_cap": rows.step_cap @ x, "energy": energy}  # fmt: skip
        self._rows = {k: left[k] - slack[k] <= limit for k, limit in limits.items()}
        self._rows["deadline"] = batch - speed <= form.lag
        grown, hurried = batch - at["batch"], speed - at["speed"]
        noise = cp.multiply(at["noise_square"], inverse_square)
        noise -= cp.multiply(at["noise_slope"], x - inverse)
        effort = cp.multiply(at["load_square"], load_square)
        effort -= cp.multiply(at["load_slope"], x - load)
        error = rows.numerator_start[used] + rows.error_x[used] @ x + form.by_task[used] @ noise
        others = [
            x >= 0, x <= 1, batch >= 0, batch <= form.batch_high,
            speed >= form.speed_low, speed <= form.speed_high,
            cp.abs(grown) <= _REACH, cp.abs(hurried) <= _REACH,
            inverse >= cp.exp(-grown), load >= cp.exp(grown + 2 * hurried),
            inverse_square >= cp.square(x + inverse), load_square >= cp.square(x + load),
            cp.multiply(at["numerator"], numerator) >= error + at["noise_shift"],
            cp.multiply(at["progress"], progress) <= rows.progress[used] @ x,
            energy >= rows.energy_x @ x + form.by_device @ effort + at["load_shift"],
            square >= cp.square(numerator), root >= cp.inv_pos(progress), over >= cp.square(root),
        ]  # fmt: skip
        cost = at["ratio"] @ (square + over) + at["price"] @ (form.energy_price @ energy)[None]
        cost += at["elastic"] @ sum(cp.sum(part) for part in slack.values())[None]
        cost += at["tilt"] @ x - _PROXIMAL * (at["batch"] @ batch + at["speed"] @ speed)
        cost += 0.5 * _PROXIMAL * sum(cp.sum_squares(part) for part in (x, batch, speed))
        return cp.Problem(cp.Minimize(cost), [*self._rows.values(), *others])

    def solve(
        self, at: Point, weights: Weights, time_limit: float | None = None
    ) -> tuple[Point, Multipliers] | None:
        """Minimise the surrogate that touches at a point; None when the solver gave no point."""
        self._touch(at, weights)
        # The merit is taken anew at every point, so an inaccurate one can do no harm.
        if not minimise(self._model, self._solver, time_limit, canon_backend=cp.COO_CANON_BACKEND):
            return None
        if self._x.value is None or any(row.dual_value is None for row in self._rows.values()):
            return None
        constant = weights.integrality * float((at.x**2).sum())
        parts = (at.x, at.log_batch, at.log_speed)
        constant += 0.5 * _PROXIMAL * sum(float((part**2).sum()) for part in parts)
        self.optimum = float(self._model.value) + constant
        point = Point(
            x=self._x.value, log_batch=self._batch.value, log_speed=self._speed.value
        )  # fmt: skip
        duals = {
            name: np.maximum(np.nan_to_num(np.asarray(self._rows[name].dual_value)), 0.0)
            for name in _ROWS
        }
        return self._form.project(point), Multipliers(**duals)

    def _touch(self, at: Point, weights: Weights) -> None:
        form, used = self._form, self._form.used
        slope, constant = product_tangent(at.x, np.ones_like(at.x))
        noise, load = form.noise * at.inverse, form.compute * form.load(at)
        # The surrogate of the ratio lies above it for any N0 and A0 > 0: no division by zero.
        numerator = np.maximum(form.numerator(at)[used], _LEAST_ERROR)
        progress = np.maximum(form.progress(at)[used], _LEAST_PROGRESS)
        values = {
            "noise_square": 0.25 * noise, "noise_slope": slope * noise,
            "noise_shift": form.by_task[used] @ (constant * noise),
            "load_square": 0.25 * load, "load_slope": slope * load,
            "load_shift": form.by_device @ (constant * load),
            "tilt": weights.integrality * (1.0 - 2.0 * at.x) - _PROXIMAL * at.x,
            "batch": at.log_batch,
            "speed": at.log_speed,
            "numerator": numerator, "progress": progress,
            "ratio": 0.5 * weights.objective * form.factor[used] * numerator / progress,
            "price": np.array([weights.objective]), "elastic": np.array([weights.elastic]),
        }  # fmt: skip
        for name, value in values.items():
            self._at[name].value = value
