"""Local training and evaluation of one model, on flat parameter vectors (model page, section 4)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mafl_opt.validation.models import Model

__all__ = ["evaluate_model", "train_locally"]

_EVALUATION_CHUNK = 2048


def train_locally(
    model: Model,
    start: Tensor,
    inputs: Tensor,
    labels: Tensor,
    *,
    batch_size: int,
    iterations: int,
    learning_rate: float,
    proximal: float,
    generator: np.random.Generator,
) -> Tensor:
    """Run the local steps of a session (model page, section 4).

        y_0 = w,    y_{k+1} = y_k - eta (g_k(y_k) + rho (y_k - w)),    k = 0..l-1

    Each mini-batch is drawn afresh from all samples without replacement, as the bound assumes
    (epoch shuffling would not be covered).

    Parameters
    ----------
    start : (parameters,)
        The received model w; left as it is.
    inputs, labels : (samples, ...), (samples,)
        What the device holds of the task.

    Returns
    -------
    parameters : (parameters,)
        The local model y_l.
    """
    local = start
    for _ in range(iterations):
        rows = torch.from_numpy(generator.choice(len(labels), batch_size, replace=False))
        rows = rows.to(labels.device)
        point = local.detach().requires_grad_()
        loss = model.loss(point, inputs[rows], labels[rows])
        (gradient,) = torch.autograd.grad(loss, point)
        local = local - learning_rate * (gradient + proximal * (local - start))
    return local


def evaluate_model(
    model: Model, parameters: Tensor, inputs: Tensor, labels: Tensor
) -> tuple[float, float]:
    """Mean cross-entropy and accuracy on a set, both over all its samples."""
    loss = correct = 0.0
    with torch.no_grad():
        for first in range(0, len(labels), _EVALUATION_CHUNK):
            chunk = slice(first, first + _EVALUATION_CHUNK)
            logits = model.logits(parameters, inputs[chunk])
            mean = torch.nn.functional.cross_entropy(logits, labels[chunk])
            loss += float(mean) * len(labels[chunk])
            correct += int((logits.argmax(1) == labels[chunk]).sum())
    return loss / len(labels), correct / len(labels)
