"""Small fleets, to a proved gap: the part of backend `prices` that branches."""

from __future__ import annotations

from typing import Any

from mafl_opt.solvers.base import Run
from mafl_opt.solvers.improve import Improver
from mafl_opt.solvers.prices.exact.search import Search
from mafl_opt.solvers.recovery import warm_up

__all__ = ["solve"]


def solve(run: Run) -> dict[str, Any] | None:
    """Find plans and bounds for ``run.problem`` until the gap is reached or time is up.

    Parameters
    ----------
    run : Run
        Gets plans and bounds; Ctrl-C ends it like a time limit.

    Returns
    -------
    certificate : dict or None
        Of kind ``tree``; None when it was cut short before there was a bound.
    """
    begun: list[Search] = []
    with run.interruptible():
        improver = Improver(run.problem, run.options.seed, run.stop)
        begun.append(Search(run, improver))
        warm_up(run, improver, shake=False)
        begun[0].branch()
    if not begun:
        return None
    proof = begun[0].certificate()
    run.raise_bound(min(proof["bound"], run.objective), "tree")
    return proof
