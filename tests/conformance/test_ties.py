"""What the checker accepts the solvers can choose: limits that are met up to its tolerance."""

from __future__ import annotations

import pytest
from enumeration import enumerate_optimum
from tolerances import ENUMERATED, SAME_FORMULA

import mafl_opt as mo
from mafl_opt.core.check import TOLERANCE
from mafl_opt.core.status import PointStatus, Termination

BACKENDS = {info.name: info for info in mo.backends()}
NUMBERS = {
    "time": {"slot_s": [1.0]},
    "devices": {
        "f_min_hz": [1e8], "f_max_hz": [1e9], "capacitance": [1e-27], "tx_power_w": [0.001],
        "rx_power_w": [0.0], "bandwidth_hz": [1e6], "energy_budget_j": [100.0],
    },
    "tasks": {
        "name": ["one"], "weight": [1.0], "model_bits": [1.0], "smoothness": [1.0],
        "gradient_bound": [3.0], "learning_rate": [0.1], "proximal": [0.0], "server_rate": [1.0],
        "step_cap": [0.4], "error_split": [0.25], "initial_gap": [10.0], "iterations_max": [3],
        "batch_max": [4], "staleness_max": [0], "staleness_weight": [{"kind": "constant"}],
    },
    "pairs": {
        "samples": [[4]], "cycles_per_sample": [[1e7]], "gradient_std": [[2.0]],
        "dissimilarity": [[1.0]], "gradient_drift": [[0.0]],
    },
    "network": {
        "gain": [[1.0]], "noise_w_per_hz": 4e-21, "downlink_bps": [[1e9]],
        "uplink_capacity": [1], "available": [[True]],
    },
    "loss_drift": [[0.0]],
    "energy_weight": 0.1,
}  # fmt: skip
#: The part of the tolerance by which the limits below are missed.
MISSED = 0.9 * TOLERANCE


def plan_of(sessions):
    return mo.Plan(
        sessions=sessions, backend="hand", termination=Termination.COMPLETED,
        point=PointStatus.FEASIBLE,
    )  # fmt: skip


def ample():
    return mo.Scenario.from_dict(NUMBERS)


def best_of(scenario):
    objective, plan = enumerate_optimum(scenario)
    return objective, plan.sessions


def tied(what):
    """A scenario whose best plan misses one limit by a part of the tolerance."""
    scenario = ample()
    _, sessions = best_of(scenario)
    if what == "step cap by round-off":
        # 0.1 * 1.0 * 3 is 0.30000000000000004.
        return scenario.replace(**{"tasks.step_cap": [0.3]})
    if what == "step cap":
        return scenario.replace(**{"tasks.step_cap": [0.3 / (1 + MISSED)]})
    if what == "budget":
        spent = mo.check(scenario, plan_of(sessions)).device_energy_j[0]
        return scenario.replace(**{"devices.energy_budget_j": [spent / (1 + MISSED)]})
    if what == "frequency":
        return scenario.replace(**{"devices.f_max_hz": [sessions.cpu_hz[0] / (1 + MISSED)]})
    # Four samples at the largest frequency take as long as the slot is, and some of the tolerance.
    compute_s = 1.2e8 / sessions.cpu_hz[0]
    rest_s = 1.0 - compute_s
    return scenario.replace(**{
        "devices.f_max_hz": [sessions.cpu_hz[0]],
        "time.slot_s": [(rest_s + compute_s) / (1 + MISSED)],
    })  # fmt: skip


TIES = ("step cap by round-off", "step cap", "budget", "frequency", "deadline")
#: These choose by a rule that need not find the best plan.
RULES = ("random",)


@pytest.mark.parametrize("what", TIES)
@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_a_plan_at_the_tolerance_can_be_chosen(backend, what):
    if BACKENDS[backend].missing:
        pytest.skip(BACKENDS[backend].missing)
    scenario = tied(what)
    best, sessions = best_of(scenario)
    # Without the whole session the best plan is far worse.
    assert sessions.batch_size.tolist() == [4]
    assert sessions.iterations.tolist() == [3]
    plan = mo.solve(scenario, backend)
    report = mo.check(scenario, plan)
    assert report.ok, str(report)
    if backend not in RULES:
        assert plan.objective == pytest.approx(best, rel=ENUMERATED)
    assert plan.bound is None or plan.bound <= best * (1 + TOLERANCE)


@pytest.mark.parametrize("backend", sorted(b for b in BACKENDS if "start" in BACKENDS[b].accepts))
def test_a_start_that_the_checker_accepts_is_never_worsened(backend):
    if BACKENDS[backend].missing:
        pytest.skip(BACKENDS[backend].missing)
    scenario = tied("budget").replace(energy_weight=1e3)
    _, sessions = best_of(scenario)
    assert len(sessions) == 1
    # Slower than the deadline admits but for its tolerance, so cheaper than any frequency ours set.
    slower = mo.Sessions.from_rows([
        {**row, "cpu_hz": row["cpu_hz"] * (1 - MISSED)} for row in sessions.rows()
    ])  # fmt: skip
    start = plan_of(slower)
    accepted = mo.check(scenario, start)
    assert accepted.ok, str(accepted)
    plan = mo.solve(scenario, backend, start=start)
    assert mo.check(scenario, plan).ok
    assert plan.objective <= accepted.objective * (1 + SAME_FORMULA)
    assert plan.bound is None or plan.bound <= plan.objective
