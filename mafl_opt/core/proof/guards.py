"""How far limits are widened and sums are rounded, so that a derived bound is never too high."""

from __future__ import annotations

__all__ = ["HUGE", "ROUNDING", "WIDENING"]

#: Part of its limit by which the checker lets a constraint be missed, with a little to spare.
WIDENING = 1.1e-9
#: Bound on the relative rounding error of a sum of terms of one sign, generously.
ROUNDING = 1e-10
#: Costs above count as this much: sums of a few thousand of them stay finite.
HUGE = 1e290
