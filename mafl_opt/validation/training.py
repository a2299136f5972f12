"""Local training and evaluation of models on flat parameter vectors (model page, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mafl_opt.core.errors import InputError
from mafl_opt.validation.batched.evaluation import evaluate_together
from mafl_opt.validation.batched.together import can_train_together, train_together
from mafl_opt.validation.models import Model

__all__ = ["LocalSession", "evaluate_model", "train_sessions"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LocalSession:
    """Local training of one session, ready to be computed.

    Attributes
    ----------
    start : (parameters,)
        The received model w; left as it is.
    batches : (steps, samples), or one tensor (samples,) a step
        Rows of the task's training part. As a matrix, many of them are handled faster.
    learning_rate, proximal : float
        eta and rho.
    optimizer : {"sgd", "adam"}
        Adam starts afresh in every session and sees the proximal gradient too.
    """

    start: Tensor
    batches: Tensor | tuple[Tensor, ...]
    learning_rate: float
    proximal: float = 0.0
    optimizer: str = "sgd"

    def __post_init__(self) -> None:
        if self.optimizer not in ("sgd", "adam"):
            raise InputError("session.optimizer", "sgd or adam", self.optimizer)
        batches = self.batches
        if isinstance(batches, Tensor):
            sound = batches.dim() == 2 and (batches.shape[1] > 0 or not batches.shape[0])
        else:
            sound = all(batch.dim() == 1 and batch.numel() for batch in batches)
        if not sound:
            raise InputError("session.batches", "at least one row number a step", "a step without")


def train_sessions(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    sessions: Sequence[LocalSession],
    *,
    batched: bool = True,
) -> list[Tensor]:
    """Run the local steps of sessions (model page, section 4).

        y_0 = w,    y_{k+1} = y_k - eta (g_k(y_k) + rho (y_k - w)),    k = 0..l-1

    Parameters
    ----------
    model : Model
    inputs, labels : (samples, ...), (samples,)
        The task's training part.
    sessions : sequence of LocalSession
    batched : bool
        Train sessions together (`mafl_opt.validation.batched`) instead of one after the other. The
        mini-batches and the arithmetic are the same; sums are taken in another order. A module that
        depends on values, draws random numbers or changes buffers is trained alone all the same.

    Returns
    -------
    parameters : one vector (parameters,) a session
        The local models y_l.
    """
    if batched and can_train_together(model, inputs):
        return train_together(model, inputs, labels, sessions)
    return [_train_alone(model, inputs, labels, session) for session in sessions]


def _train_alone(model: Model, inputs: Tensor, labels: Tensor, session: LocalSession) -> Tensor:
    local, start = session.start, session.start
    first, second = torch.zeros_like(local), torch.zeros_like(local)
    for step, rows in enumerate(session.batches, 1):
        point = local.detach().requires_grad_()
        loss = model.loss(point, inputs[rows], labels[rows])
        (gradient,) = torch.autograd.grad(loss, point)
        gradient = gradient + session.proximal * (local - start)
        if session.optimizer == "adam":
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            gradient = first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        local = local - session.learning_rate * gradient
    return local


def evaluate_model(
    model: Model, parameters: Tensor, inputs: Tensor, labels: Tensor
) -> tuple[float, float]:
    """Mean cross-entropy and accuracy on a set, both over all its samples."""
    return evaluate_together(model, [parameters], inputs, labels)[0]
