"""Integer plans by HiGHS: what is left of P at fixed ratio weights when dear choices are out."""

from __future__ import annotations

import highspy
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mafl_opt.solvers.prices.exact.knapsack import Cut
from mafl_opt.solvers.prices.exact.oracle import Oracle
from mafl_opt.solvers.prices.highs import linear_program, quiet_highs

__all__ = ["solve_integer"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def solve_integer(
    oracle: Oracle, chosen: Ints, weights: tuple[Floats, Floats], cuts: list[Cut],
    start: Ints, *, ceiling: float, gap: float, effort: int, seconds: float | None,
) -> list[Ints]:  # fmt: skip
    """Minimise the linear objective over some choices.

    Parameters
    ----------
    oracle : Oracle
    chosen : (kept,)
        Choices that may be used, increasing.
    weights : two arrays (tasks,)
        lam and mu.
    cuts : list of Cut
        Valid inequalities that help.
    start : (used,)
        Choices of a feasible plan; all among `chosen`.
    ceiling : float
        Objectives from here on are of no use.
    gap : float
        Absolute gap at which it may stop.
    effort : int
        How often HiGHS may ask whether to go on: some ten times a node, and in its heuristics.
        Unlike a time, it makes the same call find the same plans.
    seconds : float or None
        Wall clock it may take at most.

    Returns
    -------
    plans : list
        Choices of the plans found, the best one last.
    """
    s, c, o = oracle.problem.scenario, oracle.columns, oracle.choices
    lam, mu = weights
    at = o.column[chosen]
    one = c.take(at)
    cost = lam[one.task] * o.error[chosen] - mu[one.task] * one.progress
    cost += s.energy_weight * o.energy[chosen]
    size, place = chosen.size, np.arange(chosen.size)
    slots, devices, tasks = s.num_slots, s.num_devices, s.num_tasks
    length = one.upload - one.receive
    inside = np.repeat(place, length)
    slot = np.repeat(one.receive, length) + np.arange(inside.size)
    slot -= np.repeat(np.cumsum(length) - length, length)
    cap = (one.upload - 1) * tasks + one.task
    blocks = [
        (np.ones(inside.size), one.device[inside] * slots + slot, inside, np.ones(devices * slots)),
        (o.energy[chosen], one.device, place, np.array(s.devices.energy_budget_j, dtype=float)),
        (np.ones(size), one.upload - 1, place, np.array(s.network.uplink_capacity, dtype=float)),
        (one.step / s.tasks.step_cap[one.task], cap, place, np.ones(slots * tasks)),
    ]
    rows = [
        sp.csc_array((value, (row, col)), shape=(limit.size, size))
        for value, row, col, limit in blocks
    ]
    limits = [limit for *_, limit in blocks]
    if cuts:
        dense = np.zeros((len(cuts), len(c)))
        for k, cut in enumerate(cuts):
            dense[k, cut.columns] = cut.coefficient
        rows.append(sp.csc_array(dense[:, at]))
        limits.append(np.ones(len(cuts)))
    matrix = sp.csc_array(sp.vstack(rows))
    highs = quiet_highs(
        time_limit=highspy.kHighsInf if seconds is None else max(seconds, 0.01),
        mip_abs_gap=gap, mip_rel_gap=0.0, objective_bound=ceiling, mip_feasibility_tolerance=1e-9,
        primal_feasibility_tolerance=1e-9,
    )  # fmt: skip
    highs.passModel(
        linear_program(
            matrix, col_cost=cost, col_lower=np.zeros(size), col_upper=np.ones(size),
            row_lower=np.full(matrix.shape[0], -highspy.kHighsInf),
            row_upper=np.concatenate(limits),
            integrality=[highspy.HighsVarType.kInteger] * size,
        )
    )  # fmt: skip
    if start.size:
        first = highspy.HighsSolution()
        first.col_value = np.isin(chosen, start).astype(float).tolist()
        highs.setSolution(first)
    found: list[Ints] = []

    def keep(event: highspy.HighsCallbackEvent) -> None:
        found.append(chosen[np.array(event.data_out.mip_solution) > 0.5])

    asked = 0

    def enough(event: highspy.HighsCallbackEvent) -> None:
        nonlocal asked
        asked += 1
        if asked > effort:
            event.interrupt()

    highs.cbMipImprovingSolution.subscribe(keep)
    highs.cbMipInterrupt.subscribe(enough)
    highs.solve()
    return found
