from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mafl_opt.core.errors import InputError
from mafl_opt.validation.holdings import DRIFTS, DriftScheme, draw_holdings
from mafl_opt.validation.partition import PARTITIONS, PartitionScheme

LABELS = np.arange(200) % 5


def drawn(sizes=(30, 0, 12), slots=9, seed=0, *, partition="dirichlet", **drift):
    return draw_holdings(
        LABELS, np.array(sizes), slots,
        partition=PartitionScheme(kind=partition), drift=DriftScheme(**drift),
        generator=np.random.default_rng(seed),
    )  # fmt: skip


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(DRIFTS),
    partition=st.sampled_from(PARTITIONS),
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    period=st.integers(1, 6),
    share=st.sampled_from([0.01, 0.5, 1.0]),
    seed=st.integers(0, 1000),
)
def test_holdings_are_rect_functions_of_exact_size(kind, partition, sizes, period, share, seed):
    held = drawn(sizes, 9, seed, partition=partition, kind=kind, period=period, share=share)
    for device, size in enumerate(sizes):
        starts = [stage.start for stage in held.stages[device]]
        assert starts[0] == 0
        if kind == "none" or size == 0:
            assert starts == [0]
        else:
            assert 1 <= starts[1] <= period if len(starts) > 1 else period > 9 - 1
            assert set(np.diff(starts[1:]).tolist()) <= {period}
        for instant in range(10):
            stage = held.at(device, instant)
            assert len(stage.rows) == size
            assert stage.start == max(s for s in starts if s <= instant)
            assert np.array_equal(np.sort(stage.names), np.arange(5))


def test_class_drift_replaces_its_share_and_moves_the_mixture():
    held = drawn((40,), kind="class", period=3, share=0.5, seed=2)
    for before, after in pairwise(held.stages[0]):
        kept = np.isin(after.rows[:20], before.rows)
        assert kept.all()
        assert np.array_equal(after.names, before.names)
    mixtures = [np.bincount(LABELS[h.rows], minlength=5) for h in held.stages[0]]
    assert any(np.abs(a - b).sum() >= 10 for a, b in pairwise(mixtures))


def test_label_drift_swaps_two_classes_and_keeps_the_samples():
    held = drawn((40,), kind="label", period=2)
    for before, after in pairwise(held.stages[0]):
        assert after.rows is before.rows
        assert (after.names != before.names).sum() == 2
    last = held.stages[0][-1]
    assert np.array_equal(last.labels(LABELS), last.names[LABELS[last.rows]])


def test_first_data_is_the_same_whatever_the_drift():
    first = [drawn(kind=kind).stages for kind in DRIFTS]
    for device in range(3):
        assert all(np.array_equal(f[device][0].rows, first[0][device][0].rows) for f in first)


def test_holdings_tell_when_anything_changes():
    held = drawn(kind="class", period=4)
    told = {s.start for own in held.stages for s in own} - {0}
    assert held.changes() == tuple(sorted(told))
    assert drawn(kind="none").changes() == ()


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ({"kind": "sudden"}, "drift.kind: expected none or class or label"),
        ({"kind": "class", "period": 0}, "drift.period"),
        ({"kind": "class", "share": 0.0}, "drift.share"),
        ({"kind": "class", "share": np.nan}, "drift.share"),
    ],
)
def test_drift_scheme_refuses_what_makes_no_sense(entries, text):
    with pytest.raises(InputError, match=text):
        DriftScheme(**entries)
