"""Many feasible plans of one scenario, from little work to much."""

from __future__ import annotations

import numpy as np

from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.solvers.registry import solve

__all__ = ["vary_plans"]

#: Who makes the plans that are varied; ``random`` makes another one each time.
_SOURCES = ("greedy", "fedavg", "fedasync", "random")


def vary_plans(scenario: Scenario, count: int, seed: int = 0) -> list[Plan]:
    """Make plans that differ in how much is done, by whom and how stale.

    Plans of the baselines in turn, with some sessions left out and iterations cut. Both only take
    from the sums that P limits, so a plan stays feasible.

    Parameters
    ----------
    scenario : Scenario
    count : int
    seed : int

    Returns
    -------
    plans : list of Plan
        The baselines' own plans first; fewer than `count` only if none has a session.
    """
    generator = np.random.default_rng(seed)
    whole = {name: solve(scenario, name) for name in _SOURCES if name != "random"}
    plans: list[Plan] = []
    for k in range(count):
        source = _SOURCES[k % len(_SOURCES)]
        plan = whole[source] if source in whole else solve(scenario, source, seed=seed + k)
        if k >= len(_SOURCES):
            plan = _thinned(plan, generator)
        plans.append(plan)
    return [plan for plan in plans if len(plan.sessions)]


def _thinned(plan: Plan, generator: np.random.Generator) -> Plan:
    """Leave sessions out and cut iterations, by shares drawn for the plan; a task keeps one."""
    sessions = plan.sessions
    kept = generator.random(len(sessions)) < generator.uniform(0.1, 1.0)
    for task in np.unique(sessions.task).tolist():
        kept[generator.choice(np.flatnonzero(sessions.task == task))] = True
    share = generator.uniform(0.3, 1.0)
    rows = [
        {**row, "iterations": max(1, round(share * row["iterations"]))}
        for row, stays in zip(sessions.rows(), kept.tolist(), strict=True)
        if stays
    ]
    return Plan(
        sessions=Sessions.from_rows(rows),
        backend=plan.backend,
        termination=Termination.COMPLETED,
        point=PointStatus.FEASIBLE,
        scenario_sha256=plan.scenario_sha256,
    )
