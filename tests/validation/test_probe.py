from __future__ import annotations

import numpy as np
import pytest
import torch
from replay_inputs import replay_scenario

from mafl_opt.validation.calibration.losses import TaskLosses
from mafl_opt.validation.calibration.probe import probe_run
from mafl_opt.validation.holdings import DriftScheme, draw_holdings
from mafl_opt.validation.partition import PartitionScheme


class Slope:
    """A loss of constant gradient (1, 0): the way a model goes tells how much work was done."""

    loss_floor = -np.inf
    num_parameters = 2

    def initial_parameters(self, generator):
        return np.zeros(2)

    def loss(self, parameters, inputs, labels):
        return parameters[0] + 0 * inputs.sum()


def run_of(scenario, *, eager, seed=0):
    sizes = scenario.pairs.samples[:, 0]
    labels = np.arange(60) % 3
    losses = TaskLosses(
        objective=Slope(),
        inputs=torch.zeros(60, 2, dtype=torch.float64),
        labels=torch.tensor(labels),
        holdings=draw_holdings(
            labels, sizes, scenario.num_slots, partition=PartitionScheme(kind="iid"),
            drift=DriftScheme(), generator=np.random.default_rng(0),
        ),
    )  # fmt: skip
    start = torch.zeros(2, dtype=torch.float64)
    run = probe_run(scenario, 0, losses, start, np.random.default_rng(seed), eager=eager)
    steps = -np.diff(torch.stack(run.models).numpy()[:, 0])
    return run, steps


SIZES = ((12,), (7,), (9,), (0,))


@pytest.mark.parametrize("rho", [0.0, 4.0])
@pytest.mark.parametrize("seed", range(6))
def test_probe_run_keeps_the_step_cap(rho, seed):
    base = replay_scenario(samples=SIZES, slots=8, step_cap=[0.06], proximal=[rho])
    _, steps = run_of(base, eager=False, seed=seed)
    # The sum of c_s C1(l_s) of an aggregation is how far the model goes.
    assert (steps <= 0.06 * (1 + 1e-9)).all()
    assert steps.max() > 0


def test_eager_probe_run_uses_the_cap_up():
    base = replay_scenario(samples=SIZES, slots=5, step_cap=[0.1], iterations_max=[50])
    _, steps = run_of(base, eager=True)
    # Less than an iteration of the largest device is left over.
    least = 0.8 * 0.05 * 12 / 28
    assert (steps > 0.1 - least).all()


def test_probe_run_keeps_uplinks_and_availability():
    base = replay_scenario(samples=SIZES, slots=6)
    capacity, reachable = [1, 0, 1, 1, 0, 1], np.ones((6, 4), bool)
    reachable[3] = False
    tight = base.replace(
        **{"network.uplink_capacity": capacity, "network.available": reachable.tolist()}
    )
    run, steps = run_of(tight, eager=True)
    assert (steps > 0).tolist() == [True, False, True, False, False, True]
    assert sorted(run.last_iterates) == [1, 3, 6]
    assert {device for device, _ in run.last_iterates.values()} <= {0, 1, 2}
