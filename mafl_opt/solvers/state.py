"""A schedule as the compiled moves of annealing see it: arrays of records and what they add up to.

A dozen arrays in place of each array of records would take half a minute to compile.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLUMN", "DEVICE", "LOG", "SLOT", "TASK", "State"]

#: A column as in `Candidates`; `first` to `last` differ from it in the iteration count alone,
#: ``error + noise / B`` is phi_s and ``fixed + unit B max(f_min, pace B)^2`` the energy.
COLUMN = np.dtype([
    *((name, np.int64) for name in
      ("device", "task", "receive", "upload", "first", "last", "batch_hi")),
    *((name, np.float64) for name in
      ("progress", "error", "noise", "step", "fixed", "unit", "f_min", "pace")),
])  # fmt: skip
DEVICE = np.dtype([("energy", np.float64), ("budget", np.float64)])
TASK = np.dtype([("numerator", np.float64), ("progress", np.float64), ("sessions", np.int64),
                 ("weight", np.float64), ("cap", np.float64)])  # fmt: skip
SLOT = np.dtype([("uploads", np.int64), ("capacity", np.int64)])

#: Entries of the log: sessions that a move may put or drop; one that needs more is not made.
LOG = 24


class State(NamedTuple):
    """A schedule and what it is made of.

    columns, devices, tasks, slots : arrays of records
    step : (slots, tasks)
    held : (devices, slots)
        Column that occupies a slot, -1 for none.
    batch : (devices, slots)
        Batch size where a session begins, 0 elsewhere.
    log : (changes, 3)
        What the move at work has done: column, batch size, 1 (put) or -1 (dropped).
    spent : (1,), J
        Energy of all devices.
    """

    columns: NDArray[np.void]
    devices: NDArray[np.void]
    tasks: NDArray[np.void]
    slots: NDArray[np.void]
    step: NDArray[np.float64]
    held: NDArray[np.int64]
    batch: NDArray[np.int64]
    log: NDArray[np.int64]
    spent: NDArray[np.float64]
