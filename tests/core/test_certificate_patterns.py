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


def drawn_counted(scenario, rng):
    """Which sessions are counted: anything from a hundredth of them to nearly all."""
    while True:
        out = {
            "device": rng.choice([None, *range(scenario.num_devices)]),
            "task": rng.choice([None, *range(scenario.num_tasks)]),
        }
        if rng.random() < 0.3:
            out["upload"] = rng.choice([None, *range(1, scenario.num_slots + 1)])
        if rng.random() < 0.3:
            out["iterations_above"] = int(rng.integers(0, 3))
        if rng.random() < 0.4:
            out["batch_above"] = int(rng.integers(0, 3))
        if any(value is not None and (value or name in ("device", "task"))
               for name, value in out.items()):  # fmt: skip
            return out


def drawn_counts(scenario, rng, size):
    """Multipliers of some counts, of both signs."""
    drawn = [drawn_counted(scenario, rng) for _ in range(int(rng.integers(0, 9)))]
    different = {Counted(**counted): counted for counted in drawn}
    return [{**counted, "price": float(size * rng.normal())} for counted in different.values()]


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


def cheapest_pattern(facts, table, u, tasks):
    """V of what ends at u for some tasks, by trying every set of sessions, with every l and B."""
    longest = [facts.tasks["step_cap"][j] * (1 + TOLERANCE) for j in tasks]
    choices = []
    for i in range(facts.num_devices):
        mine = [(0.0, [0.0] * len(tasks))]
        for options in session_options(facts, i, None).values():
            for row, adds in options:
                if row["upload"] == u and row["task"] in tasks:
                    steps = [adds["step"] if row["task"] == j else 0.0 for j in tasks]
                    mine.append((priced(facts, table, row, adds), steps))
        choices.append(mine)
    return min(
        sum(cost for cost, _ in chosen)
        for chosen in itertools.product(*choices)
        if all(sum(steps[k] for _, steps in chosen) <= limit for k, limit in enumerate(longest))
    )


def priced(facts, table, row, adds):
    i, j, u = row["device"], row["task"], row["upload"]
    weighted = facts.tasks["weight"][j] > 0
    cost = (facts.energy_weight + table["energy"][i]) * adds["energy"] + table["uplink"][u - 1]
    if weighted:
        cost += table["numerator"][j] * adds["error"] - table["progress"][j] * 0.5 * adds["step"]
    cost += sum(table["device_slot"][i][row["receive"] : u])
    return cost + sum(c["price"] for c in table.get("counts", []) if is_counted(c, row))


def is_counted(count, row):
    named = ("device", "task", "upload")
    return (
        all(count.get(name) in (None, row[name]) for name in named)
        and row["iterations"] > count.get("iterations_above", 0)
        and row["batch_size"] > count.get("batch_above", 0)
    )


@pytest.mark.parametrize("seed", range(12))
def test_value_is_that_of_trying_every_pattern(optima, seed):
    rng = np.random.default_rng(seed)
    scenario, z, slopes, ratios = optima[seed]
    facts = Facts.of(scenario)
    tables = [drawn_table(scenario, slopes, ratios, rng, 0.3) for _ in range(3)]
    for table in tables[1:]:
        table["counts"] = drawn_counts(scenario, rng, 0.1 * z)
    tables[2]["whole_slots"] = True
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
        every = range(scenario.num_tasks)
        together = [every] if table.get("whole_slots") else [[j] for j in every]
        for u, tasks in itertools.product(range(1, scenario.num_slots + 1), together):
            value += cheapest_pattern(facts, table, u, tasks)
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
        split = {**drawn_counted(scenario, rng), "sessions": int(rng.integers(-1, 4))}
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
            "whole_slots": bool(rng.integers(2)),
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


def extreme_scenario(seed):
    """Weights, gaps and noise of any magnitude, some of them zero; staleness that underflows."""
    rng = np.random.default_rng(seed)
    tasks = 1 + seed % 2
    scenario = drawn_scenario(
        seed, tasks=tasks, **{"tasks.iterations_max": [2] * tasks, "tasks.batch_max": [2] * tasks}
    )

    def magnitudes(*shape):
        return 10.0 ** (rng.uniform(-12, 12, shape) * rng.integers(0, 2, shape))

    rules = [
        {"kind": "polynomial", "a": float(rng.choice([500.0, 1040.0, 1074.0, 2000.0]))},
        {"kind": "hinge", "a": float(10.0 ** rng.uniform(0, 300)), "b": 0},
        {"kind": "constant"},
    ]
    small = float(rng.choice([1.0, 1.0, 1e-9]))
    pairs = scenario.pairs.samples.shape
    changes = {
        "tasks.weight": scenario.tasks.weight * magnitudes(tasks) * rng.choice([0, 1, 1, 1], tasks),
        "energy_weight": scenario.energy_weight * magnitudes()[()] * rng.integers(0, 2),
        "tasks.initial_gap": scenario.tasks.initial_gap
        * magnitudes(tasks)
        * rng.integers(0, 2, tasks),
        "loss_drift": scenario.loss_drift * rng.integers(0, 2),
        "tasks.step_cap": scenario.tasks.step_cap * small,
        "tasks.server_rate": scenario.tasks.server_rate * small,
        "pairs.dissimilarity": scenario.pairs.dissimilarity * magnitudes(*pairs),
    }
    plain = {name: np.asarray(value).tolist() for name, value in changes.items()}
    rule = [rules[int(rng.integers(3))] for _ in range(tasks)]
    return scenario.replace(**plain, **{"tasks.staleness_weight": rule})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("first", range(0, 80, 10))
def test_extreme_magnitudes_never_pass_the_optimum(first):
    tried = 0
    for seed in range(first, first + 10):
        scenario = extreme_scenario(seed)
        with np.errstate(all="ignore"):
            z, plan = enumerate_optimum(scenario)
        if plan is None or not 0 < z < 1e200:
            continue
        rng = np.random.default_rng(seed)
        tasks = check(scenario, plan).tasks
        slopes = np.array([t.weight / t.progress if t.weight else 0.0 for t in tasks])
        ratios = np.array([t.bound if t.weight else 0.0 for t in tasks])
        for size in (0.0, 0.1, 1.0):
            table = drawn_table(scenario, slopes, ratios, rng, size)
            table["counts"] = drawn_counts(scenario, rng, size * z)
            certificate = {
                "kind": "patterns", "version": 2, "bound": 1.5 * z, "prices": [table],
                "tree": {"prices": 0},
            }  # fmt: skip
            assert certified_bound(scenario, certificate) <= z
            tried += 1
    assert tried > 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 1}, r"^certificate\.version: expected an integer from 2 to 2"),
        ({"version": 3}, r"^certificate\.version: expected an integer from 2 to 2"),
        ({"version": None}, r"^certificate\.version"),
        ({"tree": {"split": {"device": 0, "slot": 1, "attribute": "task", "at": 0}}},
         r"^certificate\.tree"),
        ({"tree": {"split": {"device": None, "task": None, "sessions": 1}}},
         r"^certificate\.tree\.low"),
        ({"tree": {"split": {"device": None, "task": None, "upload": None, "batch_above": 0,
                             "sessions": 1}, "low": {}, "high": {}}},
         r"^certificate\.tree\.split\.device: expected a device, or a task, receive, upload"),
        ({"tree": {"split": {"device": 0, "task": None, "upload": 0, "sessions": 1},
                   "low": {}, "high": {}}},
         r"^certificate\.tree\.split\.upload: expected an integer from 1 to 3, found 0"),
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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"whole_slots": 1}, r"^prices\.whole_slots: expected true or false, found 1"),
        ({"whole_slots": None}, r"^prices\.whole_slots: expected true or false"),
        ({"counts": [{"device": None, "task": None, "price": 1.0}]},
         r"^prices\.counts\[0\]\.device: expected a device, or a task, receive, upload"),
        ({"counts": [{"task": None, "upload": 1, "price": 1.0}]},
         r"^prices\.counts\[0\]\.device"),
        ({"counts": [{"device": None, "task": None, "upload": 4, "price": 1.0}]},
         r"^prices\.counts\[0\]\.upload: expected an integer from 1 to 3, found 4"),
        ({"counts": [{"device": None, "task": 0, "iterations_above": -1, "price": 1.0}]},
         r"^prices\.counts\[0\]\.iterations_above: expected an integer from 0"),
        ({"counts": [{"device": None, "task": 0, "batch_above": 1.0, "price": 1.0}]},
         r"^prices\.counts\[0\]\.batch_above: expected an integer from 0"),
        ({"counts": [{"device": 0, "task": None, "batch_above": None, "price": 1.0}]},
         r"^prices\.counts\[0\]\.batch_above: expected an integer from 0"),
        ({"counts": [{"device": 0, "task": None, "price": 1.0},
                     {"device": 0, "task": None, "upload": None, "batch_above": 0, "price": 2.0}]},
         r"^prices\.counts\[1\]: expected each count once"),
    ],
)  # fmt: skip
def test_malformed_tables_are_refused(optima, change, words):
    scenario, _, slopes, ratios = optima[0]
    assert scenario.num_slots == 3
    table = drawn_table(scenario, slopes, ratios, np.random.default_rng(1), 0.1)
    PatternPrices.read(scenario, "prices", {**table, "counts": [], "whole_slots": False})
    with pytest.raises(InputError, match=words):
        PatternPrices.read(scenario, "prices", {**table, **change})


@pytest.mark.parametrize("scale", [1e-320, 1e200, 1e308])
@pytest.mark.parametrize("name", ["numerator", "progress", "uplink", "device_slot", "counts"])
def test_extreme_prices_prove_little_and_nothing_wrong(optima, scale, name):
    for scenario, z, slopes, ratios in optima[:8]:
        rng = np.random.default_rng(3)
        table = drawn_table(scenario, slopes, ratios, rng, 0.1)
        table["counts"] = [{**drawn_counted(scenario, rng), "price": -1.0}]
        if name == "counts":
            table["counts"][0]["price"] = -scale
        else:
            table[name] = np.full(np.shape(table[name]), scale).tolist()
        proof = {"kind": "patterns", "version": 2, "bound": 1.5 * z,
                 "prices": [{**table, "whole_slots": True}], "tree": {"prices": 0}}  # fmt: skip
        assert certified_bound(scenario, proof) <= z
