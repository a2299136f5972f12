"""The restricted Dantzig-Wolfe master: a linear program over patterns, solved by HiGHS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.scenario import Scenario
from mafl_opt.formulations.boxes import BoxRules
from mafl_opt.formulations.limits import widened
from mafl_opt.solvers.prices.highs import quiet_highs
from mafl_opt.solvers.prices.patterns.box import Box
from mafl_opt.solvers.prices.patterns.columns import Patterns
from mafl_opt.solvers.prices.patterns.multipliers import Count, Multipliers
from mafl_opt.solvers.prices.patterns.sessions import Sessions

__all__ = ["Master", "Point"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Tangents of Gamma' / A that are there from the start, and how far from one another.
_TANGENTS, _SPREAD = 12, 0.8
# Columns of every task before the patterns; one more, of the counts, stands between.
_PARTS = 7
# What a unit of missing progress, or all that counts lack, costs, in objectives.
_ARTIFICIAL = 1e3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Point:
    """Optimum of the restricted master.

    Attributes
    ----------
    value : float
    usage : (patterns,)
    progress, excess : (tasks,)
        A_j and Y_j.
    ends, shares, terms : (2, tasks)
        Scaled A, weight and gamma_j Gamma'_j / A_j (from below) of the two ends of Y.
    missing : float
        Progress that no pattern brings, in parts of the scale, and the part of the smallest
        numbers of sessions that is lacking.
    """

    value: float
    usage: Floats
    progress: Floats
    excess: Floats
    ends: Floats
    shares: Floats
    terms: Floats
    missing: float


class Master:
    """The linear program, grown by columns and counts; one HiGHS instance for good.

    Parameters
    ----------
    scenario : Scenario
    sessions : Sessions
    rules : BoxRules
    blocks : int
        Of which one pattern is used at most.
    top : float
        Typical objective.
    progress, excess : (tasks,)
        Typical A_j and Y_j, > 0.
    """

    def __init__(
        self, scenario: Scenario, sessions: Sessions, rules: BoxRules, blocks: int, top: float,
        progress: Floats, excess: Floats,
    ) -> None:  # fmt: skip
        self.scenario, self.sessions, self.rules = scenario, sessions, rules
        self.used = np.flatnonzero(scenario.tasks.weight > 0)
        self.scale = top
        self.progress, self.excess = progress, excess
        self.numerator = progress * excess
        budget = widened(scenario.devices.energy_budget_j)
        self.budget = np.where(budget > 0, budget, 1.0)
        tasks, slots, devices = scenario.num_tasks, scenario.num_slots, scenario.num_devices
        sizes = {
            "block": blocks, "place": devices * slots, "energy": devices, "uplink": slots,
            "progress": tasks, "numerator": tasks, "low_most": tasks, "low_least": tasks,
            "high_most": tasks, "high_least": tasks,
        }  # fmt: skip
        ends = np.cumsum(list(sizes.values()))
        self._at = {
            name: int(end - size) for (name, size), end in zip(sizes.items(), ends, strict=True)
        }
        self.counts: list[Count] = []
        self._count_rows: list[int] = []
        self._unlimited: list[bool] = []
        self.patterns = Patterns(
            block=np.zeros(0, np.int64), first=np.zeros(1, np.int64),
            session=np.zeros(0, np.int64), batch=np.zeros(0),
        )  # fmt: skip
        self._highs: Any = quiet_highs(
            presolve="off",
            # New columns leave the basis feasible: the primal simplex method goes on from there.
            simplex_strategy=4,
            simplex_scale_strategy=0,
            dual_feasibility_tolerance=1e-9,
            primal_feasibility_tolerance=1e-9,
        )
        self._build(int(ends[-1]))

    def _build(self, rows: int) -> None:
        s, at, highs = self.scenario, self._at, self._highs
        tasks = s.num_tasks
        upper = np.ones(rows)
        upper[at["uplink"] : at["progress"]] = s.network.uplink_capacity
        upper[at["progress"] :] = 0.0
        none = np.zeros(0, dtype=np.int32)
        highs.addRows(
            rows, np.full(rows, -np.inf), upper, 0, np.zeros(rows, np.int32), none, np.zeros(0)
        )
        task = np.arange(tasks)
        # Shares of A at the low and the high end of Y, weight of the high end, terms of Gamma' / A
        # at both ends, and what is missing of A and too much of R.
        one = np.ones(tasks)
        parts: list[tuple[Floats, list[tuple[Ints, Floats]]]] = [
            (0 * one, [
                (at["progress"] + task, one), (at["numerator"] + task, one),
                (at["low_most"] + task, one), (at["low_least"] + task, -one),
            ]),
            (0 * one, [
                (at["progress"] + task, one), (at["numerator"] + task, one),
                (at["high_most"] + task, one), (at["high_least"] + task, -one),
            ]),
            (one, [
                (at[name] + task, one)
                for name in ("low_most", "low_least", "high_most", "high_least")
            ]),
            (one, []),
            (one, []),
            (_ARTIFICIAL * one, [(at["progress"] + task, -one)]),
            (_ARTIFICIAL * one, [(at["numerator"] + task, -one)]),
        ]  # fmt: skip
        for cost, entries in parts:
            index = np.array([rows for rows, _ in entries], dtype=np.int32).T.ravel()
            value = np.array([values for _, values in entries]).T.ravel()
            start = np.arange(tasks, dtype=np.int32) * len(entries)
            most = np.ones(tasks) if cost is parts[2][0] else np.full(tasks, np.inf)
            highs.addCols(tasks, cost, np.zeros(tasks), most, index.size, start, index, value)
        self._columns = _PARTS * tasks + 1
        highs.addCols(
            1, np.array([_ARTIFICIAL]), np.zeros(1), np.ones(1), 0, np.zeros(1, np.int32), none,
            np.zeros(0),
        )  # fmt: skip
        for j in self.used:
            most = self.rules.progress_most[j] / self.progress[j]
            for k in range(_TANGENTS):
                self._add_tangents(int(j), most * _SPREAD**k)

    def _add_tangents(self, j: int, at: float) -> None:
        """Add the tangents of c / A at a scaled A, at both ends of Y (perspectives)."""
        c = self.rules.weight[j] * self.rules.start[j] / self.progress[j] / self.scale
        if c == 0:
            return
        tasks = self.scenario.num_tasks
        # In units in which the first right-hand side is 1.
        for end, right, sign in ((0, 1.0, 1.0), (1, 0.0, -1.0)):
            index = np.array([end * tasks + j, 2 * tasks + j, (3 + end) * tasks + j], np.int32)
            value = np.array([1.0 / (2.0 * at), sign, at / (2.0 * c)])
            self._highs.addRow(right, np.inf, 3, index, value)

    def set_box(self, box: Box) -> None:
        """Make ranges of A, Y and counts those of a box, in place.

        The convex hull of (A, Y, Y A, Gamma' / A) over the box is that of its two ends in Y.
        """
        at, highs, tasks = self._at, self._highs, self.scenario.num_tasks
        self._offset = 0.0
        self._low, self._width = box.excess_low.copy(), np.zeros(tasks)
        for j in self.used.tolist():
            low, high = box.low[j] / self.progress[j], box.high[j] / self.progress[j]
            least, most = box.excess_low[j] / self.excess[j], box.excess_high[j] / self.excess[j]
            highs.changeCoeff(at["numerator"] + j, j, -least)
            highs.changeCoeff(at["numerator"] + j, tasks + j, -most)
            for name, value, right in (
                ("low_most", high, high), ("low_least", -low, -low), ("high_most", -high, 0.0),
                ("high_least", low, 0.0),
            ):  # fmt: skip
                highs.changeCoeff(at[name] + j, 2 * tasks + j, value)
                highs.changeRowBounds(at[name] + j, -np.inf, right)
            weight = self.rules.weight[j]
            self._width[j] = box.excess_high[j] - box.excess_low[j]
            highs.changeColCost(2 * tasks + j, weight * self._width[j] / self.scale)
            self._offset += weight * box.excess_low[j]
        self._set_counts(box.counts)

    def _set_counts(self, limits: Mapping[Count, tuple[int, float]]) -> None:
        for count in limits:
            if count not in self.counts:
                self.add_count(count)
        for number, count in enumerate(self.counts):
            low, high = limits.get(count, (0, np.inf))
            row = self._count_rows[number]
            self._highs.changeRowBounds(row, float(low), float(high))
            # With all of it lacking the program is feasible, whatever patterns there are.
            self._highs.changeCoeff(row, self._columns - 1, float(low))
            self._unlimited[number] = bool(np.isinf(high))

    def add_count(self, count: Count) -> None:
        """Add a row for a number of sessions, not limited yet."""
        number = self._number(count, self.patterns)
        at = np.flatnonzero(number)
        # Asked of HiGHS, which refuses tangents of absurd size.
        self._count_rows.append(self._highs.getNumRow())
        self._highs.addRow(
            0.0, np.inf, at.size, (self._columns + at).astype(np.int32), number[at].astype(float)
        )
        self._unlimited.append(True)
        self.counts.append(count)

    def _number(self, count: Count, patterns: Patterns) -> Ints:
        """Return how many sessions of each pattern a count counts; (patterns,)."""
        mine = self.sessions.counted(count)[patterns.session]
        mine &= patterns.batch > count.batch_above
        return np.bincount(patterns.owner[mine], minlength=len(patterns))

    def add(self, new: Patterns) -> None:
        """Add columns."""
        if not len(new):
            return
        s, c, at = self.scenario, self.sessions, self._at
        rows, batch, owner = new.session, new.batch, new.owner
        energy, i, j = c.energy_j(batch, rows), c.device[rows], c.task[rows]
        length = c.upload[rows] - c.receive[rows]
        place = at["place"] + i * s.num_slots + c.receive[rows]
        steps = np.arange(length.sum()) - np.repeat(length.cumsum() - length, length)
        sized = np.diff(new.first).astype(float)
        pair, pairs = owner * s.num_tasks + j, len(new) * s.num_tasks
        progress = np.bincount(pair, c.progress[rows] / self.progress[j], pairs)
        error = np.bincount(pair, c.error_at(batch, rows) / self.numerator[j], pairs)
        trained = np.flatnonzero(progress)
        pattern, task = np.divmod(trained, s.num_tasks)
        entries = [
            (np.arange(len(new)), at["block"] + new.block, np.ones(len(new))),
            (np.repeat(owner, length), np.repeat(place, length) + steps, np.ones(steps.size)),
            (owner, at["energy"] + i, energy / self.budget[i]),
            (np.arange(len(new)), at["uplink"] + c.upload[rows[new.first[:-1]]] - 1, sized),
            (pattern, at["progress"] + task, -progress[trained]),
            (pattern, at["numerator"] + task, error[trained]),
        ]  # fmt: skip
        for number, count in enumerate(self.counts):
            found = self._number(count, new)
            mine = np.flatnonzero(found)
            row = np.full(mine.size, self._count_rows[number])
            entries.append((mine, row, found[mine].astype(float)))
        column, row, value = (np.concatenate(part) for part in zip(*entries, strict=True))
        order = np.argsort(column, kind="stable")
        start = np.searchsorted(column[order], np.arange(len(new))).astype(np.int32)
        cost = s.energy_weight * np.bincount(owner, energy, len(new)) / self.scale
        status = self._highs.addCols(
            len(new), cost, np.zeros(len(new)), np.full(len(new), np.inf), order.size, start,
            row[order].astype(np.int32), value[order],
        )  # fmt: skip
        # HiGHS refuses factors of absurd size; without the patterns bounds are lower, and as true.
        if status != highspy.HighsStatus.kError:
            self.patterns = self.patterns.joined(new)

    def keep(self, patterns: Ints) -> None:
        """Take all other patterns out."""
        out = np.ones(len(self.patterns), dtype=bool)
        out[patterns] = False
        gone = (self._columns + np.flatnonzero(out)).astype(np.int32)
        self._highs.deleteCols(gone.size, gone)
        self.patterns = self.patterns.take(np.flatnonzero(~out))

    def fix(self, patterns: Ints, low: float, high: float) -> None:
        """Set bounds of the usage of some patterns."""
        n = patterns.size
        index = (self._columns + patterns).astype(np.int32)
        self._highs.changeColsBounds(n, index, np.full(n, low), np.full(n, high))

    def solve(self) -> tuple[Point, Multipliers] | None:
        """Solve the program; None where HiGHS gives no optimum."""
        highs, at, s = self._highs, self._at, self.scenario
        highs.run()
        if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            highs.clearSolver()
            highs.run()
            if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
                return None
        solution = highs.getSolution()
        x = np.array(solution.col_value)
        dual = -np.array(solution.row_dual) * self.scale
        tasks = s.num_tasks
        sized = np.maximum(dual, 0.0)
        self.block_dual = sized[at["block"] : at["place"]]
        counts = dual[np.array(self._count_rows, dtype=np.int64)]
        # Round-off would charge for numbers that nothing limits, without end.
        counts[self._unlimited] = np.minimum(counts[self._unlimited], 0.0)
        prices = Multipliers(
            error=sized[at["numerator"] : at["low_most"]] / self.numerator,
            progress=sized[at["progress"] : at["numerator"]] / self.progress,
            uplink=sized[at["uplink"] : at["progress"]],
            energy=sized[at["energy"] : at["uplink"]] / self.budget,
            device_slot=sized[at["place"] : at["energy"]].reshape(s.num_devices, s.num_slots),
            counts=counts,
        )  # fmt: skip
        ends, high = x[: 2 * tasks].reshape(2, tasks), x[2 * tasks : 3 * tasks]
        point = Point(
            value=highs.getObjectiveValue() * self.scale + self._offset,
            usage=x[self._columns :], progress=ends.sum(axis=0) * self.progress,
            excess=self._low + high * self._width, ends=ends, shares=np.array([1.0 - high, high]),
            terms=x[3 * tasks : 5 * tasks].reshape(2, tasks) * self.scale,
            missing=float(x[5 * tasks : self._columns].sum()),
        )  # fmt: skip
        return point, prices

    def integer(self, effort: int, seconds: float, patterns: Ints) -> Ints | None:
        """Solve the program over some patterns taken whole; returns those taken, None without any.

        Parameters
        ----------
        effort : int
            How often HiGHS may ask whether to go on.
        seconds : float
        patterns : (chosen patterns,)
        """
        highs = quiet_highs(
            time_limit=max(seconds, 0.01),
            mip_rel_gap=1e-5,
        )
        program = self._highs.getLp()
        whole = np.zeros(program.num_col_, dtype=bool)
        whole[self._columns + patterns] = True
        upper = np.array(program.col_upper_)
        upper[self._columns :] = np.where(whole[self._columns :], 1.0, 0.0)
        upper[(_PARTS - 2) * self.scenario.num_tasks : self._columns] = 0.0
        program.col_upper_ = upper
        program.integrality_ = [
            highspy.HighsVarType.kInteger if flag else highspy.HighsVarType.kContinuous
            for flag in whole
        ]
        highs.passModel(program)
        found: list[Ints] = []
        asked = 0

        def keep(event: Any) -> None:
            x = np.array(event.data_out.mip_solution)[self._columns :]
            found.append(np.flatnonzero(x > 0.5))

        def enough(event: Any) -> None:
            nonlocal asked
            asked += 1
            if asked > effort:
                event.interrupt()

        highs.cbMipImprovingSolution.subscribe(keep)
        highs.cbMipInterrupt.subscribe(enough)
        highs.solve()
        return found[-1] if found else None

    def refine(self, point: Point, close: float) -> bool:
        """Add tangents of Gamma' / A where they are off by more than `close`; whether any was."""
        c = self.rules.weight * self.rules.start / self.progress
        added = False
        for j in self.used.tolist():
            for a, share, term in zip(
                point.ends[:, j], point.shares[:, j], point.terms[:, j], strict=True
            ):
                if share > 1e-9 and a > 0 and c[j] * share**2 / a - term > close * self.scale:
                    self._add_tangents(j, a / share)
                    added = True
        return added
