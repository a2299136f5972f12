"""The search on a large fleet: learn prices, assign plans, prove."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.plan import Sessions
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.prices.fleet.arcs import Table
from mafl_opt.solvers.prices.fleet.arrays import fleet_of, tasks_of
from mafl_opt.solvers.prices.fleet.assignment import Assignment
from mafl_opt.solvers.prices.fleet.learning import Lesson, first_totals, learn
from mafl_opt.solvers.prices.fleet.master import Master
from mafl_opt.solvers.prices.fleet.oracle import Oracle
from mafl_opt.solvers.prices.fleet.proof import Proof, root_range
from mafl_opt.solvers.prices.fleet.ratio import Mixtures

__all__ = ["Search"]

Floats = NDArray[np.float64]

# Devices that prices are learned on, and the parts whose plans are added up apart.
_SAMPLE = 4000
_GROUPS = 20
# Times the sample is corrected by what the whole fleet answers.
_CORRECTIONS = 2
# What learning leaves open of the objective.
_ACCURACY = 1e-5
# What all devices' programs together leave open of the objective.
_DEVICES_OPEN = 1e-6
# Shares of the prices of uplinks and step caps in the sweeps after the first.
_SHARES = (1.0, 0.98, 0.9, 1.0, 0.95, 0.7, 0.0)
# A further sweep must lower O by this, relative.
_WORTH = 2e-6
# The bound is lowered by this part of the magnitudes it is a sum of: the checker widens limits by
# 1.1e-9 and rounds by 1e-10, and whoever derives it again must not come out below.
_GUARD = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Reached:
    """An incumbent: the sessions of an assignment, made a table when they are asked for."""

    value: float
    table: Sessions

    def objective(self) -> float:
        return self.value

    def sessions(self) -> Sessions:
        return self.table

    def copy(self) -> _Reached:
        return self


class Search:
    """One solve of a large fleet.

    Parameters
    ----------
    run : Run
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        scenario = run.problem.scenario
        self.tasks, self.fleet = tasks_of(scenario), fleet_of(scenario)
        self._proof: Proof | None = None
        self._size = 0.0
        self._scale = 1.0

    def work(self) -> None:
        """Learn, assign, prove."""
        run, size = self.run, self.fleet.size
        random = np.random.default_rng(run.options.seed)
        chosen = np.sort(random.permutation(size)[:_SAMPLE])
        random.shuffle(chosen)
        whole = size <= _SAMPLE
        sample = self._oracle(self.fleet.take(chosen), size / chosen.size)
        run.say(f"learning prices on {chosen.size} devices")
        progress, error, totals = first_totals(sample)
        used = self.tasks.weight > 0
        if not (progress[used] > 0).all():
            return
        progress = np.where(used, progress, 1.0)
        self._scale = float(self.tasks.weight[used] @ ((self.tasks.start + error) / progress)[used])
        sample.accuracy = _DEVICES_OPEN * self._scale / size
        self.master = Master(self.tasks, sample.groups, self._scale)
        self.master.add(totals)
        lesson = self._learn(sample, progress, error, None, None)
        full = sample
        if not whole:
            full = self._oracle(self.fleet, 1.0)
            full.accuracy = sample.accuracy
            lesson = self._correct(sample, full, lesson)
        if run.stop():
            return
        if whole:
            price = np.zeros(size)
            price[chosen] = sample.energy_price
        else:
            price = full.energy_price
        self._assign(lesson.table, price)
        self._prove(sample, full, lesson)

    def certificate(self) -> dict[str, Any] | None:
        """Return the tree, and claim a little less than it is worth."""
        if self._proof is None:
            return None
        bound = self._proof.bound - _GUARD * self._size
        bound = min(bound, self.run.objective)
        if not np.isfinite(bound):
            return None
        self.run.raise_bound(bound, "tree")
        return {
            "kind": "tree", "bound": bound,
            "prices": [_listed(table) for table in self._proof.mixtures.tables],
            "tree": self._proof.to_dict(),
        }  # fmt: skip

    def _oracle(self, fleet: Any, copies: float) -> Oracle:
        return Oracle(fleet, self.tasks, copies=copies, groups=_GROUPS, accuracy=1e-9)

    def _learn(
        self, sample: Oracle, progress: Floats, error: Floats, table: Table | None,
        correction: Floats | None,
    ) -> Lesson:  # fmt: skip
        lesson = learn(
            sample, self.master, progress, error, table=table, accuracy=_ACCURACY,
            correction=correction, stop=self.run.stop,
        )  # fmt: skip
        self.run.note("prices", steps=lesson.steps, relaxed=lesson.objective)
        return lesson

    def _correct(self, sample: Oracle, full: Oracle, lesson: Lesson) -> Lesson:
        """Learn again with what the sample misses of the whole fleet's answer."""
        for _ in range(_CORRECTIONS):
            if self.run.stop():
                break
            mine = sample.ask(lesson.table).totals.sum(axis=0)
            missing = full.ask(lesson.table).totals.sum(axis=0) - mine
            self.master.correct(missing)
            used = self.tasks.weight > 0
            progress = np.where(used, lesson.point.progress, 1.0)
            lesson = self._learn(sample, progress, lesson.point.error, lesson.table, missing)
        return lesson

    def _assign(self, table: Table, energy_price: Floats) -> None:
        """Plan all devices, then improve while it pays."""
        run = self.run
        accuracy = _DEVICES_OPEN * self._scale / self.fleet.size
        plan = Assignment(self.fleet, self.tasks, energy_price.copy(), accuracy)
        plan.sweep(table, stop=run.stop)
        last = plan.objective
        run.say(f"first plan: objective {last:.6g}")
        for share in _SHARES:
            if run.stop() or not np.isfinite(last):
                break
            plan.sweep(plan.marginal(table, share), stop=run.stop)
            run.say(f"sweep: objective {plan.objective:.6g}")
            if share != _SHARES[0] and last - plan.objective < _WORTH * last:
                break
            last = plan.objective
        if np.isfinite(plan.objective):
            sessions = plan.sessions()
            exact = run.problem.objective(sessions)
            run.offer(_Reached(value=exact, table=sessions), "assignment")

    def _prove(self, sample: Oracle, full: Oracle, lesson: Lesson) -> None:
        """Branch until the gap is reached."""
        run = self.run
        if run.best is None:
            return
        mixtures = Mixtures(self.tasks, lesson.table)

        def ask(table: Table) -> float:
            answer = full.ask(table)
            self.master.add((sample.ask(table) if sample is not full else answer).totals)
            self._size = max(self._size, answer.size)
            run.say(f"price table {len(mixtures.tables) + 1}")
            return answer.value

        root, tighten = root_range(self.fleet, self.tasks, run.objective)
        mixtures.add(lesson.table, ask(lesson.table))
        self._proof = proof = Proof(self.tasks, self.master, mixtures, root)
        run.raise_bound(min(proof.bound, run.objective) - _GUARD * self._size, "root")
        target = run.objective * (1.0 - 0.98 * run.options.gap) + 2.0 * _GUARD * self._size
        proof.push(target, ask, tighten, run.stop)
        run.raise_bound(min(proof.bound, run.objective) - _GUARD * self._size, "tree")


def _listed(table: Table) -> dict[str, Any]:
    names = {"error": "numerator", "progress": "progress", "uplink": "uplink", "step": "step_cap"}
    return {names[key]: getattr(table, key).tolist() for key in table._fields}
