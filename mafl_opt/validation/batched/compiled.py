"""Sessions of dense networks, trained by compiled kernels on a processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mafl_opt.validation.batched.structure import (
    Convolution,
    Dense,
    Function,
    Layer,
    Normalisation,
)

if TYPE_CHECKING:
    from mafl_opt.validation.training import LocalSession

__all__ = ["can_compile", "run_compiled", "train_compiled"]

#: Parameters of a session begin at a multiple of so many, a line of the cache.
_ALIGNED = 16
#: Samples that are evaluated at once.
_WIDTH = 16


def can_compile(layers: Sequence[Layer], inputs: Tensor) -> bool:
    """Say whether there are compiled kernels: on a processor, for networks without convolutions."""
    plain = inputs.device.type == "cpu" and inputs.dtype in (torch.float32, torch.float64)
    return plain and not any(isinstance(layer, Convolution) for layer in layers)


def train_compiled(
    layers: Sequence[Layer], inputs: Tensor, labels: Tensor, sessions: Sequence[LocalSession]
) -> list[Tensor]:
    """Run the local steps of sessions, one session after the other.

    A session's model does not depend on which others are trained with it. Parameters and results
    are those of `mafl_opt.validation.training.train_sessions`, for layers that `can_compile` takes;
    the models returned are parts of one tensor.

    Raises
    ------
    IndexError
        If a mini-batch has a row that is not there, a label has no output, or a model has not as
        many numbers as the network has parameters.
    """
    # Imported here: numba takes a while, and networks with convolutions go without it.
    from mafl_opt.validation.batched.kernels import train_dense

    if not sessions:
        return []
    table = np.ascontiguousarray(inputs.detach().flatten(1).numpy())
    program, constants = _write_program(layers, table.shape[1])
    parts = [part.flatten() for session in sessions for part in _parts(session)]
    rows = torch.cat(parts).numpy() if parts else np.empty(0, np.int64)
    _require_rows(rows, labels.numpy(), int(program[-1, 1]))
    sizes = [_sizes(session) for session in sessions]
    # Many sessions begin with one model, which then need not be copied.
    models = {id(session.start): session.start for session in sessions}
    places = {name: place for place, name in enumerate(models)}
    first, *others = models.values()
    _require_length(layers, len(first))
    starts = torch.stack([first, *others]) if others else first[None]
    count = len(first)
    values = inputs.new_empty((len(sessions), -(-count // _ALIGNED) * _ALIGNED))
    train_dense(
        program,
        constants.astype(table.dtype),
        table,
        labels.numpy(),
        rows,
        np.concatenate(sizes),
        np.cumsum([(len(own), own.sum()) for own in sizes], axis=0),
        np.array([session.learning_rate for session in sessions], table.dtype),
        np.array([session.proximal for session in sessions], table.dtype),
        np.array([session.optimizer == "adam" for session in sessions]),
        np.ascontiguousarray(starts.detach().numpy()),
        np.array([places[id(session.start)] for session in sessions]),
        values.numpy(),
    )
    return list(values[:, :count].unbind(0))


def run_compiled(layers: Sequence[Layer], parameters: Tensor, inputs: Tensor) -> Tensor:
    """Return logits (samples, classes) of inputs (samples, ...), for layers `can_compile` takes.

    Raises
    ------
    IndexError
        If there are not as many numbers as the network has parameters.
    """
    from mafl_opt.validation.batched.kernels import run_dense

    _require_length(layers, len(parameters))
    table = np.ascontiguousarray(inputs.detach().flatten(1).numpy())
    program, constants = _write_program(layers, table.shape[1])
    value = np.ascontiguousarray(parameters.detach().numpy())
    return torch.from_numpy(run_dense(program, constants.astype(table.dtype), table, value, _WIDTH))


def _parts(session: LocalSession) -> Sequence[Tensor]:
    return (session.batches,) if isinstance(session.batches, Tensor) else session.batches


def _sizes(session: LocalSession) -> NDArray[np.int64]:
    """Count the samples of every mini-batch."""
    batches = session.batches
    if isinstance(batches, Tensor):
        return np.full(batches.shape[0], batches.shape[1], np.int64)
    return np.array([batch.numel() for batch in batches], np.int64)


def _require_rows(rows: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> None:
    """Refuse what would be read or written out of bounds."""
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(labels):
        raise IndexError(f"rows {rows.min()}..{rows.max()} of {len(labels)} samples")
    if len(rows) and not 0 <= labels.min() <= labels.max() < classes:
        raise IndexError(f"labels {labels.min()}..{labels.max()} for {classes} outputs")


def _require_length(layers: Sequence[Layer], length: int) -> None:
    blocks = [b for layer in layers if isinstance(layer, Dense) for b in (layer.weight, layer.bias)]
    needed = max(block.span.stop for block in blocks if block is not None)
    if length != needed:
        raise IndexError(f"a model of {length} numbers for {needed} parameters")


def _write_program(
    layers: Sequence[Layer], features: int
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Write layers as `kernels.train_dense` reads them."""
    from mafl_opt.validation.batched import kernels

    functions = {"relu": kernels.RELU, "tanh": kernels.TANH, "sigmoid": kernels.SIGMOID}
    program, constants = [], []
    for layer in layers:
        entry, numbers = (kernels.NORMALISE, features, 0, -1), (0.0, 1.0)
        if isinstance(layer, Dense):
            features = layer.weight.rows
            bias = -1 if layer.bias is None else layer.bias.offset
            entry = (kernels.DENSE, features, layer.weight.offset, bias)
        elif isinstance(layer, Function):
            entry = (functions[layer.name], features, 0, -1)
        elif isinstance(layer, Normalisation):
            numbers = (layer.epsilon, layer.factor)
        program.append(entry)
        constants.append(numbers)
    return np.array(program, np.int64), np.array(constants)
