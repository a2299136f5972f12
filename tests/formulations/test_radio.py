"""Rates, delays and energies against the checker's and against hand-worked figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from plain_terms import Facts
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import SAME_FORMULA

from mafl_opt.formulations.radio import (
    best_frequency,
    compute_energy,
    downlink_times,
    uplink_rate,
    uplink_times,
)


def test_uplink_rate_is_shannons():
    rate = uplink_rate(plain_scenario())
    # Device 0, slot 1: snr = 0.1 * 2e-12 / (4e-21 * 1e6) = 50.
    assert rate.shape == (3, 2)
    assert rate[0, 0] == pytest.approx(1e6 * math.log2(51.0), rel=SAME_FORMULA)


def test_uplink_rate_of_absurd_gains_is_infinite_and_says_nothing():
    s = plain_scenario(**{"network.gain": [[1e308, 0.0]] * 3, "network.noise_w_per_hz": 1e-320})
    assert np.isinf(uplink_rate(s)[0, 0]) and uplink_rate(s)[0, 1] == 0.0
    assert uplink_times(s)[0, 0].max() == 0.0 and np.isinf(uplink_times(s)[0, 1]).all()


def test_uplink_rate_of_a_weak_channel_keeps_its_digits():
    s = plain_scenario(**{"network.gain": [[1e-32, 1e-12]] * 3})
    snr = 0.1 * 1e-32 / (4e-21 * 1e6)
    assert uplink_rate(s)[0, 0] == pytest.approx(1e6 * snr / math.log(2), rel=SAME_FORMULA)


def test_transfers_without_a_rate_take_forever():
    s = plain_scenario(
        **{
            "network.gain": [[0.0, 1e-12]] * 3,
            "network.downlink_bps": [[1e6, 0.0]] * 3,
        }
    )
    assert np.isinf(uplink_times(s)[:, 0]).all() and np.isfinite(uplink_times(s)[:, 1]).all()
    assert np.isinf(downlink_times(s)[:, 1]).all() and np.isfinite(downlink_times(s)[:, 0]).all()


@pytest.mark.parametrize("seed", range(3))
def test_times_equal_the_checkers(seed):
    s = drawn_scenario(seed, devices=3, tasks=2, slots=4)
    facts, up, down = Facts.of(s), uplink_times(s), downlink_times(s)
    for g, i, j in np.ndindex(4, 3, 2):
        assert up[g, i, j] == pytest.approx(facts.upload_s(i, j, g + 1), rel=SAME_FORMULA)
        assert down[g, i, j] == pytest.approx(facts.receive_s(i, j, g), rel=SAME_FORMULA)


def test_best_frequency_is_the_lowest_that_meets_the_deadline():
    cycles, time_s = np.array([1e8, 4e8, 9e8]), np.array([1.0, 1.0, 1.0])
    found = best_frequency(cycles, time_s, np.full(3, 2e8), np.full(3, 8e8))
    assert found.tolist() == [2e8, 4e8, 8e8]


def test_compute_energy_is_cycles_by_frequency_squared():
    energy = compute_energy(np.array([2e-28]), np.array([1e9]), np.array([5e8]))
    assert energy.tolist() == pytest.approx([2e-28 * 1e9 * 25e16], rel=SAME_FORMULA)
