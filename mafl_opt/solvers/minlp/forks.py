"""Where a relaxed point is fractional: sets of columns that a plan uses once or not at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.problem import Problem

__all__ = ["Fork", "find_fork"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Less than this is whole.
_WHOLE = 0.02
# How much a fork is worth by what it asks: whether a device uploads in a slot, for which task,
# since which slot, and with how many iterations.
_UPLOAD, _TASK, _RECEIVE, _ITERATIONS = 1.0, 1.0, 0.6, 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fork:
    """Columns of one device, all busy in one slot: a plan uses one of them or none.

    asked : (columns,), bool
    rivals : (columns,), bool
        The device's other columns that are busy in that slot: none of them beside one asked for.
    amount : float
        How much the relaxed point uses of those asked for.
    """

    asked: Mask
    rivals: Mask
    amount: float


def find_fork(problem: Problem, x: Floats) -> Fork | None:
    """Return the set of columns whose use is most fractional; None where all are whole.

    Parameters
    ----------
    problem : Problem
    x : (columns,)
        How much a relaxed point uses of every column.
    """
    c = problem.columns
    used = np.flatnonzero(x > 1e-6)
    best, asked = 0.0, None
    keys = (c.device, c.upload, c.task, c.receive)
    for size, worth in ((2, _UPLOAD), (3, _TASK), (4, _RECEIVE)):
        names, where = np.unique(
            np.stack([k[used] for k in keys[:size]]), axis=1, return_inverse=True
        )
        amount = np.bincount(where.ravel(), x[used], minlength=names.shape[1]).astype(np.float64)
        score = worth * _fraction(amount)
        at = int(np.argmax(score)) if score.size else -1
        if at >= 0 and score[at] > best:
            best = float(score[at])
            asked = np.logical_and.reduce(
                [k == name for k, name in zip(keys[:size], names[:, at], strict=True)]
            )
    same = np.stack([k[used] for k in keys[:3]])
    for name in np.unique(same, axis=1).T:
        own = used[(same == name[:, None]).all(axis=0)]
        for least in np.unique(c.iterations[own])[1:]:
            amount = x[own[c.iterations[own] >= least]].sum(keepdims=True)
            value = _ITERATIONS * float(_fraction(amount)[0])
            if value > best:
                best = value
                asked = np.logical_and.reduce(
                    [k == part for k, part in zip(keys[:3], name, strict=True)]
                ) & (c.iterations >= least)
    if asked is None:
        return None
    one = int(np.argmax(asked))
    busy = (c.device == c.device[one]) & (c.receive < c.upload[one]) & (c.upload >= c.upload[one])
    return Fork(asked=asked, rivals=busy & ~asked, amount=float(x[asked].sum()))


def _fraction(amount: Floats) -> Floats:
    fraction = np.minimum(amount, 1.0 - amount)
    return np.where(fraction > _WHOLE, fraction, 0.0)
