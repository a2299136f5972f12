"""Which samples each local step of a session sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mafl_opt.validation.engine.jobs import Work

__all__ = ["draw_batches"]


def draw_batches(
    work: Work, held: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], ...]:
    """Draw the mini-batches of a session.

    With `steps`, every mini-batch is drawn afresh from all samples without replacement, as the
    bound assumes (model page, section 5). With `epochs`, every epoch goes through all samples in a
    new order; its last mini-batch may be smaller.

    Parameters
    ----------
    work : Work
    held : int
        Samples that the client holds, at least 1.
    generator : numpy.random.Generator

    Returns
    -------
    batches : one array a step
        Positions 0..held-1 among the client's samples.
    """
    size = min(work.batch_size, held)
    if work.steps is not None:
        return tuple(generator.choice(held, size, replace=False) for _ in range(work.steps))
    batches: list[NDArray[np.int64]] = []
    for _ in range(work.epochs or 0):
        order = generator.permutation(held)
        batches += [order[first : first + size] for first in range(0, held, size)]
    return tuple(batches)
