"""The whole way once on the embedded scenario: what the project promises a newcomer."""

from __future__ import annotations

import numpy as np
import pytest

import mafl_opt as mo

# What the claims below are worth: three seeds of partition, initial models and mini-batches.
SEEDS = (0, 1, 2)


@pytest.mark.slow
def test_conic_plan_of_the_default_scenario_is_worth_its_price():
    s = mo.Scenario.default()
    plan = mo.solve(s, backend="conic", time_limit=20)
    average = mo.solve(s, backend="fedavg")
    report = mo.check(s, plan)
    assert report.ok
    assert plan.bound <= plan.objective
    assert plan.gap <= 0.05
    # The trade-off is real: some sessions stale, some devices idle, some budgets spent.
    sessions = plan.sessions
    assert (sessions.staleness >= 1).any()
    assert np.unique(sessions.iterations).size >= 3
    assert np.unique(sessions.batch_size).size >= 3
    busy = (sessions.upload - sessions.receive).sum()
    assert busy < 0.95 * s.num_slots * s.num_devices
    spent = np.array(report.device_energy_j) / s.devices.energy_budget_j
    assert (spent > 0.9).any()
    assert (spent < 0.5).any()
    for task, bound in zip(report.tasks, s.tasks.gradient_bound, strict=True):
        assert task.bound < bound**2
    # Against synchronous averaging: less energy, and at least its accuracy on two of three tasks.
    ours = [mo.replay(s, plan, seed=seed) for seed in SEEDS]
    theirs = [mo.replay(s, average, seed=seed) for seed in SEEDS]
    assert ours[0].energy_j < theirs[0].energy_j
    better = [
        name
        for name in s.tasks.name
        if np.mean([r.accuracy[name] for r in ours]) >= np.mean([r.accuracy[name] for r in theirs])
    ]
    assert len(better) >= 2


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ({"energy_weight": 50.0}, lambda a, b: b["energy"] < 0.7 * a["energy"]),
        ({"energy_weight": 0.5}, lambda a, b: b["energy"] > 1.2 * a["energy"]),
        ({"tasks.weight": [10.0, 1.0, 1.0]}, lambda a, b: b["first"] < 0.9 * a["first"]),
        ({"tasks.weight": [0.1, 1.0, 1.0]}, lambda a, b: b["first"] > 1.1 * a["first"]),
    ],
    ids=["dear energy", "cheap energy", "important task", "unimportant task"],
)
def test_plans_of_the_default_scenario_follow_its_weights(change, moved):
    s = mo.Scenario.default()

    def figures(scenario):
        report = mo.check(scenario, mo.solve(scenario, backend="greedy"))
        return {"energy": sum(report.device_energy_j), "first": report.tasks[0].bound}

    assert moved(figures(s), figures(s.replace(**change)))


def test_model_sizes_of_the_default_scenario_are_those_of_the_replayed_models():
    s = mo.Scenario.default()
    plan = mo.solve(s, backend="greedy")
    assert mo.replay(s, plan).parameters == {
        name: bits / 32 for name, bits in zip(s.tasks.name, s.tasks.model_bits, strict=True)
    }
