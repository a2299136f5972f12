"""Local training of sessions in groups, each as one network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mafl_opt.validation.batched.compiled import can_compile, train_compiled
from mafl_opt.validation.batched.groups import Group, Limits, form_groups
from mafl_opt.validation.batched.network import (
    Mapped,
    Network,
    Stacked,
    can_map,
    find_layers,
    sample_floats,
    sample_operations,
)
from mafl_opt.validation.batched.structure import Layer
from mafl_opt.validation.batched.updates import Adam, Sgd, Update
from mafl_opt.validation.models import Model

if TYPE_CHECKING:
    from mafl_opt.validation.training import LocalSession

__all__ = ["can_train_together", "train_together"]

#: Numbers a group may hold: on a CPU about what its cache does, on an accelerator what it easily
#: has. `vmap` keeps far more, of unknown size: this many times the inputs.
_CPU_FLOATS, _ACCELERATOR_FLOATS, _MAPPED_FLOATS = 2**20, 2**28, 2**26
_MAPPED_COPIES = 100
#: Floating-point operations in the time that a step of a small network costs.
_STEP_OPERATIONS = 3e6


def can_train_together(model: Model, inputs: Tensor) -> bool:
    """Say whether sessions of a model can be trained in groups."""
    shape = tuple(inputs.shape[1:])
    return find_layers(model.module, shape) is not None or can_map(
        model.module, shape, inputs.dtype, inputs.device
    )


def train_together(
    model: Model, inputs: Tensor, labels: Tensor, sessions: Sequence[LocalSession]
) -> list[Tensor]:
    """Run the local steps of sessions in groups of similar ones.

    Parameters and results are those of `mafl_opt.validation.training.train_sessions`. The models
    returned may be parts of one tensor.
    """
    layers = find_layers(model.module, tuple(inputs.shape[1:]))
    if layers is not None and can_compile(layers, inputs):
        return train_compiled(layers, inputs, labels, sessions)
    limits = _limits(model, layers, inputs)
    results = [session.start for session in sessions]
    for optimizer in ("sgd", "adam"):
        chosen = [
            k for k, s in enumerate(sessions) if s.optimizer == optimizer and len(s.batches) > 0
        ]
        batches = [sessions[k].batches for k in chosen]
        for group in form_groups(batches, limits, inputs.dtype):
            members = [chosen[k] for k in group.members]
            trained = _train_group(
                model, layers, inputs, labels, group, [sessions[k] for k in members]
            )
            for k, parameters in zip(members, trained.unbind(0), strict=True):
                results[k] = parameters
    return results


def _limits(model: Model, layers: tuple[Layer, ...] | None, inputs: Tensor) -> Limits:
    numbers = inputs[0].numel()
    floats = _CPU_FLOATS if inputs.device.type == "cpu" else _ACCELERATOR_FLOATS
    if layers is None:
        return Limits(
            session_floats=4 * model.num_parameters,
            sample_floats=_MAPPED_COPIES * numbers,
            floats=max(floats, _MAPPED_FLOATS),
            # Where nothing is known of the work, filling up is not worth a guess.
            step_samples=1.0,
        )
    return Limits(
        session_floats=model.num_parameters,
        sample_floats=numbers + sample_floats(layers),
        floats=floats,
        step_samples=_STEP_OPERATIONS / sample_operations(layers),
    )


def _train_group(
    model: Model,
    layers: tuple[Layer, ...] | None,
    inputs: Tensor,
    labels: Tensor,
    group: Group,
    sessions: Sequence[LocalSession],
) -> Tensor:
    rates = inputs.new_tensor([session.learning_rate for session in sessions])[:, None, None]
    pulls = inputs.new_tensor([session.proximal for session in sessions])[:, None, None]
    adam = sessions[0].optimizer == "adam"
    update: Update = Adam(rates, pulls) if adam else Sgd(rates, pulls)
    keep = {"keep_start": any(session.proximal for session in sessions), "moments": adam}
    start = _stack([session.start for session in sessions])
    with torch.no_grad():
        network: Network = (
            Mapped(model, start, **keep)
            if layers is None
            else Stacked(layers, start, group.width, **keep)
        )
        known = labels[group.rows]
        gathered = inputs.new_empty((group.rows[0].numel(), *inputs.shape[1:]))
        count = len(sessions)
        for step in range(group.steps[0]):
            if group.steps[count - 1] <= step:
                count = sum(steps > step for steps in group.steps)
                network.narrow(count)
                update.narrow(count)
            rows = group.rows[step, :count]
            taken = gathered[: rows.numel()]
            torch.index_select(inputs, 0, rows.flatten(), out=taken)
            update.begin(step + 1)
            network.step(
                taken.view(*rows.shape, *inputs.shape[1:]),
                known[step, :count],
                group.weights[step, :count],
                update,
            )
        return network.parameters()


def _stack(vectors: Sequence[Tensor]) -> Tensor:
    """Stack vectors, without a copy where all are one."""
    if all(vector is vectors[0] for vector in vectors):
        return vectors[0].expand(len(vectors), -1)
    return torch.stack(list(vectors))
