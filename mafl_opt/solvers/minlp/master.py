"""The lifted form as a linear program in Pyomo, with or without integers.

Variables: z_p in [0, 1] for every point (column and batch size), and for every weighted task the
totals N_j and A_j and t_j below N_j / A_j. Scaled as `boxes.UnitScales` says: A_j by the most that
caps admit, the terms of the objective by an objective that a plan must stay below.

On a range [a, a'] of A_j the ratio is replaced by linear functions below it. With R >= 0 in
N = Gamma' + rho A + R, by (42) of the model page, it is Gamma'/A + rho + R/A, and for R in [0, R_u]

    R/A >= R/a'    and    R/A >= R/a + R_u (1/A - 1/a),

the second because (R_u - R)(1/a - 1/A) >= 0. 1/A >= (2 - A/p)/p, its tangents at any p, makes both
linear; tangents are added between solves, where the last solution lies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyomo.environ as pyo
from numpy.typing import NDArray
from pyomo.core.expr.numeric_expr import LinearExpression

from mafl_opt.core.check import TOLERANCE
from mafl_opt.formulations.bound import initial_error
from mafl_opt.formulations.boxes import BoxRules
from mafl_opt.formulations.pricing import Prices
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.leaves import RelaxedPoint
from mafl_opt.solvers.minlp.points import Points

__all__ = ["Master"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# What the checker lets a limit be missed by, with a little to spare, so that a bound holds for
# every plan it accepts.
_WIDE = 2.0 * TOLERANCE
# HiGHS drops smaller coefficients. Dropping one from a sum that is bounded above, or that makes N,
# only lowers the bound; a progress is raised to this instead.
_SMALLEST = 2e-9
# Cost of leaving a box by the whole scale of N or A, in scaled objectives: above any true price.
_ELASTIC = 100.0
_FIRST_TANGENTS = 6
# Tangents are taken at this and above, so that their factors are of a size HiGHS can work with.
_STEEPEST = 1e-4


class Master:
    """The linear program on some points; `frame` sets the box.

    Parameters
    ----------
    problem : Problem
    rules : BoxRules
    points : Points
        Those that no plan below `top` can hold are left out.
    top : float
        Objective that a plan must stay below.
    integer : bool
        Whether z is binary. If not, the program may leave its box at a high price, so that every
        box gives prices.
    """

    def __init__(
        self, problem: Problem, rules: BoxRules, points: Points, top: float, *, integer: bool
    ) -> None:
        s = problem.scenario
        self.problem, self.rules, self.top = problem, rules, top
        self.scales = rules.scales(top)
        own = problem.columns.take(points.column)
        error = own.error_at(points.batch) * self.scales.error[own.task]
        energy = own.energy(points.batch)
        joule = s.energy_weight * energy / top
        keep = (error <= 1.0 + _WIDE) & (joule <= 1.0 + _WIDE)
        self.points, own = points.take(keep), own.take(keep)
        self.used = np.flatnonzero(s.tasks.weight > 0)
        self.model = m = pyo.ConcreteModel(name="master")
        domain = pyo.Binary if integer else pyo.Reals
        m.z = pyo.Var(range(len(self.points)), bounds=(0, 1), domain=domain)
        tasks = self.used.tolist()
        m.N, m.A, m.t = (pyo.Var(tasks, bounds=(0, None)) for _ in range(3))
        m.excess, m.lack = (pyo.Var(tasks, bounds=(0, 0 if integer else None)) for _ in range(2))
        self._z = list(m.z.values())
        self._add_limits(own, energy[keep])
        self._add_totals(own, error[keep])
        loose = [*m.excess.values(), *m.lack.values()]
        factors = [*[1.0] * len(tasks), *_kept(joule[keep]), *[_ELASTIC] * len(loose)]
        m.cost = pyo.Objective(expr=_row(factors, [*m.t.values(), *self._z, *loose]))

    def _add_limits(self, own: Any, energy: Floats) -> None:
        s, m = self.problem.scenario, self.model
        slots, tasks = s.num_slots, s.num_tasks
        ones = np.ones(len(own))
        m.exclusive = pyo.ConstraintList()
        for g in range(slots):
            inside = np.flatnonzero((own.receive <= g) & (own.upload > g))
            for where in _groups(own.device[inside], s.num_devices):
                if where.size:
                    m.exclusive.add(_row(ones[where], self._at(inside[where])) <= 1)
        m.uplink, m.step_cap, m.energy = (pyo.Constraint(pyo.Any) for _ in range(3))
        last = own.upload - 1
        self._fill(m.uplink, last, ones, s.network.uplink_capacity.astype(float))
        step = own.step / s.tasks.step_cap[own.task]
        self._fill(m.step_cap, last * tasks + own.task, step, np.ones(slots * tasks))
        budget = s.devices.energy_budget_j
        self._joule = np.where(budget > 0, budget, 1.0)
        self._fill(m.energy, own.device, energy / self._joule[own.device], budget / self._joule)

    def _fill(self, rows: Any, key: Ints, value: Floats, limit: Floats) -> None:
        value = _kept(value)
        for k, where in enumerate(_groups(key, limit.size)):
            if where.size:
                rows[k] = _row(value[where], self._at(where)) <= float(limit[k]) + _WIDE

    def _add_totals(self, own: Any, error: Floats) -> None:
        m = self.model
        start = initial_error(self.problem.scenario) * self.scales.error
        error = _kept(error)
        progress = np.maximum(own.progress / self.scales.progress[own.task], _SMALLEST)
        m.numerator, m.progress = (pyo.Constraint(pyo.Any) for _ in range(2))
        by_task = _groups(own.task, self.problem.scenario.num_tasks)
        for j in self.used.tolist():
            z = self._at(by_task[j])
            made = _row([*error[by_task[j]], -1.0, -1.0], [*z, m.N[j], m.excess[j]])
            m.numerator[j] = made <= -float(start[j])
            m.progress[j] = _row([*progress[by_task[j]], -1.0, 1.0], [*z, m.A[j], m.lack[j]]) >= 0.0

    # -- the box ---------------------------------------------------------------------------

    def frame(self, low: Floats, high: Floats) -> None:
        """Set the range of A_j and with it the rows below the ratio; (tasks,) each, unscaled."""
        m, rules, scales = self.model, self.rules, self.scales
        m.del_component("box")
        m.del_component("tangent")
        m.box, m.tangent = pyo.ConstraintList(), pyo.ConstraintList()
        start = initial_error(self.problem.scenario) * scales.error * (1 - _WIDE)
        slope = rules.slope * rules.weight / self.top * (1 - _WIDE)
        room = (self.top - rules.rest) / self.top * (1 + _WIDE)
        self._low = low / scales.progress * (1 - _WIDE)
        self._high = high / scales.progress * (1 + _WIDE)
        self._start, self._slope = start, slope
        self._excess = np.maximum((room - slope) * self._high - start, 0.0)
        for j in self.used.tolist():
            m.box.add(_row([1.0], [m.A[j]]) >= float(self._low[j]))
            m.box.add(_row([1.0], [m.A[j]]) <= float(self._high[j]))
            rising = slope[j] if slope[j] >= _SMALLEST else 0.0
            m.box.add(_row([1.0, -rising], [m.N[j], m.A[j]]) >= float(start[j]))
            m.box.add(_row([1.0, -room[j]], [m.N[j], m.A[j]]) <= 0.0)
            first = max(float(self._low[j]), _STEEPEST)
            for at in np.geomspace(first, max(float(self._high[j]), first), _FIRST_TANGENTS):
                self._add_tangents(j, float(at))

    def _tangents(self, j: int, at: float) -> Iterable[tuple[Sequence[float], float]]:
        """Both underestimators with the tangent of 1/A at `at`: (t, N, A) factors, constant."""
        start, slope = float(self._start[j]), float(self._slope[j])
        ends = ((float(self._high[j]), 0.0), (float(self._low[j]), float(self._excess[j])))
        for end, extra in ends:
            if end < _STEEPEST:
                continue
            # t >= Gamma'/A + rho + (N - Gamma' - rho A) / end + extra (1/A - 1/end)
            gain = start + extra
            factors = (1.0, -1.0 / end, gain / at**2 + slope / end)
            yield factors, 2.0 * gain / at + slope - gain / end

    def _add_tangents(self, j: int, at: float) -> None:
        m = self.model
        for factors, constant in self._tangents(j, at):
            m.tangent.add(_row(factors, [m.t[j], m.N[j], m.A[j]]) >= constant)

    def tighten(self, values: dict[str, Floats], worth: float) -> bool:
        """Add tangents where a solution is below them by more than `worth` in scaled objectives."""
        added = False
        for j, n, a, t in zip(
            self.used.tolist(), values["N"], values["A"], values["t"], strict=True
        ):
            missed = (
                constant - float(np.dot(factors, (t, n, a)))
                for factors, constant in self._tangents(j, max(a, _STEEPEST))
            )
            if a >= _STEEPEST and max(missed, default=0.0) > worth:
                self._add_tangents(j, float(a))
                added = True
        return added

    # -- reading ---------------------------------------------------------------------------

    def variables(self) -> dict[str, list[Any]]:
        """Variables that are read, by name, in a fixed order."""
        return {name: list(getattr(self.model, name).values()) for name in ("z", "N", "A", "t")}

    def point(
        self, value: float, values: dict[str, Floats], duals: Callable[[list[Any]], Floats]
    ) -> RelaxedPoint:
        """Return a solution of the relaxation unscaled; `duals` gives those of some rows."""
        wish = np.zeros(len(self.problem.columns))
        np.add.at(wish, self.points.column, values["z"])
        error, progress = self.scales.error[self.used], self.scales.progress[self.used]
        return RelaxedPoint(
            value=value * self.top, x=np.clip(wish, 0.0, 1.0), numerator=values["N"] / error,
            progress=values["A"] * progress, ratio=values["t"] / (error * progress),
            prices=self._prices(duals),
        )  # fmt: skip

    def _prices(self, duals: Callable[[list[Any]], Floats]) -> Prices:
        s, m = self.problem.scenario, self.model

        def read(rows: Any, size: int) -> Floats:
            out = np.zeros(size)
            index = list(rows.keys())
            out[index] = np.abs(duals([rows[k] for k in index])) * self.top
            return out

        caps = read(m.step_cap, s.num_slots * s.num_tasks).reshape(s.num_slots, s.num_tasks)
        return Prices(
            numerator=read(m.numerator, s.num_tasks) * self.scales.error,
            progress=read(m.progress, s.num_tasks) / self.scales.progress,
            uplink=read(m.uplink, s.num_slots), step_cap=caps / s.tasks.step_cap,
            energy=read(m.energy, s.num_devices) / self._joule,
        )  # fmt: skip

    def _at(self, where: Ints) -> list[Any]:
        return [self._z[k] for k in where]


def _groups(key: Ints, count: int) -> list[Ints]:
    """Positions of every key 0..count-1."""
    order = np.argsort(key, kind="stable")
    return np.split(order, np.searchsorted(key[order], np.arange(1, count)))


def _kept(value: Floats) -> Floats:
    """Coefficients without those that HiGHS would drop."""
    return np.where(value < _SMALLEST, 0.0, value)


def _row(coefficients: Iterable[float], variables: Iterable[Any]) -> Any:
    """Return a linear expression."""
    return LinearExpression(
        constant=0, linear_coefs=[float(a) for a in coefficients], linear_vars=list(variables)
    )
