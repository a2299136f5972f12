"""Numbers in readings: with their interval, and no more said than that bears."""

from __future__ import annotations

import math

from mafl_opt.studies.statistics import Interval

__all__ = ["amount", "joined", "points", "ratio", "share", "verdict"]


def amount(interval: Interval, unit: str = "", digits: int = 3) -> str:
    """Return a mean with its interval, such as ``1.52 J (1.4 to 1.64)``.

    Without the interval where all seeds have the same.
    """
    unit = f" {unit}" if unit else ""
    if interval.count == 0:
        return "no number"
    if interval.count == 1:
        return f"{interval.mean:.{digits}g}{unit} (one seed)"
    if interval.low == interval.high:
        return f"{interval.mean:.{digits}g}{unit}"
    low, mean, high = (f"{v:.{digits}g}" for v in (interval.low, interval.mean, interval.high))
    return f"{mean}{unit} ({low} to {high})"


def share(interval: Interval) -> str:
    """Return a share of a whole as a percentage, such as ``61 % (55 to 67)``; ends stay within."""
    low, high = max(interval.low, 0.0), min(interval.high, 1.0)
    ends = Interval(mean=100 * interval.mean, low=100 * low, high=100 * high, count=interval.count)
    return amount(ends, "%")


def points(interval: Interval) -> str:
    """Return a difference of two shares in percentage points, with its sign and interval."""
    # Adding 0.0 makes a zero of either sign a plain one.
    low, mean, high = (
        f"{round(100 * v, 1) + 0.0:+.1f}" for v in (interval.low, interval.mean, interval.high)
    )
    if interval.count == 0:
        return "no number"
    if interval.count == 1:
        return f"{mean} points (one seed)"
    return f"{mean} points ({low} to {high})"


def ratio(interval: Interval) -> str:
    """Return a ratio such as ``1.3 times (1.1 to 1.6)`` from the interval of its logarithm."""
    if interval.count == 0:
        return "no number"
    mean = math.exp(interval.mean)
    if interval.count == 1:
        return f"{mean:.3g} times (one seed)"
    return f"{mean:.3g} times ({math.exp(interval.low):.3g} to {math.exp(interval.high):.3g})"


def verdict(interval: Interval, above: str, below: str, neither: str) -> str:
    """Choose words by where the interval of a difference lies: above 0, below 0, or around it."""
    if interval.is_above:
        return above
    return below if interval.is_below else neither


def joined(parts: list[str]) -> str:
    """Return words with commas and a last ``and``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
