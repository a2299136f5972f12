"""Scenarios and plans as several studies make them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mafl_opt.core.check import check
from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.status import Termination
from mafl_opt.core.verdict import CheckReport
from mafl_opt.solvers.registry import get_backend, solve
from mafl_opt.studies.cell import Cell

if TYPE_CHECKING:
    from mafl_opt.validation.record import Replay

__all__ = ["drawn_fleet", "make_plan", "replayed", "scaled", "scenario_digest"]


def drawn_fleet(cell: Cell) -> Scenario:
    """Return the fleet of a cell: another one for every seed, like the embedded one."""
    return _draw(cell["devices"], cell["tasks"], cell["slots"], cell.seed)


@lru_cache(maxsize=4)
def _draw(devices: int, tasks: int, slots: int, seed: int) -> Scenario:
    return Scenario.draw(devices=devices, tasks=tasks, slots=slots, seed=seed)


def scenario_digest(cell: Cell) -> str:
    """Return the digest of the fleet of a cell."""
    return drawn_fleet(cell).sha256


def scaled(scenario: Scenario, **factors: float) -> Scenario:
    """Multiply fields, named with two underscores for the dot: ``devices__energy_budget_j=0.5``."""
    changes: dict[str, Any] = {}
    for name, factor in factors.items():
        group, _, attribute = name.rpartition("__")
        holder = getattr(scenario, group) if group else scenario
        changes[f"{group}.{attribute}" if group else attribute] = (
            getattr(holder, attribute) * factor
        )
    return scenario.replace(**changes)


@lru_cache(maxsize=4)
def make_plan(scenario: Scenario, backend: str, *, gap: float) -> tuple[Plan, CheckReport]:
    """Plan and check; no time limit, so that the plan does not depend on the machine's speed.

    Parameters
    ----------
    scenario : Scenario
    backend : str
    gap : float
        For backends that can stop at one.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C: backends return what they have, which is no result of a study.
    """
    usable: dict[str, Any] = {"gap": gap} if "gap" in get_backend(backend).accepts else {}
    plan = solve(scenario, backend, **usable)
    if plan.termination is Termination.INTERRUPTED:
        raise KeyboardInterrupt
    return plan, check(scenario, plan)


def replayed(scenario: Scenario, plan: Plan, seed: int, **options: Any) -> Replay:
    """Train as a plan says and test at the end.

    Parameters
    ----------
    scenario : Scenario
    plan : Plan
    seed : int
    **options
        Fields of `ReplayOptions`, and ``uncertainty``.
    """
    from mafl_opt.validation.record import ReplayOptions
    from mafl_opt.validation.replay import replay

    uncertainty = options.pop("uncertainty", None)
    chosen = ReplayOptions(**{"evaluate_every": scenario.num_slots, **options})
    return replay(scenario, plan, seed=seed, options=chosen, uncertainty=uncertainty)
