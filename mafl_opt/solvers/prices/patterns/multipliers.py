"""Lagrange multipliers of what patterns share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.scenario import Scenario

__all__ = ["Count", "Multipliers"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A number of sessions: of a device, task, reception and upload (None: all) with more work.

    Attributes
    ----------
    device, task, receive, upload : int or None
    iterations_above, batch_above : int
        Only sessions with more count.
    """

    device: int | None = None
    task: int | None = None
    receive: int | None = None
    upload: int | None = None
    iterations_above: int = 0
    batch_above: int = 0

    def to_dict(self) -> dict[str, int | None]:
        """Return what it is about, as certificates name it."""
        where = {"receive": self.receive, "upload": self.upload}
        more = {"iterations_above": self.iterations_above, "batch_above": self.batch_above}
        return {
            "device": self.device, "task": self.task,
            **{name: value for name, value in where.items() if value is not None},
            **{name: value for name, value in more.items() if value > 0},
        }  # fmt: skip

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Count:
        """Read a count from an entry of a certificate."""
        return cls(
            **{field.name: entry[field.name] for field in fields(cls) if field.name in entry}
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Multipliers:
    """One multiplier for each row of the master; all >= 0 but those of counts.

    Attributes
    ----------
    error, progress : (tasks,)
        lam_j of the numerators and mu_j of the progress.
    uplink : (slots,)
    energy : (devices,), 1/J
    device_slot : (devices, slots)
        Of a device being in a slot once.
    counts : (counts,)
        Positive against more sessions, negative against fewer; of the counts of a search.
    """

    error: Floats
    progress: Floats
    uplink: Floats
    energy: Floats
    device_slot: Floats
    counts: Floats

    @classmethod
    def zero(cls, scenario: Scenario) -> Multipliers:
        """Return multipliers that charge nothing."""
        tasks, slots, devices = scenario.num_tasks, scenario.num_slots, scenario.num_devices
        return cls(
            error=np.zeros(tasks), progress=np.zeros(tasks), uplink=np.zeros(slots),
            energy=np.zeros(devices), device_slot=np.zeros((devices, slots)), counts=np.zeros(0),
        )  # fmt: skip

    def mixed(self, other: Multipliers, share: float) -> Multipliers:
        """Return (1 - share) times these plus share times the others."""
        parts: dict[str, Any] = {}
        for field in fields(self):
            mine, its = getattr(self, field.name), getattr(other, field.name)
            if mine.size < its.size:
                mine = np.concatenate([mine, np.zeros(its.size - mine.size)])
            elif its.size < mine.size:
                its = np.concatenate([its, np.zeros(mine.size - its.size)])
            parts[field.name] = (1.0 - share) * mine + share * its
        return Multipliers(**parts)
