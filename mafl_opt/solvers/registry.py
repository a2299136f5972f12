"""Backends by name, and the one way to run them."""

from __future__ import annotations

import platform
from dataclasses import dataclass, fields
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Any

from mafl_opt.core.arguments import (
    did_you_mean,
    require_callable,
    require_count,
    require_known,
    require_number,
)
from mafl_opt.core.errors import InputError
from mafl_opt.core.inputs import require_plan, require_scenario
from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.status import Termination
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Backend, Options, Progress, Run

__all__ = ["BackendInfo", "backends", "get_backend", "solve"]

# Imported on use; third parties add to these through the entry-point group mafl_opt.solvers.
_BACKENDS = {
    "prices": "mafl_opt.solvers.prices.backend:Prices",
    "conic": "mafl_opt.solvers.conic:Conic",
    "sca": "mafl_opt.solvers.sca:Sca",
    "minlp": "mafl_opt.solvers.minlp:Minlp",
    "scip": "mafl_opt.solvers.scip:Scip",
    "greedy": "mafl_opt.solvers.greedy:Greedy",
    "fedavg": "mafl_opt.solvers.fedavg:FedAvg",
    "fedasync": "mafl_opt.solvers.fedasync:FedAsync",
    "random": "mafl_opt.solvers.random_plan:RandomPlan",
}
_VERSIONED = (
    "mafl-opt", "numpy", "scipy", "cvxpy", "clarabel", "ecos", "scs", "pyomo", "highspy",
    "pyscipopt", "numba",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendInfo:
    """What a backend is, without running it.

    Attributes
    ----------
    name, summary : str
    proves_bound : bool
    accepts : frozenset of str
        Option names it can use.
    available : bool
    missing : str
        What to install when it is not available.
    """

    name: str
    summary: str
    proves_bound: bool
    accepts: frozenset[str]
    available: bool
    missing: str


@cache
def _found() -> dict[str, str]:
    plugins = {point.name: point.value for point in entry_points(group="mafl_opt.solvers")}
    return {**plugins, **_BACKENDS}


def get_backend(name: str) -> Backend:
    """Return the backend of a name.

    Raises
    ------
    InputError
        When there is none, or it lacks a package.
    """
    require_known("backend", name, _found())
    module, _, attribute = _found()[name].partition(":")
    backend: Backend = getattr(import_module(module), attribute)()
    return backend


def backends() -> tuple[BackendInfo, ...]:
    """Describe every known backend."""
    out = []
    for name in _found():
        b = get_backend(name)
        missing = b.missing()
        out.append(
            BackendInfo(
                name=name,
                summary=b.summary,
                proves_bound=b.proves_bound,
                accepts=b.accepts,
                available=not missing,
                missing=missing,
            )
        )
    return tuple(out)


def solve(
    scenario: Scenario | Problem,
    backend: str = "conic",
    *,
    start: Plan | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Plan:
    """Solve a scenario.

    Parameters
    ----------
    scenario : Scenario or Problem
        A `Problem` can be given to many backends without preparing it again.
    backend : str
        See `backends`.
    start : Plan, optional
        Plan to start from, for backends that can use one; what no longer fits is left out.
    progress : callable, optional
        ``progress(message, fraction_or_None)``.
    **options
        Fields of `Options`: ``time_limit`` (s), ``gap``, ``seed``, ``solver``, ``initial``,
        ``pyomo_solver``, ``engine``, ``checkpoint``, ``resume``. ``None`` means not given.

    Returns
    -------
    Plan
        Always; ``plan.termination`` and ``plan.point`` say what it is worth.

    Raises
    ------
    InputError
        For an unknown backend, a missing package, an option the backend cannot use, or an argument
        of another kind.
    """
    if not isinstance(scenario, Problem):
        require_scenario(scenario)
    if start is not None:
        require_plan(start, "start")
    require_callable("progress", progress)
    chosen = get_backend(backend)
    missing = chosen.missing()
    if missing:
        raise InputError("backend", f"{backend} to be installed", missing)
    given = {name: value for name, value in options.items() if value is not None}
    _check_options(chosen, given, start)
    run = Run(
        problem=scenario if isinstance(scenario, Problem) else Problem(scenario=scenario),
        options=Options(**given), start=start, progress=progress,
    )  # fmt: skip
    untrainable = None
    with run.interruptible():
        if run.problem.is_listable:
            untrainable = run.problem.untrainable_task
    if run.termination is not None:
        plan = run.plan(backend, run.termination)
    elif untrainable is not None:
        run.say(f"task {untrainable} has weight but no device can ever train it")
        plan = run.plan(backend, Termination.INFEASIBLE)
    else:
        plan = chosen.solve(run)
    return plan.replace(
        seconds=run.seconds, scenario_sha256=run.problem.scenario.sha256, versions=_versions()
    )


def _check_options(backend: Backend, given: dict[str, Any], start: Plan | None) -> None:
    known = {f.name for f in fields(Options)}
    for name in ("time_limit", "gap"):
        require_number(name, given.get(name, 0.0))
    require_count("seed", given.get("seed", 0))
    for name in [*given, *(["start"] if start is not None else [])]:
        if name != "start" and name not in known:
            near = did_you_mean(name, [*known, "start", "progress"])
            raise InputError(name, "one of " + ", ".join(sorted(known)), given[name], near)
        if name not in backend.accepts:
            usable = ", ".join(sorted(backend.accepts)) or "no options"
            raise InputError(name, f"an option {backend.name} can use ({usable})", name)


@cache
def _versions() -> dict[str, str]:
    out = {"python": platform.python_version()}
    for package in _VERSIONED:
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            continue
    return out
