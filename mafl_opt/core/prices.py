"""Every session a device can run, with its least cost at given prices, for the certificate.

Arrays over (session, iterations): one row for each (device, task, receive, upload, l) that some
feasible plan may hold; what breaks a step cap, a budget or an uplink by itself is in none.
The limits of a row are widened by the tolerance of the checker, so that whatever the checker
accepts is among the rows; costs are rounded downwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.terms import Facts

__all__ = ["ROUNDING", "WIDENING", "SessionTable"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Part of its limit by which the checker lets a constraint be missed, with a little to spare.
WIDENING = 1.1e-9
#: Bound on the relative rounding error of a sum of terms of one sign, generously.
ROUNDING = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTable:
    """The rows, all of shape (rows,), sorted by device, then receive, then upload.

    Attributes
    ----------
    systematic, noise : the two parts of phi_s = systematic + noise * nu(B)
    progress, step : a_s and c_s C1(l)
    radio_j : J, energy of the two transfers
    cycles : l * cyc, CPU cycles for one unit of mini-batch
    capacitance : J s^2
    f_min_hz, time_s : Hz and s; lowest frequency and time left to compute, both widened
    batch_max : largest mini-batch that box, deadline and the budget alone admit, >= 1
    samples : D_ij
    starts : first row of each group with one (device, receive, upload)
    """

    device: Ints
    task: Ints
    receive: Ints
    upload: Ints
    systematic: Floats
    noise: Floats
    progress: Floats
    step: Floats
    radio_j: Floats
    cycles: Floats
    capacitance: Floats
    f_min_hz: Floats
    time_s: Floats
    batch_max: Floats
    samples: Floats
    starts: Ints

    @classmethod
    def of(cls, facts: Facts) -> SessionTable:
        """List the rows of a scenario."""
        rows = np.array(list(_rows(facts)), dtype=float).reshape(-1, 15)
        rows = rows[np.lexsort((rows[:, 3], rows[:, 2], rows[:, 0]))]
        groups = rows[:, [0, 2, 3]]
        first = np.ones(len(rows), dtype=bool)
        first[1:] = (groups[1:] != groups[:-1]).any(axis=1)
        device, task, receive, upload = rows[:, :4].T.astype(np.int64)
        return cls(
            device=device, task=task, receive=receive, upload=upload,
            systematic=rows[:, 4], noise=rows[:, 5], progress=rows[:, 6], step=rows[:, 7],
            radio_j=rows[:, 8], cycles=rows[:, 9], capacitance=rows[:, 10], f_min_hz=rows[:, 11],
            time_s=rows[:, 12], batch_max=rows[:, 13], samples=rows[:, 14],
            starts=np.flatnonzero(first),
        )  # fmt: skip

    def best_batch(self, error_price: Floats, joule_price: Floats) -> Floats:
        """Return a real mini-batch of least cost, in [1, batch_max]; shape (rows,).

        Model page, section 6, fact 2: lam Q / B + e kappa cyc l B max(f_min, cyc l B / T')^2 is
        convex in B and kinked where f leaves f_min; the best integer is beside the minimiser.

        Parameters
        ----------
        error_price : (rows,)
            lam of the row's task.
        joule_price : (rows,), 1/J
            e = xi + omega of the row's device.
        """
        weight = joule_price * self.capacitance * self.cycles
        pull = error_price * self.noise
        ratio = np.where(pull > 0, np.inf, 0.0)
        np.divide(pull, weight, out=ratio, where=weight > 0)
        slow = np.sqrt(ratio) / self.f_min_hz
        fast = np.sqrt(np.sqrt(ratio / 3.0) * (self.time_s / self.cycles))
        kink = self.f_min_hz * self.time_s / self.cycles
        best: Floats = np.clip(np.minimum(slow, np.maximum(kink, fast)), 1.0, self.batch_max)
        return best

    def reduced_costs(
        self, error: Floats, progress: Floats, uplink: Floats, steps: Floats, joule: Floats
    ) -> Floats:
        """Return the least cost of each row at prices, rounded downwards; shape (rows,).

        Parameters
        ----------
        error, progress : (tasks,)
            lam and mu, prices of N_j and A_j.
        uplink : (slots,)
            nu.
        steps : (slots, tasks)
            pi.
        joule : (devices,), 1/J
            xi + omega_i.
        """
        lam, e = error[self.task], joule[self.device]
        fixed = lam * self.systematic + e * self.radio_j
        fixed += uplink[self.upload - 1] + steps[self.upload - 1, self.task] * self.step
        gain = progress[self.task] * self.progress
        real = self.best_batch(lam, e)
        choices = [self._batch_cost(whole, lam, e) for whole in (np.floor(real), np.ceil(real))]
        variable = np.minimum(*choices)
        cost = fixed + variable - gain
        # nu(B) is a difference: its rounding error is that of 1/B <= 1.
        cost -= ROUNDING * (fixed + np.abs(variable) + gain + lam * self.noise)
        return np.where(np.isnan(cost), -np.inf, cost)

    def _batch_cost(self, batch: Floats, lam: Floats, e: Floats) -> Floats:
        frequency = np.maximum(self.f_min_hz, self.cycles * batch / self.time_s)
        joules = self.capacitance * self.cycles * batch * frequency**2
        cost: Floats = lam * self.noise * (1.0 / batch - 1.0 / self.samples) + e * joules
        return cost

    def device_minima(self, costs: Floats, num_devices: int, num_slots: int) -> Floats:
        """Return the least sum over non-overlapping sessions of each device, <= 0; (devices,).

        Exact dynamic program over the aggregations: V(g) is the better of V(g-1) and the best
        session that ends at g on top of V at its reception (model page, section 6, fact 3).
        """
        best = np.full((num_devices, num_slots, num_slots), np.inf)
        if costs.size:
            lead = self.starts
            where = (self.device[lead], self.receive[lead], self.upload[lead] - 1)
            best[where] = np.minimum.reduceat(costs, lead)
        value = np.zeros((num_devices, num_slots + 1))
        for u in range(1, num_slots + 1):
            ending = value[:, :u] + best[:, :u, u - 1]
            value[:, u] = np.minimum(value[:, u - 1], ending.min(axis=1))
        return value[:, num_slots]


def _rows(facts: Facts) -> Iterator[tuple[float, ...]]:
    for j in range(facts.num_tasks):
        sums = [facts.steps_sum(j, count + 1) for count in range(facts.tasks["iterations_max"][j])]
        for i in range(facts.num_devices):
            if facts.largest_batch(i, j) >= 1:
                yield from _pair_rows(facts, i, j, sums)


def _pair_rows(facts: Facts, i: int, j: int, sums: list[float]) -> Iterator[tuple[float, ...]]:
    slots, devices = facts.time["slot_s"], facts.devices
    cycles = facts.pairs["cycles_per_sample"][i][j]
    samples, cap = facts.pairs["samples"][i][j], facts.largest_batch(i, j)
    f_min, f_max = devices["f_min_hz"][i], devices["f_max_hz"][i]
    down = [facts.receive_s(i, j, r) for r in range(facts.num_slots)]
    up = [facts.upload_s(i, j, u) for u in range(1, facts.num_slots + 1)]
    for tau in range(min(facts.tasks["staleness_max"][j], facts.num_slots - 1) + 1):
        step = facts.step(i, j, tau)
        errors = [facts.error(i, j, tau, count + 1) for count in range(len(sums))]
        for r in range(facts.num_slots - tau):
            u = r + 1 + tau
            slow = down[r] > slots[r] * (1 + WIDENING) or up[u - 1] > slots[u - 1] * (1 + WIDENING)
            if (
                slow
                or not facts.is_available(i, r, u)
                or facts.network["uplink_capacity"][u - 1] < 1
            ):
                continue
            left_s = facts.window_s(r, u) * (1 + WIDENING) - down[r] - up[u - 1]
            if left_s <= 0:
                continue
            radio = facts.radio_j(i, down[r], up[u - 1])
            joules = devices["energy_budget_j"][i] * (1 + WIDENING) - radio
            for count, (total, error) in enumerate(zip(sums, errors, strict=True)):
                work = cycles * (count + 1)
                batch_max = min(cap, f_max * (1 + WIDENING) * left_s / work)
                unit = devices["capacitance"][i] * work
                batch_max = min(batch_max, _batch_for(joules, unit, f_min, work / left_s))
                # All three only get worse with more iterations.
                alone = step * total <= facts.tasks["step_cap"][j] * (1 + WIDENING)
                if batch_max < 1 or not alone:
                    break
                yield (
                    i, j, r, u, error.systematic, error.noise, 0.5 * step * total, step * total,
                    radio, work, devices["capacitance"][i], f_min * (1 - WIDENING), left_s,
                    float(int(batch_max)), samples,
                )  # fmt: skip


def _batch_for(joules: float, unit: float, f_min: float, rate: float) -> float:
    """Mini-batch whose computing takes `joules`: unit B max(f_min, rate B)^2, rounded upwards.

    The plan's own budget may be all a session takes: one that needs more is in no feasible plan.
    """
    if joules < 0:
        return 0.0
    flat, steep = unit * (f_min * (1 - WIDENING)) ** 2, unit * rate**2
    most = min(
        joules / flat if flat > 0 else math.inf,
        math.cbrt(joules / steep) if steep > 0 else math.inf,
    )
    return most * (1 + WIDENING)
