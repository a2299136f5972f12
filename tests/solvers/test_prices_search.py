"""Backend prices on small fleets: optima, bounds that are derived again, whatever cuts in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from enumeration import enumerate_optimum
from instances.make import names, read
from pattern_draws import enumerated
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import ENUMERATED, PROVED_BOUND, SAME_FORMULA

import mafl_opt as mo
from mafl_opt.core.certificate import certified_bound
from mafl_opt.core.check import CLAIM_TOLERANCE
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.formulations.problem import Problem

FEASIBLE = [name for name in names() if read(name)[1]["optimum"] is not None]
PROVED = (Termination.OPTIMAL, Termination.GAP_REACHED)
GAP = 1e-6


def sound(scenario, plan):
    """What holds of every plan; returns the checker's report."""
    report = mo.check(scenario, plan)
    assert report.ok, str(report)
    if plan.bound is not None:
        assert plan.bound == report.certified_bound
        assert plan.objective is None or plan.bound <= plan.objective
    if plan.termination in PROVED:
        assert plan.gap is not None
    return report


def proved_optimum(scenario, optimum, gap=GAP):
    plan = mo.solve(scenario, "prices", gap=gap)
    sound(scenario, plan)
    assert plan.objective == pytest.approx(optimum, rel=max(gap, ENUMERATED))
    assert plan.bound <= optimum * (1 + ENUMERATED)
    assert plan.termination in PROVED
    assert plan.gap <= gap + CLAIM_TOLERANCE
    return plan


# -- optima -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FEASIBLE)
def test_reference_instance_is_solved_and_proved(name):
    scenario, sidecar = read(name)
    proved_optimum(scenario, sidecar["optimum"])


@pytest.mark.parametrize("seed", range(12))
def test_drawn_scenario_is_solved_and_proved(seed):
    problem, optimum, plan = enumerated(seed)
    if plan is None:
        plan = mo.solve(problem, "prices", gap=GAP)
        assert plan.objective is None and plan.point is PointStatus.NONE
        assert plan.termination in (Termination.INFEASIBLE, Termination.STALLED)
        return
    proved_optimum(problem.scenario, optimum)


@pytest.mark.parametrize("regime", ["mixed", "tight", "drift"])
def test_fleet_of_a_regime_is_solved_to_a_tenth_of_a_percent(regime, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    from regime_fleets import draw_fleet

    scenario = draw_fleet(regime, seed=3, devices=4, tasks=2, slots=4)
    plan = mo.solve(scenario, "prices", gap=1e-3)
    sound(scenario, plan)
    assert plan.termination in PROVED and plan.gap <= 1e-3
    # The checker loses nothing of what the search knew.
    assert plan.bound == plan.certificate["bound"]
    assert plan.bound >= plan.trace[-1]["bound"] * (1 - PROVED_BOUND)
    # The local search, which has none of the relaxation, finds nothing better than proved.
    assert mo.solve(scenario, "greedy").objective >= plan.bound


# -- ties and extremes --------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_scaled_objective_has_the_same_plan(factor):
    scenario = drawn_scenario(1, tasks=2)
    scaled = scenario.replace(**{
        "tasks.weight": (factor * scenario.tasks.weight).tolist(),
        "energy_weight": factor * scenario.energy_weight,
    })  # fmt: skip
    plain, other = (mo.solve(s, "prices", gap=1e-4) for s in (scenario, scaled))
    sound(scaled, other)
    assert other.termination in PROVED
    assert other.objective == pytest.approx(factor * plain.objective, rel=1e-4)
    assert other.bound == pytest.approx(factor * plain.bound, rel=2e-4)


def test_twins_tie_and_the_bound_is_still_proved():
    """Two devices alike, one uplink a slot: every optimum has a mirror image."""
    numbers = drawn_scenario(2, tasks=1, **{"network.uplink_capacity": [1, 1, 1]}).to_dict()

    def double(value):
        return [value[0]] * 2 if isinstance(value, list) else value

    numbers["devices"] = {name: double(value) for name, value in numbers["devices"].items()}
    numbers["pairs"] = {name: double(value) for name, value in numbers["pairs"].items()}
    for name in ("gain", "downlink_bps", "available"):
        numbers["network"][name] = [double(row) for row in numbers["network"][name]]
    scenario = mo.Scenario.from_dict(numbers)
    optimum, plan = enumerate_optimum(scenario)
    assert plan is not None
    proved_optimum(scenario, optimum)


@pytest.mark.parametrize(
    "changes",
    [
        {"energy_weight": 0.0, "tasks.weight": [0.0, 2.0]},
        {"devices.energy_budget_j": [0.0, 0.05], "tasks.weight": [0.0, 1.0]},
        {"tasks.initial_gap": [1e-12, 1e-12], "loss_drift": [[0.0, 0.0]] * 3},
    ],
)
def test_zeros_are_solved_like_anything_else(changes):
    scenario = plain_scenario(**changes)
    optimum, plan = enumerate_optimum(scenario)
    assert plan is not None
    proved_optimum(scenario, optimum)


def test_all_weights_zero_cost_nothing():
    scenario = plain_scenario(**{"tasks.weight": [0.0, 0.0]})
    plan = mo.solve(scenario, "prices")
    sound(scenario, plan)
    assert plan.objective == 0.0 and plan.termination is Termination.OPTIMAL


def test_infeasible_is_no_plan_and_no_bound_below_nothing():
    """Two tasks, one device, one slot."""
    scenario, _ = read("infeasible_together")
    plan = mo.solve(scenario, "prices", gap=0.0)
    assert plan.termination is Termination.INFEASIBLE
    assert plan.objective is None and len(plan.sessions) == 0
    assert plan.bound == certified_bound(scenario, plan.certificate)


# -- what cuts in -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fleet():
    return Problem(scenario=mo.Scenario.draw(devices=3, tasks=2, slots=4, seed=1))


def interrupted(problem, at):
    """Solve with Ctrl-C at the message that `at` is true of; returns plan and messages."""
    heard = []

    def progress(message, _fraction):
        heard.append(message)
        if at(message, len(heard)):
            raise KeyboardInterrupt

    return mo.solve(problem, "prices", gap=1e-4, progress=progress), heard


@pytest.mark.parametrize("event", ["greedy", "annealing", "root", "node"])
def test_ctrl_c_keeps_a_plan_and_a_bound_that_is_derived_again(fleet, event):
    plan, heard = interrupted(fleet, lambda message, _: message.startswith(event))
    assert heard[-1].startswith(event), heard
    assert plan.termination is Termination.INTERRUPTED
    assert plan.point is PointStatus.FEASIBLE
    sound(fleet.scenario, plan)
    if event not in ("greedy", "annealing"):
        assert 0 < plan.bound <= plan.objective


def test_time_limit_of_nothing_is_kept_with_a_plan(fleet):
    plan = mo.solve(fleet, "prices", time_limit=0.0)
    assert plan.termination is Termination.TIME_LIMIT
    assert plan.point is PointStatus.FEASIBLE
    sound(fleet.scenario, plan)
    # Compiled already, the search ends at once.
    assert plan.seconds < 5.0


def test_same_seed_gives_the_same_plan_and_bound():
    scenario = drawn_scenario(4, devices=4, tasks=1, slots=4)
    first, second = (mo.solve(scenario, "prices", gap=5e-3, seed=3) for _ in range(2))
    assert first.sessions == second.sessions
    assert first.bound == second.bound
    assert first.certificate == second.certificate


def test_start_is_never_worsened():
    problem, optimum, best = enumerated(2)
    plan = mo.solve(problem, "prices", start=best, time_limit=0.0)
    assert plan.objective == pytest.approx(optimum, rel=SAME_FORMULA)
    assert plan.trace[0]["event"] == "start"
    # A bad start does no harm either.
    poor = mo.solve(problem, "random")
    assert poor.objective > optimum
    plan = mo.solve(problem, "prices", start=poor, gap=GAP)
    assert plan.objective == pytest.approx(optimum, rel=ENUMERATED)


def test_trace_tells_of_falling_objectives_and_rising_bounds(fleet):
    plan = mo.solve(fleet, "prices", gap=1e-2)
    bounds = [entry["bound"] for entry in plan.trace if entry["bound"] is not None]
    objectives = [entry["objective"] for entry in plan.trace]
    assert bounds == sorted(bounds) and np.isfinite(bounds).all()
    assert objectives == sorted(objectives, reverse=True)
    assert plan.termination in PROVED and plan.gap <= 1e-2
