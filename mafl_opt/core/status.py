"""Why a solver stopped, and what its point is: two separate answers.

After MathOptInterface's split of termination and result status: LOCALLY_OPTIMAL is not OPTIMAL,
and a solver that ran out of time may still hold a feasible plan.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["PointStatus", "Termination"]


class Termination(StrEnum):
    """Why the solver stopped; ``explanation`` says it in a sentence."""

    OPTIMAL = "OPTIMAL"
    GAP_REACHED = "GAP_REACHED"
    LOCALLY_OPTIMAL = "LOCALLY_OPTIMAL"
    COMPLETED = "COMPLETED"
    STALLED = "STALLED"
    TIME_LIMIT = "TIME_LIMIT"
    ITERATION_LIMIT = "ITERATION_LIMIT"
    INTERRUPTED = "INTERRUPTED"
    INFEASIBLE = "INFEASIBLE"
    NUMERICAL = "NUMERICAL"

    @property
    def explanation(self) -> str:
        """One sentence for a person."""
        return _TERMINATION[self]


class PointStatus(StrEnum):
    """What the sessions of the plan are."""

    FEASIBLE = "FEASIBLE"
    INFEASIBLE = "INFEASIBLE"
    NONE = "NONE"

    @property
    def explanation(self) -> str:
        """One sentence for a person."""
        return _POINT[self]


_TERMINATION = {
    Termination.OPTIMAL: "The bound equals the objective within 1e-6 of it; no better plan exists.",
    Termination.GAP_REACHED: "The gap between plan and bound fell to what was asked for.",
    Termination.LOCALLY_OPTIMAL: "No small change improves the plan; a better one may exist.",
    Termination.COMPLETED: "The rule or search ran to its end; only a bound says how good it is.",
    Termination.STALLED: "The search cannot go further, though the gap is not what was asked for.",
    Termination.TIME_LIMIT: "The time limit came first; this is the best plan found by then.",
    Termination.ITERATION_LIMIT: "The iteration limit came first; this is the best plan found.",
    Termination.INTERRUPTED: "A person stopped it; this is the best plan found by then.",
    Termination.INFEASIBLE: "No plan trains every weighted task within the constraints.",
    Termination.NUMERICAL: "The numerical solver failed; this is the best plan found before that.",
}

_POINT = {
    PointStatus.FEASIBLE: "The sessions meet every constraint and every weighted task is trained.",
    PointStatus.INFEASIBLE: "The sessions break a constraint or leave a weighted task untrained.",
    PointStatus.NONE: "There are no sessions to speak of.",
}
