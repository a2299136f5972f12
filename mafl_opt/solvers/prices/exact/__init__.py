"""Small fleets, to a proved gap: the part of backend `prices` that branches."""

from __future__ import annotations

from typing import Any

from mafl_opt.core.locks import sole_use
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.improve import Improver
from mafl_opt.solvers.prices.exact.checkpoint import Journal
from mafl_opt.solvers.prices.exact.search import Search
from mafl_opt.solvers.recovery import warm_up

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
        Of kind ``tree``; None when it was cut short before there was a bound.

    Raises
    ------
    InputError
        For a checkpoint that cannot be used or is in use.
    """
    begun: list[Search] = []
    journal = Journal(run)
    with sole_use(run.options.checkpoint or run.options.resume):
        with run.interruptible():
            improver = Improver(run.problem, run.options.seed, run.stop)
            begun.append(Search(run, improver))
            if not journal.restore(begun[0]):
                # No hour of work ends at a folder that is closed.
                journal.save(begun[0])
                warm_up(run, improver, search=False)
            begun[0].branch(journal.save_if_due)
        if begun:
            journal.save(begun[0])
    if not begun:
        return None
    proof = begun[0].certificate()
    run.raise_bound(min(proof["bound"], run.objective), "tree")
    return proof
