"""The search on a large fleet: learn prices, assign plans, prove."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.plan import Sessions
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.prices.fleet.arcs import Table
from mafl_opt.solvers.prices.fleet.arrays import Fleet, fleet_of, tasks_of
from mafl_opt.solvers.prices.fleet.assignment import Assignment
from mafl_opt.solvers.prices.fleet.checkpoint import Journal
from mafl_opt.solvers.prices.fleet.engines import require_engine
from mafl_opt.solvers.prices.fleet.learning import ROUNDS, Lesson, first_totals, learn, worth
from mafl_opt.solvers.prices.fleet.master import Master
from mafl_opt.solvers.prices.fleet.opening import opening_plan, unpriced_certificate
from mafl_opt.solvers.prices.fleet.oracle import Oracle
from mafl_opt.solvers.prices.fleet.proof import Proof, root_range
from mafl_opt.solvers.prices.fleet.ratio import Mixtures, Range

__all__ = ["Search"]

Floats = NDArray[np.float64]

# Devices that prices are learned on: one in so many, not fewer and not more; and the parts whose
# plans are added up apart.
_ONE_IN, _SAMPLE_LEAST, _SAMPLE_MOST = 25, 4000, 20_000
_GROUPS = 20
# Times the sample is corrected by what the whole fleet answers.
_CORRECTIONS = 2
# What learning leaves open of the objective.
_ACCURACY = 1e-5
# What all devices' programs together leave open of the objective.
_DEVICES_OPEN = 1e-5
# Shares of the prices of uplinks and step caps in the sweeps after the first.
_SHARES = (1.0, 0.98, 0.9, 1.0, 0.95, 0.7, 0.0)
# A further sweep must lower O by this, relative.
_WORTH = 1e-5
# The bound that is worked for is this part of the gap below the plan; on the sample, a smaller one.
_CLOSER, _REHEARSAL = 0.98, 0.85
# Above this size whole fleets are asked with budgets at their last price first.
_HUGE = 300_000
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
        require_engine(run.options.engine)
        self.journal = Journal(run)
        self._oracles: list[Oracle] = []
        scenario = run.problem.scenario
        self.tasks, self.fleet = tasks_of(scenario), fleet_of(scenario)
        self._proof: Proof | None = None
        self._size = 0.0
        self._scale = 1.0

    def work(self) -> None:
        """Learn, assign, prove."""
        run, size = self.run, self.fleet.size
        self._restore()
        random = np.random.default_rng(run.options.seed)
        most = int(np.clip(size // _ONE_IN, _SAMPLE_LEAST, _SAMPLE_MOST))
        chosen = np.sort(random.permutation(size)[:most])
        random.shuffle(chosen)
        whole = size <= most
        sample = self._oracle("sample", self.fleet.take(chosen), size / chosen.size, whole)
        run.say(f"learning prices on {chosen.size} devices")
        progress, error, totals = first_totals(sample)
        used = self.tasks.weight > 0
        if not (progress[used] > 0).all():
            return
        progress = np.where(used, progress, 1.0)
        self._scale = float(self.tasks.weight[used] @ ((self.tasks.start + error) / progress)[used])
        sample.accuracy = _DEVICES_OPEN * self._scale / size
        self.master = Master(self.tasks, sample.groups, self._scale)
        for answer in totals:
            self.master.add(answer)
        opening = opening_plan(
            self.fleet, chosen, self.tasks, (progress, error), sample.accuracy, run.stop
        )
        if opening is not None:
            self._offer(opening, "opening")
        lesson = self._learn(sample, progress, error, None, None)
        full = sample
        if not whole:
            full = self._oracle("full", self.fleet, 1.0, True)
            full.accuracy = sample.accuracy
            lesson = self._correct(sample, full, lesson)
        self.journal.save()
        if run.stop():
            return
        if whole:
            price = np.zeros(size)
            price[chosen] = sample.energy_price
        else:
            price = full.energy_price
        self._assign(lesson.table, price)
        self.journal.save()
        self._prove(sample, full, lesson)

    def certificate(self) -> dict[str, Any] | None:
        """Return the tree, and claim a little less than it is worth."""
        if self._proof is None and self.run.best is not None:
            return unpriced_certificate(self.fleet, self.tasks, self.run.objective)
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

    def close(self) -> None:
        """Write the last checkpoint and give back what engines hold."""
        self.journal.save()
        for oracle in self._oracles:
            oracle.close()

    def _oracle(self, name: str, fleet: Fleet, copies: float, everyone: bool) -> Oracle:
        oracle = Oracle(
            fleet, self.tasks, copies=copies, groups=_GROUPS, accuracy=1e-9,
            engine=self.run.options.engine if everyone else "local",
            log=self.journal.answers(name, fleet.size),
        )  # fmt: skip
        self._oracles.append(oracle)
        return oracle

    def _restore(self) -> None:
        """Offer the plan of the checkpoint, so that it stands whatever cuts this run short."""
        log = self.journal.sweeps()
        if log is not None and log.rows is not None:
            plan = Assignment(self.fleet, self.tasks, np.zeros(self.fleet.size), 0.0, log)
            self._offer(plan.sessions(), "resumed")

    def _offer(self, sessions: Sessions, event: str) -> None:
        self.run.offer(_Reached(value=self.run.problem.objective(sessions), table=sessions), event)

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
            mine = sample.ask(lesson.table, rounds=ROUNDS).totals.sum(axis=0)
            missing = full.ask(lesson.table, rounds=ROUNDS).totals.sum(axis=0) - mine
            self.master.correct(missing)
            self._missing = missing
            used = self.tasks.weight > 0
            progress = np.where(used, lesson.point.progress, 1.0)
            lesson = self._learn(sample, progress, lesson.point.error, lesson.table, missing)
        return lesson

    def _assign(self, table: Table, energy_price: Floats) -> None:
        """Plan all devices, then improve while it pays."""
        accuracy = _DEVICES_OPEN * self._scale / self.fleet.size
        log = self.journal.sweeps()
        plan = Assignment(self.fleet, self.tasks, energy_price.copy(), accuracy, log)
        try:
            self._sweep(plan, table)
        finally:
            # Ctrl-C leaves whole plans of devices behind, those of the last sweep among them.
            if np.isfinite(plan.objective):
                self._offer(plan.sessions(), "assignment")

    def _sweep(self, plan: Assignment, table: Table) -> None:
        run = self.run
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

    def _prove(self, sample: Oracle, full: Oracle, lesson: Lesson) -> None:
        """Branch until the gap is reached."""
        run = self.run
        if run.best is None:
            return
        root, tighten = root_range(self.fleet, self.tasks, run.objective)
        tables, rounds, refine = [lesson.table], ROUNDS, None
        if sample is not full:
            tables = self._rehearse(sample, lesson, root, tighten)
            rounds = 1 if self.fleet.size > _HUGE else ROUNDS
        mixtures = Mixtures(self.tasks, lesson.table)

        def ask(table: Table) -> float:
            answer = full.ask(table, rounds=rounds)
            self._size = max(self._size, answer.size)
            if sample is full:
                self.master.add(answer.totals)
            run.say(f"price table {len(mixtures.tables) + 1}")
            return answer.value

        try:
            for table in tables:
                if run.stop() and mixtures.tables:
                    break
                mixtures.add(table, ask(table))
        finally:
            # Ctrl-C leaves a bound behind as soon as one table is answered.
            if mixtures.tables:
                self._proof = proof = Proof(self.tasks, self.master, mixtures, root)
        if rounds == 1:
            refine = self._refiner(full, mixtures)
        run.raise_bound(min(proof.bound, run.objective) - _GUARD * self._size, "root")
        proof.push(self._target(1.0) + 2.0 * _GUARD * self._size, ask, tighten, run.stop, refine)
        run.raise_bound(min(proof.bound, run.objective) - _GUARD * self._size, "tree")

    def _target(self, part: float) -> float:
        return self.run.objective * (1.0 - _CLOSER * part * self.run.options.gap)

    def _rehearse(
        self, sample: Oracle, lesson: Lesson, root: Range, tighten: Callable[[Range], Range | None]
    ) -> list[Table]:
        """Prove on the sample first; returns the tables that its leaves rest on."""
        run, mixtures = self.run, Mixtures(self.tasks, lesson.table)

        def ask(table: Table) -> float:
            answer = sample.ask(table, rounds=ROUNDS)
            self.master.add(answer.totals)
            return answer.value + worth(self.tasks, table, self._missing)

        mixtures.add(lesson.table, ask(lesson.table))
        proof = Proof(self.tasks, self.master, mixtures, root)
        proof.push(self._target(_REHEARSAL), ask, tighten, run.stop)
        used = proof.tables_used()
        run.say(f"{len(used)} of {len(mixtures.tables)} price tables carry the bound")
        return [mixtures.tables[k] for k in used]

    def _refiner(self, full: Oracle, mixtures: Mixtures) -> Callable[[int], bool]:
        """Make what asks the whole fleet again, with the budgets solved exactly."""
        done: set[int] = set()

        def refine(number: int) -> bool:
            if number in done:
                return False
            done.add(number)
            answer = full.ask(mixtures.tables[number], rounds=ROUNDS)
            self._size = max(self._size, answer.size)
            mixtures.improve(number, answer.value)
            self.run.say(f"price table {number + 1} again")
            return True

        return refine


def _listed(table: Table) -> dict[str, Any]:
    names = {"error": "numerator", "progress": "progress", "uplink": "uplink", "step": "step_cap"}
    return {names[key]: getattr(table, key).tolist() for key in table._fields}
