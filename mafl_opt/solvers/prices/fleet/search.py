"""The search on a large fleet: learn prices, assign plans, prove."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
from mafl_opt.solvers.prices.fleet.learning import Lesson
from mafl_opt.solvers.prices.fleet.opening import opening_plan, unpriced_certificate
from mafl_opt.solvers.prices.fleet.oracle import Oracle
from mafl_opt.solvers.prices.fleet.proof import root_range
from mafl_opt.solvers.prices.fleet.proving import Prover
from mafl_opt.solvers.prices.fleet.sample import OPEN, Sample, draw
from mafl_opt.solvers.prices.fleet.whole import Whole, generosity

__all__ = ["Search"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Parts of a fleet whose plans are added up apart.
_GROUPS = 20
# Times the sample is corrected by what the whole fleet answers.
_CORRECTIONS = 2
# Shares of the prices of uplinks and step caps in the sweeps after the first: at the whole prices
# devices make room for those that gain more by it, at none what is left of the room is used.
_SHARES = (1.0, 0.9, 0.7, 0.0)
# How near the relaxation plans are brought where they can be, in gaps asked for.
_NEAR = 0.3
# Turns of exchanges and proof that may bring less than this part of what is missing, in a row.
_IDLE, _PAYS = 3, 0.02


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
        self._prover: Prover | None = None
        #: O of the mixture of plans that prices were learned with.
        self._relaxed = -np.inf

    def work(self, prepare: Callable[[Callable[[], bool]], None] | None = None) -> None:
        """Learn, assign, prove.

        Parameters
        ----------
        prepare : callable or None
            Called with `Run.stop` between a first plan and all that is compiled.
        """
        run, everyone = self.run, np.arange(self.fleet.size)
        self._restore()
        random = np.random.default_rng(run.options.seed)
        strata = [draw(everyone, random)]
        totals = self._open(strata[0][0])
        if prepare is not None:
            prepare(run.stop)
        if run.stop():
            return
        sample = self._sample("scout", strata, self.fleet.size, totals)
        if not sample.trains:
            return
        lesson = sample.learn(run)
        whole = None
        if strata[0][0].size < self.fleet.size and not run.stop():
            whole = Whole(self.fleet, self._start_whole(sample.scale))
            if self.journal.generosity is None:
                acting = sample.oracle.acting(lesson.table).size
                self.journal.generosity = generosity(acting)
            fewer = whole.leave_out_idle(
                lesson.table, self.journal.generosity, self.journal.acting
            )  # fmt: skip
            self.journal.acting = whole.names
            if fewer:
                run.say(f"{whole.names.size} devices may act")
                idle = np.setdiff1d(everyone, whole.names, assume_unique=True)
                strata = [draw(whole.names, random), draw(idle, random)]
                sample = self._sample("sample", strata, whole.names.size)
                if not sample.trains:
                    return
                lesson = sample.learn(run)
            for _ in range(_CORRECTIONS):
                if not run.stop():
                    sample.correct(whole, lesson.table)
                    lesson = sample.learn(run, lesson)
        self.journal.save()
        if run.stop():
            return
        self._relaxed = lesson.objective
        if whole is None:
            fleet, names, price = self.fleet, everyone, np.zeros(self.fleet.size)
            price[strata[0][0]] = sample.oracle.energy_price
        else:
            fleet, names, price = whole.acting, whole.names, whole.energy_price.copy()
        log = self.journal.sweeps()
        plan = Assignment(fleet, self.tasks, price, sample.accuracy, log)
        tables = sample.master.tables
        self._improve(plan, names, lambda: self._sweep(plan, tables, lesson))
        self.journal.save()
        if run.best is not None:
            # Not the best plan's: a resumed search has that from the start, and must do the same.
            incumbent = plan.objective if np.isfinite(plan.objective) else run.objective
            bounds = root_range(self.fleet, self.tasks, incumbent)
            self._prover = Prover(run, sample, whole, lesson, *bounds)
            self._prover.work(incumbent)
            self._close_in(plan, names, self._prover)

    def _sample(
        self, name: str, strata: list[tuple[Ints, float]], acting: int,
        totals: tuple[Floats, Floats] | None = None,
    ) -> Sample:  # fmt: skip
        chosen = np.concatenate([names for names, _ in strata])
        self.run.say(f"learning prices on {chosen.size} devices")
        sizes = [(names.size, copies) for names, copies in strata]
        oracle = self._oracle(name, self.fleet.take(chosen), sizes)
        return Sample(self.tasks, oracle, acting, totals)

    def _open(self, chosen: Ints) -> tuple[Floats, Floats] | None:
        """Have some plan, whatever cuts learning short; returns its totals if all devices may act.

        Nothing is compiled before.
        """
        opening = opening_plan(self.fleet, chosen, self.tasks)
        if opening is None:
            return None
        self._offer(opening.sessions, "opening")
        return (opening.progress, opening.error) if chosen.size == self.fleet.size else None

    def certificate(self) -> dict[str, Any] | None:
        """Return the tree, and claim a little less than it is worth."""
        prover = self._prover
        if prover is None or prover.proof is None:
            if self.run.best is None:
                return None
            return unpriced_certificate(self.fleet, self.tasks, self.run.objective)
        if not np.isfinite(prover.bound):
            return None
        self.run.raise_bound(prover.bound, "tree")
        return {
            "kind": "tree", "bound": prover.bound,
            "prices": [_listed(table) for table in prover.proof.mixtures.tables],
            "tree": prover.proof.to_dict(),
        }  # fmt: skip

    @property
    def limit(self) -> str:
        """What the gap rests on at the end, see `Run.plan`."""
        run, bound, relaxed = self.run, self.run.bound, self._relaxed
        if bound is None or run.objective - relaxed > 0.5 * (run.objective - bound):
            return "plans of whole sessions, which no exchange of few devices brings nearer"
        return "multipliers and splits of A_j and Y_j, which raise the bound no more"

    def close(self) -> None:
        """Write the last checkpoint and give back what engines hold."""
        self.journal.save()
        for oracle in self._oracles:
            oracle.close()

    def _oracle(
        self, name: str, fleet: Fleet, strata: list[tuple[int, float]] | None = None
    ) -> Oracle:
        """Start an oracle; samples are worked out on this machine."""
        oracle = Oracle(
            fleet, self.tasks, strata=strata or [(fleet.size, 1.0)], groups=_GROUPS, accuracy=1e-9,
            engine="local" if fleet.size < self.fleet.size and strata else self.run.options.engine,
            log=self.journal.answers(name, fleet.size),
        )  # fmt: skip
        self._oracles.append(oracle)
        return oracle

    def _start_whole(self, scale: float) -> Callable[[str, Fleet], Oracle]:
        def start(name: str, fleet: Fleet) -> Oracle:
            oracle = self._oracle(name, fleet)
            oracle.accuracy = OPEN * scale / fleet.size
            return oracle

        return start

    def _restore(self) -> None:
        """Offer the plan of the checkpoint, so that it stands whatever cuts this run short."""
        log, names = self.journal.sweeps(), self.journal.acting
        if log is not None and log.rows is not None:
            names = np.arange(self.fleet.size) if names is None else names
            fleet = self.fleet.take(names)
            plan = Assignment(fleet, self.tasks, np.zeros(names.size), 0.0, log)
            self._offer(plan.sessions(names), "resumed")

    def _offer(self, sessions: Sessions, event: str) -> None:
        self.run.offer(_Reached(value=self.run.problem.objective(sessions), table=sessions), event)

    def _improve(self, plan: Assignment, names: Ints, work: Callable[[], None]) -> None:
        """Work on a plan of the devices that may act, and offer it."""
        try:
            work()
        finally:
            # Ctrl-C leaves whole plans of devices behind, those of the last sweep among them.
            if np.isfinite(plan.objective):
                self._offer(plan.sessions(names), "assignment")

    def _close_in(self, plan: Assignment, names: Ints, prover: Prover) -> None:
        """Improve the plan and prove, in turns, to the gap or until neither brings anything."""
        run, idle, turn = self.run, 0, 0
        left = self._missing(plan, prover)
        while 0.0 < left < np.inf and idle < _IDLE and not run.stop():
            turn += 1
            aim = prover.bound / (1.0 - run.options.gap)
            self._improve(plan, names, partial(self._turn, plan, prover.table(), turn, aim))
            prover.push(plan.objective)
            before, left = left, self._missing(plan, prover)
            idle = idle + 1 if before - left < _PAYS * before else 0

    def _turn(self, plan: Assignment, table: Table, turn: int, aim: float) -> None:
        run = self.run
        plan.exchange(table, run.options.seed + turn, aim=aim, stop=run.stop)
        if plan.objective > aim and not run.stop():
            plan.sweep(plan.marginal(table, 0.0), stop=run.stop)
        run.say(f"exchanges: objective {plan.objective:.6g}")

    def _missing(self, plan: Assignment, prover: Prover) -> float:
        """By how much plan and bound are further apart than the gap asked for allows."""
        return (1.0 - self.run.options.gap) * plan.objective - prover.bound

    def _sweep(self, plan: Assignment, tables: list[Table], lesson: Lesson) -> None:
        run, shares = self.run, lesson.point.shares
        plan.spread(tables[: shares.size], shares, run.options.seed, stop=run.stop)
        run.say(f"first plan: objective {plan.objective:.6g}")
        aim = lesson.objective * (1.0 + _NEAR * run.options.gap)
        for share in _SHARES:
            if run.stop() or not np.isfinite(plan.objective):
                break
            plan.sweep(plan.marginal(lesson.table, share), stop=run.stop)
            run.say(f"sweep: objective {plan.objective:.6g}")
            if share == 1.0 and plan.objective > aim and not run.stop():
                plan.exchange(lesson.table, run.options.seed, aim=aim, stop=run.stop)
                run.say(f"exchanges: objective {plan.objective:.6g}")


def _listed(table: Table) -> dict[str, Any]:
    names = {"error": "numerator", "progress": "progress", "uplink": "uplink", "step": "step_cap"}
    return {names[key]: getattr(table, key).tolist() for key in table._fields}
