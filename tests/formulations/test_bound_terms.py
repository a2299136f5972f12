"""Local sums and session terms against plain loops and against the checker's own formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_terms import Facts
from small_plans import hand_made_plan
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import SAME_FORMULA

from mafl_opt.core.check import check
from mafl_opt.core.plan import Sessions
from mafl_opt.formulations.bound import (
    initial_error,
    local_sums,
    noise_factor,
    session_terms,
    task_bounds,
)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(decay=st.floats(0.3, 1.0), split=st.floats(0.01, 3.0), most=st.integers(1, 12))
def test_local_sums_equal_plain_loops(decay, split, most):
    sums = local_sums(decay, split, most)
    for steps in range(1, most + 1):
        first = square = d0 = d1 = d2 = noise = 0.0
        for k in range(steps):
            w = decay ** (steps - 1 - k)
            k1 = sum(decay**m for m in range(k))
            k2 = sum(decay ** (2 * m) for m in range(k))
            part = w * (1 + split * (k >= 1))
            first, square, noise = first + w, square + w * w, noise + w * k2
            d0, d1, d2 = d0 + part, d1 + part * k1, d2 + part * k1 * k1
        found = [a[steps] for a in (sums.first, sums.square, sums.drift_0, sums.drift_1)]
        assert found == pytest.approx([first, square, d0, d1], rel=SAME_FORMULA)
        assert sums.drift_2[steps] == pytest.approx(d2, rel=SAME_FORMULA)
        assert sums.noise[steps] == pytest.approx(noise, rel=SAME_FORMULA)
        assert sums.last_weight[steps] == pytest.approx(decay ** (steps - 1), rel=SAME_FORMULA)


def test_local_sums_of_no_step_are_zero():
    sums = local_sums(0.9, 0.25, 4)
    for name in ("first", "last_weight", "square", "drift_0", "drift_1", "drift_2", "noise"):
        assert getattr(sums, name)[0] == 0.0


def every_session(s, rng, count):
    i, j = rng.integers(s.num_devices, size=count), rng.integers(s.num_tasks, size=count)
    r = rng.integers(s.num_slots, size=count)
    u = r + 1 + (rng.random(count) * (s.num_slots - r)).astype(int)
    steps = 1 + (rng.random(count) * s.tasks.iterations_max[j]).astype(int)
    return i, j, r, u, steps


KINDS = [
    {"kind": "constant"},
    {"kind": "polynomial", "a": 0.7},
    {"kind": "hinge", "a": 0.5, "b": 1},
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["kind"])
@pytest.mark.parametrize("seed", range(4))
def test_session_terms_equal_the_checkers(seed, kind):
    rng = np.random.default_rng(seed)
    s = drawn_scenario(
        seed, devices=4, tasks=2, slots=5,
        **{"tasks.staleness_weight": [kind, KINDS[seed % 3]], "tasks.proximal": [30.0, 0.0],
           "tasks.iterations_max": [7, 3]},
    )  # fmt: skip
    where = every_session(s, rng, 60)
    terms, facts = session_terms(s, *where), Facts.of(s)
    for n, (i, j, r, u, steps) in enumerate(zip(*(a.tolist() for a in where), strict=True)):
        error = facts.error(i, j, u - 1 - r, steps)
        step = facts.step(i, j, u - 1 - r) * facts.steps_sum(j, steps)
        found = [getattr(terms, name)[n] for name in ("error", "noise", "step", "progress")]
        expected = [error.systematic, error.noise, step, step / 2]
        assert found == pytest.approx(expected, rel=SAME_FORMULA)


def test_drift_enters_by_the_slots_a_session_spans():
    calm = plain_scenario(**{"pairs.gradient_drift": [[0.0, 0.0], [0.0, 0.0]]})
    moving = calm.replace(**{"pairs.gradient_drift": [[0.3, 0.0], [0.0, 0.0]]})
    same = calm.replace(**{"pairs.dissimilarity": [[0.5 + 0.9, 0.8], [0.7, 0.4]]})
    where = (np.array([0]), np.array([0]), np.array([0]), np.array([3]), np.array([2]))
    found = session_terms(moving, *where).error
    assert found == pytest.approx(session_terms(same, *where).error, rel=SAME_FORMULA)
    assert found[0] > session_terms(calm, *where).error[0]


def test_session_terms_of_no_sessions_are_empty():
    none = np.zeros(0, dtype=np.int64)
    terms = session_terms(plain_scenario(), none, none, none, none, none)
    assert terms.error.shape == terms.progress.shape == (0,)


def test_noise_factor_vanishes_at_the_full_batch():
    assert noise_factor(np.array([1, 5, 20]), np.array([20, 20, 20])).tolist() == pytest.approx(
        [0.95, 0.15, 0.0]
    )


def test_initial_error_adds_all_loss_drifts():
    assert initial_error(plain_scenario()).tolist() == pytest.approx([2.0 + 0.02, 1.5 + 0.02])


def test_task_bounds_equal_the_checkers():
    s = plain_scenario()
    plan = hand_made_plan(s)
    bounds, report = task_bounds(s, plan.sessions), check(s, plan)
    for name in ("numerator", "progress", "bound"):
        expected = [getattr(task, name) for task in report.tasks]
        assert getattr(bounds, name).tolist() == pytest.approx(expected, rel=SAME_FORMULA)


def test_bound_of_an_untrained_task_is_infinite():
    s = plain_scenario()
    bounds = task_bounds(s, Sessions.empty())
    assert bounds.bound.tolist() == [math.inf, math.inf]
    assert bounds.numerator.tolist() == initial_error(s).tolist()
