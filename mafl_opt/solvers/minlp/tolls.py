"""The Lagrangian with whole knapsacks: tolls on columns in place of prices on step caps.

Let every column exist twice, once in its device's plan and once in the knapsack of its slot and
task (`knapsacks`), and dualise that the plan's columns are in the knapsacks: column k pays a toll
p_k >= 0 to its device, and knapsack q gives back the most it can collect,

    L = sum_i min (device i's plan at reduced costs + tolls) - sum_q max (tolls of a set that fits)
        + the ratio blocks + what the other prices are paid for.

Both minima are exact, integers included. It is at least the Lagrangian with prices on the step
caps (tolls pi c_s C1: a set then collects pi theta at most), and far above it on small fleets,
where few sessions fill a cap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.scenario import Scenario
from mafl_opt.formulations.bound import initial_error
from mafl_opt.formulations.boxes import BoxRules, trim
from mafl_opt.formulations.candidates import Candidates
from mafl_opt.formulations.pricing import Prices, best_batches
from mafl_opt.formulations.problem import Problem

__all__ = ["Goal", "Region", "Tolls", "tolled_bound", "tolled_slack"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Taken off a bound, times the magnitude of its terms: round-off, and the 1e-9 of its limits by
# which the checker lets a plan miss them.
_GUARD = 3e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tolls(Prices):
    """Prices of which those on step caps are 0, and tolls.

    toll : (columns,)
        Paid by every column; inf for one that must not be used, and less than 0 possible for one
        of a set of which a plan must use one.
    given : float
        What knapsacks give back, less what such sets owe.
    """

    toll: Floats
    given: float

    def reduced_costs(self, scenario: Scenario, columns: Candidates, batch: Ints) -> Floats:
        """Reduced cost of every column with its toll; (columns,)."""
        # Zero-argument super() does not work in a dataclass with slots.
        return Prices.reduced_costs(self, scenario, columns, batch) + self.toll


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Goal:
    """What is minimised: sum_j ratio_j N_j / A_j + error_j N_j - progress_j A_j + energy sum_s E_s.

    ratio, error, progress : (tasks,)
    energy : float, 1/J
    """

    ratio: Floats
    error: Floats
    progress: Floats
    energy: float

    @classmethod
    def of(cls, problem: Problem) -> Goal:
        """Return the goal that is O."""
        s = problem.scenario
        none = np.zeros(s.num_tasks)
        return cls(ratio=s.tasks.weight, error=none, progress=none, energy=s.energy_weight)

    def plus(self, factor: float, other: Goal) -> Goal:
        """Return this goal plus `factor` times another."""
        return Goal(
            ratio=self.ratio + factor * other.ratio, error=self.error + factor * other.error,
            progress=self.progress + factor * other.progress,
            energy=self.energy + factor * other.energy,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Region:
    """Where (N_j, A_j) may lie: A_j in [low_j, high_j], N_j between two lines.

    rules : BoxRules
        N_j >= start_j + slope_j A_j, and N_j <= room_j A_j with room_j from `top` and ``rest``.
    low, high : (tasks,)
    top : float
        Objective that plans stay below.
    """

    rules: BoxRules
    low: Floats
    high: Floats
    top: float

    def least(
        self, j: int, ratio: float, error_price: float, progress_price: float,
        low: float, high: float,
    ) -> float:  # fmt: skip
        """Minimise ratio N/A - error_price N + progress_price A for A in [low, high].

        Linear in N, so N is on one of the lines; convex in A on the lower, linear on the upper.
        """
        start, slope = float(self.rules.start[j]), float(self.rules.slope[j])
        room = float((self.top - self.rules.rest[j]) / self.rules.weight[j])
        if start + slope * high > room * high * (1 + 1e-9):
            return np.inf
        rise = progress_price - error_price * slope
        at = np.sqrt(ratio * start / rise) if rise > 0 else high
        at = min(max(float(at), low), high)
        lower = ratio * (start / at + slope) - error_price * start + rise * at
        steep = progress_price - error_price * room
        return min(lower, ratio * room + min(steep * low, steep * high))

    def trimmed(self, prices: Prices, slack: float) -> Region:
        """Cut off the ranges of A whose Lagrangian is `slack` above that of the whole region."""
        low, high = self.low.copy(), self.high.copy()
        for j in np.flatnonzero(self.rules.weight > 0):
            figures = (
                int(j), float(self.rules.weight[j]), float(prices.numerator[j]),
                float(prices.progress[j]),
            )  # fmt: skip

            def least(a: float, b: float, of: tuple[int, float, float, float] = figures) -> float:
                return self.least(*of, a, b)

            low[j], high[j] = trim(least, float(low[j]), float(high[j]), slack)
        return replace(self, low=low, high=high)


def tolled_bound(problem: Problem, goal: Goal, region: Region, tolls: Tolls) -> float:
    """Lower bound of a goal over the plans in a region.

    Parameters
    ----------
    problem : Problem
    goal : Goal
    region : Region
    tolls : Tolls
        ``energy`` is the price of the budget alone, beside the goal's.
    """
    s = problem.scenario
    cost, _ = _costs(problem, goal, tolls)
    value, _ = problem.program.solve(cost)
    start = initial_error(s)
    terms = [
        *value, *(tolls.numerator * start), *(-tolls.uplink * s.network.uplink_capacity),
        *(-tolls.energy * s.devices.energy_budget_j), -tolls.given,
    ]  # fmt: skip
    for j in np.flatnonzero(region.rules.weight > 0):
        low, high = float(region.low[j]), float(region.high[j])
        error_price = float(tolls.numerator[j] - goal.error[j])
        progress_price = float(tolls.progress[j] - goal.progress[j])
        terms.append(
            region.least(int(j), float(goal.ratio[j]), error_price, progress_price, low, high)
        )
        # What cancels inside the block and against the devices' plans.
        terms += [0.5 * tolls.progress[j] * high, -0.5 * tolls.progress[j] * high]
    total = np.array(terms, dtype=np.float64)
    if np.isposinf(total).any():
        # No plan has its totals in the region.
        return np.inf
    return float(total.sum() - _GUARD * np.abs(total).sum())


def tolled_slack(problem: Problem, tolls: Tolls) -> Floats:
    """How much the bound on O rises when a plan must use a column; (columns,), >= 0."""
    cost, _ = _costs(problem, Goal.of(problem), tolls)
    return problem.program.slack(cost)


def _costs(problem: Problem, goal: Goal, tolls: Tolls) -> tuple[Floats, Ints]:
    s, c = problem.scenario, problem.columns
    shift = replace(tolls, energy=tolls.energy + (goal.energy - s.energy_weight))
    joule = s.energy_weight + shift.energy[c.device]
    batch = best_batches(c, tolls.numerator[c.task], joule)
    return shift.reduced_costs(s, c, batch), batch
