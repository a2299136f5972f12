"""The search tree of `minlp`: knapsacks, tolls, the packed relaxation, forks and bounds."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from enumeration import enumerate_optimum
from small_scenarios import drawn_scenario
from tolerances import ENUMERATED, NEAR_OPTIMAL, SOLVED

import mafl_opt as mo
from mafl_opt.formulations.boxes import box_rules
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Options, Run
from mafl_opt.solvers.improve import Improver
from mafl_opt.solvers.minlp import search
from mafl_opt.solvers.minlp.forks import find_fork
from mafl_opt.solvers.minlp.knapsacks import Knapsacks
from mafl_opt.solvers.minlp.packed import Packed
from mafl_opt.solvers.minlp.points import outer_points
from mafl_opt.solvers.minlp.relaxation import LinearRelaxation
from mafl_opt.solvers.minlp.tolls import Goal, Region, Tolls, tolled_bound, tolled_slack
from mafl_opt.solvers.minlp.tree import Node, Tree
from mafl_opt.solvers.recovery import warm_up
from mafl_opt.solvers.schedule import Schedule

INSTANCES = Path(__file__).parents[1] / "instances"
OPTIMA = {
    path.name.split(".")[0]: optimum
    for path in INSTANCES.glob("*.optimum.json")
    if (optimum := json.loads(path.read_text())["optimum"]) is not None
}


@pytest.fixture(scope="module")
def optima():
    out = []
    for seed in range(8):
        s = drawn_scenario(seed, tasks=1 + seed % 2)
        z, plan = enumerate_optimum(s)
        if plan is not None:
            out.append((Problem(scenario=s), z, plan))
    assert len(out) >= 5
    return out


@pytest.fixture(scope="module")
def fleet():
    return Problem(scenario=mo.Scenario.draw(devices=5, tasks=2, slots=5, seed=3))


def whole_region(problem, top):
    rules = box_rules(problem)
    low, high = rules.root(top)
    return Region(rules=rules, low=low, high=high, top=top)


def every_point(problem, growth=1.0):
    index = np.arange(len(problem.columns))
    return outer_points(
        problem.columns, index, np.ones_like(index), problem.columns.batch_hi, growth
    )


def packed_point(problem, region, barred=None, owed=()):
    packed = Packed(problem, Knapsacks(problem), every_point(problem), region.top)
    barred = np.zeros(len(problem.columns), dtype=bool) if barred is None else barred
    packed.frame(region, barred, owed)
    goal = Goal.of(problem)
    return packed.minimise(goal, enough=np.inf, close=0.0, rounds=60, time_limit=None)


def drawn_tolls(problem, rng, scale):
    s, c = problem.scenario, problem.columns
    knapsacks = Knapsacks(problem)
    toll = scale * rng.uniform(0, 0.1, len(knapsacks)) * rng.integers(0, 2, len(knapsacks))
    given = sum(packing.toll for packing in knapsacks.pack(toll))
    a = rng.uniform(0.3, 1.0) * s.num_slots * s.tasks.step_cap / 2
    lam = s.tasks.weight / a
    return Tolls(
        numerator=lam, progress=lam * rng.uniform(0.1, 1.5) * scale / s.tasks.weight.sum(),
        uplink=rng.uniform(0, 0.02, s.num_slots) * scale,
        step_cap=np.zeros((s.num_slots, s.num_tasks)),
        energy=rng.uniform(0, 2.0, s.num_devices) * s.energy_weight,
        toll=toll[knapsacks.kind], given=float(given),
    ), c  # fmt: skip


# -- knapsacks ---------------------------------------------------------------------------------


def test_packing_collects_most_of_all_sets_that_fit(fleet):
    knapsacks, c, s = Knapsacks(fleet), fleet.columns, fleet.scenario
    rng = np.random.default_rng(0)
    row_of = (c.upload - 1) * s.num_tasks + c.task
    for _ in range(3):
        toll = rng.uniform(0, 1, len(knapsacks))
        packings = knapsacks.pack(toll)
        for row in rng.permutation(np.unique(row_of))[:3]:
            # A few columns of each device, all combinations of them.
            parts = []
            for i in range(s.num_devices):
                own = np.flatnonzero((row_of == row) & (c.device == i))
                parts.append([-1, *rng.permutation(own)[:4].tolist()])
            best = 0.0
            for chosen in itertools.product(*parts):
                used = [k for k in chosen if k >= 0]
                if c.step[used].sum() <= s.tasks.step_cap[row % s.num_tasks]:
                    best = max(best, toll[knapsacks.kind[used]].sum())
            assert packings[row].toll >= best - 1e-12


def test_packing_is_a_set_that_fits_up_to_the_grid(fleet):
    knapsacks, c, s = Knapsacks(fleet), fleet.columns, fleet.scenario
    toll = np.random.default_rng(1).uniform(0, 1, len(knapsacks))
    for row, packing in enumerate(knapsacks.pack(toll)):
        columns = [int(np.argmax(knapsacks.kind == kind)) for kind in packing.kinds]
        assert len(set(c.device[columns])) == len(columns)
        assert toll[packing.kinds].sum() == pytest.approx(packing.toll)
        fill = c.step[columns].sum() / s.tasks.step_cap[row % s.num_tasks]
        assert fill <= 1.0 + s.num_devices / 8192 + 1e-8


# -- tolls -------------------------------------------------------------------------------------


def test_bound_at_any_tolls_lies_below_the_optimum(optima):
    rng = np.random.default_rng(2)
    for problem, z, _ in optima:
        region = whole_region(problem, z * 1.01)
        for _ in range(40):
            tolls, _ = drawn_tolls(problem, rng, z)
            assert tolled_bound(problem, Goal.of(problem), region, tolls) <= z * (1 + ENUMERATED)


def test_block_is_minimised_over_the_region_of_its_task(optima):
    rng = np.random.default_rng(3)
    for problem, z, _ in optima:
        region = whole_region(problem, z * 1.05)
        low, high = float(region.low[0]), float(region.high[0])
        a = np.linspace(low, high, 400)
        start, slope = region.rules.start[0], region.rules.slope[0]
        room = (region.top - region.rules.rest[0]) / region.rules.weight[0]
        n = np.linspace(start + slope * a, np.maximum(room * a, start + slope * a), 40)
        for _ in range(10):
            ratio, lam, mu = rng.uniform(0, 3), rng.uniform(-1, 3) / high, rng.uniform(-1, 9) * z
            least = region.least(0, ratio, lam * z, mu / high, low, high)
            seen = (ratio * n / a - lam * z * n + mu / high * a).min()
            assert least <= seen + 1e-9 * abs(seen)


def test_slack_and_trimming_keep_the_optimum(optima):
    for problem, z, plan in optima:
        top = z * 1.01
        found = packed_point(problem, whole_region(problem, top))
        chosen = problem.columns.locate(plan.sessions)
        assert (tolled_slack(problem, found.tolls)[chosen] <= top - found.bound).all()
        region = whole_region(problem, top).trimmed(found.tolls, top - found.bound)
        progress = Schedule.from_sessions(problem, plan.sessions).progress
        used = problem.scenario.tasks.weight > 0
        assert (region.low[used] <= progress[used] * (1 + 1e-9)).all()
        assert (progress[used] <= region.high[used] * (1 + 1e-9)).all()


# -- the packed relaxation ---------------------------------------------------------------------


def test_packed_relaxation_lies_below_the_optimum_and_its_tolls_prove_it(optima):
    for problem, z, _ in optima:
        found = packed_point(problem, whole_region(problem, z * 1.01))
        assert found.bound <= z * (1 + ENUMERATED)
        assert found.point.value <= z * (1 + SOLVED)
        assert found.bound >= 0.97 * found.point.value


def test_packed_relaxation_is_far_tighter_than_the_linear_one(fleet):
    run = Run(problem=fleet, options=Options(time_limit=None))
    warm_up(run, Improver(fleet, 0, run.stop))
    top = run.objective
    region = whole_region(fleet, top)
    linear = LinearRelaxation(fleet, top).solve(
        region.rules.box(region.low, region.high, top), top, None
    )
    found = packed_point(fleet, region)
    assert top - found.bound < 0.75 * (top - linear.value)


def test_owed_and_barred_columns_split_the_plans(optima):
    """Every plan is on one side of a fork; on the other side bounds may rise above it."""
    for problem, z, plan in optima:
        region = whole_region(problem, z * 1.01)
        root = packed_point(problem, region)
        fork = find_fork(problem, root.point.x)
        if fork is None:
            continue
        chosen = problem.columns.locate(plan.sessions)
        if fork.asked[chosen].any():
            assert fork.asked[chosen].sum() == 1
            assert not fork.rivals[chosen].any()
            found = packed_point(problem, region, fork.rivals, (fork.asked,))
        else:
            found = packed_point(problem, region, fork.asked)
        assert found.bound <= z * (1 + ENUMERATED)
        assert found.bound >= root.bound - 1e-3 * z


def test_fork_asks_for_columns_of_one_device_busy_in_one_slot(fleet):
    c = fleet.columns
    x = np.zeros(len(c))
    x[np.random.default_rng(4).integers(0, len(c), 30)] = 0.1
    fork = find_fork(fleet, x)
    both = np.flatnonzero(fork.asked | fork.rivals)
    slot = c.upload[np.argmax(fork.asked)]
    assert len(set(c.device[both])) == 1
    assert ((c.receive[both] < slot) & (slot <= c.upload[both])).all()
    assert 0 < fork.amount < 1
    assert find_fork(fleet, np.zeros(len(c))) is None


# -- the tree ----------------------------------------------------------------------------------


def tree_of(problem, gap, seed=0):
    run = Run(problem=problem, options=Options(gap=gap, seed=seed))
    improver = Improver(problem, seed, run.stop)
    warm_up(run, improver)
    c = problem.columns
    root = Node(region=whole_region(problem, run.objective), barred=np.zeros(len(c), dtype=bool))
    return run, Tree(run, improver, root, (np.ones_like(c.batch_hi), c.batch_hi), np.inf)


def test_tree_closes_small_problems_and_never_claims_too_much(optima):
    for problem, z, _ in optima:
        run, tree = tree_of(problem, 1e-3)
        tree.search()
        assert run.bound <= z * (1 + ENUMERATED)
        assert run.objective <= z * (1 + NEAR_OPTIMAL)
        assert run.bound >= z * 0.99
        bounds = [entry["bound"] for entry in run.trace if entry["bound"] is not None]
        assert bounds == sorted(bounds)


def test_lines_around_the_errors_hold_for_every_better_plan(optima):
    for problem, z, plan in optima:
        run, tree = tree_of(problem, 1e-3)
        region = replace(whole_region(problem, z), top=run.objective)
        root = Node(region=region, barred=np.zeros(len(problem.columns), dtype=bool))
        found = tree._relax(root)
        drawn = tree._draw_lines(region, found).rules
        best = Schedule.from_sessions(problem, plan.sessions)
        for j in np.flatnonzero(problem.scenario.tasks.weight > 0):
            n, a = best.numerator[j], best.progress[j]
            assert n >= (drawn.start[j] + drawn.slope[j] * a) * (1 - 1e-9)
            room = (run.objective - drawn.rest[j]) / drawn.weight[j]
            assert n <= room * a * (1 + 1e-9)
        assert (drawn.slope >= region.rules.slope).all()
        assert (drawn.rest >= region.rules.rest).all()


@pytest.mark.parametrize("seed", range(2))
def test_bound_is_never_above_what_any_backend_finds(seed, monkeypatch):
    s = mo.Scenario.draw(devices=3, tasks=2, slots=4, seed=seed)
    monkeypatch.setattr(search, "_FEW_POINTS", 0)
    plan = mo.solve(s, "minlp", gap=0.01)
    report = mo.check(s, plan)
    assert report.ok
    assert plan.objective - plan.bound <= 0.01 * plan.objective
    for name in ("greedy", "conic", "sca"):
        other = mo.solve(s, name)
        assert plan.bound <= mo.check(s, other).objective


@pytest.mark.parametrize("name", sorted(OPTIMA))
def test_tree_alone_stays_below_the_optimum_of_an_instance(name, monkeypatch):
    monkeypatch.setattr(search, "_FEW_POINTS", 0)
    scenario = mo.Scenario.load(INSTANCES / f"{name}.json")
    plan = mo.solve(scenario, "minlp", gap=0.05)
    assert mo.check(scenario, plan).ok
    assert plan.bound <= OPTIMA[name] * (1 + ENUMERATED)
    assert plan.bound >= OPTIMA[name] * 0.94
