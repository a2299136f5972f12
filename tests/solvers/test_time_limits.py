"""What happens when time runs out, by a clock that the tests move on."""

from __future__ import annotations

import time

import cvxpy as cp
import numpy as np
import pytest
from small_scenarios import plain_scenario

import mafl_opt as mo
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.formulations.boxes import box_rules
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Options, Run
from mafl_opt.solvers.cones import OutOfTime, minimise
from mafl_opt.solvers.conic import relaxation
from mafl_opt.solvers.improve import Improver, fill
from mafl_opt.solvers.prices import patterns
from mafl_opt.solvers.prices.patterns import bounding
from mafl_opt.solvers.recovery import warm_up
from mafl_opt.solvers.sca import surrogate
from mafl_opt.solvers.schedule import Schedule


@pytest.fixture
def clock(monkeypatch):
    """A list with the time on it, which stands still unless a test moves it."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


@pytest.fixture(scope="module")
def fleet():
    return Problem(scenario=mo.Scenario.draw(devices=6, tasks=2, slots=6, seed=1))


class Slow:
    """A cvxpy problem whose compilation takes two seconds; counts the calls of the solver."""

    def __init__(self, now):
        self.now, self.options = now, []

    def get_problem_data(self, solver, canon_backend=None, solver_opts=None):
        self.now[0] += 2.0
        return {}, self, None

    def solve_via_data(self, model, data, solver_opts):
        self.options.append(solver_opts)

    def unpack_results(self, solution, chain, inverse):
        pass


@pytest.mark.parametrize(("solver", "name"), [("clarabel", "time_limit"),
                                              ("scs", "time_limit_secs")])  # fmt: skip
def test_solver_gets_what_compiling_leaves(clock, solver, name):
    model = Slow(clock)
    assert minimise(model, solver, 10.0, eps=1.0)
    assert model.options == [{"eps": 1.0, name: 8.0}]


def test_solver_is_not_called_when_compiling_leaves_it_too_little(clock):
    model = Slow(clock)
    for limit in (0.0, 1.0, 2.0, 7.0):
        with pytest.raises(OutOfTime):
            minimise(model, "clarabel", limit)
    assert model.options == []


def test_no_limit_is_no_limit(clock):
    model = Slow(clock)
    assert minimise(model, "clarabel", None)
    assert model.options == [{}]


def test_solver_that_gives_up_is_told_apart_from_no_time():
    class Breaks(Slow):
        def solve_via_data(self, model, data, solver_opts):
            raise cp.error.SolverError("no luck")

    assert minimise(Breaks([0.0]), "clarabel", None) is False


def test_filling_ends_with_the_first_plan_when_time_is_up(fleet):
    whole, first = Schedule(fleet), Schedule(fleet)
    fill(whole)
    fill(first, stop=lambda: True)
    assert np.isfinite(first.objective())
    assert len(first.batch) < len(whole.batch)


def test_warm_up_leaves_most_of_the_limit_to_what_comes_after(fleet, clock):
    run = Run(problem=fleet, options=Options(time_limit=100.0), began=0.0)
    improver = Improver(fleet, 0, run.stop)
    inner = improver.replan

    def replan(*arguments):
        clock[0] += 0.5
        inner(*arguments)

    improver.replan = replan
    warm_up(run, improver)
    assert 0 < run.seconds <= 20.0
    assert run.termination is None
    assert np.isfinite(run.objective)


@pytest.mark.parametrize(("backend", "module"), [("conic", relaxation), ("sca", surrogate)])
def test_run_without_time_for_the_solver_says_time_limit(monkeypatch, backend, module):
    """The search for plans goes on to its own end, well within the limit."""

    def none(*arguments, **options):
        raise OutOfTime

    monkeypatch.setattr(module, "minimise", none)
    plan = mo.solve(plain_scenario(), backend, time_limit=600.0)
    assert plan.termination is Termination.TIME_LIMIT
    assert plan.point is PointStatus.FEASIBLE
    report = mo.check(plain_scenario(), plan)
    assert report.ok
    if backend == "conic":
        assert plan.bound == report.certified_bound


@pytest.mark.parametrize("backend", ["conic", "sca"])
def test_time_is_up_at_once_and_there_is_a_plan(backend, fleet):
    plan = mo.solve(fleet, backend, time_limit=0.0)
    assert plan.termination is Termination.TIME_LIMIT
    assert mo.check(fleet.scenario, plan).ok
    assert plan.point is PointStatus.FEASIBLE


def test_every_pass_over_a_box_gets_what_the_ones_before_it_left(fleet, clock, monkeypatch):
    limits = []
    pool = relaxation.ColumnPool(fleet, "clarabel", 100.0)
    real = relaxation.minimise

    def slow(model, solver, time_limit, **options):
        limits.append(time_limit)
        clock[0] += 3.0
        return real(model, solver, None, **options)

    # Prices that lose much, so that passes follow each other.
    monkeypatch.setattr(relaxation, "minimise", slow)
    monkeypatch.setattr(relaxation, "_LOSS", -1e9)
    monkeypatch.setattr(relaxation, "_KEEP", 1.0)
    rules = box_rules(fleet)
    top = mo.solve(fleet, "greedy").objective
    box = rules.box(*rules.root(top), top)
    pool.solve(box, top, 20.0)
    pool._kept[:] = pool._kept & (np.arange(pool._kept.size) % 3 > 0)
    pool._relaxation = pool._compile()
    pool.solve(box, top, 20.0)
    assert limits[:2] == [20.0, 20.0]
    assert limits[2:] == [17.0, 14.0, 11.0][: len(limits) - 2]
    assert len(limits) > 2


def test_reserve_is_taken_off_the_time_limit(fleet, clock):
    run = Run(problem=fleet, options=Options(time_limit=100.0), began=0.0, reserve=30.0)
    clock[0] = 60.0
    assert run.remaining() == 10.0
    assert not run.stop()
    run.reserve = 45.0
    assert run.remaining() == 0.0
    assert run.stop()
    assert run.termination is Termination.TIME_LIMIT


def test_search_on_a_small_fleet_ends_with_the_node_in_which_time_ran_out(clock, monkeypatch):
    """By this clock a node takes 100 seconds, and nothing else any."""
    inner = bounding.Bounding.bound

    def bound(self, node, effort=None):
        assert clock[0] < 1000.0
        clock[0] += 100.0
        return inner(self, node, effort)

    monkeypatch.setattr(bounding.Bounding, "bound", bound)
    small = Problem(scenario=mo.Scenario.draw(devices=4, tasks=2, slots=4, seed=1))
    run = Run(problem=small, options=Options(time_limit=1000.0, gap=0.0), began=0.0)
    proof = patterns.solve(run)
    assert run.termination is Termination.TIME_LIMIT
    assert run.seconds == 1000.0
    assert 0 < proof["bound"] < run.objective
