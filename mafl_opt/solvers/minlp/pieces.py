"""The ratio N/A on a piece of the range of A: linear rows below it.

With N = Gamma' + rho A + R (so R >= 0 by (42) of the model page) it is Gamma'/A + rho + R/A. For R
in [0, R_u] and A in [a, a'],

    R/A >= R/a'    and    R/A >= R/a + R_u (1/A - 1/a),

the second because (R_u - R)(1/a - 1/A) >= 0. With 1/A >= (2 - A/p)/p, its tangents at any p, both
are linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.boxes import BoxRules
from mafl_opt.solvers.minlp.rows import WIDE, Scales

__all__ = ["Piece", "cut_pieces"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One piece of the range of A: rows in (pick, N, A, t), each meant as ``row @ v >= 0``.

    Scaled: N by Gamma', A by half the step caps' sum.

    start, slope : Gamma' and rho, N >= start + slope A
    room : N <= room A
    low, high : range of A
    """

    start: float
    slope: float
    room: float
    low: float
    high: float

    def shape(self) -> tuple[Sequence[float], ...]:
        """Return rows for A in [low, high] and Gamma' + rho A <= N <= room A, all times pick."""
        return (
            (-self.low, 0.0, 1.0, 0.0),
            (self.high, 0.0, -1.0, 0.0),
            (-self.start * (1 - WIDE), 1.0, -self.slope * (1 - WIDE), 0.0),
            (0.0, -1.0, self.room * (1 + WIDE), 0.0),
        )

    def tangents(self, at: float) -> tuple[Sequence[float], ...]:
        """Both underestimators of N/A, with the tangent of 1/A at `at`."""
        most = max((self.room - self.slope) * self.high - self.start, 0.0)
        inverse, fall = 2.0 / at, 1.0 / at**2
        rows = []
        # t >= Gamma'/A + rho + (N - Gamma' - rho A) / end + extra (1/A - 1/end)
        for end, extra in ((self.high, 0.0), (self.low, most)):
            gain = self.start + extra
            rows.append(
                (
                    -(gain * inverse + self.slope - (self.start + extra) / end),
                    -1.0 / end,
                    gain * fall + self.slope / end,
                    1.0,
                )
            )
        return tuple(rows)


def cut_pieces(
    rules: BoxRules, task: int, edges: Floats, top: float, scales: Scales
) -> list[Piece]:  # fmt: skip
    """Return the pieces of a task's range of A.

    Parameters
    ----------
    rules : BoxRules
    task : int
    edges : (pieces + 1,)
        Where they begin and end, unscaled.
    top : float
        Objective that a plan must stay below.
    scales : Scales
    """
    unit = float(scales.progress[task] / scales.error[task])
    ends = edges / scales.progress[task]
    return [
        Piece(
            start=float(rules.start[task] / scales.error[task]),
            slope=float(rules.slope[task]) * unit,
            room=float((top - rules.rest[task]) / rules.weight[task]) * unit,
            low=float(low) * (1 - WIDE), high=float(high) * (1 + WIDE),
        )
        for low, high in pairwise(ends)
    ]  # fmt: skip
