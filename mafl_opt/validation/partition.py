"""Which samples each device holds: label skew by a Dirichlet draw, with exact sizes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError

__all__ = ["partition_labels"]


def partition_labels(
    labels: NDArray[np.int64],
    sizes: NDArray[np.int64],
    concentration: float,
    generator: np.random.Generator,
) -> tuple[NDArray[np.int64], ...]:
    """Give each device exactly its number of samples, its classes mixed by a Dirichlet draw.

    A device's class probabilities are drawn from Dirichlet(concentration * C * prior) with the
    prior of the whole set over C classes: `concentration` a class when classes are balanced, and
    the prior itself when it is infinite. A class that runs out is replaced by the others.

    If the set is large enough no sample is on two devices. Otherwise devices draw independently
    from the whole set; a device holds a sample twice only if it holds more than the set has.

    Parameters
    ----------
    labels : (samples,)
    sizes : (devices,)
        Samples D_i of each device, 0 allowed.
    concentration : float
        Positive or infinity; small values give a device few classes.
    generator : numpy.random.Generator

    Returns
    -------
    rows : one array (sizes[i],) of row numbers a device

    Raises
    ------
    InputError
        If the concentration is not positive.
    """
    if not concentration > 0:
        raise InputError("options.dirichlet", "a number > 0 or infinity", concentration)
    prior = np.bincount(labels) / len(labels)
    disjoint = sizes.sum() <= len(labels)
    pools = _shuffled_pools(labels, generator)
    out = []
    for size in sizes.tolist():
        if not disjoint:
            pools = _shuffled_pools(labels, generator)
        copies, rest = divmod(size, len(labels))
        parts = [np.arange(len(labels))] * copies
        room = np.array([len(pool) for pool in pools])
        counts = _class_counts(rest, room, _mixture(prior, concentration, generator), generator)
        for label, count in enumerate(counts.tolist()):
            parts.append(pools[label][:count])
            pools[label] = pools[label][count:]
        out.append(np.concatenate(parts))
    return tuple(out)


def _shuffled_pools(
    labels: NDArray[np.int64], generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    return [
        generator.permutation(np.flatnonzero(labels == label)) for label in range(labels.max() + 1)
    ]


def _mixture(
    prior: NDArray[np.float64], concentration: float, generator: np.random.Generator
) -> NDArray[np.float64]:
    if math.isinf(concentration):
        return prior
    mixture = np.zeros_like(prior)
    present = prior > 0
    weights = concentration * present.sum() * prior[present]
    mixture[present] = generator.dirichlet(weights)
    return mixture


def _class_counts(
    size: int,
    room: NDArray[np.int64],
    mixture: NDArray[np.float64],
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Split `size` over classes by the mixture, none above its room; shape (classes,)."""
    counts = np.zeros_like(room)
    while counts.sum() < size:
        left = room - counts
        weights = np.where(left > 0, mixture, 0.0)
        if not weights.sum() > 0:
            # The device's own classes are used up: take what there is.
            weights = left.astype(float)
        draw = generator.multinomial(size - counts.sum(), weights / weights.sum())
        counts += np.minimum(draw, left)
    return counts
