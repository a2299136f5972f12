"""Losses whose constants are known in closed form, for calibration to find."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mafl_opt.validation.data import DataSet


class Quadratic:
    """Loss (y - x)' H (y - x) / 2 of a sample x.

    Its per-sample gradient is H (y - x): sigma and delta do not depend on y.
    """

    loss_floor = 0.0

    def __init__(self, hessian: np.ndarray, start: np.ndarray) -> None:
        self.hessian = torch.tensor(hessian)
        self.start = start

    @property
    def num_parameters(self) -> int:
        return len(self.start)

    def initial_parameters(self, generator: np.random.Generator) -> np.ndarray:
        return self.start

    def loss(self, parameters: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        apart = parameters - inputs
        return 0.5 * torch.einsum("na,ab,nb->n", apart, self.hessian, apart).mean()


class Moved(Quadratic):
    """The same with samples of class 1 moved by `step`: swapping names moves the data."""

    def __init__(self, hessian: np.ndarray, start: np.ndarray, step: np.ndarray) -> None:
        super().__init__(hessian, start)
        self.step = torch.tensor(step)

    def loss(self, parameters: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        return super().loss(parameters, inputs + labels[:, None] * self.step, labels)


def known_hessian(dim: int = 6, seed: int = 0) -> np.ndarray:
    """Positive definite; its two largest eigenvalues are near each other."""
    generator = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(generator.normal(size=(dim, dim)))
    values = np.linspace(0.5, 3.0, dim)
    values[-2] = 2.97
    return (basis * values) @ basis.T


def known_points(samples: int = 120, dim: int = 6, seed: int = 1) -> DataSet:
    """Points of two classes a unit or so apart, float64, not standardised."""
    generator = np.random.default_rng(seed)
    labels = np.arange(samples) % 2
    inputs = generator.normal(size=(samples, dim)) + 0.8 * labels[:, None]
    return DataSet(
        name="points", kind="tabular", train_inputs=inputs, train_labels=labels,
        test_inputs=inputs[:10], test_labels=labels[:10], num_classes=2,
    )  # fmt: skip
