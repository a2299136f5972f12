"""Where to split ranges of A_j and Y_j: between the relaxed point and the end that is farthest."""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ["far_cut"]

# Part of the way from the point to the farthest end, in logs, that stays with the point.
_NEAR = 0.25
# Ranges that begin at 0 count from this part of their high end; shorter ones, in logs, are points.
_LEAST_PART, _SHORTEST = 1e-6, 1e-9


def far_cut(ranges: Iterable[tuple[str, float, float, float]]) -> tuple[str, float] | None:
    """Cut off what is far from a point; plans near it stay inside one part.

    Parameters
    ----------
    ranges : iterable of (kind, low, high, at)
        Names of the ranges, their ends, and where the point is in them.

    Returns
    -------
    kind, value : str, float
        Which range to split and where, strictly inside; None where all ranges are points.
    """
    farthest, found = _SHORTEST, None
    for kind, low, high, at in ranges:
        least = max(float(low), _LEAST_PART * float(high))
        if not 0.0 < least < high < math.inf:
            continue
        inside = min(max(float(at), least), float(high))
        for end in (least, float(high)):
            far = abs(math.log(end / inside))
            if far > farthest:
                farthest, found = far, (kind, inside * (end / inside) ** _NEAR)
    return found
