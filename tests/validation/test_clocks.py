"""Virtual and real time: one server, two clocks, the same run; and what real time adds."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from dataclasses import dataclass, field

import pytest
import torch
from federated_runs import failing, small_run, small_system, step_back

from mafl_opt.core.errors import InputError
from mafl_opt.validation.delays import Delays
from mafl_opt.validation.engine.jobs import Failure, Job, Turn, Work
from mafl_opt.validation.engine.real_time import RealTime, run_real
from mafl_opt.validation.engine.virtual_time import Snapshot, run_virtual
from mafl_opt.validation.federate import FederationOptions
from mafl_opt.validation.systems.registry import SYSTEMS

#: Fast enough for a test; clients are waited for however slow the machine is.
QUICK = RealTime(scale=0.003, grace_s=60.0, patience_s=60.0)


@dataclass(frozen=True)
class Recorder:
    """A server that hands out fixed jobs at the beginning and writes down what comes when."""

    ends: tuple[tuple[int, float, float], ...]
    instants_s: tuple[float, ...] = ()
    stop_after: int = 1000
    jobs: tuple[Job, ...] = field(default=(), init=False)

    def begin(self):
        jobs = [
            Job(
                number=number, client=client, task=0, version=0, start=torch.zeros(1),
                work=Work(batch_size=1, steps=1, learning_rate=1.0), stream=(0,), due_s=due,
                limit_s=limit,
            )
            for number, (client, due, limit) in enumerate(self.ends)
        ]  # fmt: skip
        return Turn(state=(), jobs=tuple(jobs))

    def receive(self, state, delivery):
        lost = isinstance(delivery.result, Failure)
        return Turn(state=(*state, (delivery.job.number, delivery.time_s, lost)))

    def tick(self, state, index):
        return Turn(state=(*state, ("tick", self.instants_s[index], False)))

    def finished(self, state):
        return len(state) >= self.stop_after


def echo(jobs):
    return [job.start for job in jobs]


NEVER = math.inf
EVENTS = Recorder(
    ends=((3, 2.0, NEVER), (1, 2.0, NEVER), (2, 1.0, NEVER), (0, 5.0, 2.5), (1, 2.0, NEVER)),
    instants_s=(1.0, 2.0, 3.0),
)


def test_virtual_time_breaks_ties_by_client_then_number_and_ticks_last():
    assert run_virtual(EVENTS, echo) == (
        (2, 1.0, False), ("tick", 1.0, False), (1, 2.0, False), (4, 2.0, False), (0, 2.0, False),
        ("tick", 2.0, False), (3, 2.5, True), ("tick", 3.0, False),
    )  # fmt: skip


def test_real_time_gives_the_same_sequence_as_virtual_time():
    assert run_real(EVENTS, echo, QUICK) == run_virtual(EVENTS, echo)


@pytest.mark.parametrize("run", [run_virtual, lambda s, t: run_real(s, t, QUICK)])
def test_run_stops_when_the_server_has_finished_or_nothing_can_come(run):
    assert len(run(Recorder(ends=EVENTS.ends, stop_after=2), echo)) == 2
    silent = Recorder(ends=((0, NEVER, NEVER), (1, 1.0, NEVER)))
    assert run(silent, echo) == ((1, 1.0, False),)


def test_virtual_time_trains_what_is_in_flight_together_and_nothing_in_vain():
    calls = []

    def train(jobs):
        calls.append([job.number for job in jobs])
        return echo(jobs)

    run_virtual(EVENTS, train)
    # Job 3 is lost before it is due.
    assert calls == [[2, 1, 4, 0]]


def test_virtual_time_goes_on_from_a_snapshot_without_training_again():
    snapshots: list[Snapshot] = []
    whole = run_virtual(EVENTS, echo, watch=lambda state, take: snapshots.append(take()))
    assert len(snapshots) == len(whole)

    def refuse(jobs):
        raise AssertionError("everything in flight has its result")

    for snapshot in snapshots:
        assert run_virtual(EVENTS, refuse, resume=snapshot) == whole


@pytest.mark.parametrize("name", SYSTEMS)
def test_system_is_the_same_in_real_and_in_virtual_time(name):
    options = FederationOptions(dtype="float64", batched=False)
    rounds = 20 if name == "fedasync" else 8
    virtual, real = (
        small_run(small_system(name), rounds=rounds, options=options, clock=clock)
        for clock in (None, QUICK)
    )
    assert virtual.same_course(real)


def test_lost_sessions_are_the_same_in_real_and_in_virtual_time():
    options = FederationOptions(
        dtype="float64", batched=False, delays=Delays(loss=0.2), timeout_s=1.5
    )
    virtual, real = (
        small_run(small_system("afl"), options=options, clock=clock, training=failing({2: "raise"}))
        for clock in (None, QUICK)
    )
    assert {session.reason for session in virtual.lost} == {"late", "raised"}
    assert virtual.same_course(real)


def test_hanging_client_costs_its_session_and_no_more_in_real_time():
    release = threading.Event()
    try:
        started = time.monotonic()
        history = small_run(
            small_system("fedavg"), rounds=6, training=failing({1: "hang"}, release),
            clock=RealTime(scale=0.003, grace_s=2.0, patience_s=2.0),
        )  # fmt: skip
        assert time.monotonic() - started < 30
    finally:
        release.set()
    assert history.rounds == 6
    assert {(session.client, session.reason) for session in history.lost} == {(1, "late")}


def test_clients_work_at_the_same_time_in_real_time():
    together = threading.Barrier(3, timeout=30)

    def train(job, session):
        together.wait()
        return step_back(job, session)

    history = small_run(small_system("fedavg"), rounds=2, training=train, clock=QUICK)
    assert history.rounds == 2 and history.lost == ()


def test_straggler_is_overtaken_after_the_grace():
    release = threading.Event()

    def train(jobs):
        if jobs[0].client == 0:
            release.wait()
        return echo(jobs)

    class Releasing(Recorder):
        def receive(self, state, delivery):
            turn = super().receive(state, delivery)
            if len(turn.state) == 2:
                release.set()
            return turn

    server = Releasing(ends=((0, 1.0, NEVER), (1, 2.0, NEVER), (2, 3.0, NEVER)))
    assert [event[0] for event in run_virtual(server, echo)] == [0, 1, 2]
    release.clear()
    state = run_real(server, train, RealTime(scale=0.003, grace_s=1.5, patience_s=60.0))
    assert [event[0] for event in state] == [1, 2, 0]
    times = [event[1] for event in state]
    assert times == sorted(times) and not any(event[2] for event in state)


def test_an_error_of_the_program_itself_ends_the_run_in_real_time():
    def train(jobs):
        raise RuntimeError("a bug, not a client")

    with pytest.raises(RuntimeError, match="a bug"):
        run_real(EVENTS, train, QUICK)


def test_real_time_refuses_a_running_loop_and_checkpoints(tmp_path):
    async def inside():
        return run_real(EVENTS, echo, QUICK)

    with pytest.raises(InputError, match="a thread without a running event loop"):
        asyncio.run(inside())
    with pytest.raises(InputError, match="checkpoint: expected virtual time"):
        small_run(small_system("fedavg"), clock=QUICK, checkpoint=tmp_path / "c.npz")
    for changes in ({"scale": 0.0}, {"grace_s": -1.0}, {"patience_s": math.inf}):
        with pytest.raises(InputError, match=f"clock.{next(iter(changes))}"):
            RealTime(**changes)
