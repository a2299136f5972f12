"""Refusal of sessions that cannot be executed at all, feasible or not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.formulations.radio import downlink_times, uplink_times

__all__ = ["require_executable"]


def require_executable(scenario: Scenario, sessions: Sessions) -> None:
    """Refuse sessions that have no meaning in a scenario.

    Parameters
    ----------
    scenario : Scenario
    sessions : Sessions

    Raises
    ------
    InputError
        If a session points outside the scenario, its frequency, mini-batch or iteration count is
        outside its box, or its slot has no radio link.
    """
    _require(sessions, "device", 0, scenario.num_devices - 1)
    _require(sessions, "task", 0, scenario.num_tasks - 1)
    _require(sessions, "receive", 0, scenario.num_slots - 1)
    _require(sessions, "upload", sessions.receive + 1, scenario.num_slots)
    i, j = sessions.device, sessions.task
    d, held = scenario.devices, scenario.pairs.samples[i, j]
    _require(sessions, "batch_size", 1, np.minimum(scenario.tasks.batch_max[j], held))
    _require(sessions, "iterations", 1, scenario.tasks.iterations_max[j])
    # A best frequency equals its limit only up to rounding.
    _require(sessions, "cpu_hz", d.f_min_hz[i] * (1 - 1e-9), d.f_max_hz[i] * (1 + 1e-9))
    download_s = downlink_times(scenario)[sessions.receive, i, j]
    upload_s = uplink_times(scenario)[sessions.upload - 1, i, j]
    for times, column in ((download_s, "receive"), (upload_s, "upload")):
        for k in np.flatnonzero(~np.isfinite(times))[:1]:
            raise InputError(f"{_name(sessions, k)}.{column}", "a slot with a radio link", "none")


def _require(
    sessions: Sessions,
    column: str,
    low: NDArray[np.generic] | float,
    high: NDArray[np.generic] | float,
) -> None:
    values = getattr(sessions, column)
    bad = (values < low) | (values > high)
    if column in ("batch_size", "iterations"):
        bad |= values != np.floor(values)
    for k in np.flatnonzero(bad)[:1]:
        limits = [np.broadcast_to(limit, values.shape)[k] for limit in (low, high)]
        words = f"{limits[0]:g} to {limits[1]:g}"
        if column != "cpu_hz":
            words = f"an integer from {words}"
        raise InputError(f"{_name(sessions, k)}.{column}", words, values[k].item())


def _name(sessions: Sessions, k: int) -> str:
    place = f"device {sessions.device[k]}, {sessions.receive[k]} -> {sessions.upload[k]}"
    return f"session of {place}"
