"""The exact parts of the certificate against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from enumeration import session_options
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import ROUNDED_DOWN

from mafl_opt.core.prices import SessionTable
from mafl_opt.core.terms import Facts

MANY_BATCHES = {"tasks.batch_max": [25], "tasks.iterations_max": [3]}


def priced(seed, **changes):
    """Facts, table and drawn prices lam, mu, nu, pi, xi + omega of a drawn scenario."""
    facts = Facts.of(drawn_scenario(seed, **changes))
    rng = np.random.default_rng(seed)
    tasks, slots, devices = facts.num_tasks, facts.num_slots, facts.num_devices
    prices = (
        10.0 ** rng.uniform(0, 4, tasks), 10.0 ** rng.uniform(2, 5, tasks),
        rng.exponential(3.0, slots), rng.exponential(100.0, (slots, tasks)),
        10.0 ** rng.uniform(0, 4, devices) * rng.integers(0, 2, devices),
    )  # fmt: skip
    return facts, SessionTable.of(facts), prices


def least_cost(facts, options, prices):
    """Least reduced cost of the options of one session, every mini-batch tried."""
    lam, mu, nu, pi, joule = prices
    return min(
        lam[row["task"]] * adds["error"] - mu[row["task"]] * 0.5 * adds["step"]
        + nu[row["upload"] - 1] + pi[row["upload"] - 1, row["task"]] * adds["step"]
        + joule[row["device"]] * adds["energy"]
        for row, adds in options
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_table_holds_the_sessions_that_exist_and_no_others(seed):
    facts, table, _ = priced(seed, tasks=2)
    rows = set(zip(table.device, table.receive, table.upload, table.task, strict=True))
    listed = {
        (i, r, u, row["task"])
        for i in range(facts.num_devices)
        for (r, u), options in session_options(facts, i).items()
        for row, _ in options
    }
    assert rows == listed


def test_links_that_just_fit_their_slot_leave_their_sessions_in_the_table():
    """Downloads take 0.95 of slot 1 on device 0 and a little more than all of it on device 1."""
    down = [[1e6 / 0.95, 0.99e6], [1e7, 1e7], [1e7, 1e7]]
    changes = {"network.downlink_bps": down, "tasks.staleness_max": [2, 2]}
    table = SessionTable.of(Facts.of(plain_scenario(**changes)))
    first = (table.task == 0) & (table.receive == 0)
    assert set(table.device[first]) == {0}
    assert set(table.upload[first]) == {2, 3}


@pytest.mark.parametrize("seed", range(25))
def test_least_cost_over_mini_batches_is_that_of_trying_them_all(seed):
    facts, table, prices = priced(seed, **MANY_BATCHES)
    costs = table.reduced_costs(*prices)
    found = dict.fromkeys(zip(table.device, table.receive, table.upload, strict=True), np.inf)
    for key, cost in zip(
        zip(table.device, table.receive, table.upload, strict=True), costs, strict=True
    ):
        found[key] = min(found[key], cost)
    for i in range(facts.num_devices):
        for (r, u), options in session_options(facts, i).items():
            true = least_cost(facts, options, prices)
            assert found[i, r, u] <= true
            assert found[i, r, u] == pytest.approx(true, rel=ROUNDED_DOWN, abs=ROUNDED_DOWN)


def test_the_draws_reach_every_branch_of_the_best_mini_batch():
    """Both ends, f at its minimum, at the kink and beyond; otherwise the test above is hollow."""
    seen = {"low end": 0, "high end": 0, "slow": 0, "kink": 0, "fast": 0}
    for seed in range(25):
        _, table, (lam, _, _, _, joule) = priced(seed, **MANY_BATCHES)
        best = table.best_batch(lam[table.task], joule[table.device])
        kink = table.f_min_hz * table.time_s / table.cycles
        inner = (best > 1) & (best < table.batch_max)
        seen["low end"] += int((best == 1).sum())
        seen["high end"] += int((best == table.batch_max).sum())
        seen["slow"] += int((inner & (best < kink)).sum())
        seen["kink"] += int((inner & (best == kink)).sum())
        seen["fast"] += int((inner & (best > kink)).sum())
    assert min(seen.values()) > 0, seen


@pytest.mark.parametrize("seed", range(10))
def test_device_program_is_that_of_trying_all_session_sets(seed):
    facts, table, prices = priced(seed, tasks=2, slots=4)
    costs = table.reduced_costs(*prices)
    minima = table.device_minima(costs, facts.num_devices, facts.num_slots)
    for i in range(facts.num_devices):
        options = session_options(facts, i)
        best = {key: least_cost(facts, listed, prices) for key, listed in options.items()}
        true = 0.0
        for size in range(1, facts.num_slots + 1):
            for chosen in itertools.combinations(sorted(best), size):
                if all(a[1] <= b[0] for a, b in itertools.pairwise(chosen)):
                    true = min(true, sum(best[key] for key in chosen))
        assert minima[i] <= true
        assert minima[i] == pytest.approx(true, rel=ROUNDED_DOWN, abs=ROUNDED_DOWN)


def test_device_without_sessions_costs_nothing():
    facts = Facts.of(drawn_scenario(0, **{"network.available": [[False, False]] * 3}))
    table = SessionTable.of(facts)
    prices = [np.ones(n) for n in (1, 1, 3)]
    costs = table.reduced_costs(*prices, np.ones((3, 1)), np.ones(2))
    assert table.device_minima(costs, 2, 3).tolist() == [0.0, 0.0]
