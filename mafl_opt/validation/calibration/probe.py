"""Runs of the learning rule with sessions at random: where the models of feasible plans may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mafl_opt.core.scenario import Scenario
from mafl_opt.validation.calibration.losses import TaskLosses, mean_gradient

__all__ = ["ProbeRun", "probe_run"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProbeRun:
    """The models of one run.

    Attributes
    ----------
    models : one vector (parameters,) an aggregation, w^(0) to w^(G)
    last_iterates : dict
        For an aggregation u, device and last local iterate of one session that ended there.
    """

    models: tuple[Tensor, ...]
    last_iterates: Mapping[int, tuple[int, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    device: int
    receive: int
    batch: int
    steps: int
    weight: float


def probe_run(
    scenario: Scenario,
    task: int,
    losses: TaskLosses,
    start: Tensor,
    generator: np.random.Generator,
    *,
    eager: bool,
) -> ProbeRun:
    """Run the delta rule (eq. 10) with sessions at random that keep the step caps.

    Uplinks, availability and boxes of the task are kept too; energy, deadlines and the other tasks
    are not, so that a run may reach what a very good plan would.

    Parameters
    ----------
    scenario : Scenario
    task : int
    losses : TaskLosses
    start : (parameters,)
        w^(0).
    generator : numpy.random.Generator
    eager : bool
        Every device in every slot with all iterations and the largest mini-batch, as far as the
        caps allow, instead of sessions at random.
    """
    models, iterates = [start], {}
    eta = float(scenario.tasks.learning_rate[task])
    rho = float(scenario.tasks.proximal[task])
    for u in range(1, scenario.num_slots + 1):
        merged = models[-1]
        for session in _draw_sessions(scenario, task, u, generator, eager=eager):
            received = models[session.receive]
            local = received
            inputs, labels = losses.data(session.device, session.receive + 1)
            for _ in range(session.steps):
                rows = torch.from_numpy(
                    generator.choice(len(labels), session.batch, replace=False)
                ).to(labels.device)
                gradient = mean_gradient(losses.objective, local, inputs[rows], labels[rows])
                local = local - eta * (gradient + rho * (local - received))
            merged = merged + session.weight * (local - received)
            iterates[u] = session.device, local
        models.append(merged)
    return ProbeRun(models=tuple(models), last_iterates=iterates)


def _draw_sessions(
    scenario: Scenario, task: int, u: int, generator: np.random.Generator, *, eager: bool
) -> list[_Session]:
    tasks, held = scenario.tasks, scenario.pairs.samples[:, task]
    eta = float(tasks.learning_rate[task])
    decay = 1.0 - eta * float(tasks.proximal[task])
    sums = np.cumsum(decay ** np.arange(tasks.iterations_max[task]))
    rate = float(tasks.server_rate[task])
    room = float(tasks.step_cap[task])
    taking_part = 1.0 if eager else generator.uniform(0.2, 1.0)
    drawn: list[_Session] = []
    for device in generator.permutation(np.flatnonzero(held)).tolist():
        if len(drawn) >= scenario.network.uplink_capacity[u - 1]:
            break
        staleness = 0 if eager else int(generator.geometric(0.6)) - 1
        staleness = min(staleness, int(tasks.staleness_max[task]), u - 1)
        receive = u - 1 - staleness
        if generator.random() > taking_part or not _reachable(scenario, device, receive, u):
            continue
        discount = float(tasks.staleness_weight[task](staleness))
        weight = rate * float(scenario.pairs.data_share[device, task]) * discount
        most = int(np.searchsorted(sums * weight * eta, room, side="right"))
        if most == 0:
            continue
        largest = int(min(tasks.batch_max[task], held[device]))
        steps = most if eager else int(generator.integers(1, most + 1))
        batch = largest if eager else int(generator.integers(1, largest + 1))
        drawn.append(
            _Session(device=device, receive=receive, batch=batch, steps=steps, weight=weight)
        )
        room -= float(sums[steps - 1]) * weight * eta
    return drawn


def _reachable(scenario: Scenario, device: int, receive: int, upload: int) -> bool:
    slots: NDArray[np.bool_] = scenario.network.available[receive:upload, device]
    return bool(slots.all())
