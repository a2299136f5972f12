"""What an iteration of `sca` consists of: the numerical solver, cvxpy around it, the rest.

    python benchmarks/sca.py

Descends on drawn fleets of 10 devices, 3 tasks, 12 slots from a greedy plan, and prints where the
time went. Compiling happens once for each set of columns and is shown apart. Ends with an error
when cvxpy takes more than half of an iteration.
"""

import sys
import time

import numpy as np
from cvxpy.reductions.solvers.conic_solvers.clarabel_conif import CLARABEL

import mafl_opt as mo
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.sca.point import NaturalForm, Weights
from mafl_opt.solvers.sca.surrogate import SurrogateProblem
from mafl_opt.solvers.schedule import Schedule

COLUMNS = 300
ITERATIONS = 12
SEEDS = (0, 1, 2)


def measure(seed, inside):
    """Seconds of compiling, and by iteration: all of it, cvxpy with solver, solver alone."""
    problem = Problem(scenario=mo.Scenario.draw(devices=10, tasks=3, slots=12, seed=seed))
    schedule = Schedule.from_sessions(problem, mo.solve(problem, "greedy").sessions)
    change, batch = schedule.insertions()
    chosen = np.array(sorted(schedule.batch))
    others = np.setdiff1d(np.random.default_rng(seed).permutation(change.size), chosen)
    kept = np.sort(np.concatenate([chosen, others[: COLUMNS - chosen.size]]))
    form = NaturalForm(problem, kept, schedule.objective())
    size = batch[kept].astype(float)
    size[np.searchsorted(kept, chosen)] = [schedule.batch[int(k)] for k in chosen]
    point, weights = form.point(np.isin(kept, chosen).astype(float), size), Weights(
        objective=1.0, integrality=0.0
    )  # fmt: skip
    surrogate = SurrogateProblem(form, "clarabel")
    start = time.perf_counter()
    surrogate.solve(point, weights)
    compiled = time.perf_counter() - start - inside.pop()
    whole, solving = [], []
    for _ in range(ITERATIONS):
        start = time.perf_counter()
        point, multipliers = surrogate.solve(point, weights)
        solving.append(time.perf_counter() - start)
        form.kkt(point, multipliers, weights)
        form.merit(point, weights)
        point = form.refresh(point, form.prices(point, multipliers))
        whole.append(time.perf_counter() - start)
    numerical, inside[:] = list(inside), []
    return compiled, np.sum(whole), np.sum(solving), np.sum(numerical)


def main():
    """Print one line a fleet; time the numerical solver by wrapping cvxpy's call of it."""
    inside = []
    call = CLARABEL.solve_via_data

    def timed(self, *args, **kwargs):
        start = time.perf_counter()
        out = call(self, *args, **kwargs)
        inside.append(time.perf_counter() - start)
        return out

    CLARABEL.solve_via_data = timed
    shares = []
    for seed in SEEDS:
        compiled, whole, solving, numerical = measure(seed, inside)
        shares.append((solving - numerical) / whole)
        print(
            f"seed {seed}: compiled in {compiled:.2f} s; an iteration {whole / ITERATIONS:.3f} s: "
            f"solver {numerical / whole:.1%}, cvxpy {shares[-1]:.1%}, "
            f"ours {1 - solving / whole:.1%}",
            flush=True,
        )
    if max(shares) > 0.5:
        sys.exit("cvxpy takes more than half of an iteration")


if __name__ == "__main__":
    main()
