"""Prices in explanations, against optima by enumeration where the Lagrangian has no gap."""

from __future__ import annotations

import pytest
from enumeration import enumerate_optimum
from tolerances import PROVED_BOUND, ROUNDED_DOWN, SAME_FORMULA

import mafl_opt as mo
from mafl_opt.core.certificate import certified_bound

SLOTS = 4


def identical(devices, uplinks, budget_j=1e9, batch_max=1, gradient_std=1.0):
    """Sessions of one slot, one iteration, all alike; O is convex in their number.

    O(x) = gamma (Gamma / (a x) + phi / a) + xi E x.
    """
    count = devices
    return mo.Scenario.from_dict({
        "time": {"slot_s": [1.0] * SLOTS},
        "devices": {
            "f_min_hz": [1e8] * count, "f_max_hz": [1e9] * count, "capacitance": [1e-27] * count,
            "tx_power_w": [0.01] * count, "rx_power_w": [0.0] * count,
            "bandwidth_hz": [1e6] * count, "energy_budget_j": [budget_j] * count,
        },
        "tasks": {
            "name": ["digits"], "weight": [1.0], "model_bits": [5e5], "smoothness": [5.0],
            "gradient_bound": [4.0], "learning_rate": [0.005], "server_rate": [3.0],
            "step_cap": [0.09], "initial_gap": [2.0], "iterations_max": [1],
            "batch_max": [batch_max], "staleness_max": [0],
        },
        "pairs": {
            "samples": [[100]] * count, "cycles_per_sample": [[1e7]] * count,
            "gradient_std": [[gradient_std]] * count, "dissimilarity": [[0.1]] * count,
        },
        "network": {
            "gain": [[1e-11] * count] * SLOTS, "noise_w_per_hz": 4e-21,
            "downlink_bps": [[1e7] * count] * SLOTS, "uplink_capacity": uplinks,
        },
        "energy_weight": 1000.0,
    })  # fmt: skip


def optimum(scenario):
    return enumerate_optimum(scenario)[0]


def best_prices(scenario, plan):
    """lam and mu at which the ratio lies at the plan, and what a session is then worth."""
    (task,) = mo.check(scenario, plan).tasks
    total = task.progress
    each = total / task.sessions
    energy = sum(mo.check(scenario, plan).device_energy_j) / task.sessions
    gap = task.parts["initial_gap"] * total
    lam, excess = 1 / total, task.bound - task.parts["initial_gap"]
    mu = lam * excess + gap / total**2
    return lam, mu, gap * each / total**2 - scenario.energy_weight * energy, energy


def certificate(scenario, bound, lam, mu, *, uplink, energy=None):
    table = {"numerator": [lam], "progress": [mu], "uplink": uplink, "step_cap": [[0.0]] * SLOTS}
    if energy is not None:
        table["energy"] = energy
    return {"kind": "tree", "bound": bound, "prices": [table], "tree": {"prices": 0}}


def test_uplink_price_lies_between_the_gain_of_one_more_and_the_loss_of_one_less():
    scenario = identical(3, [1, 1, 0, 0])
    best, plan = enumerate_optimum(scenario)
    lam, mu, worth, _ = best_prices(scenario, plan)
    assert worth > 0
    proof = certificate(scenario, best, lam, mu, uplink=[worth, worth, 0.0, 0.0])
    # No gap: this is where a price says all there is to say.
    assert certified_bound(scenario, proof) == pytest.approx(best, rel=PROVED_BOUND)
    found = mo.explain(scenario, plan.replace(certificate=proof))
    uplinks, _, _ = found.limits
    assert (uplinks.kind, uplinks.tight, uplinks.priced) == ("uplink", 2, 2)
    price = uplinks.listed[0].price
    assert price == pytest.approx(worth, rel=SAME_FORMULA)
    assert uplinks.listed[0].worth == price
    gain = best - optimum(identical(3, [2, 1, 0, 0]))
    loss = optimum(identical(3, [0, 1, 0, 0])) - best
    assert 0 < gain <= price * (1 + ROUNDED_DOWN)
    assert price <= loss
    # Two more bring at most twice as much.
    assert best - optimum(identical(3, [2, 2, 0, 0])) <= 2 * price


@pytest.mark.parametrize("in_table", [True, False])
def test_budget_price_lies_between_the_gain_of_more_and_the_loss_of_less(in_table):
    """With a price in the table, and where the device keeps its budget itself."""
    one = identical(1, [1] * SLOTS)
    _, _, _, energy = best_prices(one, enumerate_optimum(one)[1])
    scenario = identical(1, [1] * SLOTS, budget_j=2.001 * energy)
    best, plan = enumerate_optimum(scenario)
    assert len(plan.sessions) == 2
    lam, mu, worth, _ = best_prices(scenario, plan)
    assert worth > 0
    prices = [worth / energy] if in_table else None
    proof = certificate(scenario, best, lam, mu, uplink=[0.0] * SLOTS, energy=prices)
    found = mo.explain(scenario, plan.replace(certificate=proof))
    (limit,) = found.limits[2].listed
    assert limit.price == pytest.approx(worth / energy, rel=ROUNDED_DOWN)
    assert limit.unit == "J"
    assert limit.worth == pytest.approx(0.1 * limit.limit * limit.price, rel=SAME_FORMULA)
    bound = certified_bound(scenario, proof)
    for sessions in (1, 3, 4):
        moved = identical(1, [1] * SLOTS, budget_j=(sessions + 0.001) * energy)
        more = (sessions - 2) * energy
        assert optimum(moved) >= bound - limit.price * more - ROUNDED_DOWN * best
    gain = best - optimum(identical(1, [1] * SLOTS, budget_j=3.001 * energy))
    assert 0 < gain <= limit.price * energy * (1 + ROUNDED_DOWN)


def test_idle_device_is_billed_at_the_prices():
    scenario = identical(3, [1, 1, 0, 0])
    best, plan = enumerate_optimum(scenario)
    lam, mu, worth, energy = best_prices(scenario, plan)
    dear = certificate(scenario, best, lam, mu, uplink=[worth * 1.5] * 2 + [0.0] * 2)
    found = mo.explain(scenario, plan.replace(certificate=dear))
    assert found.idle.devices >= 1
    assert found.idle.wanted == 0
    priced = found.idle.listed[0].priced
    assert priced.uplink == pytest.approx(1.5 * worth, rel=SAME_FORMULA)
    assert priced.energy == pytest.approx(scenario.energy_weight * energy, rel=ROUNDED_DOWN)
    assert priced.net == pytest.approx(0.5 * worth, rel=ROUNDED_DOWN)
    assert "costs more than it brings" in str(found)
    cheap = certificate(scenario, best, lam, mu, uplink=[worth * 0.5] * 2 + [0.0] * 2)
    found = mo.explain(scenario, plan.replace(certificate=cheap))
    assert found.idle.wanted == found.idle.devices
    assert found.idle.listed[0].priced.net == pytest.approx(-0.5 * worth, rel=ROUNDED_DOWN)


def test_patterns_bill_the_slots_of_a_device_and_counts():
    scenario = identical(3, [1, 1, 0, 0])
    best, plan = enumerate_optimum(scenario)
    lam, mu, worth, _ = best_prices(scenario, plan)
    table = {
        "numerator": [lam], "progress": [mu], "uplink": [0.25 * worth] * 2 + [0.0] * 2,
        "energy": [0.0] * 3, "device_slot": [[1.5 * worth] * 2 + [0.0] * 2] * 3,
        "counts": [{"device": None, "task": 0, "price": -0.5 * worth}],
    }  # fmt: skip
    split = {"device": None, "task": 0, "sessions": len(plan.sessions) - 1}
    proof = {
        "kind": "patterns", "version": 2, "bound": best, "prices": [table, table],
        "tree": {"split": split, "low": {"prices": 0}, "high": {"prices": 1}},
    }  # fmt: skip
    found = mo.explain(scenario, plan.replace(certificate=proof))
    assert "leaf 2 of 2 of the certificate (patterns), in which the plan lies" in found.prices
    assert "step caps are kept by patterns" in found.prices
    assert all(limit.price is None for limit in found.limits[1].listed)
    priced = found.idle.listed[0].priced
    assert priced.slots == pytest.approx(worth, rel=ROUNDED_DOWN)
    assert priced.step_cap == 0
    # Nothing is left of what a session is worth but the price of its uplink.
    assert priced.net == pytest.approx(0.25 * worth, rel=ROUNDED_DOWN)
    assert " + slots " in str(found)
    fewer = {**proof, "tree": {**proof["tree"], "split": {**split, "device": 0, "task": None}}}
    assert "leaf 1 of 2" in mo.explain(scenario, plan.replace(certificate=fewer)).prices


def test_patterns_bill_counts_of_large_mini_batches_by_the_best_one():
    scenario = identical(3, [1, 1, 0, 0], batch_max=3, gradient_std=20.0)
    best, plan = enumerate_optimum(scenario)
    lam, mu, worth, _ = best_prices(scenario, plan)
    table = {
        "numerator": [lam], "progress": [mu], "uplink": [0.0] * 4, "energy": [0.0] * 3,
        "device_slot": [[0.0] * 4] * 3,
    }  # fmt: skip
    size = int(plan.sessions.batch_size.max())
    assert (plan.sessions.batch_size == size).all() and size > 1

    def explained(above, price):
        counted = {"device": None, "task": 0, "batch_above": above}
        split = {**counted, "sessions": len(plan.sessions) - 1}
        proof = {
            "kind": "patterns", "version": 2, "bound": best, "tree":
            {"split": split, "low": {"prices": 0}, "high": {"prices": 0}},
            "prices": [{**table, "counts": [{**counted, "price": price}]}],
        }  # fmt: skip
        found = mo.explain(scenario, plan.replace(certificate=proof))
        return found.prices, found.idle.listed[0].priced

    above, priced = explained(size - 1, 0.5 * worth)
    assert "leaf 2 of 2" in above
    # A smaller mini-batch is not counted, and costs less than that more.
    assert priced.slots == 0
    assert -worth < priced.net < -0.5 * worth
    none, priced = explained(size, 0.5 * worth)
    assert "leaf 1 of 2" in none
    assert priced.net == pytest.approx(-worth, rel=ROUNDED_DOWN)
    _, priced = explained(size - 1, -0.5 * worth)
    assert priced.slots == pytest.approx(-0.5 * worth, rel=ROUNDED_DOWN)
    assert priced.net == pytest.approx(-1.5 * worth, rel=ROUNDED_DOWN)


def tables(*uplinks):
    return [
        {"numerator": [1.0], "progress": [2.0], "uplink": [price] * SLOTS,
         "step_cap": [[0.0]] * SLOTS} for price in uplinks
    ]  # fmt: skip


@pytest.fixture(scope="module")
def small():
    scenario = identical(2, [1, 1, 0, 0])
    return scenario, enumerate_optimum(scenario)[1]


def price_of(small, proof):
    scenario, plan = small
    found = mo.explain(scenario, plan.replace(certificate=proof))
    return found.limits[0].listed[0].price, found.prices


def test_leaf_is_the_one_the_plan_lies_in(small):
    scenario, plan = small
    (task,) = mo.check(scenario, plan).tasks
    working = int(plan.sessions.device[0])
    slot = int(plan.sessions.upload[0])
    for split, high in (
        ({"progress": 0, "at": 0.9 * task.progress}, True),
        ({"progress": 0, "at": 1.1 * task.progress}, False),
        ({"ratio": 0, "at": 0.9 * task.bound}, True),
        ({"excess": 0, "at": task.bound}, False),
        ({"device": working, "slot": slot, "attribute": "task", "at": -1}, True),
        ({"device": working, "slot": 4, "attribute": "task", "at": -1}, False),
        ({"device": working, "slot": slot, "attribute": "upload", "at": slot}, False),
    ):
        proof = {"kind": "tree", "bound": 1.0, "prices": tables(3.0, 5.0),
                 "tree": {"split": split, "low": {"prices": 0}, "high": {"prices": 1}}}  # fmt: skip
        price, words = price_of(small, proof)
        assert price == (5.0 if high else 3.0), split
        assert f"leaf {2 if high else 1} of 2 of the certificate (tree), in which" in words


def test_mixture_has_the_mean_of_its_prices(small):
    proof = {"kind": "tree", "bound": 1.0, "prices": tables(3.0, 5.0),
             "tree": {"prices": [0, 1], "weights": [1.0, 3.0]}}  # fmt: skip
    price, words = price_of(small, proof)
    assert price == 4.5
    assert "a mixture of 2 tables" in words


def test_cap_with_prices_of_sessions_has_no_price_of_its_own(small):
    scenario, plan = small
    (table,) = tables(3.0)
    row = {name: [int(getattr(plan.sessions, name)[0])]
           for name in ("device", "task", "receive", "upload", "iterations")}  # fmt: skip
    table = {**table, "step_cap": [[0.5]] * SLOTS, "sessions": {**row, "price": [2.0]}}
    proof = {"kind": "tree", "bound": 1.0, "prices": [table], "tree": {"prices": 0}}
    found = mo.explain(scenario, plan.replace(certificate=proof))
    assert "1 step caps have prices on single sessions" in found.prices
    _, caps, _ = found.limits
    assert caps.priced == SLOTS - 1
    own = f"aggregation {row['upload'][0]}, task digits"
    assert own not in [limit.where for limit in caps.listed if limit.price is not None]


def test_plan_without_sessions_is_explained_at_prices(small):
    scenario, plan = small
    proof = {"kind": "tree", "bound": 1.0, "prices": tables(3.0), "tree": {"prices": 0}}
    nothing = plan.replace(sessions=mo.Sessions.empty(), certificate=proof)
    found = mo.explain(scenario, nothing)
    assert found.idle.reasons == {"room left": 2}
    assert all(device.priced.uplink == 3.0 for device in found.idle.listed)


def test_box_nearest_to_the_plan_is_taken_when_none_holds_it(small):
    scenario, plan = small
    total = mo.check(scenario, plan).tasks[0].progress
    leaves = [
        {"progress_min": [low * total], "progress_max": [high * total],
         "prices": {**table, "energy": [0.0, 0.0]}}
        for (low, high), table in zip([(2.0, 3.0), (1.1, 2.0)], tables(3.0, 5.0), strict=True)
    ]  # fmt: skip
    price, words = price_of(small, {"kind": "lagrangian", "bound": 1.0, "leaves": leaves})
    assert price == 5.0
    assert "leaf 2 of 2 of the certificate (lagrangian), the nearest to the plan" in words
    milp = {"kind": "milp", "bound": 2.0, "claimed_by": "a solver",
            "proved": {"kind": "lagrangian", "bound": 1.0, "leaves": leaves}}  # fmt: skip
    assert price_of(small, milp)[0] == 5.0


@pytest.mark.parametrize(
    ("proof", "words"),
    [
        (None, "carries no certificate"),
        ({"kind": "guess"}, "certificate.kind: expected lagrangian, tree, patterns or milp"),
        ({"kind": "milp", "bound": 1.0}, "certificate.claimed_by"),
        ({"kind": "tree", "bound": 1.0, "prices": []}, "certificate.tree"),
        ({"kind": "tree", "bound": 1.0, "tree": {"prices": 0}}, "certificate.prices"),
        ({"kind": "lagrangian", "bound": 1.0, "leaves": []}, "at least one leaf"),
        ({"kind": "lagrangian", "bound": 1.0, "leaves": 3}, "certificate.leaves"),
    ],
)
def test_explanation_says_why_there_are_no_prices(small, proof, words):
    scenario, plan = small
    found = mo.explain(scenario, plan.replace(certificate=proof))
    assert found.prices.startswith("no prices: ")
    assert words in found.prices
    assert all(limit.price is None for family in found.limits for limit in family.listed)
    assert found.idle.wanted is None
