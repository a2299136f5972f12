from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mafl_opt.core.errors import InputError
from mafl_opt.validation.partition import (
    PartitionScheme,
    partition_labels,
    partition_rows,
    partition_shards,
    skewed_sizes,
)

SIZES = st.lists(st.integers(0, 60), min_size=1, max_size=6)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    sizes=SIZES,
    samples=st.integers(1, 120),
    classes=st.integers(1, 6),
    concentration=st.sampled_from([1e-3, 0.1, 0.5, 10.0, np.inf]),
    seed=st.integers(0, 2**32),
)
def test_partition_gives_exact_sizes_with_least_repetition(
    sizes, samples, classes, concentration, seed
):
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=samples)
    rows = partition_labels(labels, np.array(sizes), concentration, generator)
    assert [len(held) for held in rows] == sizes
    for held in rows:
        counts = np.bincount(held, minlength=samples)
        assert len(counts) == samples
        # On one device every sample occurs equally often, give or take one.
        assert counts.max() - counts.min() <= 1
    if sum(sizes) <= samples:
        everything = np.concatenate(rows)
        assert len(np.unique(everything)) == len(everything)


def test_partition_skew_grows_as_the_concentration_falls():
    labels = np.arange(2000) % 10

    def share_of_largest_class(concentration):
        rows = partition_labels(labels, np.full(8, 100), concentration, np.random.default_rng(0))
        return np.mean([np.bincount(labels[held]).max() / len(held) for held in rows])

    shares = [share_of_largest_class(c) for c in (0.05, 0.5, 5.0, np.inf)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.6
    assert shares[-1] < 0.2


def test_partition_follows_the_prior_without_skew():
    labels = np.repeat([0, 1], [900, 100])
    (held,) = partition_labels(labels, np.array([500]), np.inf, np.random.default_rng(0))
    assert abs(labels[held].mean() - 0.1) < 0.05


def test_partition_repeats_itself_for_a_seed():
    labels = np.arange(300) % 7
    first, again, other = (
        partition_labels(labels, np.array([50, 60]), 0.5, np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("concentration", [0.0, -1.0, np.nan])
def test_partition_refuses_a_concentration_that_is_not_positive(concentration):
    with pytest.raises(InputError, match=r"options\.dirichlet: expected a number > 0"):
        partition_labels(np.zeros(3, int), np.array([1]), concentration, np.random.default_rng(0))


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    sizes=SIZES,
    samples=st.integers(1, 120),
    shards=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
def test_shards_give_exact_sizes_and_repeat_nothing_when_there_is_enough(
    sizes, samples, shards, seed
):
    generator = np.random.default_rng(seed)
    labels = generator.integers(4, size=samples)
    rows = partition_shards(labels, np.array(sizes), shards, generator)
    assert [len(held) for held in rows] == sizes
    everything = np.concatenate(rows)
    assert everything.size == 0 or everything.max() < samples
    if sum(sizes) <= samples:
        assert len(np.unique(everything)) == len(everything)


@pytest.mark.parametrize("count", [20, 40])
def test_shards_give_a_device_few_classes(count):
    # Ten classes of 100; 20 devices share the set, 40 devices have some samples in common.
    labels = np.random.default_rng(1).permutation(np.arange(1000) % 10)
    rows = partition_shards(labels, np.full(count, 50), 2, np.random.default_rng(0))
    classes = [len(np.unique(labels[held])) for held in rows]
    assert max(classes) <= 4
    assert np.mean(classes) < 3


def test_partition_scheme_chooses_the_partition():
    labels = np.arange(600) % 10
    sizes = np.full(6, 60)

    def classes(**entries):
        rows = partition_rows(PartitionScheme(**entries), labels, sizes, np.random.default_rng(0))
        return np.mean([len(np.unique(labels[held])) for held in rows])

    assert classes(kind="iid") > 9.5
    assert classes(kind="shards", shards=1) < 4
    assert classes(kind="dirichlet", concentration=0.05) < classes(kind="dirichlet") < 9.5


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ({"kind": "sorted"}, "partition.kind: expected dirichlet or shards or iid"),
        ({"concentration": 0.0}, "partition.concentration"),
        ({"shards": 0}, "partition.shards"),
    ],
)
def test_partition_scheme_refuses_what_makes_no_sense(entries, text):
    with pytest.raises(InputError, match=text):
        PartitionScheme(**entries)


def test_skewed_sizes_add_up_and_grow_more_unequal():
    def spread(concentration):
        sizes = skewed_sizes(1000, 10, concentration, np.random.default_rng(0), least=5)
        assert sizes.sum() == 1000
        assert sizes.min() >= 5
        return sizes.std()

    assert spread(np.inf) == 0
    assert spread(100.0) < spread(1.0) < spread(0.1)


def test_skewed_sizes_refuse_too_few_samples():
    with pytest.raises(InputError, match="at least 3 for each of 4 devices"):
        skewed_sizes(11, 4, 1.0, np.random.default_rng(0), least=3)
    with pytest.raises(InputError, match="a number > 0"):
        skewed_sizes(11, 4, 0.0, np.random.default_rng(0))
