"""Lower bounds that can be derived again from prices (model page, section 6.3).

A certificate claims that every feasible plan has O >= z. It parts the plans into leaves, by boxes
of the progress totals A_j or by a tree of splits, and holds non-negative prices for each. Weak
duality does the rest: at any prices the Lagrangian lies below O on the plans of the leaf, and it is
bounded from below exactly, integers included. Wrong prices cost tightness, never truth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mafl_opt.core.cover import covers
from mafl_opt.core.proof.contents import Contents, read_certificate
from mafl_opt.core.proof.guards import ROUNDING
from mafl_opt.core.proof.lagrangian import Lagrangian, Report
from mafl_opt.core.proof.leaves import Leaf
from mafl_opt.core.proof.patterns import PatternLagrangian
from mafl_opt.core.proof.ratio import Range, Ratio
from mafl_opt.core.proof.session_table import possible_sessions
from mafl_opt.core.scenario import Scenario

__all__ = ["Report", "certified_bound", "is_large"]

#: Steps down from a claim that does not hold, relative to it: the first one, how they grow, and
#: how near the largest value that holds the search ends.
_FIRST_STEP, _GROWTH, _FINE = 1e-8, 8.0, 1e-9
#: Possible sessions times price tables that are evaluated in some ten seconds.
_LARGE = 1e9


def is_large(scenario: Scenario, certificate: Mapping[str, Any]) -> bool:
    """Whether deriving a bound from the certificate takes longer than one waits for unasked."""
    inner = certificate.get("proved", certificate)
    tables = inner.get("prices", inner.get("leaves", ())) if isinstance(inner, Mapping) else ()
    count = len(tables) if isinstance(tables, Sequence) else 0
    return count * possible_sessions(scenario) * scenario.num_devices > _LARGE


def certified_bound(
    scenario: Scenario, certificate: Mapping[str, Any], report: Report | None = None
) -> float:
    """Return the largest lower bound on O, at most the claimed one, that the certificate proves.

    The claim z is proved when the leaves cover all plans with O < z and the Lagrangian of each leaf
    is at least z. What cannot be proved at z is tried at lower values by bisection (both conditions
    get easier); what needs no certificate at all is the floor:
    sum_j gamma_j (Gamma'_j / Ahi_j + rho_j).

    The bound holds for every plan that `mafl_opt.core.check.check` accepts: limits are widened by
    its tolerance, and each sum is rounded downwards by a relative 1e-10 of its terms' magnitudes.

    Parameters
    ----------
    scenario : Scenario
    certificate : mapping
        Of kind ``patterns``, ``lagrangian``, ``tree`` or ``milp`` (model page, section 6.3). Of the
        last, which is what a MILP solver claims around one of the others, only that one is
        believed.
    report : callable, optional
        Called with a message and the fraction done.

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
    contents = read_certificate(scenario, certificate)
    claim = contents.claim
    proof = _Proof(scenario, contents, report)
    floor = sum(_least(ratio) for ratio in proof.ratios)
    if not floor < claim or proof.holds(claim):
        return claim
    high, step = claim, _FIRST_STEP * abs(claim)
    while high - step > floor and not proof.holds(high - step):
        high, step = high - step, _GROWTH * step
    low = max(high - step, floor)
    while high - low > _FINE * abs(claim):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        if proof.holds(middle):
            low = middle
        else:
            high = middle
    return low


class _Proof:
    """Leaves with what is known of their Lagrangians, and whether they prove a claim."""

    def __init__(self, scenario: Scenario, contents: Contents, report: Report | None) -> None:
        self.boxes = contents.leaves if contents.kind == "lagrangian" else None
        self.leaves = contents.leaves
        if self.boxes is not None:
            self.leaves = [box.widened() for box in self.boxes]
        make: Any = PatternLagrangian if contents.kind == "patterns" else Lagrangian
        self.tables = contents.tables
        self.lagrangian: Lagrangian | PatternLagrangian = make(
            scenario, self.tables, contents.claim, report
        )
        self.ratios: list[Ratio] = self.lagrangian.ratios
        self.report = report
        self.parts: dict[tuple[int, bool], float] = {}

    def holds(self, claim: float) -> bool:
        """Whether no plan has O < claim: it would lie in a leaf, where the Lagrangian is above."""
        root = _ranges(self.ratios, None, claim)
        if any(low > high for low, high, _, _ in root):
            return True
        open_ = {}
        for k, leaf in enumerate(self.leaves):
            ratios = self._ratio_minima(leaf, claim)
            if ratios < math.inf:
                open_[k] = ratios
        self.lagrangian.prepare([self.leaves[k] for k in open_])
        for n, (k, ratios) in enumerate(open_.items()):
            if not self._leaf_holds(k, ratios, claim):
                return False
            if self.report is not None:
                self.report(f"leaf {n + 1} of {len(open_)}", (n + 1) / len(open_))
        if self.boxes is None:
            return True
        used = [ratio.task for ratio in self.ratios]
        return covers(
            [(tuple(box.low[used].tolist()), tuple(box.high[used].tolist())) for box in self.boxes],
            (tuple(low for low, _, _, _ in root), tuple(high for _, high, _, _ in root)),
        )

    def _ratio_minima(self, leaf: Leaf, claim: float) -> float:
        """Return the sum of the tasks' blocks; infinite where no plan has O < claim."""
        if not leaf.admits_counts([ratio.task for ratio in self.ratios]):
            return math.inf
        # The Lagrangian is concave in the prices: at a mixture of tables it is at least the mixture
        # of its values.
        tables = [(self.tables[k], weight) for k, weight in leaf.prices]
        value = 0.0
        for ratio, ends in zip(self.ratios, _ranges(self.ratios, leaf, claim), strict=True):
            j = ratio.task
            lam = sum(weight * float(prices.error[j]) for prices, weight in tables)
            mu = sum(weight * float(prices.progress[j]) for prices, weight in tables)
            excess = float(leaf.excess_low[j]), float(leaf.excess_high[j])
            value += max(ratio.minimum(ends, lam, mu), ratio.excess_minimum(ends, excess, lam, mu))
            if value == math.inf:
                break
        return value

    def _leaf_holds(self, number: int, ratios: float, claim: float) -> bool:
        for exact in (False, True):
            if (number, exact) not in self.parts:
                self.parts[number, exact] = self.lagrangian.part(self.leaves[number], exact=exact)
            if ratios + self.parts[number, exact] >= claim:
                return True
        return False


def _least(ratio: Ratio) -> float:
    """Return a lower bound of the task's term of O."""
    return ratio.weight * ratio.whole[2] * (1 - ROUNDING)


def _ranges(ratios: Sequence[Ratio], leaf: Leaf | None, claim: float) -> list[Range]:
    """Return the ranges of A and Xi that plans of a leaf with O < claim can have (fact 6)."""
    boxes: list[Range] = []
    for ratio in ratios:
        low, high, least, most = ratio.whole
        if leaf is not None:
            j = ratio.task
            low, high = max(low, float(leaf.low[j])), min(high, float(leaf.high[j]))
            least, most = max(least, float(leaf.ratio_low[j])), float(leaf.ratio_high[j])
        if low <= high:
            excess = float(leaf.excess_low[ratio.task]) if leaf is not None else 0.0
            least = max(least, ratio.least_ratio(high, excess))
        boxes.append((low, high, least, most))
    terms = [r.weight * box[2] * (1 - ROUNDING) for r, box in zip(ratios, boxes, strict=True)]
    out: list[Range] = []
    for k, (ratio, (low, high, least, most)) in enumerate(zip(ratios, boxes, strict=True)):
        rest = sum(terms[:k] + terms[k + 1 :])
        room = claim - rest + ROUNDING * (abs(claim) + rest)
        most = min(most, room / ratio.weight)
        out.append((max(low, ratio.least_progress(most)), high, least, most))
    return out
