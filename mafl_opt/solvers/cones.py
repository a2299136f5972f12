"""Numerical cone solvers through cvxpy, the same way for every backend that works with them."""

from __future__ import annotations

import warnings
from typing import Any

import cvxpy as cp

from mafl_opt.core.errors import InputError

__all__ = ["SOLVERS", "choose_solver", "minimise"]

SOLVERS = {"clarabel": cp.CLARABEL, "ecos": cp.ECOS, "scs": cp.SCS}


def choose_solver(name: str | None) -> str:
    """Return the solver asked for, Clarabel by default.

    Raises
    ------
    InputError
        When it is unknown or not installed.
    """
    chosen = name or "clarabel"
    usable = [known for known, code in SOLVERS.items() if code in cp.installed_solvers()]
    if chosen not in usable:
        raise InputError("solver", "one of " + ", ".join(usable), chosen)
    return chosen


def minimise(model: Any, solver: str, time_limit: float | None, **options: Any) -> bool:
    """Solve a cvxpy problem; false when the solver gave up.

    A point may be inaccurate: who calls derives what is claimed anew, from the point or its prices.

    Parameters
    ----------
    model : cvxpy.Problem
    solver : str
        A key of `SOLVERS`.
    time_limit : float or None
        Seconds; ECOS knows none.
    **options
        Passed on to cvxpy.
    """
    if time_limit is not None and solver == "clarabel":
        options["time_limit"] = max(time_limit, 0.01)
    elif time_limit is not None and solver == "scs":
        options["time_limit_secs"] = max(time_limit, 0.01)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Solution may be inaccurate")
        warnings.filterwarnings("ignore", category=FutureWarning, module="cvxpy")
        try:
            model.solve(solver=SOLVERS[solver], **options)
        except cp.error.SolverError:
            return False
    return True
