"""What a replay knows between two events."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from mafl_opt.validation.record import AggregationRecord, LostSession, SessionRecord

__all__ = ["Arrival", "PlanState", "TaskState", "with_task"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskState:
    """One task between two events.

    Attributes
    ----------
    parameters : (parameters,)
        The global model now, w^(g).
    score : (loss, accuracy) or None
        Of the model now; ``None`` until it is tested.
    energy_j, progress : float
        Sums over the sessions that ended by now.
    """

    parameters: Tensor
    score: tuple[float, float] | None = None
    energy_j: float = 0.0
    progress: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrival:
    """A local model that waits for the next instant; `session` is its place in the plan."""

    session: int
    receive: int
    start: Tensor
    result: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlanState:
    """All that a replay knows between two events.

    Attributes
    ----------
    slot : int
        Instants done, g.
    tasks : tuple of TaskState
    inbox : tuple of Arrival
    flying : tuple of (int, int)
        Sessions in the devices' hands, with the instants at which they were taken up.
    waiting : tuple of int
        Sessions whose device is still at work on another one.
    late : int
        Deadlines missed so far.
    spent_j : (devices,)
        Energy of each device's sessions that ended by now.
    records, sessions, lost
        As in `Replay`.
    """

    slot: int = 0
    tasks: tuple[TaskState, ...]
    inbox: tuple[Arrival, ...] = ()
    flying: tuple[tuple[int, int], ...] = ()
    waiting: tuple[int, ...] = ()
    late: int = 0
    spent_j: tuple[float, ...]
    records: tuple[AggregationRecord, ...] = ()
    sessions: tuple[SessionRecord, ...] = ()
    lost: tuple[LostSession, ...] = ()


def with_task(state: PlanState, j: int, task: TaskState) -> PlanState:
    """Return a state with one task replaced."""
    return replace(state, tasks=(*state.tasks[:j], task, *state.tasks[j + 1 :]))
