"""Which sessions are trained together, and how their mini-batches are laid out."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mafl_opt.validation.batched.groups import Limits, form_groups

ROOMY = Limits(session_floats=10, sample_floats=1, floats=10**9, step_samples=5.0)


def batches_of(sizes):
    """Row numbers that tell session, step and place."""
    return [
        [torch.arange(size) + 10_000 * session + 100 * step for step, size in enumerate(steps)]
        for session, steps in enumerate(sizes)
    ]


def groups_of(sizes, limits=ROOMY):
    return list(form_groups(batches_of(sizes), limits, torch.float64))


sessions = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=5), min_size=1, max_size=9)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(sizes=sessions, floats=st.integers(1, 200), step_samples=st.floats(0, 100))
def test_groups_hold_every_mini_batch_once_filled_up_with_its_own_samples(
    sizes, floats, step_samples
):
    limits = Limits(session_floats=10, sample_floats=1, floats=floats, step_samples=step_samples)
    batches = batches_of(sizes)
    seen = []
    for group in form_groups(batches, limits, torch.float64):
        seen += group.members
        assert list(group.steps) == sorted(group.steps, reverse=True)
        assert group.rows.shape == (group.steps[0], len(group.members), group.width)
        assert len(group.members) == 1 or len(group.members) * (10 + group.width) <= floats
        for place, (session, steps) in enumerate(zip(group.members, group.steps, strict=True)):
            assert steps == len(sizes[session])
            for step in range(steps):
                rows, weights = group.rows[step, place], group.weights[step, place]
                size = sizes[session][step]
                assert torch.equal(rows[:size], batches[session][step])
                assert set(rows.tolist()) == set(batches[session][step].tolist())
                np.testing.assert_array_equal(weights[:size], 1 / size)
                assert not weights[size:].any()
    assert sorted(seen) == list(range(len(sizes)))


def test_equal_sessions_form_one_group():
    (group,) = groups_of([[4, 4, 4]] * 5)
    assert group.rows.shape == (3, 5, 4)
    assert bool((group.weights == 0.25).all())


def test_session_joins_smaller_ones_only_while_that_saves_time():
    # Two steps of one sample each would be filled up by 2 * (width - 1) samples, and a step that
    # is shared spares five samples' time.
    assert len(groups_of([[1, 1], [6, 6]])) == 1
    assert len(groups_of([[1, 1], [7, 7]])) == 2
    # Three times the filling up, the same saved.
    assert len(groups_of([[1, 1]] * 3 + [[3, 3]])) == 2
    assert len(groups_of([[1, 1]] * 3 + [[2, 2]])) == 1


def test_group_is_closed_when_its_memory_is_full():
    tight = Limits(session_floats=10, sample_floats=1, floats=28, step_samples=5.0)
    assert [len(group.members) for group in groups_of([[4]] * 5, tight)] == [2, 2, 1]
