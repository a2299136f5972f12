"""Backends side by side on drawn fleets: `make bench`.

Every backend solves the same scenarios in one process, one thread, one after the other, and the
checker says what came out. See README.md beside this file for how to read the table.
"""

import sys
import time

import numpy as np

import mafl_opt as mo

#: Devices, tasks, slots, seed.
FLEETS = ((8, 2, 8, 0), (8, 2, 8, 1), (10, 3, 12, 0))
#: Seconds; a run that reaches it is marked, its time then says nothing.
TIME_LIMIT = 15.0
RUNS = (
    ("conic", "clarabel"), ("conic", "ecos"), ("conic", "scs"), ("prices", None),
    ("greedy", None), ("fedavg", None), ("fedasync", None), ("random", None),
)  # fmt: skip


def measure(problem, backend, solver):
    """Solve, check, and return objective, bound (nan without), seconds and whether it ran out."""
    limit = TIME_LIMIT if backend in ("conic", "prices") else None
    start = time.perf_counter()
    plan = mo.solve(problem, backend=backend, solver=solver, time_limit=limit)
    seconds = time.perf_counter() - start
    report = mo.check(problem.scenario, plan)
    if not report.ok:
        sys.exit(f"{backend}: the plan fails its check\n{report}")
    bound = np.nan if report.certified_bound is None else report.certified_bound
    return report.objective, bound, seconds, plan.termination is mo.Termination.TIME_LIMIT


def main():
    """Print one line a run and a table of ratios."""
    rows = []
    for devices, tasks, slots, seed in FLEETS:
        scenario = mo.Scenario.draw(devices=devices, tasks=tasks, slots=slots, seed=seed)
        problem = mo.Problem(scenario=scenario)
        problem.program  # noqa: B018 - prepared once, outside the clock
        row = []
        for backend, solver in RUNS:
            row.append(measure(problem, backend, solver))
            objective, bound, seconds, late = row[-1]
            print(
                f"{devices:3d} devices {tasks} tasks {slots:3d} slots seed {seed}  "
                f"{solver or backend:9s} objective {objective:10.4f} bound {bound:10.4f} "
                f"{seconds:7.2f} s{' (time limit)' if late else ''}",
                flush=True,
            )
        rows.append(row)
    objective, bound, seconds, late = np.moveaxis(np.array(rows, dtype=float), 2, 0)
    gap = (objective - bound) / objective
    print(
        f"\n{'backend':18s}{'objective / best':>17s}{'bounds':>8s}{'gap %':>7s}"
        f"{'seconds':>9s}{'/ first':>9s}{'late':>6s}"
    )
    for k, (backend, solver) in enumerate(RUNS):
        worse = np.exp(np.log(objective[:, k] / objective.min(axis=1)).mean())
        slower = np.exp(np.log(seconds[:, k] / seconds[:, 0]).mean())
        proved = gap[~np.isnan(gap[:, k]), k]
        print(
            f"{backend + (f' ({solver})' if solver else ''):18s}{worse:17.4f}{proved.size:8d}"
            f"{f'{100 * proved.mean():.2f}' if proved.size else '':>7s}"
            f"{seconds[:, k].mean():9.2f}{slower:9.3f}{int(late[:, k].sum()):6d}"
        )


if __name__ == "__main__":
    main()
