"""How far a limit reaches: what the checker lets pass, the solvers may choose.

``found <= limit`` is closed up to `SLACK` of the limit everywhere, so that a sum that only
round-off puts above its limit (0.1 * 3 against 0.3) is admitted on both sides alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.check import TOLERANCE

__all__ = ["SLACK", "widened"]

#: Part of its limit by which a plan may exceed it: the checker's, less a thousandth of that, which
#: is far more than the round-off of a sum of many sessions added up in another order.
SLACK = TOLERANCE * (1.0 - 1e-3)


def widened(limit: NDArray[Any] | float) -> NDArray[np.float64]:
    """Return the largest values that keep a limit; of the limit's shape and unit, limit >= 0."""
    return np.asarray(limit * (1.0 + SLACK))
