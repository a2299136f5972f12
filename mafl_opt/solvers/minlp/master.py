"""The master: P's lifted form as a mixed-integer linear program, in Pyomo, solved by HiGHS.

Variables: z_p in [0, 1] for every point (column and corner of its batch polygon, see `points`),
y_s = sum of the z of session s, and the totals N_j, A_j with t_j below N_j / A_j. All scaled:
energy by the budget, N by Gamma', A by half the step caps' sum, the objective by the incumbent.

The ratio is cut into pieces of the range of A_j, one binary each (`pieces`); tangents are added
between solves, where the last solution lies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
from numpy.typing import NDArray

from mafl_opt.formulations.bound import initial_error
from mafl_opt.formulations.boxes import BoxRules
from mafl_opt.formulations.pricing import Prices
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.minlp.pieces import Piece, cut_pieces
from mafl_opt.solvers.minlp.points import Points
from mafl_opt.solvers.minlp.rows import ELASTIC, SMALLEST, WIDE, Scales, groups, kept, row

__all__ = ["Master", "Totals"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FIRST_TANGENTS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Totals:
    """N_j, A_j and what the master thinks N_j / A_j is; arrays of shape (weighted tasks,)."""

    numerator: Floats
    progress: Floats
    ratio: Floats


class Master:
    """The mixed-integer linear program on some points and a range of A.

    Parameters
    ----------
    problem : Problem
    points : Points
    scale : float
        Typical objective, by which the objective is divided.
    integer : str
        ``"point"``: every z is binary; ``"session"``: every y; ``"none"``: the linear relaxation,
        which may leave its box at a high price so that every box gives prices.
    """

    def __init__(self, problem: Problem, points: Points, scale: float, integer: str) -> None:
        self.problem, self.points, self.scale, self.integer = problem, points, scale, integer
        s, c = problem.scenario, problem.columns
        self.used = np.flatnonzero(s.tasks.weight > 0)
        scales = self.scales = Scales.of(problem)
        self.by_error, self.by_progress = scales.error, scales.progress
        self.by_energy = scales.energy
        own = c.take(points.column)
        self._names, self._session = np.unique(
            np.stack([own.device, own.task, own.receive, own.upload]), axis=1, return_inverse=True
        )
        self._session = self._session.ravel()
        self.model = m = pyo.ConcreteModel(name="master")
        m.z = pyo.Var(
            range(len(points)), bounds=(0, 1),
            domain=pyo.Binary if integer == "point" else pyo.Reals,
        )  # fmt: skip
        m.y = pyo.Var(
            range(self._names.shape[1]), bounds=(0, 1),
            domain=pyo.Reals if integer == "none" else pyo.Binary,
        )  # fmt: skip
        m.N = pyo.Var(self.used.tolist(), bounds=(0, None))
        m.A = pyo.Var(self.used.tolist(), bounds=(0, None))
        m.t = pyo.Var(self.used.tolist(), bounds=(0, None))
        slack_bound = None if integer == "none" else 0
        m.excess = pyo.Var(self.used.tolist(), bounds=(0, slack_bound))
        m.lack = pyo.Var(self.used.tolist(), bounds=(0, slack_bound))
        self._z, self._y = list(m.z.values()), list(m.y.values())
        self._schedule_rows()
        self._total_rows()
        factor = (s.tasks.weight * self.by_error / self.by_progress / scale)[self.used]
        energy = s.energy_weight * points.energy / scale
        loose = [*m.excess.values(), *m.lack.values()]
        m.cost = pyo.Objective(
            expr=row([*factor, *energy, *[ELASTIC] * len(loose)], [*m.t.values(), *self._z, *loose])
        )

    # -- rows ------------------------------------------------------------------------------

    def _schedule_rows(self) -> None:
        s, m, p = self.problem.scenario, self.model, self.points
        device, _, receive, upload = self._names
        link = pyo.ConstraintList()
        m.link = link
        for session, where in enumerate(groups(self._session, self._names.shape[1])):
            link.add(row([*[1.0] * where.size, -1.0], [*self._at(where), self._y[session]]) == 0)
        m.exclusive = pyo.ConstraintList()
        for i in range(s.num_devices):
            for g in range(s.num_slots):
                busy = np.flatnonzero((device == i) & (receive <= g) & (upload > g))
                if busy.size:
                    m.exclusive.add(row([1.0] * busy.size, [self._y[k] for k in busy]) <= 1)
        own = self.problem.columns.take(p.column)
        m.uplink = pyo.Constraint(range(s.num_slots))
        m.step_cap = pyo.Constraint(range(s.num_slots * s.num_tasks))
        m.energy = pyo.Constraint(range(s.num_devices))
        for g in range(s.num_slots):
            ending = np.flatnonzero(upload == g + 1)
            if ending.size:
                most = int(s.network.uplink_capacity[g])
                m.uplink[g] = row([1.0] * ending.size, [self._y[k] for k in ending]) <= most
        step = kept(own.step / s.tasks.step_cap[own.task])
        rows = (own.upload - 1) * s.num_tasks + own.task
        self._fill(m.step_cap, rows, step, np.ones(s.num_slots * s.num_tasks))
        spent = kept(p.energy / self.by_energy[own.device])
        limit = s.devices.energy_budget_j / self.by_energy
        self._fill(m.energy, own.device, spent, limit)

    def _fill(self, rows: Any, key: Ints, value: Floats, limit: Floats) -> None:
        for k, where in enumerate(groups(key, limit.size)):
            if where.size:
                expr = row(value[where], self._at(where))
                rows[k] = expr <= float(limit[k]) + WIDE

    def _total_rows(self) -> None:
        m, p = self.model, self.points
        c = self.problem.columns
        task = c.task[p.column]
        start = initial_error(self.problem.scenario) / self.by_error
        error = kept(p.error / self.by_error[task])
        progress = np.maximum(c.progress[p.column] / self.by_progress[task], SMALLEST)
        m.numerator = pyo.Constraint(self.used.tolist())
        m.progress = pyo.Constraint(self.used.tolist())
        for j in self.used.tolist():
            own = np.flatnonzero(task == j)
            z = self._at(own)
            spent = row([*error[own], -1.0, -1.0], [*z, m.N[j], m.excess[j]])
            m.numerator[j] = spent <= -float(start[j])
            m.progress[j] = row([*progress[own], -1.0, 1.0], [*z, m.A[j], m.lack[j]]) >= 0.0

    def frame(self, rules: BoxRules, low: Floats, high: Floats, top: float, pieces: int) -> None:
        """Set the range of A and cut it into pieces.

        Parameters
        ----------
        rules : BoxRules
        low, high : (tasks,)
            Range of A_j.
        top : float
            Objective that a plan must stay below.
        pieces : int
            Parts of the range of every task, of equal ratio.
        """
        m = self.model
        for name in ("pick", "part_N", "part_A", "part_t", "shape", "tangent"):
            if hasattr(m, name):
                m.del_component(name)
        index = [(j, k) for j in self.used.tolist() for k in range(pieces)]
        whole = self.integer == "none"
        m.pick = pyo.Var(index, bounds=(0, 1), domain=pyo.Reals if whole else pyo.Binary)
        m.part_N = pyo.Var(index, bounds=(0, None))
        m.part_A = pyo.Var(index, bounds=(0, None))
        m.part_t = pyo.Var(index, bounds=(0, None))
        m.shape = pyo.ConstraintList()
        m.tangent = pyo.ConstraintList()
        self._pieces: dict[tuple[int, int], Piece] = {}
        for j in self.used.tolist():
            edges = np.geomspace(low[j], high[j], pieces + 1)
            keys = [(j, k) for k in range(pieces)]
            m.shape.add(row([1.0] * pieces, [m.pick[k] for k in keys]) == 1)
            for parts, total in ((m.part_N, m.N), (m.part_A, m.A), (m.part_t, m.t)):
                expr = row([*[1.0] * pieces, -1.0], [*[parts[k] for k in keys], total[j]])
                m.shape.add(expr == 0)
            for k, piece in zip(keys, cut_pieces(rules, j, edges, top, self.scales), strict=True):
                self._pieces[k] = piece
                v = (m.pick[k], m.part_N[k], m.part_A[k], m.part_t[k])
                for part in piece.shape():
                    m.shape.add(row(part, v) >= 0)
                for at in np.linspace(piece.low, piece.high, _FIRST_TANGENTS):
                    for part in piece.tangents(float(at)):
                        m.tangent.add(row(part, v) >= 0)

    def tighten(self, values: dict[str, Floats]) -> None:
        """Add tangents where the last solution lies."""
        m = self.model
        for k, pick, progress in zip(self._pieces, values["pick"], values["part_A"], strict=True):
            if pick > 0.5:
                v = (m.pick[k], m.part_N[k], m.part_A[k], m.part_t[k])
                for part in self._pieces[k].tangents(float(progress / pick)):
                    m.tangent.add(row(part, v) >= 0)

    def loose(self, values: dict[str, Floats]) -> float:
        """How far 1/A is from its tangents at a solution, in scaled objectives."""
        s, total = self.problem.scenario, 0.0
        for (j, k), pick, a, n, t in zip(
            self._pieces, values["pick"], values["part_A"], values["part_N"], values["part_t"],
            strict=True,
        ):  # fmt: skip
            if pick > 0.5:
                parts = self._pieces[j, k].tangents(a / pick)
                short = max(-float(np.dot(part, (pick, n, a, t))) for part in parts)
                factor = s.tasks.weight[j] * self.by_error[j] / self.by_progress[j] / self.scale
                total += max(short, 0.0) * float(factor)
        return total

    def complete(self) -> None:
        """Give y, the totals and the pieces the values that follow from those of z."""
        m, c = self.model, self.problem.columns
        z = np.array([entry.value for entry in self._z])
        used = np.bincount(self._session, z, minlength=len(self._y))
        for entry, value in zip(self._y, used, strict=True):
            entry.set_value(float(value), skip_validation=True)
        column = self.points.column
        task = c.task[column]
        tasks = self.by_error.size
        a = np.bincount(task, c.progress[column] * z, minlength=tasks).astype(np.float64)
        n = np.bincount(task, self.points.error * z, minlength=tasks).astype(np.float64)
        n = (n + initial_error(self.problem.scenario)) / self.by_error
        a = a / self.by_progress
        for (j, k), piece in self._pieces.items():
            inside = piece.low <= a[j] < piece.high
            values = (1.0, n[j], a[j], n[j] / a[j]) if inside else (0.0, 0.0, 0.0, 0.0)
            for parts, value in zip((m.pick, m.part_N, m.part_A, m.part_t), values, strict=True):
                parts[j, k].set_value(float(value), skip_validation=True)
        for j in self.used.tolist():
            ratio = n[j] / a[j] if a[j] > 0 else 0.0
            for total, value in ((m.N, n[j]), (m.A, a[j]), (m.t, ratio)):
                total[j].set_value(float(value), skip_validation=True)

    # -- reading ---------------------------------------------------------------------------

    def variables(self) -> dict[str, list[Any]]:
        """All variables by name, in a fixed order."""
        m = self.model
        return {
            name: list(getattr(m, name).values())
            for name in ("z", "N", "A", "t", "pick", "part_A", "part_N", "part_t")
        }

    def totals(self, values: dict[str, Floats]) -> Totals:
        """Totals of a solution, unscaled."""
        by_n, by_a = self.by_error[self.used], self.by_progress[self.used]
        return Totals(
            numerator=values["N"] * by_n, progress=values["A"] * by_a,
            ratio=values["t"] * by_n / by_a,
        )  # fmt: skip

    def ratio_loss(self, values: dict[str, Floats]) -> float:
        """How far the totals of a solution are from their true ratios, by the scale."""
        found, weight = self.totals(values), self.problem.scenario.tasks.weight[self.used]
        true = found.numerator / found.progress
        return float(weight @ (true - found.ratio)) / self.scale

    def prices(self, duals: Callable[[list[Any]], Floats]) -> Prices:
        """Prices from the duals of the linear relaxation; `duals` gives those of some rows."""
        s, m = self.problem.scenario, self.model

        def read(rows: Any, size: int) -> Floats:
            out = np.zeros(size)
            index = list(rows.keys())
            out[index] = np.abs(duals([rows[k] for k in index])) * self.scale
            return out

        error = read(m.numerator, s.num_tasks) / self.by_error
        progress = read(m.progress, s.num_tasks) / self.by_progress
        caps = read(m.step_cap, s.num_slots * s.num_tasks).reshape(s.num_slots, s.num_tasks)
        return Prices(
            numerator=error, progress=progress, uplink=read(m.uplink, s.num_slots),
            step_cap=caps / s.tasks.step_cap,
            energy=read(m.energy, s.num_devices) / self.by_energy,
        )  # fmt: skip

    def wish(self, z: Floats) -> Floats:
        """How much of every column a solution uses; (columns,), in [0, 1]."""
        out = np.zeros(len(self.problem.columns))
        np.add.at(out, self.points.column, z)
        return np.clip(out, 0.0, 1.0)

    def margin(self) -> float:
        """Return how much too high HiGHS's tolerances can make its bound, unscaled.

        A reduced cost may have the wrong sign by the dual tolerance, 1e-7, and costs that much
        times the variable's range: every device fills each slot once at most, and the totals are a
        few units. Nodes are cut off within 1e-6 (feasibility and absolute gap) of the objective.
        """
        s = self.problem.scenario
        range_sum = 2.0 * s.num_devices * s.num_slots + 100.0 * (1 + self.used.size)
        return self.scale * (2e-6 + 1e-7 * range_sum)

    def _at(self, where: Ints) -> list[Any]:
        return [self._z[k] for k in where]
