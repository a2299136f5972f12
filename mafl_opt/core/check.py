"""An independent verdict on a plan: objective, bound and every constraint, derived again.

Plain loops over the sessions, written from the model page alone. Nothing is taken from the
formulations or the solvers, and no number of the plan's header is believed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from mafl_opt.core.certificate import Report
from mafl_opt.core.claims import check_claims
from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.status import PointStatus
from mafl_opt.core.terms import Facts
from mafl_opt.core.verdict import (
    CLAIM_TOLERANCE,
    TOLERANCE,
    CheckReport,
    TaskCheck,
    Violation,
)

__all__ = ["CLAIM_TOLERANCE", "TOLERANCE", "CheckReport", "TaskCheck", "Violation", "check"]


def check(
    scenario: Scenario, plan: Plan, *, certificate: bool | None = None, report: Report | None = None
) -> CheckReport:
    """Derive objective, bounds, energies and constraints of a plan again (model page, 3 to 6).

    Parameters
    ----------
    scenario : Scenario
    plan : Plan
        Any plan; its numbers may be absurd. A session that names no device, task or slot of the
        scenario, or whose frequency, mini-batch or iterations have no meaning, is reported and
        left out of the sums.
    certificate : bool, optional
        Whether to derive the bound of the plan's certificate again. Left open, it is derived
        where that takes some seconds, and a warning says where it is not.
    report : callable, optional
        Called with a message and the fraction done while that goes on.

    Returns
    -------
    CheckReport
        ``ok`` when no constraint is broken by more than `TOLERANCE` of its limit and no claim of
        the header is false; the parts of each Xi_j add up to it.
    """
    facts = Facts.of(scenario)
    tally = _Tally(facts)
    for number, row in enumerate(plan.sessions.rows()):
        tally.add(number, row)
    tally.close()
    tasks = tuple(_task_check(tally, j) for j in range(facts.num_tasks))
    energy = tuple(tally.energy[i] for i in range(facts.num_devices))
    objective = facts.energy_weight * sum(energy) if facts.energy_weight else 0.0
    objective += sum(task.weight * task.bound for task in tasks if task.weight > 0)
    warnings = _warnings(tally, tasks, scenario, plan)
    certified, claims = check_claims(
        scenario, plan, objective, warnings, feasible=not tally.violations, derive=certificate,
        report=report,
    )  # fmt: skip
    return CheckReport(
        ok=not (tally.violations or claims),
        objective=objective,
        bound=plan.bound,
        certified_bound=certified,
        tasks=tasks,
        device_energy_j=energy,
        device_budget_j=tuple(facts.devices["energy_budget_j"]),
        violations=(*tally.violations, *claims),
        warnings=tuple(warnings),
    )


class _Tally:
    """Sums over the sessions and the violations met on the way."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.violations: list[Violation] = []
        self.left_out: list[int] = []
        self.energy: dict[int, float] = defaultdict(float)
        self.progress: dict[int, float] = defaultdict(float)
        self.sessions: dict[int, int] = defaultdict(int)
        self.parts: dict[tuple[int, str], float] = defaultdict(float)
        self.steps: dict[tuple[int, int], float] = defaultdict(float)
        self.uploads: dict[int, int] = defaultdict(int)
        self.busy: dict[tuple[int, int], list[int]] = defaultdict(list)

    def report(self, constraint: str, where: str, found: float, limit: float) -> None:
        """Record a violation without asking whether it is one."""
        amount = abs(found - limit)
        self.violations.append(
            Violation(constraint=constraint, where=where, amount=amount, limit=limit, found=found)
        )

    def demand(self, constraint: str, where: str, found: float, limit: float) -> bool:
        """Record a violation unless found <= limit, up to the tolerance; NaN is one."""
        good = found <= limit + TOLERANCE * abs(limit)
        if not good:
            self.report(constraint, where, found, limit)
        return good

    def demand_box(self, where: str, found: float, low: float, high: float) -> bool:
        """Record a violation of ``box`` unless low <= found <= high, up to the tolerance."""
        if found < low - TOLERANCE * abs(low):
            self.report("box", where, found, low)
            return False
        return self.demand("box", where, found, high)

    def add(self, number: int, row: dict[str, Any]) -> None:
        """Check one session by itself and add it to the sums."""
        place = f"sessions[{number}]"
        i, j, r, u = row["device"], row["task"], row["receive"], row["upload"]
        if not self._flows(place, i, j, r, u):
            self.left_out.append(number)
            return
        facts = self.facts
        name = facts.tasks["name"][j]
        place += f" (device {i}, task {name}, {r} -> {u})"
        self.uploads[u] += 1
        for g in range(r + 1, u + 1):
            self.busy[i, g].append(number)
        self.demand("staleness", place, u - 1 - r, facts.tasks["staleness_max"][j])
        for g in range(r + 1, u + 1):
            if not facts.network["available"][g - 1][i]:
                self.report("available", f"{place} slot {g} reachable", 0.0, 1.0)
        receive_s, upload_s = facts.receive_s(i, j, r), facts.upload_s(i, j, u)
        slots = facts.time["slot_s"]
        self.demand("available", f"{place} download in slot {r + 1}", receive_s, slots[r])
        self.demand("available", f"{place} upload in slot {u}", upload_s, slots[u - 1])
        if not self._in_boxes(place, i, j, row):
            self.left_out.append(number)
            return
        batch, iterations, cpu_hz = row["batch_size"], int(row["iterations"]), row["cpu_hz"]
        cycles = facts.pairs["cycles_per_sample"][i][j] * iterations * batch
        spent_s = receive_s + cycles / cpu_hz + upload_s
        self.demand("deadline", place, spent_s, facts.window_s(r, u))
        radio_j = facts.radio_j(i, receive_s, upload_s)
        self.energy[i] += radio_j + facts.compute_j(i, cycles, cpu_hz)
        self._learn(i, j, u, u - 1 - r, batch, iterations)

    def _flows(self, place: str, i: int, j: int, r: int, u: int) -> bool:
        """Whether the session is one of the model's: a device, a task, 0 <= r < u <= G."""
        facts = self.facts
        last = {"device": (i, facts.num_devices - 1), "task": (j, facts.num_tasks - 1)}
        last |= {"receive": (r, facts.num_slots - 1), "upload": (u, facts.num_slots)}
        good = True
        for column, (value, high) in last.items():
            if not 0 <= value <= high:
                self.report("flow", f"{place}.{column}", value, 0 if value < 0 else high)
                good = False
        if good and r >= u:
            self.report("flow", f"{place} upload after receive", u, r + 1)
            good = False
        return good

    def _in_boxes(self, place: str, i: int, j: int, row: dict[str, Any]) -> bool:
        """Check f, B and l; False when the session's figures then have no meaning."""
        facts = self.facts
        low, high = facts.devices["f_min_hz"][i], facts.devices["f_max_hz"][i]
        self.demand_box(f"{place} cpu_hz", row["cpu_hz"], low, high)
        batch, iterations = row["batch_size"], row["iterations"]
        good = bool(row["cpu_hz"] > 0)
        good &= self.demand_box(f"{place} batch_size", batch, 1, facts.largest_batch(i, j))
        most = facts.tasks["iterations_max"][j]
        good &= self.demand_box(f"{place} iterations", iterations, 1, most)
        for column, value in (("batch_size", batch), ("iterations", iterations)):
            if value != math.floor(value):
                self.report("integral", f"{place} {column}", value, math.floor(value))
        return good and bool(iterations == math.floor(iterations))

    def _learn(self, i: int, j: int, u: int, tau: int, batch: float, iterations: int) -> None:
        facts = self.facts
        c, c1 = facts.step(i, j, tau), facts.steps_sum(j, iterations)
        self.steps[u, j] += c * c1
        self.progress[j] += 0.5 * c * c1
        self.sessions[j] += 1
        error = facts.error(i, j, tau, iterations)
        for part in ("staleness", "dissimilarity", "local_drift"):
            self.parts[j, part] += getattr(error, part)
        self.parts[j, "gradient_noise"] += error.noise * (
            1.0 / batch - 1.0 / facts.pairs["samples"][i][j]
        )

    def close(self) -> None:
        """Check what no single session can tell."""
        facts = self.facts
        for (i, g), numbers in sorted(self.busy.items()):
            who = ", ".join(map(str, numbers))
            self.demand("exclusive", f"device {i}, slot {g} (sessions {who})", len(numbers), 1)
        for g, count in sorted(self.uploads.items()):
            limit = facts.network["uplink_capacity"][g - 1]
            self.demand("uplink", f"aggregation {g}", count, limit)
        for (g, j), found in sorted(self.steps.items()):
            where = f"aggregation {g}, task {facts.tasks['name'][j]}"
            self.demand("step_cap", where, found, facts.tasks["step_cap"][j])
        for i, found in sorted(self.energy.items()):
            self.demand("energy", f"device {i}", found, facts.devices["energy_budget_j"][i])
        for j, name in enumerate(facts.tasks["name"]):
            if facts.tasks["weight"][j] > 0 and not self.progress[j] > 0:
                self.report("ratio", f"task {name} is never trained", self.progress[j], 0.0)


def _task_check(tally: _Tally, j: int) -> TaskCheck:
    facts, progress = tally.facts, tally.progress[j]
    sums = {
        "initial_gap": facts.tasks["initial_gap"][j],
        "loss_drift": facts.total_drift(j),
        "staleness": tally.parts[j, "staleness"],
        "dissimilarity": tally.parts[j, "dissimilarity"],
        "local_drift": tally.parts[j, "local_drift"],
        "gradient_noise": tally.parts[j, "gradient_noise"],
    }
    numerator = sum(sums.values())
    slope = facts.tasks["gradient_bound"][j]
    return TaskCheck(
        name=facts.tasks["name"][j],
        weight=facts.tasks["weight"][j],
        sessions=tally.sessions[j],
        numerator=numerator,
        progress=progress,
        bound=numerator / progress if progress > 0 else math.inf,
        trivial_bound=slope * slope,
        parts={
            name: value / progress if progress > 0 else math.inf for name, value in sums.items()
        },
    )


def _warnings(
    tally: _Tally, tasks: tuple[TaskCheck, ...], scenario: Scenario, plan: Plan
) -> list[str]:
    out = [
        f"task {task.name}: bound {task.bound:.6g} is above V^2 = {task.trivial_bound:.6g}, "
        "which holds for any plan; it says nothing"
        for task in tasks
        if task.progress > 0 and task.bound > task.trivial_bound
    ]
    if tally.left_out:
        shown = ", ".join(map(str, tally.left_out[:10])) + (", ..." * (len(tally.left_out) > 10))
        out.append(f"{len(tally.left_out)} sessions are left out of the sums: {shown}")
    if plan.scenario_sha256 and plan.scenario_sha256 != scenario.sha256:
        out.append(
            f"the plan was made for scenario {plan.scenario_sha256[:12]}, "
            f"this one is {scenario.sha256[:12]}"
        )
    if plan.point is not PointStatus.FEASIBLE and not tally.violations:
        out.append(f"the header says the point is {plan.point}, yet every constraint is met")
    return out
