"""Sums and violations of a plan in plain loops: the reference for the checker's arrays."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from plain_terms import Facts

from mafl_opt.core.verdict import TOLERANCE, Violation


class PlainTally:
    """Sums over the sessions and the violations met on the way, one session after the other."""

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
