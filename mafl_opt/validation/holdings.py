"""Which data a device holds in which slot: the rect functions of changing data.

The model page, section 4, calls F_i^(g) the loss on the data that device i has at aggregation g.
Here that data is a list of rows and the names its classes go by, constant on stretches of slots.
Two ways of changing are offered: **class drift**, in which other samples come, of classes mixed
anew; and **label drift**, in which two classes swap their names.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.validation.partition import PartitionScheme, partition_rows

__all__ = ["DRIFTS", "DriftScheme", "Held", "Holdings", "draw_holdings"]

DRIFTS = ("none", "class", "label")

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Held:
    """What a device holds for some slots.

    Attributes
    ----------
    start : int
        First aggregation instant at which it holds this.
    rows : (samples,)
        Rows of the training part.
    names : (classes,)
        What each class of the data set is called by this device now.
    """

    start: int
    rows: Rows
    names: Rows

    def labels(self, labels: Rows) -> Rows:
        """Labels of the rows as they are called now; labels (train samples,) -> (samples,)."""
        return self.names[labels[self.rows]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Holdings:
    """What every device holds over the horizon.

    Attributes
    ----------
    stages : one tuple of Held a device
        By ascending start; the first starts at 0.
    num_slots : int
    """

    stages: tuple[tuple[Held, ...], ...]
    num_slots: int

    def at(self, device: int, instant: int) -> Held:
        """Return what a device holds at aggregation instant g, that is, in slot g (0: at first).

        A session received at r trains on ``at(device, r + 1)``.
        """
        own = self.stages[device]
        return own[bisect_right([held.start for held in own], instant) - 1]

    def changes(self) -> tuple[int, ...]:
        """Instants at which some device's data is not what it was one instant before."""
        return tuple(sorted({held.start for own in self.stages for held in own[1:]}))


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftScheme:
    """How the data of devices changes.

    Attributes
    ----------
    kind : {"none", "class", "label"}
    period : int
        Slots between two changes of one device; each device begins at a slot of its own.
    share : float
        Class drift: the part of its samples that a device replaces, in (0, 1].
    """

    kind: str = "none"
    period: int = 4
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in DRIFTS:
            raise InputError("drift.kind", " or ".join(DRIFTS), self.kind)
        if self.period < 1:
            raise InputError("drift.period", "an integer >= 1", self.period)
        if not 0 < self.share <= 1:
            raise InputError("drift.share", "a number > 0 and <= 1", self.share)


def draw_holdings(
    labels: Rows,
    sizes: Rows,
    num_slots: int,
    *,
    partition: PartitionScheme,
    drift: DriftScheme,
    generator: np.random.Generator,
) -> Holdings:
    """Draw what every device holds at first and how that changes.

    A device always holds exactly its number of samples, and a device without samples never
    changes. The first partition is drawn first: it is the same whatever the drift.

    Parameters
    ----------
    labels : (samples,)
        Of the training part.
    sizes : (devices,)
        Samples D_i of each device.
    num_slots : int
        Slots G.
    partition : PartitionScheme
        Of the first data, and of what comes in with class drift.
    drift : DriftScheme
    generator : numpy.random.Generator
    """
    same = np.arange(labels.max() + 1)
    first = partition_rows(partition, labels, sizes, generator)
    stages = []
    for rows in first:
        own = [Held(start=0, rows=rows, names=same)]
        if drift.kind != "none" and len(rows):
            begin = 1 + int(generator.integers(drift.period))
            for start in range(begin, num_slots + 1, drift.period):
                own.append(_changed(own[-1], start, labels, partition, drift, generator))
        stages.append(tuple(own))
    return Holdings(stages=tuple(stages), num_slots=num_slots)


def _changed(
    before: Held,
    start: int,
    labels: Rows,
    partition: PartitionScheme,
    drift: DriftScheme,
    generator: np.random.Generator,
) -> Held:
    if drift.kind == "label":
        names = before.names.copy()
        pair = generator.choice(len(names), size=min(2, len(names)), replace=False)
        names[pair] = names[pair[::-1]]
        return Held(start=start, rows=before.rows, names=names)
    count = max(1, round(drift.share * len(before.rows)))
    kept = generator.permutation(before.rows)[count:]
    (new,) = partition_rows(partition, labels, np.array([count]), generator)
    return Held(start=start, rows=np.concatenate([kept, new]), names=before.names)
