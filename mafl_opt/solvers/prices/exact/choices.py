"""Columns with a batch size, device by device and arc by arc: what a device plan is made of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.formulations.problem import Problem

__all__ = ["Choices", "list_choices"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Above this the lists take more than about a GiB; larger fleets go without them.
MAX_CHOICES = 10_000_000


class Choices(NamedTuple):
    """Choices ordered by device, upload, receive, energy.

    column : (choices,), index into the problem's columns
    batch : (choices,)
    error : (choices,), phi
    energy : (choices,), J
    arc_start : (arcs + 1,), first choice of every arc (device, receive, upload)
    arc_receive, arc_upload : (arcs,)
    device_start : (devices + 1,), first arc of every device
    """

    column: Ints
    batch: Ints
    error: Floats
    energy: Floats
    arc_start: Ints
    arc_receive: Ints
    arc_upload: Ints
    device_start: Ints


def list_choices(problem: Problem) -> Choices:
    """List every choice of a problem.

    Raises
    ------
    InputError
        When there would be more than `MAX_CHOICES`.
    """
    c = problem.columns
    total = int(c.batch_hi.sum())
    if total > MAX_CHOICES:
        raise InputError(
            "scenario", f"at most {MAX_CHOICES} pairs of column and batch size", total,
            "use a smaller fleet or smaller batches",
        )  # fmt: skip
    column = np.repeat(np.arange(len(c)), c.batch_hi)
    batch = np.arange(total) - np.repeat(np.cumsum(c.batch_hi) - c.batch_hi, c.batch_hi) + 1
    at = c.take(column)
    error, energy = at.error_at(batch), at.energy(batch)
    order = np.lexsort((error, energy, at.receive, at.upload, at.device))
    column = column[order]
    arcs = np.stack([c.device, c.upload, c.receive], axis=1)[column]
    new = np.ones(total, dtype=bool)
    new[1:] = (arcs[1:] != arcs[:-1]).any(axis=1)
    first = np.flatnonzero(new)
    return Choices(
        column=column, batch=batch[order], error=error[order], energy=energy[order],
        arc_start=np.append(first, total), arc_receive=arcs[first, 2], arc_upload=arcs[first, 1],
        device_start=np.searchsorted(arcs[first, 0], np.arange(problem.scenario.num_devices + 1)),
    )  # fmt: skip
