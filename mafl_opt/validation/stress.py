"""How often a plan's deadlines, budgets and uplinks break when the world is drawn anew."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mafl_opt.core.arguments import require_callable, require_count, require_instance
from mafl_opt.core.inputs import require_plan, require_scenario
from mafl_opt.core.notebook import html_table, short_number
from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario
from mafl_opt.validation.engine.jobs import Failure, Job
from mafl_opt.validation.engine.virtual_time import run_virtual
from mafl_opt.validation.executable import require_executable
from mafl_opt.validation.plan_server import PlanServer
from mafl_opt.validation.record import Strain, plain_values
from mafl_opt.validation.replay import strain_of
from mafl_opt.validation.settings import require_seed
from mafl_opt.validation.uncertainty import Uncertainty, draw_weather
from mafl_opt.validation.watch import Progress

__all__ = ["StressReport", "stress"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StressReport:
    """Frequencies over many draws of the world.

    Attributes
    ----------
    draws, sessions : int
        Draws made, and sessions of the plan.
    uncertainty : Uncertainty
    seed : int
    late : float
        Share of the sessions that missed their deadline.
    any_late : float
        Share of the draws in which one did.
    lost : dict
        Reason to the share of the sessions whose work was not used.
    over_budget : tuple of float
        Share of the draws in which each device spent more than its budget.
    crowded : tuple of float
        Share of the draws in which each aggregation, from 1 on, had more uploads than sub-channels.
    energy_j : (5 % quantile, mean, 95 % quantile)
        Of the energy of all devices.
    """

    draws: int
    sessions: int
    uncertainty: Uncertainty
    seed: int
    late: float
    any_late: float
    lost: Mapping[str, float]
    over_budget: tuple[float, ...]
    crowded: tuple[float, ...]
    energy_j: tuple[float, float, float]

    def __repr__(self) -> str:
        return (
            f"StressReport({self.draws} draws of {self.sessions} sessions: "
            f"{100 * self.late:.3g} % late, {100 * sum(self.lost.values()):.3g} % lost, "
            f"{short_number(self.energy_j[1])} J on average)"
        )

    def _repr_html_(self) -> str:
        rows = [("late sessions", self.late), ("draws with a late session", self.any_late)]
        rows += [(f"sessions lost: {reason}", share) for reason, share in self.lost.items()]
        rows += [
            ("devices over budget in some draw", sum(share > 0 for share in self.over_budget)),
            ("aggregations crowded in some draw", sum(share > 0 for share in self.crowded)),
        ]
        low, mean, high = map(short_number, self.energy_j)
        notes = [f"energy {mean} J on average, {low} to {high} J in nine draws of ten"]
        return html_table(repr(self), ("what", "share or number"), rows, notes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        plain: dict[str, Any] = plain_values(asdict(self))
        return plain


def stress(
    scenario: Scenario,
    plan: Plan,
    uncertainty: Uncertainty,
    *,
    draws: int = 200,
    seed: int = 0,
    progress: Progress | None = None,
) -> StressReport:
    """Replay a plan in many drawn worlds without training anything.

    The rules are those of `replay` with the same uncertainty; draw n is the world of
    ``replay(..., seed=seed + n)``.

    Parameters
    ----------
    scenario : Scenario
    plan : Plan
    uncertainty : Uncertainty
    draws : int
    seed : int
    progress : callable, optional

    Raises
    ------
    InputError
        If a session cannot be executed, or a number has no meaning.
    """
    require_scenario(scenario)
    require_plan(plan)
    require_instance("uncertainty", uncertainty, Uncertainty)
    require_callable("progress", progress)
    require_seed(seed)
    require_count("draws", draws, 1)
    sessions = plan.sessions.sorted()
    require_executable(scenario, sessions)
    strains: list[Strain] = []
    energies: list[float] = []
    for draw in range(draws):
        server = PlanServer(
            scenario=scenario,
            sessions=sessions,
            weather=draw_weather(scenario, uncertainty, seed + draw),
            initial=[torch.zeros(1)] * scenario.num_tasks,
            rule="delta",
            seed=seed,
            evaluate_every=scenario.num_slots + 1,
            score=_no_score,
        )
        state = run_virtual(server, _no_training)
        strains.append(strain_of(scenario, server, state))
        energies.append(math.fsum(state.spent_j))
        if progress is not None:
            progress(f"draw {draw + 1} of {draws}", (draw + 1) / draws)
    lost = sum((Counter(strain.lost) for strain in strains), Counter())
    every = max(draws * len(sessions), 1)
    low, high = np.quantile(energies, [0.05, 0.95]).tolist()
    return StressReport(
        draws=draws,
        sessions=len(sessions),
        uncertainty=uncertainty,
        seed=seed,
        late=sum(strain.late for strain in strains) / every,
        any_late=sum(strain.late > 0 for strain in strains) / draws,
        lost={reason: count / every for reason, count in sorted(lost.items())},
        over_budget=tuple(
            sum(i in strain.over_budget for strain in strains) / draws
            for i in range(scenario.num_devices)
        ),
        crowded=tuple(
            sum(g in strain.crowded for strain in strains) / draws
            for g in range(1, scenario.num_slots + 1)
        ),
        energy_j=(low, math.fsum(energies) / draws, high),
    )


def _no_training(jobs: Sequence[Job]) -> list[Tensor | Failure]:
    return [job.start for job in jobs]


def _no_score(_task: int, _model: Tensor) -> tuple[float, float]:
    return 0.0, 0.0
