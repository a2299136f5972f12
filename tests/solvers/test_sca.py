"""Backend `sca`: falling merit, KKT points, any start, never above it, options, time."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from enumeration import enumerate_optimum
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import ENUMERATED, NEAR_OPTIMAL, SOLVED

import mafl_opt as mo
from mafl_opt.core.errors import InputError
from mafl_opt.formulations.problem import Problem

#: The residual at which a point counts as stationary, in scaled objectives.
STATIONARY = 2e-4
FEASIBLE = 1e-6


def fleet(seed=30):
    return drawn_scenario(seed, devices=3, tasks=2, slots=4)


@functools.cache
def solved(**options):
    s = fleet()
    plan = mo.solve(s, "sca", **options)
    return s, plan, mo.check(s, plan)


def iterates(plan):
    return [entry for entry in plan.trace if "kkt" in entry]


def stages(plan):
    """Runs of iterations between which neither weights nor columns change."""
    out, last = [], None
    for entry in iterates(plan):
        phase = entry["event"].split()[0]
        key = (phase, entry["integrality_weight"], entry["columns"])
        if key != last:
            out.append([])
        out[-1].append(entry)
        last = key
    return out


@pytest.fixture(params=["greedy", "random"])
def run(request):
    return solved(initial=request.param)


def test_plan_is_sound_and_claims_a_local_optimum_at_most(run):
    _, plan, report = run
    assert report.ok, str(report)
    assert plan.point is mo.PointStatus.FEASIBLE
    assert plan.termination is mo.Termination.LOCALLY_OPTIMAL
    assert plan.bound is None
    assert plan.certificate is None


def test_merit_falls_at_fixed_weights(run):
    # Columns may change between rounds of one length; on this fleet all are kept.
    _, plan, _ = run
    assert max(len(stage) for stage in stages(plan)) >= 3
    for stage in stages(plan):
        merits = np.array([entry["merit"] for entry in stage])
        assert (np.diff(merits) <= FEASIBLE * merits[0]).all()


def test_iterates_stay_feasible_and_end_stationary(run):
    _, plan, _ = run
    after = [e for e in iterates(plan) if not e["event"].startswith("feasibility")]
    assert max(e["violation"] for e in after) <= 10 * FEASIBLE
    assert after[-1]["violation"] <= FEASIBLE
    assert after[-1]["kkt"] <= STATIONARY


def test_trace_carries_residual_violation_weight_and_step(run):
    _, plan, _ = run
    for entry in iterates(plan):
        for name in ("relaxed", "merit", "kkt", "violation", "integrality_weight", "step"):
            assert np.isfinite(entry[name])
    weights = [entry["integrality_weight"] for entry in iterates(plan)]
    assert weights == sorted(weights)
    assert weights[0] == 0.0
    assert weights[-1] > 0.0


def test_a_random_point_is_made_feasible_first():
    _, plan, _ = solved(initial="random")
    assert iterates(plan)[0]["event"] == "feasibility 1"
    assert "greedy" not in {entry["event"] for entry in plan.trace}


@pytest.mark.parametrize("seed", range(4))
def test_random_starts_end_feasible(seed):
    s = drawn_scenario(seed + 20, devices=3, tasks=2, slots=3)
    plan = mo.solve(s, "sca", initial="random", seed=seed)
    greedy = mo.solve(s, "greedy")
    assert plan.point is greedy.point
    if plan.point is mo.PointStatus.FEASIBLE:
        assert mo.check(s, plan).ok


@pytest.mark.parametrize("rule", ["fedasync", "random", "conic"])
def test_plan_is_never_above_its_start(rule):
    s = fleet()
    start = mo.solve(s, rule)
    plan = mo.solve(s, "sca", start=start)
    assert plan.trace[0]["event"] == "start"
    assert plan.trace[0]["objective"] <= start.objective * (1 + ENUMERATED)
    assert plan.objective <= start.objective * (1 + ENUMERATED)
    assert mo.check(s, plan).ok


def test_relaxed_point_lies_below_what_greedy_found():
    _, plan, _ = solved(initial="greedy")
    relaxed = [e["relaxed"] for e in iterates(plan) if e["integrality_weight"] == 0]
    assert relaxed[-1] < plan.trace[0]["objective"]


@pytest.mark.parametrize("seed", [1, 4, 9])
def test_small_instances_are_solved_nearly(seed):
    s = drawn_scenario(seed)
    optimum, best = enumerate_optimum(s)
    plan = mo.solve(s, "sca")
    if best is None:
        assert plan.point is mo.PointStatus.NONE
    else:
        assert optimum * (1 - ENUMERATED) <= plan.objective <= optimum * (1 + NEAR_OPTIMAL)


def test_no_time_still_gives_the_start():
    s = fleet()
    for initial in ("greedy", "random"):
        plan = mo.solve(s, "sca", initial=initial, time_limit=0.0)
        assert plan.termination is mo.Termination.TIME_LIMIT
        assert plan.objective == pytest.approx(mo.solve(s, "greedy").objective)
        assert not iterates(plan)


def test_same_seed_same_plan():
    s, plan, _ = solved(initial="random")
    again = mo.solve(s, "sca", initial="random")
    assert again.sessions == plan.sessions


def test_seed_moves_the_random_point():
    plans = [mo.solve(fleet(), "sca", initial="random", seed=k, time_limit=60.0) for k in (1, 2)]
    first, second = (iterates(plan)[0]["relaxed"] for plan in plans)
    assert first != pytest.approx(second, rel=SOLVED)


def test_ecos_finds_a_plan_too():
    s = fleet()
    plan = mo.solve(s, "sca", solver="ecos")
    assert mo.check(s, plan).ok
    assert plan.objective <= mo.solve(s, "greedy").objective


@pytest.mark.parametrize(
    ("option", "value"), [("initial", "best"), ("initial", ""), ("solver", "mosek")]
)
def test_unknown_start_or_solver_is_refused(option, value):
    with pytest.raises(InputError, match=f"^{option}: expected one of"):
        mo.solve(plain_scenario(), "sca", **{option: value})


@pytest.mark.parametrize(
    "changes",
    [
        {"energy_weight": 0.0},
        {"devices.capacitance": [0.0, 0.0]},
        {"tasks.weight": [1.0, 0.0]},
        {"devices.energy_budget_j": [0.0, 0.05]},
        {"tasks.initial_gap": [0.0, 0.0], "loss_drift": [[0.0, 0.0]] * 3},
        {"tasks.initial_gap": [0.0, 0.0], "loss_drift": [[0.0, 0.0]] * 3,
         "pairs.gradient_std": [[0.0, 0.0]] * 2},
    ],
    ids=["free energy", "free computing", "zero weight", "empty battery", "no gap", "no noise"],
)  # fmt: skip
def test_odd_scenarios_are_planned(changes):
    s = plain_scenario(**changes)
    plan = mo.solve(s, "sca")
    greedy = mo.solve(s, "greedy")
    assert plan.point is greedy.point
    if plan.point is mo.PointStatus.FEASIBLE:
        assert mo.check(s, plan).ok
        assert plan.objective <= greedy.objective * (1 + ENUMERATED)


def test_nothing_of_weight_needs_no_point():
    s = plain_scenario(**{"tasks.weight": [0.0, 0.0]})
    assert mo.solve(Problem(scenario=s), "sca").objective == 0.0
