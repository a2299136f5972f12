"""The sessions of a problem, sorted into the blocks that patterns are made of.

A block holds the sessions of one task that end at one aggregation. A pattern is a set of sessions
of one block, at most one a device, that keeps the step cap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.prices.patterns.multipliers import Count, Multipliers

__all__ = ["Sessions"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sessions:
    """Columns of weighted tasks, sorted by block, device and step; arrays of shape (sessions,).

    Attributes
    ----------
    column : number of the problem's column
    block : (upload - 1) * tasks + task
    device, task, receive, upload, iterations : indices and counts
    progress : a_s
    error, noise : phi_s = error + noise / B
    step : c_s C1(l)
    radio_j : J, of both transfers
    joule, f_min_hz, hz : E_C = joule * B * f^2 with f = max(f_min_hz, hz * B)
    batch_max : largest mini-batch
    slow, kink, fast : factors of the best mini-batch (model page, eq. 38)
    """

    column: Ints
    block: Ints
    device: Ints
    task: Ints
    receive: Ints
    upload: Ints
    iterations: Ints
    progress: Floats
    error: Floats
    noise: Floats
    step: Floats
    radio_j: Floats
    joule: Floats
    f_min_hz: Floats
    hz: Floats
    batch_max: Floats
    slow: Floats
    kink: Floats
    fast: Floats

    @classmethod
    def of(cls, problem: Problem) -> Sessions:
        """Sort the columns of a problem."""
        s, every = problem.scenario, problem.columns
        weighted = np.flatnonzero(s.tasks.weight[every.task] > 0)
        block = (every.upload - 1) * s.num_tasks + every.task
        order = weighted[
            np.lexsort((every.step[weighted], every.device[weighted], block[weighted]))
        ]
        c = every.take(order)
        joule, hz = c.capacitance * c.cycles, c.cycles / c.time_s
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            slow = np.sqrt(c.noise / (joule * c.f_min_hz**2))
            fast = (c.noise / (3.0 * joule * hz**2)) ** 0.25
            kink = c.f_min_hz / hz
        return cls(
            column=order, block=block[order], device=c.device, task=c.task, receive=c.receive,
            upload=c.upload, iterations=c.iterations, progress=c.progress,
            error=c.error - c.noise / c.samples,
            noise=c.noise, step=c.step, radio_j=c.fixed_energy_j, joule=joule,
            f_min_hz=c.f_min_hz, hz=hz, batch_max=c.batch_hi.astype(float),
            slow=np.where(c.noise > 0, slow, 0.0), kink=kink,
            fast=np.where(c.noise > 0, fast, 0.0),
        )  # fmt: skip

    def __len__(self) -> int:
        return int(self.column.size)

    def energy_j(self, batch: Floats, rows: Ints | slice = slice(None)) -> Floats:
        """Return the energy of sessions at some mini-batches; J."""
        frequency = np.maximum(self.f_min_hz[rows], self.hz[rows] * batch)
        return np.asarray(self.radio_j[rows] + self.joule[rows] * batch * frequency**2)

    def error_at(self, batch: Floats, rows: Ints | slice = slice(None)) -> Floats:
        """Return phi_s of sessions at some mini-batches."""
        return np.asarray(self.error[rows] + self.noise[rows] / batch)

    def best_batch(self, error: Floats, joule: Floats) -> Floats:
        """Return the best mini-batch of every session (model page, fact 2); (sessions,).

        Parameters
        ----------
        error : (tasks,)
            lam_j.
        joule : (devices,), 1/J
            xi + om_i.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = np.where(error > 0, error, 0.0) / joule[:, None]
            ratio[np.isnan(ratio)] = 0.0
            root = np.sqrt(ratio)
            pair = self.device * error.size + self.task
            best = np.maximum(self.kink, np.sqrt(root).ravel()[pair] * self.fast)
            np.minimum(best, root.ravel()[pair] * self.slow, out=best)
        best[np.isnan(best)] = 1.0
        np.clip(best, 1.0, self.batch_max, out=best)
        low = np.floor(best)
        high = np.minimum(low + 1.0, self.batch_max)
        pull, paid = error[self.task] * self.noise, joule[self.device] * self.joule
        f_low = np.maximum(self.f_min_hz, self.hz * low)
        f_high = np.maximum(self.f_min_hz, self.hz * high)
        rise = paid * (high * f_high**2 - low * f_low**2)
        return np.asarray(np.where(rise < pull * (1.0 / low - 1.0 / high), high, low))

    def reduced_costs(
        self, prices: Multipliers, energy_weight: float, counts: tuple[Count, ...] = ()
    ) -> tuple[Floats, Floats]:
        """Return the reduced cost of every session at its best mini-batch, and that.

        Returns
        -------
        cost, batch : (sessions,)
        """
        joule = energy_weight + prices.energy
        batch = self.best_batch(prices.error, joule)
        cost = self._sized_cost(prices, joule, batch)
        total = np.hstack([np.zeros((joule.size, 1)), prices.device_slot.cumsum(axis=1)])
        cost -= prices.progress[self.task] * self.progress
        cost += prices.uplink[self.upload - 1]
        cost += total[self.device, self.upload] - total[self.device, self.receive]
        by_batch = []
        for count, price in zip(counts, prices.counts.tolist(), strict=False):
            if price != 0 and count.batch_above:
                by_batch.append((count, price))
            elif price != 0:
                cost[self.counted(count)] += price
        if by_batch:
            self._charge_batches(prices, joule, by_batch, cost, batch)
        return cost, batch

    def _sized_cost(self, prices: Multipliers, joule: Floats, batch: Floats) -> Floats:
        """Return what depends on the mini-batch; (sessions,)."""
        cost = prices.error[self.task] * self.error_at(batch)
        return np.asarray(cost + joule[self.device] * self.energy_j(batch))

    def _charge_batches(
        self, prices: Multipliers, joule: Floats, charged: list[tuple[Count, float]],
        cost: Floats, batch: Floats,
    ) -> None:  # fmt: skip
        """Charge counts of large mini-batches, in place: between them costs stay convex."""
        ends = sorted({count.batch_above for count, _ in charged})
        fixed = cost - self._sized_cost(prices, joule, batch)
        wish = batch.copy()
        cost[:] = np.inf
        for low, high in zip([0, *ends], [*ends, np.inf], strict=True):
            size = np.minimum(np.clip(wish, low + 1, high), self.batch_max)
            here = fixed + self._sized_cost(prices, joule, size)
            for count, price in charged:
                if low >= count.batch_above:
                    here[self.counted(count)] += price
            better = (size > low) & (here < cost)
            cost[better], batch[better] = here[better], size[better]

    def counted(self, count: Count) -> NDArray[np.bool_]:
        """Return which sessions a count counts, if their mini-batch is large enough."""
        mine = self.iterations > count.iterations_above
        for name in ("device", "task", "receive", "upload"):
            if getattr(count, name) is not None:
                mine &= getattr(self, name) == getattr(count, name)
        return mine
