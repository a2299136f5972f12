"""Means over seeds with intervals, and curves compared at equal abscissa."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

__all__ = ["Interval", "difference_of_curves", "mean_interval", "paired"]

#: Of the intervals.
CONFIDENCE = 0.95
#: Points at which two curves are compared.
_POINTS = 41


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean with its 95 % interval, by Student's t over seeds.

    Attributes
    ----------
    mean, low, high : float
        NaN without an observation; with one, the ends are infinite: it says nothing of others.
    count : int
    """

    mean: float
    low: float
    high: float
    count: int

    @property
    def is_above(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low > 0

    @property
    def is_below(self) -> bool:
        """Whether the whole interval is below 0."""
        return self.high < 0


def mean_interval(values: Iterable[float]) -> Interval:
    """Return the mean of numbers and its interval; those that are not finite are left out."""
    kept = np.array([value for value in values if math.isfinite(value)], dtype=float)
    count = len(kept)
    if count == 0:
        return Interval(mean=math.nan, low=math.nan, high=math.nan, count=0)
    mean = float(kept.mean())
    if count == 1:
        return Interval(mean=mean, low=-math.inf, high=math.inf, count=1)
    quantile = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2.0))
    half = quantile * float(kept.std(ddof=1)) / math.sqrt(count)
    return Interval(mean=mean, low=mean - half, high=mean + half, count=count)


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Interval:
    """Return the mean of first minus second over the seeds that both have."""
    return mean_interval(first[seed] - second[seed] for seed in first if seed in second)


def difference_of_curves(
    x: ArrayLike, y: ArrayLike, other_x: ArrayLike, other_y: ArrayLike
) -> float:
    """Return the mean of y - other_y where the abscissas overlap, linear between points.

    Points at one abscissa count as their mean. NaN if the curves do not overlap.

    Parameters
    ----------
    x, y, other_x, other_y : (points,)
        In any order; two points at least where a curve is to overlap another.
    """
    own, other = _curve(x, y), _curve(other_x, other_y)
    low, high = max(own[0][0], other[0][0]), min(own[0][-1], other[0][-1])
    if not low <= high:
        return math.nan
    at = np.linspace(low, high, _POINTS)
    return float(np.mean(np.interp(at, *own) - np.interp(at, *other)))


def _curve(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    at, inverse = np.unique(np.asarray(x, dtype=float), return_inverse=True)
    sums = np.bincount(inverse, weights=np.asarray(y, dtype=float))
    return at, sums / np.bincount(inverse)
