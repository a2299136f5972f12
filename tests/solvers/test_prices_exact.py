"""The branching part of backend prices: bounds, optima, certificates at any moment."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from enumeration import enumerate_optimum
from instances.make import names, read
from small_scenarios import drawn_scenario
from test_prices_exact_parts import drawn_tariff, some_splits
from tolerances import ENUMERATED, PROVED_BOUND

import mafl_opt as mo
from mafl_opt.core.certificate import certified_bound
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.prices.exact.master import Master
from mafl_opt.solvers.prices.exact.node import Effort, generate
from mafl_opt.solvers.prices.exact.oracle import Oracle
from mafl_opt.solvers.prices.exact.ratios import root_box
from mafl_opt.solvers.prices.exact.tariff import Tariff

FEASIBLE = [name for name in names() if read(name)[1]["optimum"] is not None]


@functools.cache
def enumerated(seed):
    scenario = drawn_scenario(seed, devices=2, tasks=1, slots=3)
    return Problem(scenario=scenario), enumerate_optimum(scenario)[0]


@pytest.mark.parametrize("name", FEASIBLE)
def test_reference_instance_is_solved_and_proved(name):
    scenario, sidecar = read(name)
    plan = mo.solve(scenario, "prices", gap=0.0)
    assert plan.termination is Termination.OPTIMAL
    assert plan.objective == pytest.approx(sidecar["optimum"], rel=ENUMERATED)
    assert plan.bound == pytest.approx(sidecar["optimum"], rel=PROVED_BOUND)
    assert plan.bound <= sidecar["optimum"] * (1 + ENUMERATED)
    assert mo.check(scenario, plan).certified_bound == plan.bound


@pytest.mark.parametrize("seed", range(8))
def test_bound_at_any_prices_is_below_the_optimum(seed):
    problem, optimum = enumerated(seed)
    if not np.isfinite(optimum):
        return
    rng = np.random.default_rng(seed)
    oracle = Oracle(problem)
    box = root_box(oracle.rules, optimum * (1 + 1e-6))
    for _ in range(10):
        tariff = drawn_tariff(problem, rng)
        assert oracle.bound(tariff, oracle.free, box)[0] <= optimum * (1 + ENUMERATED)


@pytest.mark.parametrize("seed", range(8))
def test_two_sides_of_a_split_cover_the_optimum(seed):
    problem, optimum = enumerated(seed)
    if not np.isfinite(optimum):
        return
    rng = np.random.default_rng(seed)
    oracle = Oracle(problem)
    box = root_box(oracle.rules, optimum * (1 + 1e-6))
    at = 0.5 * (box.progress_min[0] + box.progress_max[0])
    for _ in range(10):
        tariff = drawn_tariff(problem, rng)
        parent = oracle.bound(tariff, oracle.free, box)[0]
        excess = 0.5 * (box.excess_min[0] + box.excess_max[0])
        for name, middle in (("progress", at), ("excess", excess)):
            sides = [oracle.bound(tariff, oracle.free, b)[0] for b in box.cut(name, 0, middle)]
            assert parent <= min(sides) + ENUMERATED * abs(parent)
            assert min(sides) <= optimum * (1 + ENUMERATED)
        for split in some_splits(problem, rng, int(rng.integers(2))):
            limits = [oracle.limits([split._replace(high=side)]) for side in (False, True)]
            sides = [oracle.bound(tariff, limit, box)[0] for limit in limits]
            assert parent <= min(sides) + ENUMERATED * abs(parent)
            assert min(sides) <= optimum * (1 + ENUMERATED)


def test_generation_meets_its_own_linear_program():
    scenario = mo.Scenario.draw(devices=5, tasks=2, slots=5, seed=1)
    problem = Problem(scenario=scenario)
    plan = mo.solve(problem, "greedy")
    oracle = Oracle(problem)
    box = root_box(oracle.rules, plan.objective)
    master = Master(oracle, box, plan.objective)
    values = []
    for rounds in (0, 8):
        bound, tariff, point = generate(
            master, oracle.free, box, Tariff.nothing(problem), np.inf,
            Effort(rounds=rounds, iterations=300), lambda: False,
        )  # fmt: skip
        assert bound == pytest.approx(point.value, rel=1e-4)
        # Knapsacks solved exactly charge no more than the cuts do.
        assert oracle.bound(tariff, oracle.free, box)[0] >= bound - PROVED_BOUND * abs(bound)
        values.append(bound)
    assert values[1] > values[0]
    assert values[1] <= plan.objective


@pytest.mark.parametrize("events", [1, 4, 8])
def test_ctrl_c_keeps_a_plan_and_a_bound_that_is_derived_again(events):
    scenario = mo.Scenario.draw(devices=5, tasks=2, slots=5, seed=0)
    heard = []

    def progress(message, fraction):
        heard.append(message)
        if len(heard) == events:
            raise KeyboardInterrupt

    plan = mo.solve(scenario, "prices", gap=1e-5, progress=progress)
    assert plan.termination is Termination.INTERRUPTED
    assert plan.point is PointStatus.FEASIBLE
    report = mo.check(scenario, plan)
    assert report.ok, str(report)
    assert plan.bound == report.certified_bound == certified_bound(scenario, plan.certificate)
    assert 0 < plan.bound <= plan.objective


def test_time_limit_keeps_a_bound():
    scenario = mo.Scenario.draw(devices=6, tasks=2, slots=6, seed=0)
    plan = mo.solve(scenario, "prices", gap=0.0, time_limit=1.0)
    assert plan.termination is Termination.TIME_LIMIT
    report = mo.check(scenario, plan)
    assert report.ok, str(report)
    assert plan.bound == report.certified_bound


def test_same_seed_gives_the_same_plan_and_bound():
    scenario = mo.Scenario.draw(devices=4, tasks=2, slots=4, seed=2)
    first, second = (mo.solve(scenario, "prices", gap=5e-3) for _ in range(2))
    assert first.termination in (Termination.GAP_REACHED, Termination.OPTIMAL)
    assert first.gap <= 5e-3
    assert first.sessions == second.sessions
    assert first.bound == second.bound
