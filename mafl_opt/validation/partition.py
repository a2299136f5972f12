"""Which samples each device holds, with exact sizes.

Label skew by a Dirichlet draw, by shards, or none; quantity skew is a matter of the sizes, which
`skewed_sizes` draws and a scenario states.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.core.samplers import apportion

__all__ = [
    "PARTITIONS",
    "PartitionScheme",
    "partition_labels",
    "partition_rows",
    "partition_shards",
    "skewed_sizes",
]

#: Kinds of label skew.
PARTITIONS = ("dirichlet", "shards", "iid")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionScheme:
    """How classes are spread over devices.

    Attributes
    ----------
    kind : {"dirichlet", "shards", "iid"}
        See `partition_labels`, `partition_shards`; ``iid`` is the first at infinity.
    concentration : float
        Of the Dirichlet draw, positive or infinity.
    shards : int
        Runs of equal labels that a device gets.
    """

    kind: str = "dirichlet"
    concentration: float = 0.5
    shards: int = 2

    def __post_init__(self) -> None:
        if self.kind not in PARTITIONS:
            raise InputError("partition.kind", " or ".join(PARTITIONS), self.kind)
        if not self.concentration > 0:
            expected = "a number > 0 or infinity"
            raise InputError("partition.concentration", expected, self.concentration)
        if self.shards < 1:
            raise InputError("partition.shards", "an integer >= 1", self.shards)


def partition_rows(
    scheme: PartitionScheme,
    labels: NDArray[np.int64],
    sizes: NDArray[np.int64],
    generator: np.random.Generator,
) -> tuple[NDArray[np.int64], ...]:
    """Give each device its number of samples by a scheme.

    Returns
    -------
    rows : one array (sizes[i],) of row numbers a device
    """
    if scheme.kind == "shards":
        return partition_shards(labels, sizes, scheme.shards, generator)
    concentration = math.inf if scheme.kind == "iid" else scheme.concentration
    return partition_labels(labels, sizes, concentration, generator)


def skewed_sizes(
    total: int, devices: int, concentration: float, generator: np.random.Generator, least: int = 1
) -> NDArray[np.int64]:
    """Draw how many samples each device holds: quantity skew.

    Each device gets `least`, the rest goes by shares from the symmetric Dirichlet distribution;
    infinity splits evenly.

    Returns
    -------
    sizes : (devices,), adding up to `total`

    Raises
    ------
    InputError
        If there is too little for everyone, or the concentration is not positive.
    """
    if not concentration > 0:
        raise InputError("concentration", "a number > 0 or infinity", concentration)
    if devices < 1 or total < least * devices:
        raise InputError("total", f"at least {least} for each of {devices} devices", total)
    shares = np.full(devices, 1.0 / devices)
    if not math.isinf(concentration):
        shares = generator.dirichlet(np.full(devices, concentration))
    return apportion(total - least * devices, shares) + least


def partition_shards(
    labels: NDArray[np.int64],
    sizes: NDArray[np.int64],
    shards: int,
    generator: np.random.Generator,
) -> tuple[NDArray[np.int64], ...]:
    """Give each device a few runs of samples sorted by class, so that it has few classes.

    With sizes for the whole set the pieces of all devices, in random order, are laid end to end
    along the sorted samples, and no sample is on two devices. If the devices together hold more
    than the set has, each places its pieces on its own, and repeats a sample only if its pieces
    overlap or it holds more than the set has.

    Parameters
    ----------
    labels : (samples,)
    sizes : (devices,)
        Samples D_i of each device, 0 allowed.
    shards : int
        Pieces of a device, of equal size but for one sample.
    generator : numpy.random.Generator

    Returns
    -------
    rows : one array (sizes[i],) of row numbers a device
    """
    order = generator.permutation(len(labels))
    owner = np.repeat(np.arange(len(sizes)), shards)
    pieces = np.concatenate([apportion(size, np.full(shards, 1 / shards)) for size in sizes])
    if sizes.sum() <= len(labels):
        order = order[: sizes.sum()]
        order = order[np.argsort(labels[order], kind="stable")]
        turn = generator.permutation(len(pieces))
        ends = np.cumsum(pieces[turn])
        parts = dict(zip(turn.tolist(), np.split(order, ends[:-1]), strict=True))
    else:
        order = order[np.argsort(labels[order], kind="stable")]
        starts = generator.integers(len(labels), size=len(pieces))
        parts = {
            k: np.take(order, np.arange(start, start + size), mode="wrap")
            for k, (start, size) in enumerate(zip(starts, pieces, strict=True))
        }
    return tuple(
        np.concatenate([parts[k] for k in np.flatnonzero(owner == i).tolist()])
        for i in range(len(sizes))
    )


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
