"""Sessions without their iteration counts, with what the blocks of the natural form need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.problem import Problem
from mafl_opt.formulations.radio import downlink_times, uplink_times

__all__ = ["SessionFigures", "forbidden_sessions", "steps_total"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SessionFigures:
    """Sessions (i, j, r, u) that can exist; arrays of shape (sessions,).

    device, task, receive, upload : indices
    time_s : s, T'
    cycles : CPU cycles per sample
    fixed_energy_j : J, upload and download
    step : c_s, the step coefficient
    batch_max : largest B of the box
    decay : 1 - eta rho of the task
    """

    device: Ints
    task: Ints
    receive: Ints
    upload: Ints
    time_s: Floats
    cycles: Floats
    fixed_energy_j: Floats
    step: Floats
    batch_max: Floats
    decay: Floats

    @classmethod
    def of(cls, problem: Problem) -> SessionFigures:
        """Gather the figures of a problem's sessions from its columns."""
        s, c = problem.scenario, problem.columns
        keys = np.stack([c.device, c.task, c.receive, c.upload])
        first = np.unique(keys, axis=1, return_index=True)[1] if len(c) else np.zeros(0, int)
        c = c.take(first)
        decay = (1.0 - s.tasks.learning_rate * s.tasks.proximal)[c.task]
        return cls(
            device=c.device, task=c.task, receive=c.receive, upload=c.upload, time_s=c.time_s,
            cycles=c.cycles / c.iterations, fixed_energy_j=c.fixed_energy_j,
            step=c.step / steps_total(decay, c.iterations.astype(float)),
            batch_max=np.minimum(s.tasks.batch_max[c.task], c.samples).astype(float), decay=decay,
        )  # fmt: skip


def steps_total(decay: Floats, iterations: Floats) -> Floats:
    """C1(l) for real l (model page, equation 14): l, or (1 - b^l) / (1 - b) for b < 1."""
    loss = 1.0 - decay
    geometric = (1.0 - decay**iterations) / np.where(loss > 0, loss, 1.0)
    return np.where(loss > 0, geometric, iterations)


def forbidden_sessions(problem: Problem) -> tuple[tuple[Ints, ...], dict[str, NDArray[np.bool_]]]:
    """All (device, task, receive, upload) with r < u, and which of them two blocks forbid.

    Returns
    -------
    sessions : four arrays (all sessions,)
    forbidden : dict of (all sessions,) bool
        By block: ``staleness`` and ``available``.
    """
    s = problem.scenario
    grid = np.indices((s.num_devices, s.num_tasks, s.num_slots, s.num_slots + 1))
    i, j, r, u = (axis.ravel()[(grid[3] > grid[2]).ravel()] for axis in grid)
    gone = np.concatenate([np.zeros((1, s.num_devices), int), np.cumsum(
        ~np.asarray(s.network.available, dtype=bool), axis=0)])  # fmt: skip
    away = gone[u, i] > gone[r, i]
    slot = s.time.slot_s
    away |= downlink_times(s)[r, i, j] > slot[r]
    away |= uplink_times(s)[u - 1, i, j] > slot[u - 1]
    return (i, j, r, u), {"staleness": u - 1 - r > s.tasks.staleness_max[j], "available": away}
