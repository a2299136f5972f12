"""The lifted form of P: convex but for the ratio and integrality (model page, section 7).

Variables per column: x in [0, 1] and the share b / batch_hi of the work, in [x / batch_hi, x].
Everything is scaled: energy by budgets, work by batch_hi, N by Gamma', A by its largest value.
The arrays here know nothing of any solver.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mafl_opt.core.scenario import Scenario
from mafl_opt.formulations.bound import initial_error
from mafl_opt.formulations.candidates import Candidates

__all__ = ["LiftedForm", "lift"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# A column whose energy at full work exceeds the flat-frequency energy by less than this share has
# no cubic part worth a cone.
_FLAT = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiftedForm:
    """Scaled coefficients of the lifted form.

    With x, w (work share), v >= x^2 / w, and on the `cubic` columns e >= w^3 / x^2 and
    e >= ratio * w:

    exclusive : (slots * devices, columns), ``exclusive @ x <= 1``
    uplink : (slots, columns), ``uplink @ x <= uplink_limit``
    step_cap : (slots * tasks, columns), ``step_cap @ x <= 1``
    energy_x, energy_w : (devices, columns); energy_e : (devices, cubic columns)
        Spent energy by `energy_scale` (J); at most `energy_limit`, which is 1 or, for an empty
        budget, 0.
    error_x, error_v : (tasks, columns)
        ``N / numerator_scale = numerator_start + error_x @ x + error_v @ v``.
    progress : (tasks, columns), ``A / progress_scale = progress @ x``
    work_min : (columns,), 1 / batch_hi
    flat_ratio : (cubic columns,), energy at f_min by energy at the deadline's frequency
    """

    exclusive: sp.csr_array
    uplink: sp.csr_array
    uplink_limit: Floats
    step_cap: sp.csr_array
    energy_x: sp.csr_array
    energy_w: sp.csr_array
    energy_e: sp.csr_array
    energy_limit: Floats
    energy_scale: Floats
    error_x: sp.csr_array
    error_v: sp.csr_array
    numerator_start: Floats
    numerator_scale: Floats
    progress: sp.csr_array
    progress_scale: Floats
    work_min: Floats
    cubic: Ints
    flat_ratio: Floats


def lift(scenario: Scenario, columns: Candidates) -> LiftedForm:
    """Build the lifted form on some or all columns; rows are scaled to coefficients around one."""
    s, c = scenario, columns
    n = len(c)
    every = np.arange(n)

    def rows(
        row: Ints, value: Floats, count: int, column: Ints = every, width: int = n
    ) -> sp.csr_array:
        return sp.csr_array((value, (row, column)), shape=(count, width))

    ones = np.ones(n)
    slot = c.upload - 1
    full = c.batch_hi.astype(np.float64)
    flat = c.capacitance * c.cycles * full * c.f_min_hz**2
    steep = c.capacitance * c.cycles * full * (c.cycles * full / c.time_s) ** 2
    cubic = np.flatnonzero(steep > flat * (1 + _FLAT))
    plain = np.setdiff1d(every, cubic)
    # A zero budget scales by what a session costs, so that its row still reads "<= 0".
    budget = s.devices.energy_budget_j
    typical = float(np.median(c.fixed_energy_j + np.maximum(flat, steep))) if n else 1.0
    scale = np.where(budget > 0, budget, typical if typical > 0 else 1.0)
    by_device = 1.0 / scale[c.device]
    start = initial_error(s)
    numerator_scale = np.where(start > 0, start, 1.0)
    progress_scale = s.num_slots * s.tasks.step_cap / 2.0
    by_error, by_progress = 1.0 / numerator_scale[c.task], 1.0 / progress_scale[c.task]
    slots_row = np.concatenate(
        [g * s.num_devices + c.device[_inside(c, g)] for g in range(s.num_slots)]
    )
    slots_col = np.concatenate([_inside(c, g) for g in range(s.num_slots)])
    return LiftedForm(
        exclusive=rows(slots_row, np.ones(slots_row.size), s.num_slots * s.num_devices, slots_col),
        uplink=rows(slot, ones, s.num_slots),
        uplink_limit=s.network.uplink_capacity.astype(np.float64),
        step_cap=rows(
            slot * s.num_tasks + c.task,
            c.step / s.tasks.step_cap[c.task],
            s.num_slots * s.num_tasks,
        ),
        energy_x=rows(c.device, c.fixed_energy_j * by_device, s.num_devices),
        energy_w=rows(c.device[plain], (flat * by_device)[plain], s.num_devices, plain),
        energy_e=rows(
            c.device[cubic],
            (steep * by_device)[cubic],
            s.num_devices,
            np.arange(cubic.size),
            cubic.size,
        ),
        energy_limit=budget / scale,
        energy_scale=scale,
        error_x=rows(c.task, (c.error - c.noise / c.samples) * by_error, s.num_tasks),
        error_v=rows(c.task, c.noise / full * by_error, s.num_tasks),
        numerator_start=start / numerator_scale,
        numerator_scale=numerator_scale,
        progress=rows(c.task, c.progress * by_progress, s.num_tasks),
        progress_scale=progress_scale,
        work_min=1.0 / full,
        cubic=cubic,
        flat_ratio=(flat / np.where(steep > 0, steep, 1.0))[cubic],
    )


def _inside(columns: Candidates, slot: int) -> Ints:
    """Columns that occupy a slot."""
    return np.flatnonzero((columns.receive <= slot) & (columns.upload > slot))
