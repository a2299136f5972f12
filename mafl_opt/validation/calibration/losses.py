"""The losses of one task, F_i^(g) and F^(g), with the derivatives that calibration measures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import grad, vmap

from mafl_opt.validation.holdings import Holdings

__all__ = ["HessianProduct", "Objective", "TaskLosses", "loss_and_gradient", "mean_gradient"]

#: Samples of one forward and backward pass.
_CHUNK = 512
#: Numbers in the per-sample gradients of one chunk; what falls out of the caches costs most.
_CHUNK_NUMBERS = 1 << 20


class Objective(Protocol):
    """A loss to calibrate: `mafl_opt.validation.models.Model`, or anything with these parts.

    ``loss`` is the mean over a batch of a loss a sample and is written in operations of torch that
    can be differentiated twice; ``loss_floor`` is a number no loss is below.
    """

    @property
    def num_parameters(self) -> int:
        """Length of the flat vector of parameters."""

    @property
    def loss_floor(self) -> float:
        """A number that no loss is below; minus infinity if there is none."""

    def initial_parameters(self, generator: np.random.Generator) -> NDArray[np.float64]:
        """Draw a cold start; shape (num_parameters,)."""

    def loss(self, parameters: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of a batch; a scalar."""


def loss_and_gradient(
    objective: Objective, point: Tensor, inputs: Tensor, labels: Tensor
) -> tuple[float, Tensor]:
    """Mean loss over all samples and its gradient, shape (parameters,)."""
    value, total = 0.0, torch.zeros_like(point)
    for first in range(0, len(labels), _CHUNK):
        chunk = slice(first, first + _CHUNK)
        at = point.detach().requires_grad_()
        loss = objective.loss(at, inputs[chunk], labels[chunk])
        (gradient,) = torch.autograd.grad(loss, at)
        share = len(labels[chunk]) / len(labels)
        value += share * float(loss.detach())
        total += share * gradient
    return value, total


def mean_gradient(objective: Objective, point: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the mean loss over all samples; shape (parameters,)."""
    return loss_and_gradient(objective, point, inputs, labels)[1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskLosses:
    """One task: its loss, its data, and who holds what when.

    Attributes
    ----------
    objective : Objective
    inputs, labels : (samples, ...), (samples,)
        The training part.
    holdings : Holdings
    """

    objective: Objective
    inputs: Tensor
    labels: Tensor
    holdings: Holdings

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Samples D_i of each device; shape (devices,)."""
        return np.array([len(stages[0].rows) for stages in self.holdings.stages])

    @property
    def shares(self) -> NDArray[np.float64]:
        """Weights q_i = D_i / sum D_i; shape (devices,)."""
        return np.asarray(self.sizes / self.sizes.sum())

    def data(self, device: int, instant: int) -> tuple[Tensor, Tensor]:
        """Return inputs and labels that a device holds at an aggregation instant."""
        held = self.holdings.at(device, instant)
        rows = torch.from_numpy(held.rows).to(self.labels.device)
        names = torch.from_numpy(held.names).to(self.labels.device)
        return self.inputs[rows], names[self.labels[rows]]

    def everything(self, instant: int) -> tuple[Tensor, Tensor]:
        """Return inputs and labels of all devices: F^(g) is the mean loss over them."""
        parts = [self.data(device, instant) for device in np.flatnonzero(self.sizes).tolist()]
        inputs, labels = zip(*parts, strict=True)
        return torch.cat(inputs), torch.cat(labels)

    def loss(self, point: Tensor, instant: int) -> float:
        """F^(g) at a model."""
        return loss_and_gradient(self.objective, point, *self.everything(instant))[0]

    def gradient(self, point: Tensor, instant: int) -> Tensor:
        """Gradient of F^(g); shape (parameters,)."""
        return mean_gradient(self.objective, point, *self.everything(instant))

    def device_gradient(self, point: Tensor, device: int, instant: int) -> Tensor:
        """Gradient of F_i^(g); shape (parameters,)."""
        return mean_gradient(self.objective, point, *self.data(device, instant))

    def gradient_variance(
        self, point: Tensor, device: int, instant: int, most: int, generator: np.random.Generator
    ) -> float:
        """Sample variance of a device's per-sample gradients, divisor D_i - 1 (eq. 12).

        With more than `most` samples, that of a subset drawn without replacement, which is
        unbiased.
        """
        inputs, labels = self.data(device, instant)
        if len(labels) > most:
            rows = generator.choice(len(labels), most, replace=False)
            inputs, labels = inputs[rows], labels[rows]
        if len(labels) < 2:
            return 0.0
        centre = mean_gradient(self.objective, point, inputs, labels)

        def one(at: Tensor, sample: Tensor, label: Tensor) -> Tensor:
            return self.objective.loss(at, sample[None], label[None])

        each = vmap(grad(one), in_dims=(None, 0, 0))
        size = max(1, min(_CHUNK, _CHUNK_NUMBERS // len(point)))
        total = 0.0
        for first in range(0, len(labels), size):
            chunk = slice(first, first + size)
            apart = each(point.detach(), inputs[chunk], labels[chunk]) - centre
            total += float((torch.linalg.vector_norm(apart, dim=1).double() ** 2).sum())
        return total / (len(labels) - 1)

    def hessian_products(
        self, point: Tensor, instant: int, most: int, generator: np.random.Generator
    ) -> HessianProduct:
        """Return the map v -> H v with the Hessian H of F^(g) at a model.

        With more than `most` samples, of the mean loss over a subset drawn without replacement.
        """
        inputs, labels = self.everything(instant)
        if len(labels) > most:
            rows = generator.choice(len(labels), most, replace=False)
            inputs, labels = inputs[rows], labels[rows]
        return HessianProduct(
            objective=self.objective, point=point.detach(), inputs=inputs, labels=labels
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HessianProduct:
    """The Hessian of a mean loss at a point, as a map on vectors."""

    objective: Objective
    point: Tensor
    inputs: Tensor
    labels: Tensor

    def __call__(self, vector: Tensor) -> Tensor:
        """H v, by differentiating the gradient's product with v; shape (parameters,)."""
        total = torch.zeros_like(self.point)
        for inputs, labels in self._chunks():
            at = self.point.requires_grad_()
            loss = self.objective.loss(at, inputs, labels)
            (gradient,) = torch.autograd.grad(loss, at, create_graph=True)
            (product,) = torch.autograd.grad(gradient @ vector, at)
            total += product * (len(labels) / len(self.labels))
        return total

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        for first in range(0, len(self.labels), _CHUNK):
            chunk = slice(first, first + _CHUNK)
            yield self.inputs[chunk], self.labels[chunk]
