"""What a network consists of, read off one forward pass.

Batched training has kernels for chains of dense layers, convolutions with or without pooling, and
functions in between. Whether a module is such a chain is not asked of its class: its forward pass
is run once and the operations it performs are recorded. A module that does anything else has no
structure here, and is trained in another way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Block", "Convolution", "Dense", "Function", "Layer", "Normalisation", "read_layers"]

#: Images in the recorded pass; a number that no layer is likely to have as its own size.
_RECORDED = 3

_FUNCTIONS = ("relu", "tanh", "sigmoid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Where a parameter lies in the flat vector, as a matrix (rows, columns)."""

    offset: int
    rows: int
    columns: int

    @property
    def span(self) -> slice:
        """Its entries in the flat vector."""
        return slice(self.offset, self.offset + self.rows * self.columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """Linear layer: weight (outputs, inputs), bias (outputs, 1); inputs of any shape, flattened."""

    weight: Block
    bias: Block | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """Convolution of stride 1 and maximum pooling by two after it, if `pooled`.

    Attributes
    ----------
    weight : Block
        (outputs, channels * height * width of the kernel).
    kernel, padding : (vertical, horizontal)
    shape : (channels, height, width)
        Of its input.
    pooled : bool
    """

    weight: Block
    bias: Block | None
    kernel: tuple[int, int]
    padding: tuple[int, int]
    shape: tuple[int, int, int]
    pooled: bool

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the output."""
        vertical, horizontal = (
            side + 2 * pad - k + 1
            for side, pad, k in zip(self.shape[1:], self.padding, self.kernel, strict=True)
        )
        return (vertical // 2, horizontal // 2) if self.pooled else (vertical, horizontal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """Elementwise and monotone: relu, tanh or sigmoid."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """Layer normalisation of a feature vector without parameters, times `factor`."""

    epsilon: float
    factor: float = 1.0


Layer = Dense | Convolution | Function | Normalisation


def read_layers(module: nn.Module, input_shape: Sequence[int]) -> tuple[Layer, ...] | None:
    """Read off the chain of layers of a module; ``None`` when it is not such a chain.

    Parameters
    ----------
    module : nn.Module
        Maps inputs (batch, ...) to logits (batch, classes).
    input_shape : sequence of int
        Of one input, without the batch.
    """
    where = next(module.parameters())
    device = torch.device("cpu") if where.is_meta else where.device

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=where.dtype, device=device)

    values = {name: zeros(*p.shape) for name, p in module.named_parameters()}
    inputs = zeros(_RECORDED, *input_shape)
    # A module may draw or change its buffers; neither is ours to change.
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    with torch.random.fork_rng(devices=[]), torch.no_grad(), _Recorder() as recorder:
        logits = functional_call(module, {**values, **buffers}, (inputs,))
    chain = _Chain(list(values.values()), inputs)
    for operation, arguments, result in recorder.operations:
        if not chain.add(operation, arguments, result):
            return None
    used = sum(map(_entries, chain.layers))
    # A parameter that is not part of the chain, or twice, would not be trained right.
    whole = used == sum(value.numel() for value in values.values())
    ends_in_dense = bool(chain.layers) and isinstance(chain.layers[-1], Dense)
    return tuple(chain.layers) if whole and ends_in_dense and chain.value is logits else None


def _entries(layer: Layer) -> int:
    if not isinstance(layer, (Dense, Convolution)):
        return 0
    blocks = (layer.weight, layer.bias)
    return sum(block.rows * block.columns for block in blocks if block is not None)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps every operation; tensors stay alive, so that each is known by its identity."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[tuple[str, tuple[Any, ...], Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        # A keyword may change what an operation does; no operation known here needs one.
        name = func.overloadpacket.__name__ if not kwargs else f"{func} with {sorted(kwargs)}"
        self.operations.append((name, args, result))
        return result


class _Chain:
    """Layers so far, and the tensor that the next one has to take."""

    def __init__(self, parameters: Sequence[Tensor], inputs: Tensor) -> None:
        self.layers: list[Layer] = []
        self.value = inputs
        self._ended = False
        self._blocks: dict[int, Block] = {}
        offset = 0
        for parameter in parameters:
            rows = parameter.shape[0] if parameter.dim() else 1
            columns = parameter.numel() // max(rows, 1)
            self._blocks[id(parameter)] = Block(offset=offset, rows=rows, columns=columns)
            offset += parameter.numel()
        #: Transposed parameters, kept so that their identities stay theirs.
        self._transposed: dict[int, tuple[Tensor, Block]] = {}

    def add(self, operation: str, arguments: tuple[Any, ...], result: Any) -> bool:
        """Append what an operation does; False when there is no kernel for it."""
        name = operation.removesuffix("_")
        if name == "t" and id(arguments[0]) in self._blocks:
            self._transposed[id(result)] = (result, self._blocks[id(arguments[0])])
            return True
        rule = _RULES.get(name)
        value = arguments[1] if name == "addmm" else arguments[0]
        if rule is None or value is not self.value or self._ended:
            return False
        known = rule(self, name, arguments)
        self.value = result[0] if isinstance(result, tuple) else result
        return known

    def dense(self, name: str, arguments: tuple[Any, ...]) -> bool:
        weight = self._transposed.get(id(arguments[-1]))
        bias = self._blocks.get(id(arguments[0])) if name == "addmm" else None
        if weight is None or (name == "addmm" and (bias is None or bias.rows != weight[1].rows)):
            return False
        self.layers.append(Dense(weight=weight[1], bias=bias))
        return True

    def convolution(self, name: str, arguments: tuple[Any, ...]) -> bool:
        value, weight, bias, stride, padding, dilation, transposed, _, groups = arguments
        blocks = [self._blocks.get(id(part)) for part in (weight, bias)]
        simple = stride == [1, 1] and dilation == [1, 1] and not transposed and groups == 1
        if blocks[0] is None or (bias is not None and blocks[1] is None) or not simple:
            return False
        self.layers.append(
            Convolution(
                weight=blocks[0],
                bias=blocks[1],
                kernel=tuple(weight.shape[2:]),
                padding=tuple(padding),
                shape=tuple(value.shape[1:]),
                pooled=False,
            )
        )
        return True

    def pooling(self, name: str, arguments: tuple[Any, ...]) -> bool:
        defaults: tuple[Any, ...] = ([2, 2], [0, 0], [1, 1], False)
        kernel, stride, padding, dilation, ceil = arguments[1:] + defaults[len(arguments) - 2 :]
        usual = list(padding) in ([0], [0, 0]) and list(dilation) in ([1], [1, 1]) and not ceil
        by_two = kernel == [2, 2] and stride in ([], [2, 2])
        # A monotone function and the maximum may change places, with the same gradient.
        before = [k for k, layer in enumerate(self.layers) if not isinstance(layer, Function)]
        layer = self.layers[before[-1]] if before else None
        if not (usual and by_two and isinstance(layer, Convolution)) or layer.pooled:
            return False
        self.layers[before[-1]] = replace(layer, pooled=True)
        return True

    def function(self, name: str, arguments: tuple[Any, ...]) -> bool:
        # Functions work in place: not on the inputs, nor on what another one has to remember.
        if not self.layers or isinstance(self.layers[-1], Function):
            return False
        self.layers.append(Function(name=name))
        return True

    def normalisation(self, name: str, arguments: tuple[Any, ...]) -> bool:
        value, shape, weight, bias, epsilon = arguments
        if weight is not None or bias is not None or list(value.shape[1:]) != list(shape):
            return False
        self.layers.append(Normalisation(epsilon=epsilon))
        return len(shape) == 1

    def factor(self, name: str, arguments: tuple[Any, ...]) -> bool:
        factor, last = arguments[1], self.layers[-1] if self.layers else None
        if isinstance(factor, Tensor) or not isinstance(last, Normalisation):
            return False
        self.layers[-1] = replace(last, factor=last.factor * factor)
        return True

    def flattening(self, name: str, arguments: tuple[Any, ...]) -> bool:
        return list(arguments[1]) in ([_RECORDED, self.value[0].numel()], [_RECORDED, -1])

    def log_softmax(self, name: str, arguments: tuple[Any, ...]) -> bool:
        # The loss normalises once more, which changes nothing.
        self._ended = True
        return arguments[1] in (1, -1)


_RULES: dict[str, Callable[[_Chain, str, tuple[Any, ...]], bool]] = {
    "addmm": _Chain.dense,
    "mm": _Chain.dense,
    "convolution": _Chain.convolution,
    "max_pool2d_with_indices": _Chain.pooling,
    **dict.fromkeys(_FUNCTIONS, _Chain.function),
    "native_layer_norm": _Chain.normalisation,
    "mul": _Chain.factor,
    "view": _Chain.flattening,
    "_unsafe_view": _Chain.flattening,
    "_log_softmax": _Chain.log_softmax,
}
