"""P in the paper's variables as a Pyomo model that any Pyomo solver can take.

Model page, sections 2, 3 and 6. Variables of a session (i, j, r, u): x binary, l and B integer, f
continuous. Progress and error are sums of powers of l, which have no closed form that solvers
share once rho > 0; so l is chosen by binaries: y_{s,l} = 1 says that session s makes l iterations,
with sum_l y_{s,l} = x_s. Progress, step and the two parts of the error are then linear in y.

Everything is scaled, because most solvers drop coefficients below 1e-9: f by f_max, energy by the
budget, N by Gamma', A by half the step caps' sum, times by the time left for computing.
"""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo

from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan
from mafl_opt.formulations.bound import initial_error
from mafl_opt.formulations.problem import Problem

__all__ = ["BLOCKS", "fix_plan", "natural_model", "violations"]

#: Constraint blocks of the model; `flow`, `staleness` and `available` say which sessions it has,
#: and `integral` is in the domains.
BLOCKS = ("box", "exclusive", "uplink", "ratio", "deadline", "energy", "step_cap")
Session = tuple[int, int, int, int]


def natural_model(problem: Problem) -> pyo.ConcreteModel:
    """Write P in natural form.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    pyomo.environ.ConcreteModel
        Variables ``x``, ``l``, ``B``, ``f`` (by f_max) over ``sessions``, the set of tuples
        (device, task, receive, upload); ``y`` over ``choices``, with l appended; ``Xi`` over the
        tasks of positive weight. The objective ``O`` is in its own unit, unscaled. Constraints are
        named after the blocks of P: ``deadline`` and ``box`` over sessions (with ``choice`` or
        ``iterations`` appended in ``box``), ``exclusive[device,slot]``, ``uplink[aggregation]``,
        ``step_cap[aggregation,task]``, ``energy[device]``, ``ratio[task]`` and
        ``ratio[task,trained]``; slots and aggregations count from 1.
    """
    s, c = problem.scenario, problem.columns
    choices = list(
        zip(
            c.device.tolist(), c.task.tolist(), c.receive.tolist(), c.upload.tolist(),
            c.iterations.tolist(), strict=True,
        )
    )  # fmt: skip
    column = {choice: k for k, choice in enumerate(choices)}
    offered: dict[Session, list[int]] = {}
    for i, j, r, u, count in choices:
        offered.setdefault((i, j, r, u), []).append(count)
    first = {session: column[*session, counts[0]] for session, counts in offered.items()}
    weighted = np.flatnonzero(s.tasks.weight > 0).tolist()
    start = initial_error(s)
    by_error = np.where(start > 0, start, 1.0)
    by_progress = s.num_slots * s.tasks.step_cap / 2.0

    m = pyo.ConcreteModel(name="P")
    m.sessions = pyo.Set(initialize=list(offered), dimen=4)
    m.choices = pyo.Set(initialize=choices, dimen=5)
    m.tasks = pyo.Set(initialize=weighted)
    m.x = pyo.Var(m.sessions, domain=pyo.Binary, initialize=0)
    m.y = pyo.Var(m.choices, domain=pyo.Binary, initialize=0)
    m.l = pyo.Var(
        m.sessions, domain=pyo.Integers, initialize=1,
        bounds=lambda _, i, j, r, u: (1, int(s.tasks.iterations_max[j])),
    )  # fmt: skip
    m.B = pyo.Var(
        m.sessions, domain=pyo.Integers, initialize=1,
        bounds=lambda _, i, j, r, u: (
            1, int(min(s.tasks.batch_max[j], s.pairs.samples[i, j]))
        ),
    )  # fmt: skip
    low = s.devices.f_min_hz / s.devices.f_max_hz
    m.f = pyo.Var(
        m.sessions, initialize=1.0, bounds=lambda _, i, j, r, u: (float(low[i]), 1.0)
    )  # fmt: skip
    m.Xi = pyo.Var(m.tasks, domain=pyo.NonNegativeReals, initialize=1.0)

    # Iterations made: l if the session takes place, 0 if not.
    def made(session: Session) -> pyo.Expression:
        return pyo.quicksum(count * m.y[(*session, count)] for count in offered[session])

    m.box = pyo.Constraint(pyo.Any, doc="one l for each session that takes place")
    for session, counts in offered.items():
        chosen = pyo.quicksum(m.y[(*session, n)] for n in counts)
        m.box[(*session, "choice")] = chosen == m.x[session]
        m.box[(*session, "iterations")] = m.l[session] == made(session) + 1 - m.x[session]
    m.exclusive = pyo.Constraint(pyo.Any, doc="sum_j z[g,i,j] <= 1")
    for device in range(s.num_devices):
        for g in range(1, s.num_slots + 1):
            busy = [m.x[t] for t in offered if t[0] == device and t[2] < g <= t[3]]
            if busy:
                m.exclusive[device, g] = pyo.quicksum(busy) <= 1
    m.uplink = pyo.Constraint(pyo.Any, doc="sum_ij U[g,i,j] <= n_up[g]")
    m.step_cap = pyo.Constraint(pyo.Any, doc="sum x c C1(l) <= theta, scaled by theta")
    for g in range(1, s.num_slots + 1):
        ending = [t for t in offered if t[3] == g]
        if ending:
            most = int(s.network.uplink_capacity[g - 1])
            m.uplink[g] = pyo.quicksum(m.x[t] for t in ending) <= most
        for j in range(s.num_tasks):
            steps = [
                float(c.step[column[(*t, n)]] / s.tasks.step_cap[j]) * m.y[(*t, n)]
                for t in ending if t[1] == j for n in offered[t]
            ]  # fmt: skip
            if steps:
                m.step_cap[g, j] = pyo.quicksum(steps) <= 1

    @m.Constraint(m.sessions, doc="cyc l B / f <= T', scaled by T'")  # type: ignore[untyped-decorator]
    def deadline(_: pyo.ConcreteModel, i: int, j: int, r: int, u: int) -> pyo.Expression:
        k = first[t := (i, j, r, u)]
        unit = c.cycles[k] / c.iterations[k] / (c.f_max_hz[k] * c.time_s[k])
        return float(unit) * made(t) * m.B[t] / m.f[t] <= 1

    @m.Expression(m.sessions, doc="J, energy of a session by the budget of its device")  # type: ignore[untyped-decorator]
    def spent(_: pyo.ConcreteModel, i: int, j: int, r: int, u: int) -> pyo.Expression:
        k = first[t := (i, j, r, u)]
        by = _energy_scale(problem, i)
        unit = c.capacitance[k] * c.cycles[k] / c.iterations[k] * c.f_max_hz[k] ** 2 / by
        return (
            float(c.fixed_energy_j[k] / by) * m.x[t] + float(unit) * made(t) * m.B[t] * m.f[t] ** 2
        )

    m.energy = pyo.Constraint(pyo.Any, doc="sum x E <= E_i, scaled by E_i")
    for device in range(s.num_devices):
        own = [m.spent[t] for t in offered if t[0] == device]
        if own:
            limit = float(s.devices.energy_budget_j[device] / _energy_scale(problem, device))
            m.energy[device] = pyo.quicksum(own) <= limit

    @m.Expression(m.tasks, doc="N_j by Gamma'_j")  # type: ignore[untyped-decorator]
    def numerator(_: pyo.ConcreteModel, j: int) -> pyo.Expression:
        total = float(start[j] / by_error[j])
        for t in (t for t in offered if t[1] == j):
            where = [(column[(*t, n)], m.y[(*t, n)]) for n in offered[t]]
            nu = 1 / m.B[t] - 1 / float(c.samples[where[0][0]])
            total += pyo.quicksum(float(c.error[k] / by_error[j]) * y for k, y in where)
            total += nu * pyo.quicksum(float(c.noise[k] / by_error[j]) * y for k, y in where)
        return total

    @m.Expression(m.tasks, doc="A_j by G theta_j / 2")  # type: ignore[untyped-decorator]
    def progress(_: pyo.ConcreteModel, j: int) -> pyo.Expression:
        return pyo.quicksum(
            float(c.progress[k] / by_progress[j]) * m.y[choice]
            for choice, k in column.items() if choice[1] == j
        )  # fmt: skip

    @m.Expression(m.tasks, doc="how many sessions a task has")  # type: ignore[untyped-decorator]
    def uses(_: pyo.ConcreteModel, j: int) -> pyo.Expression:
        return pyo.quicksum(m.x[t] for t in offered if t[1] == j)

    m.ratio = pyo.Constraint(pyo.Any, doc="Xi_j A_j = N_j; Xi scaled by Gamma' / (G theta / 2)")
    for j in weighted:
        m.ratio[j] = m.Xi[j] * m.progress[j] == m.numerator[j]
        # Xi is infinite at A = 0; where N is 0 there too, the product alone would not say so.
        m.ratio[j, "trained"] = m.uses[j] >= 1

    m.O = pyo.Objective(
        expr=pyo.quicksum(
            float(s.tasks.weight[j] * by_error[j] / by_progress[j]) * m.Xi[j] for j in weighted
        )
        + pyo.quicksum(
            float(s.energy_weight * _energy_scale(problem, t[0])) * m.spent[t] for t in offered
        )
    )
    return m


def _energy_scale(problem: Problem, device: int) -> float:
    """Return the budget, or what a joule is measured in where there is none."""
    budget = float(problem.scenario.devices.energy_budget_j[device])
    return budget if budget > 0 else 1.0


def fix_plan(model: pyo.ConcreteModel, problem: Problem, plan: Plan) -> None:
    """Set (not fix) every variable to what a plan says; idle sessions go to l = B = 1, f = f_max.

    Raises
    ------
    InputError
        For a session that the model does not have (blocks ``staleness`` and ``available``), or
        iterations beyond it.
    """
    for var, rest in ((model.x, 0), (model.y, 0), (model.l, 1), (model.B, 1), (model.f, 1.0)):
        for entry in var.values():
            entry.set_value(rest)
    for number, row in enumerate(plan.sessions.rows()):
        session = (row["device"], row["task"], row["receive"], row["upload"])
        choice = (*session, row["iterations"])
        if session not in model.x or choice not in model.y:
            raise InputError(
                f"sessions[{number}]", "a session and iterations that can exist", choice
            )
        model.x[session].set_value(1)
        model.y[choice].set_value(1)
        model.l[session].set_value(row["iterations"], skip_validation=True)
        model.B[session].set_value(row["batch_size"], skip_validation=True)
        f_max = float(problem.scenario.devices.f_max_hz[row["device"]])
        model.f[session].set_value(row["cpu_hz"] / f_max, skip_validation=True)
    for j in model.tasks:
        made = pyo.value(model.progress[j])
        model.Xi[j].set_value(pyo.value(model.numerator[j]) / made if made > 0 else 0.0)


def violations(model: pyo.ConcreteModel) -> dict[str, float]:
    """Return by how much each block is violated at the values set, scaled as in the model.

    Bounds of variables count as ``box``.
    """
    out = dict.fromkeys(BLOCKS, 0.0)
    for block in BLOCKS:
        for row in getattr(model, block).values():
            out[block] = max(out[block], -row.slack())
    for var in model.component_data_objects(pyo.Var):
        value = pyo.value(var)
        for limit, over in ((var.lb, -1.0), (var.ub, 1.0)):
            if limit is not None:
                out["box"] = max(out["box"], over * (value - limit))
    return out
