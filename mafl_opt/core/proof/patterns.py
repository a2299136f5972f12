"""The Lagrangian over patterns, the sets of sessions of a task that end together, from below."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.proof.budgets import bracket, sharpen
from mafl_opt.core.proof.fleet_sessions import FleetSessions
from mafl_opt.core.proof.guards import ROUNDING, WIDENING
from mafl_opt.core.proof.knapsacks import Items, Knapsacks
from mafl_opt.core.proof.leaves import Leaf
from mafl_opt.core.proof.pattern_prices import PatternPrices
from mafl_opt.core.proof.ratio import Ratio, Survey
from mafl_opt.core.proof.slots import Slots
from mafl_opt.core.scenario import Scenario

__all__ = ["PatternLagrangian"]

Floats = NDArray[np.float64]

#: What all knapsacks of a table together may be off, relative to the claim.
_SLACK = 1e-9
#: Sessions that are priced before their knapsacks are solved, over all tables.
_TOGETHER = 2_000_000


class PatternLagrangian:
    """Values of the Lagrangian (model page, eq. 45c), each table evaluated once.

    Parameters
    ----------
    scenario : Scenario
    prices : sequence of PatternPrices
    claim : float
        The scale on which differences matter.
    report : callable, optional
        Called on the way.
    """

    def __init__(
        self, scenario: Scenario, prices: Sequence[PatternPrices], claim: float,
        report: Callable[[str, float | None], None] | None = None,
    ) -> None:  # fmt: skip
        self.scenario = scenario
        self.prices = prices
        self._slack = _SLACK * abs(claim)
        self._report = report or (lambda message, fraction: None)
        self._sessions = FleetSessions(scenario)
        self._parts: dict[int, float] = {}
        survey = Survey.of(scenario)
        for table in self._sessions.tables():
            survey.add(table)
        self.ratios: list[Ratio] = survey.ratios()

    def prepare(self, leaves: Iterable[Leaf]) -> None:
        """Evaluate the tables of some leaves, many at a time."""
        used = {k for leaf in leaves for k, _ in leaf.prices}
        wanted = sorted(used - self._parts.keys())
        rows = max(1, sum(len(table) for table in self._sessions.tables()))
        size = max(1, _TOGETHER // rows)
        for start in range(0, len(wanted), size):
            chosen = wanted[start : start + size]
            # Prices too large for their sums prove nothing.
            with np.errstate(over="ignore", invalid="ignore"):
                for k, minima in zip(chosen, self._least(chosen).sum(axis=1), strict=True):
                    gain, paid = self.prices[k].constants(self.scenario)
                    value = gain - paid + float(minima) - ROUNDING * (gain + paid - float(minima))
                    self._parts[k] = -np.inf if np.isnan(value) else value
            self._report("price tables", (start + len(chosen)) / len(wanted))

    def part(self, leaf: Leaf, *, exact: bool) -> float:
        """Return a lower bound of all but the ratios."""
        self.prepare([leaf])
        return sum(
            weight * (self._parts[k] + self.prices[k].count_part(leaf)) for k, weight in leaf.prices
        )

    def _least(self, numbers: Sequence[int]) -> Floats:
        """Return the sum of V over the tasks, or V of the whole slot; (tables, slots)."""
        slots, tasks = self.scenario.num_slots, self.scenario.num_tasks
        parts: list[Items] = []
        for table in self._sessions.tables():
            for place, k in enumerate(numbers):
                items = self.prices[k].items(self.scenario, table)
                parts.append(items.at_caps(place * slots * tasks))
        theta = np.resize(self.scenario.tasks.step_cap, len(numbers) * slots * tasks)
        knapsacks = Knapsacks.of(Items.joined(parts), theta * (1 + WIDENING))
        tolerance = self._slack / (slots * tasks)
        whole = np.array([self.prices[k].whole_slots for k in numbers])
        owners = np.arange(theta.size).reshape(len(numbers), slots, tasks)
        least = np.zeros((len(numbers), slots))
        single = knapsacks.of_owners(owners[~whole].ravel())
        found = bracket(single, np.zeros(single.budget.size), tolerance)
        each = sharpen(single, found, tolerance)
        least[~whole] = each.reshape(-1, slots, tasks).sum(axis=2)
        together = Slots(knapsacks.of_owners(owners[whole].ravel()), tasks, tolerance)
        least[whole] = together.least().reshape(-1, slots)
        return least
