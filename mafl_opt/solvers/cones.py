"""Numerical cone solvers through cvxpy, the same way for every backend that works with them."""

from __future__ import annotations

import time
import warnings
from typing import Any

import cvxpy as cp

from mafl_opt.core.errors import InputError

__all__ = ["SOLVERS", "OutOfTime", "choose_solver", "minimise"]

SOLVERS = {"clarabel": cp.CLARABEL, "ecos": cp.ECOS, "scs": cp.SCS}
_LIMITS = {"clarabel": "time_limit", "scs": "time_limit_secs"}
# An interior-point solver orders and factors before it first looks at the clock, which takes some
# three times as long as cvxpy takes to hand the problem over.
_PREPARATION = 3.0


class OutOfTime(Exception):
    """Too little time is left for the numerical solver to get anywhere."""


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
        Seconds, of which cvxpy's own work is a part. ECOS knows no limit.
    **options
        ``canon_backend`` goes to cvxpy, the rest to the solver.

    Raises
    ------
    OutOfTime
        When cvxpy leaves the solver no time to speak of; it is not called then.
    """
    began = time.perf_counter()
    canon = options.pop("canon_backend", None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Solution may be inaccurate")
        warnings.filterwarnings("ignore", category=FutureWarning, module="cvxpy")
        data, chain, inverse = model.get_problem_data(
            SOLVERS[solver], canon_backend=canon, solver_opts=options
        )
        if time_limit is not None:
            taken = time.perf_counter() - began
            left = time_limit - taken
            if left <= _PREPARATION * taken:
                raise OutOfTime
            if solver in _LIMITS:
                options[_LIMITS[solver]] = left
        try:
            solution = chain.solve_via_data(model, data, solver_opts=options)
            model.unpack_results(solution, chain, inverse)
        except cp.error.SolverError:
            return False
    return True
