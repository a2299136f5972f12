"""What came of backends that were run side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from mafl_opt.core.frames import data_frame
from mafl_opt.core.notebook import html_table, short_number
from mafl_opt.core.plan import Plan
from mafl_opt.core.verdict import CheckReport

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "Ending", "Trial"]

_UNITS = {
    "solve_seconds": "s", "process_seconds": "s", "cpu_seconds": "s",
    "peak_memory_bytes": "B", "energy_j": "J",
}  # fmt: skip


class Ending(StrEnum):
    """How the process of a trial ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    CRASHED = "crashed"
    OVERRAN = "overran"
    MISSING = "missing"

    @property
    def explanation(self) -> str:
        """One sentence for a person."""
        return _ENDINGS[self]


_ENDINGS = {
    Ending.DONE: "The backend returned a plan file; the plan says what it is worth.",
    Ending.REFUSED: "The backend refused the scenario or an option.",
    Ending.FAILED: "The process ended without a plan.",
    Ending.CRASHED: "The process was ended by a signal.",
    Ending.OVERRAN: "The process was ended because it went on long after the time limit.",
    Ending.MISSING: "A package that the backend needs is not installed.",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """What one backend did.

    Attributes
    ----------
    backend : str
    ending : Ending
    message : str
        What went wrong, in a line; empty after `Ending.DONE`.
    seconds : float
        Wall-clock seconds of the process from start to end.
    cpu_seconds : float or None
        Processor seconds of the process and its children; ``None`` unless it came to its end.
    peak_memory_bytes : int or None
        Of the process without its children; ``None`` where the system does not tell. Of a process
        that did not come to its end: the largest value seen while it ran.
    plan : Plan or None
    report : CheckReport or None
        The check of the plan.
    """

    backend: str
    ending: Ending
    message: str = ""
    seconds: float = 0.0
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    plan: Plan | None = None
    report: CheckReport | None = None

    @property
    def objective(self) -> float | None:
        """Objective of a plan that passed the check."""
        passed = self.report is not None and self.report.ok
        return self.plan.objective if self.plan is not None and passed else None

    @property
    def claimed_bound(self) -> float | None:
        """Lower bound in the plan's header, if the check found nothing wrong with the plan."""
        passed = self.report is not None and self.report.ok
        return self.plan.bound if self.plan is not None and passed else None

    @property
    def certified_bound(self) -> float | None:
        """What the check derived again of the claimed bound; ``None`` when nothing."""
        if self.claimed_bound is None or self.report is None:
            return None
        derived = self.report.certified_bound
        return None if derived is None else min(derived, self.claimed_bound)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """Trials of one scenario.

    Attributes
    ----------
    scenario_sha256 : str
    time_limit : float or None, s
    trials : tuple of Trial
        In the order asked for.
    """

    scenario_sha256: str
    time_limit: float | None
    trials: tuple[Trial, ...]

    @property
    def best_objective(self) -> float | None:
        """Lowest objective of a plan that passed the check."""
        return min((t.objective for t in self.trials if t.objective is not None), default=None)

    @property
    def best_bound(self) -> float | None:
        """Highest bound that the check derived again; claims without a certificate do not count."""
        bounds = (t.certified_bound for t in self.trials)
        return max((bound for bound in bounds if bound is not None), default=None)

    def __repr__(self) -> str:
        done = sum(trial.ending is Ending.DONE for trial in self.trials)
        best = [t for t in self.trials if t.objective is not None]
        words = f"{done} of {len(self.trials)} backends done"
        if best:
            first = min(best, key=lambda t: t.objective or 0.0)
            words += f", best objective {short_number(first.objective)} ({first.backend})"
        if self.best_bound is not None:
            words += f", best bound {short_number(self.best_bound)}"
        return f"Comparison({words})"

    def _repr_html_(self) -> str:
        shown = ("backend", "ending", "objective", "bound", "certified_bound", "gap_to_best_bound",
                 "process_seconds", "check_ok")  # fmt: skip
        rows = [tuple(row[name] for name in shown) for row in self.rows()]
        return html_table(repr(self), [name.replace("_", " ") for name in shown], rows)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row of plain values a backend; what is missing or not finite is ``None``."""
        return [self._row(trial) for trial in self.trials]

    def to_pandas(self) -> pd.DataFrame:
        """Return a row a backend, as the files of a comparison have it."""
        rows = self.rows()
        columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
        return data_frame(columns, _UNITS, scenario_sha256=self.scenario_sha256)

    def _row(self, trial: Trial) -> dict[str, Any]:
        plan, report = trial.plan, trial.report
        return {
            "backend": trial.backend,
            "ending": str(trial.ending),
            "message": trial.message,
            "termination": None if plan is None else str(plan.termination),
            "point": None if plan is None else str(plan.point),
            "objective": trial.objective,
            "bound": trial.claimed_bound,
            "certified_bound": trial.certified_bound,
            "own_gap": plan.gap if plan is not None and trial.objective is not None else None,
            "best_bound": self.best_bound,
            "gap_to_best_bound": self.gap(trial.objective),
            "solve_seconds": None if plan is None else plan.seconds,
            "process_seconds": trial.seconds,
            "cpu_seconds": trial.cpu_seconds,
            "peak_memory_bytes": trial.peak_memory_bytes,
            "iterations": None if plan is None else len(plan.trace),
            "check_ok": None if report is None else report.ok,
            "energy_j": None if report is None else _finite(math.fsum(report.device_energy_j)),
        }

    def gap(self, objective: float | None) -> float | None:
        """Distance of an objective from the best bound, relative to the objective.

        ``None`` without either. Below 0 only by what the tolerances of the check admit.
        """
        if objective is None or self.best_bound is None or objective == 0:
            return None
        return (objective - self.best_bound) / abs(objective)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
