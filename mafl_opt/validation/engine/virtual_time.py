"""Virtual time: an event queue, exact and repeatable.

Tie order at one time: first the ends of sessions, by client and then by order of hand-out; then the
server's tick. Jobs that a server hands out at a time are in flight before anything later.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from mafl_opt.validation.engine.jobs import Delivery, Failure, Job, Server, Train

__all__ = ["InFlight", "Snapshot", "event_key", "run_virtual"]

State = TypeVar("State")

#: Jobs trained together at most: their results wait in memory until they are due.
MOST_TOGETHER = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InFlight:
    """A job between hand-out and delivery, with its result if it is trained already."""

    job: Job
    result: Tensor | Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot(Generic[State]):
    """Everything a run needs to go on: state, jobs in flight, ticks so far."""

    state: State
    flights: tuple[InFlight, ...]
    ticks: int


def event_key(job: Job) -> tuple[float, int, int, int]:
    """Place of a job's end among all events; a tick at time t has (t, 1, 0, 0)."""
    return (job.end_s, 0, job.client, job.number)


def run_virtual(
    server: Server[State],
    train: Train,
    *,
    resume: Snapshot[State] | None = None,
    watch: Callable[[State, Callable[[], Snapshot[State]]], None] | None = None,
) -> State:
    """Run a server to its end in virtual time.

    Training happens when the first result of those in flight is due: all jobs in flight are then
    trained together, up to `MOST_TOGETHER`, since their starting models are known.

    Parameters
    ----------
    server : Server
    train : Train
    resume : Snapshot, optional
        Go on from here instead of from the beginning.
    watch : callable, optional
        Called after every event with the state and a function that takes a snapshot.

    Returns
    -------
    state : of the server, when it is finished or nothing is left to happen
    """
    instants = server.instants_s
    queue: list[tuple[tuple[float, int, int, int], int]] = []
    jobs: dict[int, Job] = {}
    results: dict[int, Tensor | Failure] = {}

    def hand_out(new: tuple[Job, ...]) -> None:
        for job in new:
            jobs[job.number] = job
            heapq.heappush(queue, (event_key(job), job.number))

    if resume is None:
        turn = server.begin()
        state, ticks = turn.state, 0
        hand_out(turn.jobs)
    else:
        state, ticks = resume.state, resume.ticks
        hand_out(tuple(flight.job for flight in resume.flights))
        results = {f.job.number: f.result for f in resume.flights if f.result is not None}

    def snapshot() -> Snapshot[State]:
        flights = [InFlight(job=job, result=results.get(n)) for n, job in sorted(jobs.items())]
        return Snapshot(state=state, flights=tuple(flights), ticks=ticks)

    while not server.finished(state):
        tick = (instants[ticks], 1, 0, 0) if ticks < len(instants) else None
        if queue and (tick is None or queue[0][0] < tick):
            if queue[0][0][0] == math.inf:
                break
            _, number = heapq.heappop(queue)
            job = jobs[number]
            if job.due_s > job.limit_s:
                result: Tensor | Failure = Failure(reason="late", detail="not there in time")
                results.pop(number, None)
            else:
                if number not in results:
                    _train_flights(train, job, queue, jobs, results)
                result = results.pop(number)
            del jobs[number]
            turn = server.receive(state, Delivery(job=job, time_s=job.end_s, result=result))
        elif tick is not None:
            turn = server.tick(state, ticks)
            ticks += 1
        else:
            break
        state = turn.state
        hand_out(turn.jobs)
        if watch is not None:
            watch(state, snapshot)
    return state


def _train_flights(
    train: Train,
    first: Job,
    queue: list[tuple[tuple[float, int, int, int], int]],
    jobs: dict[int, Job],
    results: dict[int, Tensor | Failure],
) -> None:
    """Train `first` and the next jobs in flight that have no result yet and will be used."""
    chosen = [first]
    for _, number in sorted(queue):
        job = jobs[number]
        if len(chosen) == MOST_TOGETHER:
            break
        if number not in results and job.due_s <= job.limit_s and job.due_s < math.inf:
            chosen.append(job)
    for job, result in zip(chosen, train(chosen), strict=True):
        results[job.number] = result
