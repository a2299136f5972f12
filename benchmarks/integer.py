"""Small fleets: time to a gap of `prices` beside SCIP and HiGHS on the integer program.

    python benchmarks/integer.py [--limit SECONDS] [--own SECONDS] [--seeds N] [--growth]

All in one process, one thread, one after the other. `scip` has the integer program with every
choice of session, l and B, ratio included; `HiGHS` has the same one with the products of the ratio
made linear, which is exact; `minlp` is HiGHS inside this package's search by outer approximation.
`tangent` is HiGHS on the same choices with the ratio replaced by its tangent plane at the best plan
that `prices` found: easier than P, and its gap is its own. See README.md beside this file.
"""

import argparse
import multiprocessing
import time

import highspy
import numpy as np
import scipy.sparse as sp

import mafl_opt as mo
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.prices.exact.choices import list_choices
from mafl_opt.solvers.prices.highs import linear_program, quiet_highs

GAPS = (0.1, 0.05, 0.01)
FLEETS = ((6, 2, 6), (10, 3, 12))
#: Growth at small sizes: devices, tasks, slots, and what replaces the drawn staleness.
GROWTH = (
    (10, 1, 12, None), (10, 2, 12, None), (10, 3, 12, None), (10, 4, 12, None),
    (10, 3, 6, None), (10, 3, 18, None), (10, 3, 12, 0), (10, 3, 12, 1), (10, 3, 12, 6),
    (5, 3, 12, None), (20, 3, 12, None),
)  # fmt: skip


def reached(points, gaps=GAPS):
    """Seconds at which (seconds, objective, bound) first came within each gap, or None."""
    out = []
    for gap in gaps:
        at = [
            t for t, objective, bound in points
            if objective is not None and bound is not None
            and objective - bound <= gap * abs(objective)
        ]  # fmt: skip
        out.append(min(at, default=None))
    return out


def run_backend(problem, backend, limit, gap=GAPS[-1]):
    """Solve, and return the times to the gaps, the plan, wall-clock and CPU seconds."""
    start, cpu = time.perf_counter(), time.process_time()
    plan = mo.solve(problem, backend=backend, time_limit=limit, gap=gap)
    took = time.perf_counter() - start, time.process_time() - cpu
    points = [(e["seconds"], e["objective"], e["bound"]) for e in plan.trace]
    return reached(points), plan, took


def shared_limits(problem, choices):
    """Rows that every program on all choices has: one session at a time, budgets, uplinks, caps."""
    s, c = problem.scenario, problem.columns
    at = choices.column
    task, device, upload = c.task[at], c.device[at], c.upload[at] - 1
    place, length = np.arange(at.size), (c.upload - c.receive)[at]
    inside = np.repeat(place, length)
    slot = np.repeat(c.receive[at], length) + np.arange(inside.size)
    slot -= np.repeat(np.cumsum(length) - length, length)
    blocks = (
        (np.ones(inside.size), device[inside] * s.num_slots + slot, inside,
         np.ones(s.num_devices * s.num_slots)),
        (choices.energy / s.devices.energy_budget_j[device], device, place, np.ones(s.num_devices)),
        (np.ones(at.size), upload, place, np.array(s.network.uplink_capacity, dtype=float)),
        (c.step[at] / s.tasks.step_cap[task], upload * s.num_tasks + task, place,
         np.ones(s.num_slots * s.num_tasks)),
    )  # fmt: skip
    matrix = sp.vstack(
        [
            sp.csc_array((value, (row, col)), shape=(limit.size, at.size))
            for value, row, col, limit in blocks
        ]
    )
    return matrix, np.concatenate([limit for *_, limit in blocks])


def first_error(s):
    """Return the part of N that no session changes; (tasks,)."""
    return s.tasks.initial_gap + s.loss_drift.sum(axis=0)


def tangent_program(problem, plan):
    """Put the program on all choices together, the ratio replaced by its tangent at a plan."""
    s, c, o = problem.scenario, problem.columns, list_choices(problem)
    report = mo.check(s, plan)
    progress = np.array([task.progress for task in report.tasks])
    ratio = np.array([task.bound for task in report.tasks])
    lam = s.tasks.weight / progress
    at = o.column
    task = c.task[at]
    cost = lam[task] * (o.error - ratio[task] * c.progress[at]) + s.energy_weight * o.energy
    matrix, limits = shared_limits(problem, o)
    # The plane's value at the plan is its objective, so gaps mean the same.
    offset = float((lam * first_error(s) + s.tasks.weight * ratio).sum())
    return linear_program(
        sp.csc_array(matrix), col_cost=cost, col_lower=np.zeros(at.size),
        col_upper=np.ones(at.size), row_lower=np.full(limits.size, -highspy.kHighsInf),
        row_upper=limits, offset=offset, integrality=[highspy.HighsVarType.kInteger] * at.size,
    )  # fmt: skip


def whole_program(problem, plan):
    """Put P together as a linear integer program: a product w = Xi_j x for every choice x.

    w <= Xi_j and w <= (top of Xi_j) x, and N_j <= sum of progress w in each task: exact, because
    every x is 0 or 1. No Xi_j is above what the best plan leaves for it.
    """
    s, c, o = problem.scenario, problem.columns, list_choices(problem)
    at, used = o.column, np.flatnonzero(s.tasks.weight > 0)
    kept = np.flatnonzero(np.isin(c.task[at], used))
    n, m, place = at.size, kept.size, np.arange(kept.size)
    task = np.searchsorted(used, c.task[at][kept])
    top = plan.objective / s.tasks.weight[used]
    shared, limits = shared_limits(problem, o)
    scale = first_error(s)[used]
    # Columns: x, Xi / top, w / top.
    of_x = sp.csc_array((np.ones(m), (place, kept)), shape=(m, n))
    of_xi = sp.csc_array((np.ones(m), (place, task)), shape=(m, used.size))
    error = sp.csc_array((o.error[kept] / scale[task], (task, kept)), shape=(used.size, n))
    gain = sp.csc_array(
        (c.progress[at][kept] * (top / scale)[task], (task, place)), shape=(used.size, m)
    )
    own = sp.eye_array(m)
    matrix = sp.csc_array(sp.block_array([
        [shared, None, None], [-of_x, None, own], [None, -of_xi, own], [error, None, -gain],
    ]))  # fmt: skip
    high = np.concatenate([limits, np.zeros(2 * m), -first_error(s)[used] / scale])
    kinds = [highspy.HighsVarType.kInteger] * n
    kinds += [highspy.HighsVarType.kContinuous] * (used.size + m)
    return linear_program(
        matrix,
        col_cost=np.concatenate([
            s.energy_weight * o.energy, s.tasks.weight[used] * top, np.zeros(m),
        ]),
        col_lower=np.zeros(n + used.size + m), col_upper=np.ones(n + used.size + m),
        row_lower=np.full(high.size, -highspy.kHighsInf), row_upper=high, integrality=kinds,
    )  # fmt: skip


def run_highs(program, limit):
    """Give HiGHS a program; return the times to the gaps and what it had in the end."""
    highs = quiet_highs(time_limit=float(limit), mip_rel_gap=GAPS[-1])
    start = time.perf_counter()
    highs.passModel(program)
    points = []

    def hear(event):
        data = event.data_out
        points.append((time.perf_counter() - start, data.mip_primal_bound, data.mip_dual_bound))

    highs.cbMipInterrupt.subscribe(hear)
    highs.cbMipLogging.subscribe(hear)
    highs.solve()
    info = highs.getInfo()
    end = (time.perf_counter() - start, info.objective_function_value, info.mip_dual_bound)
    points = [p for p in [*points, end] if abs(p[1]) < 1e29 and abs(p[2]) < 1e29]
    return reached(points), end


def run_apart(program_of, problem, plan, limit):
    """Build a program and give it to HiGHS in a process of its own.

    HiGHS does not look at the clock while it prepares a program of 300,000 columns: a minute after
    its time it is ended, and nothing was reached.
    """
    here, there = multiprocessing.Pipe(duplex=False)

    def work():
        there.send(run_highs(program_of(problem, plan), limit))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    found = here.recv() if here.poll(limit + 60.0) else None
    process.kill()
    process.join()
    return found or ([None] * len(GAPS), (limit + 60.0, np.nan, np.nan))


def shown(times, limit):
    """Write times as a row; what was not reached took longer than the limit."""
    return " ".join(f"{f'>{limit:.0f}' if t is None else f'{t:.1f}':>8s}" for t in times)


def compare(devices, tasks, slots, seed, own, limit):
    """Print a line for each solver on one fleet."""
    scenario = mo.Scenario.draw(devices=devices, tasks=tasks, slots=slots, seed=seed)
    problem = Problem(scenario=scenario)
    problem.program  # noqa: B018 - prepared once, outside the clock
    name = f"{devices}x{tasks}x{slots} seed {seed}"
    mine, plan, took = run_backend(problem, "prices", own)
    print(f"{name:18s} prices  {shown(mine, own)}  O {plan.objective:.4f} bound {plan.bound:.4f}"
          f"  {took[0]:.1f} s, CPU {took[1]:.1f}", flush=True)  # fmt: skip
    for backend in ("scip", "minlp"):
        times, other, _ = run_backend(problem, backend, limit)
        bound = np.nan if other.bound is None else other.bound
        print(f"{name:18s} {backend:7s} {shown(times, limit)}  O {other.objective:.4f}"
              f" bound {bound:.4f}{ratio(times, mine, limit)}", flush=True)  # fmt: skip
    for rival, program in (("HiGHS", whole_program), ("tangent", tangent_program)):
        times, end = run_apart(program, problem, plan, limit)
        print(f"{name:18s} {rival:7s} {shown(times, limit)}  O {end[1]:.4f} bound {end[2]:.4f}"
              f"{ratio(times, mine, limit)}", flush=True)  # fmt: skip


def ratio(times, mine, limit):
    """How many times longer a rival took to 1 % than `prices`, as text."""
    if mine[-1] is None:
        return ""
    late = times[-1] is None
    return f"  to 1 %: {'>' if late else ''}{(limit if late else times[-1]) / mine[-1]:.1f} times"


def grow(own, seeds):
    """Print times of `prices` as tasks, slots, staleness and devices grow."""
    for devices, tasks, slots, stale in GROWTH:
        rows = []
        for seed in range(seeds):
            scenario = mo.Scenario.draw(devices=devices, tasks=tasks, slots=slots, seed=seed)
            if stale is not None:
                most = np.full(tasks, stale)
                scenario = scenario.replace(**{"tasks.staleness_max": most})
            problem = Problem(scenario=scenario)
            problem.program  # noqa: B018 - prepared once, outside the clock
            times, plan, took = run_backend(problem, "prices", own)
            rows.append((len(problem.columns), *times, plan.gap, took[1]))
        columns, *_ = rows[0]
        cells = "   ".join(
            f"{shown(row[1:4], own)} {100 * row[4]:6.3f} % CPU {row[5]:5.1f}" for row in rows
        )
        drawn = "drawn" if stale is None else stale
        name = f"{devices:2d}x{tasks}x{slots:2d} staleness {drawn!s:5s}"
        print(f"{name} {columns:6d} columns  {cells}", flush=True)


def main():
    """Compile, then print the comparison or the growth."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for each rival")
    parser.add_argument("--own", type=float, default=120.0, help="seconds for prices")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--growth", action="store_true", help="sizes instead of rivals")
    given = parser.parse_args()
    mo.solve(mo.Scenario.draw(devices=3, tasks=1, slots=3, seed=0), backend="prices")
    print("seconds to gaps of", ", ".join(f"{100 * gap:g} %" for gap in GAPS))
    if given.growth:
        grow(given.own, given.seeds)
        return
    for fleet in FLEETS:
        for seed in range(given.seeds):
            compare(*fleet, seed, given.own, given.limit)


if __name__ == "__main__":
    main()
