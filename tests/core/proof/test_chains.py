"""Least-cost chains and what dominance keeps, against trying everything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mafl_opt.core.proof.chains import Chains, frontier


@pytest.mark.parametrize("seed", range(20))
def test_frontier_keeps_what_no_other_of_the_owner_beats(seed):
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, 3, 40)
    # Few values, so that there are ties and equal entries.
    use, cost = rng.integers(0, 6, 40) * 0.5, rng.integers(-5, 5, 40) * 0.5
    kept = frontier(owner, use, cost)
    entries = set(zip(owner, use, cost, strict=True))
    best = [
        (o, u, c)
        for o, u, c in sorted(entries)
        if not any(o == p and v <= u and d <= c and (v, d) != (u, c) for p, v, d in entries)
    ]
    assert list(zip(owner[kept], use[kept], cost[kept], strict=True)) == best


def drawn_chains(rng, owners=3, stages=4):
    arcs = [
        (owner, start, end)
        for owner in range(owners)
        for start, end in itertools.combinations(range(stages + 1), 2)
        if rng.random() < 0.6
    ]
    owner, start, end = np.array(arcs).T
    busy = rng.random((owners, stages + 1)) < 0.2
    return Chains(busy=busy, owner=owner, start=start, end=end), rng.normal(size=len(arcs))


def least_between(chains, cost, owner, first, last):
    """Least cost of the chains of an owner from one stage to a later one."""
    if first == last:
        return 0.0
    best = np.inf
    if not chains.busy[owner, first + 1]:
        best = least_between(chains, cost, owner, first + 1, last)
    for arc in np.flatnonzero((chains.owner == owner) & (chains.start == first)):
        if chains.end[arc] <= last:
            rest = least_between(chains, cost, owner, int(chains.end[arc]), last)
            best = min(best, cost[arc] + rest)
    return best


@pytest.mark.parametrize("seed", range(20))
def test_programs_forward_and_backward_are_those_of_trying_all_chains(seed):
    chains, cost = drawn_chains(np.random.default_rng(seed))
    use = np.arange(1.0, cost.size + 1)
    forward, used = chains.forward(cost, use)
    backward = chains.backward(cost)
    # With cost for use, what a best chain uses is its cost.
    assert np.array_equal(np.where(np.isfinite(forward), chains.forward(cost, cost)[1], np.inf),
                          forward)  # fmt: skip
    for owner, stage in itertools.product(range(3), range(5)):
        true = least_between(chains, cost, owner, 0, stage)
        assert forward[owner, stage] == pytest.approx(true)
        assert backward[owner, stage] == pytest.approx(least_between(chains, cost, owner, stage, 4))
    assert (used >= 0).all()
