"""Certificates of kind tree against enumeration: never above the optimum, and up to it."""

from __future__ import annotations

import copy
import itertools
import json
import math

import numpy as np
import pytest
from enumeration import device_plans, enumerate_optimum
from hypothesis import given, settings, target
from hypothesis import strategies as st
from plain_terms import Facts
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import ENUMERATED, PROVED_BOUND

from mafl_opt.core.certificate import _ranges, certified_bound
from mafl_opt.core.check import check
from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.core.proof import leaves
from mafl_opt.core.proof.lagrangian import Lagrangian
from mafl_opt.core.proof.leaves import ATTRIBUTES, Leaf
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.formulations.bound import initial_error


@pytest.fixture(scope="module")
def optima():
    """Scenarios of one and two tasks that have a plan, with optimum and best plan."""
    draws = [drawn_scenario(seed, tasks=1 + seed % 2) for seed in range(20)]
    found = [(scenario, *enumerate_optimum(scenario)) for scenario in draws]
    return [entry for entry in found if entry[2] is not None]


def priced(scenario, plan, rng, size, *, energy, sessions):
    """Prices about the tangents of gamma N / A at a plan, those of shared limits drawn."""
    tasks = check(scenario, plan).tasks
    z = sum(task.weight * task.bound for task in tasks if task.weight)
    slopes = np.array([task.weight / task.progress if task.weight else 0.0 for task in tasks])
    ratios = np.array([task.bound if task.weight else 0.0 for task in tasks])
    slots, count = scenario.num_slots, scenario.num_tasks
    blur = np.exp(size * rng.normal(size=(2, count)))
    share = 0.3 * size * z * rng.random() ** 4
    out = {
        "numerator": slopes * blur[0],
        "progress": slopes * ratios * blur[1],
        "uplink": share * rng.exponential(size=slots) * rng.integers(0, 2, slots),
        "step_cap": share * rng.exponential(size=(slots, count)) / scenario.tasks.step_cap,
    }
    if energy:
        budget = scenario.devices.energy_budget_j
        out["energy"] = share * rng.exponential(size=budget.size) / budget
    entry = {name: values.tolist() for name, values in out.items()}
    if sessions:
        entry["sessions"] = drawn_sessions(scenario, rng, sessions, share)
    return entry


def drawn_sessions(scenario, rng, number, size):
    """Prices for sessions of all sorts, also of such as do not exist."""
    longest = int(scenario.tasks.iterations_max.max())
    shape = (scenario.num_devices, scenario.num_tasks, scenario.num_slots, scenario.num_slots)
    size_all = int(np.prod(shape)) * longest
    picked = np.unravel_index(
        rng.choice(size_all, size=min(number, size_all), replace=False), (*shape, longest)
    )
    device, task, receive, upload, iterations = picked
    return {
        "device": device.tolist(), "task": task.tolist(), "receive": receive.tolist(),
        "upload": (upload + 1).tolist(), "iterations": (iterations + 1).tolist(),
        "price": (size * rng.exponential(size=device.size)).tolist(),
    }  # fmt: skip


def drawn_tree(scenario, plan, rng, depth, tables):
    """A random tree with splits and leaves of all sorts, near the figures of a plan."""
    if depth == 0 or rng.random() < 0.1:
        if rng.random() < 0.3:
            weights = rng.exponential(size=2).tolist()
            return {"prices": rng.integers(tables, size=2).tolist(), "weights": weights}
        return {"prices": int(rng.integers(tables))}
    kind = rng.choice(["progress", "ratio", "excess", "device"], p=[0.2, 0.15, 0.2, 0.45])
    if kind == "device":
        split = {
            "device": int(rng.integers(scenario.num_devices)),
            "slot": int(rng.integers(scenario.num_slots)) + 1,
            "attribute": str(rng.choice(ATTRIBUTES)), "at": int(rng.integers(-1, 3)),
        }  # fmt: skip
    else:
        j = int(rng.integers(scenario.num_tasks))
        task = check(scenario, plan).tasks[j]
        gap = float(initial_error(scenario)[j])
        near = {
            "progress": task.progress, "ratio": task.bound,
            "excess": task.bound - gap / task.progress,
        }[str(kind)]  # fmt: skip
        split = {str(kind): j, "at": float(near * np.exp(0.3 * rng.normal()))}
    sides = {side: drawn_tree(scenario, plan, rng, depth - 1, tables) for side in ("low", "high")}
    return {"split": split, **sides}


def drawn_certificate(scenario, plan, claim, rng, *, size, energy, sessions, depth):
    tables = int(rng.integers(1, 4))
    return {
        "kind": "tree", "bound": claim,
        "prices": [
            priced(scenario, plan, rng, size, energy=energy, sessions=sessions)
            for _ in range(tables)
        ],
        "tree": drawn_tree(scenario, plan, rng, depth, tables),
    }  # fmt: skip


@settings(max_examples=250, derandomize=True, deadline=None)
@given(data=st.data())
def test_random_prices_and_trees_never_pass_the_optimum(optima, data):
    scenario, z, plan = data.draw(st.sampled_from(optima))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    claim = z * data.draw(st.sampled_from([0.9, 1.0, 1.001, 1.5, 100.0]))
    certificate = drawn_certificate(
        scenario, plan, claim, rng, size=data.draw(st.sampled_from([0.0, 0.1, 1.0])),
        energy=data.draw(st.booleans()), sessions=data.draw(st.sampled_from([0, 3, 40, 200])),
        depth=data.draw(st.integers(0, 5)),
    )  # fmt: skip
    bound = certified_bound(scenario, json.loads(json.dumps(certificate)))
    assert 0 < bound <= claim
    assert bound <= z


# -- tight trees ---------------------------------------------------------------------------------


def joint_plans(scenario):
    """Every plan of the fleet that keeps the devices' budgets, one list of sessions a device."""
    facts = Facts.of(scenario)
    return list(itertools.product(*(device_plans(facts, i) for i in range(scenario.num_devices))))


def value_at(plan, device, slot, attribute):
    for row, _ in plan[device]:
        if row["receive"] < slot <= row["upload"]:
            return row[attribute]
    return -1


def exhaustive_tree(scenario, plans, tables):
    """Split until every leaf holds one plan, priced so that its Lagrangian is its objective."""
    if len(plans) == 1:
        return single_plan(scenario, plans[0], tables)
    places = itertools.product(
        range(scenario.num_devices), range(1, scenario.num_slots + 1), ATTRIBUTES
    )
    for device, slot, attribute in places:
        values = [value_at(plan, device, slot, attribute) for plan in plans]
        if min(values) < max(values):
            at = sorted(values)[(len(values) - 1) // 2]
            at = at if at < max(values) else max(v for v in values if v < at)
            low = [plan for plan, v in zip(plans, values, strict=True) if v <= at]
            high = [plan for plan, v in zip(plans, values, strict=True) if v > at]
            split = {"device": device, "slot": slot, "attribute": attribute, "at": int(at)}
            return {
                "split": split,
                "low": exhaustive_tree(scenario, low, tables),
                "high": exhaustive_tree(scenario, high, tables),
            }
    raise AssertionError("two plans with the same sessions")


def single_plan(scenario, plan, tables):
    """A leaf, or two on the sides of the plan's own ratio (one task)."""
    facts = Facts.of(scenario)
    rows = [(row, adds) for device in plan for row, adds in device]
    slots = scenario.num_slots
    table = {
        "numerator": [0.0], "progress": [0.0], "uplink": [0.0] * slots,
        "step_cap": [[0.0] for _ in range(slots)],
    }  # fmt: skip
    progress = sum(0.5 * adds["step"] for _, adds in rows)
    if progress == 0:
        tables.append({**table, "progress": [1e12]})
        return {"prices": len(tables) - 1}
    for u in range(1, slots + 1):
        here = [adds["step"] for row, adds in rows if row["upload"] == u]
        # A broken limit: a price on it that no plan of the leaf escapes.
        if len(here) > facts.network["uplink_capacity"][u - 1]:
            tables.append({**table, "uplink": [1e6 * (g == u - 1) for g in range(slots)]})
            return {"prices": len(tables) - 1}
        if sum(here) > facts.tasks["step_cap"][0] * (1 + 1e-9):
            over = sum(here) - facts.tasks["step_cap"][0]
            price = [[1e3 / over * (g == u - 1)] for g in range(slots)]
            tables.append({**table, "step_cap": price})
            return {"prices": len(tables) - 1}
    ratio = (facts.constant_gap(0) + sum(adds["error"] for _, adds in rows)) / progress
    gamma, most = facts.tasks["weight"][0], slots * facts.tasks["step_cap"][0]
    for lam in (gamma / (0.01 * progress), gamma / most):
        tables.append({**table, "numerator": [lam], "progress": [lam * ratio]})
    last = len(tables) - 1
    return {
        "split": {"ratio": 0, "at": ratio}, "low": {"prices": last - 1}, "high": {"prices": last},
    }  # fmt: skip


SMALL = {"slots": 2, "tasks.iterations_max": [2], "tasks.batch_max": [2]}


@pytest.fixture(scope="module")
def exhaustive():
    """Scenarios with a tree that has a leaf for every plan, and with the optimum."""
    out = []
    for seed in range(40):
        scenario = drawn_scenario(seed, devices=1 + seed % 2, **SMALL)
        z, best = enumerate_optimum(scenario)
        plans = joint_plans(scenario)
        if best is not None and 2 < len(plans) < 120:
            tables = []
            tree = exhaustive_tree(scenario, plans, tables)
            out.append((scenario, z, {"kind": "tree", "bound": z, "prices": tables, "tree": tree}))
    return out


def test_a_tree_with_a_leaf_for_every_plan_proves_the_optimum(exhaustive):
    assert len(exhaustive) >= 8
    for scenario, z, certificate in exhaustive:
        assert len(certificate["prices"]) > 3
        bound = certified_bound(scenario, {**certificate, "bound": 2 * z})
        assert bound <= z
        assert bound == pytest.approx(z, rel=ENUMERATED + PROVED_BOUND)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(data=st.data())
def test_ranges_of_a_leaf_hold_every_better_plan_of_its_box(figures, data):
    """Figures of all feasible plans against random cuts, also right at a plan."""
    scenario, plans = data.draw(st.sampled_from(figures))
    ratios = Lagrangian(scenario, [], 1.0).ratios
    progress, ratio, _ = data.draw(st.sampled_from(plans))
    leaf = Leaf.whole(1)
    gap = float(initial_error(scenario)[0])
    excess = ratio - gap / progress
    for kind, value in (("progress", progress), ("ratio", ratio), ("excess", excess)):
        factor = data.draw(st.sampled_from([0.9, 0.99, 1.0, 1.01, 1.1]))
        leaf = leaf.cut(kind, 0, value * factor, high=data.draw(st.booleans()))
    claim = data.draw(st.sampled_from(plans))[2] * data.draw(st.sampled_from([0.99, 1.0, 1.2]))
    low, high, least, most = _ranges(ratios, leaf, claim)[0]
    inside = [
        (a, x)
        for a, x, objective in plans
        if objective < claim
        and leaf.low[0] <= a <= leaf.high[0]
        and leaf.ratio_low[0] <= x <= leaf.ratio_high[0]
        and leaf.excess_low[0] <= x - gap / a <= leaf.excess_high[0]
    ]
    for a, x in inside:
        assert low <= a <= high
        assert least <= x <= most
    target(float(len(inside)))


@pytest.fixture(scope="module")
def figures(exhaustive):
    """A, Xi and O of every feasible plan of the scenarios with small trees."""
    out = []
    for scenario, _, _ in exhaustive:
        found = []
        for plan in joint_plans(scenario):
            rows = [row for device in plan for row, _ in device]
            report = check(scenario, bare(rows))
            if report.ok:
                found.append((report.tasks[0].progress, report.tasks[0].bound, report.objective))
        out.append((scenario, found))
    return out


def bare(rows):
    """A plan that claims nothing."""
    return Plan(
        sessions=Sessions.from_rows(rows), backend="hand", termination=Termination.COMPLETED,
        point=PointStatus.FEASIBLE,
    )  # fmt: skip


def nodes(node):
    """Every node of a tree."""
    yield node
    for side in ("low", "high"):
        if side in node:
            yield from nodes(node[side])


@settings(max_examples=120, derandomize=True, deadline=None)
@given(data=st.data())
def test_tampering_with_a_tight_tree_never_passes_the_optimum(exhaustive, data):
    scenario, z, certificate = data.draw(st.sampled_from(exhaustive))
    tampered = copy.deepcopy(certificate)
    tampered["bound"] *= data.draw(st.floats(1.0, 3.0))
    for _ in range(data.draw(st.integers(1, 3))):
        inner = [node for node in nodes(tampered["tree"]) if "split" in node]
        outer = [node for node in nodes(tampered["tree"]) if "split" not in node]
        kind = data.draw(
            st.sampled_from(["price", "swap", "move", "slot", "prune", "sessions", "turn"])
        )
        table = data.draw(st.sampled_from(tampered["prices"]))
        if kind == "price":
            name = data.draw(st.sampled_from(["numerator", "progress", "uplink", "step_cap"]))
            factor = data.draw(st.floats(0.0, 3.0))
            table[name] = (np.array(table[name]) * factor).tolist()
        elif kind == "sessions":
            rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
            table["sessions"] = drawn_sessions(scenario, rng, 20, z)
        elif kind == "swap":
            one, two = (data.draw(st.sampled_from(outer)) for _ in range(2))
            one["prices"], two["prices"] = two["prices"], one["prices"]
        elif inner and kind == "prune":
            node = data.draw(st.sampled_from(inner))
            leaf = copy.deepcopy(next(n for n in nodes(node) if "split" not in n))
            node.clear()
            node.update(leaf)
        elif inner and kind == "turn":
            node = data.draw(st.sampled_from(inner))
            node["low"], node["high"] = node["high"], node["low"]
        elif inner:
            split = data.draw(st.sampled_from(inner))["split"]
            if kind == "slot" and "slot" in split:
                split["slot"] = data.draw(st.integers(1, scenario.num_slots))
            elif "device" in split:
                split["at"] = max(-1, split["at"] + data.draw(st.integers(-1, 1)))
            else:
                split["at"] *= data.draw(st.floats(0.9, 1.1))
    assert certified_bound(scenario, tampered) <= z


def climbed(scenario, certificate, rng, steps, z):
    """Random ascent on the certified bound over the prices of a certificate."""
    best = certified_bound(scenario, certificate)
    for _ in range(steps):
        new = copy.deepcopy(certificate)
        for table in new["prices"]:
            for name, size in (("numerator", 0), ("progress", 0), ("uplink", 1.0),
                               ("step_cap", scenario.tasks.step_cap)):  # fmt: skip
                old = np.array(table[name])
                moved = old * np.exp(0.2 * rng.normal(size=old.shape))
                if name in ("uplink", "step_cap"):
                    moved = moved + 0.02 * z / size * rng.normal(size=old.shape)
                chosen = rng.random(old.shape) < 0.3
                table[name] = np.where(chosen, np.maximum(moved, 0), old).tolist()
            own = table.get("sessions")
            if own is not None:
                moved = np.array(own["price"]) + 0.02 * z * rng.normal(size=len(own["price"]))
                chosen = rng.random(moved.size) < 0.3
                own["price"] = np.where(chosen, np.maximum(moved, 0), own["price"]).tolist()
        value = certified_bound(scenario, new)
        if value > best:
            best, certificate = value, new
    return best, certificate


def test_climbing_on_session_prices_and_splits_never_passes_the_optimum(optima):
    """An adversary that comes near the optimum would find a charge that is forgotten."""
    reached = []
    for number, (scenario, z, plan) in enumerate(optima[:6]):
        rng = np.random.default_rng(number)
        ratio = check(scenario, plan).tasks[0].bound
        certificate = {
            "kind": "tree", "bound": 2 * z,
            "prices": [
                priced(scenario, plan, rng, 0.1, energy=False, sessions=60) for _ in range(2)
            ],
            "tree": {"split": {"ratio": 0, "at": ratio}, "low": {"prices": 0},
                     "high": {"prices": 1}},
        }  # fmt: skip
        best, _ = climbed(scenario, certificate, rng, 80, z)
        assert best <= z
        reached.append(best / z)
    assert max(reached) > 0.95


# -- what prices buy -----------------------------------------------------------------------------


def tangent_tree(scenario, plan, claim, **more):
    rng = np.random.default_rng(0)
    table = priced(scenario, plan, rng, 0.0, energy=False, sessions=0)
    return {"kind": "tree", "bound": claim, "prices": [{**table, **more}], "tree": {"prices": 0}}


def test_budgets_inside_prove_at_least_what_any_price_of_them_does(optima):
    for scenario, z, plan in optima:
        inside = certified_bound(scenario, tangent_tree(scenario, plan, 2 * z))
        for price in (0.0, 10.0, 1000.0):
            energy = [price] * scenario.num_devices
            outside = certified_bound(scenario, tangent_tree(scenario, plan, 2 * z, energy=energy))
            assert outside <= inside * (1 + PROVED_BOUND)


def test_lagrangian_and_tree_prove_the_same_without_boxes(optima):
    for scenario, z, plan in optima:
        energy = [10.0] * scenario.num_devices
        tree = tangent_tree(scenario, plan, 2 * z, energy=energy)
        top = (scenario.num_slots * scenario.tasks.step_cap).tolist()
        leaf = {"progress_min": [0.0] * len(top), "progress_max": top, "prices": tree["prices"][0]}
        boxes = {"kind": "lagrangian", "bound": 2 * z, "leaves": [leaf]}
        assert certified_bound(scenario, tree) == certified_bound(scenario, boxes)


def test_a_proved_claim_is_returned_and_one_inside_a_solvers_word_too(exhaustive):
    scenario, z, certificate = exhaustive[0]
    lower = {**certificate, "bound": 0.99 * z}
    assert certified_bound(scenario, lower) == 0.99 * z
    word = {"kind": "milp", "bound": 5 * z, "claimed_by": "someone", "proved": lower}
    assert certified_bound(scenario, word) == 0.99 * z


def test_a_session_price_takes_part_in_device_and_cap_alike():
    """Two sessions fit a cap of which the fraction price alone would admit three halves."""
    scenario = drawn_scenario(5)
    z, plan = enumerate_optimum(scenario)
    base = tangent_tree(scenario, plan, 2 * z)
    free = certified_bound(scenario, base)
    u = int(plan.sessions.upload[0])
    all_rows = {
        "device": [0, 1], "task": [0, 0], "receive": [u - 1, u - 1], "upload": [u, u],
        "iterations": [1, 1], "price": [0.0, 0.0],
    }  # fmt: skip
    listed = copy.deepcopy(base)
    listed["prices"][0]["sessions"] = all_rows
    # Zero prices: the cap is charged through the knapsack instead of through theta.
    assert certified_bound(scenario, listed) >= free * (1 - PROVED_BOUND)
    huge = copy.deepcopy(listed)
    huge["prices"][0]["sessions"]["price"] = [1e9, 1e9]
    assert certified_bound(scenario, huge) <= z


def test_a_task_without_weight_has_no_ratio_to_split():
    scenario = plain_scenario(**{"tasks.weight": [1.0, 0.0]})
    z, plan = enumerate_optimum(scenario)
    certificate = tangent_tree(scenario, plan, 2 * z)
    bound = certified_bound(scenario, certificate)
    certificate["prices"][0]["numerator"][1] = 1e9
    assert certified_bound(scenario, certificate) == bound <= z
    certificate["tree"] = {"split": {"progress": 1, "at": 0.1}, "low": {"prices": 0},
                           "high": {"prices": 0}}  # fmt: skip
    with pytest.raises(InputError, match=r"split\.progress"):
        certified_bound(scenario, certificate)


def test_progress_is_reported_on_the_way(optima):
    scenario, z, plan = optima[0]
    heard = []
    certified_bound(
        scenario, tangent_tree(scenario, plan, 0.1 * z), lambda *what: heard.append(what)
    )
    certified_bound(scenario, tangent_tree(scenario, plan, z), lambda *what: heard.append(what))
    assert heard
    assert all(0 < fraction <= 1 for _, fraction in heard)


# -- malformed -----------------------------------------------------------------------------------


def good_certificate():
    table = {
        "numerator": [1.0, 1.0], "progress": [1.0, 1], "uplink": [0.0] * 3,
        "step_cap": [[0.0] * 2 for _ in range(3)], "energy": [0.0, 0.0],
        "sessions": {"device": [0, 1], "task": [1, 1], "receive": [0, 0], "upload": [1, 1],
                     "iterations": [1, 2], "price": [1.0, 0]},
    }  # fmt: skip
    return {
        "kind": "tree", "bound": 100.0, "prices": [table],
        "tree": {
            "split": {"device": 0, "slot": 1, "attribute": "task", "at": 0},
            "low": {"prices": 0},
            "high": {"split": {"ratio": 1, "at": 2.0}, "low": {"prices": 0},
                     "high": {"prices": 0}},
        },
    }  # fmt: skip


def sessions_of(certificate):
    return certificate["prices"][0]["sessions"]


def split_of(certificate):
    return certificate["tree"]["split"]


TABLE, TREE = "certificate.prices[0]", "certificate.tree"
MALFORMED = [
    (lambda c: c.pop("tree"), TREE),
    (lambda c: c.pop("prices"), "certificate.prices"),
    (lambda c: c.update(prices={}), "certificate.prices"),
    (lambda c: c.update(bound=10**400), "certificate.bound"),
    (lambda c: c["prices"].append(1), "certificate.prices[1]"),
    (lambda c: c["prices"][0].pop("uplink"), f"{TABLE}.uplink"),
    (lambda c: c["prices"][0].update(energy=[1.0]), f"{TABLE}.energy"),
    (lambda c: c["prices"][0]["step_cap"][1].append(1.0), f"{TABLE}.step_cap[1]"),
    (lambda c: c["prices"][0]["uplink"].__setitem__(1, -0.5), f"{TABLE}.uplink[1]"),
    (lambda c: c["prices"][0]["uplink"].__setitem__(1, math.nan), f"{TABLE}.uplink[1]"),
    (lambda c: c["prices"][0]["progress"].__setitem__(0, True), f"{TABLE}.progress[0]"),
    (lambda c: sessions_of(c).pop("upload"), f"{TABLE}.sessions.upload"),
    (lambda c: sessions_of(c)["task"].append(0), f"{TABLE}.sessions.task"),
    (lambda c: sessions_of(c)["device"].__setitem__(1, 2), f"{TABLE}.sessions.device[1]"),
    (lambda c: sessions_of(c)["upload"].__setitem__(0, 0), f"{TABLE}.sessions.upload[0]"),
    (lambda c: sessions_of(c)["receive"].__setitem__(0, 0.5), f"{TABLE}.sessions.receive[0]"),
    (lambda c: sessions_of(c)["iterations"].__setitem__(0, 3), f"{TABLE}.sessions.iterations[0]"),
    (lambda c: sessions_of(c)["price"].__setitem__(0, -1), f"{TABLE}.sessions.price[0]"),
    (lambda c: sessions_of(c).update(device=[1, 1], iterations=[2, 2]), f"{TABLE}.sessions[1]"),
    (lambda c: c.update(tree=[]), TREE),
    (lambda c: c.update(tree={}), f"{TREE}.prices"),
    (lambda c: c["tree"].pop("low"), f"{TREE}.low"),
    (lambda c: c["tree"]["low"].update(prices=1), f"{TREE}.low.prices"),
    (lambda c: c["tree"]["low"].update(prices=-1), f"{TREE}.low.prices"),
    (lambda c: c["tree"]["low"].update(prices=False), f"{TREE}.low.prices"),
    (lambda c: split_of(c).pop("at"), f"{TREE}.split.at"),
    (lambda c: split_of(c).update(at=0.5), f"{TREE}.split.at"),
    (lambda c: split_of(c).update(at=-2), f"{TREE}.split.at"),
    (lambda c: split_of(c).update(slot=0), f"{TREE}.split.slot"),
    (lambda c: split_of(c).update(slot=4), f"{TREE}.split.slot"),
    (lambda c: split_of(c).update(device=2), f"{TREE}.split.device"),
    (lambda c: split_of(c).update(attribute="cpu_hz"), f"{TREE}.split.attribute"),
    (lambda c: split_of(c).pop("device"), f"{TREE}.split.device"),
    (lambda c: c["tree"]["high"].update(split=3), f"{TREE}.high.split"),
    (lambda c: c["tree"]["high"]["split"].update(ratio=2), f"{TREE}.high.split.ratio"),
    (lambda c: c["tree"]["high"]["split"].update(at=math.inf), f"{TREE}.high.split.at"),
]


@pytest.mark.parametrize(("damage", "path"), MALFORMED)
def test_a_malformed_tree_is_refused_with_its_path(damage, path):
    scenario = plain_scenario()
    certificate = good_certificate()
    assert certified_bound(scenario, certificate) > 0
    damage(certificate)
    with pytest.raises(InputError) as caught:
        certified_bound(scenario, certificate)
    assert caught.value.path == path


def test_trees_are_read_to_a_depth_and_a_size(monkeypatch):
    scenario = plain_scenario()
    deep = good_certificate()
    for _ in range(3000):
        split = {"progress": 0, "at": 0.1}
        deep["tree"] = {"split": split, "low": {"prices": 0}, "high": deep["tree"]}
    assert certified_bound(scenario, deep) > 0
    for name in ("_DEPTH", "_NODES"):
        with monkeypatch.context() as patch:
            patch.setattr(leaves, name, 2000)
            with pytest.raises(InputError, match="at most"):
                certified_bound(scenario, deep)
