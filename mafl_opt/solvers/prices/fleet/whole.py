"""The whole fleet's answers, had from few devices where the others are known to stay idle.

A device's least cost falls with the prices of progress and rises with every other price. So where
it is 0, the device left idle, at generous prices, it is 0 at all that are nowhere more generous,
whatever the device's own energy price. On fleets most of whose devices stay idle these need not be
asked again, and the bound holds for all of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mafl_opt.solvers.prices.fleet.arcs import Table
from mafl_opt.solvers.prices.fleet.arrays import Fleet
from mafl_opt.solvers.prices.fleet.logs import Answer
from mafl_opt.solvers.prices.fleet.oracle import Oracle

__all__ = ["Whole", "generosity"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Standard errors of the prices that a sample teaches; the factor to generous ones is in between.
_ERRORS = 4.0
_LEAST, _MOST = 1.2, 2.0
# Proofs look far from the plan where errors hardly count, and prices of single slots are taught by
# few devices: so much less of them.
_ERROR, _SHARED = 0.05, 0.5
# More of the fleet than this is not worth telling from the whole.
_MANY = 0.7


def generosity(acting: int) -> float:
    """Factor between learned and generous prices, when so many devices of the sample act."""
    return float(np.clip(1.0 + _ERRORS / np.sqrt(max(acting, 1)), _LEAST, _MOST))


class Whole:
    """A fleet that answers; see the module's docstring.

    Parameters
    ----------
    fleet : Fleet
    start : callable
        Starts the oracle of a name for a fleet: ``everyone`` for the whole, ``full`` for those that
        may act.

    Attributes
    ----------
    acting : Fleet
        Devices that may act.
    names : (devices,)
        Their numbers, increasing.
    """

    def __init__(self, fleet: Fleet, start: Callable[[str, Fleet], Oracle]) -> None:
        self.acting, self.names = fleet, np.arange(fleet.size)
        self._limit: Table | None = None
        self._everyone = self._near = start("everyone", fleet)
        self._start = start

    @property
    def energy_price(self) -> Floats:
        """Of the devices that may act, as last found; (devices,)."""
        return self._near.energy_price

    def leave_out_idle(self, table: Table, factor: float, known: Ints | None) -> bool:
        """Leave out devices that are idle at so many times more generous prices.

        Parameters
        ----------
        table : Table
        factor : float
        known : (devices,) or None
            Numbers of those that are not, from before.

        Returns
        -------
        fewer : bool
            False when those left out are too few to matter; nothing is left out then.
        """
        shared = _SHARED / factor
        limit = Table(
            error=_ERROR * table.error, progress=table.progress * factor,
            uplink=table.uplink * shared, step=table.step * shared,
        )  # fmt: skip
        names = self._everyone.acting(limit) if known is None else known
        if names.size > _MANY * self.names.size:
            return False
        self._limit, self.names, self.acting = limit, names, self.acting.take(names)
        self._near = self._start("full", self.acting)
        return True

    def asked(self, table: Table) -> int:
        """Count the devices that must be asked at the prices."""
        return self._whom(table).fleet.size

    def ask(self, table: Table, *, rounds: int) -> Answer:
        """Solve all devices at the prices, see `Oracle.ask`."""
        return self._whom(table).ask(table, rounds=rounds)

    def _whom(self, table: Table) -> Oracle:
        limit = self._limit
        if limit is None:
            return self._everyone
        near = (
            (table.error >= limit.error).all() and (table.progress <= limit.progress).all()
            and (table.uplink >= limit.uplink).all() and (table.step >= limit.step).all()
        )  # fmt: skip
        return self._near if near else self._everyone
