"""The linear relaxation with whole knapsacks, by column generation on HiGHS.

The master's rows but for the step caps: instead, the sessions of a slot and task are a mixture of
sets that fit its cap, and the sets come in as they are needed. The duals of the rows that tie
sessions to sets are the tolls of `tolls.tolled_bound`, so that every solve proves a bound in
closed form, whether it ran to its end or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import highspy
import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.leaves import RelaxedPoint
from mafl_opt.solvers.minlp.knapsacks import Knapsacks
from mafl_opt.solvers.minlp.layout import lay_out
from mafl_opt.solvers.minlp.pieces import Piece, cut_pieces
from mafl_opt.solvers.minlp.points import Points
from mafl_opt.solvers.minlp.rows import ELASTIC, Scales
from mafl_opt.solvers.minlp.tolls import Goal, Region, Tolls, tolled_bound

__all__ = ["Basis", "Packed", "PackedPoint"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_FIRST_TANGENTS = 3
# A tangent or a set is worth adding when it is this far off, in scaled objectives.
_OFF = 1e-6
_STATUS = highspy.HighsBasisStatus


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Basis:
    """A basis of the relaxation: which columns are basic, and the status of every row."""

    basic: NDArray[np.int32]
    rows: tuple[highspy.HighsBasisStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedPoint:
    """Solution of the relaxation, with the best bound found on the way.

    bound : float
        Of the goal, by `tolled_bound`.
    tolls : Tolls
        They prove it.
    point : RelaxedPoint
    """

    bound: float
    tolls: Tolls
    point: RelaxedPoint


class Packed:
    """The relaxation in HiGHS's memory; it is framed by a region and solved, again and again.

    Parameters
    ----------
    problem : Problem
    knapsacks : Knapsacks
    points : Points
        A point that is missing costs tightness, not truth: the bound sees every column.
    scale : float
        Typical objective.
    sets : sequence of (row, kinds), optional
        Sets to begin with.
    """

    def __init__(
        self, problem: Problem, knapsacks: Knapsacks, points: Points, scale: float,
        sets: Sequence[tuple[int, NDArray[np.int64]]] = (),
    ) -> None:  # fmt: skip
        self.problem, self.points, self._scale = problem, points, scale
        self._knapsacks, self._scales = knapsacks, Scales.of(problem)
        self._used = np.flatnonzero(problem.scenario.tasks.weight > 0)
        self.sets: list[tuple[int, NDArray[np.int64]]] = []
        self._pieces: dict[int, Piece] = {}
        self._highs = highspy.Highs()  # type: ignore[no-untyped-call]
        self._highs.silent()
        self._highs.setOptionValue("threads", 1)
        self._at = at = lay_out(problem, knapsacks, points, self._scales)
        self._highs.passModel(at.program)
        for row, kinds in sets:
            self._add_set(row, kinds)
        if not sets:
            # The fullest sets, so that there is something to mix.
            size = np.zeros(len(knapsacks))
            size[knapsacks.kind] = problem.columns.step
            for row, packing in enumerate(knapsacks.pack(size)):
                self._add_set(row, packing.kinds)

    def _add_set(self, row: int, kinds: NDArray[np.int64]) -> None:
        if not kinds.size:
            return
        self.sets.append((row, kinds))
        where = np.append(self._at.tie_row + kinds, self._at.mixture_row + row).astype(np.int32)
        value = np.append(-np.ones(kinds.size), 1.0)
        self._highs.addCol(0.0, 0.0, highspy.kHighsInf, where.size, where, value)

    # -- framing ---------------------------------------------------------------------------

    def frame(
        self, region: Region, barred: Mask, owed: Sequence[Mask], basis: Basis | None = None
    ) -> None:
        """Set the region, the columns that are barred, and sets of columns one of which is due.

        Parameters
        ----------
        region : Region
        barred : (columns,)
        owed : sequence of (columns,)
            All columns of one device that are busy in some slot: a plan uses one at most.
        basis : Basis, optional
            Of a like program, to set out from.
        """
        highs, count = self._highs, len(self.points)
        extra = np.arange(self._at.rows, highs.getNumRow(), dtype=np.int32)
        highs.deleteRows(extra.size, extra)
        upper = np.where(barred[self.points.column], 0.0, np.inf)
        every = np.arange(count, dtype=np.int32)
        highs.changeColsBounds(count, every, np.zeros(count), upper)
        self._region, self._barred, self._owed = region, barred, tuple(owed)
        self._pieces.clear()
        for j in self._used.tolist():
            edges = np.array([region.low[j], region.high[j]])
            piece = cut_pieces(region.rules, j, edges, region.top, self._scales)[0]
            self._pieces[j] = piece
            for part in piece.shape():
                self._add_row(j, part)
            for at in np.linspace(piece.low, piece.high, _FIRST_TANGENTS):
                for part in piece.tangents(float(at)):
                    self._add_row(j, part)
        self._first_owed = highs.getNumRow()
        for group in self._owed:
            where = np.flatnonzero(group[self.points.column]).astype(np.int32)
            highs.addRow(1.0, highspy.kHighsInf, where.size, where, np.ones(where.size))
        if basis is not None:
            self._set_basis(basis)

    def basis(self) -> Basis | None:
        """Basis of the last solve; None when there is none."""
        found = self._highs.getBasis()
        basic = [k for k, status in enumerate(found.col_status) if status == _STATUS.kBasic]
        rows = tuple(found.row_status)
        return Basis(basic=np.array(basic, dtype=np.int32), rows=rows) if found.valid else None

    def _set_basis(self, basis: Basis) -> None:
        """Set out from a basis; rows it does not know are basic, and HiGHS repairs the rest."""
        found, rows = highspy.HighsBasis(), self._highs.getNumRow()
        status = [_STATUS.kLower] * self._highs.getNumCol()
        for k in basis.basic:
            status[k] = _STATUS.kBasic
        known = list(basis.rows[:rows])
        found.col_status = status
        found.row_status = known + [_STATUS.kBasic] * (rows - len(known))
        found.valid = found.alien = True
        self._highs.setBasis(found)

    def _add_row(self, j: int, part: Sequence[float]) -> None:
        """Add a row of a piece, which is the only one."""
        where = np.array(
            [self._at.numerator + j, self._at.progress + j, self._at.ratio + j], dtype=np.int32
        )
        self._highs.addRow(-part[0], highspy.kHighsInf, 3, where, np.array(part[1:]))

    # -- solving ---------------------------------------------------------------------------

    def minimise(
        self, goal: Goal, *, enough: float, close: float, rounds: int,
        time_limit: float | None, below: float | None = None,
    ) -> PackedPoint | None:  # fmt: skip
        """Minimise a goal as framed; None when HiGHS gave no point.

        Parameters
        ----------
        goal : Goal
        enough : float
            Bound at which to stop.
        close : float
            Distance between relaxation and bound at which to stop.
        rounds : int
            Solves at most.
        time_limit : float or None, s
        below : float, optional
            Value that O must stay below, as one more row.
        """
        highs = self._highs
        every = np.arange(highs.getNumCol(), dtype=np.int32)
        highs.changeColsCost(every.size, every, self._costs(goal))
        if below is not None:
            cost = self._costs(Goal.of(self.problem))
            where = np.flatnonzero(cost[: self._at.loose]).astype(np.int32)
            most = below / self._scale
            highs.addRow(-highspy.kHighsInf, most, where.size, where, cost[where])
            cap = highs.getNumRow() - 1
        best: PackedPoint | None = None
        # All solves of a HiGHS object count.
        ends = highspy.kHighsInf if time_limit is None else highs.getRunTime() + time_limit
        highs.setOptionValue("time_limit", ends)
        for _ in range(rounds):
            highs.run()
            if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
                break
            # Before anything is added: HiGHS forgets it then.
            value = highs.getInfo().objective_function_value * self._scale
            solution = highs.getSolution()
            x, dual = np.array(solution.col_value), np.array(solution.row_dual)
            price = 0.0 if below is None else max(-float(dual[cap]), 0.0)
            new, tolls = self._read(dual, 0.0 if below is None else price * below)
            whole = goal.plus(price, Goal.of(self.problem)) if price else goal
            bound = tolled_bound(self.problem, whole, self._region, tolls)
            new |= self._add_tangents(x)
            if best is not None and best.bound >= bound:
                bound, tolls = best.bound, best.tolls
            best = PackedPoint(bound=bound, tolls=tolls, point=self._point(x, value, tolls))
            if best.bound >= enough or value - best.bound <= close or not new:
                break
        if below is not None:
            basis = self.basis()
            highs.deleteRows(1, np.array([cap], dtype=np.int32))
            if basis is not None:
                self._set_basis(replace(basis, rows=basis.rows[:cap] + basis.rows[cap + 1 :]))
        return best

    def infeasible(self) -> bool:
        """Whether HiGHS found the last program infeasible."""
        return bool(self._highs.getModelStatus() == highspy.HighsModelStatus.kInfeasible)

    def _costs(self, goal: Goal) -> Floats:
        """Objective of HiGHS's columns, scaled."""
        at, scales, out = self._at, self._scales, np.zeros(self._highs.getNumCol())
        out[: len(self.points)] = goal.energy * self.points.energy
        for first, value in (
            (at.numerator, goal.error * scales.error),
            (at.progress, -goal.progress * scales.progress),
            (at.ratio, goal.ratio * scales.error / scales.progress),
        ):
            out[first : first + value.size] = value
        out /= self._scale
        out[self._at.loose : self._at.first_set] = ELASTIC
        return out

    def _read(self, dual: Floats, given: float) -> tuple[bool, Tolls]:
        """Tolls from duals, and whether they brought new sets."""
        s, scale, scales = self.problem.scenario, self._scale, self._scales

        def paid(first: int, size: int) -> Floats:
            return np.maximum(-dual[first : first + size], 0.0) * scale

        toll = paid(self._at.tie_row, len(self._knapsacks)) / scale
        sold = -dual[self._at.mixture_row : self._at.mixture_row + self._knapsacks.rows]
        packings = self._knapsacks.pack(toll)
        better = [row for row, best in enumerate(packings) if best.toll > sold[row] + _OFF]
        for row in better:
            self._add_set(row, packings[row].kinds)
        own = toll[self._knapsacks.kind] * scale
        debts = np.maximum(dual[self._first_owed :][: len(self._owed)], 0.0) * scale
        for debt, group in zip(debts, self._owed, strict=True):
            own -= debt * group
        tolls = Tolls(
            numerator=paid(self._at.error_row, s.num_tasks) / scales.error,
            progress=paid(self._at.progress_row, s.num_tasks) / scales.progress,
            uplink=paid(self._at.uplink_row, s.num_slots),
            step_cap=np.zeros((s.num_slots, s.num_tasks)),
            energy=paid(self._at.energy_row, s.num_devices) / scales.energy,
            toll=np.where(self._barred, np.inf, own),
            given=float(sum(packing.toll for packing in packings) * scale - debts.sum() + given),
        )
        return bool(better), tolls

    def _add_tangents(self, x: Floats) -> bool:
        """Add tangents where 1/A is below its own at a solution."""
        weight, new = self.problem.scenario.tasks.weight, False
        factor = weight * self._scales.error / self._scales.progress / self._scale
        for j, piece in self._pieces.items():
            n, a, t = x[self._at.numerator + j], x[self._at.progress + j], x[self._at.ratio + j]
            parts = piece.tangents(float(a)) if a > 0 else ()
            for part in parts:
                if -float(np.dot(part, (1.0, n, a, t))) * factor[j] > _OFF:
                    self._add_row(j, part)
                    new = True
        return new

    def _point(self, x: Floats, value: float, tolls: Tolls) -> RelaxedPoint:
        wish = np.zeros(len(self.problem.columns))
        np.add.at(wish, self.points.column, x[: len(self.points)])
        at, used = self._at, self._used
        by_error, by_progress = self._scales.error[used], self._scales.progress[used]
        return RelaxedPoint(
            value=value, x=np.clip(wish, 0.0, 1.0), numerator=x[at.numerator + used] * by_error,
            progress=x[at.progress + used] * by_progress,
            ratio=x[at.ratio + used] * by_error / by_progress, prices=tolls,
        )  # fmt: skip
