"""What became of the backends of a comparison: trials, and the figures they have in common."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mafl_opt.core.plan import Plan
from mafl_opt.core.verdict import CheckReport

__all__ = ["Comparison", "Ending", "Trial"]


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

    def gap(self, objective: float | None) -> float | None:
        """Distance of an objective from the best bound, relative to the objective.

        ``None`` without either. Below 0 only by what the tolerances of the check admit.
        """
        if objective is None or self.best_bound is None or objective == 0:
            return None
        return (objective - self.best_bound) / abs(objective)
