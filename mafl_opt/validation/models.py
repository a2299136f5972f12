"""Small networks the replay trains, kept apart from their parameters.

A `Model` holds only the structure; parameters are one flat vector that the replay owns, so that a
received model, a local model and a difference of models are plain vectors of the model page,
section 4.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from mafl_opt.core.errors import InputError
from mafl_opt.validation.networks import LeNet5, ResNet

if TYPE_CHECKING:
    from mafl_opt.validation.data import DataSet

__all__ = [
    "MODELS",
    "ConvNet",
    "Logistic",
    "Mlp",
    "Model",
    "build_model",
    "model_bits",
    "wrap_module",
]

BITS_PER_PARAMETER = 32
#: Kinds of network that `build_model` knows.
MODELS = ("auto", "logistic", "mlp", "cnn", "lenet5", "resnet")

_NORMALISATIONS = (nn.GroupNorm, nn.LayerNorm, nn.modules.batchnorm._NormBase)


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
    start : (num_parameters,), optional
        Cold start of a module that brings its own; nothing is drawn then.
    """

    module: nn.Module
    output_scale: float = 0.0
    gain: float = 1.0
    start: NDArray[np.float64] | None = None

    @property
    def num_parameters(self) -> int:
        """Length of the flat vector."""
        return sum(p.numel() for p in self.module.parameters())

    @property
    def loss_floor(self) -> float:
        """No cross-entropy is below this."""
        return 0.0

    def initial_parameters(self, generator: np.random.Generator) -> NDArray[np.float64]:
        """Draw a cold start: normal weights, zero biases, normalisations that scale by one.

        Returns
        -------
        parameters : (num_parameters,)
        """
        if self.start is not None:
            return self.start.copy()
        scales = {
            f"{name}.weight"
            for name, part in self.module.named_modules()
            if isinstance(part, _NORMALISATIONS)
        }
        parts = []
        for name, parameter in self.module.named_parameters():
            draw = generator.standard_normal(parameter.numel())
            if name in scales:
                parts.append(np.ones(parameter.numel()))
                continue
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

    ``auto``: ``cnn`` for images, ``mlp`` for tables. ``cnn`` is `ConvNet`, ``mlp`` `Mlp`,
    ``logistic`` `Logistic`, ``lenet5`` `LeNet5`, ``resnet`` `ResNet` of 8 layers; the dense ones
    take images flattened, the others need images. Feature lengths, output deviations and gains of
    `ConvNet` and `Mlp` are set so that the first full-batch gradient has norm 2 to 4 and the
    embedded tasks learn over a progress (sum of c_s C1) of 0.1 to 0.6, which is what a plan of a
    dozen slots makes. Larger images have many features in common and need shorter ones for the
    same smoothness.

    Parameters
    ----------
    dataset : DataSet
    kind : str
        One of `MODELS`.

    Raises
    ------
    InputError
        If there is no such kind, or it does not take inputs of this shape.
    """
    if kind not in MODELS:
        raise InputError("options.model", " or ".join(MODELS), kind)
    if kind == "auto":
        kind = "mlp" if dataset.kind == "tabular" else "cnn"
    shape, classes = dataset.input_shape, dataset.num_classes
    if kind in ("cnn", "lenet5", "resnet"):
        least = 12 if kind == "lenet5" else 4
        if dataset.kind != "image" or min(shape[1:]) < least:
            expected = f"images of at least {least} x {least} pixels for {kind}"
            raise InputError(f"data.{dataset.name}", expected, f"shape {shape}")
    # On the meta device nothing is drawn, so the caller's random state stays as it was.
    with torch.device("meta"):
        if kind == "logistic":
            return Model(module=Logistic(math.prod(shape), classes))
        if kind == "mlp":
            norm = 4.0
            mlp = Mlp(math.prod(shape), classes, hidden=96, feature_norm=norm)
            return Model(module=mlp, output_scale=1.5 / norm, gain=2.0)
        channels, height, width = shape
        if kind == "lenet5":
            return Model(module=LeNet5((channels, height, width), classes), output_scale=0.1)
        if kind == "resnet":
            return Model(module=ResNet((channels, height, width), classes), output_scale=0.1)
        small = max(height, width) <= 8
        norm, hidden, gain = (20.0, 128, 2.0) if small else (6.0, 64, 1.5)
        conv = ConvNet((channels, height, width), classes, hidden=hidden, feature_norm=norm)
        return Model(module=conv, output_scale=0.5 / norm, gain=gain)


def wrap_module(module: nn.Module) -> Model:
    """Make a `Model` of any module of torch; its own numbers are the cold start.

    A copy is kept, in evaluation mode: dropout is off, and batch normalisation uses the running
    statistics it came with, so that a step depends on its mini-batch and its parameters alone.

    Parameters
    ----------
    module : nn.Module
        Maps inputs (batch, ...) to logits (batch, classes).

    Raises
    ------
    InputError
        If it has no parameters, or some that hold no real numbers.
    """
    kept = copy.deepcopy(module).eval()
    parameters = [p.detach() for p in kept.parameters()]
    if not parameters:
        raise InputError("module", "a module with parameters", type(module).__name__)
    for name, parameter in kept.named_parameters():
        if parameter.is_meta or not parameter.is_floating_point():
            found = f"{parameter.dtype} on {parameter.device}"
            raise InputError(f"module.{name}", "real numbers", found)
    start = torch.cat([p.reshape(-1) for p in parameters]).double().cpu().numpy()
    return Model(module=kept, start=start)


def model_bits(dataset: DataSet, kind: str = "auto") -> int:
    """Size M of the data set's model on the air, bits: 32 a parameter."""
    return BITS_PER_PARAMETER * build_model(dataset, kind).num_parameters
