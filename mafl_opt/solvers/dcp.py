"""Which blocks of P pass the rules of disciplined convex programming, in either form.

Each block is written in cvxpy on the scenario's own numbers and taken all the way to the input of
a conic solver. What compiles is convex. What is refused need not be non-convex; for that there are
witnesses (`mafl_opt.formulations.witness`).
"""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mafl_opt.core.scenario import Scenario
from mafl_opt.formulations.classify import BlockVerdict, Evidence
from mafl_opt.formulations.lifted import lift
from mafl_opt.formulations.problem import Problem
from mafl_opt.formulations.session_figures import forbidden_sessions

__all__ = ["classify", "compile_lifted", "compile_natural"]

Ints = NDArray[np.int64]


def classify(scenario: Scenario | Problem) -> tuple[BlockVerdict, ...]:
    """Classify every constraint block of P, with evidence.

    Parameters
    ----------
    scenario : Scenario or Problem

    Returns
    -------
    verdicts : tuple of BlockVerdict

    Raises
    ------
    ClassError
        When the evidence contradicts what `Problem.blocks` declares.
    """
    # `Problem` refuses what is no scenario.
    problem = scenario if isinstance(scenario, Problem) else Problem(scenario=scenario)
    return problem.classify(compile_natural(problem), compile_lifted(problem))


def compile_natural(problem: Problem) -> dict[str, Evidence]:
    """Put every block of the natural form before cvxpy; keys are the ids of the blocks."""
    s, c = problem.scenario, problem.columns
    form, n = lift(s, c), len(c)
    x = cp.Variable(n, name="x")
    received, used, busy = (_images(problem, part) for part in ("R", "U", "z"))
    tensors = [cp.Variable(m.shape[0], name=k) for k, m in zip("RUz", (received, used, busy),
                                                                strict=True)]  # fmt: skip
    (device, *_), forbidden = forbidden_sessions(problem)
    every = cp.Variable(device.size, name="x")
    f, batch, steps = (cp.Variable(n, pos=True, name=name) for name in ("f", "B", "l"))
    total, progress, error = (
        cp.Variable(s.num_tasks, pos=True, name=name) for name in ("Xi", "A", "N")
    )
    d, tasks = s.devices, s.tasks
    most = np.minimum(tasks.batch_max[c.task], c.samples)
    cycles = c.cycles / c.iterations
    work = cp.multiply(cycles, cp.multiply(steps, batch))
    compute = cp.multiply(c.capacitance, cp.multiply(work, cp.square(f)))
    own = _rows(c.device, np.ones(n), s.num_devices)
    ends = _rows((c.upload - 1) * s.num_tasks + c.task, c.step / c.iterations,
                 s.num_slots * s.num_tasks)  # fmt: skip
    caps = np.tile(tasks.step_cap, s.num_slots)
    return {
        "flow": _compile("R == M_R x, U == M_U x, z == M_z x",
                         [t == m @ x for t, m in zip(tensors, (received, used, busy),
                                                     strict=True)]),
        "exclusive": _compile("M x <= 1", [form.exclusive @ x <= 1]),
        "uplink": _compile("M x <= n_up", [form.uplink @ x <= form.uplink_limit]),
        "staleness": _compile("x[tau > K] <= 0", _nothing(every, forbidden["staleness"])),
        "available": _compile("x[out of reach] <= 0", _nothing(every, forbidden["available"])),
        "box": _compile(
            "f_min <= f <= f_max, 1 <= B <= min(B_max, D), 1 <= l <= l_max",
            [f >= c.f_min_hz, f <= c.f_max_hz, batch >= 1, batch <= most, steps >= 1,
             steps <= tasks.iterations_max[c.task]],
        ),
        "integral": _compile("x - square(x) == 0", [x - cp.square(x) == 0]),
        "ratio": _compile("multiply(Xi, A) == N", [cp.multiply(total, progress) == error]),
        "deadline": _compile("multiply(cyc, multiply(l, B)) / f <= T'",
                             [cp.multiply(work, cp.inv_pos(f)) <= c.time_s]),
        "energy": _compile("M multiply(x, E_U + E_D + kappa cyc l B square(f)) <= E",
                           [own @ cp.multiply(x, c.fixed_energy_j + compute)
                            <= d.energy_budget_j]),
        "step_cap": _compile("M multiply(x, c C1(l)) <= theta",
                             [ends @ cp.multiply(x, steps) <= caps]),
    }  # fmt: skip


def compile_lifted(problem: Problem) -> dict[str, Evidence]:
    """Put what the lifted form makes of the non-convex blocks before cvxpy."""
    s, form, n = problem.scenario, lift(problem.scenario, problem.columns), len(problem.columns)
    x, work, inverse = (cp.Variable(n, name=name) for name in ("x", "w", "v"))
    cube = cp.Variable(form.cubic.size, name="e")
    weighted = np.flatnonzero(s.tasks.weight > 0)
    error, ratio, low, high = (cp.Variable(weighted.size) for _ in range(4))
    part, progress = cp.Variable(weighted.size), cp.Variable(weighted.size)
    # Any box will do; this one has N from its start to one unit more, A from half a unit to one.
    least = form.numerator_start[weighted]
    below, above = cp.Variable(weighted.size), cp.Variable(weighted.size)
    terms = least + form.error_x[weighted] @ x
    return {
        "deadline": _compile("w <= x, w >= x / B_hi",
                             [work <= x, work >= cp.multiply(form.work_min, x)]),
        "energy": _compile(
            "M_x x + M_w w + M_e e <= 1, PowCone3D(e, x, w, 1/3), e >= r w",
            [form.energy_x @ x + form.energy_w @ work + form.energy_e @ cube <= form.energy_limit,
             *([cp.PowCone3D(cube, x[form.cubic], work[form.cubic], 1 / 3),
                cube >= cp.multiply(form.flat_ratio, work[form.cubic])]
               if form.cubic.size else [])],
        ),
        "step_cap": _compile("M x <= 1", [form.step_cap @ x <= 1]),
        "ratio": _compile(
            "N >= n + M_x x + M_v v, PowCone3D(v, w, x, 1/2); on a box Xi >= Nl p + Nu q, "
            "PowCone3D(p, P, 1 - t, 1/2), PowCone3D(q, S, t, 1/2)",
            [error >= terms + form.error_v[weighted] @ inverse,
             cp.PowCone3D(inverse, work, x, 0.5),
             error == least + part, low + high == progress,
             progress <= form.progress[weighted] @ x,
             ratio >= cp.multiply(least, below) + cp.multiply(least + 1, above),
             cp.PowCone3D(below, low, 1 - part, 0.5), cp.PowCone3D(above, high, part, 0.5),
             low >= 0.5 * (1 - part), low <= 1 - part, high >= 0.5 * part, high <= part],
        ),
    }  # fmt: skip


def _compile(expression: str, rows: list[cp.Constraint]) -> Evidence:
    model = cp.Problem(cp.Minimize(0), rows)
    if not model.is_dcp():
        return Evidence(expression=expression, compiled=False)
    if rows:
        model.get_problem_data(cp.CLARABEL)
    return Evidence(expression=expression, compiled=True)


def _nothing(x: cp.Variable, forbidden: NDArray[np.bool_]) -> list[cp.Constraint]:
    """Rows for x <= 0 where forbidden; none where nothing is."""
    index = np.flatnonzero(forbidden)
    return [x[index] <= 0] if index.size else []


def _images(problem: Problem, tensor: str) -> sp.csr_array:
    """Matrix that maps x of the columns to a scheduling tensor (model page, section 2)."""
    s, c = problem.scenario, problem.columns
    column = np.arange(len(c))

    def at(slot: Ints | int, k: Ints) -> Ints:
        return np.asarray((slot * s.num_devices + c.device[k]) * s.num_tasks + c.task[k])

    if tensor == "z":
        inside = [np.flatnonzero((c.receive <= g) & (c.upload > g)) for g in range(s.num_slots)]
        row = np.concatenate([at(g, k) for g, k in enumerate(inside)])
        column = np.concatenate(inside)
    else:
        row = at(c.receive if tensor == "R" else c.upload - 1, column)
    size = s.num_slots * s.num_devices * s.num_tasks
    return sp.csr_array((np.ones(row.size), (row, column)), shape=(size, len(c)))


def _rows(row: Ints, value: NDArray[np.float64], count: int) -> sp.csr_array:
    return sp.csr_array((value, (row, np.arange(row.size))), shape=(count, row.size))
