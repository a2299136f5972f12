from __future__ import annotations

import os
import signal
import threading

import pytest
from instances.make import names, read
from small_scenarios import plain_scenario
from tolerances import ENUMERATED

import mafl_opt as mo
from mafl_opt.core.errors import InputError
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.solvers.registry import get_backend
from mafl_opt.solvers.scip import backend

pytest.importorskip("pyscipopt")

#: SCIP needs half a minute for the proof where staleness, energy and error all are cheap.
SLOW = {"nothing_to_gain"}
SOLVED = [n for n in names() if read(n)[1]["optimum"] is not None and n not in SLOW]

#: A second or so of presolving and minutes of search, which no test waits for.
LARGE = mo.Scenario.draw(devices=6, tasks=2, slots=6, seed=1)


@pytest.mark.parametrize("name", SOLVED)
def test_scip_finds_the_enumerated_optimum_and_proves_it(name):
    scenario, sidecar = read(name)
    plan = mo.solve(scenario, "scip", gap=1e-6)
    report = mo.check(scenario, plan)
    assert report.ok, str(report)
    assert plan.objective == pytest.approx(sidecar["optimum"], rel=ENUMERATED)
    # The bound gives 1e-6 away for SCIP's tolerances, and another 1e-6 for the gap asked for.
    assert sidecar["optimum"] * (1 - 3e-6) <= plan.bound <= sidecar["optimum"] * (1 + ENUMERATED)


def test_bound_is_a_claim_and_never_called_optimal():
    scenario = plain_scenario()
    plan = mo.solve(scenario, "scip", gap=0.0)
    assert plan.termination is Termination.COMPLETED
    assert plan.certificate is None
    assert plan.bound < plan.objective
    report = mo.check(scenario, plan)
    assert report.certified_bound is None
    assert any("without a certificate" in text for text in report.warnings)
    assert not get_backend("scip").proves_bound


def test_gap_that_is_reached_ends_the_search():
    plan = mo.solve(plain_scenario(), "scip", gap=0.5)
    assert plan.termination is Termination.GAP_REACHED
    assert plan.gap <= 0.5


def test_large_scenario_is_refused_with_a_hint(monkeypatch):
    monkeypatch.setattr(backend, "MOST_CHOICES", 10)
    with pytest.raises(InputError, match=r"at most 10 choices of session.*try conic"):
        mo.solve(plain_scenario(), "scip")


def test_time_limit_keeps_the_plan_to_start_from():
    plan = mo.solve(LARGE, "scip", time_limit=3.0)
    assert plan.termination is Termination.TIME_LIMIT
    assert plan.point is PointStatus.FEASIBLE
    assert mo.check(LARGE, plan).ok
    assert plan.objective <= mo.solve(LARGE, "greedy").objective


def test_interrupt_keeps_the_best_plan():
    timer = threading.Timer(3.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    plan = mo.solve(LARGE, "scip", time_limit=60.0)
    timer.join()
    assert plan.termination is Termination.INTERRUPTED
    assert plan.point is PointStatus.FEASIBLE


def test_start_is_not_lost():
    scenario, sidecar = read("two_tasks")
    best = mo.solve(scenario, "scip", gap=1e-6)
    again = mo.solve(scenario, "scip", start=best, time_limit=0.0)
    assert again.termination is Termination.TIME_LIMIT
    assert again.objective == pytest.approx(sidecar["optimum"], rel=ENUMERATED)


def test_bounds_and_plans_appear_in_the_trace():
    trace = mo.solve(plain_scenario(), "scip").trace
    assert {"greedy", "SCIP bound"} <= {entry["event"] for entry in trace}
    bounds = [entry["bound"] for entry in trace if entry["bound"] is not None]
    assert bounds == sorted(bounds)


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(backend, "find_spec", lambda name: None)
    (info,) = (info for info in mo.backends() if info.name == "scip")
    assert not info.available
    assert "exact" in info.missing
    with pytest.raises(InputError, match="scip to be installed"):
        mo.solve(plain_scenario(), "scip")
