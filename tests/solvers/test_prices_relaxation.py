"""The pattern relaxation against linear programs over all patterns, and against enumeration."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pattern_draws import (
    drawn_counts,
    drawn_multipliers,
    enumerated,
    number_of,
    relaxation_of,
    schedule_of,
    totals,
)
from scipy.optimize import linprog
from tolerances import ENUMERATED, PROVED_BOUND, SOLVED

from mafl_opt.core.certificate import certified_bound
from mafl_opt.core.check import TOLERANCE
from mafl_opt.solvers.prices.patterns.box import tighten
from mafl_opt.solvers.prices.patterns.generation import Effort
from mafl_opt.solvers.prices.patterns.tree import GUARD, Node, leaves, tree_certificate

seeds = st.integers(0, 2**32 - 1)
FEASIBLE = [seed for seed in range(14) if enumerated(seed)[2] is not None]


def every_pattern(problem, *, whole_slots):
    """All patterns as lists of (column, mini-batch), none empty."""
    s, c = problem.scenario, problem.columns
    caps = s.tasks.step_cap * (1 + TOLERANCE)
    for u in range(1, s.num_slots + 1):
        for tasks in [range(s.num_tasks)] if whole_slots else [[j] for j in range(s.num_tasks)]:
            ways = []
            for i in range(s.num_devices):
                mine = (c.device == i) & (c.upload == u) & np.isin(c.task, tasks)
                ways.append(
                    [None]
                    + [
                        (k, size)
                        for k in np.flatnonzero(mine).tolist()
                        for size in range(1, int(c.batch_hi[k]) + 1)
                    ]
                )
            for way in itertools.product(*ways):
                taken = [entry for entry in way if entry is not None]
                load = np.zeros(s.num_tasks)
                for k, _ in taken:
                    load[c.task[k]] += c.step[k]
                if taken and (load <= caps).all():
                    yield (u, tuple(tasks)), taken


def linear_program(problem, box, patterns, counts, *, points=600):
    """Value of the relaxation by one linear program over all patterns.

    Each task's ratio is a mixture of points of A at either end of Y, from which the numerator may
    not be more than Y A and the progress not less than A.
    """
    s, c = problem.scenario, problem.columns
    used = np.flatnonzero(s.tasks.weight > 0)
    start = relaxation_of(problem, 1.0, np.ones(s.num_tasks), np.ones(s.num_tasks))[0].rules.start
    blocks = {key: n for n, key in enumerate(dict.fromkeys(key for key, _ in patterns))}
    rows = [len(blocks), s.num_slots * s.num_devices, s.num_devices, s.num_slots]
    rows = np.concatenate(
        [[0], np.cumsum([*rows, s.num_tasks, s.num_tasks, len(counts), len(counts)])]
    )
    right = np.concatenate([
        np.ones(rows[2]), s.devices.energy_budget_j * (1 + TOLERANCE), s.network.uplink_capacity,
        np.zeros(2 * s.num_tasks), [box.counts[count][1] for count in counts],
        [-box.counts[count][0] for count in counts],
    ])  # fmt: skip
    columns, costs = [], []
    for key, taken in patterns:
        row, cost = np.zeros(rows[-1]), 0.0
        row[blocks[key]] = 1.0
        for k, size in taken:
            one = c.take(np.array([k]))
            energy, error = one.energy(np.array([size]))[0], one.error_at(np.array([size]))[0]
            i, j = c.device[k], c.task[k]
            row[rows[1] + i * s.num_slots + np.arange(c.receive[k], c.upload[k])] += 1.0
            row[rows[2] + i] += energy
            row[rows[3] + c.upload[k] - 1] += 1.0
            row[rows[4] + j] -= c.progress[k]
            row[rows[5] + j] += error
            for n, count in enumerate(counts):
                hit = count.device in (None, i) and count.task in (None, j)
                hit = hit and count.upload in (None, c.upload[k])
                hit = hit and c.iterations[k] > count.iterations_above and size > count.batch_above
                row[rows[6] + n] += hit
                row[rows[7] + n] -= hit
            cost += s.energy_weight * energy
        columns.append(row)
        costs.append(cost)
    equal = []
    for j in used.tolist():
        for y in (box.excess_low[j], box.excess_high[j]):
            for a in np.linspace(box.low[j], box.high[j], points):
                row = np.zeros(rows[-1])
                row[rows[4] + j], row[rows[5] + j] = a, -y * a
                columns.append(row)
                costs.append(s.tasks.weight[j] * (start[j] / a + y))
                equal.append(j)
    mixture = np.zeros((used.size, len(columns)))
    for n, j in enumerate(used.tolist()):
        mixture[n, len(patterns) :] = np.array(equal) == j
    matrix = np.array(columns).T
    size = np.abs(matrix).max(axis=1)
    size[size == 0] = 1.0
    # Limits of counts may be infinite.
    kept = np.isfinite(right)
    found = linprog(
        costs, (matrix / size[:, None])[kept], (right / size)[kept], mixture, np.ones(used.size),
    )  # fmt: skip
    return found.fun if found.status == 0 else np.inf


def box_about(problem, rng, plan, objective, root):
    """A box and counts with the plan in them."""
    progress, excess = totals(problem, plan)
    box = tighten(
        relaxation_of(problem, objective, progress, excess)[0].rules, root, 1.05 * objective
    )
    low, high = (rng.random(progress.size) for _ in range(2))
    used = problem.scenario.tasks.weight > 0
    rows = list(plan.sessions.rows())
    counts = {}
    for count in drawn_counts(problem.scenario, rng):
        number = number_of(count, rows)
        least = max(0, number - int(rng.integers(0, 3)))
        most = number + int(rng.integers(0, 3)) if rng.random() < 0.7 else np.inf
        counts[count] = (least, most)
    return replace(
        box,
        counts=counts,
        low=np.where(used, np.maximum(box.low, low * progress), box.low),
        high=np.where(
            used, np.minimum(box.high, progress + high * (box.high - progress)), box.high
        ),
        excess_low=np.minimum(excess, np.maximum(box.excess_low, low * excess)),
        excess_high=np.maximum(excess, excess + high * (box.excess_high - excess)),
    )


@pytest.mark.parametrize("whole_slots", [False, True])
@pytest.mark.parametrize("seed", FEASIBLE[:6])
def test_generation_meets_the_linear_program_over_all_patterns(seed, whole_slots):
    problem, optimum, plan = enumerated(seed)
    rng = np.random.default_rng(seed)
    patterns = list(every_pattern(problem, whole_slots=whole_slots))
    progress, excess = totals(problem, plan)
    for _ in range(2):
        relaxation, root = relaxation_of(
            problem, optimum, progress, excess, whole_slots=whole_slots
        )
        box = box_about(problem, rng, plan, optimum, root)
        value = linear_program(problem, box, patterns, list(box.counts))
        found = relaxation.generate(box, None, Effort(close=1e-7))
        assert found.bound == pytest.approx(value, rel=SOLVED)
        assert found.bound <= optimum * (1 + ENUMERATED)
        assert found.point.missing < 1e-9
        assert found.point.value == pytest.approx(value, rel=SOLVED)
        again = relaxation.price(found.prices, box).bound
        assert again == pytest.approx(found.bound, rel=PROVED_BOUND)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(seed=seeds, at=st.sampled_from(FEASIBLE), whole_slots=st.booleans())
def test_bound_at_any_multipliers_is_below_every_plan_of_the_box(seed, at, whole_slots):
    problem, optimum, plan = enumerated(at)
    rng = np.random.default_rng(seed)
    progress, excess = totals(problem, plan)
    relaxation, root = relaxation_of(problem, optimum, progress, excess, whole_slots=whole_slots)
    box = box_about(problem, rng, plan, optimum, root)
    for count in box.counts:
        relaxation.master.add_count(count)
    prices = drawn_multipliers(problem.scenario, rng, optimum, progress)
    size = 0.2 * optimum * rng.random()
    prices = replace(prices, counts=size * rng.normal(size=len(box.counts)))
    for level in (0, -1):
        assert relaxation.price(prices, box, level).bound <= optimum * (1 + ENUMERATED)


def drawn_tree(problem, rng, plan, root, prices, depth):
    """Splits about a plan, each leaf with multipliers of its own."""
    s = problem.scenario
    progress, excess = totals(problem, plan)
    node = Node(box=root, bound=-np.inf, prices=prices())
    for _ in range(depth):
        open_ = list(leaves(node))
        leaf = open_[int(rng.integers(len(open_)))]
        j = int(rng.choice(np.flatnonzero(s.tasks.weight > 0)))
        kind = rng.choice(["progress", "excess", "count"])
        if kind == "count":
            (count, *_) = [*drawn_counts(s, rng, 4), None]
            if count is None:
                continue
            split = {**count.to_dict(), "sessions": int(rng.integers(0, 3))}
        else:
            at = (progress if kind == "progress" else excess)[j] * np.exp(0.2 * rng.normal())
            split = {kind: j, "at": float(at)}
        for part in leaf.part(split):
            part.prices = prices()
    return node


@pytest.mark.parametrize("seed", FEASIBLE)
def test_checker_derives_what_the_engine_says_of_a_tree(seed):
    problem, optimum, plan = enumerated(seed)
    rng = np.random.default_rng(seed)
    progress, excess = totals(problem, plan)
    relaxation, root = relaxation_of(problem, optimum, progress, excess)
    base = relaxation.generate(
        tighten(relaxation.rules, root, optimum), None, Effort(close=1e-6)
    ).prices

    def prices():
        return base.mixed(drawn_multipliers(problem.scenario, rng, optimum, progress), 0.02)

    for depth in (0, 1, 4):
        node = drawn_tree(problem, rng, plan, root, prices, depth)
        counts = [count for leaf in leaves(node) for count in leaf.box.counts]
        counts = list(dict.fromkeys(counts))
        for count in counts:
            if count not in relaxation.master.counts:
                relaxation.master.add_count(count)
        known = relaxation.master.counts
        for leaf in leaves(node):
            charged = 0.01 * optimum * rng.normal(size=len(known))
            charged *= [count in leaf.box.counts for count in known]
            # Where a count has no upper limit nothing can be charged against more of it.
            charged = np.where(
                [np.isinf(leaf.box.counts.get(count, (0, np.inf))[1]) for count in known],
                np.minimum(charged, 0.0), charged,
            )  # fmt: skip
            leaf.prices = replace(leaf.prices, counts=charged)
            box = tighten(relaxation.rules, leaf.box, optimum)
            leaf.bound = np.inf if box.empty else relaxation.price(leaf.prices, box).bound
        bound = min(optimum, min(leaf.bound for leaf in leaves(node)))
        certificate = tree_certificate(node, bound, known)
        assert certificate["bound"] == pytest.approx(bound, rel=2 * GUARD)
        derived = certified_bound(problem.scenario, certificate)
        assert derived == certificate["bound"] <= optimum * (1 + ENUMERATED)


def test_plan_taken_into_the_master_is_in_its_relaxation():
    problem, optimum, plan = enumerated(FEASIBLE[0])
    progress, excess = totals(problem, plan)
    for whole_slots in (False, True):
        relaxation, root = relaxation_of(
            problem, optimum, progress, excess, whole_slots=whole_slots
        )
        relaxation.take_plan(schedule_of(problem, plan))
        relaxation.master.set_box(tighten(relaxation.rules, root, 1.01 * optimum))
        point, _ = relaxation.master.solve()
        assert point.missing < 1e-9
        assert point.value <= optimum * (1 + ENUMERATED)
