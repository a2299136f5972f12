"""Ways in which asynchronous federated learning fails, looked for in a plan.

The papers name four: too few devices take part, what they send is too old, learning costs too much
energy, and steps too large for the assumptions of the bound, after which it may diverge.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from mafl_opt.core.check import CheckReport
from mafl_opt.core.ledger import within
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.tally import Tally
from mafl_opt.report.explain.findings import LimitFamily, Sign, TaskFinding
from mafl_opt.report.table import format_number

__all__ = ["ENERGY", "PARTICIPATION", "STALENESS", "find_signs"]

#: Participation counts as too small where the start gap makes up more than this share of a bound
#: and less than this share of what the step caps admit is used.
PARTICIPATION = 0.5
#: Share of the staleness part from which staleness counts as too large.
STALENESS = 0.25
#: Share of the energy term in the objective, or of the working devices with a tight budget.
ENERGY = 0.5


def find_signs(
    scenario: Scenario, check: CheckReport, tally: Tally, tasks: Sequence[TaskFinding],
    limits: Sequence[LimitFamily], working: int,
) -> tuple[Sign, ...]:  # fmt: skip
    """Return every sign of every weighted task and of the plan, raised or not.

    Parameters
    ----------
    scenario : Scenario
    check : CheckReport
    tally : Tally
    tasks : sequence of TaskFinding
    limits : sequence of LimitFamily
    working : int
        Devices with a session.
    """
    found: list[Sign] = []
    for j, task in enumerate(tasks):
        if task.weight > 0:
            found += [_participation(scenario, task), *_staleness(task)]
            found += _divergence(scenario, tally, j, task)
    return (*found, _energy(scenario, check, limits, working))


def _participation(scenario: Scenario, task: TaskFinding) -> Sign:
    who = (
        f"{task.devices} of {scenario.num_devices} devices, with {_percent(task.data_share)} of "
        f"the samples, run {task.sessions} sessions"
    )
    if not task.sessions:
        text = "nobody trains it; its bound is infinite"
        return Sign(name="participation", task=task.name, raised=True, text=text)
    share = task.share("initial_gap", "loss_drift")
    text = (
        f"{who}; progress is {format_number(task.progress)}, {_percent(_of(task))} of what the "
        f"step caps admit, and the start gap over it makes up {_percent(share)} of the bound"
    )
    raised = share > PARTICIPATION and _of(task) < PARTICIPATION
    return Sign(name="participation", task=task.name, raised=raised, text=text)


def _staleness(task: TaskFinding) -> Iterator[Sign]:
    if task.mean_staleness is None:
        return
    share = task.share("staleness")
    text = (
        f"uploads are {format_number(task.mean_staleness, 3)} aggregations old on average, at most "
        f"{task.max_staleness} of {task.staleness_limit} admitted; staleness makes up "
        f"{_percent(share)} of the bound"
    )
    yield Sign(name="staleness", task=task.name, raised=share > STALENESS, text=text)


def _divergence(scenario: Scenario, tally: Tally, j: int, task: TaskFinding) -> Iterator[Sign]:
    cap, smooth = float(scenario.tasks.step_cap[j]), float(scenario.tasks.smoothness[j])
    steps = tally.steps[:, j]
    over = np.flatnonzero(~within(steps, cap))
    largest = int(steps.argmax())
    text = (
        f"the largest step, at aggregation {largest + 1}, is {format_number(steps[largest])} of "
        f"the step cap {format_number(cap)}, which is {_percent(2 * cap * smooth)} of 1/(2 L)"
    )
    if over.size:
        text += (
            f"; {over.size} aggregations are above the cap, and the bound does not hold for them"
        )
    yield Sign(name="divergence", task=task.name, raised=bool(over.size), text=text)
    if math.isfinite(task.bound):
        above = task.bound > task.trivial_bound
        text = (
            f"the bound {format_number(task.bound)} is {'above' if above else 'below'} "
            f"V^2 = {format_number(task.trivial_bound)}, which holds for any plan"
        )
        text += "; it promises nothing" if above else ""
        yield Sign(name="divergence", task=task.name, raised=above, text=text)


def _energy(
    scenario: Scenario, check: CheckReport, limits: Sequence[LimitFamily], working: int
) -> Sign:
    spent = math.fsum(check.device_energy_j)
    (budgets,) = (family for family in limits if family.kind == "energy")
    over = int((~within(np.array(check.device_energy_j), np.array(check.device_budget_j))).sum())
    price = scenario.energy_weight * spent
    share = price / check.objective if 0 < check.objective < math.inf else 0.0
    text = (
        f"{format_number(spent)} J cost {format_number(price)} of the objective "
        f"({_percent(share)}); {budgets.tight} of {working} working devices use their budget up"
    )
    if over:
        text += f", {over} overdraw it"
    raised = share > ENERGY or over > 0 or (working > 0 and budgets.tight > ENERGY * working)
    return Sign(name="energy", task=None, raised=raised, text=text)


def _of(task: TaskFinding) -> float:
    return task.progress / task.progress_limit if task.progress_limit > 0 else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
