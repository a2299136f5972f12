"""What a replay spent, put against the plan: times and energies must be those of the model page.

The replay meters phases of time and power (`mafl_opt.validation.uncertainty`); the plan's figures
come from `mafl_opt.core.terms`, which shares no code with them.
"""

from __future__ import annotations

import math

import numpy as np

from mafl_opt.core.errors import MaflError
from mafl_opt.core.plan import Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.terms import Facts
from mafl_opt.validation.record import SessionRecord

__all__ = ["MeterError", "require_agreement"]

#: Relative difference that rounding explains; sums have some hundred terms.
TOLERANCE = 1e-9
_WHICH = ("device", "task", "receive", "upload")


class MeterError(MaflError):
    """A replay did not take the time or the energy that its plan says: one of the two is wrong."""


def require_agreement(
    scenario: Scenario,
    sessions: Sessions,
    records: tuple[SessionRecord, ...],
    spent_j: tuple[float, ...],
) -> None:
    """Compare every session's times and energy, and every device's energy, with the plan's.

    Parameters
    ----------
    sessions : Sessions
        Of the plan.
    records : tuple of SessionRecord
        What the replay metered; sessions that were lost are missing.
    spent_j : (devices,), J
        What each device's sessions spent, lost ones included.

    Raises
    ------
    MeterError
        On a relative difference above `TOLERANCE`.
    """
    facts = Facts.of(scenario)
    metered = {(r.device, r.task, r.receive, r.upload): r for r in records}
    device, task = sessions.device, sessions.task
    down_s = facts.receive_s(device, task, sessions.receive)
    up_s = facts.upload_s(device, task, sessions.upload)
    cycles = scenario.pairs.cycles_per_sample[device, task]
    cycles = cycles * sessions.iterations * sessions.batch_size
    energy_j = facts.radio_j(device, down_s, up_s)
    energy_j = energy_j + facts.compute_j(device, cycles, sessions.cpu_hz)
    compute_s = cycles / sessions.cpu_hz
    for k, (i, j, r, u) in enumerate(
        zip(*(getattr(sessions, n).tolist() for n in _WHICH), strict=True)
    ):
        name = scenario.tasks.name[j]
        record = metered.get((i, name, r, u))
        if record is None:
            continue
        place = f"session of device {i}, task {name}, {r} -> {u}"
        _require(f"{place}: download_s", record.download_s, float(down_s[k]))
        _require(f"{place}: compute_s", record.compute_s, float(compute_s[k]))
        _require(f"{place}: upload_s", record.upload_s, float(up_s[k]))
        _require(f"{place}: energy_j", record.energy_j, float(energy_j[k]))
    planned = np.bincount(device, energy_j, minlength=scenario.num_devices)
    for i, energy in enumerate(planned.tolist()):
        _require(f"device {i}: energy_j", spent_j[i], energy)


def _require(place: str, metered: float, planned: float) -> None:
    if not math.isclose(metered, planned, rel_tol=TOLERANCE, abs_tol=0.0):
        raise MeterError(f"{place}: the replay metered {metered!r}, the plan says {planned!r}")
