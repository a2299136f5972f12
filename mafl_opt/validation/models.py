"""Small networks the replay trains, kept apart from their parameters.

A `Model` holds only the structure; parameters are one flat vector that the replay owns, so that a
received model, a local model and a difference of models are plain vectors of the model page,
section 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

if TYPE_CHECKING:
    from mafl_opt.validation.data import DataSet

__all__ = ["ConvNet", "Logistic", "Mlp", "Model", "build_model", "model_bits"]

BITS_PER_PARAMETER = 32


class ConvNet(nn.Module):
    """Two 3x3 convolutions and a hidden layer; images of more than 8 pixels are pooled twice.

    Parameters
    ----------
    shape : (channels, height, width) of one image
    num_classes : int
    feature_norm : float
        Length of the hidden feature vector, see `_features`.
    """

    def __init__(
        self, shape: tuple[int, int, int], num_classes: int, *, hidden: int, feature_norm: float
    ) -> None:
        super().__init__()
        channels, height, width = shape
        self.feature_norm = feature_norm
        self.first = nn.Conv2d(channels, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 32, 3, padding=1)
        self.pool_first = max(height, width) > 8
        shrink = 4 if self.pool_first else 2
        self.hidden = nn.Linear(32 * (height // shrink) * (width // shrink), hidden)
        self.output = nn.Linear(hidden, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, shape (batch, num_classes), of images (batch, channels, height, width)."""
        # Pooling before the ReLU gives the same numbers and moves less memory.
        x = self.first(inputs)
        x = F.relu(F.max_pool2d(x, 2) if self.pool_first else x)
        x = F.relu(F.max_pool2d(self.second(x), 2)).flatten(1)
        return self.output(_features(self.hidden(x), self.feature_norm))  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """Two hidden layers on a feature vector."""

    def __init__(
        self, num_inputs: int, num_classes: int, *, hidden: int, feature_norm: float
    ) -> None:
        super().__init__()
        self.feature_norm = feature_norm
        self.first = nn.Linear(num_inputs, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, shape (batch, num_classes), of vectors (batch, num_inputs)."""
        x = F.relu(self.first(inputs.flatten(1)))
        return self.output(_features(self.second(x), self.feature_norm))  # type: ignore[no-any-return]


class Logistic(nn.Module):
    """Multinomial logistic regression on the flattened input."""

    def __init__(self, num_inputs: int, num_classes: int) -> None:
        super().__init__()
        self.output = nn.Linear(num_inputs, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, shape (batch, num_classes)."""
        return self.output(inputs.flatten(1))  # type: ignore[no-any-return]


def _features(raw: Tensor, norm: float) -> Tensor:
    """ReLU features centred and scaled to length `norm`, without parameters.

    A sample's gradient with respect to the output layer is (p - y) times its feature vector, so
    this length sets how large gradients are, whatever the data.
    """
    size = raw.shape[-1]
    return F.layer_norm(F.relu(raw), (size,)) * (norm / math.sqrt(size))


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Structure of a network; its parameters travel as one flat vector.

    Attributes
    ----------
    module : nn.Module
        On the meta device: it has shapes and a forward pass but holds no numbers.
    output_scale : float
        Standard deviation of the output weights at the start; 0 makes every class equally likely.
    gain : float
        Factor on the usual deviation sqrt(2 / fan-in) of the hidden weights. A hidden layer ends in
        `_features`, which undoes its scale, so a larger gain makes hidden layers learn slower and
        the loss smoother.
    """

    module: nn.Module
    output_scale: float = 0.0
    gain: float = 1.0

    @property
    def num_parameters(self) -> int:
        """Length of the flat vector."""
        return sum(p.numel() for p in self.module.parameters())

    def initial_parameters(self, generator: np.random.Generator) -> NDArray[np.float64]:
        """Draw a cold start: normal weights, zero biases.

        Returns
        -------
        parameters : (num_parameters,)
        """
        parts = []
        for name, parameter in self.module.named_parameters():
            draw = generator.standard_normal(parameter.numel())
            if parameter.dim() == 1:
                deviation = 0.0
            elif name == "output.weight":
                deviation = self.output_scale
            else:
                deviation = self.gain * math.sqrt(2.0 / math.prod(parameter.shape[1:]))
            parts.append(draw * deviation)
        return np.concatenate(parts)

    def logits(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Forward pass; parameters (num_parameters,), inputs (batch, ...)."""
        views: dict[str, Tensor] = {}
        start = 0
        for name, parameter in self.module.named_parameters():
            stop = start + parameter.numel()
            views[name] = parameters[start:stop].view(parameter.shape)
            start = stop
        return functional_call(self.module, views, (inputs,))  # type: ignore[no-any-return]

    def loss(self, parameters: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of a batch; a scalar."""
        return F.cross_entropy(self.logits(parameters, inputs), labels)


def build_model(dataset: DataSet, kind: str = "auto") -> Model:
    """Choose the network of a data set.

    ``auto``: `ConvNet` for images, `Mlp` for tables; ``logistic``: `Logistic` for either. Feature
    lengths, output deviations and gains are set so that the first full-batch gradient has norm 2 to
    4 and the embedded tasks learn over a progress (sum of c_s C1) of 0.1 to 0.6, which is what a
    plan of a dozen slots makes. Larger images have many features in common and need shorter ones
    for the same smoothness.

    Parameters
    ----------
    dataset : DataSet
    kind : {"auto", "logistic"}
    """
    shape, classes = dataset.input_shape, dataset.num_classes
    # On the meta device nothing is drawn, so the caller's random state stays as it was.
    with torch.device("meta"):
        if kind == "logistic":
            return Model(module=Logistic(math.prod(shape), classes))
        if dataset.kind == "tabular":
            norm = 4.0
            mlp = Mlp(math.prod(shape), classes, hidden=96, feature_norm=norm)
            return Model(module=mlp, output_scale=1.5 / norm, gain=2.0)
        channels, height, width = shape
        small = max(height, width) <= 8
        norm, hidden, gain = (20.0, 128, 2.0) if small else (6.0, 64, 1.5)
        conv = ConvNet((channels, height, width), classes, hidden=hidden, feature_norm=norm)
        return Model(module=conv, output_scale=0.5 / norm, gain=gain)


def model_bits(dataset: DataSet) -> int:
    """Size M of the data set's model on the air, bits: 32 a parameter."""
    return BITS_PER_PARAMETER * build_model(dataset).num_parameters
