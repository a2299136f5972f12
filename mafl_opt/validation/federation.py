"""The server of a learning system that runs without a plan: state in, state out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from torch import Tensor

from mafl_opt.validation.delays import Delays
from mafl_opt.validation.engine.jobs import Delivery, Failure, Job, Turn
from mafl_opt.validation.history import RoundRecord
from mafl_opt.validation.record import LostSession
from mafl_opt.validation.systems.base import System, Upload
from mafl_opt.validation.trained_task import SELECTION, SESSION, random_stream

__all__ = ["Federation", "FederationState"]

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FederationState:
    """All that a federation knows between two events.

    Attributes
    ----------
    parameters : (parameters,)
        The global model.
    version : int
        Aggregations so far, t.
    merged, handed_out, draws : int
        Uploads used, jobs handed out, clients drawn so far.
    busy : tuple of bool
        Which clients are at work.
    begun, failures, staleness : tuple of int, one a client
        Sessions begun; failures in a row; staleness of the last upload.
    queued : tuple of int
        Clients that were drawn while at work and start again when they are done.
    buffer : tuple of Upload
        What waits for the next aggregation.
    records, lost
        As in `History`.
    """

    parameters: Tensor
    version: int = 0
    merged: int = 0
    handed_out: int = 0
    draws: int = 0
    busy: tuple[bool, ...]
    begun: tuple[int, ...]
    failures: tuple[int, ...]
    staleness: tuple[int, ...]
    queued: tuple[int, ...] = ()
    buffer: tuple[Upload, ...] = ()
    records: tuple[RoundRecord, ...] = ()
    lost: tuple[LostSession, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Federation:
    """A learning system among clients; a `Server`.

    Attributes
    ----------
    system : System
    initial : (parameters,)
    samples : tuple of int
        D_i of every client, each at least 1.
    delays : Delays
    seed : int
    rounds : int
        Aggregations after which the run ends.
    sessions : float
        Uploads after which it ends; may be infinite.
    timeout_s : float
        Virtual time after which a session is given up; may be infinite.
    give_up_after : int
        Lost sessions in a row after which a client is drawn no more.
    evaluate_every : int
    score : callable
        From a model to its loss and accuracy on the test part.
    """

    system: System
    initial: Tensor
    samples: tuple[int, ...]
    delays: Delays
    seed: int
    rounds: int
    sessions: float
    timeout_s: float
    give_up_after: int
    evaluate_every: int
    score: Callable[[Tensor], tuple[float, float]]

    @property
    def instants_s(self) -> Sequence[float]:
        """Virtual times of aggregations that go by the clock; none for other systems."""
        period = self.system.period_s
        return () if period is None else [period * k for k in range(1, self.rounds + 1)]

    def begin(self) -> Turn[FederationState]:
        """Record the first model and put the first clients to work."""
        count = len(self.samples)
        zeros = (0,) * count
        state = FederationState(
            parameters=self.initial,
            busy=(False,) * count,
            begun=zeros,
            failures=zeros,
            staleness=zeros,
        )
        state = replace(state, records=(self._record(state, 0.0, ()),))
        return self._put_to_work(state, 0.0)

    def finished(self, state: FederationState) -> bool:
        """Whether all rounds are done or enough uploads are merged."""
        return state.version >= self.rounds or state.merged >= self.sessions

    def receive(self, state: FederationState, delivery: Delivery) -> Turn[FederationState]:
        """Take an upload or a loss; aggregate if that completes a round; draw clients."""
        client, now = delivery.job.client, delivery.time_s
        state = replace(state, busy=_set(state.busy, client, False))
        state = self._take(state, delivery)
        if self.system.period_s is None and self._complete(state):
            state = self._aggregate(state, now)
        if self.finished(state):
            return Turn(state=state)
        return self._put_to_work(state, now)

    def tick(self, state: FederationState, index: int) -> Turn[FederationState]:
        """Aggregate whatever is there."""
        now = self.instants_s[index]
        state = self._aggregate(state, now)
        return Turn(state=state) if self.finished(state) else self._put_to_work(state, now)

    def _take(self, state: FederationState, delivery: Delivery) -> FederationState:
        job, result = delivery.job, delivery.result
        tau, bound = state.version - job.version, self.system.staleness_bound
        if not isinstance(result, Failure) and bound is not None and tau > bound:
            result = Failure(reason="stale", detail=f"staleness {tau} above {bound}")
        elif not isinstance(result, Failure):
            upload = Upload(
                client=job.client,
                samples=self.samples[job.client],
                share=self.samples[job.client] / sum(self.samples),
                staleness=tau,
                start=job.start,
                result=result,
            )
            return replace(
                state,
                buffer=(*state.buffer, upload),
                failures=_set(state.failures, job.client, 0),
                staleness=_set(state.staleness, job.client, tau),
            )
        lost = LostSession(
            client=job.client,
            task=0,
            version=job.version,
            time_s=delivery.time_s,
            reason=result.reason,
            detail=result.detail,
        )
        # A stale upload is no fault of the client; it remembers its delay all the same.
        failed = 0 if result.reason == "stale" else state.failures[job.client] + 1
        last = tau if result.reason == "stale" else state.staleness[job.client]
        return replace(
            state,
            lost=(*state.lost, lost),
            failures=_set(state.failures, job.client, failed),
            staleness=_set(state.staleness, job.client, last),
        )

    def _complete(self, state: FederationState) -> bool:
        if self.system.synchronous:
            return not any(state.busy)
        return len(state.buffer) >= self.system.quota(len(self.samples))

    def _aggregate(self, state: FederationState, now: float) -> FederationState:
        """Merge the buffer, in the order of clients, into the next version."""
        uploads = tuple(sorted(state.buffer, key=lambda upload: upload.client))
        merged = self.system.merge(state.parameters, uploads) if uploads else state.parameters
        state = replace(
            state,
            parameters=merged,
            version=state.version + 1,
            merged=state.merged + len(uploads),
            buffer=(),
        )
        return replace(state, records=(*state.records, self._record(state, now, uploads)))

    def _record(
        self, state: FederationState, now: float, uploads: tuple[Upload, ...]
    ) -> RoundRecord:
        tested = state.version % self.evaluate_every == 0 or self.finished(state)
        loss, accuracy = self.score(state.parameters) if tested else (None, None)
        return RoundRecord(
            round=state.version,
            time_s=now,
            loss=loss,
            accuracy=accuracy,
            clients=tuple(upload.client for upload in uploads),
            staleness=tuple(upload.staleness for upload in uploads),
            sessions=state.merged,
        )

    def _put_to_work(self, state: FederationState, now: float) -> Turn[FederationState]:
        """Start clients that were drawn before, then draw as many as are missing."""
        jobs: list[Job] = []
        for client in dict.fromkeys(state.queued):
            if not state.busy[client]:
                queued = list(state.queued)
                queued.remove(client)
                state = replace(state, queued=tuple(queued))
                state = self._hand_out(state, client, now, jobs)
        for client in self._drawn(state):
            state = replace(state, draws=state.draws + 1)
            if state.busy[client]:
                state = replace(state, queued=(*state.queued, client))
            else:
                state = self._hand_out(state, client, now, jobs)
        return Turn(state=state, jobs=tuple(jobs))

    def _drawn(self, state: FederationState) -> list[int]:
        system, count = self.system, len(self.samples)
        missing = system.crew(count) - sum(state.busy) - len(state.queued)
        if system.synchronous and any(state.busy):
            return []
        if not system.refills_at_once:
            # Those whose uploads wait for the round to end are drawn anew when it does.
            missing -= len(state.buffer)
        able = [c for c in range(count) if state.failures[c] < self.give_up_after]
        if not system.with_replacement:
            able = [c for c in able if not state.busy[c]]
            missing = min(missing, len(able))
        if missing <= 0 or not able:
            return []
        generator = random_stream(self.seed, SELECTION, state.draws)
        drawn = generator.choice(len(able), missing, replace=system.with_replacement)
        return [able[k] for k in drawn.tolist()]

    def _hand_out(
        self, state: FederationState, client: int, now: float, jobs: list[Job]
    ) -> FederationState:
        """Send the present model to a client; the job is appended to `jobs`."""
        begun = state.begun[client]
        jobs.append(
            Job(
                number=state.handed_out,
                client=client,
                task=0,
                version=state.version,
                start=state.parameters,
                work=self.system.work(version=state.version, staleness=state.staleness[client]),
                stream=(self.seed, SESSION, client, 0, begun),
                due_s=now + self.delays.draw(self.seed, client, begun),
                limit_s=now + self.timeout_s if math.isfinite(self.timeout_s) else math.inf,
            )
        )
        return replace(
            state,
            handed_out=state.handed_out + 1,
            busy=_set(state.busy, client, True),
            begun=_set(state.begun, client, begun + 1),
        )


def _set(entries: tuple[Entry, ...], place: int, value: Entry) -> tuple[Entry, ...]:
    return (*entries[:place], value, *entries[place + 1 :])
