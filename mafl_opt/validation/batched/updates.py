"""Steps of stacked parameters: SGD and Adam with a proximal term (model page, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Adam", "Parameter", "Sgd", "Update", "make_parameter"]

_BETAS, _EPSILON = (0.9, 0.999), 1e-8


@dataclass(slots=True, kw_only=True)
class Parameter:
    """One parameter of many sessions, and what its update remembers.

    Attributes
    ----------
    value : (sessions, ...)
        Now; changed in place.
    start : (sessions, ...), optional
        As received; only kept for a proximal term.
    first, second : (sessions, ...), optional
        Adam's moments.
    """

    value: Tensor
    start: Tensor | None = None
    first: Tensor | None = None
    second: Tensor | None = None

    def __getitem__(self, sessions: slice) -> Parameter:
        parts = (self.start, self.first, self.second)
        start, first, second = (None if part is None else part[sessions] for part in parts)
        return Parameter(value=self.value[sessions], start=start, first=first, second=second)


def make_parameter(value: Tensor, start: Tensor | None, moments: bool) -> Parameter:
    """Return a parameter at its start, with zero moments if they are needed."""
    first, second = (torch.zeros_like(value) if moments else None for _ in range(2))
    return Parameter(value=value, start=start, first=first, second=second)


class Update(Protocol):
    """How gradients change parameters; rates have shape (sessions, 1, 1)."""

    @property
    def scale(self) -> Tensor:
        """Factor that the gradients of the logits shall come with."""

    def begin(self, step: int) -> None:
        """Say that step 1, 2, ... begins."""

    def add(self, parameter: Parameter, gradient: Tensor) -> None:
        """Step along a gradient that comes with the factor `scale`."""

    def add_product(self, parameter: Parameter, left: Tensor, right: Tensor) -> None:
        """Step along the gradient left @ right."""

    def narrow(self, sessions: int) -> None:
        """Go on with the first sessions only."""


class Sgd:
    """y <- y - eta (g + rho (y - w)).

    Gradients come times eta, so that a product of matrices is subtracted where it is computed.
    """

    def __init__(self, rates: Tensor, proximal: Tensor) -> None:
        self.scale = rates
        #: How far a step pulls towards the start, or nothing.
        self.pull: Tensor | None = rates * proximal if bool(proximal.any()) else None

    def begin(self, step: int) -> None:
        """Nothing depends on the step."""

    def _pull(self, parameter: Parameter) -> None:
        if self.pull is not None and parameter.start is not None:
            parameter.value.lerp_(parameter.start, self.pull)

    def add(self, parameter: Parameter, gradient: Tensor) -> None:
        """Step along a gradient."""
        self._pull(parameter)
        parameter.value.sub_(gradient)

    def add_product(self, parameter: Parameter, left: Tensor, right: Tensor) -> None:
        """Step along left @ right."""
        self._pull(parameter)
        parameter.value.baddbmm_(left, right, alpha=-1)

    def narrow(self, sessions: int) -> None:
        """Go on with the first sessions only."""
        self.scale = self.scale[:sessions]
        self.pull = None if self.pull is None else self.pull[:sessions]


class Adam:
    """Adam (Kingma and Ba 2015) from zero moments; the proximal gradient is part of g."""

    def __init__(self, rates: Tensor, proximal: Tensor) -> None:
        self.scale = torch.ones_like(rates)
        self.rates = rates
        self.proximal: Tensor | None = proximal if bool(proximal.any()) else None
        self._step = 0

    def begin(self, step: int) -> None:
        """Say that step 1, 2, ... begins."""
        self._step = step

    def add(self, parameter: Parameter, gradient: Tensor) -> None:
        """Step along a gradient."""
        value = parameter.value
        if self.proximal is not None and parameter.start is not None:
            gradient = torch.addcmul(gradient, value - parameter.start, self.proximal)
        if parameter.first is None or parameter.second is None:
            raise ValueError("Adam needs parameters with moments")
        slow, slower = _BETAS
        parameter.first.lerp_(gradient, 1 - slow)
        parameter.second.mul_(slower).addcmul_(gradient, gradient, value=1 - slower)
        size = (parameter.second / (1 - slower**self._step)).sqrt_().add_(_EPSILON)
        value.sub_(self.rates / (1 - slow**self._step) * parameter.first / size)

    def add_product(self, parameter: Parameter, left: Tensor, right: Tensor) -> None:
        """Step along left @ right."""
        self.add(parameter, torch.bmm(left, right))

    def narrow(self, sessions: int) -> None:
        """Go on with the first sessions only."""
        self.scale, self.rates = self.scale[:sessions], self.rates[:sessions]
        self.proximal = None if self.proximal is None else self.proximal[:sessions]
