"""Backend `minlp`: bounds below the optimum, plans that check, claims told apart from proofs."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
from enumeration import enumerate_optimum
from small_scenarios import drawn_scenario
from tolerances import ENUMERATED, NEAR_OPTIMAL, SAME_FORMULA

import mafl_opt as mo
from mafl_opt.core.certificate import certified_bound
from mafl_opt.formulations.bound import task_bounds
from mafl_opt.formulations.boxes import box_rules
from mafl_opt.formulations.pricing import lagrangian_bound
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.leaves import Leaf, reprice
from mafl_opt.solvers.minlp.engine import Engine
from mafl_opt.solvers.minlp.points import batch_range, grid, whole
from mafl_opt.solvers.minlp.search import LinearRelaxation, make_master


@pytest.fixture(scope="module")
def optima():
    out = []
    for seed in range(10):
        s = drawn_scenario(seed, tasks=1 + seed % 2)
        z, plan = enumerate_optimum(s)
        if plan is not None:
            out.append((Problem(scenario=s), z, plan))
    assert len(out) >= 6
    return out


def whole_fleet():
    return Problem(scenario=mo.Scenario.draw(devices=3, tasks=2, slots=4, seed=1))


# -- points ------------------------------------------------------------------------------------


def test_whole_lists_every_batch_size_and_nothing_else():
    index, low, high = np.array([4, 9]), np.array([2, 5]), np.array([4, 5])
    points = whole(index, low, high)
    assert points.column.tolist() == [4, 4, 4, 9]
    assert points.batch.tolist() == [2, 3, 4, 5]


def test_grid_has_the_smallest_and_largest_batch_size_of_every_column():
    c = whole_fleet().columns
    points = grid(c, 2.0)
    least, most = np.full(len(c), 99), np.zeros(len(c), dtype=int)
    np.minimum.at(least, points.column, points.batch)
    np.maximum.at(most, points.column, points.batch)
    assert (least == 1).all()
    assert (most == c.batch_hi).all()
    pairs = set(zip(points.column.tolist(), points.batch.tolist(), strict=True))
    assert len(pairs) == len(points) < c.batch_hi.sum()


def test_batch_range_keeps_the_optimum_and_only_what_the_room_admits(optima):
    for problem, z, plan in optima:
        top = z * 1.02
        rules = box_rules(problem)
        box = rules.box(*rules.root(top), top)
        prices = LinearRelaxation(problem, top).solve(box, top, None).prices
        bound, _, batch = lagrangian_bound(
            problem.scenario, problem.columns, problem.program, prices, box
        )
        kept, low, high = batch_range(problem, prices, top - bound)
        chosen = problem.columns.locate(plan.sessions)
        assert kept[chosen].all()
        size = plan.sessions.batch_size
        assert ((low[chosen] <= size) & (size <= high[chosen])).all()
        tight, _, _ = batch_range(problem, prices, 1e-3 * (top - bound))
        assert tight.sum() <= kept.sum()
        assert (low <= batch).all()


# -- masters -----------------------------------------------------------------------------------


def test_prices_of_the_linear_relaxation_prove_most_of_its_value(optima):
    for problem, z, _ in optima:
        top = z * 1.01
        rules = box_rules(problem)
        box = rules.box(*rules.root(top), top)
        point = LinearRelaxation(problem, top).solve(box, top, None)
        bound, _, _ = lagrangian_bound(
            problem.scenario, problem.columns, problem.program, point.prices, box
        )
        assert 0.8 * point.value <= bound <= min(z, point.value * (1 + 1e-3)) * (1 + ENUMERATED)


def priced_leaf(problem, rules, top):
    low, high = rules.root(top)
    prices = LinearRelaxation(problem, top).solve(rules.box(low, high, top), top, None).prices
    return reprice(
        problem, rules, Leaf(low=low, high=high, bound=-np.inf, prices=prices), prices, top
    )


def test_master_lies_below_the_optimum_and_above_the_prices(optima):
    for problem, z, _ in optima:
        top = z * 1.01
        rules = box_rules(problem)
        leaf = priced_leaf(problem, rules, top)
        master = make_master(problem, rules, leaf, top)
        engine = Engine(master)
        answer = engine.solve(time_limit=None, gap=1e-7)
        while master.tighten(answer.values, 1e-6):
            again = engine.solve(time_limit=None, gap=1e-7)
            assert again.value >= answer.value - 1e-6
            answer = again
        assert answer.done
        assert answer.bound * top <= z * (1 + 1e-6)
        assert answer.value * top >= 0.9 * z


def test_narrow_boxes_make_the_master_exact(optima):
    """Around the optimum's A the ratio has no room, and integers leave no other."""
    for problem, z, plan in optima:
        rules = box_rules(problem)
        top = z * 1.01
        leaf = priced_leaf(problem, rules, top)
        a = task_bounds(problem.scenario, plan.sessions).progress
        narrow = Leaf(low=a * 0.9999, high=a * 1.0001, bound=leaf.bound, prices=leaf.prices)
        master = make_master(problem, rules, narrow, top)
        engine = Engine(master)
        answer = engine.solve(time_limit=None, gap=1e-7)
        assert answer.value * top == pytest.approx(z, rel=1e-3)


# -- the backend -------------------------------------------------------------------------------


def test_claims_are_near_the_optimum_and_never_above_it(optima):
    for problem, z, _ in optima:
        plan = mo.solve(problem, "minlp", gap=0.01)
        report = mo.check(problem.scenario, plan)
        assert report.ok, str(report)
        assert plan.objective <= z * (1 + NEAR_OPTIMAL)
        assert z * 0.97 <= plan.bound <= z * (1 + ENUMERATED)
        assert report.certified_bound <= plan.bound


@pytest.fixture(scope="module")
def claimed():
    s = mo.Scenario.draw(devices=3, tasks=2, slots=4, seed=1)
    plan = mo.solve(s, "minlp", gap=0.01)
    assert plan.certificate["kind"] == "milp"
    return s, plan


def test_claim_is_told_apart_from_what_is_derived_again(claimed):
    s, plan = claimed
    report = mo.check(s, plan)
    assert report.ok
    assert report.certified_bound < plan.bound
    assert any("word of HiGHS" in text for text in report.warnings)
    assert plan.termination is not mo.Termination.OPTIMAL
    proved = certified_bound(s, plan.certificate["proved"])
    assert report.certified_bound == pytest.approx(proved, rel=SAME_FORMULA)


def test_optimal_on_a_claim_alone_fails_the_check(claimed):
    s, plan = claimed
    lied = plan.replace(termination=mo.Termination.OPTIMAL, bound=plan.objective)
    assert not mo.check(s, lied).ok


def test_claim_survives_the_plan_file(claimed, tmp_path):
    s, plan = claimed
    plan.save(tmp_path / "plan.json")
    again = mo.Plan.load(tmp_path / "plan.json")
    assert mo.check(s, again).certified_bound == mo.check(s, plan).certified_bound


def test_trace_has_the_integer_search_and_rises(claimed):
    _, plan = claimed
    bounds = [entry["bound"] for entry in plan.trace if entry["bound"] is not None]
    assert bounds == sorted(bounds)
    assert any("HiGHS" in entry["event"] for entry in plan.trace)


@pytest.mark.parametrize("limit", [0, 0.2, 1.0])
def test_time_limit_gives_a_checked_plan_or_none(limit):
    s = mo.Scenario.draw(devices=4, tasks=2, slots=5, seed=0)
    plan = mo.solve(s, "minlp", time_limit=limit, gap=1e-6)
    assert plan.termination is mo.Termination.TIME_LIMIT
    if plan.point is mo.PointStatus.FEASIBLE:
        assert mo.check(s, plan).ok


def test_start_plan_is_not_made_worse():
    s = mo.Scenario.draw(devices=3, tasks=2, slots=4, seed=2)
    start = mo.solve(s, "greedy")
    plan = mo.solve(s, "minlp", start=start, time_limit=0)
    assert plan.objective is None or plan.objective <= start.objective


# -- other Pyomo solvers -----------------------------------------------------------------------


def test_unknown_pyomo_solver_is_refused_by_name():
    with pytest.raises(mo.InputError, match=r"pyomo_solver.*no_such_solver"):
        mo.solve(mo.Scenario.default(), "minlp", pyomo_solver="no_such_solver")


def test_point_of_another_solver_becomes_a_checked_plan():
    """A stand-in that returns the plan the model was given, as a solver would."""

    class Standing:
        def available(self, exception_flag=True):
            return True

        def solve(self, model, load_solutions, **settings):
            assert settings == {}
            assert pyo.value(model.O) > 0
            raise ValueError("cannot take integers")

    pyo.SolverFactory.register("standing")(Standing)
    try:
        s = mo.Scenario.draw(devices=3, tasks=2, slots=4, seed=2)
        plan = mo.solve(s, "minlp", pyomo_solver="standing")
    finally:
        pyo.SolverFactory.unregister("standing")
    assert mo.check(s, plan).ok
    assert plan.bound is None
    assert plan.termination is mo.Termination.NUMERICAL


def test_option_is_only_taken_by_this_backend():
    with pytest.raises(mo.InputError, match="pyomo_solver"):
        mo.solve(mo.Scenario.default(), "greedy", pyomo_solver="ipopt")
