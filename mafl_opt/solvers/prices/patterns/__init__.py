"""Small and middle fleets, to a proved gap: column generation over patterns, and branching."""

from __future__ import annotations

from typing import Any

import numpy as np

from mafl_opt.core.compiling import is_compiled
from mafl_opt.core.locks import sole_use
from mafl_opt.solvers.annealing import compile_moves
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.improve import Improver
from mafl_opt.solvers.prices.compilation import compile_ahead
from mafl_opt.solvers.prices.patterns.checkpoint import Journal
from mafl_opt.solvers.prices.patterns.knapsack import Knapsacks
from mafl_opt.solvers.prices.patterns.search import Search
from mafl_opt.solvers.prices.patterns.slots import solve_slots
from mafl_opt.solvers.recovery import first_plan
from mafl_opt.solvers.schedule import Schedule

__all__ = ["compile_all", "refine", "solve"]

# Of local search before anything is compiled.
_QUICK_S = 1.0
# Part of the time limit that is kept for deriving the certificate again.
_RESERVE = 0.03


def solve(run: Run) -> dict[str, Any] | None:
    """Find plans and bounds for ``run.problem`` until the gap is reached or time is up.

    Parameters
    ----------
    run : Run
        Gets plans and bounds; Ctrl-C ends it like a time limit. Its options ``checkpoint`` and
        ``resume`` are read.

    Returns
    -------
    certificate : dict or None
        Of kind ``patterns``; None when it was cut short before there was a bound.

    Raises
    ------
    InputError
        For a checkpoint that cannot be used or is in use.
    """
    search: Search | None = None
    journal = Journal(run)
    limit = run.options.time_limit
    run.reserve = 0.0 if limit is None else _RESERVE * limit
    with sole_use(run.options.checkpoint or run.options.resume):
        with run.interruptible():
            journal.offer_plan()
            if run.best is None:
                first_plan(run)
            _prepare(run)
            if not run.stop():
                search = Search(run)
                if not journal.restore(search):
                    journal.save(search)
                    search.find_plans()
                search.prove(journal.save_if_due)
        if search is None:
            return None
        journal.save(search)
    proof = search.certificate()
    run.raise_bound(search.nodes.proved, "tree")
    return proof


def refine(run: Run) -> dict[str, Any] | None:
    """Go on from the plan that a run has got elsewhere; as `solve`, but for its files."""
    search: Search | None = None
    with run.interruptible():
        if run.best is not None and run.schedule is None:
            found = Schedule.from_sessions(run.problem, run.best.sessions())
            if np.isfinite(found.objective()):
                run.best = found
        _prepare(run)
        if run.schedule is not None and not run.stop():
            search = Search(run)
            search.find_plans()
            search.prove(lambda _: None)
    return None if search is None else search.certificate()


def compile_all() -> None:
    """Compile what a search calls."""
    none = np.zeros(2, dtype=np.int64)
    for together in (1, 2):
        knapsacks = Knapsacks(
            np.arange(2), none, np.ones(2), np.ones(2), num_devices=1, together=together
        )
        knapsacks.solve(-np.ones(2), labels=10, tolerance=0.0, relative=0.0)
    compile_moves()


def _prepare(run: Run) -> None:
    """See that all is compiled; the first time, with a plan better than greedy's in hand."""
    if not is_compiled(solve_slots):
        if run.schedule is not None:
            enough = run.seconds + _QUICK_S
            improver = Improver(
                run.problem, run.options.seed, lambda: run.stop() or run.seconds > enough
            )
            run.offer(improver.descend(run.schedule), "local search")
        command = f"from {__name__} import compile_all; compile_all()"
        compile_ahead(run.stop, command, solve_slots)
