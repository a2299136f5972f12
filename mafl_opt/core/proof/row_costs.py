"""What sessions cost at given prices, minimised over the mini-batch (model page, 6, fact 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.proof.guards import HUGE, ROUNDING
from mafl_opt.core.proof.session_table import SessionTable

__all__ = ["RowCosts"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCosts:
    """Rows of a session table with their prices.

    Attributes
    ----------
    table : SessionTable
    error : (rows,)
        lam of the row's task.
    fixed, gain : (rows,)
        What a row costs and brings that depends on neither mini-batch nor joules, both >= 0.
    """

    table: SessionTable
    error: Floats
    fixed: Floats
    gain: Floats

    def take(self, rows: Ints | Bools) -> RowCosts:
        """Return some rows."""
        return RowCosts(
            table=self.table.take(rows), error=self.error[rows], fixed=self.fixed[rows],
            gain=self.gain[rows],
        )  # fmt: skip

    def at(self, batch: Floats, joule: Floats) -> Floats:
        """Return the cost at a mini-batch and a price of a joule, rounded downwards; (rows,)."""
        table = self.table
        frequency = np.maximum(table.f_min_hz, table.work * batch / table.time_s)
        joules = table.radio_j + table.capacitance * table.work * batch * frequency**2
        pull = self.error * table.noise
        noise, paid = pull * (1.0 / batch - 1.0 / table.samples), joule * joules
        cost = self.fixed + noise + paid - self.gain
        # nu(B) is a difference: its rounding error is that of 1/B <= 1.
        cost -= ROUNDING * (self.fixed + pull + np.abs(noise) + paid + self.gain)
        lowered: Floats = np.where(np.isfinite(cost), np.minimum(cost, HUGE), -np.inf)
        return lowered

    def least(self, joule: Floats) -> tuple[Floats, Floats]:
        """Return the least cost at a price of a joule, and its mini-batch; (rows,) each."""
        real = self.table.best_batch(self.error, joule)
        low, high = np.floor(real), np.ceil(real)
        below, above = self.at(low, joule), self.at(high, joule)
        return np.minimum(below, above), np.where(below <= above, low, high)
