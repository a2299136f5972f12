"""Price form: best batches, device programs, ratio blocks and the Lagrangian they add up to."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from enumeration import enumerate_optimum
from hypothesis import given, settings
from hypothesis import strategies as st
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import CANCELLED, PROVED_BOUND, ROUNDED_DOWN, SAME_FORMULA

from mafl_opt.core.certificate import certified_bound
from mafl_opt.formulations.boxes import box_rules
from mafl_opt.formulations.pricing import (
    DeviceProgram,
    Prices,
    best_batches,
    lagrangian_bound,
    ratio_minimum,
)
from mafl_opt.formulations.problem import Problem

WIDE = {"tasks.batch_max": [40, 25], "pairs.samples": [[50, 25], [7, 60], [40, 5]]}


def wide(seed, **changes):
    changes = {"devices.f_min_hz": [4e6, 1e7, 5e7], **WIDE, **changes}
    return drawn_scenario(seed, devices=3, tasks=2, slots=3, **changes)


price = st.floats(-4.0, 6.0).map(lambda power: 10.0**power) | st.just(0.0)


@settings(max_examples=120, derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 5),
    lam=price,
    e=price,
    std=st.sampled_from([None, 0.0]),
    capacitance=st.sampled_from([None, 0.0]),
)
def test_best_batch_costs_least_of_all_batches(seed, lam, e, std, capacitance):
    changes = {} if std is None else {"pairs.gradient_std": [[std] * 2] * 3}
    if capacitance is not None:
        changes["devices.capacitance"] = [capacitance] * 3
    c = Problem(scenario=wide(seed, **changes)).columns
    n = len(c)
    batch = best_batches(c, np.full(n, lam), np.full(n, e))
    assert (batch >= 1).all() and (batch <= c.batch_hi).all()

    def cost(size):
        joules = c.capacitance * c.cycles * size * c.frequency(size) ** 2
        return lam * c.noise / size + e * joules

    found, least = cost(batch), np.full(n, np.inf)
    for size in range(1, int(c.batch_hi.max(initial=1)) + 1):
        least = np.where(size <= c.batch_hi, np.minimum(least, cost(np.full(n, size))), least)
    assert (found <= least * (1 + SAME_FORMULA)).all()


def test_free_energy_takes_the_largest_batch_and_no_noise_the_smallest():
    c = Problem(scenario=wide(0)).columns
    ones, none = np.ones(len(c)), np.zeros(len(c))
    assert best_batches(c, ones, none).tolist() == c.batch_hi.tolist()
    assert (best_batches(c, none, ones) == 1).all()
    assert (best_batches(c, none, none) == 1).all()


def test_best_batches_are_inside_the_range_somewhere():
    c = Problem(scenario=wide(0)).columns
    inner = [
        ((batch := best_batches(c, np.full(len(c), lam), np.ones(len(c)))) > 1)
        & (batch < c.batch_hi)
        for lam in 10.0 ** np.linspace(-3, 5, 9)
    ]
    assert np.any(inner)


def cheapest_by_force(c, cost, devices, slots):
    def least(i, g):
        if g == slots:
            return 0.0
        values = [least(i, g + 1)]
        for k in np.flatnonzero((c.device == i) & (c.receive == g)):
            values.append(cost[k] + least(i, int(c.upload[k])))
        return min(values)

    return [least(i, 0) for i in range(devices)]


@settings(max_examples=80, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), ties=st.booleans())
def test_device_program_finds_the_cheapest_sessions(seed, ties):
    rng = np.random.default_rng(seed)
    s = drawn_scenario(seed % 50, devices=3, tasks=2, slots=4)
    c = Problem(scenario=s).columns
    cost = rng.integers(-3, 3, len(c)).astype(float) if ties else rng.normal(size=len(c))
    cost[rng.random(len(c)) < 0.1] = np.inf
    value, chosen = DeviceProgram(s, c).solve(cost)
    assert value.tolist() == pytest.approx(cheapest_by_force(c, cost, 3, 4), abs=CANCELLED)
    taken = np.bincount(c.device[chosen], cost[chosen], minlength=3)
    assert taken.tolist() == pytest.approx(value.tolist(), abs=CANCELLED)
    for a, b in itertools.combinations(chosen, 2):
        if c.device[a] == c.device[b]:
            assert c.upload[a] <= c.receive[b] or c.upload[b] <= c.receive[a]


@settings(max_examples=60, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_slack_is_what_using_a_column_costs_its_device(seed):
    rng = np.random.default_rng(seed)
    s = drawn_scenario(seed % 50, devices=2, tasks=2, slots=4)
    c = Problem(scenario=s).columns
    cost = rng.normal(size=len(c))
    program = DeviceProgram(s, c)
    slack, best = program.slack(cost), program.solve(cost)[0]
    assert slack.shape == (len(c),)
    for k in range(len(c)):
        # Only column k and what does not overlap it.
        apart = (c.upload <= c.receive[k]) | (c.receive >= c.upload[k]) | (c.device != c.device[k])
        rest = program.solve(np.where(apart, cost, np.inf))[0][c.device[k]]
        expected = rest + cost[k] - best[c.device[k]]
        assert slack[k] == pytest.approx(expected, abs=CANCELLED)


def test_device_program_rests_when_nothing_pays():
    s = plain_scenario()
    c = Problem(scenario=s).columns
    value, chosen = DeviceProgram(s, c).solve(np.full(len(c), 0.5))
    assert value.tolist() == [0.0, 0.0] and chosen.size == 0
    value, chosen = DeviceProgram(s, c).solve(np.full(len(c), np.inf))
    assert value.tolist() == [0.0, 0.0] and chosen.size == 0


def test_device_program_of_an_unreachable_fleet_is_empty():
    s = plain_scenario(**{"network.available": [[False, False]] * 3})
    value, chosen = DeviceProgram(s, Problem(scenario=s).columns).solve(np.zeros(0))
    assert value.tolist() == [0.0, 0.0] and chosen.size == 0


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
    weight=st.floats(0.01, 100.0),
    lam=price,
    mu=price,
    ends=st.lists(st.floats(0.01, 50.0), min_size=4, max_size=4),
)
def test_ratio_minimum_is_the_least_over_a_grid(weight, lam, mu, ends):
    (n_min, n_max), (a_min, a_max) = sorted(ends[:2]), sorted(ends[2:])
    value, n, a = ratio_minimum(weight, lam, mu, (n_min, n_max, a_min, a_max))
    assert n_min <= n <= n_max and a_min <= a <= a_max
    size = weight * n / a + lam * n + mu * a
    assert value == pytest.approx(weight * n / a - lam * n + mu * a, abs=SAME_FORMULA * size)
    grid_n, grid_a = np.meshgrid(np.linspace(n_min, n_max, 60), np.linspace(a_min, a_max, 60))
    grid = weight * grid_n / grid_a - lam * grid_n + mu * grid_a
    sizes = weight * grid_n / grid_a + lam * grid_n + mu * grid_a
    assert (grid >= value - SAME_FORMULA * (sizes + size)).all()


def test_reduced_costs_add_every_price():
    s = plain_scenario()
    c = Problem(scenario=s).columns
    rng = np.random.default_rng(3)
    prices, batch = random_prices(s, rng, 100.0), np.ones(len(c), dtype=int)
    found = prices.reduced_costs(s, c, batch)
    for k in range(len(c)):
        i, j, g = c.device[k], c.task[k], c.upload[k] - 1
        one = c.take(np.array([k]))
        expected = prices.numerator[j] * one.error_at(np.ones(1))[0]
        expected -= prices.progress[j] * c.progress[k]
        expected += (s.energy_weight + prices.energy[i]) * one.energy(np.ones(1))[0]
        expected += prices.uplink[g] + prices.step_cap[g, j] * c.step[k]
        assert found[k] == pytest.approx(expected, rel=CANCELLED)


def random_prices(s, rng, z):
    """Prices around those that matter: slopes of gamma N / A, a share of O for each limit."""
    half = s.num_slots * s.tasks.step_cap / 2
    slope = s.tasks.weight / half * 10.0 ** rng.uniform(-1, 2, s.num_tasks)
    step = rng.exponential(0.3 * z, (s.num_slots, s.num_tasks)) / s.tasks.step_cap
    budget = np.maximum(s.devices.energy_budget_j, 1e-3)
    return Prices(
        numerator=slope,
        progress=slope * z * rng.uniform(0, 2, s.num_tasks),
        uplink=rng.exponential(0.1 * z, s.num_slots) * rng.integers(0, 2, s.num_slots),
        step_cap=step * rng.integers(0, 2, step.shape) * (s.tasks.weight > 0),
        energy=rng.exponential(0.3 * z, s.num_devices) / budget * rng.integers(0, 2),
    )


@pytest.fixture(scope="module")
def optima():
    out = []
    for seed in range(24):
        changes = {"energy_weight": 0.0} if seed % 3 == 0 else {}
        s = drawn_scenario(seed, tasks=1 + seed % 2, **changes)
        z, plan = enumerate_optimum(s)
        if plan is not None:
            out.append((Problem(scenario=s), z))
    return out


def bound_at(problem, prices, low, high, top):
    box = box_rules(problem).box(low, high, top)
    return lagrangian_bound(problem.scenario, problem.columns, problem.program, prices, box)[0]


@settings(max_examples=150, derandomize=True, deadline=None)
@given(data=st.data())
def test_lagrangian_of_the_root_box_is_never_above_the_optimum(optima, data):
    problem, z = data.draw(st.sampled_from(optima))
    top = z * data.draw(st.sampled_from([1.0, 1.001, 1.3, 10.0]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    low, high = box_rules(problem).root(top)
    bound = bound_at(problem, random_prices(problem.scenario, rng, z), low, high, top)
    # A box of plans below `top` says nothing of plans above it.
    assert min(bound, top) <= z


def climbed(problem, z, seed, steps=300):
    """Random ascent on the bound at the root: prices, bound."""
    rng = np.random.default_rng(seed)
    low, high = box_rules(problem).root(z)
    prices = random_prices(problem.scenario, rng, z)
    best = bound_at(problem, prices, low, high, z)
    for _ in range(steps):
        moved = {
            name: np.array(value) * np.exp(0.3 * rng.normal(size=np.shape(value)))
            for name, value in prices.to_dict().items()
        }
        trial = Prices(**moved)
        value = bound_at(problem, trial, low, high, z)
        if value > best:
            best, prices = value, trial
    return best, prices


def test_climbing_on_the_bound_comes_near_the_optimum_and_stays_below(optima):
    shares = []
    for problem, z in optima[:8]:
        best, _ = climbed(problem, z, 0)
        assert best <= z
        shares.append(best / z)
    # Not a slack bound: one box and a crude search come this far already.
    assert max(shares) > 0.8


def test_lagrangian_is_the_certificates_number(optima):
    compared = 0
    for problem, z in optima[:10]:
        low, high = box_rules(problem).root(z)
        bound, prices = climbed(problem, z, 1, steps=60)
        # The certificate lists leaves for the claim it makes: boxes at the claim, not at z.
        claim = min(bound, z)
        leaf = {
            "progress_min": low.tolist(), "progress_max": high.tolist(),
            "prices": prices.to_dict(),
        }  # fmt: skip
        proved = certified_bound(
            problem.scenario, {"kind": "lagrangian", "bound": claim, "leaves": [leaf]}
        )
        assert proved >= claim * (1 - PROVED_BOUND)
        compared += 1
    assert compared >= 8


def test_lagrangian_by_plain_sums():
    """The bound at given prices, every session set of every device listed."""
    s = drawn_scenario(2, devices=2, tasks=2, slots=3)
    problem = Problem(scenario=s)
    c = problem.columns
    prices = random_prices(s, np.random.default_rng(5), 300.0)
    low, high = box_rules(problem).root(900.0)
    box = box_rules(problem).box(low, high, 900.0)
    found, chosen, batch = lagrangian_bound(s, c, problem.program, prices, box)
    costs = np.full(len(c), np.inf)
    for size in range(1, int(c.batch_hi.max()) + 1):
        sized = prices.reduced_costs(s, c, np.full(len(c), size))
        costs = np.where(size <= c.batch_hi, np.minimum(costs, sized), costs)
    total = sum(cheapest_by_force(c, costs, 2, 3))
    for j in range(2):
        ends = (box.numerator_min[j], box.numerator_max[j], low[j], high[j])
        lam, mu = prices.numerator[j], prices.progress[j]
        total += ratio_minimum(s.tasks.weight[j], lam, mu, ends)[0]
        total += lam * (s.tasks.initial_gap[j] + s.loss_drift[:, j].sum())
    total -= prices.uplink @ s.network.uplink_capacity
    total -= (prices.step_cap @ s.tasks.step_cap).sum()
    total -= prices.energy @ s.devices.energy_budget_j
    assert found == pytest.approx(total, rel=ROUNDED_DOWN)
    assert found <= total + CANCELLED * abs(total)
    assert prices.reduced_costs(s, c, batch)[chosen].sum() <= CANCELLED


def test_prices_as_plain_lists_keep_their_numbers():
    s = plain_scenario()
    prices = random_prices(s, np.random.default_rng(1), 10.0)
    again = Prices(**{name: np.array(value) for name, value in prices.to_dict().items()})
    for name in ("numerator", "progress", "uplink", "step_cap", "energy"):
        assert np.array_equal(getattr(again, name), getattr(prices, name))
