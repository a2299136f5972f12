"""What every backend owes on every reference instance; backends are found by themselves.

One that lacks a package is skipped by name; `--expect-backends` makes that an error.
"""

from __future__ import annotations

import functools

import pytest
from instances.make import names, read
from tolerances import ENUMERATED, NEAR_OPTIMAL

import mafl_opt as mo
from mafl_opt.core.status import PointStatus, Termination

BACKENDS = {info.name: info for info in mo.backends()}
FEASIBLE = [name for name in names() if read(name)[1]["optimum"] is not None]
INFEASIBLE = [name for name in names() if name not in FEASIBLE]


def unless_missing(backend, *rest):
    """Parameters of a test, skipped with the reason where the backend cannot run."""
    missing = BACKENDS[backend].missing
    skip = pytest.mark.skipif(bool(missing), reason=f"backend {backend} is missing: {missing}")
    return pytest.param(backend, *rest, marks=skip)


each_backend = pytest.mark.parametrize("backend", [unless_missing(b) for b in sorted(BACKENDS)])
cases = pytest.mark.parametrize(
    ("backend", "name"), [unless_missing(b, n) for b in sorted(BACKENDS) for n in FEASIBLE]
)


@functools.cache
def solved(backend, name):
    """Scenario, optimum, plan and verdict; each solve is made once."""
    scenario, sidecar = read(name)
    plan = mo.solve(scenario, backend)
    return scenario, sidecar["optimum"], plan, mo.check(scenario, plan)


@cases
def test_plan_passes_the_check_or_there_is_none(backend, name):
    scenario, _, plan, report = solved(backend, name)
    assert plan.termination is not Termination.INFEASIBLE
    assert plan.scenario_sha256 == scenario.sha256
    assert plan.backend == backend
    if plan.point is PointStatus.NONE:
        assert not BACKENDS[backend].proves_bound
        assert len(plan.sessions) == 0
        assert plan.objective is None
    else:
        assert plan.point is PointStatus.FEASIBLE
        assert report.ok, str(report)


@cases
def test_objective_is_the_checkers_and_not_below_the_optimum(backend, name):
    _, optimum, plan, report = solved(backend, name)
    if plan.objective is not None:
        assert plan.objective == pytest.approx(report.objective, rel=ENUMERATED)
        assert plan.objective >= optimum * (1 - ENUMERATED)


@cases
def test_bound_is_certified_and_not_above_the_optimum(backend, name):
    _, optimum, plan, report = solved(backend, name)
    if BACKENDS[backend].proves_bound:
        assert plan.bound is not None
        assert plan.certificate is not None
    if plan.bound is not None:
        assert plan.bound <= optimum * (1 + ENUMERATED)
        if plan.certificate is not None and plan.certificate["kind"] == "milp":
            # A solver's word on top of what is derived again.
            assert plan.bound > report.certified_bound
            assert any("word of" in text for text in report.warnings)
        elif not BACKENDS[backend].proves_bound and plan.certificate is None:
            assert any("without a certificate" in text for text in report.warnings)
        else:
            assert plan.bound == report.certified_bound


@cases
def test_optimal_is_only_said_of_the_optimum(backend, name):
    _, optimum, plan, _ = solved(backend, name)
    if plan.termination is Termination.OPTIMAL:
        assert plan.objective == pytest.approx(optimum, rel=1e-5)
    if plan.termination is Termination.GAP_REACHED:
        assert plan.gap is not None


@pytest.mark.parametrize("name", FEASIBLE)
def test_conic_is_near_the_optimum(name):
    _, optimum, plan, _ = solved("conic", name)
    assert plan.objective <= optimum * (1 + NEAR_OPTIMAL)


@pytest.mark.parametrize("name", INFEASIBLE)
@each_backend
def test_infeasible_instance_gives_no_plan_and_says_so(backend, name):
    scenario, _ = read(name)
    plan = mo.solve(scenario, backend)
    assert plan.point is PointStatus.NONE
    assert plan.objective is None
    assert len(plan.sessions) == 0
    # A backend that proves bounds shows it or names what gave up; rules just end.
    proves = plan.bound is not None
    gave_up = Termination.STALLED if proves else Termination.COMPLETED
    assert plan.termination in (Termination.INFEASIBLE, gave_up)


@each_backend
def test_every_backend_sees_that_no_session_is_affordable(backend):
    scenario, _ = read("infeasible_minimum")
    assert mo.solve(scenario, backend).termination is Termination.INFEASIBLE


@each_backend
def test_same_call_gives_the_same_plan(backend):
    scenario, _ = read("two_tasks")
    first, second = mo.solve(scenario, backend), solved(backend, "two_tasks")[2]
    assert first.sessions == second.sessions
    assert first.bound == second.bound


@each_backend
def test_trace_tells_of_falling_objectives_and_rising_bounds(backend):
    _, _, plan, _ = solved(backend, "two_tasks")
    objectives = [e["objective"] for e in plan.trace if e["objective"] is not None]
    bounds = [e["bound"] for e in plan.trace if e["bound"] is not None]
    assert objectives == sorted(objectives, reverse=True)
    assert bounds == sorted(bounds)
    assert objectives[-1] == pytest.approx(plan.objective, rel=ENUMERATED)
