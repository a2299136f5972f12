"""Real time: server and clients as asyncio tasks, with delays that really pass.

A client trains in a thread of its own, so clients work at once and one that hangs stops nobody.
What it sends arrives when its virtual due time, scaled, has passed. The server takes events in the
order of their virtual times, as `virtual_time` does, and waits up to `grace_s` for one that should
have come: as long as every client is there within the grace, both clocks give the same run. After
the grace others overtake, and the straggler counts from the moment it arrives. Virtual time stands
still while the server waits: whoever is handed a job afterwards has all of its time.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from mafl_opt.core.errors import InputError
from mafl_opt.validation.engine.jobs import Delivery, Failure, Job, Server, Train
from mafl_opt.validation.engine.virtual_time import event_key

__all__ = ["RealTime", "run_real"]

State = TypeVar("State")
Outcome = TypeVar("Outcome")

#: Clients that compute at once at most; more only take memory.
MOST_THREADS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class RealTime:
    """How virtual seconds pass.

    Attributes
    ----------
    scale : float
        Real seconds a virtual second takes.
    grace_s : float
        Real seconds the server waits for a result that is due before others overtake it.
    patience_s : float
        Real seconds after its due time at which a session is given up.
    """

    scale: float = 1.0
    grace_s: float = 60.0
    patience_s: float = 60.0

    def __post_init__(self) -> None:
        if not 0 < self.scale < math.inf:
            raise InputError("clock.scale", "a finite number > 0", self.scale)
        for name in ("grace_s", "patience_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"clock.{name}", "a finite number >= 0", getattr(self, name))


def run_real(server: Server[State], train: Train, clock: RealTime) -> State:
    """Run a server to its end in real time.

    Parameters
    ----------
    server : Server
    train : Train
        Called from several threads at once, one job a call.
    clock : RealTime

    Raises
    ------
    InputError
        If an event loop runs in this thread already.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_RealRun(server, train, clock).execute())
    raise InputError("clock", "a thread without a running event loop", "one that runs a loop")


class _RealRun(Generic[State]):
    """The server task, and what it shares with the client tasks."""

    def __init__(self, server: Server[State], train: Train, clock: RealTime) -> None:
        self.server, self.train, self.clock = server, train, clock
        self.flights: dict[int, Job] = {}
        #: When each job's result is due, or the job given up; in the loop's time.
        self.due: dict[int, float] = {}
        self.arrived: dict[int, Tensor | Failure | BaseException] = {}
        #: Jobs whose grace is over, and that others have overtaken.
        self.overdue: set[int] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.now_s = 0.0

    async def execute(self) -> State:
        """Be the server until it is finished; then no client is left running."""
        self.loop = asyncio.get_running_loop()
        self.origin = self.loop.time()
        self.news = asyncio.Event()
        self.threads = asyncio.Semaphore(MOST_THREADS)
        try:
            return await self._serve()
        finally:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self) -> State:
        server, instants, ticks = self.server, self.server.instants_s, 0
        turn = server.begin()
        self._hand_out(turn.jobs)
        while not server.finished(turn.state):
            late = next((n for n in self.arrived if n in self.overdue), None)
            waiting = [j for n, j in self.flights.items() if n not in self.overdue]
            first = min(waiting, key=event_key, default=None)
            tick = instants[ticks] if ticks < len(instants) else math.inf
            if late is not None:
                turn = server.receive(turn.state, self._delivery(late, self._virtual_now()))
            elif first is not None and first.end_s < math.inf and first.end_s <= tick:
                if first.number not in self.arrived:
                    latest = self.due[first.number] + self.clock.grace_s
                    if self.loop.time() < latest:
                        await self._wait_until(latest)
                    else:
                        self.overdue.add(first.number)
                    continue
                self._stand_still(first.end_s)
                turn = server.receive(turn.state, self._delivery(first.number, first.end_s))
            elif tick < math.inf:
                if self.loop.time() < self._real(tick):
                    await self._wait_until(self._real(tick))
                    continue
                self._stand_still(tick)
                turn = server.tick(turn.state, ticks)
                ticks += 1
            elif self.overdue:
                await self._wait_until(math.inf)
                continue
            else:
                break
            self._hand_out(turn.jobs)
        return turn.state

    def _hand_out(self, jobs: tuple[Job, ...]) -> None:
        for job in jobs:
            self.flights[job.number] = job
            self.due[job.number] = self._real(job.end_s)
            task = self.loop.create_task(self._client(job))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def _delivery(self, number: int, time_s: float) -> Delivery:
        job, result = self.flights.pop(number), self.arrived.pop(number)
        del self.due[number]
        self.overdue.discard(number)
        if isinstance(result, BaseException):
            raise result
        self.now_s = max(self.now_s, time_s, job.end_s)
        return Delivery(job=job, time_s=self.now_s, result=result)

    async def _client(self, job: Job) -> None:
        """Be a client for one session."""
        result: Tensor | Failure | BaseException
        due = self.due[job.number]
        if job.due_s > job.limit_s or job.due_s == math.inf:
            await self._sleep_until(due)
            result = Failure(reason="late", detail="not there in time")
        else:
            try:
                async with asyncio.timeout_at(due + self.clock.patience_s):
                    async with self.threads:
                        (result,) = await _in_thread(lambda: self.train([job]))
                    await self._sleep_until(due)
            except TimeoutError:
                result = Failure(reason="late", detail="no answer")
            except Exception as error:  # raised by the server task, which ends the run
                result = error
        self.arrived[job.number] = result
        self.news.set()

    async def _wait_until(self, real: float) -> None:
        """Wait for news from a client, but no longer than until `real`."""
        self.news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(None if real == math.inf else real):
                await self.news.wait()

    async def _sleep_until(self, real: float) -> None:
        if real == math.inf:
            await asyncio.Event().wait()
        await asyncio.sleep(max(0.0, real - self.loop.time()))

    def _stand_still(self, virtual_s: float) -> None:
        """Let virtual time go on from here, however late it is."""
        self.origin += max(0.0, self.loop.time() - self._real(virtual_s))

    def _real(self, virtual_s: float) -> float:
        return self.origin + virtual_s * self.clock.scale

    def _virtual_now(self) -> float:
        return (self.loop.time() - self.origin) / self.clock.scale


async def _in_thread(function: Callable[[], Outcome]) -> Outcome:
    """Await a call in a thread that nothing waits for if it never ends.

    Not `asyncio.to_thread`: its threads are joined at exit, and one that hangs would hang that.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Outcome] = loop.create_future()

    def settle(outcome: Outcome | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(outcome)  # type: ignore[arg-type]
        else:
            future.set_exception(error)

    def work() -> None:
        outcome: Outcome | None = None
        failed: BaseException | None = None
        try:
            outcome = function()
        except BaseException as error:  # handed to the task that waits
            failed = error
        # The loop may be closed: then nobody waits any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, outcome, failed)

    threading.Thread(target=work, daemon=True).start()
    return await future
