"""The exact optimum of a small scenario, by listing every plan of every device.

Best frequencies are those of fact 1 of the model page (section 6): of two plans that differ in
frequencies alone, the one with the lower energies is better in every respect.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from plain_terms import Facts

from mafl_opt.core.check import TOLERANCE
from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.status import PointStatus, Termination

_WIDE = 1 + TOLERANCE


def enumerate_optimum(
    scenario: Scenario, batch_grid: Iterable[int] | None = None
) -> tuple[float, Plan | None]:
    """Return the least objective of all plans and a plan that has it.

    Parameters
    ----------
    scenario : Scenario
        Small: the plans of the first devices are combined in memory, those of the last one in
        chunks. Two devices, two tasks, three slots, l <= 2 and B <= 3 take a few seconds.
    batch_grid : iterable of int, optional
        Mini-batches allowed; every integer of the box otherwise.

    Returns
    -------
    objective, plan : float, Plan or None
        Infinity and ``None`` when no plan trains every weighted task.
    """
    facts = Facts.of(scenario)
    grid = None if batch_grid is None else set(batch_grid)
    plans = [list(device_plans(facts, i, grid=grid)) for i in range(facts.num_devices)]
    totals = [np.array([_totals(facts, plan) for plan in device]) for device in plans]
    limits = _limits(facts)
    merged, picks = totals[0], np.arange(len(totals[0]))[:, None]
    for block in totals[1:-1]:
        sums = (merged[:, None] + block[None]).reshape(-1, merged.shape[1])
        keep = np.flatnonzero((sums[:, : limits.size] <= limits).all(axis=1))
        before, last = np.unravel_index(keep, (len(merged), len(block)))
        merged, picks = sums[keep], np.column_stack([picks[before], last])
    last = totals[-1] if len(totals) > 1 else np.zeros((1, merged.shape[1]))
    best, at = math.inf, (0, 0)
    for k, row in enumerate(merged):
        values = _objectives(facts, row + last, limits)
        index = int(values.argmin())
        if values[index] < best:
            best, at = float(values[index]), (k, index)
    if math.isinf(best):
        return math.inf, None
    chosen = [*picks[at[0]], at[1]][: facts.num_devices]
    rows = itertools.chain.from_iterable(plans[i][k] for i, k in enumerate(chosen))
    plan = Plan(
        sessions=Sessions.from_rows([row for row, _ in rows]),
        backend="enumeration",
        termination=Termination.OPTIMAL,
        point=PointStatus.FEASIBLE,
        objective=best,
        bound=best,
        scenario_sha256=scenario.sha256,
    )
    return best, plan


def session_options(
    facts: Facts, i: int, grid: set[int] | None = None
) -> dict[tuple[int, int], list[tuple[dict[str, Any], dict[str, float]]]]:
    """List all sessions device i can run, by (receive, upload): the row, and what it adds.

    What breaks a step cap, the budget or an uplink by itself is left out: no plan holds it.
    """
    out: dict[tuple[int, int], list[tuple[dict[str, Any], dict[str, float]]]] = {}
    slots = facts.time["slot_s"]
    for j, r in itertools.product(range(facts.num_tasks), range(facts.num_slots)):
        for u in range(r + 1, min(facts.num_slots, r + 1 + facts.tasks["staleness_max"][j]) + 1):
            receive_s, upload_s = facts.receive_s(i, j, r), facts.upload_s(i, j, u)
            fits = receive_s <= slots[r] * _WIDE and upload_s <= slots[u - 1] * _WIDE
            window_s = facts.window_s(r, u)
            left_s = window_s - receive_s - upload_s
            most_s = left_s + TOLERANCE * window_s
            if not (fits and most_s > 0 and facts.is_available(i, r, u)):
                continue
            if facts.network["uplink_capacity"][u - 1] < 1:
                continue
            for iterations in range(1, facts.tasks["iterations_max"][j] + 1):
                for batch in range(1, facts.largest_batch(i, j) + 1):
                    cycles = facts.pairs["cycles_per_sample"][i][j] * iterations * batch
                    cpu_hz = max(facts.devices["f_min_hz"][i], cycles / most_s)
                    if left_s > 0 and cycles / left_s <= facts.devices["f_max_hz"][i]:
                        # The deadline is met without its tolerance.
                        cpu_hz = max(cpu_hz, cycles / left_s)
                    if cpu_hz > facts.devices["f_max_hz"][i] * _WIDE or (
                        grid and batch not in grid
                    ):
                        continue
                    row = dict(
                        device=i, task=j, receive=r, upload=u, cpu_hz=cpu_hz, batch_size=batch,
                        iterations=iterations,
                    )  # fmt: skip
                    error = facts.error(i, j, u - 1 - r, iterations)
                    nu = 1.0 / batch - 1.0 / facts.pairs["samples"][i][j]
                    adds = {
                        "error": error.systematic + error.noise * nu,
                        "step": facts.step(i, j, u - 1 - r) * facts.steps_sum(j, iterations),
                        "energy": facts.radio_j(i, receive_s, upload_s)
                        + facts.compute_j(i, cycles, cpu_hz),
                    }
                    cap, budget = facts.tasks["step_cap"][j], facts.devices["energy_budget_j"][i]
                    if adds["step"] <= cap * _WIDE and adds["energy"] <= budget * _WIDE:
                        out.setdefault((r, u), []).append((row, adds))
    return out


def device_plans(
    facts: Facts, i: int, *, grid: set[int] | None = None, budget: bool = True
) -> Iterator[list[Any]]:
    """Yield every set of non-overlapping sessions of a device, as pairs of row and what it adds.

    With `budget`, only those that keep the device's energy budget.
    """
    options = session_options(facts, i, grid)

    def extend(g: int) -> Iterator[list[Any]]:
        if g == facts.num_slots:
            yield []
            return
        yield from extend(g + 1)
        for u in range(g + 1, facts.num_slots + 1):
            for rest in extend(u):
                for option in options.get((g, u), []):
                    yield [option, *rest]

    limit = facts.devices["energy_budget_j"][i] * _WIDE if budget else math.inf
    for plan in extend(0):
        if sum(adds["energy"] for _, adds in plan) <= limit:
            yield plan


def _totals(facts: Facts, plan: list[Any]) -> list[float]:
    """Uploads by slot, steps by slot and task, then energy, N_j and A_j, flat."""
    slots, tasks = facts.num_slots, facts.num_tasks
    uploads, steps = [0.0] * slots, [0.0] * (slots * tasks)
    energy, errors, progress = 0.0, [0.0] * tasks, [0.0] * tasks
    for row, adds in plan:
        g, j = row["upload"] - 1, row["task"]
        uploads[g] += 1
        steps[g * tasks + j] += adds["step"]
        energy += adds["energy"]
        errors[j] += adds["error"]
        progress[j] += 0.5 * adds["step"]
    return [*uploads, *steps, energy, *errors, *progress]


def _limits(facts: Facts) -> np.ndarray:
    """Limits of the first entries of the totals."""
    caps = [cap * _WIDE for _ in range(facts.num_slots) for cap in facts.tasks["step_cap"]]
    return np.array([*facts.network["uplink_capacity"], *caps], dtype=float)


def _objectives(facts: Facts, totals: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """O of each row of totals; infinite where a limit is broken or a weighted task untrained."""
    tasks = facts.num_tasks
    value = facts.energy_weight * totals[:, limits.size]
    for j in range(tasks):
        if facts.tasks["weight"][j] > 0:
            numerator = facts.constant_gap(j) + totals[:, limits.size + 1 + j]
            progress = totals[:, limits.size + 1 + tasks + j]
            ratio = np.full(len(totals), np.inf)
            np.divide(numerator, progress, out=ratio, where=progress > 0)
            value = value + facts.tasks["weight"][j] * ratio
    good: np.ndarray = (totals[:, : limits.size] <= limits).all(axis=1)
    return np.where(good, value, np.inf)
