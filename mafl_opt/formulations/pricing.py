"""The price form: P with everything devices share replaced by prices (model page, section 7).

At given prices every column has a best integer batch size in closed form (fact 2), every device an
exact dynamic program over its slots (fact 3), and the ratio block of every task a closed form
(fact 4). Together they give a lower bound of P for any prices at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.scenario import Scenario
from mafl_opt.formulations.bound import initial_error
from mafl_opt.formulations.candidates import Candidates
from mafl_opt.formulations.limits import widened

__all__ = ["Box", "DeviceProgram", "Prices", "best_batches", "lagrangian_bound", "ratio_minimum"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# The bound is a sum of a few thousand products, each off by a few ulps at most; this times the sum
# of the magnitudes is taken off, three orders more than float64 can have lost.
ROUND_OFF = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prices:
    """Prices of what devices share, all >= 0.

    numerator, progress : (tasks,), on N_j and A_j
    uplink : (slots,), per upload
    step_cap : (slots, tasks), per unit of step
    energy : (devices,), per J, beside the scenario's energy weight
    """

    numerator: Floats
    progress: Floats
    uplink: Floats
    step_cap: Floats
    energy: Floats

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists for a certificate."""
        names = ("numerator", "progress", "uplink", "step_cap", "energy")
        return {name: getattr(self, name).tolist() for name in names}

    def reduced_costs(self, scenario: Scenario, columns: Candidates, batch: Ints) -> Floats:
        """Reduced cost of every column at the given batch sizes; (columns,)."""
        price = scenario.energy_weight + self.energy[columns.device]
        return np.asarray(
            self.numerator[columns.task] * columns.error_at(batch)
            - self.progress[columns.task] * columns.progress
            + price * columns.energy(batch)
            + self.uplink[columns.upload - 1]
            + self.step_cap[columns.upload - 1, columns.task] * columns.step
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Box:
    """Ranges of N_j and A_j; arrays of shape (tasks,)."""

    numerator_min: Floats
    numerator_max: Floats
    progress_min: Floats
    progress_max: Floats


def best_batches(columns: Candidates, error_price: Floats, energy_price: Floats) -> Ints:
    """Best integer batch size of every column (model page, section 6, fact 2).

    Minimises lam Q / B + e kappa cyc l B max(f_min, cyc l B / T')^2 over 1..batch_hi. The cost is
    convex in B, so the better of floor and ceiling of the continuous minimiser is optimal.

    Parameters
    ----------
    columns : Candidates
    error_price, energy_price : (columns,)
        lam and e = xi + omega of each column, >= 0.

    Returns
    -------
    batch : (columns,)
    """
    gain = error_price * columns.noise
    work = energy_price * columns.capacitance * columns.cycles
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        kink = columns.f_min_hz * columns.time_s / columns.cycles
        slow = np.sqrt(gain / (work * columns.f_min_hz**2))
        fast = (gain * columns.time_s**2 / (3.0 * work * columns.cycles**2)) ** 0.25
        best = np.minimum(slow, np.maximum(kink, fast))
    best = np.where(gain > 0, np.where(work > 0, best, np.inf), 1.0)
    best = np.clip(best, 1.0, columns.batch_hi)
    low = np.floor(best)
    high = np.minimum(low + 1.0, columns.batch_hi)

    def cost(batch: Floats) -> Floats:
        return np.asarray(gain / batch + work * batch * columns.frequency(batch) ** 2)

    return np.where(cost(high) < cost(low), high, low).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False, init=False)
class DeviceProgram:
    """The dynamic program of every device over its slots, prepared once for given columns.

    ``V(g) = min(V(g-1), min over columns ending at g of V(receive) + cost)`` (fact 3), for all
    devices at once.
    """

    num_devices: int
    num_slots: int
    _starts: Ints
    _group: Ints
    _arcs: tuple[tuple[int, int, Ints, Ints], ...]

    def __init__(self, scenario: Scenario, columns: Candidates) -> None:
        slots = scenario.num_slots
        key = (columns.device * (slots + 1) + columns.receive) * (slots + 1) + columns.upload
        # Columns are ordered by device, receive, upload: a group is a run of equal keys.
        new = np.concatenate([[True], key[1:] != key[:-1]]) if len(columns) else np.zeros(0, bool)
        starts = np.flatnonzero(new)
        device, receive, upload = (
            a[starts] for a in (columns.device, columns.receive, columns.upload)
        )
        arcs = []
        for r, u in sorted(
            set(zip(receive.tolist(), upload.tolist(), strict=True)), key=lambda a: a[::-1]
        ):
            groups = np.flatnonzero((receive == r) & (upload == u))
            arcs.append((r, u, groups, device[groups]))
        for name, value in (
            ("num_devices", scenario.num_devices), ("num_slots", slots), ("_starts", starts),
            ("_group", np.cumsum(new) - 1), ("_arcs", tuple(arcs)),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    def solve(self, cost: Floats) -> tuple[Floats, Ints]:
        """Cheapest non-overlapping columns of every device.

        Parameters
        ----------
        cost : (columns,)
            May be inf for columns that must not be used.

        Returns
        -------
        value : (devices,), <= 0
        chosen : (chosen columns,), indices in increasing order
        """
        if not self._starts.size:
            return np.zeros(self.num_devices), np.zeros(0, dtype=np.int64)
        least = np.minimum.reduceat(cost, self._starts)
        value, taken, start = self._forward(least)
        return value[-1], self._columns(cost, least, taken, start)

    def slack(self, cost: Floats) -> Floats:
        """How much dearer a device's plan gets when it must use a column; (columns,), >= 0."""
        if not self._starts.size:
            return np.zeros(0)
        before = self._forward(np.minimum.reduceat(cost, self._starts))[0]
        after = np.zeros_like(before)
        least = np.minimum.reduceat(cost, self._starts)
        by_start = sorted(self._arcs, key=lambda arc: -arc[0])
        for g in range(self.num_slots - 1, -1, -1):
            after[g] = after[g + 1]
            for _, u, groups, device in (arc for arc in by_start if arc[0] == g):
                after[g, device] = np.minimum(after[g, device], least[groups] + after[u, device])
        through = np.full(self._starts.size, np.inf)
        for r, u, groups, device in self._arcs:
            through[groups] = before[r, device] + after[u, device] - before[-1, device]
        return np.asarray(through[self._group] + cost)

    def _forward(self, least: Floats) -> tuple[Floats, Ints, Ints]:
        """V(g), the group taken last and where it starts; three arrays (slots + 1, devices)."""
        value = np.zeros((self.num_slots + 1, self.num_devices))
        taken = np.full((self.num_slots + 1, self.num_devices), -1)
        start = np.zeros((self.num_slots + 1, self.num_devices), dtype=np.int64)
        done = 0
        for r, u, groups, device in self._arcs:
            while done < u:
                done += 1
                value[done] = value[done - 1]
                start[done] = done - 1
            offer = value[r, device] + least[groups]
            better = offer < value[u, device]
            value[u, device[better]] = offer[better]
            taken[u, device[better]] = groups[better]
            start[u, device[better]] = r
        for g in range(done + 1, self.num_slots + 1):
            value[g] = value[g - 1]
            start[g] = g - 1
        return value, taken, start

    def _columns(self, cost: Floats, least: Floats, taken: Ints, start: Ints) -> Ints:
        devices = np.arange(self.num_devices)
        at = np.full(self.num_devices, self.num_slots)
        groups = np.zeros(self._starts.size, dtype=bool)
        while (at > 0).any():
            group = np.where(at > 0, taken[at, devices], -1)
            groups[group[group >= 0]] = True
            at = np.where(at > 0, start[at, devices], 0)
        hit = np.flatnonzero(groups[self._group] & (cost == least[self._group]))
        # Ties inside a group: the first column stands for all.
        _, first = np.unique(self._group[hit], return_index=True)
        return hit[first]


def ratio_minimum(
    weight: float, error_price: float, progress_price: float, box: tuple[float, float, float, float]
) -> tuple[float, float, float]:
    """Minimise gamma N / A - lam N + mu A over a box (fact 4).

    Parameters
    ----------
    weight, error_price, progress_price : float
        gamma, lam, mu.
    box : (Nl, Nu, Al, Au)

    Returns
    -------
    value, N, A : float
    """
    n_min, n_max, a_min, a_max = box
    best = (np.inf, n_min, a_min)
    for n in (n_min, n_max):
        wish = np.sqrt(weight * n / progress_price) if progress_price > 0 else a_max
        a = float(min(max(wish, a_min), a_max))
        best = min(best, (weight * n / a - error_price * n + progress_price * a, n, a))
    return best


def lagrangian_bound(
    scenario: Scenario, columns: Candidates, program: DeviceProgram, prices: Prices, box: Box
) -> tuple[float, Ints, Ints]:
    """Lower bound of O over the plans whose (N, A) lie in a box (model page, section 7).

    Parameters
    ----------
    scenario, columns, program
        Columns of the whole scenario: the bound is only valid when none is missing.
    prices : Prices
        Those of N_j and A_j must be 0 for tasks of weight 0, which have no ratio to pay for them.
    box : Box
        With ``progress_min > 0`` for every task of positive weight.

    Returns
    -------
    bound : float
        Below the true value by the round-off margin.
    chosen : (chosen columns,)
        The device plans that attain it.
    batch : (columns,)
        Best batch size of every column at these prices.
    """
    e = scenario.energy_weight + prices.energy[columns.device]
    batch = best_batches(columns, prices.numerator[columns.task], e)
    cost = prices.reduced_costs(scenario, columns, batch)
    value, chosen = program.solve(cost)
    parts = [value, prices.numerator * initial_error(scenario)]
    parts.append(-prices.uplink * scenario.network.uplink_capacity)
    parts.append(-(prices.step_cap * widened(scenario.tasks.step_cap)).ravel())
    parts.append(-prices.energy * widened(scenario.devices.energy_budget_j))
    size = 0.0
    for j, weight in enumerate(scenario.tasks.weight):
        if weight == 0:
            continue
        limits = (
            float(box.numerator_min[j]), float(box.numerator_max[j]),
            float(box.progress_min[j]), float(box.progress_max[j]),
        )  # fmt: skip
        lam, mu = float(prices.numerator[j]), float(prices.progress[j])
        least, n, a = ratio_minimum(float(weight), lam, mu, limits)
        parts.append(np.array([least]))
        size += weight * n / a + lam * n + mu * a
    terms = np.concatenate(parts)
    # Sums inside the device programs: each chosen column's terms, before they cancel.
    task = columns.task[chosen]
    size += float(np.abs(terms).sum())
    size += float((prices.numerator[task] * columns.error_at(batch)[chosen]).sum())
    size += float((prices.progress[task] * columns.progress[chosen]).sum())
    size += float((e[chosen] * columns.energy(batch)[chosen]).sum())
    last = columns.upload[chosen] - 1
    size += float((prices.uplink[last] + prices.step_cap[last, task] * columns.step[chosen]).sum())
    return float(terms.sum()) - ROUND_OFF * size, chosen, batch
