"""Forward and backward passes of layers, many sessions at once.

Everything has the sessions as its first axis and the samples of a mini-batch as its last, so that
each layer is one batched matrix product, and pixels are copied in runs as long as a mini-batch.
Work space is taken once and used again in every step: at these sizes fresh memory would cost as
much as the arithmetic. Hence a value that a layer returns holds until the layer is run again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mafl_opt.validation.batched.structure import (
    Convolution,
    Dense,
    Function,
    Layer,
    Normalisation,
)
from mafl_opt.validation.batched.updates import Parameter, Update

__all__ = [
    "ConvolutionPass",
    "DensePass",
    "FunctionPass",
    "NormalisationPass",
    "Pass",
]

_ATEN = torch.ops.aten
_threshold = _ATEN.threshold_backward.grad_input


def _where_positive(gradient: Tensor, value: Tensor, *, grad_input: Tensor) -> None:
    """Write the gradient where the value is above zero, and zero elsewhere."""
    _threshold(gradient, value, 0, grad_input=grad_input)


_DERIVATIVES: dict[str, Callable[..., object]] = {
    "relu": _where_positive,
    "tanh": _ATEN.tanh_backward.grad_input,
    "sigmoid": _ATEN.sigmoid_backward.grad_input,
}


class Pass(ABC):
    """A layer at work."""

    @abstractmethod
    def forward(self, value: Tensor) -> Tensor:
        """Map (sessions, ..., samples) to (sessions, ..., samples)."""

    @abstractmethod
    def backward(self, gradient: Tensor, update: Update, wanted: bool) -> Tensor | None:
        """Update the parameters; return the gradient of the input if `wanted`.

        Parameters
        ----------
        gradient : (sessions, outputs..., samples)
            Of the loss with respect to the output; may be overwritten.
        """

    def narrow(self, sessions: int) -> None:
        """Go on with the first sessions only; a view stays one of the same memory."""
        for name, held in vars(self).items():
            if isinstance(held, (Tensor, Parameter)):
                setattr(self, name, held[:sessions])
            elif isinstance(held, list):
                setattr(self, name, [view[:sessions] for view in held])


class DensePass(Pass):
    """y = W x + b."""

    def __init__(self, weight: Parameter, bias: Parameter | None, width: int) -> None:
        self.weight, self.bias = weight, bias
        sessions, outputs, inputs = weight.value.shape
        self.output = weight.value.new_empty(sessions, outputs, width)
        self.returned = weight.value.new_empty(sessions, inputs, width)
        self.ones = weight.value.new_ones(sessions, width, 1)
        self.value: Tensor | None = None

    def forward(self, value: Tensor) -> Tensor:
        """Multiply by the weights, add the bias."""
        self.value = value if value.dim() == 3 else value.flatten(1, -2)
        if self.bias is None:
            return torch.bmm(self.weight.value, self.value, out=self.output)
        return torch.baddbmm(self.bias.value, self.weight.value, self.value, out=self.output)

    def backward(self, gradient: Tensor, update: Update, wanted: bool) -> Tensor | None:
        """Update weights and bias; multiply by the weights transposed."""
        if wanted:
            torch.bmm(self.weight.value.mT, gradient, out=self.returned)
        assert self.value is not None
        update.add_product(self.weight, gradient, self.value.mT)
        if self.bias is not None:
            # A product is faster than a sum over so few numbers.
            update.add(self.bias, torch.bmm(gradient, self.ones))
        return self.returned if wanted else None


class FunctionPass(Pass):
    """Elementwise function, in place: no layer before it needs what it returned."""

    def __init__(self, layer: Function) -> None:
        self.function = getattr(torch, f"{layer.name}_")
        self.derivative = _DERIVATIVES[layer.name]
        self.output: Tensor | None = None

    def forward(self, value: Tensor) -> Tensor:
        """Apply the function."""
        self.output = value
        self.function(value)
        return value

    def backward(self, gradient: Tensor, update: Update, wanted: bool) -> Tensor | None:
        """Multiply by its derivative, which the value gives."""
        assert self.output is not None
        gradient = gradient.reshape(self.output.shape)
        self.derivative(gradient, self.output, grad_input=gradient)
        return gradient


class NormalisationPass(Pass):
    """Features centred and divided by their deviation, times a factor."""

    def __init__(self, layer: Normalisation) -> None:
        self.layer = layer
        self.unit: Tensor | None = None
        self.scale: Tensor | None = None

    def forward(self, value: Tensor) -> Tensor:
        """Normalise over the features."""
        value = value if value.dim() == 3 else value.flatten(1, -2)
        variance, mean = torch.var_mean(value, dim=1, correction=0, keepdim=True)
        inverse = torch.rsqrt(variance + self.layer.epsilon)
        self.unit, self.scale = (value - mean) * inverse, inverse * self.layer.factor
        return self.unit * self.layer.factor

    def backward(self, gradient: Tensor, update: Update, wanted: bool) -> Tensor | None:
        """Project on what normalisation leaves, and scale."""
        assert self.unit is not None and self.scale is not None
        along = (gradient * self.unit).mean(dim=1, keepdim=True)
        mean = gradient.mean(dim=1, keepdim=True)
        return (gradient - mean - along * self.unit) * self.scale


class ConvolutionPass(Pass):
    """Convolution as one matrix product with patches, and pooling in two knockout rounds.

    The first round is between left and right, the second between top and bottom; their differences
    say where the gradient goes. The first of equals wins, as in torch.
    """

    def __init__(
        self, layer: Convolution, weight: Parameter, bias: Parameter | None, width: int
    ) -> None:
        self.weight, self.bias = weight, bias
        self.pooled, self.framing = layer.pooled, any(layer.padding)
        new = weight.value.new_empty
        sessions, outputs = weight.value.shape[:2]
        channels, height, breadth = layer.shape
        rows, columns = layer.sides
        # A last row or column that pooling leaves out is not computed.
        by = 2 if layer.pooled else 1
        pixels = by * rows, by * columns, width
        self.patches = new(sessions, channels, *layer.kernel, *pixels)
        self.products = self.output = new(sessions, outputs, *pixels)
        #: Input with its frame of zeros; gradients of it.
        vertical, horizontal = layer.padding
        shape = sessions, channels, height + 2 * vertical, breadth + 2 * horizontal, width
        self.framed, self.returned = weight.value.new_zeros(shape), new(shape)
        inside = slice(vertical, vertical + height), slice(horizontal, horizontal + breadth)
        self.inside, self.inside_returned = (
            frame[:, :, *inside] for frame in (self.framed, self.returned)
        )
        # Views are made once: with small mini-batches they would cost as much as the arithmetic.
        self.windows = self._windows(self.framed)
        taps = [(i, j) for i in range(layer.kernel[0]) for j in range(layer.kernel[1])]
        returned = self._windows(self.returned)
        self.taps = [self.patches[:, :, i, j] for i, j in taps]
        self.returned_taps = [returned[:, :, i, j] for i, j in taps]
        if layer.pooled:
            halved = 2, sessions, outputs, 2 * rows, columns, width
            self.first, self.lead = new(halved).unbind(0)
            self.second, self.output = new(2, sessions, outputs, rows, columns, width).unbind(0)
            self.left, self.right = _neighbours(self.products, 3)
            self.top, self.bottom = _neighbours(self.lead, 2)
        self.flat_patches = self.patches.view(sessions, weight.value.shape[2], -1)
        self.flat_products = self.products.view(sessions, outputs, -1)
        self.flat_output = self.output.view(sessions, outputs, -1)

    def _windows(self, framed: Tensor) -> Tensor:
        """View it as what each weight meets: (sessions, channels, kernel..., pixels...)."""
        image, channel, *pixel = framed.stride()
        return framed.as_strided(
            self.patches.shape, (image, channel, *pixel[:2], *pixel), framed.storage_offset()
        )

    def forward(self, value: Tensor) -> Tensor:
        """Copy patches, multiply by the weights, pool."""
        if self.framing or not value.is_contiguous():
            self.inside.copy_(value)
            self.patches.copy_(self.windows)
        else:
            self.patches.copy_(self._windows(value))
        torch.bmm(self.weight.value, self.flat_patches, out=self.flat_products)
        if self.pooled:
            torch.sub(self.right, self.left, out=self.first)
            torch.maximum(self.left, self.right, out=self.lead)
            torch.sub(self.bottom, self.top, out=self.second)
            torch.maximum(self.top, self.bottom, out=self.output)
        if self.bias is not None:
            self.flat_output.add_(self.bias.value)
        return self.output

    def backward(self, gradient: Tensor, update: Update, wanted: bool) -> Tensor | None:
        """Undo the pooling, update, and add the patches' gradients up."""
        gradient = gradient.reshape(self.output.shape).contiguous()
        flat = gradient.view(self.flat_output.shape)
        if self.bias is not None:
            update.add(self.bias, flat.sum(-1, keepdim=True))
        if self.pooled:
            _where_positive(gradient, self.second, grad_input=self.bottom)
            torch.sub(gradient, self.bottom, out=self.top)
            _where_positive(self.lead, self.first, grad_input=self.right)
            torch.sub(self.lead, self.right, out=self.left)
            flat = self.flat_products
        weight = self.weight.value.clone() if wanted else None
        update.add_product(self.weight, flat, self.flat_patches.mT)
        if weight is None:
            return None
        torch.bmm(weight.mT, flat, out=self.flat_patches)
        self.returned.zero_()
        for total, part in zip(self.returned_taps, self.taps, strict=True):
            total.add_(part)
        return self.inside_returned


def _neighbours(value: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """View the even and the odd entries along an axis."""
    shape = value.shape
    pairs = value.view(*shape[:axis], shape[axis] // 2, 2, *shape[axis + 1 :])
    return pairs.select(axis + 1, 0), pairs.select(axis + 1, 1)


def start_pass(layer: Layer, parameters: Sequence[Parameter | None], width: int) -> Pass:
    """Put a layer to work on its parameters and mini-batches of so many samples."""
    if isinstance(layer, Function):
        return FunctionPass(layer)
    if isinstance(layer, Normalisation):
        return NormalisationPass(layer)
    weight, bias = parameters
    assert weight is not None
    if isinstance(layer, Dense):
        return DensePass(weight, bias, width)
    return ConvolutionPass(layer, weight, bias, width)
