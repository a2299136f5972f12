"""The checker's formulas against the same formulas written out by hand for small l."""

from __future__ import annotations

import math

import numpy as np
import pytest
from small_scenarios import plain_scenario
from tolerances import SAME_FORMULA

from mafl_opt.core.terms import Facts, divide, local_steps


def column(*entries):
    return np.array(entries)


def error_of(facts, i, j, tau, iterations):
    """Parts of the error of one session."""
    i, j, tau = column(i), column(j), column(tau)
    return facts.errors(i, j, tau, facts.local_sums(j, column(iterations)))


def systematic(error):
    return error.staleness + error.dissimilarity + error.local_drift


def approx(value):
    return pytest.approx(value, rel=SAME_FORMULA)


def test_local_steps_are_counts_without_proximal_term():
    assert list(local_steps(1.0, 3)) == [(0, 1, 0, 0), (1, 1, 1, 1), (2, 1, 2, 2)]


def test_local_steps_decay_with_proximal_term():
    weights, firsts, seconds = zip(*(step[1:] for step in local_steps(0.5, 3)), strict=True)
    assert weights == (0.25, 0.5, 1.0)
    assert firsts == (0.0, 1.0, 1.5)
    assert seconds == (0.0, 1.0, 1.25)


def test_error_of_one_fresh_step_is_dissimilarity_and_variance_alone():
    # Device 0, task 0: q = 0.6, c = 3 * 0.005 * 0.6 = 0.009, d = 0.5 (no drift), sigma = 12.
    error = error_of(Facts.of(plain_scenario()), 0, 0, 0, 1)
    assert error.staleness == error.local_drift == 0.0
    assert error.dissimilarity == approx(0.009 / 2 * 0.5**2)
    assert error.noise == approx(5.0 / 2 * 0.009**2 * 144.0)


def test_error_of_a_stale_proximal_session_matches_the_written_out_sums():
    # Device 0, task 1, tau = 1, l = 2: eta = 0.008, rho = 10, so b = 0.92; s(1) = 2^-0.5.
    facts = Facts.of(plain_scenario())
    smooth, slope, eta, theta, h, b = 4.0, 3.0, 0.008, 0.03, 0.5, 0.92
    c = 2.5 * eta * (20 / 70) / math.sqrt(2)
    sigma2 = 15.0**2
    loudest = 2.5 * eta * max(20 / 70 * 15.0**2, 50 / 70 * 10.0**2)
    stale = smooth * (theta * slope + math.sqrt(theta * loudest))
    differs = 0.8 + 0.1 * 2
    x0, x1 = stale + differs, stale + differs + smooth * eta * slope
    squares = c / 2 * (b * x0**2 + (1 + h) * x1**2)
    c4, c1 = 1 + b * b, 1 + b
    noise = c / 2 * (1 + 1 / h) * smooth**2 * eta**2 * sigma2
    noise += (
        smooth / 2 * c * c * sigma2 * (c4 + b * b * smooth * c * (c1 - b) / (1 - smooth * theta))
    )
    error = error_of(facts, 0, 1, 1, 2)
    assert systematic(error) == approx(squares)
    assert error.noise == approx(noise)
    assert error.staleness == approx(c / 2 * stale * (b * x0 + (1 + h) * x1))
    assert error.local_drift == approx(c / 2 * (1 + h) * x1 * smooth * eta * slope)
    steps = facts.local_sums(column(1), column(2)).steps
    assert facts.step(column(0), column(1), column(1)) * steps == approx(c * c1)


def test_movement_of_two_aggregations_is_twice_the_drift_and_root_two_the_noise():
    # Device 0, task 0, l = 1: X = L M(2) + d with c = 0.009 and the largest noise on device 1.
    loudest = 3 * 0.005 * max(0.6 * 12.0**2, 0.4 * 14.0**2)
    moved = 2 * 0.025 * 4.5 + math.sqrt(2 * 0.025 * loudest)
    error = error_of(Facts.of(plain_scenario()), 0, 0, 2, 1)
    assert systematic(error) == approx(0.009 / 2 * (5.0 * moved + 0.5) ** 2)


def test_staleness_weights_follow_their_rules():
    rules = [{"kind": "hinge", "a": 0.5, "b": 1}, {"kind": "polynomial", "a": 2.0}]
    facts = Facts.of(plain_scenario(**{"tasks.staleness_weight": rules}))
    assert facts.staleness_weight(np.zeros(4, int), np.arange(4)) == approx([1, 1, 1 / 1.5, 0.5])
    assert facts.staleness_weight(np.ones(3, int), np.arange(3)) == approx([1, 1 / 4, 1 / 9])


def test_transfers_follow_shannon_and_the_downlink():
    facts = Facts.of(plain_scenario())
    # Slot 3, device 0: p h / (N0 W) = 0.1 * 4e-12 / 4e-15 = 100.
    assert facts.upload_s(column(0), column(1), column(3)) == approx(5e5 / (1e6 * math.log2(101)))
    assert facts.receive_s(column(1), column(0), column(0)) == approx(1e6 / 5e6)
    assert facts.window_s(column(1, 0), column(3, 1)) == approx([2.5, 1.0])
    assert facts.radio_j(column(0), column(0.5), column(0.25)) == approx(0.02 * 0.5 + 0.1 * 0.25)
    assert facts.compute_j(column(1), column(1e8), column(2e8)) == approx(2e-28 * 1e8 * 4e16)


def test_dead_links_take_forever():
    gain = [[0.0, 1e-12]] * 3
    facts = Facts.of(plain_scenario(**{"network.gain": gain, "devices.tx_power_w": [0.1, 0.0]}))
    assert np.isinf(facts.upload_s(column(0, 1), column(0, 0), column(1, 1))).all()
    assert facts.radio_j(column(1), column(0.0), column(math.inf)) == math.inf
    assert divide([1.0, 0.0, 3.0], [0.0, 0.0, 2.0]).tolist() == [math.inf, math.inf, 1.5]
