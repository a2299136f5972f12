"""Large fleets: compiled device programs, prices learned on a sample, plans assigned in a sweep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mafl_opt.core.locks import sole_use
from mafl_opt.core.scenario import Scenario
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Options, Run
from mafl_opt.solvers.prices.compilation import compile_ahead
from mafl_opt.solvers.prices.fleet.kernel import assign_devices
from mafl_opt.solvers.prices.fleet.opening import untrainable_task
from mafl_opt.solvers.prices.fleet.search import Search

__all__ = ["compile_all", "solve", "untrainable_task"]


def solve(run: Run) -> tuple[dict[str, Any] | None, str]:
    """Find a plan and a bound for a large fleet until the gap is reached or time is up.

    Parameters
    ----------
    run : Run
        Gets plans and bounds; Ctrl-C ends it like a time limit. Its options ``engine``,
        ``checkpoint`` and ``resume`` are read.

    Returns
    -------
    certificate : dict or None
        Of kind ``tree``; None when it was cut short before there was a plan.
    limit : str
        What keeps plan and bound apart.

    Raises
    ------
    InputError
        For an engine that is not there, or a checkpoint that cannot be used or is in use.
    """
    with sole_use(run.options.checkpoint or run.options.resume):
        search = Search(run)
        try:
            with run.interruptible():
                search.work(_prepare)
        finally:
            search.close()
    return search.certificate(), search.limit


def compile_all() -> None:
    """Compile what a search calls, by searching on a small fleet to a gap that is soon met."""
    scenario = Scenario.draw(devices=6, tasks=2, slots=4, seed=0)
    search = Search(Run(problem=Problem(scenario=scenario), options=Options(gap=0.5)))
    search.work()
    search.close()


def _prepare(stop: Callable[[], bool]) -> None:
    compile_ahead(stop, f"from {__name__} import compile_all; compile_all()", assign_devices)
