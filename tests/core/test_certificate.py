from __future__ import annotations

import copy
import itertools
import json
import math

import numpy as np
import pytest
from enumeration import enumerate_optimum
from hypothesis import given, settings
from hypothesis import strategies as st
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import PROVED_BOUND

from mafl_opt.core.certificate import certified_bound
from mafl_opt.core.check import check
from mafl_opt.core.errors import InputError


def optimum(seed, **changes):
    scenario = drawn_scenario(seed, **changes)
    return scenario, *enumerate_optimum(scenario)


@pytest.fixture(scope="module")
def optima():
    """Scenarios of one and two tasks that have a plan, with optimum and best plan."""
    draws = [optimum(seed, tasks=1 + seed % 2) for seed in range(20)]
    return [draw for draw in draws if draw[2] is not None]


def tangent_certificate(scenario, plan, claim, edges=()):
    """Leaves cut at multiples of the plan's progress, priced by the slopes of gamma N / A.

    Prices of shared limits are zero: they are what `climb` looks for.
    """
    tasks = check(scenario, plan).tasks
    slots, devices = scenario.num_slots, scenario.num_devices
    axes = []
    for task, cap in zip(tasks, scenario.tasks.step_cap, strict=True):
        top = slots * float(cap) / 2
        faces = [0.0, *(e * task.progress for e in edges if e * task.progress < top), top]
        axes.append(list(itertools.pairwise(faces)))
    leaves = []
    for boxes in itertools.product(*axes):
        at = [min(max(t.progress, low), high) for t, (low, high) in zip(tasks, boxes, strict=True)]
        slopes = [t.weight / a if t.weight else 0.0 for t, a in zip(tasks, at, strict=True)]
        prices = {
            "numerator": slopes,
            "progress": [m * t.bound for m, t in zip(slopes, tasks, strict=True)],
            "uplink": [0.0] * slots,
            "step_cap": [[0.0] * len(tasks) for _ in range(slots)],
            "energy": [0.0] * devices,
        }
        low, high = (list(side) for side in zip(*boxes, strict=True))
        leaves.append({"progress_min": low, "progress_max": high, "prices": prices})
    return {"kind": "lagrangian", "bound": claim, "leaves": leaves}


def perturbed(scenario, certificate, rng, size):
    """The certificate with about a quarter of its prices moved."""
    new = copy.deepcopy(certificate)
    z = certificate["bound"]
    limits = {
        "uplink": 1.0,
        "step_cap": scenario.tasks.step_cap,
        "energy": scenario.devices.energy_budget_j,
    }
    for leaf in new["leaves"]:
        for name, prices in leaf["prices"].items():
            old = np.array(prices)
            moved = old * np.exp(size * rng.normal(size=old.shape))
            if name in limits:
                moved = moved + 0.1 * size * z / limits[name] * rng.normal(size=old.shape)
            leaf["prices"][name] = np.where(
                rng.random(old.shape) < 0.25, np.maximum(moved, 0.0), old
            ).tolist()
    return new


def climb(scenario, certificate, rng, steps):
    """Random ascent on the certified bound itself: an adversary that looks for unsound prices."""
    best = certified_bound(scenario, certificate)
    for _ in range(steps):
        new = perturbed(scenario, certificate, rng, 0.3)
        value = certified_bound(scenario, new)
        if value > best:
            best, certificate = value, new
    return best, certificate


def test_climbing_on_the_bound_reaches_the_optimum_and_never_passes_it():
    """One task: an adversary comes within 2 % on some scenario, so the guard is no slack one."""
    reached = []
    for seed in (0, 1, 5, 6, 9):
        scenario, z, plan = optimum(seed)
        start = tangent_certificate(scenario, plan, 2 * z, (0.7, 0.85, 0.95, 1.05, 1.2))
        best, _ = climb(scenario, start, np.random.default_rng(seed), 200)
        assert best <= z
        reached.append(best / z)
    assert max(reached) > 0.98
    assert sum(share > 0.75 for share in reached) >= 3


prices = st.floats(-3.0, 6.0).map(lambda power: 10.0**power) | st.just(0.0)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(data=st.data())
def test_random_prices_and_boxes_never_pass_the_optimum(optima, data):
    scenario, z, plan = data.draw(st.sampled_from(optima))
    edges = sorted(data.draw(st.lists(st.floats(0.05, 3.0), max_size=3)))
    claim = z * data.draw(st.sampled_from([0.9, 1.0, 1.001, 1.5, 100.0]))
    certificate = tangent_certificate(scenario, plan, claim, edges)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    certificate = perturbed(scenario, certificate, rng, data.draw(st.sampled_from([0.0, 0.1, 1.0])))
    for leaf in certificate["leaves"]:
        for name in data.draw(
            st.sets(st.sampled_from(["numerator", "progress", "uplink", "energy"]))
        ):
            count = len(leaf["prices"][name])
            leaf["prices"][name] = data.draw(st.lists(prices, min_size=count, max_size=count))
    bound = certified_bound(scenario, json.loads(json.dumps(certificate)))
    assert bound <= claim
    assert bound <= z
    assert bound > 0


@settings(max_examples=60, derandomize=True, deadline=None)
@given(data=st.data())
def test_tampering_with_a_good_certificate_never_passes_the_optimum(good, data):
    scenario, z, certificate = good
    tampered = copy.deepcopy(certificate)
    kind = data.draw(st.sampled_from(["claim", "price", "drop", "shrink", "grow", "swap"]))
    leaf = data.draw(st.sampled_from(tampered["leaves"]))
    tampered["bound"] *= data.draw(st.floats(1.0, 10.0))
    if kind == "price":
        name = data.draw(st.sampled_from(["numerator", "progress"]))
        leaf["prices"][name][0] *= data.draw(st.floats(0.0, 3.0))
    elif kind == "drop":
        tampered["leaves"].remove(leaf)
    elif kind == "shrink":
        low, high = leaf["progress_min"][0], leaf["progress_max"][0]
        cut = data.draw(st.floats(0.0, 1.0))
        leaf["progress_max"][0] = low + cut * (high - low)
    elif kind == "grow":
        leaf["progress_max"][0] *= data.draw(st.floats(1.0, 10.0))
    elif kind == "swap":
        other = data.draw(st.sampled_from(tampered["leaves"]))
        leaf["prices"], other["prices"] = other["prices"], leaf["prices"]
    assert certified_bound(scenario, tampered) <= z


@pytest.fixture(scope="module")
def good():
    """A scenario with a certificate that proves at least 95 % of the optimum."""
    scenario, z, plan = optimum(5)
    start = tangent_certificate(scenario, plan, 2 * z, (0.7, 0.85, 0.95, 1.05, 1.2))
    proved, certificate = climb(scenario, start, np.random.default_rng(5), 150)
    assert proved > 0.95 * z
    return scenario, z, {**certificate, "bound": proved}


def test_a_proved_claim_is_returned_up_to_the_rounding_guard(good):
    scenario, _, certificate = good
    claim = certificate["bound"]
    assert certified_bound(scenario, certificate) == pytest.approx(claim, rel=PROVED_BOUND)
    lower = {**certificate, "bound": 0.99 * claim}
    assert certified_bound(scenario, lower) == 0.99 * claim


def test_leaves_that_do_not_cover_prove_no_more_than_no_leaves(good):
    scenario, _, certificate = good
    floor = certified_bound(scenario, {**certificate, "leaves": []})
    assert floor < 0.9 * certificate["bound"]
    holed = copy.deepcopy(certificate)
    # The optimum's own leaf goes: nothing above the floor can be said about plans in it.
    progress = check(scenario, enumerate_optimum(scenario)[1]).tasks[0].progress
    holed["leaves"] = [
        leaf
        for leaf in holed["leaves"]
        if not leaf["progress_min"][0] <= progress <= leaf["progress_max"][0]
    ]
    assert len(holed["leaves"]) < len(certificate["leaves"])
    assert certified_bound(scenario, holed) < 0.95 * certificate["bound"]


def test_faces_that_meet_up_to_rounding_leave_no_hole(good):
    scenario, _, certificate = good
    frayed = copy.deepcopy(certificate)
    for leaf in frayed["leaves"]:
        leaf["progress_min"][0] *= 1 + 1e-13
        leaf["progress_max"][0] *= 1 - 1e-13
    proved = certified_bound(scenario, frayed)
    assert proved == pytest.approx(certificate["bound"], rel=PROVED_BOUND)
    torn = copy.deepcopy(certificate)
    for leaf in torn["leaves"]:
        leaf["progress_max"][0] -= 1e-4 * (leaf["progress_max"][0] - leaf["progress_min"][0])
    assert certified_bound(scenario, torn) < 0.95 * certificate["bound"]


def test_boxes_of_two_tasks_must_cover_every_corner():
    scenario, z, plan = optimum(4, tasks=2)
    whole = tangent_certificate(scenario, plan, 2 * z, (0.8, 1.2))
    floor = certified_bound(scenario, {**whole, "leaves": []})
    proved = certified_bound(scenario, whole)
    assert floor < proved <= z
    shuffled = {**whole, "leaves": [*whole["leaves"][::-1], *whole["leaves"][:3]]}
    assert certified_bound(scenario, shuffled) == proved
    for k in range(len(whole["leaves"])):
        holed = {**whole, "leaves": whole["leaves"][:k] + whole["leaves"][k + 1 :]}
        assert certified_bound(scenario, holed) <= proved


def test_a_task_without_weight_carries_no_term():
    scenario = plain_scenario(**{"tasks.weight": [1.0, 0.0]})
    z, plan = enumerate_optimum(scenario)
    certificate = tangent_certificate(scenario, plan, 2 * z, (0.9, 1.1))
    for leaf in certificate["leaves"]:
        leaf["progress_min"][1], leaf["progress_max"][1] = 0.0, 0.0
        leaf["prices"]["numerator"][1] = leaf["prices"]["progress"][1] = 1e9
    bound = certified_bound(scenario, certificate)
    priceless = copy.deepcopy(certificate)
    for leaf in priceless["leaves"]:
        leaf["prices"]["numerator"][1] = leaf["prices"]["progress"][1] = 0.0
    assert 0 < bound <= z
    assert bound == certified_bound(scenario, priceless)


def test_a_scenario_without_plans_proves_any_claim():
    scenario = plain_scenario(**{"network.available": [[False, False]] * 3})
    assert enumerate_optimum(scenario) == (math.inf, None)
    empty = {"kind": "lagrangian", "bound": 7.0, "leaves": []}
    assert certified_bound(scenario, empty) == 7.0


def test_prices_beyond_the_range_of_floats_prove_no_more_than_the_floor():
    scenario, z, plan = optimum(5)
    certificate = tangent_certificate(scenario, plan, 2 * z)
    floor = certified_bound(scenario, {**certificate, "leaves": []})
    for name in ("numerator", "progress", "uplink", "energy"):
        huge = copy.deepcopy(certificate)
        huge["leaves"][0]["prices"][name] = [1e308] * len(huge["leaves"][0]["prices"][name])
        assert floor * (1 - PROVED_BOUND) <= certified_bound(scenario, huge) <= z


LEAF = "certificate.leaves[0]"
MALFORMED = [
    (lambda c: c.pop("bound"), "certificate.bound"),
    (lambda c: c.update(kind="magic"), "certificate.kind"),
    (lambda c: c.update(bound=math.nan), "certificate.bound"),
    (lambda c: c.update(bound="12"), "certificate.bound"),
    (lambda c: c.update(leaves=3), "certificate.leaves"),
    (lambda c: c.update(leaves=[4]), LEAF),
    (lambda c: c["leaves"][0].pop("prices"), f"{LEAF}.prices"),
    (lambda c: c["leaves"][0].update(progress_min=[0.0]), f"{LEAF}.progress_min"),
    (lambda c: c["leaves"][0].update(progress_min=[0, 9]), f"{LEAF}.progress_max[1]"),
    (lambda c: c["leaves"][0].update(progress_max=[0, -1]), f"{LEAF}.progress_max[1]"),
    (lambda c: prices_of(c).pop("energy"), f"{LEAF}.prices.energy"),
    (lambda c: prices_of(c).update(uplink=[1.0]), f"{LEAF}.prices.uplink"),
    (lambda c: prices_of(c)["uplink"].__setitem__(2, -1), f"{LEAF}.prices.uplink[2]"),
    (lambda c: prices_of(c)["energy"].__setitem__(1, None), f"{LEAF}.prices.energy[1]"),
    (lambda c: prices_of(c)["energy"].__setitem__(0, True), f"{LEAF}.prices.energy[0]"),
    (lambda c: prices_of(c)["step_cap"].__setitem__(1, [0.0]), f"{LEAF}.prices.step_cap[1]"),
    (
        lambda c: prices_of(c)["step_cap"][2].__setitem__(1, math.inf),
        f"{LEAF}.prices.step_cap[2][1]",
    ),
]


def prices_of(certificate):
    return certificate["leaves"][0]["prices"]


@pytest.mark.parametrize(("damage", "path"), MALFORMED, ids=[path for _, path in MALFORMED])
def test_a_malformed_certificate_is_refused_with_its_path(damage, path):
    scenario = plain_scenario()
    plan = enumerate_optimum(scenario)[1]
    certificate = tangent_certificate(scenario, plan, 100.0)
    certified_bound(scenario, certificate)
    damage(certificate)
    with pytest.raises(InputError) as caught:
        certified_bound(scenario, certificate)
    assert caught.value.path == path


def test_a_plan_of_one_session_keeps_the_smallest_progress_without_an_initial_gap():
    scenario, z, plan = optimum(
        0, devices=1, slots=1, **{"tasks.initial_gap": [0.0], "loss_drift": [[0.0]],
        "tasks.staleness_max": [0], "tasks.iterations_max": [1], "tasks.step_cap": [0.08],
        "network.available": [[True]]},
    )  # fmt: skip
    progress = check(scenario, plan).tasks[0].progress
    certificate = tangent_certificate(scenario, plan, 2 * z)
    leaf = certificate["leaves"][0]
    leaf["progress_min"] = [0.5 * progress]
    covered = certified_bound(scenario, certificate)
    leaf["progress_min"] = [1.01 * progress]
    assert certified_bound(scenario, certificate) <= covered <= z
