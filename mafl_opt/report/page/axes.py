"""Axes of the page's charts: from numbers to places along a line, with ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray

from mafl_opt.report.table import format_number

__all__ = ["Axis", "make_axis"]

#: Numbers that differ by less, relative to the larger one, differ by rounding.
_SAME = 1e-7
#: Numbers beyond this one, or below its inverse where the axis is logarithmic, lie at an end.
_HUGE = 1e200
#: Decades above which only powers of ten have a tick.
_DECADES = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A range of numbers laid along a line.

    Attributes
    ----------
    low, high : float
        Ends; ``low < high``, both above 0 if logarithmic.
    log : bool
    ticks : tuple of (float, str)
        Place (0 to 1) and text.
    """

    low: float
    high: float
    log: bool
    ticks: tuple[tuple[float, str], ...]

    def place(self, values: Any) -> NDArray[np.float64]:
        """Return where values lie, 0 at the low end and 1 at the high one; clipped to that."""
        scaled = np.asarray(values, dtype=float)
        low, high = self.low, self.high
        if self.log:
            low, high = math.log10(low), math.log10(high)
            scaled = np.log10(np.maximum(scaled, self.low))
        return np.asarray(np.clip((scaled - low) / (high - low), 0.0, 1.0))


def make_axis(values: Iterable[float], *, log: bool = False, percent: bool = False) -> Axis:
    """Return an axis that holds all finite `values`, with ends on ticks where it is linear.

    Parameters
    ----------
    values : iterable of float
        Above 0 if `log`.
    log : bool
    percent : bool
        Write ticks as percentages.
    """
    known = [min(max(v, -_HUGE), _HUGE) for v in values if math.isfinite(v)] or [1.0]
    low, high = min(known), max(known)
    if log:
        low = max(low, 1.0 / _HUGE)
        low, high = 10 ** (math.log10(low) - 0.05), 10 ** (math.log10(high) + 0.05)
        wide = math.log10(high / low) > _DECADES
        found = LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)).tick_values(low, high)
        ticks = [tick for tick in found if low <= tick <= high]
    else:
        if high - low <= _SAME * max(abs(low), abs(high)):
            low, high = min(low, 0.0), max(high, 0.0) or 1.0
        ticks = [float(tick) for tick in MaxNLocator(5).tick_values(low, high)]
        low, high = ticks[0], ticks[-1]
    words = [f"{100 * t:.10g} %" for t in ticks] if percent else _numbers(ticks)
    axis = Axis(low=low, high=high, log=log, ticks=())
    places = axis.place(ticks).tolist()
    return Axis(low=low, high=high, log=log, ticks=tuple(zip(places, words, strict=True)))


def _numbers(ticks: Sequence[float]) -> list[str]:
    """Return ticks with as many digits as tell them apart."""
    for digits in range(4, 16):
        words = [format_number(tick, digits) for tick in ticks]
        if len(set(words)) == len(words):
            break
    return words
