"""The bound of a large fleet: a rehearsal on a sample, then the whole fleet's own answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mafl_opt.solvers.base import Run
from mafl_opt.solvers.prices.fleet.arcs import Table
from mafl_opt.solvers.prices.fleet.learning import ROUNDS, Lesson, ratio_prices
from mafl_opt.solvers.prices.fleet.logs import Answer
from mafl_opt.solvers.prices.fleet.proof import Proof
from mafl_opt.solvers.prices.fleet.ratio import Mixtures, Range, mix
from mafl_opt.solvers.prices.fleet.sample import Sample
from mafl_opt.solvers.prices.fleet.whole import Whole

__all__ = ["GUARD", "Prover"]

# The bound that is worked for is this part of the gap below the plan; on the sample, a smaller one.
_CLOSER, _REHEARSAL = 0.98, 0.85
# Ranges about the relaxed optimum in which plans are looked for.
_NEAR = 1.02
# More devices than this are asked with budgets at their last price first.
_HUGE = 300_000
#: Values of tables are lowered by this part of the magnitudes they are sums of: the checker widens
#: limits by 1.1e-9 and rounds by 1e-10, and whoever derives them again must not come out below.
GUARD = 1e-8


class Prover:
    """Raises the bound of a run.

    Parameters
    ----------
    run : Run
        With a plan.
    sample : Sample
        What prices were learned on.
    whole : Whole or None
        All devices; None when the sample has them all.
    lesson : Lesson
    root, tighten
        See `proof.root_range`.
    """

    def __init__(
        self, run: Run, sample: Sample, whole: Whole | None, lesson: Lesson, root: Range,
        tighten: Callable[[Range], Range | None],
    ) -> None:  # fmt: skip
        self._run, self._sample, self._whole = run, sample, whole
        self._first, self._root, self._tighten = lesson.table, root, tighten
        self._point = lesson.point
        progress = np.where(sample.tasks.weight > 0, lesson.point.progress, 1.0)
        self._typical = ratio_prices(sample.tasks, progress, lesson.point.error)
        self.proof: Proof | None = None
        self._mixtures = Mixtures(sample.tasks, self._typical)
        # Tables that were answered as exactly as it goes.
        self._exact: set[int] = set()

    def work(self, incumbent: float) -> None:
        """Branch until the gap below an objective is reached."""
        run, mixtures = self._run, self._mixtures
        tables = [self._first] if self._whole is None else self._rehearse(incumbent)
        try:
            for table in tables:
                if run.stop() and mixtures.tables:
                    break
                mixtures.add(table, self._ask(table))
        finally:
            # Ctrl-C leaves a bound behind as soon as one table is answered.
            if mixtures.tables:
                sample = self._sample
                self.proof = Proof(sample.tasks, sample.master, mixtures, self._root)
        run.raise_bound(self.bound, "root")
        self.push(incumbent)

    def push(self, incumbent: float) -> None:
        """Go on until the gap below an objective is reached; after `work`."""
        if self.proof is not None:
            target = self._target(incumbent, 1.0)
            self.proof.push(target, self._ask, self._tighten, self._run.stop, self._refine)
            self._run.raise_bound(self.bound, "tree")

    def table(self) -> Table:
        """Return the best prices for plans near the relaxed optimum."""
        point, used = self._point, self._sample.tasks.weight > 0
        progress = np.where(used, point.progress, 1.0)
        excess = np.where(used, np.maximum(point.error, 1e-12) / progress, 1.0)
        narrow = Range(
            low=progress / _NEAR, high=progress * _NEAR,
            excess_low=excess / _NEAR, excess_high=excess * _NEAR,
        )  # fmt: skip
        return mix(self._mixtures.tables, self._mixtures.best(narrow)[1])

    @property
    def bound(self) -> float:
        """What may be claimed; -inf before there is a proof."""
        if self.proof is None:
            return -float("inf")
        return min(self.proof.bound, self._run.objective)

    def _target(self, incumbent: float, part: float) -> float:
        return incumbent * (1.0 - _CLOSER * part * self._run.options.gap)

    def _rehearse(self, incumbent: float) -> list[Table]:
        """Prove on the sample first; returns the tables that its leaves rest on."""
        run, sample = self._run, self._sample
        mixtures = Mixtures(sample.tasks, self._typical)
        mixtures.add(self._first, sample.value(self._first))
        proof = Proof(sample.tasks, sample.master, mixtures, self._root)
        proof.push(self._target(incumbent, _REHEARSAL), sample.value, self._tighten, run.stop)
        used = proof.tables_used()
        run.say(f"{len(used)} of {len(mixtures.tables)} price tables carry the bound")
        return [mixtures.tables[k] for k in used]

    def _ask(self, table: Table) -> float:
        """Value of the dual at a table, over all devices."""
        number = len(self._mixtures.tables)
        if self._whole is None:
            answer = self._sample.oracle.ask(table, rounds=ROUNDS)
            self._sample.master.add(table, answer.totals)
            self._exact.add(number)
        elif self._whole.asked(table) > _HUGE:
            answer = self._whole.ask(table, rounds=1)
        else:
            answer = self._whole.ask(table, rounds=ROUNDS)
            self._exact.add(number)
        if self._whole is not None and self.proof is not None:
            # Else the master would promise the same again and again.
            self._sample.value(table)
        self._run.say(f"price table {number + 1}")
        return _guarded(answer)

    def _refine(self, number: int) -> bool:
        """Ask again with the budgets solved exactly; false when that has been done."""
        if number in self._exact or self._whole is None:
            return False
        self._exact.add(number)
        answer = self._whole.ask(self._mixtures.tables[number], rounds=ROUNDS)
        self._mixtures.improve(number, _guarded(answer))
        self._run.say(f"price table {number + 1} again")
        return True


def _guarded(answer: Answer) -> float:
    return answer.value - GUARD * answer.size
