"""Device plans met so far, with their totals: the columns of the master."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mafl_opt.solvers.prices.exact.oracle import Limits, Oracle, Plans

__all__ = ["Pool"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_USED = 1e-9


class Pool:
    """Plans of single devices, none twice.

    Parameters
    ----------
    oracle : Oracle

    Attributes
    ----------
    device : (plans,)
    energy : (plans,), J
    error, progress : (plans, tasks), what a plan adds to N_j and A_j
    shared : (plans, slots * (1 + tasks))
        Uploads in every slot, then shares of every step cap, by slot, then task.
    """

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        s = oracle.problem.scenario
        self._slots, self._tasks = s.num_slots, s.num_tasks
        self._theta = np.array(s.tasks.step_cap, dtype=float)
        self._known: set[tuple[int, tuple[int, ...]]] = set()
        self._chosen: list[Ints] = []
        self.device = np.zeros(0, dtype=np.int64)
        self.energy = np.zeros(0)
        self.error, self.progress = np.zeros((0, self._tasks)), np.zeros((0, self._tasks))
        self.shared = np.zeros((0, self._slots * (1 + self._tasks)))
        self._busy = np.zeros((0, self._slots), dtype=bool)

    def __len__(self) -> int:
        return len(self._chosen)

    def add(self, plans: Plans) -> int:
        """Add plans at the end; returns how many are new."""
        fresh = list(dict.fromkeys(plan for plan in plans if plan not in self._known))
        if not fresh:
            return 0
        self._known.update(fresh)
        chosen = [np.array(choices, dtype=np.int64) for _, choices in fresh]
        k = np.concatenate(chosen)
        row = np.repeat(np.arange(len(fresh)), [part.size for part in chosen])
        o, c = self._oracle, self._oracle.columns
        at = o.choices.column[k]
        task, upload = c.task[at], c.upload[at] - 1
        energy = np.bincount(row, o.choices.energy[k], minlength=len(fresh))
        error, progress = (np.zeros((len(fresh), self._tasks)) for _ in range(2))
        np.add.at(error, (row, task), o.choices.error[k])
        np.add.at(progress, (row, task), c.progress[at])
        shared = np.zeros((len(fresh), self.shared.shape[1]))
        np.add.at(shared, (row, upload), 1.0)
        np.add.at(
            shared, (row, self._slots + upload * self._tasks + task), c.step[at] / self._theta[task]
        )
        length = c.upload[at] - c.receive[at]
        inside = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        busy = np.zeros((len(fresh), self._slots), dtype=bool)
        busy[np.repeat(row, length), np.repeat(c.receive[at], length) + inside] = True
        self._chosen += chosen
        self.device = np.append(self.device, [i for i, _ in fresh])
        self.energy = np.append(self.energy, energy)
        self.error, self.progress = (
            np.vstack([self.error, error]), np.vstack([self.progress, progress])
        )  # fmt: skip
        self.shared, self._busy = np.vstack([self.shared, shared]), np.vstack([self._busy, busy])
        return len(fresh)

    def keep(self, which: Ints) -> None:
        """Forget all other plans; those kept stay in order."""
        self._chosen = [self._chosen[k] for k in which.tolist()]
        for name in ("device", "energy", "error", "progress", "shared", "_busy"):
            setattr(self, name, getattr(self, name)[which])
        self._known = {
            (int(i), tuple(chosen.tolist()))
            for i, chosen in zip(self.device, self._chosen, strict=True)
        }

    def values(self, cost: Floats) -> Floats:
        """Sum what choices cost, by plan; (plans,)."""
        flat, edges = self._flat(np.arange(len(self)))
        return np.asarray(np.add.reduceat(cost[flat], edges)) if flat.size else np.zeros(0)

    def barred(self, limits: Limits) -> Bools:
        """Whether a plan breaks device splits; (plans,)."""
        out = (limits.forced[self.device] & ~self._busy).any(axis=1)
        if limits.barred.any():
            out |= self.values(limits.barred.astype(float)) > 0
        return np.asarray(out)

    def in_cuts(self, matrix: Floats, which: Ints) -> Floats:
        """Sum coefficients of columns, (rows, columns), by plan; (rows, which)."""
        flat, edges = self._flat(which)
        if not flat.size:
            return np.zeros((matrix.shape[0], 0))
        at = self._oracle.choices.column[flat]
        return np.asarray(np.add.reduceat(matrix[:, at], edges, axis=1))

    def _flat(self, which: Ints) -> tuple[Ints, Ints]:
        """Choices of some plans one after the other, and where each plan starts."""
        chosen = [self._chosen[k] for k in which.tolist()]
        edges = np.cumsum([0, *(part.size for part in chosen)])[:-1]
        return np.concatenate([np.zeros(0, dtype=np.int64), *chosen]), edges

    def choices(self, which: Ints) -> Ints:
        """Choices of some plans, each once, increasing."""
        none = np.zeros(0, dtype=np.int64)
        return np.unique(np.concatenate([none, *(self._chosen[k] for k in which.tolist())]))

    def usage(self, shares: Floats) -> Floats:
        """Fractional x of every choice; (choices,)."""
        x = np.zeros(self._oracle.choices.column.size)
        for k in np.flatnonzero(shares > _USED).tolist():
            x[self._chosen[k]] += shares[k]
        return x

    def coefficients(self, which: Ints, *blocks: Floats) -> tuple[Ints, Ints, Floats]:
        """Columns of plans in a program: convexity of devices, what is shared, then `blocks`.

        Parameters
        ----------
        which : (which,)
        *blocks : (rows, which)

        Returns
        -------
        start, row, value : the columns, as HiGHS takes them
        """
        devices = np.arange(self._oracle.problem.scenario.num_devices)
        first = (devices[:, None] == self.device[which]).astype(float)
        dense = np.vstack([first, self.shared[which].T, *blocks]).T
        column, row = np.nonzero(dense)
        start = np.searchsorted(column, np.arange(which.size))
        return start.astype(np.int32), row.astype(np.int32), dense[column, row]
