"""`mo.explain`: what stands behind a plan, from the checker's figures and the plan's prices."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.arguments import require_callable, require_count
from mafl_opt.core.check import CheckReport, check
from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import COLUMNS, Plan, Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.tally import Tally
from mafl_opt.core.terms import Facts
from mafl_opt.report.explain.explanation import Explanation
from mafl_opt.report.explain.findings import TaskFinding
from mafl_opt.report.explain.idle import find_idle
from mafl_opt.report.explain.limits import find_limits
from mafl_opt.report.explain.prices import LeafPrices, choose_prices
from mafl_opt.report.explain.signs import find_signs

__all__ = ["explain"]

Report = Callable[[str, "float | None"], None]

#: Violations that become notes; `check` shows more.
_SHOWN = 5


def explain(
    scenario: Scenario, plan: Plan, *, top: int = 10, progress: Report | None = None
) -> Explanation:
    """Say why a plan is as it is.

    Which part of each task's bound is largest; which uplinks, step caps and budgets bind, and what
    their prices say a unit more would bring; which devices idle, and why; and whether the plan
    shows the signs of failing runs.

    Prices are those of the certificate's leaf in which the plan lies. By weak duality they limit
    what more can bring, and promise nothing: with d more of a limit no plan of the leaf is better
    than its bound less price times d.

    Parameters
    ----------
    scenario : Scenario
    plan : Plan
        Feasible or not.
    top : int
        How many limits of each kind and idle devices are listed; all are counted.
    progress : callable, optional
        Called with a message and the fraction done.

    Returns
    -------
    Explanation

    Raises
    ------
    InputError
        If an argument is of another kind, or `top` below 0.
    """
    require_count("top", top)
    require_callable("progress", progress)
    verdict = check(scenario, plan, certificate=False)
    tally = Tally(Facts.of(scenario))
    tally.add(plan.sessions)
    counted = np.ones(len(plan.sessions), dtype=bool)
    counted[tally.left_out] = False
    sessions = Sessions(**{name: getattr(plan.sessions, name)[counted] for name in COLUMNS})
    prices, words = _prices(scenario, plan, verdict, sessions)
    working = np.zeros(scenario.num_devices, dtype=bool)
    working[sessions.device] = True
    tasks = tuple(_task(scenario, verdict, sessions, j) for j in range(scenario.num_tasks))
    limits = find_limits(scenario, tally, prices, top)
    idle = find_idle(scenario, verdict, tally, working, prices, top, progress)
    violations = [str(violation) for violation in verdict.violations[:_SHOWN]]
    if len(verdict.violations) > _SHOWN:
        violations.append(f"{len(verdict.violations) - _SHOWN} more violations")
    # What a bound says beside V^2 is among the signs; that no bound was derived was asked for.
    notes = [
        text
        for text in verdict.warnings
        if "which holds for any plan" not in text and "not derived again" not in text
    ]
    return Explanation(
        ok=verdict.ok,
        objective=verdict.objective,
        energy_j=math.fsum(verdict.device_energy_j),
        bound=plan.bound,
        tasks=tasks,
        limits=limits,
        idle=idle,
        signs=find_signs(scenario, verdict, tally, tasks, limits, int(working.sum())),
        prices=words,
        notes=(*violations, *notes),
    )


def _prices(
    scenario: Scenario, plan: Plan, verdict: CheckReport, sessions: Sessions
) -> tuple[LeafPrices | None, str]:
    """Return the prices to be used, and where they come from in words."""
    if plan.certificate is None:
        return None, "no prices: the plan carries no certificate; what is used is all there is"
    try:
        prices = choose_prices(scenario, plan.certificate, verdict, sessions)
    except InputError as error:
        return None, f"no prices: the certificate cannot be read: {error}"
    words = f"prices of leaf {prices.leaf} of {prices.leaves} of the certificate ({prices.kind})"
    words += ", in which the plan lies" if prices.holds_plan else ", the nearest to the plan"
    if len(prices.tables) > 1:
        words += f", a mixture of {len(prices.tables)} tables"
    if not (prices.error.any() or prices.progress.any()):
        words += "; it has no prices on progress and error, so it says little"
    of_sessions = int(np.isnan(prices.step_cap).sum())
    if prices.of_patterns:
        words += "; step caps are kept by patterns and have no price"
    elif of_sessions:
        words += f"; {of_sessions} step caps have prices on single sessions and none of their own"
    if prices.energy is None:
        words += "; budgets are kept inside the devices, those of the tightest are priced here"
    return prices, words


def _task(scenario: Scenario, verdict: CheckReport, sessions: Sessions, j: int) -> TaskFinding:
    judged, mine = verdict.tasks[j], sessions.task == j
    stale: NDArray[np.int64] = sessions.staleness[mine]
    devices = np.unique(sessions.device[mine])
    samples = scenario.pairs.samples[:, j]
    return TaskFinding(
        name=judged.name,
        weight=judged.weight,
        bound=judged.bound,
        trivial_bound=judged.trivial_bound,
        parts=judged.parts,
        progress=judged.progress,
        progress_limit=0.5 * scenario.num_slots * float(scenario.tasks.step_cap[j]),
        sessions=judged.sessions,
        devices=devices.size,
        data_share=float(samples[devices].sum() / samples.sum()),
        mean_staleness=float(stale.mean()) if stale.size else None,
        max_staleness=int(stale.max()) if stale.size else None,
        staleness_limit=int(scenario.tasks.staleness_max[j]),
    )
