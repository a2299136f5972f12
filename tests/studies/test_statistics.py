"""Means over seeds, and curves at equal abscissa."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import SAME_FORMULA

from mafl_opt.studies.statistics import difference_of_curves, mean_interval, paired

numbers = st.floats(-1e3, 1e3)


def test_interval_is_students_of_a_known_sample():
    interval = mean_interval([1.0, 2.0, 3.0, 4.0])
    half = 3.182446305284263 * np.std([1, 2, 3, 4], ddof=1) / 2.0
    assert interval.mean == 2.5
    assert interval.low == pytest.approx(2.5 - half, rel=SAME_FORMULA)
    assert interval.high == pytest.approx(2.5 + half, rel=SAME_FORMULA)
    assert interval.is_above and not interval.is_below


def test_interval_of_one_seed_tells_nothing_of_others():
    interval = mean_interval([3.0])
    assert (interval.mean, interval.low, interval.high) == (3.0, -math.inf, math.inf)
    assert not interval.is_above and not interval.is_below


def test_interval_leaves_out_what_is_not_finite():
    assert mean_interval([1.0, math.nan, 1.0, math.inf]).count == 2
    assert mean_interval([]).count == 0


def test_interval_covers_as_often_as_it_says():
    generator = np.random.default_rng(5)
    covered = sum(
        i.low <= 0 <= i.high for i in (mean_interval(generator.normal(size=4)) for _ in range(2000))
    )
    # Five standard errors of a share of 0.95 in 2000.
    assert abs(covered / 2000 - 0.95) < 5 * math.sqrt(0.95 * 0.05 / 2000)


def test_paired_uses_the_seeds_that_both_have():
    interval = paired({0: 3.0, 1: 5.0, 2: 100.0}, {0: 1.0, 1: 3.0})
    assert (interval.mean, interval.count) == (2.0, 2)
    assert interval.is_above


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=8), numbers)
def test_a_curve_moved_up_is_above_by_as_much(points, amount):
    x, y = map(np.array, zip(*points, strict=True))
    assert difference_of_curves(x, y + amount, x, y) == pytest.approx(amount, abs=1e-9)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(numbers, numbers), min_size=2, max_size=6),
    st.lists(st.tuples(numbers, numbers), min_size=2, max_size=6),
)
def test_difference_of_curves_changes_sign_with_their_order(first, second):
    (x, y), (u, v) = (map(np.array, zip(*points, strict=True)) for points in (first, second))
    forth, back = difference_of_curves(x, y, u, v), difference_of_curves(u, v, x, y)
    assert math.isnan(forth) == math.isnan(back)
    if not math.isnan(forth):
        assert forth == pytest.approx(-back, abs=1e-9)


def test_curves_compare_where_they_overlap_only():
    # On 1 to 2 the first is x, the second is 0; outside they are far apart.
    assert difference_of_curves([0, 2], [0, 2], [1, 5], [0, 0]) == pytest.approx(1.5)
    assert math.isnan(difference_of_curves([0, 1], [0, 0], [2, 3], [0, 0]))


def test_points_at_one_abscissa_count_as_their_mean():
    assert difference_of_curves([1, 1, 2], [0, 2, 1], [1, 2], [0, 0]) == pytest.approx(1.0)
