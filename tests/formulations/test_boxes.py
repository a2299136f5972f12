"""Boxes of A: no plan better than the incumbent lies outside, whatever the prices."""

from __future__ import annotations

import enumeration
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_terms import Facts
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import ROUNDED_DOWN, SAME_FORMULA

from mafl_opt.formulations.boxes import RatioBlock, box_rules, trim
from mafl_opt.formulations.pricing import Prices, lagrangian_bound
from mafl_opt.formulations.problem import Problem


def every_plan(s):
    """O, N and A of every feasible plan of a scenario of two devices; (plans,), (plans, tasks)."""
    facts = Facts.of(s)
    blocks = [
        np.array([enumeration._totals(facts, plan) for plan in enumeration.device_plans(facts, i)])
        for i in range(2)
    ]
    totals = (blocks[0][:, None] + blocks[1][None]).reshape(-1, blocks[0].shape[1])
    limits = enumeration._limits(facts)
    objective = enumeration._objectives(facts, totals, limits)
    good = np.isfinite(objective)
    j = facts.num_tasks
    gaps = [facts.constant_gap(k) for k in range(j)]
    return objective[good], totals[good, -2 * j : -j] + gaps, totals[good, -j:]


@pytest.fixture(scope="module")
def cases():
    """Small problems with all their plans; the third task list has a task of weight 0."""
    out = []
    for seed in range(12):
        changes = {"network.uplink_capacity": [2, 2, 2]}
        if seed % 4 == 3:
            changes["tasks.weight"] = [1.0, 0.0]
        if seed % 5 == 4:
            changes["energy_weight"] = 0.0
        s = drawn_scenario(seed, tasks=2, **changes)
        plans = every_plan(s)
        if plans[0].size:
            out.append((Problem(scenario=s), *plans))
    assert len(out) >= 6
    return out


def better(case, factor):
    """Incumbent, and N and A of the plans better than it."""
    problem, objective, numerator, progress = case
    top = float(objective.min()) * factor
    below = objective < top
    return problem, top, numerator[below], progress[below]


factors = pytest.mark.parametrize("factor", [1.001, 1.2, 3.0, 100.0])


@factors
def test_root_box_holds_every_better_plan(cases, factor):
    for case in cases:
        problem, top, numerator, progress = better(case, factor)
        assert len(progress)
        rules = box_rules(problem)
        low, high = rules.root(top)
        box = rules.box(low, high, top)
        used = problem.scenario.tasks.weight > 0
        wide = 1 + SAME_FORMULA
        assert (progress[:, used] >= low[used] / wide).all()
        assert (progress[:, used] <= high[used] * wide).all()
        assert (numerator[:, used] >= box.numerator_min[used] / wide).all()
        assert (numerator[:, used] <= box.numerator_max[used] * wide).all()


def test_root_box_is_not_the_whole_range(cases):
    shrunk = 0
    for case in cases:
        problem, top, _, _ = better(case, 1.001)
        low, high = box_rules(problem).root(top)
        shrunk += (low > 0.01 * high)[problem.scenario.tasks.weight > 0].all()
    assert shrunk >= len(cases) // 2


def test_root_box_is_empty_where_the_incumbent_cannot_be_beaten(cases):
    problem, objective, _, _ = cases[0]
    low, high = box_rules(problem).root(1e-3 * float(objective.min()))
    assert (low >= high).all()


def test_figures_of_the_boxes_bound_every_plan(cases):
    for problem, objective, numerator, progress in cases:
        rules, weight = box_rules(problem), problem.scenario.tasks.weight
        trained = progress > 0
        ratio = np.divide(numerator, progress, out=np.zeros_like(progress), where=trained)
        tail = weight * np.where(trained, ratio, 0.0)
        assert (objective[:, None] - tail >= rules.rest * (1 - SAME_FORMULA)).all()
        least = rules.start + rules.slope * progress
        assert (numerator >= least * (1 - SAME_FORMULA)).all()


def random_prices(problem, rng, z):
    s = problem.scenario
    half = s.num_slots * s.tasks.step_cap / 2
    slope = s.tasks.weight / half * 10.0 ** rng.uniform(-1, 1, 2)
    caps = (3, 2)
    return Prices(
        numerator=slope,
        progress=slope * z * rng.uniform(0.2, 2, 2),
        uplink=rng.exponential(0.05 * z, 3) * rng.integers(0, 2, 3),
        step_cap=rng.exponential(0.05 * z, caps) / s.tasks.step_cap * (s.tasks.weight > 0),
        energy=rng.exponential(0.1 * z, 2) / s.devices.energy_budget_j * rng.integers(0, 2),
    )


@settings(max_examples=120, derandomize=True, deadline=None)
@given(data=st.data())
def test_keep_cuts_off_no_better_plan(cases, data):
    problem, top, _, progress = better(
        data.draw(st.sampled_from(cases)), data.draw(st.sampled_from([1.001, 1.1, 2.0]))
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    rules = box_rules(problem)
    low, high = rules.root(top)
    # A part of the root: the plans outside it are another leaf's.
    middle = low + (high - low) * rng.uniform(0.2, 0.8, 2)
    side = rng.integers(0, 3, 2)
    low, high = np.where(side == 1, middle, low), np.where(side == 2, middle, high)
    prices = random_prices(problem, rng, top)
    box = rules.box(low, high, top)
    bound = lagrangian_bound(problem.scenario, problem.columns, problem.program, prices, box)[0]
    if bound >= top:
        kept_low, kept_high = high, low
    else:
        kept_low, kept_high = rules.keep(low, high, top, prices, top - bound)
    used = problem.scenario.tasks.weight > 0
    inside = ((progress >= low) & (progress <= high))[:, used].all(axis=1)
    kept = (
        (progress >= kept_low * (1 - SAME_FORMULA)) & (progress <= kept_high * (1 + SAME_FORMULA))
    )[:, used]
    assert kept[inside].all()


def test_keep_cuts_where_the_prices_are_good(cases):
    """With the incumbent at the optimum, the best of some random prices shrink some range of A."""
    cuts = 0
    for case in cases:
        problem, top, _, _ = better(case, 1.0)
        rules, rng = box_rules(problem), np.random.default_rng(0)
        low, high = rules.root(top)
        box = rules.box(low, high, top)
        drawn = [random_prices(problem, rng, top) for _ in range(200)]
        s, c = problem.scenario, problem.columns
        bounds = [lagrangian_bound(s, c, problem.program, p, box)[0] for p in drawn]
        best = int(np.argmax(bounds))
        kept_low, kept_high = rules.keep(low, high, top, drawn[best], top - bounds[best])
        cuts += (kept_high - kept_low < 0.99 * (high - low)).any()
    assert cuts >= 2


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
    lam=st.floats(0.0, 50.0),
    mu=st.floats(0.0, 2000.0),
    numerator=st.tuples(st.floats(0.1, 5.0), st.floats(0.1, 5.0)).map(sorted),
    ends=st.tuples(st.floats(0.01, 0.5), st.floats(0.01, 0.5)).map(sorted),
    slack=st.floats(0.0, 50.0),
)
def test_trimmed_ends_stay_above_the_limit(lam, mu, numerator, ends, slack):
    low, high = ends
    block = RatioBlock(weight=1.5, error_price=lam, progress_price=mu, numerator=tuple(numerator))
    first, last = trim(block.least, low, high, slack)
    assert low <= first <= last <= high
    limit = block.least(low, high) + slack
    size = abs(limit) + lam * numerator[1] + mu * high + 1.5 * numerator[1] / low
    for a, b in ((low, first), (last, high)):
        if b > a:
            assert block.least(a, b) >= limit - ROUNDED_DOWN * size


def test_box_of_a_task_of_no_weight_that_nobody_can_train_is_defined():
    s = plain_scenario(
        **{
            "pairs.samples": [[60, 0], [40, 50]],
            "network.available": [[True, False]] * 3,
            "tasks.weight": [1.0, 0.0],
        }
    )
    rules = box_rules(Problem(scenario=s))
    low, high = rules.root(500.0)
    assert np.isfinite(low).all() and np.isfinite(high).all()
    assert 0 < low[0] < high[0]
    assert rules.rest[0] == 0.0
