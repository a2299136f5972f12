"""Networks of many sessions, run as one: stacked by layers, or any module through `vmap`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn import functional as F

from mafl_opt.validation.batched.layers import Pass, start_pass
from mafl_opt.validation.batched.structure import Block, Convolution, Dense, Layer, read_layers
from mafl_opt.validation.batched.updates import Parameter, Sgd, Update, make_parameter
from mafl_opt.validation.models import Model

__all__ = [
    "Mapped",
    "Network",
    "Stacked",
    "can_map",
    "find_layers",
    "sample_floats",
    "sample_operations",
]


#: Numbers for one sample above which patches would take more memory than they are worth: images of
#: some hundred pixels a side, where convolutions one session at a time are fast enough.
_LARGEST_SAMPLE = 2**20


class Network(Protocol):
    """Models of several sessions."""

    def step(self, inputs: Tensor, labels: Tensor, weights: Tensor, update: Update) -> None:
        """Do one step of SGD or Adam.

        Parameters
        ----------
        inputs : (sessions, samples, ...)
        labels, weights : (sessions, samples)
            The loss of a session is the sum of its samples' cross-entropies times these weights.
        """

    def narrow(self, sessions: int) -> None:
        """Go on with the first sessions only; the others stay as they are."""

    def parameters(self) -> Tensor:
        """Return (sessions, parameters) of all sessions, narrowed away or not."""


@lru_cache(maxsize=64)
def find_layers(module: nn.Module, input_shape: tuple[int, ...]) -> tuple[Layer, ...] | None:
    """Layers of a module that can be stacked; ``None`` where it must be mapped."""
    layers = read_layers(module, input_shape)
    return None if layers is None or sample_floats(layers) > _LARGEST_SAMPLE else layers


@lru_cache(maxsize=64)
def can_map(
    module: nn.Module, input_shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> bool:
    """Say whether `Mapped` takes a module: it is tried on two sessions of zeros.

    It takes none whose forward pass depends on values, draws random numbers or changes buffers.
    """
    model = Model(module=module)
    zeros = torch.zeros((2, model.num_parameters), dtype=dtype, device=device)
    inputs = torch.zeros((2, 2, *input_shape), dtype=dtype, device=device)
    labels = torch.zeros((2, 2), dtype=torch.int64, device=device)
    rates = zeros.new_zeros(2, 1, 1)
    try:
        with torch.random.fork_rng(devices=[]):
            Mapped(model, zeros).step(inputs, labels, zeros.new_zeros(2, 2), Sgd(rates, rates))
    except RuntimeError:  # what vmap refuses with; such a module trains alone
        return False
    return True


def sample_floats(layers: Sequence[Layer]) -> int:
    """Numbers that a `Stacked` network holds for one sample, about."""
    total = 0
    for layer in layers:
        if isinstance(layer, Dense):
            total += layer.weight.rows + layer.weight.columns
        elif isinstance(layer, Convolution):
            pixels = math.prod(layer.sides) * (4 if layer.pooled else 1)
            total += pixels * (layer.weight.columns + 2 * layer.weight.rows)
    return total


def sample_operations(layers: Sequence[Layer]) -> int:
    """Floating-point operations of a training step for one sample, about."""
    total = 0
    for layer in layers:
        if isinstance(layer, (Dense, Convolution)):
            pixels = 1
            if isinstance(layer, Convolution):
                pixels = math.prod(layer.sides) * (4 if layer.pooled else 1)
            total += 6 * layer.weight.rows * layer.weight.columns * pixels
    return total


class Stacked:
    """A chain of layers with kernels of its own; see `layers`.

    Parameters
    ----------
    layers : sequence of Layer
    start : (sessions, parameters)
    width : int
        Samples of a mini-batch.
    keep_start, moments : bool
        What the update will need.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        start: Tensor,
        width: int,
        *,
        keep_start: bool = False,
        moments: bool = False,
    ) -> None:
        # The parameters stay where they are, side by side: a layer works on its part of each row.
        self._values = start.clone(memory_format=torch.contiguous_format)
        self._passes: list[Pass] = []
        for layer in layers:
            parameters: list[Parameter | None] = []
            if isinstance(layer, (Dense, Convolution)):
                for block in (layer.weight, layer.bias):
                    part = None if block is None else self._part(block, start, keep_start, moments)
                    parameters.append(part)
            self._passes.append(start_pass(layer, parameters, width))
        self._flat = isinstance(layers[0], Dense)

    def logits(self, inputs: Tensor) -> Tensor:
        """Map inputs (sessions, samples, ...) to (sessions, classes, samples)."""
        # A dense layer takes the samples first or last; runs of pixels need them last.
        value = inputs.flatten(2).mT if self._flat else inputs.movedim(1, -1)
        for layer in self._passes:
            value = layer.forward(value)
        return value

    def step(self, inputs: Tensor, labels: Tensor, weights: Tensor, update: Update) -> None:
        """Do one step; see `Network`."""
        gradient: Tensor | None = torch.softmax(self.logits(inputs), dim=1)
        assert gradient is not None
        one = gradient.new_full((), -1.0).expand(labels.shape)
        gradient.scatter_add_(1, labels[:, None], one[:, None])
        gradient *= weights[:, None] * update.scale
        for index in range(len(self._passes) - 1, -1, -1):
            assert gradient is not None
            gradient = self._passes[index].backward(gradient, update, index > 0)

    def narrow(self, sessions: int) -> None:
        """Go on with the first sessions only."""
        for layer in self._passes:
            layer.narrow(sessions)

    def parameters(self) -> Tensor:
        """Return (sessions, parameters) of all sessions."""
        return self._values

    def _part(self, block: Block, start: Tensor, keep_start: bool, moments: bool) -> Parameter:
        shape = len(start), block.rows, block.columns
        value, before = (all_[:, block.span].view(shape) for all_ in (self._values, start))
        return make_parameter(value, before if keep_start else None, moments)


class Mapped:
    """Any module, through `torch.func.vmap` of its gradient.

    Parameters
    ----------
    model : Model
    start : (sessions, parameters)
    keep_start, moments : bool
        What the update will need.
    """

    def __init__(
        self, model: Model, start: Tensor, *, keep_start: bool = False, moments: bool = False
    ) -> None:
        before = start[:, None]
        value = before.clone(memory_format=torch.contiguous_format)
        self._all = self._now = make_parameter(value, before if keep_start else None, moments)

        def loss(parameters: Tensor, inputs: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
            logits = model.logits(parameters, inputs)
            return (weights * F.cross_entropy(logits, labels, reduction="none")).sum()

        self._gradients = vmap(grad(loss))

    def step(self, inputs: Tensor, labels: Tensor, weights: Tensor, update: Update) -> None:
        """Do one step; see `Network`."""
        scaled = weights * (update.scale[:, 0])
        gradients = self._gradients(self._now.value[:, 0], inputs, labels, scaled)
        update.add(self._now, gradients[:, None])

    def narrow(self, sessions: int) -> None:
        """Go on with the first sessions only."""
        self._now = self._now[:sessions]

    def parameters(self) -> Tensor:
        """Return (sessions, parameters) of all sessions."""
        return self._all.value[:, 0]
