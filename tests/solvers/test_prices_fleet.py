"""The large-fleet part of backend `prices`: device programs, master, plans and proofs."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from price_tables import table_of
from small_scenarios import plain_numbers
from tolerances import CANCELLED

import mafl_opt as mo
from mafl_opt.core.certificate import certified_bound
from mafl_opt.core.proof import fleet_sessions, lagrangian, session_table
from mafl_opt.core.proof.local_sums import LocalSums
from mafl_opt.core.proof.price_table import PriceTable
from mafl_opt.core.proof.session_table import SessionTable
from mafl_opt.formulations.pricing import DeviceProgram, Prices, best_batches
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Options, Run
from mafl_opt.solvers.branching import verdict
from mafl_opt.solvers.prices import fleet
from mafl_opt.solvers.prices.fleet import proving, search
from mafl_opt.solvers.prices.fleet.arcs import Room, Table, scratch
from mafl_opt.solvers.prices.fleet.arrays import fleet_of, tasks_of
from mafl_opt.solvers.prices.fleet.assignment import Assignment
from mafl_opt.solvers.prices.fleet.kernel import price_devices
from mafl_opt.solvers.prices.fleet.labels import pool
from mafl_opt.solvers.prices.fleet.ratio import Mixtures, Range


def drawn(devices, seed, slots=6, **changes):
    scenario = mo.Scenario.draw(devices=devices, tasks=2, slots=slots, seed=seed)
    return scenario.replace(**changes) if changes else scenario


def solved(scenario, gap):
    """Solve by what `prices` does on large fleets, however few devices there are."""
    run = Run(problem=Problem(scenario=scenario), options=Options(gap=gap))
    certificate, limit = fleet.solve(run)
    return run.plan("prices", verdict(run), certificate, limit=limit)


def answers(scenario, table, *, start=None, rounds=30, tolerance=0.0, labels=None):
    devices, tasks = fleet_of(scenario), tasks_of(scenario)
    price = np.zeros(devices.size) if start is None else start.copy()
    bound, cost = np.zeros(devices.size), np.zeros(devices.size)
    slots, most = scenario.num_slots, scenario.num_tasks
    totals = np.zeros(1 + 2 * most + slots * (1 + most))
    room = Room(uplink=tasks.capacity, step=np.tile(tasks.cap, (slots, 1)))
    given = pool()
    if labels is not None:
        few = {name: getattr(given, name)[:labels] for name in ("head", "energy", "cost")}
        given = given._replace(**few)
    price_devices(
        devices, tasks, table, room, price, rounds, tolerance, given, scratch(tasks), bound, cost,
        totals,
    )  # fmt: skip
    return bound, cost, totals


@pytest.mark.parametrize("seed", range(4))
def test_device_programs_agree_with_the_numpy_ones_at_any_energy_prices(seed):
    scenario = drawn(8, seed)
    table = table_of(scenario, seed)
    energy = np.random.default_rng(seed).uniform(0.0, 5.0, 8)
    columns = Problem(scenario=scenario).columns
    prices = Prices(
        numerator=table.error, progress=table.progress, uplink=table.uplink, step_cap=table.step,
        energy=energy,
    )  # fmt: skip
    batch = best_batches(
        columns, table.error[columns.task], scenario.energy_weight + energy[columns.device]
    )
    cost = prices.reduced_costs(scenario, columns, batch)
    expected, _ = DeviceProgram(scenario, columns).solve(cost)
    bound, _, _ = answers(scenario, table, start=energy, rounds=1)
    assert expected.min() < 0
    assert bound == pytest.approx(
        expected - energy * scenario.devices.energy_budget_j, rel=CANCELLED
    )


def cheapest_by_enumeration(scenario, table, device):
    """Least cost over all sets of sessions of a device that its budget pays for."""
    columns = Problem(scenario=scenario).columns
    own = columns.take(np.flatnonzero(columns.device == device))
    choices = []
    for k in range(len(own)):
        one = own.take(np.array([k]))
        for batch in range(1, int(one.batch_hi[0]) + 1):
            size = np.array([batch])
            j, u = int(one.task[0]), int(one.upload[0])
            cost = float(
                table.error[j] * one.error_at(size)[0] - table.progress[j] * one.progress[0]
                + scenario.energy_weight * one.energy(size)[0] + table.uplink[u - 1]
                + table.step[u - 1, j] * one.step[0]
            )  # fmt: skip
            choices.append((int(one.receive[0]), u, float(one.energy(size)[0]), cost))
    budget, best = scenario.devices.energy_budget_j[device], 0.0
    for count in (1, 2, 3):
        for some in itertools.combinations(choices, count):
            spans = sorted(entry[:2] for entry in some)
            apart = all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
            if apart and sum(entry[2] for entry in some) <= budget:
                best = min(best, sum(entry[3] for entry in some))
    return best


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    share=st.floats(0.2, 1.2), error=st.floats(20.0, 400.0), ratio=st.floats(5.0, 400.0),
    toll=st.floats(0.0, 100.0),
)  # fmt: skip
def test_budgets_are_kept_exactly(share, error, ratio, toll):
    data = plain_numbers()
    data["devices"]["energy_budget_j"] = [0.09 * share, 0.05 * share]
    scenario = mo.Scenario.from_dict(data)
    lam = np.array([error, 0.6 * error])
    table = Table(
        error=lam, progress=lam * ratio, uplink=np.array([0.0, 0.4, 0.1]),
        step=np.full((3, 2), toll),
    )  # fmt: skip
    bound, cost, totals = answers(scenario, table)
    expected = [cheapest_by_enumeration(scenario, table, device) for device in (0, 1)]
    assert cost == pytest.approx(expected, rel=CANCELLED, abs=CANCELLED)
    assert bound == pytest.approx(expected, rel=CANCELLED, abs=CANCELLED)
    assert totals[0] <= scenario.devices.energy_budget_j.sum() * (1 + CANCELLED)


def test_what_labels_that_run_out_have_proved_is_true_and_kept():
    scenario = drawn(30, 2)
    budget = 0.15 * scenario.devices.energy_budget_j
    scenario = scenario.replace(**{"devices.energy_budget_j": budget})
    table = table_of(scenario, 2)
    exact, cost, _ = answers(scenario, table)
    assert exact == pytest.approx(cost, rel=CANCELLED, abs=CANCELLED)
    proved = [answers(scenario, table, labels=labels)[0] for labels in (1, 300, 3000)]
    for bound in proved:
        assert (bound <= exact + CANCELLED * np.abs(exact)).all()
    # More labels prove more, and some of it without the whole being settled.
    assert (np.diff(proved, axis=0) >= -CANCELLED * np.abs(exact)).all()
    between = (proved[1] > proved[0] + 1e-9) & (proved[1] < exact - 1e-9)
    assert between.any()


def test_answers_add_up_to_what_the_plans_cost():
    scenario = drawn(12, 5)
    table = table_of(scenario, 5)
    _, cost, totals = answers(scenario, table)
    most, slots = 2, scenario.num_slots
    uplink, step = totals[1 + 2 * most :][:slots], totals[1 + 2 * most + slots :]
    value = scenario.energy_weight * totals[0] + table.error @ totals[1 : 1 + most]
    value -= table.progress @ totals[1 + most : 1 + 2 * most]
    value += table.uplink @ uplink + table.step.ravel() @ step
    assert cost.sum() < 0
    assert value == pytest.approx(cost.sum(), rel=CANCELLED)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    low=st.floats(0.01, 0.2), wide=st.floats(1.0, 4.0), least=st.floats(0.1, 3.0),
    tall=st.floats(1.0, 4.0), seed=st.integers(0, 10),
)  # fmt: skip
def test_blocks_are_below_the_lagrangian_everywhere_in_a_box(low, wide, least, tall, seed):
    scenario = drawn(4, 1)
    tasks, table = tasks_of(scenario), table_of(scenario, seed)
    box = Range(
        low=np.full(2, low), high=np.full(2, low * wide), excess_low=np.full(2, least),
        excess_high=np.full(2, least * tall),
    )  # fmt: skip
    mixtures = Mixtures(tasks, table)
    mixtures.add(table, 0.0)
    bound = mixtures.bound(box, np.ones(1))
    a, y = np.meshgrid(np.linspace(low, low * wide, 41), np.linspace(least, least * tall, 41))
    seen = sum(
        (
            tasks.weight[j] * (tasks.start[j] / a + y) - table.error[j] * (tasks.start[j] + y * a)
            + table.progress[j] * a
        ).min()
        for j in range(2)
    )  # fmt: skip
    assert bound <= seen + CANCELLED * abs(seen)
    assert seen - bound <= 0.01 * abs(seen) + 0.01 * tasks.weight.sum()


@pytest.mark.parametrize(("devices", "weight"), [(150, 5.0), (150, 0.4)])
def test_a_fleet_is_planned_and_its_bound_derived_again(devices, weight):
    scenario = drawn(devices, 3, slots=8, energy_weight=weight)
    run = Run(problem=Problem(scenario=scenario), options=Options(gap=5e-3))
    certificate, _ = fleet.solve(run)
    plan = run.plan("prices", mo.Termination.GAP_REACHED, certificate, derive_s=0.0)
    assert mo.check(scenario, plan, certificate=True).ok
    assert certified_bound(scenario, certificate) == certificate["bound"] == plan.bound
    assert plan.gap <= 5e-3
    greedy = mo.solve(scenario, backend="greedy")
    assert plan.bound <= plan.objective < greedy.objective


def test_every_leaf_is_worth_what_its_own_mixture_is(monkeypatch):
    begun = []

    class Kept(proving.Proof):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            begun.append(self)

    monkeypatch.setattr(proving, "Proof", Kept)
    scenario = drawn(400, 3, slots=8, energy_weight=2.0)
    fleet.solve(Run(problem=Problem(scenario=scenario), options=Options(gap=5e-4)))
    waiting, split = [begun[-1]._root], 0
    while waiting:
        node = waiting.pop()
        if node is not None:
            worth = begun[-1].mixtures.bound(node.box, node.weights)
            assert node.bound <= worth + CANCELLED * abs(worth)
            waiting += node.children
            split += node.split is not None
    assert split > 10


@pytest.mark.parametrize(
    ("changes", "gap"),
    [
        # Few plans fit the budgets, and none of those that cost least without them.
        ({"devices.energy_budget_j": 0.2}, 5e-3),
        # A task that nobody gains by is not split; prices of 1e10 cost the others nothing.
        ({"tasks.weight": [0.0, 2.0]}, 5e-3),
        # Tasks that take devices from each other.
        ({"tasks.weight": [1.0, 30.0]}, 5e-3),
    ],
)
def test_hard_fleets_are_planned_and_their_bounds_derived(changes, gap):
    scenario = drawn(60, 2, slots=6, energy_weight=0.05)
    joules = np.asarray(scenario.devices.energy_budget_j)
    given = {
        name: joules * value if name.endswith("_j") else np.array(value)
        for name, value in changes.items()
    }
    plan = solved(scenario.replace(**given), gap)
    assert plan.termination is mo.Termination.GAP_REACHED
    assert mo.check(scenario.replace(**given), plan, certificate=True).ok


def test_a_target_above_all_mixtures_leaves_the_best_bound_there_is(monkeypatch):
    scenario = drawn(60, 2, slots=6, energy_weight=0.05)
    good = solved(scenario, 5e-3)
    # Planned at no price at all, which leaves the bound as the only thing to work on.
    monkeypatch.setattr(search, "_SHARES", ())
    poor = solved(scenario, 1e-6)
    assert poor.termination is mo.Termination.STALLED
    assert poor.bound > good.bound - 1e-3 * good.objective
    assert poor.bound < good.objective


def test_the_first_sweep_follows_the_mixture():
    scenario = drawn(400, 3, slots=6, energy_weight=0.0)
    devices, tasks = fleet_of(scenario), tasks_of(scenario)
    ample = tasks._replace(capacity=tasks.capacity * 0 + 400.0, cap=tasks.cap * 400.0)
    whole = table_of(scenario, 1)
    free = {"uplink": 0.0 * whole.uplink, "step": 0.0 * whole.step}
    # At each price table devices want one of the tasks only.
    tables = [
        whole._replace(progress=whole.progress * np.array(mask), **free)
        for mask in ([1.0, 0.0], [0.0, 0.0], [0.0, 1.0])
    ]
    plan = Assignment(devices, ample, np.zeros(400), 1e-9)
    plan.spread(tables, np.array([0.2, 0.0, 0.8]), 5, stop=lambda: False)
    sessions = plan.sessions(np.arange(400))
    trained = [np.unique(sessions.device[sessions.task == j]) for j in (0, 1)]
    assert not np.intersect1d(*trained).size
    assert trained[0].size == pytest.approx(80, abs=8)
    assert trained[1].size == pytest.approx(320, abs=32)


@pytest.mark.parametrize(("weight", "budget"), [(5.0, 1.0), (0.05, 1.0), (0.05, 0.2)])
def test_rows_that_no_price_pays_for_change_no_bound(weight, budget, monkeypatch):
    scenario = drawn(60, 2, slots=6, energy_weight=weight)
    joules = np.asarray(scenario.devices.energy_budget_j) * budget
    scenario = scenario.replace(**{"devices.energy_budget_j": joules})
    certificate, _ = fleet.solve(Run(problem=Problem(scenario=scenario), options=Options(gap=5e-3)))
    claim = {**certificate, "bound": 1.1 * certificate["bound"]}
    whole = certified_bound(scenario, claim)
    listed, kept, together = [], [], []
    may_pay, solve_all = PriceTable.may_pay, lagrangian.Lagrangian._solve_all

    def pay(self, scenario, rows, floors):
        found = may_pay(self, scenario, rows, floors)
        listed.append(found.size)
        kept.append(np.count_nonzero(found))
        return found

    def joined(self, table):
        together.append(table.devices.stop - table.devices.start)
        solve_all(self, table)

    # As where there are more blocks than are kept.
    monkeypatch.setattr(fleet_sessions, "_KEPT", 0)
    monkeypatch.setattr(lagrangian, "_TOGETHER", 7)
    monkeypatch.setattr(session_table, "_BLOCK", 1)
    monkeypatch.setattr(PriceTable, "may_pay", pay)
    monkeypatch.setattr(lagrangian.Lagrangian, "_solve_all", joined)
    assert certified_bound(scenario, claim) == whole < claim["bound"]
    assert sum(kept) < sum(listed)
    assert sum(together) == 60
    assert max(together) > 1


@settings(deadline=None)
@given(seed=st.integers(0, 1000), weight=st.floats(1e-3, 10.0), worth=st.floats(0.0, 1.0))
def test_a_row_that_cannot_pay_costs_something(seed, weight, worth):
    scenario = drawn(12, seed, slots=5, energy_weight=weight)
    rows = SessionTable.of(scenario, LocalSums.of(scenario), slice(0, 12))
    prices = table_of(scenario, seed)
    entry = {
        "numerator": prices.error.tolist(), "progress": (worth**4 * prices.progress).tolist(),
        "uplink": prices.uplink.tolist(), "step_cap": prices.step.tolist(),
    }  # fmt: skip
    table = PriceTable.read(scenario, "prices", entry, energy=False)
    paying = table.may_pay(scenario, rows, rows.floors())
    busy = np.zeros((12, 6), dtype=bool)
    cost, _ = table.programs(scenario, rows, busy).rows_at(np.zeros(12))
    assert (cost[~paying] >= 0.0).all()
    if worth == 0.0:
        assert not paying.any()


def test_a_mixture_of_tables_proves_no_more_than_is_true():
    scenario = mo.Scenario.from_dict(plain_numbers())
    run = Run(problem=Problem(scenario=scenario), options=Options(gap=1e-3))
    certificate, _ = fleet.solve(run)
    best = mo.solve(scenario, backend="conic").objective
    tables = len(certificate["prices"])
    weights = np.random.default_rng(0).dirichlet(np.ones(tables), size=8)
    for row in weights:
        leaf = {"prices": list(range(tables)), "weights": row.tolist()}
        claim = {**certificate, "bound": 2.0 * best, "tree": leaf}
        assert certified_bound(scenario, claim) <= best * (1 + 1e-9)
    split = {"split": {"excess": 0, "at": 1.0}, "low": {"prices": 0}, "high": {"prices": 0}}
    claim = {**certificate, "bound": 2.0 * best, "tree": split}
    assert certified_bound(scenario, claim) <= best * (1 + 1e-9)


def test_a_stop_in_the_middle_of_the_proof_leaves_a_plan_and_what_was_proved():
    scenario = drawn(300, 1, slots=8)
    run = Run(problem=Problem(scenario=scenario), options=Options(gap=1e-6))

    def progress(message, fraction):
        if message == "price table 3":
            run.termination = mo.Termination.TIME_LIMIT

    run.progress = progress
    certificate, _ = fleet.solve(run)
    plan = run.plan("prices", mo.Termination.GAP_REACHED, certificate, derive_s=0.0)
    assert plan.termination is mo.Termination.TIME_LIMIT
    assert plan.gap > 1e-3
    assert mo.check(scenario, plan, certificate=True).ok


def test_no_time_at_all_leaves_the_opening_plan_and_a_bound_that_is_derived():
    scenario = drawn(60, 1)
    run = Run(problem=Problem(scenario=scenario), options=Options(time_limit=1e-9))
    certificate, _ = fleet.solve(run)
    assert [entry["event"] for entry in run.trace] == ["opening"]
    plan = run.plan("prices", mo.Termination.GAP_REACHED, certificate)
    assert plan.termination is mo.Termination.TIME_LIMIT
    assert mo.check(scenario, plan, certificate=True).ok
    assert certified_bound(scenario, certificate) == plan.bound
    assert 0.0 < plan.bound < plan.objective
