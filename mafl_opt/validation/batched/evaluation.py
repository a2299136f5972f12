"""Evaluation of one or several models of the same structure on one set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mafl_opt.validation.batched.compiled import can_compile, run_compiled
from mafl_opt.validation.batched.network import Stacked, find_layers, sample_floats
from mafl_opt.validation.models import Model

__all__ = ["evaluate_together"]

#: Samples at once, at most; with kernels of our own as many as hold so many numbers.
_CHUNK, _FLOATS = 512, 2**20


def evaluate_together(
    model: Model, parameters: Sequence[Tensor], inputs: Tensor, labels: Tensor
) -> list[tuple[float, float]]:
    """Return mean cross-entropy and accuracy of each model over all samples of a set.

    Parameters
    ----------
    model : Model
    parameters : sequence of (parameters,)
    inputs, labels : (samples, ...), (samples,)
    """
    scores = []
    with torch.no_grad():
        for vector in parameters:
            loss = correct = 0.0
            for logits, truth in _logits(model, vector, inputs, labels):
                loss += float(F.cross_entropy(logits, truth, reduction="sum"))
                correct += int((logits.argmax(1) == truth).sum())
            scores.append((loss / len(labels), correct / len(labels)))
    return scores


def _logits(
    model: Model, parameters: Tensor, inputs: Tensor, labels: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield logits (samples, classes) with labels (samples,), a chunk at a time."""
    layers = find_layers(model.module, tuple(inputs.shape[1:]))
    if layers is not None and can_compile(layers, inputs):
        yield run_compiled(layers, parameters, inputs), labels
        return
    size = _CHUNK if layers is None else max(1, min(_CHUNK, _FLOATS // sample_floats(layers)))
    network, width = None, 0
    for first in range(0, len(labels), size):
        chunk, truth = inputs[first : first + size], labels[first : first + size]
        if layers is None:
            yield model.logits(parameters, chunk), truth
            continue
        # The last chunk may be smaller, and work space has a size.
        if network is None or width != len(chunk):
            network, width = Stacked(layers, parameters[None], len(chunk)), len(chunk)
        yield network.logits(chunk[None])[0].T, truth
