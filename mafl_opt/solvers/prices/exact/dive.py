"""From a fractional point to a plan: devices are fixed one after the other, prices follow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mafl_opt.solvers.prices.exact.master import Master, Point
from mafl_opt.solvers.prices.exact.oracle import Limits

__all__ = ["dive"]

Ints = NDArray[np.int64]

# Rounds of new columns after each device.
_ROUNDS = 2
# Shares from here on are whole, and up to here nothing.
_WHOLE, _NOTHING = 0.999, 1e-6
_HAIR = 1e-10


def dive(master: Master, point: Point, limits: Limits, stop: Callable[[], bool]) -> Ints:
    """Fix the plan of the largest share, find plans for the other devices at the new prices, again.

    Parameters
    ----------
    master : Master
        Set to the node of the point, and left with plans fixed: frame it before it is used again.
    point : Point
        Its optimum.
    limits : Limits
        Of the node.
    stop : callable

    Returns
    -------
    choices : (used,)
        Of the plans fixed; they keep all limits together.
    """
    pool, oracle = master.pool, master.oracle
    fixed: list[int] = []
    devices: set[int] = set()
    while not stop():
        size = point.plans.size
        used = pool.shared[fixed].sum(axis=0)
        free = ~np.isin(pool.device[:size], list(devices))
        free &= (used + pool.shared[:size] <= master.shared * (1.0 + _HAIR)).all(axis=1)
        shares = np.where(free, point.plans, 0.0)
        k = int(np.argmax(shares))
        if not shares[k] > _NOTHING:
            break
        master.fix(k)
        fixed.append(k)
        devices.add(int(pool.device[k]))
        if shares[k] > _WHOLE:
            # The optimum stays what it is.
            continue
        found = master.solve()
        for _ in range(_ROUNDS):
            if found is None:
                break
            plans = oracle.ask(found.tariff, limits).plans
            if not master.add([plan for plan in plans if plan[0] not in devices]):
                break
            found = master.solve()
        if found is None:
            break
        point = found
    return pool.choices(np.array(fixed, dtype=np.int64))
