"""The ratio of a task over ranges of A and Xi, against a fine grid; what fact 6 needs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from small_scenarios import drawn_scenario

from mafl_opt.core.proof.local_sums import LocalSums
from mafl_opt.core.proof.ratio import Ratio, Survey
from mafl_opt.core.proof.session_table import SessionTable


def drawn_ratio(rng):
    weight, gap, rate = rng.uniform(0.5, 2.0, 3)
    return Ratio(task=0, weight=weight, gap=gap, rate=rate, smallest=1e-3, high=9.0)


@pytest.mark.parametrize("seed", range(60))
def test_minimum_lies_below_every_pair_of_the_ranges_and_touches_one(seed):
    rng = np.random.default_rng(seed)
    ratio = drawn_ratio(rng)
    low = rng.uniform(0.1, 1.0)
    high = low * rng.uniform(1.01, 4.0)
    least = rng.uniform(0.0, 1.2) * (ratio.gap / low + ratio.rate)
    most = max(least, ratio.gap / high + ratio.rate) * rng.uniform(1.01, 3.0)
    lam, mu = 10.0 ** rng.uniform(-2, 2, 2)
    a = np.linspace(low, high, 1001)[:, None]
    x = np.linspace(least, most, 1001)[None, :]
    values = ratio.weight * x - lam * x * a + mu * a
    found = ratio.minimum((low, high, least, most), lam, mu)
    possible = x >= ratio.gap / a + ratio.rate
    grid = values[possible].min()
    assert found <= grid
    slope = abs(ratio.weight) * most + lam * most * high + mu * high
    assert found == pytest.approx(grid, abs=1e-2 * slope)


@pytest.mark.parametrize("seed", range(10))
def test_minimum_is_exact_where_both_ranges_are_a_point(seed):
    rng = np.random.default_rng(seed)
    ratio = drawn_ratio(rng)
    a = rng.uniform(0.1, 3.0)
    x = (ratio.gap / a + ratio.rate) * 1.5
    found = ratio.minimum((a, a, x, x), 3.0, 2.0)
    assert found == pytest.approx(ratio.weight * x - 3.0 * x * a + 2.0 * a, abs=1e-6)


def test_ranges_without_a_plan_are_told():
    ratio = Ratio(task=0, weight=1.0, gap=1.0, rate=1.0, smallest=0.1, high=2.0)
    assert ratio.minimum((1.0, 0.5, 0.0, 9.0), 1.0, 1.0) == math.inf
    assert ratio.minimum((0.1, 2.0, 5.0, 4.0), 1.0, 1.0) == math.inf
    # Xi <= 1.4 needs A >= 2.5.
    assert ratio.minimum((0.1, 2.0, 0.0, 1.4), 1.0, 1.0) == math.inf
    assert ratio.minimum((0.1, 2.0, 0.0, 0.9), 1.0, 1.0) == math.inf


def test_a_survey_in_blocks_finds_what_one_of_the_whole_fleet_does():
    for seed in range(5):
        scenario = drawn_scenario(seed, devices=4, tasks=2)
        sums = LocalSums.of(scenario)
        whole, blocks = Survey.of(scenario), Survey.of(scenario)
        whole.add(SessionTable.of(scenario, sums, slice(0, 4)))
        for start in range(4):
            blocks.add(SessionTable.of(scenario, sums, slice(start, start + 1)))
        assert whole.ratios() == blocks.ratios()
