"""Rows and columns of the packed relaxation that stay whatever it is framed by."""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array

from mafl_opt.formulations.bound import initial_error
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.minlp.knapsacks import Knapsacks
from mafl_opt.solvers.minlp.points import Points
from mafl_opt.solvers.minlp.rows import Scales, kept

__all__ = ["Layout", "lay_out"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """Where things stand: the first column or row of every block.

    Columns: z of the points from 0; N, A and t of the tasks; what a box may be left by (first for
    N, then for A); the mixture of sets. Rows: exclusive slots from 0, the others as named.

    program : highspy.HighsLp
        The linear program, without sets, regions and objective.
    """

    numerator: int
    progress: int
    ratio: int
    loose: int
    first_set: int
    uplink_row: int
    energy_row: int
    error_row: int
    progress_row: int
    tie_row: int
    mixture_row: int
    rows: int
    program: highspy.HighsLp


def lay_out(problem: Problem, knapsacks: Knapsacks, points: Points, scales: Scales) -> Layout:
    """Write the rows that stay.

    Sessions exclude each other in every slot of a device; uplinks and budgets are limited; N and A
    add up, with a way out at a high price, so that every region gives prices; the sessions of a
    kind are at most what the sets in the mixture hold of it, and a mixture is one at most.
    """
    s, p = problem.scenario, points
    own = problem.columns.take(p.column)
    tasks, count = s.num_tasks, len(p)
    numerator, progress, ratio, loose = (count + k * tasks for k in range(4))
    rows: list[Ints] = []
    columns: list[Ints] = []
    values: list[Floats] = []
    every, each, width = np.arange(count), np.arange(tasks), count + 5 * tasks

    def fill(row: Ints, column: Ints, value: Floats | float) -> None:
        rows.append(row)
        columns.append(column)
        values.append(np.broadcast_to(np.asarray(value, dtype=np.float64), column.shape))

    limits: list[Floats] = []
    first: list[int] = [0]

    def block(limit: Floats) -> int:
        limits.append(limit)
        first.append(first[-1] + limit.size)
        return first[-2]

    exclusive = block(np.ones(s.num_devices * s.num_slots))
    for g in range(s.num_slots):
        busy = np.flatnonzero((own.receive <= g) & (own.upload > g))
        fill(exclusive + own.device[busy] * s.num_slots + g, busy, 1.0)
    uplink_row = block(s.network.uplink_capacity.astype(np.float64))
    fill(uplink_row + own.upload - 1, every, 1.0)
    energy_row = block(s.devices.energy_budget_j / scales.energy)
    fill(energy_row + own.device, every, kept(p.energy / scales.energy[own.device]))
    error_row = block(-initial_error(s) / scales.error)
    fill(error_row + own.task, every, kept(p.error / scales.error[own.task]))
    progress_row = block(np.zeros(tasks))
    fill(progress_row + own.task, every, -own.progress / scales.progress[own.task])
    for row, total, sign in ((error_row, numerator, -1.0), (progress_row, progress, 1.0)):
        fill(row + each, total + each, sign)
    fill(error_row + each, loose + each, -1.0)
    fill(progress_row + each, loose + tasks + each, -1.0)
    tie_row = block(np.zeros(len(knapsacks)))
    fill(tie_row + knapsacks.kind[p.column], every, 1.0)
    mixture_row = block(np.ones(knapsacks.rows))
    height = first[-1]
    matrix = csc_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(height, width),
    )
    lp = highspy.HighsLp()
    lp.num_row_, lp.num_col_ = matrix.shape
    lp.col_cost_ = np.zeros(width)
    lp.col_lower_ = np.zeros(width)
    lp.col_upper_ = np.full(width, np.inf)
    lp.row_lower_, lp.row_upper_ = np.full(height, -np.inf), np.concatenate(limits)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_ = matrix.indptr, matrix.indices
    lp.a_matrix_.value_ = matrix.data
    return Layout(
        numerator=numerator, progress=progress, ratio=ratio, loose=loose, first_set=width,
        uplink_row=uplink_row, energy_row=energy_row, error_row=error_row,
        progress_row=progress_row, tie_row=tie_row, mixture_row=mixture_row, rows=height,
        program=lp,
    )  # fmt: skip
