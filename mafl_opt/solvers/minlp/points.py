"""Columns with their batch sizes: what the variables of the linear program stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.candidates import Candidates
from mafl_opt.formulations.pricing import Prices, best_batches
from mafl_opt.formulations.problem import Problem

__all__ = ["Points", "batch_range", "grid", "whole"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Points:
    """Pairs of a column (an index into the problem's) and a batch size; (points,) each."""

    column: Ints
    batch: Ints

    def __len__(self) -> int:
        return int(self.column.size)

    def take(self, keep: NDArray[np.bool_]) -> Points:
        """Return the points where `keep` is true."""
        return Points(column=self.column[keep], batch=self.batch[keep])


def whole(index: Ints, low: Ints, high: Ints) -> Points:
    """Every batch size from `low` to `high` of the columns `index`."""
    counts = high - low + 1
    first = np.repeat(np.cumsum(counts) - counts, counts)
    batch = np.arange(int(counts.sum())) - first + np.repeat(low, counts)
    return Points(column=np.repeat(index, counts), batch=batch)


def grid(columns: Candidates, growth: float) -> Points:
    """Every column with batch sizes that grow by a factor, its largest one among them."""
    index, batch = [np.arange(len(columns))], [columns.batch_hi]
    size = 1
    while (more := columns.batch_hi > size).any():
        index.append(np.flatnonzero(more))
        batch.append(np.full(index[-1].size, size))
        size = max(int(size * growth), size + 1)
    return Points(column=np.concatenate(index), batch=np.concatenate(batch))


def batch_range(
    problem: Problem, prices: Prices, room: float
) -> tuple[NDArray[np.bool_], Ints, Ints]:
    """Which columns and batch sizes a plan below the incumbent can use, at given prices.

    At prices that prove the bound z, a plan with column k at batch size B costs at least z plus
    the column's slack plus what B costs above the best batch size. The last is convex in B, so
    that the batch sizes left are a range.

    Parameters
    ----------
    problem : Problem
    prices : Prices
    room : float
        Incumbent's objective minus the Lagrangian bound at `prices`.

    Returns
    -------
    kept : (columns,), bool
    low, high : (columns,)
        Range of batch sizes; the best one alone where not kept.
    """
    s, c = problem.scenario, problem.columns
    e = s.energy_weight + prices.energy[c.device]
    best = best_batches(c, prices.numerator[c.task], e)
    cost = prices.reduced_costs(s, c, best)
    left = room * (1 + 1e-9) - problem.program.slack(cost)
    kept = left >= 0

    def within(batch: Ints) -> NDArray[np.bool_]:
        return np.asarray(prices.reduced_costs(s, c, batch) - cost <= left)

    low, high = best.copy(), best.copy()
    one, top = np.ones_like(best), c.batch_hi.copy()
    for _ in range(int(c.batch_hi.max(initial=1)).bit_length() + 1):
        middle = (one + low) // 2
        fits = within(middle)
        low, one = np.where(fits, middle, low), np.where(fits, one, np.minimum(middle + 1, low))
        middle = (high + top + 1) // 2
        fits = within(middle)
        high, top = np.where(fits, middle, high), np.where(fits, top, np.maximum(middle - 1, high))
    return kept, np.where(kept, low, best), np.where(kept, high, best)
