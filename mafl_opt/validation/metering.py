"""What a replay spent, put against the plan: times and energies must be those of the model page.

The replay meters phases of time and power (`mafl_opt.validation.uncertainty`); the plan's figures
come from `mafl_opt.core.terms`, which shares no code with them.
"""

from __future__ import annotations

import math

from mafl_opt.core.errors import MaflError
from mafl_opt.core.plan import Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.terms import Facts
from mafl_opt.validation.record import SessionRecord

__all__ = ["MeterError", "require_agreement"]

#: Relative difference that rounding explains; sums have some hundred terms.
TOLERANCE = 1e-9


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
    planned = [0.0] * facts.num_devices
    for row in sessions.rows():
        i, j, r, u = (row[name] for name in ("device", "task", "receive", "upload"))
        name = facts.tasks["name"][j]
        down_s, up_s = facts.receive_s(i, j, r), facts.upload_s(i, j, u)
        cycles = facts.pairs["cycles_per_sample"][i][j] * row["iterations"] * row["batch_size"]
        energy = facts.radio_j(i, down_s, up_s) + facts.compute_j(i, cycles, row["cpu_hz"])
        planned[i] += energy
        record = metered.get((i, name, r, u))
        if record is None:
            continue
        place = f"session of device {i}, task {name}, {r} -> {u}"
        _require(f"{place}: download_s", record.download_s, down_s)
        _require(f"{place}: compute_s", record.compute_s, cycles / row["cpu_hz"])
        _require(f"{place}: upload_s", record.upload_s, up_s)
        _require(f"{place}: energy_j", record.energy_j, energy)
    for i, energy in enumerate(planned):
        _require(f"device {i}: energy_j", spent_j[i], energy)


def _require(place: str, metered: float, planned: float) -> None:
    if not math.isclose(metered, planned, rel_tol=TOLERANCE, abs_tol=0.0):
        raise MeterError(f"{place}: the replay metered {metered!r}, the plan says {planned!r}")
