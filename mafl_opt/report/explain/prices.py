"""The prices of a certificate that concern a plan: those of the leaf the plan lies in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.check import CheckReport
from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Sessions
from mafl_opt.core.proof.budgets import bracket
from mafl_opt.core.proof.contents import read_certificate
from mafl_opt.core.proof.leaves import DeviceSplit, Leaf
from mafl_opt.core.proof.local_sums import LocalSums
from mafl_opt.core.proof.pattern_prices import PatternPrices
from mafl_opt.core.proof.price_table import PriceTable
from mafl_opt.core.proof.session_table import SessionTable
from mafl_opt.core.scenario import Scenario

__all__ = ["LeafPrices", "choose_prices"]

Floats = NDArray[np.float64]

#: Part of itself by which a total may miss a range: boxes end where others begin.
_SEAM = 1e-9
#: What the search for the price of a budget may leave open, relative to the device's least cost.
_BUDGET_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafPrices:
    """Prices of one leaf; of several tables their mixture.

    Attributes
    ----------
    kind : str
        Of the certificate.
    leaf, leaves : int
        Which one, from 1, of how many.
    holds_plan : bool
        Whether the plan lies in the leaf; otherwise it is the nearest one by progress.
    tables : tuple of (PriceTable, weight), of (PatternPrices, weight) for kind patterns
    error, progress : (tasks,)
        lam_j and mu_j.
    uplink : (slots,)
        Per upload.
    step_cap : (slots, tasks)
        Per unit of step; NaN where sessions have prices of their own, which say what the cap as it
        is costs (model page, eq. 44) and nothing of a larger one, and where patterns keep the cap.
    energy : (devices,) or None
        Per J; ``None`` where each device keeps its own budget.
    """

    kind: str
    leaf: int
    leaves: int
    holds_plan: bool
    tables: tuple[tuple[PriceTable | PatternPrices, float], ...]
    error: Floats
    progress: Floats
    uplink: Floats
    step_cap: Floats
    energy: Floats | None

    @property
    def of_patterns(self) -> bool:
        """Whether step caps are kept by patterns, and slots of devices have prices."""
        return isinstance(self.tables[0][0], PatternPrices)

    def charges(self, scenario: Scenario, rows: SessionTable) -> Floats:
        """Return what the step caps charge each row, (rows,)."""
        charged = np.zeros(len(rows))
        for entry, weight in self.tables:
            if isinstance(entry, PriceTable):
                charged += weight * entry.charges(scenario, rows)
        return charged

    def sized(self, rows: SessionTable) -> SessionTable:
        """Return rows at whose mini-batches the same counts are priced, sorted by device."""
        for entry, _ in self.tables:
            if isinstance(entry, PatternPrices):
                rows = entry.sized(rows)
        return rows

    def occupied(self, rows: SessionTable) -> Floats:
        """Return what each row costs for the slots of its device and for being counted, (rows,).

        Parameters
        ----------
        rows : SessionTable
            As `sized` makes them.
        """
        charged = np.zeros(len(rows))
        for entry, weight in self.tables:
            if isinstance(entry, PatternPrices):
                added, taken = entry.count_prices(rows)
                charged += weight * (added - taken)
                charged += weight * entry.occupied(rows)
        return charged

    def budget_price(self, scenario: Scenario, device: int) -> float:
        """Price of the budget of a device, per J: the table's, or the best one for it alone.

        Parameters
        ----------
        scenario : Scenario
        device : int
        """
        if self.energy is not None:
            return float(self.energy[device])
        rows = SessionTable.of(scenario, LocalSums.of(scenario), slice(device, device + 1))
        if not len(rows):
            return 0.0
        busy = np.zeros((1, scenario.num_slots + 1), dtype=bool)
        price = 0.0
        for entry, weight in self.tables:
            if isinstance(entry, PriceTable):
                programs = entry.programs(scenario, rows, busy)
                tolerance = _BUDGET_TOLERANCE * float(np.abs(programs.minima()).sum())
                found = bracket(programs, np.zeros(1), tolerance)
                price += weight * float(found.price[0])
        return price


def choose_prices(
    scenario: Scenario, certificate: Mapping[str, Any], report: CheckReport, sessions: Sessions
) -> LeafPrices:
    """Read a certificate and return the prices of the leaf that holds the plan.

    Parameters
    ----------
    scenario : Scenario
    certificate : mapping
        Of any kind (model page, section 6.3).
    report : CheckReport
        Of the plan.
    sessions : Sessions
        Those that have a meaning in the scenario.

    Raises
    ------
    InputError
        On a malformed certificate, with its path.
    """
    contents = read_certificate(scenario, certificate)
    leaves, tables = contents.leaves, contents.tables
    if not leaves:
        raise InputError("certificate.leaves", "at least one leaf", [])
    number, holds = _leaf_of(leaves, report, sessions)
    chosen = tuple((tables[k], weight) for k, weight in leaves[number].prices)

    def mixed(name: str) -> Floats:
        return np.asarray(sum(weight * getattr(entry, name) for entry, weight in chosen))

    step_cap = np.zeros((scenario.num_slots, scenario.num_tasks))
    for entry, weight in chosen:
        if isinstance(entry, PriceTable):
            step_cap += np.where(entry.is_listed, np.nan, weight * entry.steps)
        else:
            step_cap[:] = np.nan
    with_energy = all(entry.energy is not None for entry, _ in chosen)
    return LeafPrices(
        kind=str(certificate["kind"]), leaf=number + 1, leaves=len(leaves), holds_plan=holds,
        tables=chosen, error=mixed("error"), progress=mixed("progress"), uplink=mixed("uplink"),
        step_cap=step_cap,
        energy=mixed("energy") if with_energy else None,
    )  # fmt: skip


def _leaf_of(leaves: Sequence[Leaf], report: CheckReport, sessions: Sessions) -> tuple[int, bool]:
    """Return the number of the plan's leaf, and whether the plan lies in it."""
    used = np.array([task.weight > 0 for task in report.tasks])
    progress = np.array([task.progress for task in report.tasks])
    ratio = np.array([task.bound for task in report.tasks])
    start = np.array(
        [task.parts["initial_gap"] + task.parts["loss_drift"] for task in report.tasks]
    )
    # An untrained task has no excess: infinity less infinity.
    excess = np.where(np.isfinite(ratio), ratio - np.where(np.isfinite(start), start, 0.0), np.inf)

    def misses(value: Floats, low: Floats, high: Floats) -> float:
        scale = np.maximum(np.abs(value), 1e-300)[used]
        # The bound of an untrained task is infinite, and so is the end of an open range.
        with np.errstate(invalid="ignore"):
            over = np.maximum(low - value, value - high)[used]
            part = np.where(over > 0, over / scale, 0.0)
        return float(part.max(initial=0.0))

    nearest, least = 0, np.inf
    for number, leaf in enumerate(leaves):
        off = misses(progress, leaf.low, leaf.high)
        within = off <= _SEAM and misses(ratio, leaf.ratio_low, leaf.ratio_high) <= _SEAM
        within = within and misses(excess, leaf.excess_low, leaf.excess_high) <= _SEAM
        within = within and all(
            least <= counted.among(sessions, sessions.batch_size).sum() <= most
            for counted, (least, most) in leaf.counts.items()
        )
        if within and all(
            _on_side(split, sessions) for splits in leaf.by_device().values() for split in splits
        ):
            return number, True
        if off < least:
            nearest, least = number, off
    return nearest, False


def _on_side(split: DeviceSplit, sessions: Sessions) -> bool:
    """Whether the plan is on a side of a split."""
    covers = (sessions.device == split.device) & (sessions.receive < split.slot)
    covers &= split.slot <= sessions.upload
    value = getattr(sessions, split.attribute)[covers].max(initial=-1)
    return bool((value > split.at) == split.high)
