"""The ratio of one task, gamma N / A, bounded over ranges of A and of Xi = N / A."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.proof.guards import ROUNDING, WIDENING
from mafl_opt.core.proof.session_table import SessionTable
from mafl_opt.core.scenario import Scenario

__all__ = ["Ratio", "Survey"]

Floats = NDArray[np.float64]
#: Smallest progress of which all digits are there, and those of an error that goes with it.
_TINY = 1e-290
#: Ends of a range of A and of a range of Xi.
Range = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """One weighted task: Xi >= Gamma' / A + rho and smallest <= A <= high in every plan.

    The smallest progress is that of a single session: a plan without any trains nothing.
    """

    task: int
    weight: float
    gap: float
    rate: float
    smallest: float
    high: float

    @property
    def impossible(self) -> bool:
        """Whether nobody can train the task."""
        return self.high <= 0 or math.isinf(self.rate)

    @property
    def whole(self) -> Range:
        """The ranges of A and Xi that hold in every plan."""
        if self.impossible:
            return math.inf, 0.0, math.inf, 0.0
        return self.smallest, self.high, self.least_ratio(self.high), math.inf

    def least_ratio(self, progress: float, excess: float = 0.0) -> float:
        """Return a lower bound of Xi for A at most `progress` > 0 and Y at least `excess`."""
        return (self.gap / progress + max(self.rate, excess)) * (1 - ROUNDING)

    def least_progress(self, ratio: float) -> float:
        """Return a lower bound of A for Xi at most `ratio`; infinite where no A is enough."""
        spare = ratio - self.rate
        return self.gap / spare * (1 - ROUNDING) if spare > 0 else math.inf

    def minimum(self, ends: Range, lam: float, mu: float) -> float:
        """Minimise gamma Xi - lam Xi A + mu A over the ranges; infinite when no plan is left.

        For given A it is linear in Xi, so that Xi is at an end: the upper one, the lower one, or
        Gamma' / A + rho. The first two pieces are linear in A, the third is convex or falls.

        Parameters
        ----------
        ends : tuple of float
            Ranges of A > 0 and of Xi, in this order.
        """
        low, high, least, most = ends
        low = max(low, self.least_progress(most))
        if low > high or least > most:
            return math.inf
        # Up to here the lower end of Xi is Gamma' / A + rho, from here on that of the range.
        turn = min(max(self.least_progress(least), low), high)
        slope = mu - lam * self.rate
        at = math.sqrt(self.weight * self.gap / slope) if slope > 0 else turn
        at = min(max(at, low), turn)
        points = [(most, low), (most, high)]
        points += [(max(least, self.least_ratio(a)), a) for a in (low, at, turn, high)]
        values = []
        for ratio, progress in points:
            terms = (self.weight * ratio, lam * ratio * progress, mu * progress)
            values.append(terms[0] - terms[1] + terms[2] - ROUNDING * sum(terms))
        return min(values) if all(map(math.isfinite, values)) else -math.inf

    def excess_minimum(
        self, ends: Range, excess: tuple[float, float], lam: float, mu: float
    ) -> float:
        """Minimise gamma (Gamma' / A + Y) - lam (Gamma' + Y A) + mu A; infinite with no plan left.

        The same function, with Xi = Gamma' / A + Y. For given A it is linear in Y, so that Y is at
        an end, and then it is convex or falls in A. Where Y ranges over little this says more than
        `minimum` does, because Gamma' / A, which is most of Xi, is not relaxed.

        Parameters
        ----------
        ends : tuple of float
            Ranges of A > 0 and of Xi, in this order.
        excess : tuple of float
            Range of Y.
        """
        low, high, _, most = ends
        if low > high or high <= 0:
            return math.inf
        least, top = max(excess[0], self.rate), min(excess[1], most - self.gap / high)
        top += ROUNDING * (abs(most) + self.gap / high)
        if math.isinf(top):
            return -math.inf
        spare = most - least
        low = max(low, self.gap / spare * (1 - ROUNDING)) if spare > 0 else math.inf
        if low > high or least > top:
            return math.inf
        values = []
        for y in (least, top):
            slope = mu - lam * y
            at = math.sqrt(self.weight * self.gap / slope) if slope > 0 else high
            for a in (low, min(max(at, low), high), high):
                gain = self.weight * (self.gap / a + y) + mu * a
                loss = lam * (self.gap + y * a)
                values.append(gain - loss - 4 * ROUNDING * (gain + loss))
        return min(values) if all(map(math.isfinite, values)) else -math.inf


def _least_of(progress: float) -> float:
    """Return a lower bound of a progress computed with rounding, above zero if that is."""
    return progress * (1 - ROUNDING) if progress >= _TINY else min(progress, math.ulp(0.0))


@dataclass(slots=True, kw_only=True)
class Survey:
    """What fact 6 needs of the sessions of each task (model page, section 6), block by block.

    Attributes
    ----------
    scenario : Scenario
    rate, smallest : (tasks,)
        Least phi_s / a_s and least a_s > 0 met: sessions of steps that underflow train nothing.
    """

    scenario: Scenario
    rate: Floats
    smallest: Floats
    _best: dict[tuple[int, int], Floats]

    @classmethod
    def of(cls, scenario: Scenario) -> Survey:
        """Begin with no sessions."""
        empty = np.full(scenario.num_tasks, np.inf)
        return cls(scenario=scenario, rate=empty, smallest=empty.copy(), _best={})

    def add(self, table: SessionTable) -> None:
        """Take in the sessions of a block of devices."""
        progress = table.progress
        noise = table.noise * np.maximum(1.0 / table.batch_max - 1.0 / table.samples, 0.0)
        phi = table.systematic + noise
        with np.errstate(over="ignore"):
            rates = np.divide(phi, progress, out=np.full(phi.shape, np.inf), where=progress > 0)
        # Numbers this small have few digits: nothing is known of their quotients.
        rates[(progress > 0) & (progress < _TINY)] = 0.0
        tasks, none = self.scenario.num_tasks, np.zeros(0)
        for j in range(tasks):
            mine = table.task == j
            self.rate[j] = min(self.rate[j], rates[mine].min(initial=np.inf))
            some = progress[mine & (progress > 0)]
            self.smallest[j] = min(self.smallest[j], some.min(initial=np.inf))
        slots = self.scenario.num_slots
        half = 0.5 * self.scenario.tasks.step_cap
        filled = [[self._best.get((g, j), none).sum() for j in range(tasks)] for g in range(slots)]
        unfilled = np.array(filled) < half
        rows = np.flatnonzero(unfilled[table.upload - 1, table.task])
        if not rows.size:
            return
        count = table.devices.stop - table.devices.start
        most = np.zeros((slots, tasks, count))
        place = (table.upload[rows] - 1, table.task[rows], table.device[rows] - table.devices.start)
        np.maximum.at(most, place, progress[rows])
        for g, j in zip(*np.nonzero(unfilled), strict=True):
            fits = int(self.scenario.network.uplink_capacity[g])
            known = np.concatenate([self._best.get((g, j), none), most[g, j][most[g, j] > 0]])
            if known.size > fits:
                known = np.partition(known, known.size - fits)[known.size - fits :]
            # In order of size, so that sums do not depend on the order of blocks.
            self._best[int(g), int(j)] = np.sort(known)

    def ratios(self) -> list[Ratio]:
        """Return the ratio of each task of weight > 0."""
        tasks, slots = self.scenario.tasks, self.scenario.num_slots
        out = []
        for j in np.flatnonzero(tasks.weight > 0).tolist():
            half = 0.5 * float(tasks.step_cap[j])
            met = (self._best.get((g, j), np.zeros(0)) for g in range(slots))
            high = sum(min(half, float(best.sum())) for best in met)
            gap = float(tasks.initial_gap[j]) + float(self.scenario.loss_drift[:, j].sum())
            out.append(
                Ratio(
                    task=j, weight=float(tasks.weight[j]), gap=gap * (1 - ROUNDING),
                    rate=float(self.rate[j]) * (1 - ROUNDING),
                    smallest=_least_of(float(self.smallest[j])), high=high * (1 + WIDENING),
                )
            )  # fmt: skip
        return out
