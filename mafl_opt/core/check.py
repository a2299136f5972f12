"""An independent verdict on a plan: objective, bound and every constraint, derived again.

Sums over blocks of sessions, written from the model page alone. Nothing is taken from the
formulations or the solvers, and no number of the plan's header is believed.
"""

from __future__ import annotations

import math

import numpy as np

from mafl_opt.core.arguments import require_callable
from mafl_opt.core.certificate import Report
from mafl_opt.core.claims import check_claims
from mafl_opt.core.errors import InputError
from mafl_opt.core.inputs import require_plan, require_scenario
from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.status import PointStatus
from mafl_opt.core.tally import Tally
from mafl_opt.core.terms import Facts
from mafl_opt.core.verdict import (
    CLAIM_TOLERANCE,
    TOLERANCE,
    CheckReport,
    TaskCheck,
    Violation,
)

__all__ = ["CLAIM_TOLERANCE", "TOLERANCE", "CheckReport", "TaskCheck", "Violation", "check"]


def check(
    scenario: Scenario, plan: Plan, *, certificate: bool | None = None, report: Report | None = None
) -> CheckReport:
    """Derive objective, bounds, energies and constraints of a plan again (model page, 3 to 6).

    Parameters
    ----------
    scenario : Scenario
    plan : Plan
        Any plan; its numbers may be absurd. A session that names no device, task or slot of the
        scenario, or whose frequency, mini-batch or iterations have no meaning, is reported and
        left out of the sums.
    certificate : bool, optional
        Whether to derive the bound of the plan's certificate again. Left open, it is derived
        where that takes some seconds, and a warning says where it is not.
    report : callable, optional
        Called with a message and the fraction done while that goes on.

    Returns
    -------
    CheckReport
        ``ok`` when no constraint is broken by more than `TOLERANCE` of its limit and no claim of
        the header is false; the parts of each Xi_j add up to it.

    Raises
    ------
    InputError
        If an argument is of another kind.
    """
    require_scenario(scenario)
    require_plan(plan)
    if certificate is not None and not isinstance(certificate, bool):
        raise InputError("certificate", "True, False or None", certificate)
    require_callable("report", report)
    facts = Facts.of(scenario)
    tally = Tally(facts)
    tally.add(plan.sessions)
    drift = facts.total_drift()
    tasks = tuple(_task_check(tally, j, float(drift[j])) for j in range(scenario.num_tasks))
    violations = tally.ledger.violations
    objective = 0.0
    if scenario.energy_weight:
        objective = scenario.energy_weight * float(np.sum(tally.energy))
    objective += sum(task.weight * task.bound for task in tasks if task.weight > 0)
    foreign = bool(plan.scenario_sha256) and not scenario.is_named_by(plan.scenario_sha256)
    warnings = _warnings(tally, tasks, scenario, plan, foreign=foreign)
    certified, claims = check_claims(
        scenario, plan, objective, warnings, feasible=not violations, foreign=foreign,
        derive=certificate, report=report,
    )  # fmt: skip
    return CheckReport(
        ok=not (violations or claims),
        objective=objective,
        bound=plan.bound,
        certified_bound=certified,
        tasks=tasks,
        device_energy_j=tuple(tally.energy.tolist()),
        device_budget_j=tuple(scenario.devices.energy_budget_j.tolist()),
        violations=(*violations, *claims),
        warnings=tuple(warnings),
    )


def _task_check(tally: Tally, j: int, drift: float) -> TaskCheck:
    given, progress = tally.facts.scenario.tasks, float(tally.progress[j])
    sums = {"initial_gap": float(given.initial_gap[j]), "loss_drift": drift}
    sums |= {name: float(part[j]) for name, part in tally.parts.items()}
    numerator = sum(sums.values())
    slope = float(given.gradient_bound[j])
    return TaskCheck(
        name=given.name[j],
        weight=float(given.weight[j]),
        sessions=int(tally.sessions[j]),
        numerator=numerator,
        progress=progress,
        bound=numerator / progress if progress > 0 else math.inf,
        trivial_bound=slope * slope,
        parts={
            name: value / progress if progress > 0 else math.inf for name, value in sums.items()
        },
    )


def _warnings(
    tally: Tally, tasks: tuple[TaskCheck, ...], scenario: Scenario, plan: Plan, *, foreign: bool
) -> list[str]:
    out = [
        f"task {task.name}: bound {task.bound:.6g} is above V^2 = {task.trivial_bound:.6g}, "
        "which holds for any plan; it says nothing"
        for task in tasks
        if task.progress > 0 and task.bound > task.trivial_bound
    ]
    left_out = tally.left_out
    if left_out.size:
        shown = ", ".join(map(str, left_out[:10])) + (", ..." * (left_out.size > 10))
        out.append(f"{left_out.size} sessions are left out of the sums: {shown}")
    out += [
        f"{count} more violations of {constraint} are not listed"
        for constraint, count in tally.ledger.unlisted.items()
    ]
    if foreign:
        out.append(
            f"the plan was made for scenario {plan.scenario_sha256[:12]}, "
            f"this one is {scenario.sha256[:12]}"
        )
    if plan.point is not PointStatus.FEASIBLE and not tally.ledger.violations:
        out.append(f"the header says the point is {plan.point}, yet every constraint is met")
    return out
