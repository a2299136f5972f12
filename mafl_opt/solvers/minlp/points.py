"""Batch sizes of a column as points of an outer polygon: what the master's variables stand for.

For a fixed column, error and energy depend on the batch size through v = 1/B alone, and energy is
a convex, falling function of v (model page, (37)). The possible (v, E) of whole batch sizes are
the corners of a convex chain. A few edges of it, continued until they meet, give a polygon outside
the chain: outer approximation of the energy's b^3/x^2 and of the error's x^2/b at once, written by
corners. With every edge taken, the corners are the whole batch sizes themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.candidates import Candidates
from mafl_opt.formulations.pricing import Prices, best_batches
from mafl_opt.formulations.problem import Problem

__all__ = ["Points", "batch_range", "outer_points"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Points:
    """Corners of the polygons of some columns; arrays of shape (points,), ordered by column.

    column : index into the problem's columns
    batch : largest whole batch size that v = 1/B of the corner stands for
    error : phi_s at the corner
    energy : J, session energy at the corner
    """

    column: Ints
    batch: Ints
    error: Floats
    energy: Floats

    def __len__(self) -> int:
        return int(self.column.size)


def outer_points(columns: Candidates, index: Ints, low: Ints, high: Ints, growth: float) -> Points:
    """Corners for the columns `index` with batch sizes in [low, high].

    Parameters
    ----------
    columns : Candidates
    index : (kept columns,)
    low, high : (kept columns,)
        1 <= low <= high <= batch_hi.
    growth : float
        Edges are taken at batch sizes that grow by this factor; 1 takes every edge, so that the
        corners are the whole batch sizes.
    """
    c = columns.take(index)
    parts: list[tuple[Ints, Floats, Floats, Ints]] = []

    def emit(mask: NDArray[np.bool_], v: Floats, energy: Floats, batch: Ints) -> None:
        parts.append((np.flatnonzero(mask), v[mask], energy[mask], batch[mask]))

    emit(np.ones(index.size, bool), 1.0 / low, c.energy(low), low)
    emit(high > low, 1.0 / high, c.energy(high), high)
    # The edge at `start` joins the batch sizes start and start + 1.
    start = low.copy()
    while (more := start < high - 1).any():
        step = np.maximum(start * growth, start + 1).astype(np.int64)
        following = np.where(more, np.minimum(step, high - 1), start)
        v, energy = _meet(c, start, following)
        emit(more, v, energy, np.clip(np.floor(1.0 / v + 1e-9), low, high).astype(np.int64))
        start = following
    where = np.concatenate([part[0] for part in parts])
    v = np.concatenate([part[1] for part in parts])
    energy = np.concatenate([part[2] for part in parts])
    batch = np.concatenate([part[3] for part in parts])
    order = np.lexsort((-v, where))
    where, v = where[order], v[order]
    error = (c.error - c.noise / c.samples)[where] + c.noise[where] * v
    return Points(
        column=index[where], batch=batch[order], error=np.maximum(error, 0.0),
        energy=np.maximum(energy[order], 0.0),
    )  # fmt: skip


def _meet(c: Candidates, one: Ints, other: Ints) -> tuple[Floats, Floats]:
    """Where the edges at two batch sizes meet, as (v, E); at `other` if they are one line."""
    v_one, e_one, slope_one = _edge(c, one)
    v_other, e_other, slope_other = _edge(c, other)
    apart = slope_other - slope_one
    flat = np.abs(apart) <= 1e-9 * (np.abs(slope_one) + np.abs(slope_other))
    safe = np.where(flat, 1.0, apart)
    v = (e_one - e_other + slope_other * v_other - slope_one * v_one) / safe
    # Round-off must not push the corner off the chain between the two edges.
    v = np.where(flat, v_other, np.clip(v, v_other, v_one))
    return v, np.minimum(e_other + slope_other * (v - v_other), e_one + slope_one * (v - v_one))


def _edge(c: Candidates, batch: Ints) -> tuple[Floats, Floats, Floats]:
    v, w = 1.0 / batch, 1.0 / (batch + 1)
    here, there = c.energy(batch), c.energy(batch + 1)
    return v, here, (here - there) / (v - w)


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
