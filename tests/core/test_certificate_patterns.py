"""Certificates of kind patterns: their value by plain loops, and never above the optimum."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from enumeration import enumerate_optimum, session_options
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_terms import Facts
from small_scenarios import drawn_scenario
from tolerances import CANCELLED

from mafl_opt.core.certificate import certified_bound
from mafl_opt.core.check import TOLERANCE, check
from mafl_opt.core.errors import InputError
from mafl_opt.core.proof.counts import Counted
from mafl_opt.core.proof.leaves import Leaf
from mafl_opt.core.proof.pattern_prices import PatternPrices
from mafl_opt.core.proof.patterns import PatternLagrangian
from mafl_opt.formulations.bound import initial_error

COUNTED = st.tuples(st.none() | st.integers(0, 1), st.none() | st.integers(0, 1))


def drawn_table(scenario, slopes, ratios, rng, size):
    """Multipliers about the tangents of gamma N / A at a plan; those of shared limits drawn."""
    devices, tasks, slots = scenario.num_devices, scenario.num_tasks, scenario.num_slots
    blur = np.exp(size * rng.normal(size=(2, tasks)))
    share = size * float(slopes @ ratios) * rng.random() ** 3
    if math.isinf(share):
        share = 1.0
    out = {
        "numerator": slopes * blur[0],
        "progress": slopes * ratios * blur[1],
        "uplink": share * rng.exponential(size=slots) * rng.integers(0, 2, slots),
        "energy": share * rng.exponential(size=devices) / scenario.devices.energy_budget_j,
        "device_slot": share
        * rng.exponential(size=(devices, slots))
        * rng.integers(0, 2, (devices, slots)),
    }
    return {name: values.tolist() for name, values in out.items()}


def drawn_counts(scenario, rng, size):
    """Multipliers of some counts, of both signs."""
    every = list(itertools.product((None, *range(scenario.num_devices)),
                                   (None, *range(scenario.num_tasks))))[1:]  # fmt: skip
    chosen = rng.choice(len(every), size=int(rng.integers(0, len(every))), replace=False)
    return [
        {"device": every[k][0], "task": every[k][1], "price": float(size * rng.normal())}
        for k in chosen
    ]


@pytest.fixture(scope="module")
def optima():
    """Scenarios of one and two tasks with optimum, slopes gamma / A and ratios at the optimum."""
    out = []
    for seed in range(24):
        scenario = drawn_scenario(seed, tasks=1 + seed % 2)
        z, plan = enumerate_optimum(scenario)
        if plan is not None:
            tasks = check(scenario, plan).tasks
            slopes = np.array([t.weight / t.progress if t.weight else 0.0 for t in tasks])
            ratios = np.array([t.bound if t.weight else 0.0 for t in tasks])
            out.append((scenario, z, slopes, ratios))
    return out


# -- the value ----------------------------------------------------------------------------------


def cheapest_pattern(facts, table, u, j):
    """V_uj by trying every set of sessions, with every l and B."""
    longest = facts.tasks["step_cap"][j] * (1 + TOLERANCE)
    choices = []
    for i in range(facts.num_devices):
        mine = [(0.0, 0.0)]
        for (r, upload), options in session_options(facts, i, None).items():
            for row, adds in options:
                if upload == u and row["task"] == j:
                    mine.append((priced(facts, table, i, r, u, j, adds), adds["step"]))
        choices.append(mine)
    return min(
        sum(cost for cost, _ in chosen)
        for chosen in itertools.product(*choices)
        if sum(step for _, step in chosen) <= longest
    )


def priced(facts, table, i, r, u, j, adds):
    weighted = facts.tasks["weight"][j] > 0
    cost = (facts.energy_weight + table["energy"][i]) * adds["energy"] + table["uplink"][u - 1]
    if weighted:
        cost += table["numerator"][j] * adds["error"] - table["progress"][j] * 0.5 * adds["step"]
    cost += sum(table["device_slot"][i][r:u])
    for count in table.get("counts", []):
        if count["device"] in (None, i) and count["task"] in (None, j):
            cost += count["price"]
    return cost


@pytest.mark.parametrize("seed", range(12))
def test_value_is_that_of_trying_every_pattern(optima, seed):
    rng = np.random.default_rng(seed)
    scenario, z, slopes, ratios = optima[seed]
    facts = Facts.of(scenario)
    tables = [drawn_table(scenario, slopes, ratios, rng, 0.3) for _ in range(3)]
    for table in tables[1:]:
        table["counts"] = drawn_counts(scenario, rng, 0.1 * z)
    prices = [PatternPrices.read(scenario, "prices", table) for table in tables]
    lagrangian = PatternLagrangian(scenario, prices, 1e-9)
    lagrangian.prepare([Leaf.whole(scenario.num_tasks, prices=k) for k in (0, 2)])
    for k, table in enumerate(tables):
        leaf = Leaf.whole(scenario.num_tasks, prices=k)
        value = size = 0.0
        for j in range(scenario.num_tasks):
            value += table["numerator"][j] * facts.constant_gap(j)
        value -= float(np.dot(table["uplink"], facts.network["uplink_capacity"]))
        value -= float(np.dot(table["energy"], facts.devices["energy_budget_j"]))
        value -= float(np.sum(table["device_slot"]))
        for n, count in enumerate(table.get("counts", [])):
            least, most = n, n + 2
            counted = Counted(**{name: value for name, value in count.items() if name != "price"})
            leaf = leaf.cut_count(counted, least - 1, high=True)
            leaf = leaf.cut_count(counted, most, high=False)
            value -= count["price"] * (most if count["price"] > 0 else least)
            size += abs(count["price"]) * most
        for u, j in itertools.product(range(1, scenario.num_slots + 1), range(scenario.num_tasks)):
            value += cheapest_pattern(facts, table, u, j)
        size += sum(table["numerator"]) * 10 + sum(table["progress"])
        found = lagrangian.part(leaf, exact=True)
        assert found <= value
        assert found == pytest.approx(value, abs=100 * CANCELLED * (size + z))


# -- never above the optimum --------------------------------------------------------------------


def drawn_tree(scenario, slopes, ratios, rng, depth, tables):
    if depth == 0 or rng.random() < 0.1:
        if rng.random() < 0.3:
            weights = rng.exponential(size=2).tolist()
            return {"prices": rng.integers(tables, size=2).tolist(), "weights": weights}
        return {"prices": int(rng.integers(tables))}
    kind = str(rng.choice(["progress", "ratio", "excess", "sessions"], p=[0.2, 0.1, 0.2, 0.5]))
    j = int(rng.integers(scenario.num_tasks))
    if kind == "sessions":
        i = int(rng.integers(scenario.num_devices))
        device, task = [(None, j), (i, None), (i, j)][int(rng.integers(3))]
        split = {"device": device, "task": task, "sessions": int(rng.integers(-1, 4))}
    else:
        progress = scenario.tasks.weight[j] / slopes[j]
        near = {
            "progress": progress, "ratio": ratios[j],
            "excess": ratios[j] - float(initial_error(scenario)[j]) / progress,
        }[kind]  # fmt: skip
        split = {kind: j, "at": float(near * np.exp(0.3 * rng.normal()))}
    sides = {
        side: drawn_tree(scenario, slopes, ratios, rng, depth - 1, tables)
        for side in ("low", "high")
    }
    return {"split": split, **sides}


@settings(max_examples=250, derandomize=True, deadline=None)
@given(data=st.data())
def test_random_prices_and_trees_never_pass_the_optimum(optima, data):
    scenario, z, slopes, ratios = data.draw(st.sampled_from(optima))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    size = data.draw(st.sampled_from([0.0, 0.03, 0.3, 1.0]))
    tables = [
        {
            **drawn_table(scenario, slopes, ratios, rng, size),
            "counts": drawn_counts(scenario, rng, size * z * rng.random() ** 2),
        }
        for _ in range(int(rng.integers(1, 4)))
    ]
    depth = data.draw(st.integers(0, 5))
    certificate = {
        "kind": "patterns", "version": 2,
        "bound": z * data.draw(st.sampled_from([0.9, 1.0, 1.001, 1.5, 100.0])),
        "prices": tables,
        "tree": drawn_tree(scenario, slopes, ratios, rng, depth, len(tables)),
    }  # fmt: skip
    bound = certified_bound(scenario, json.loads(json.dumps(certificate)))
    assert 0 < bound <= certificate["bound"]
    assert bound <= z


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 1}, r"^certificate\.version: expected an integer from 2 to 2"),
        ({"version": 3}, r"^certificate\.version: expected an integer from 2 to 2"),
        ({"version": None}, r"^certificate\.version"),
        ({"tree": {"split": {"device": 0, "slot": 1, "attribute": "task", "at": 0}}},
         r"^certificate\.tree"),
    ],
)  # fmt: skip
def test_malformed_certificates_are_refused(optima, change, words):
    scenario, z, slopes, ratios = optima[0]
    table = drawn_table(scenario, slopes, ratios, np.random.default_rng(1), 0.1)
    whole = {"kind": "patterns", "version": 2, "bound": z, "prices": [table],
             "tree": {"prices": 0}}  # fmt: skip
    certified_bound(scenario, whole)
    with pytest.raises(InputError, match=words):
        certified_bound(scenario, {**whole, **change})
