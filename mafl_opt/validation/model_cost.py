"""What a network costs a device: bits on the air and CPU cycles a sample, from the module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from mafl_opt.core.errors import InputError
from mafl_opt.core.scenario import Scenario
from mafl_opt.validation.data import DataSet
from mafl_opt.validation.models import BITS_PER_PARAMETER, Model

__all__ = ["ModelCost", "model_cost", "with_model_costs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCost:
    """Size and work of a network.

    Attributes
    ----------
    parameters : int
    bits : int
        Model size M on the air, 32 bits a parameter.
    operations : int
        Floating-point operations of one sample, forward and backward, in matrix products and
        convolutions (a multiplication and an addition are two); everything else is left out.
    """

    parameters: int
    bits: int
    operations: int

    def cycles_per_sample(self, operations_per_cycle: float) -> float:
        """CPU cycles of one sample on a processor that does so many operations a cycle."""
        return self.operations / operations_per_cycle


def model_cost(model: Model, input_shape: Sequence[int]) -> ModelCost:
    """Count parameters and operations of a network on inputs of a shape.

    The forward and backward pass of one sample is traced, on the meta device where the module is
    there, so that nothing is computed.

    Parameters
    ----------
    model : Model
    input_shape : sequence of int
        Of one input, without the batch.
    """
    where = next(model.module.parameters())
    inputs = torch.zeros((1, *input_shape), dtype=where.dtype, device=where.device)
    parameters = torch.zeros(
        model.num_parameters, dtype=where.dtype, device=where.device, requires_grad=True
    )
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        torch.autograd.grad(model.logits(parameters, inputs).sum(), parameters)
    count = model.num_parameters
    return ModelCost(
        parameters=count,
        bits=BITS_PER_PARAMETER * count,
        operations=int(counter.get_total_flops()),
    )


def with_model_costs(
    scenario: Scenario,
    models: Sequence[Model],
    data: Sequence[DataSet],
    operations_per_cycle: float | Sequence[float],
) -> Scenario:
    """Return the scenario with sizes and cycles of these networks; everything else is kept.

    Parameters
    ----------
    scenario : Scenario
    models, data : one a task
    operations_per_cycle : float, or one a device
        What a device's processor does in a cycle.

    Raises
    ------
    InputError
        If a rate is not positive, or the lengths do not fit the scenario.
    """
    if len(models) != scenario.num_tasks or len(data) != scenario.num_tasks:
        expected = f"{scenario.num_tasks} models and data sets, one a task"
        raise InputError("models", expected, f"{len(models)} and {len(data)}")
    rates = np.asarray(operations_per_cycle, dtype=float)
    if rates.shape not in ((), (scenario.num_devices,)):
        raise InputError("operations_per_cycle", "a number, or one a device", rates.shape)
    if not (np.isfinite(rates) & (rates > 0)).all():
        raise InputError("operations_per_cycle", "numbers > 0", operations_per_cycle)
    costs = [
        model_cost(model, dataset.input_shape) for model, dataset in zip(models, data, strict=True)
    ]
    rates = np.broadcast_to(rates, (scenario.num_devices,))
    cycles = [[cost.cycles_per_sample(rate) for cost in costs] for rate in rates.tolist()]
    return scenario.replace(
        **{
            "tasks.model_bits": [float(cost.bits) for cost in costs],
            "pairs.cycles_per_sample": cycles,
        }
    )
