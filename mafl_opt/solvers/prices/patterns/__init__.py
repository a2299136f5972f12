"""Small and middle fleets, to a proved gap: column generation over patterns, and branching."""

from __future__ import annotations

from typing import Any

from mafl_opt.core.locks import sole_use
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.prices.patterns.checkpoint import Journal
from mafl_opt.solvers.prices.patterns.search import Search
from mafl_opt.solvers.recovery import first_plan

__all__ = ["solve"]


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
    with sole_use(run.options.checkpoint or run.options.resume):
        with run.interruptible():
            journal.offer_plan()
            first_plan(run)
            search = Search(run)
            if not journal.restore(search):
                journal.save(search)
                search.find_plans()
            search.prove(journal.save_if_due)
        if search is None:
            return None
        journal.save(search)
    proof = search.certificate()
    run.raise_bound(search.bound, "tree")
    return proof
