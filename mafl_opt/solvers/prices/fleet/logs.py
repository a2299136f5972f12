"""Logs of what a search on a large fleet has been told: answers to prices, and sweeps of a plan.

Everything else the search does follows from these, at little cost and always alike. So a search is
resumed by doing it again with the logs at hand: what they know is not worked out a second time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.solvers.prices.fleet.arcs import Table

__all__ = ["Answer", "AnswerLog", "Asked", "SweepLog", "Swept"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What a fleet answers to a price table.

    value : float
        The dual there, ratio blocks left out.
    gap : float
        How far the devices' plans are above their bounds, in all.
    size : float
        Sum of the magnitudes that the value is a sum of.
    totals : (groups, 1 + 2 J + G + G J)
        What the plans add up to, see `kernel`.
    """

    value: float
    gap: float
    size: float
    totals: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """A question with its answer; `table` is flat, (2 J + G + G J,)."""

    table: Floats
    rounds: int
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Swept:
    """A sweep: its prices, flat, and the totals of the plan after it, (1 + 2 J + G + G J,)."""

    table: Floats
    totals: Floats


def _flat(table: Table) -> Floats:
    return np.concatenate([np.ravel(part) for part in table])


class AnswerLog:
    """Answers of one oracle, in order.

    Parameters
    ----------
    stop : callable
        Once true, the search only wraps up: what it asks from then on is not kept.
    changed : callable
        Called after every new entry.
    entries : list of Asked
    energy_price : (devices,) or None
        Of the devices after the last entry.
    """

    def __init__(
        self, stop: Callable[[], bool], changed: Callable[[], None],
        entries: list[Asked] | None = None, energy_price: Floats | None = None,
    ) -> None:  # fmt: skip
        self._stop, self._changed = stop, changed
        self.entries = entries or []
        self.energy_price = energy_price
        self._next = 0
        self._closed = False

    def recall(self, table: Table, rounds: int) -> Answer | None:
        """Return the next answer if this was the question; entries that do not fit are dropped."""
        self._closed = self._closed or self._stop()
        if self._next == len(self.entries):
            return None
        entry = self.entries[self._next]
        if entry.rounds == rounds and np.array_equal(entry.table, _flat(table)):
            self._next += 1
            return entry.answer
        if not self._closed:
            del self.entries[self._next :]
        return None

    def keep(self, table: Table, rounds: int, answer: Answer, energy_price: Floats) -> None:
        """Add an answer that has just been worked out."""
        if self._closed:
            return
        self.entries.append(Asked(table=_flat(table), rounds=rounds, answer=answer))
        self.energy_price = energy_price
        self._next += 1
        self._changed()


class SweepLog:
    """Sweeps of an assignment, in order, and the plan after the last.

    Parameters
    ----------
    changed : callable
        Called after every new entry.
    entries : list of Swept
    rows : (sessions, 5), task, receive, upload, iterations, batch, by device
    counts : (devices,)
        Sessions of every device.
    """

    def __init__(
        self, changed: Callable[[], None], entries: list[Swept] | None = None,
        rows: Ints | None = None, counts: Ints | None = None,
    ) -> None:  # fmt: skip
        self._changed = changed
        self.entries = entries or []
        self.rows, self.counts = rows, counts
        self._next = 0

    def recall(self, table: Table) -> Floats | None:
        """Return the totals after the next sweep, None when there is no further one.

        When the prices differ from those of the entry, the last plan stands for this sweep.
        """
        if self._next == len(self.entries):
            return None
        if not np.array_equal(self.entries[self._next].table, _flat(table)):
            last = self.entries[-1].totals
            self.entries[self._next :] = [Swept(table=_flat(table), totals=last)]
        self._next += 1
        return self.entries[self._next - 1].totals

    def keep(self, table: Table, totals: Floats, rows: Ints, counts: Ints) -> None:
        """Add a sweep that has just been finished; copies what the next one changes."""
        self.entries.append(Swept(table=_flat(table), totals=totals.copy()))
        self.rows, self.counts = rows, counts.copy()
        self._next += 1
        self._changed()
