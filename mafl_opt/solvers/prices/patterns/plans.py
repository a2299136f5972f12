"""Plans from the pattern relaxation: diving, and the generated patterns as a 0-1 program."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mafl_opt.solvers.base import Run
from mafl_opt.solvers.improve import fill
from mafl_opt.solvers.prices.patterns.batches import resized
from mafl_opt.solvers.prices.patterns.box import Box
from mafl_opt.solvers.prices.patterns.generation import Effort, Relaxation
from mafl_opt.solvers.prices.patterns.multipliers import Multipliers
from mafl_opt.solvers.schedule import Schedule

__all__ = ["centred", "dive", "offer_patterns"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Half widths of the boxes about the relaxed point, relative: to find its place, and to dive in.
_CENTRE, _NARROW_A, _NARROW_Y = 0.2, 0.08, 0.15
_CENTRINGS = 6
# A dive fixes patterns used as much as this, and at most this part of the blocks a round.
_CERTAIN, _PART = 0.7, 0.12
_USED = 1e-6
# Patterns of an integer program.
_PROGRAM = 1500


def around(box: Box, progress: Floats, excess: Floats, width_a: float, width_y: float) -> Box:
    """Return the part of a box near a point."""
    return replace(
        box,
        low=np.clip(progress * (1 - width_a), box.low, box.high),
        high=np.clip(progress * (1 + width_a), box.low, box.high),
        excess_low=np.clip(excess * (1 - width_y), box.excess_low, box.excess_high),
        excess_high=np.clip(excess * (1 + width_y), box.excess_low, box.excess_high),
    )


def near(box: Box, progress: Floats, excess: Floats) -> Box:
    """Return the box to dive in about a point."""
    return around(box, progress, excess, _NARROW_A, _NARROW_Y)


def centred(
    relaxation: Relaxation, box: Box, progress: Floats, excess: Floats, prices: Multipliers
) -> tuple[Box, Multipliers, float]:
    """Follow the relaxed point with narrow boxes until it stays inside one.

    Where the box is wide, the relaxed ratio is loose and its point far from the best plan's.

    Returns
    -------
    narrow : Box
    prices : Multipliers
    value : float
        Of the relaxation in the last box.
    """
    value = np.inf
    for _ in range(_CENTRINGS):
        part = around(box, progress, excess, _CENTRE, 2 * _CENTRE)
        found = relaxation.generate(part, prices, Effort(close=1e-3))
        prices = found.prices
        if found.point is None or found.point.missing > _USED:
            break
        value, true = found.point.value, relaxation.true_excess(found.point)
        still = np.abs(found.point.progress - progress) <= 0.02 * progress
        still &= np.abs(true - excess) <= 0.1 * excess
        progress, excess = found.point.progress, true
        if still.all():
            break
    return near(box, progress, excess), prices, value


def dive(run: Run, relaxation: Relaxation, box: Box, prices: Multipliers) -> None:
    """Fix patterns of the relaxed point, a few at a time, until a plan is left."""
    master, sessions, s = relaxation.master, relaxation.sessions, relaxation.scenario
    fixed: list[int] = []
    refused: list[int] = []
    busy = np.zeros((s.num_devices, s.num_slots), dtype=bool)
    spent, sent = np.zeros(s.num_devices), np.zeros(s.num_slots, dtype=np.int64)
    done = np.zeros(int(relaxation.block.max(initial=-1)) + 1, dtype=bool)
    most = max(1, math.ceil(_PART * done.size))
    cheapest = sessions.energy_j(np.ones(len(sessions)))
    start: Multipliers | None = prices
    while not run.stop():
        found = relaxation.generate(
            box, start, Effort(close=1e-3, rounds=60 if not fixed else 3, smooth=False)
        )
        start = None
        if found.point is None:
            break
        usage = relaxation.usage(found.point)
        patterns = master.patterns
        usage[done[patterns.block]] = 0.0
        order = np.argsort(-usage, kind="stable")
        order = order[usage[order] > _USED]
        if not order.size:
            break
        chosen = 0
        for p in order.tolist():
            if chosen >= most or (chosen and usage[p] < _CERTAIN):
                break
            rows = np.arange(patterns.first[p], patterns.first[p + 1])
            mine, block = patterns.session[rows], int(patterns.block[p])
            device, upload = sessions.device[mine], int(sessions.upload[mine[0]]) - 1
            energy = sessions.energy_j(patterns.batch[rows], mine)
            slots = [
                slice(r, u)
                for r, u in zip(sessions.receive[mine], sessions.upload[mine], strict=True)
            ]
            fits = not done[block] and sent[upload] + mine.size <= s.network.uplink_capacity[upload]
            fits &= bool((spent[device] + energy <= master.budget[device]).all())
            fits &= not any(busy[i, g].any() for i, g in zip(device.tolist(), slots, strict=True))
            if not fits:
                master.fix(np.array([p]), 0.0, 0.0)
                refused.append(p)
                continue
            for i, g in zip(device.tolist(), slots, strict=True):
                busy[i, g] = True
            spent[device] += energy
            sent[upload] += mine.size
            done[block] = True
            master.fix(np.array([p]), 1.0, 1.0)
            fixed.append(p)
            chosen += 1
        if not chosen:
            break
        total = np.hstack([np.zeros((s.num_devices, 1)), busy.cumsum(axis=1)])
        taken = total[sessions.device, sessions.upload] > total[sessions.device, sessions.receive]
        relaxation.barred = taken | done[relaxation.block]
        relaxation.barred |= spent[sessions.device] + cheapest > master.budget[sessions.device]
        relaxation.barred |= (sent >= s.network.uplink_capacity)[sessions.upload - 1]
    relaxation.barred = np.zeros(len(sessions), dtype=bool)
    # Refused ones too: the master must not lack them from now on.
    master.fix(np.array(fixed + refused, dtype=np.int64), 0.0, np.inf)
    if fixed:
        offer_patterns(run, relaxation, np.array(fixed, dtype=np.int64), "dive")


def solve_integer(
    run: Run, relaxation: Relaxation, box: Box, effort: int, seconds: float
) -> None:  # fmt: skip
    """Solve the program over the patterns of least reduced cost with whole numbers, by HiGHS."""
    master = relaxation.master
    master.set_box(box)
    solved = master.solve()
    if solved is None or solved[0].value >= run.objective:
        return
    reduced = relaxation.pattern_costs(master.patterns, solved[1])
    least = np.argsort(reduced, kind="stable")[:_PROGRAM]
    # What costs more than the gap is in no better plan.
    least = least[reduced[least] <= run.objective - solved[0].value]
    chosen = master.integer(effort, seconds, least)
    if chosen is not None:
        offer_patterns(run, relaxation, chosen, "integer program")


def offer_patterns(run: Run, relaxation: Relaxation, chosen: Ints, event: str) -> None:
    """Make a plan of patterns and offer it."""
    patterns = relaxation.master.patterns.take(chosen)
    schedule = Schedule(run.problem)
    order = np.argsort(patterns.owner, kind="stable")
    columns = relaxation.sessions.column[patterns.session[order]]
    for column, batch in zip(columns.tolist(), patterns.batch[order].tolist(), strict=True):
        if schedule.fits(column, int(batch)):
            schedule.insert(column, int(batch))
    fill(schedule, stop=run.stop)
    run.offer(resized(schedule), event)
