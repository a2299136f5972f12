"""The server of a plan: sessions and instants are the plan's; state in, state out.

Ties at an instant t_g are broken the same way everywhere: first every session with upload g is
merged, in device order, into w^(g); then sessions with receive g take w^(g).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from mafl_opt.core.plan import Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.validation.engine.jobs import Delivery, Failure, Job, Turn, Work
from mafl_opt.validation.plan_state import Arrival, PlanState, TaskState, with_task
from mafl_opt.validation.record import AggregationRecord, LostSession, SessionRecord
from mafl_opt.validation.systems.base import Upload
from mafl_opt.validation.systems.mafl import merge_weights, merge_with
from mafl_opt.validation.trained_task import SESSION
from mafl_opt.validation.uncertainty import Course, Weather

__all__ = ["PlanServer"]


class PlanServer:
    """Hands out and merges the sessions of a plan; a `Server`.

    Parameters
    ----------
    scenario : Scenario
    sessions : Sessions
        Sorted by device; every one can be executed.
    weather : Weather
    initial : sequence of (parameters,)
        First model of each task.
    rule : {"delta", "mixing"}
    seed : int
    evaluate_every : int
    score : callable
        From task and model to loss and accuracy on the test part.
    observe : callable, optional
        Called with slot, task and model after every instant.
    """

    def __init__(
        self,
        *,
        scenario: Scenario,
        sessions: Sessions,
        weather: Weather,
        initial: Sequence[Tensor],
        rule: str,
        seed: int,
        evaluate_every: int,
        score: Callable[[int, Tensor], tuple[float, float]],
        observe: Callable[[int, int, Tensor], None] | None = None,
    ) -> None:
        self.scenario, self.table, self.weather = scenario, sessions, weather
        self.initial, self.rule, self.seed = tuple(initial), rule, seed
        self.evaluate_every, self.score, self.observe = evaluate_every, score, observe
        self.instants: list[float] = scenario.time.instants_s.tolist()
        self.shares = scenario.pairs.data_share
        self.starting: dict[int, list[int]] = defaultdict(list)
        # Sessions come sorted by device, so every list is in device order.
        for k, receive in enumerate(sessions.receive.tolist()):
            self.starting[receive].append(k)

    @property
    def instants_s(self) -> Sequence[float]:
        """t_1..t_G, s."""
        return self.instants[1:]

    def begin(self) -> Turn[PlanState]:
        """Do instant 0: test the first models and hand them out."""
        state = PlanState(
            tasks=tuple(TaskState(parameters=first) for first in self.initial),
            spent_j=(0.0,) * self.scenario.num_devices,
        )
        return self._hand_out(self._record(state, {}))

    def finished(self, state: PlanState) -> bool:
        """Whether the last instant is done."""
        return state.slot == self.scenario.num_slots

    def receive(self, state: PlanState, delivery: Delivery) -> Turn[PlanState]:
        """Take the end of a session; it is merged at the next instant."""
        job, k = delivery.job, delivery.job.number
        state = replace(state, flying=tuple(f for f in state.flying if f[0] != k))
        course = self._course(k, job.version)
        result = delivery.result
        given_up = isinstance(result, Failure) and result.reason == "late"
        # Whoever does not give up has spent everything, even if nothing comes of it.
        state = self._spend(state, k, course, delivery.time_s if given_up else math.inf)
        if given_up or state.slot >= self.table.upload[k]:
            state = replace(state, late=state.late + 1)
        if isinstance(result, Failure):
            return Turn(state=self._lose(state, k, job.version, delivery.time_s, result))
        arrival = Arrival(session=k, receive=job.version, start=job.start, result=result)
        return Turn(state=replace(state, inbox=(*state.inbox, arrival)))

    def tick(self, state: PlanState, index: int) -> Turn[PlanState]:
        """Do instant g: merge what has arrived, hand out, test and record."""
        state = replace(state, slot=index + 1)
        used: dict[int, list[int]] = defaultdict(list)
        # An upload of no time at all is there at the instant before its own.
        early = tuple(a for a in state.inbox if self.table.upload[a.session] > state.slot)
        order = sorted(state.inbox, key=lambda arrival: arrival.session)
        order = [a for a in order if self.table.upload[a.session] <= state.slot]
        state = replace(state, inbox=early)
        for j in range(self.scenario.num_tasks):
            mine = [arrival for arrival in order if self.table.task[arrival.session] == j]
            fresh = [arrival for arrival in mine if not self._stale(arrival, state.slot)]
            for arrival in mine:
                if self._stale(arrival, state.slot):
                    tau = state.slot - 1 - arrival.receive
                    failure = Failure(reason="stale", detail=f"staleness {tau}")
                    state = self._lose(
                        state, arrival.session, arrival.receive, self.instants[state.slot], failure
                    )
            if fresh:
                state = self._merge(state, j, fresh)
                used[j] = [state.slot - 1 - arrival.receive for arrival in fresh]
        if self.finished(state):
            state = self._close(state)
        state = self._record(state, used)
        return Turn(state=state) if self.finished(state) else self._hand_out(state)

    def _stale(self, arrival: Arrival, slot: int) -> bool:
        """Whether a late arrival is past the task's bound; what comes as planned never is."""
        k = arrival.session
        bound = int(self.scenario.tasks.staleness_max[self.table.task[k]])
        return slot > self.table.upload[k] and slot - 1 - arrival.receive > bound

    def _merge(self, state: PlanState, j: int, arrivals: list[Arrival]) -> PlanState:
        """Replace w^(u-1) by w^(u), eq. 5 with either rule."""
        tasks, slot = self.scenario.tasks, state.slot
        uploads = []
        for arrival in arrivals:
            device = int(self.table.device[arrival.session])
            upload = Upload(
                client=device,
                samples=int(self.scenario.pairs.samples[device, j]),
                share=float(self.shares[device, j]),
                staleness=slot - 1 - arrival.receive,
                start=arrival.start,
                result=arrival.result,
            )
            uploads.append(upload)
        rate = float(tasks.server_rate[j])
        discount = tasks.staleness_weight[j](np.array([upload.staleness for upload in uploads]))
        weights = merge_weights(self.rule, rate, uploads, discount)
        task = state.tasks[j]
        merged = merge_with(self.rule, rate, task.parameters, uploads, weights)
        eta = float(tasks.learning_rate[j])
        decay = 1.0 - eta * float(tasks.proximal[j])
        progress, records = task.progress, []
        for arrival, weight in zip(arrivals, weights.tolist(), strict=True):
            k = arrival.session
            local_steps = float((decay ** np.arange(self.table.iterations[k])).sum())
            progress += 0.5 * weight * eta * local_steps
            records.append(self._session_record(arrival, slot, weight))
        task = replace(task, parameters=merged, score=None, progress=progress)
        state = with_task(state, j, task)
        return replace(state, sessions=(*state.sessions, *records))

    def _session_record(self, arrival: Arrival, slot: int, weight: float) -> SessionRecord:
        k = arrival.session
        course = self._course(k, arrival.receive)
        return SessionRecord(
            device=int(self.table.device[k]),
            task=self.scenario.tasks.name[self.table.task[k]],
            receive=arrival.receive,
            upload=slot,
            download_s=course.download_s,
            compute_s=course.compute_s,
            upload_s=course.upload_s,
            slack_s=course.slack_s,
            energy_j=course.energy_until(math.inf),
            weight=weight,
        )

    def _hand_out(self, state: PlanState) -> Turn[PlanState]:
        """Give w^(g) to the devices whose sessions start here, or have waited for their device."""
        jobs: list[Job] = []
        busy = {int(self.table.device[k]) for k, _ in state.flying}
        candidates = [*state.waiting, *self.starting[state.slot]]
        state = replace(state, waiting=())
        for k in sorted(candidates):
            device = int(self.table.device[k])
            if self.table.upload[k] <= state.slot:
                failure = Failure(reason="busy", detail="the device was not free in time")
                now = self.instants[state.slot]
                state = replace(state, late=state.late + 1)
                state = self._lose(state, k, int(self.table.receive[k]), now, failure)
            elif device in busy and not self.weather.planned:
                state = replace(state, waiting=(*state.waiting, k))
            else:
                busy.add(device)
                jobs.append(self._job(state, k))
                state = replace(state, flying=(*state.flying, (k, state.slot)))
        return Turn(state=state, jobs=tuple(jobs))

    def _job(self, state: PlanState, k: int) -> Job:
        device, j = int(self.table.device[k]), int(self.table.task[k])
        course = self._course(k, state.slot)
        deadline = self.instants[int(self.table.upload[k])]
        return Job(
            number=k,
            client=device,
            task=j,
            version=state.slot,
            start=state.tasks[j].parameters,
            work=Work(
                batch_size=int(self.table.batch_size[k]),
                steps=int(self.table.iterations[k]),
                learning_rate=float(self.scenario.tasks.learning_rate[j]),
                proximal=float(self.scenario.tasks.proximal[j]),
            ),
            stream=(self.seed, SESSION, device, j, int(self.table.receive[k])),
            due_s=course.due_s,
            limit_s=deadline if self.weather.late == "drop" else math.inf,
        )

    def _course(self, k: int, receive: int) -> Course:
        return self.weather.course(self.table, k, receive)

    def _spend(self, state: PlanState, k: int, course: Course, until_s: float) -> PlanState:
        energy = course.energy_until(until_s)
        device, j = int(self.table.device[k]), int(self.table.task[k])
        spent = list(state.spent_j)
        spent[device] += energy
        task = replace(state.tasks[j], energy_j=state.tasks[j].energy_j + energy)
        return replace(with_task(state, j, task), spent_j=tuple(spent))

    def _lose(
        self, state: PlanState, k: int, receive: int, time_s: float, failure: Failure
    ) -> PlanState:
        lost = LostSession(
            client=int(self.table.device[k]),
            task=int(self.table.task[k]),
            version=receive,
            time_s=time_s,
            reason=failure.reason,
            detail=failure.detail,
        )
        return replace(state, lost=(*state.lost, lost))

    def _close(self, state: PlanState) -> PlanState:
        """Give up at t_G whatever has not arrived."""
        end = self.instants[-1]
        failure = Failure(reason="late", detail="not there at the end")
        for k, receive in state.flying:
            state = self._spend(state, k, self._course(k, receive), end)
            state = self._lose(replace(state, late=state.late + 1), k, receive, end, failure)
        for k in state.waiting:
            receive = int(self.table.receive[k])
            state = self._lose(replace(state, late=state.late + 1), k, receive, end, failure)
        return replace(state, flying=(), waiting=())

    def _record(self, state: PlanState, used: dict[int, list[int]]) -> PlanState:
        """Test the models and record the instant."""
        slot, last = state.slot, self.scenario.num_slots
        tested = slot % self.evaluate_every == 0 or slot == last
        for j, name in enumerate(self.scenario.tasks.name):
            task = state.tasks[j]
            if tested and task.score is None:
                task = replace(task, score=self.score(j, task.parameters))
                state = with_task(state, j, task)
            loss, accuracy = task.score if tested and task.score is not None else (None, None)
            staleness = used.get(j, [])
            record = AggregationRecord(
                slot=slot,
                task=name,
                time_s=self.instants[slot],
                loss=loss,
                accuracy=accuracy,
                energy_j=task.energy_j,
                uploads=len(staleness),
                mean_staleness=float(np.mean(staleness)) if staleness else None,
                max_staleness=max(staleness) if staleness else None,
                progress=task.progress,
            )
            state = replace(state, records=(*state.records, record))
            if self.observe is not None:
                self.observe(slot, j, task.parameters)
        return state
