"""Least costs of devices, with their budgets and splits, against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from enumeration import device_plans, session_options
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_terms import Facts
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import ROUNDED_DOWN

from mafl_opt.core.proof import labels
from mafl_opt.core.proof.budgets import bracket, sharpen
from mafl_opt.core.proof.lagrangian import Lagrangian
from mafl_opt.core.proof.leaves import ATTRIBUTES, DeviceSplit, Leaf
from mafl_opt.core.proof.local_sums import LocalSums
from mafl_opt.core.proof.price_table import PriceTable
from mafl_opt.core.proof.session_table import SessionTable

EMPTY = {name: [] for name in ("device", "task", "receive", "upload", "iterations", "price")}
MANY_BATCHES = {"tasks.batch_max": [25], "tasks.iterations_max": [3]}


def drawn_prices(scenario, seed, *, energy=False):
    """A price table of a certificate, with prices of sessions for some caps."""
    rng = np.random.default_rng(seed)
    tasks, slots, devices = scenario.num_tasks, scenario.num_slots, scenario.num_devices
    entry = {
        "numerator": 10.0 ** rng.uniform(0, 4, tasks),
        "progress": 10.0 ** rng.uniform(3, 6, tasks),
        "uplink": rng.exponential(3.0, slots),
        "step_cap": rng.exponential(100.0, (slots, tasks)),
    }
    if energy:
        entry["energy"] = 10.0 ** rng.uniform(0, 4, devices) * rng.integers(0, 2, devices)
    return {name: values.tolist() for name, values in entry.items()}


def programs(scenario, entry):
    table = SessionTable.of(scenario, LocalSums.of(scenario), slice(0, scenario.num_devices))
    prices = PriceTable.read(scenario, "prices", entry, energy=False)
    busy = np.zeros((scenario.num_devices, scenario.num_slots + 1), dtype=bool)
    return prices.programs(scenario, table, busy)


def plan_cost(scenario, entry, i, plan):
    """Cost of the sessions of a device at prices."""
    joule = scenario.energy_weight + entry.get("energy", [0.0] * scenario.num_devices)[i]
    return sum(
        entry["numerator"][row["task"]] * adds["error"]
        - entry["progress"][row["task"]] * 0.5 * adds["step"]
        + entry["uplink"][row["upload"] - 1]
        + entry["step_cap"][row["upload"] - 1][row["task"]] * adds["step"]
        + joule * adds["energy"]
        for row, adds in plan
    )


@pytest.mark.parametrize("energy", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_least_cost_is_that_of_trying_all_sets_of_sessions(seed, energy):
    scenario = drawn_scenario(seed, tasks=2)
    entry = drawn_prices(scenario, seed, energy=energy)
    found = programs(scenario, entry)
    inside = sharpen(found, bracket(found, np.zeros(2), 0.0), 0.0)
    minima = found.minima() if energy else inside
    for i in range(scenario.num_devices):
        plans = device_plans(Facts.of(scenario), i, budget=not energy)
        true = min(plan_cost(scenario, entry, i, plan) for plan in plans)
        assert minima[i] <= true
        assert minima[i] == pytest.approx(true, rel=ROUNDED_DOWN, abs=ROUNDED_DOWN)


@pytest.mark.parametrize("seed", range(12))
def test_many_mini_batches_in_a_tight_budget_are_searched_exactly(seed):
    scenario = drawn_scenario(seed, devices=1, slots=2, **MANY_BATCHES)
    entry = drawn_prices(scenario, seed)
    found = programs(scenario, entry)
    between = bracket(found, np.zeros(1), 0.0)
    least = sharpen(found, between, 0.0)
    plans = device_plans(Facts.of(scenario), 0)
    true = min(plan_cost(scenario, entry, 0, plan) for plan in plans)
    assert between.bound[0] <= true
    assert between.ceiling[0] >= true - ROUNDED_DOWN * abs(true)
    assert least[0] <= true
    assert least[0] == pytest.approx(true, rel=ROUNDED_DOWN, abs=ROUNDED_DOWN)


def test_some_budgets_of_the_draws_need_labels():
    """Otherwise the tests above are hollow: prices leave a gap, labels close it."""
    gaps = []
    for seed in range(12):
        scenario = drawn_scenario(seed, tasks=2)
        found = programs(scenario, drawn_prices(scenario, seed))
        between = bracket(found, np.zeros(2), 0.0)
        gaps += list((sharpen(found, between, 0.0) - between.bound) / np.abs(between.bound + 1e-9))
    assert sum(gap > 0.001 for gap in gaps) >= 5


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_programs_given_up_for_their_size_keep_a_bound(limit, monkeypatch):
    monkeypatch.setattr(labels, "_LABELS", limit)
    below = 0
    for seed in range(12):
        scenario = drawn_scenario(seed, tasks=2)
        entry = drawn_prices(scenario, seed)
        found = programs(scenario, entry)
        between = bracket(found, np.zeros(2), 0.0)
        least = sharpen(found, between, 0.0)
        assert (least >= between.bound).all()
        for i in range(2):
            plans = device_plans(Facts.of(scenario), i)
            true = min(plan_cost(scenario, entry, i, plan) for plan in plans)
            assert least[i] <= true
            below += least[i] < true - 1e-3 * abs(true)
    assert below > 0


@pytest.mark.parametrize("start", [0.0, 3.0, 1e9])
def test_the_search_ends_at_the_same_bound_wherever_it_begins(start):
    for seed in range(8):
        scenario = drawn_scenario(seed, tasks=2)
        found = programs(scenario, drawn_prices(scenario, seed))
        usual = bracket(found, np.zeros(2), 0.0)
        other = bracket(found, np.full(2, start), 0.0)
        assert other.bound == pytest.approx(usual.bound, rel=ROUNDED_DOWN, abs=ROUNDED_DOWN)


splits = st.builds(
    DeviceSplit, device=st.integers(0, 1), slot=st.integers(1, 3),
    attribute=st.sampled_from(ATTRIBUTES), at=st.integers(-1, 3), high=st.booleans(),
)  # fmt: skip


def admits(split, i, plan):
    """Whether a device's plan is on the side of a split."""
    if split.device != i:
        return True
    value = -1
    for row, _ in plan:
        if row["receive"] < split.slot <= row["upload"]:
            value = row[split.attribute]
    return (value > split.at) == split.high


@settings(max_examples=150, derandomize=True, deadline=None)
@given(seed=st.integers(0, 11), chosen=st.lists(splits, max_size=4), energy=st.booleans())
def test_splits_leave_exactly_the_plans_on_their_side(seed, chosen, energy):
    scenario = drawn_scenario(seed, tasks=2)
    entry = drawn_prices(scenario, seed, energy=energy)
    prices = PriceTable.read(scenario, "prices", entry, energy=False)
    linked = None
    for split in chosen:
        linked = (split, linked)
    leaf = Leaf.whole(2, splits=linked, prices=0)
    facts = Facts.of(scenario)
    true = 0.0
    for i in range(2):
        plans = device_plans(facts, i, budget=not energy)
        kept = [plan for plan in plans if all(admits(split, i, plan) for split in chosen)]
        true += min((plan_cost(scenario, entry, i, plan) for plan in kept), default=np.inf)
    wide = 1 + 1.1e-9
    true += sum(
        price * facts.constant_gap(j) for j, price in enumerate(entry["numerator"])
    ) - float(np.dot(entry["uplink"], scenario.network.uplink_capacity))
    true -= wide * float((np.array(entry["step_cap"]) @ scenario.tasks.step_cap).sum())
    if energy:
        true -= wide * float(np.dot(entry["energy"], scenario.devices.energy_budget_j))
    found = Lagrangian(scenario, [prices], 1e-6).part(leaf, exact=True)
    assert found <= true or np.isinf(found)
    if np.isfinite(true) and np.isfinite(found):
        size = max(abs(true), *entry["step_cap"][0])
        assert found == pytest.approx(true, rel=ROUNDED_DOWN, abs=ROUNDED_DOWN * size)
    elif np.isfinite(true):
        assert no_session_is_left(scenario, chosen)


def no_session_is_left(scenario, chosen):
    """Whether the splits leave some task untrained."""
    facts = Facts.of(scenario)
    trained = set()
    for i in range(2):
        for plan in device_plans(facts, i):
            if all(admits(split, i, plan) for split in chosen):
                trained |= {row["task"] for row, _ in plan}
    return trained != {0, 1}


def test_splits_that_leave_a_weighted_task_without_sessions_leave_no_plan():
    scenario = plain_scenario()
    prices = PriceTable.read(scenario, "prices", drawn_prices(scenario, 5), energy=False)
    values, linked = [], None
    for device, slot in [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]:
        idle = DeviceSplit(device=device, slot=slot, attribute="task", at=-1, high=False)
        linked = (idle, linked)
        leaf = Leaf.whole(2, splits=linked, prices=0)
        values.append(Lagrangian(scenario, [prices], 1.0).part(leaf, exact=True))
    assert np.isfinite(values[:3]).all()
    assert values[-1] == np.inf
    free = Lagrangian(scenario.replace(**{"tasks.weight": [0.0, 0.0]}), [prices], 1.0)
    assert np.isfinite(free.part(leaf, exact=True))


def charges(scenario, entry):
    """p_s of every session that exists, by (device, task, receive, upload, iterations)."""
    facts, own = Facts.of(scenario), entry["sessions"]
    names = ("device", "task", "receive", "upload", "iterations")
    extra = dict(zip(zip(*(own[name] for name in names), strict=True), own["price"], strict=True))
    out = {}
    for i in range(scenario.num_devices):
        for options in session_options(facts, i).values():
            for row, adds in options:
                key = tuple(row[name] for name in names)
                price = entry["step_cap"][row["upload"] - 1][row["task"]]
                out[key] = (adds["step"], price * adds["step"] + extra.get(key, 0.0))
    return out


def most_charged(scenario, charged, task, upload):
    """The most that sessions which end together within the cap are charged."""
    own = [
        [(0.0, 0.0)]
        + [pair for key, pair in charged.items() if (key[0], key[1], key[3]) == (i, task, upload)]
        for i in range(scenario.num_devices)
    ]
    limit = scenario.tasks.step_cap[task] * (1 + 1e-9)
    return max(
        sum(pair[1] for pair in chosen)
        for chosen in itertools.product(*own)
        if sum(pair[0] for pair in chosen) <= limit
    )


@pytest.mark.parametrize("seed", range(10))
def test_prices_of_sessions_are_charged_at_devices_and_at_caps(seed):
    scenario = drawn_scenario(seed, tasks=2)
    rng = np.random.default_rng(seed)
    entry = drawn_prices(scenario, seed)
    plain = charges(scenario, {**entry, "sessions": EMPTY})
    listed = [key for key in plain if rng.random() < 0.3] + [(0, 0, 2, 1, 1)]
    columns = [list(column) for column in zip(*listed, strict=True)]
    entry["sessions"] = dict(zip(EMPTY, [*columns, []], strict=True))
    entry["sessions"]["price"] = rng.exponential(2.0, len(listed)).tolist()
    charged, facts = charges(scenario, entry), Facts.of(scenario)
    true = -float(np.dot(entry["uplink"], scenario.network.uplink_capacity))
    true += sum(price * facts.constant_gap(j) for j, price in enumerate(entry["numerator"]))
    for i in range(2):
        costs = []
        for plan in device_plans(facts, i):
            keys = [tuple(row[name] for name in list(EMPTY)[:5]) for row, _ in plan]
            own = sum(charged[key][1] - plain[key][1] for key in keys)
            costs.append(plan_cost(scenario, entry, i, plan) + own)
        true += min(costs)
    for j, u in itertools.product(range(2), range(1, 4)):
        if any(key[1] == j and key[3] == u for key in listed):
            true -= most_charged(scenario, charged, j, u)
        else:
            true -= entry["step_cap"][u - 1][j] * scenario.tasks.step_cap[j]
    prices = PriceTable.read(scenario, "prices", entry, energy=False)
    found = Lagrangian(scenario, [prices], 1e-6).part(Leaf.whole(2, prices=0), exact=True)
    assert found <= true
    size = max(abs(true), *entry["numerator"])
    assert found == pytest.approx(true, abs=ROUNDED_DOWN * size)
