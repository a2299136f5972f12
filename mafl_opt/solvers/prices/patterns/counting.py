"""Numbers of sessions to split on."""

from __future__ import annotations

import numpy as np

from mafl_opt.solvers.prices.patterns.generation import Relaxation
from mafl_opt.solvers.prices.patterns.master import Point
from mafl_opt.solvers.prices.patterns.multipliers import Count

__all__ = ["fractional_counts"]

# So many of a kind, the most fractional ones, and twice as many in all.
_A_GROUP = 4


def fractional_counts(relaxation: Relaxation, point: Point) -> list[tuple[Count, float]]:
    """Return numbers of sessions that are no whole numbers at a point, coarse ones first."""
    patterns, c, s = relaxation.master.patterns, relaxation.sessions, relaxation.scenario
    inside = np.flatnonzero(relaxation.usage(point)[patterns.owner] > 1e-9)
    usage, rows = relaxation.usage(point)[patterns.owner[inside]], patterns.session[inside]
    i, j, u, r = c.device[rows], c.task[rows], c.upload[rows], c.receive[rows]
    number, batch = c.iterations[rows], patterns.batch[inside].astype(np.int64)
    groups: list[dict[Count, float]] = [{}, {}, {}, {}]
    for d, t, x in zip(i.tolist(), j.tolist(), usage.tolist(), strict=True):
        for count in (Count(device=d), Count(task=t), Count(device=d, task=t)):
            groups[0][count] = groups[0].get(count, 0.0) + x
    for pair in np.unique(i * s.num_tasks + j).tolist():
        d, t = divmod(pair, s.num_tasks)
        mine = (i == d) & (j == t)
        for above in np.unique(number[mine])[:-1].tolist():
            count = Count(device=d, task=t, iterations_above=above)
            groups[1][count] = float(usage[mine & (number > above)].sum())
        for above in np.unique(batch[mine])[:-1].tolist():
            count = Count(device=d, task=t, batch_above=above)
            groups[2][count] = float(usage[mine & (batch > above)].sum())
        for upload in np.unique(u[mine]).tolist():
            ending = mine & (u == upload)
            groups[3][Count(device=d, task=t, upload=upload)] = float(usage[ending].sum())
            for receive in np.unique(r[ending])[:-1].tolist():
                count = Count(device=d, task=t, upload=upload, receive=receive)
                groups[3][count] = float(usage[ending & (r == receive)].sum())
    out: list[tuple[Count, float]] = []
    for group in groups:
        open_ = [(k, v) for k, v in group.items() if min(v % 1, 1 - v % 1) > 1e-4]
        out += sorted(open_, key=lambda entry: abs(entry[1] % 1 - 0.5))[:_A_GROUP]
    return out[: 2 * _A_GROUP] if len(out) > 2 * _A_GROUP else out
