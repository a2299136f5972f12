"""Prices of all that devices share, sessions under a step cap one by one included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.candidates import Candidates
from mafl_opt.formulations.problem import Problem

__all__ = ["Tariff"]

Floats = NDArray[np.float64]

# Prices are written with this many digits: any prices are valid, and short ones keep plans small.
_DIGITS = 7


def _short(array: Floats) -> Floats:
    size = np.abs(array)
    with np.errstate(divide="ignore"):
        places = np.where(size > 0, 10.0 ** (_DIGITS - 1 - np.floor(np.log10(size))), 1.0)
    return np.asarray(np.round(array * places) / places)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tariff:
    """Prices, all >= 0.

    numerator, progress : (tasks,), lam and mu on N_j and A_j
    uplink : (slots,), per upload
    step : (slots, tasks), per unit of step
    session : (columns,), of a column on its step cap, beside that of its step
    earned : (1,), what session prices earn at most, by the cuts they come from
    """

    numerator: Floats
    progress: Floats
    uplink: Floats
    step: Floats
    session: Floats
    earned: Floats

    @classmethod
    def nothing(cls, problem: Problem) -> Tariff:
        """Return prices of 0."""
        s = problem.scenario
        return cls(
            numerator=np.zeros(s.num_tasks), progress=np.zeros(s.num_tasks),
            uplink=np.zeros(s.num_slots), step=np.zeros((s.num_slots, s.num_tasks)),
            session=np.zeros(len(problem.columns)), earned=np.zeros(1),
        )  # fmt: skip

    def blend(self, other: Tariff, share: float) -> Tariff:
        """Return this tariff moved towards another by `share`."""
        return Tariff(
            **{n: (1 - share) * getattr(self, n) + share * getattr(other, n) for n in _NAMES}
        )

    def shortened(self) -> Tariff:
        """Return the prices as they will be written."""
        short = {n: _short(getattr(self, n)) for n in _NAMES}
        # Rounded session prices may earn a little more than the cuts allow.
        short["earned"] = self.earned * (1.0 + 10.0 ** (1 - _DIGITS))
        return Tariff(**short)

    def toll(self, columns: Candidates) -> Floats:
        """Return what uplinks and step caps charge every column; (columns,)."""
        return np.asarray(
            self.uplink[columns.upload - 1]
            + self.step[columns.upload - 1, columns.task] * columns.step
            + self.session
        )

    def to_dict(self, columns: Candidates) -> dict[str, Any]:
        """Return plain lists for a certificate; sessions without a price are not listed."""
        out: dict[str, Any] = {
            "numerator": self.numerator.tolist(), "progress": self.progress.tolist(),
            "uplink": self.uplink.tolist(), "step_cap": self.step.tolist(),
        }  # fmt: skip
        priced = np.flatnonzero(self.session > 0)
        if priced.size:
            names = ("device", "task", "receive", "upload", "iterations")
            out["sessions"] = {n: getattr(columns, n)[priced].tolist() for n in names}
            out["sessions"]["price"] = self.session[priced].tolist()
        return out


_NAMES = ("numerator", "progress", "uplink", "step", "session", "earned")
