"""Lower bounds that can be derived again from prices and boxes (model page, section 6, fact 4).

A certificate claims that every feasible plan has O >= z. It holds leaf boxes on the progress
totals A_j and, for each leaf, non-negative prices. Weak duality does the rest: at any prices the
Lagrangian lies below O on the plans whose A is in the leaf, and it is minimised exactly, integers
included, device by device. Wrong prices cost tightness, never truth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.cover import SEAM, covers
from mafl_opt.core.errors import InputError
from mafl_opt.core.prices import ROUNDING, WIDENING, SessionTable
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.terms import Facts

__all__ = ["certified_bound"]

Floats = NDArray[np.float64]

_HALVINGS = 40


def certified_bound(scenario: Scenario, certificate: Mapping[str, Any]) -> float:
    """Return the largest lower bound on O, at most the claimed one, that the certificate proves.

    The claim z is proved when the leaves cover every A that a plan with O < z can have, and the
    Lagrangian of each leaf is at least z. What cannot be proved at z is tried at lower values by
    bisection (both conditions get easier); what needs no certificate at all is the floor:
    sum_j gamma_j (Gamma'_j / Ahi_j + rho_j).

    The bound holds for every plan that `mafl_opt.core.check.check` accepts: limits are widened
    by its tolerance, and each sum is rounded downwards by `ROUNDING` of the sum of its terms'
    magnitudes.

    Parameters
    ----------
    scenario : Scenario
    certificate : mapping
        ``{"kind": "lagrangian", "bound": z, "leaves": [{"progress_min": [J], "progress_max": [J],
        "prices": {"numerator": [J], "progress": [J], "uplink": [G], "step_cap": [G][J],
        "energy": [I]}}]}``; entries of tasks of weight 0 are not used. Or
        ``{"kind": "milp", "bound": z, "claimed_by": "...", "proved": {...}}``, where ``proved`` is
        one of the former: nothing of the claim is believed.

    Returns
    -------
    bound : float
        Never above the optimum of the scenario (for a scenario without feasible plans any value
        is a bound, and the claimed one is returned).

    Raises
    ------
    InputError
        On a malformed certificate, with its path, e.g. ``certificate.leaves[2].prices.uplink``.
    """
    if isinstance(certificate, Mapping) and certificate.get("kind") == "milp":
        data = _table("certificate", certificate, ("bound", "claimed_by", "proved"))
        _number("certificate.bound", data["bound"])
        certificate = data["proved"]
    claim, leaves = _read(scenario, certificate)
    facts = Facts.of(scenario)
    table = SessionTable.of(facts)
    blocks = [
        _Block.of(facts, table, j) for j in range(facts.num_tasks) if facts.tasks["weight"][j] > 0
    ]
    floor = sum(block.least for block in blocks)
    if not floor < claim:
        return claim
    parts = [_device_part(facts, table, leaf) for leaf in leaves]
    if _is_proved(claim, blocks, leaves, parts):
        return claim
    low, high = floor, claim
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if _is_proved(middle, blocks, leaves, parts):
            low = middle
        else:
            high = middle
    return low


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leaf:
    low: Floats
    high: Floats
    error: Floats
    progress: Floats
    uplink: Floats
    steps: Floats
    energy: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """One weighted task: gamma N / A with N >= Gamma' + rho A and smallest <= A <= high.

    The smallest progress is that of a single session: a plan without any trains nothing.
    """

    task: int
    weight: float
    gap: float
    rate: float
    smallest: float
    high: float

    @classmethod
    def of(cls, facts: Facts, table: SessionTable, j: int) -> _Block:
        mine = table.task == j
        progress = table.progress[mine]
        noise = table.noise[mine] * np.maximum(
            1.0 / table.batch_max[mine] - 1.0 / table.samples[mine], 0.0
        )
        phi = table.systematic[mine] + noise
        rates = np.divide(phi, progress, out=np.full(phi.shape, np.inf), where=progress > 0)
        half_cap = 0.5 * facts.tasks["step_cap"][j]
        high = 0.0
        for g in range(1, facts.num_slots + 1):
            here = mine & (table.upload == g)
            most = np.zeros(facts.num_devices)
            np.maximum.at(most, table.device[here], table.progress[here])
            fits = min(facts.network["uplink_capacity"][g - 1], facts.num_devices)
            high += min(half_cap, float(np.sort(most)[facts.num_devices - fits :].sum()))
        return cls(
            task=j,
            weight=facts.tasks["weight"][j],
            gap=facts.constant_gap(j) * (1 - ROUNDING),
            rate=float(rates.min(initial=np.inf)) * (1 - ROUNDING),
            smallest=float(progress.min(initial=np.inf)) * (1 - ROUNDING),
            high=high * (1 + WIDENING),
        )

    @property
    def least(self) -> float:
        """A lower bound on gamma N / A; infinite when nobody can train the task."""
        if self.high <= 0 or math.isinf(self.rate):
            return math.inf
        return self.weight * (self.gap / self.high + self.rate) * (1 - ROUNDING)

    def low(self, room: float) -> float:
        """Return A below which no session fits or gamma N / A alone exceeds `room`."""
        spare = room - self.weight * self.rate
        if spare <= 0:
            return math.inf
        return max(self.smallest, self.weight * self.gap / spare * (1 - ROUNDING))

    def minimum(self, low: float, high: float, room: float, lam: float, mu: float) -> float:
        """Minimise gamma N / A - lam N + mu A over the leaf; infinite when no plan is left.

        Over Nl <= N <= Nu and low <= A <= high: linear in N, so N is at an end, and convex in A.
        """
        least = (self.gap + self.rate * low) * (1 - ROUNDING)
        most = room * high / self.weight * (1 + ROUNDING)
        if low > high or least > most:
            return math.inf
        values = []
        for numerator in (least, most):
            pull = self.weight * numerator
            at = min(max(math.sqrt(pull / mu) if mu > 0 else high, low), high)
            ratio = pull / at if at > 0 else 0.0
            size = ratio + lam * numerator + mu * at
            values.append(ratio - lam * numerator + mu * at - ROUNDING * size)
        return min(values) if all(map(math.isfinite, values)) else -math.inf


def _device_part(facts: Facts, table: SessionTable, leaf: _Leaf) -> float:
    """Minimum of the Lagrangian without the (N_j, A_j) blocks, rounded downwards."""
    joule = facts.energy_weight + leaf.energy
    with np.errstate(over="ignore", invalid="ignore"):
        costs = table.reduced_costs(leaf.error, leaf.progress, leaf.uplink, leaf.steps, joule)
        minima = table.device_minima(costs, facts.num_devices, facts.num_slots)
        gaps = np.array([facts.constant_gap(j) for j in range(facts.num_tasks)])
        wide = 1 + WIDENING
        gain = float(leaf.error @ gaps)
        paid = float(leaf.uplink @ np.array(facts.network["uplink_capacity"], dtype=float))
        paid += wide * float((leaf.steps @ np.array(facts.tasks["step_cap"])).sum())
        paid += wide * float(leaf.energy @ np.array(facts.devices["energy_budget_j"]))
        value = gain - paid + float(minima.sum())
        value -= ROUNDING * (gain + paid + float(-minima.sum()))
    return value if math.isfinite(value) else -math.inf


def _is_proved(
    claim: float, blocks: Sequence[_Block], leaves: Sequence[_Leaf], parts: Sequence[float]
) -> bool:
    """Whether no plan has O < claim: its A would lie in a leaf, where the Lagrangian is above."""
    least = [block.least for block in blocks]
    rooms = [(claim - sum(least[:k] + least[k + 1 :])) * (1 + ROUNDING) for k in range(len(blocks))]
    lows = [block.low(room) for block, room in zip(blocks, rooms, strict=True)]
    if any(low > block.high for low, block in zip(lows, blocks, strict=True)):
        return True
    for leaf, part in zip(leaves, parts, strict=True):
        value = part
        for block, low, room in zip(blocks, lows, rooms, strict=True):
            j = block.task
            value += block.minimum(
                max(float(leaf.low[j]) * (1 - SEAM), low),
                min(float(leaf.high[j]) * (1 + SEAM), block.high),
                room, float(leaf.error[j]), float(leaf.progress[j]),
            )  # fmt: skip
        if not value >= claim:
            return False
    used = [block.task for block in blocks]
    boxes = [(tuple(leaf.low[used].tolist()), tuple(leaf.high[used].tolist())) for leaf in leaves]
    return covers(boxes, (tuple(lows), tuple(block.high for block in blocks)))


# -- reading -------------------------------------------------------------------------------------


def _read(scenario: Scenario, certificate: Any) -> tuple[float, list[_Leaf]]:
    data = _table("certificate", certificate, ("kind", "bound", "leaves"))
    if data["kind"] != "lagrangian":
        raise InputError("certificate.kind", "lagrangian or milp", data["kind"])
    claim = _number("certificate.bound", data["bound"])
    if not isinstance(data["leaves"], Sequence) or isinstance(data["leaves"], str):
        raise InputError("certificate.leaves", "a list of leaves", data["leaves"])
    return claim, [
        _leaf(scenario, f"certificate.leaves[{k}]", leaf) for k, leaf in enumerate(data["leaves"])
    ]


def _leaf(scenario: Scenario, path: str, leaf: Any) -> _Leaf:
    slots, devices, tasks = scenario.num_slots, scenario.num_devices, scenario.num_tasks
    data = _table(path, leaf, ("progress_min", "progress_max", "prices"))
    names = ("numerator", "progress", "uplink", "step_cap", "energy")
    prices = _table(f"{path}.prices", data["prices"], names)
    low = _array(f"{path}.progress_min", data["progress_min"], (tasks,))
    high = _array(f"{path}.progress_max", data["progress_max"], (tasks,))
    for j in np.flatnonzero(low > high)[:1]:
        where = f"{path}.progress_max[{j}]"
        raise InputError(where, f"at least progress_min[{j}] = {low[j]:g}", float(high[j]))
    shapes = {"uplink": (slots,), "step_cap": (slots, tasks), "energy": (devices,)}
    read = {k: _array(f"{path}.prices.{k}", prices[k], shapes.get(k, (tasks,))) for k in names}
    # A task of weight 0 has no (N, A) block: its totals carry no price.
    weighted = scenario.tasks.weight > 0
    return _Leaf(
        low=low,
        high=high,
        error=np.where(weighted, read["numerator"], 0.0),
        progress=np.where(weighted, read["progress"], 0.0),
        uplink=read["uplink"],
        steps=read["step_cap"],
        energy=read["energy"],
    )


def _table(path: str, value: Any, keys: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(path, "a table with " + ", ".join(keys), value)
    for key in keys:
        if key not in value:
            raise InputError(f"{path}.{key}", "an entry", None, "the key is missing")
    return value


def _array(path: str, value: Any, shape: tuple[int, ...]) -> Floats:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != shape[0]:
        raise InputError(path, f"a list of {shape[0]} entries", value)
    if len(shape) > 1:
        return np.array([_array(f"{path}[{k}]", v, shape[1:]) for k, v in enumerate(value)])
    numbers = [_number(f"{path}[{k}]", v) for k, v in enumerate(value)]
    for k, number in enumerate(numbers):
        if number < 0:
            raise InputError(f"{path}[{k}]", "a number >= 0", number)
    return np.array(numbers)


def _number(path: str, value: Any) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not math.isfinite(value):
        raise InputError(path, "a finite number", value)
    return float(value)
