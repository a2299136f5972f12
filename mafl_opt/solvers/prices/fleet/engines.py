"""Engines: who solves the blocks of a fleet at prices, on this machine, a GPU of it or on many.

A block is solved by a pure function of its devices, the prices and where to start; blocks are cut
without regard to workers, and what they sum up to is added by the caller in their order. So every
engine gives the same numbers to the last bit, with any number of workers, also when one is lost and
its blocks are solved again elsewhere. A GPU may take another of equally good plans.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.solvers.prices.fleet.arcs import Room, Scratch, Table, scratch
from mafl_opt.solvers.prices.fleet.arrays import Fleet, Tasks, read_only
from mafl_opt.solvers.prices.fleet.kernel import complete_devices, price_devices
from mafl_opt.solvers.prices.fleet.labels import Pool, pool

__all__ = [
    "BlockAnswer",
    "Engine",
    "Known",
    "LocalEngine",
    "Question",
    "require_engine",
    "solve_block",
    "start_engine",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# A block whose worker dies is solved again, on another, up to this often.
_RETRIES = 5
_RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # A cluster of one machine listens on the loopback address alone; does not touch others.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Workers see the machine's accelerators as they are; unset, Ray warns that this will change.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class Question(NamedTuple):
    """What every block is asked.

    table : Table
    rounds : int
        Most evaluations of a device for its energy price.
    accuracy : float
        A device's bound and plan may differ by this much.
    """

    table: Table
    rounds: int
    accuracy: float


class BlockAnswer(NamedTuple):
    """What a block answers.

    bound, cost : float
        Sums over its devices: lower bounds of their costs, and costs of their plans.
    totals : (1 + 2 J + G + G J,)
        What the plans add up to, see `kernel`.
    energy_price : (devices,)
        The best energy prices found.
    acts : (devices,)
        Whether a device's lower bound is below 0, the cost of staying idle.
    """

    bound: float
    cost: float
    totals: Floats
    energy_price: Floats
    acts: NDArray[np.bool_]


class Known(NamedTuple):
    """What is known of devices before they are asked.

    solved : (devices,)
        Whether the rest is right.
    bound, cost : (devices,)
        As in `BlockAnswer`, of each device.
    ends : (devices + 1,)
        Device i has the sessions ends[i] .. ends[i + 1] - 1.
    sessions : (sessions, 5)
        Task, receive, upload, iterations, batch.
    """

    solved: NDArray[np.bool_]
    bound: Floats
    cost: Floats
    ends: Ints
    sessions: Ints

    def part(self, start: int, stop: int) -> Known:
        """Return what is known of the devices start..stop-1."""
        own = slice(start, stop)
        return Known(
            solved=self.solved[own], bound=self.bound[own], cost=self.cost[own],
            ends=self.ends[start : stop + 1], sessions=self.sessions,
        )  # fmt: skip


class Engine(Protocol):
    """Keeps the blocks of a fleet where they are solved."""

    def solve_blocks(self, question: Question, energy_price: Floats) -> list[BlockAnswer]:
        """Solve all blocks, each from its part of `energy_price`; answers in order of blocks."""
        ...

    def close(self) -> None:
        """Give back threads and processes."""
        ...


class _Room(threading.local):
    """Scratch room, one for each thread, made anew when tasks of another shape come."""

    def __init__(self) -> None:
        self._shape: tuple[int, ...] = ()
        self._kept: tuple[Pool, Scratch] | None = None

    def lend(self, tasks: Tasks) -> tuple[Pool, Scratch]:
        shape = (tasks.capacity.size, *tasks.moved.shape, tasks.first.shape[1])
        if self._kept is None or self._shape != shape:
            self._shape, self._kept = shape, (pool(), scratch(tasks))
        return self._kept


_room = _Room()


def solve_block(
    fleet: Fleet, tasks: Tasks, question: Question, energy_price: Floats,
    known: Known | None = None,
) -> BlockAnswer:  # fmt: skip
    """Solve the devices of a block at prices; a pure function.

    Parameters
    ----------
    fleet : Fleet
        The block.
    tasks : Tasks
    question : Question
    energy_price : (devices,)
        Where to start; the answer, where a device is known.
    known : Known or None
        Devices that need not be solved.
    """
    # Compiled code is specialised on whether arrays may be written to: alike everywhere.
    fleet, tasks, table = read_only(fleet), read_only(tasks), read_only(question.table)
    labels, own = _room.lend(tasks)
    num_tasks, slots = tasks.bits.size, tasks.capacity.size
    room = Room(uplink=tasks.capacity, step=np.tile(tasks.cap, (slots, 1)))
    totals = np.zeros(1 + 2 * num_tasks + slots * (1 + num_tasks))
    price = np.array(energy_price)
    asked = (fleet, tasks, table, room, price, question.rounds, question.accuracy, labels, own)
    if known is None:
        bound, cost = np.zeros(price.size), np.zeros(price.size)
        price_devices(*asked, bound, cost, totals)
    else:
        bound, cost = known.bound.copy(), known.cost.copy()
        known = read_only(known)
        complete_devices(
            *asked, bound, cost, totals, known.solved, known.ends, known.sessions
        )  # fmt: skip
    return BlockAnswer(float(bound.sum()), float(cost.sum()), totals, price, bound < 0.0)


class LocalEngine:
    """Threads of this process; the compiled code lets go of the interpreter.

    Parameters
    ----------
    fleet : Fleet
    tasks : Tasks
    edges : (blocks + 1,)
        Block k has the devices edges[k] .. edges[k + 1] - 1.
    """

    def __init__(self, fleet: Fleet, tasks: Tasks, edges: Ints) -> None:
        self._fleet, self._tasks, self._edges = fleet, tasks, edges
        workers = min(os.cpu_count() or 1, edges.size - 1)
        self._threads = ThreadPoolExecutor(workers) if workers > 1 else None

    def solve_blocks(
        self, question: Question, energy_price: Floats, known: Known | None = None
    ) -> list[BlockAnswer]:
        """Solve all blocks, but for known devices; Ctrl-C waits for those that have begun."""

        def solve(block: int) -> BlockAnswer:
            start, stop = int(self._edges[block]), int(self._edges[block + 1])
            part, price = self._fleet.part(start, stop), energy_price[start:stop]
            given = () if known is None else (known.part(start, stop),)
            return solve_block(part, self._tasks, question, price, *given)

        blocks = range(self._edges.size - 1)
        if self._threads is None:
            return [solve(block) for block in blocks]
        return list(self._threads.map(solve, blocks))

    def close(self) -> None:
        """End the threads."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)


class RayEngine:
    """Processes of a Ray cluster: the one that runs or is named by RAY_ADDRESS, else an own one.

    Blocks are put into Ray's object store once and stay on the workers' machines; a table and the
    energy prices, 8 bytes a device, travel with every question.

    Parameters
    ----------
    fleet, tasks, edges
        As for `LocalEngine`.
    """

    def __init__(self, fleet: Fleet, tasks: Tasks, edges: Ints) -> None:
        for name, value in _RAY_SETTINGS.items():
            os.environ.setdefault(name, value)
        import ray

        self._ray: Any = ray
        self._own = not ray.is_initialized()
        if self._own and "RAY_ADDRESS" in os.environ:
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
        elif self._own:
            ray.init(
                num_cpus=max(2, os.cpu_count() or 1), include_dashboard=False,
                log_to_driver=False, logging_level=logging.ERROR,
            )  # fmt: skip
        self._edges = edges
        self._solve = ray.remote(max_retries=_RETRIES, num_cpus=1)(solve_block)
        self._tasks = ray.put(tasks)
        self._parts = [
            ray.put(fleet.part(int(start), int(stop))) for start, stop in pairwise(edges)
        ]

    def solve_blocks(self, question: Question, energy_price: Floats) -> list[BlockAnswer]:
        """Solve all blocks; on Ctrl-C those that have not begun are cancelled."""
        asked = self._ray.put(question)
        running = [
            self._solve.remote(part, self._tasks, asked, energy_price[start:stop])
            for part, (start, stop) in zip(self._parts, pairwise(self._edges), strict=True)
        ]
        try:
            answers: list[BlockAnswer] = self._ray.get(running)
        except KeyboardInterrupt:
            for one in running:
                self._ray.cancel(one)
            raise
        return answers

    def close(self) -> None:
        """Let the blocks go; end a cluster started here."""
        self._parts.clear()
        if self._own:
            self._ray.shutdown()


def _start_torch(fleet: Fleet, tasks: Tasks, edges: Ints) -> Engine:
    from mafl_opt.solvers.prices.fleet.torch_engine import TorchEngine

    return TorchEngine(fleet, tasks, edges)


_STARTED: dict[str, Callable[[Fleet, Tasks, Ints], Engine]] = {
    "local": LocalEngine,
    "ray": RayEngine,
    # Importing torch takes a second, which nobody else pays for.
    "torch": _start_torch,
}


def require_engine(name: str) -> None:
    """Make sure that an engine can be started.

    Raises
    ------
    InputError
        When there is none of that name, Ray is not installed, or torch sees no CUDA device.
    """
    if name not in _STARTED:
        raise InputError("engine", "one of " + ", ".join(_STARTED), name)
    if name == "ray" and find_spec("ray") is None:
        raise InputError("engine", "ray to be installed", "none", "pip install mafl-opt[ray]")
    if name == "torch":
        from mafl_opt.solvers.prices.fleet.torch_engine import require_cuda

        require_cuda()


def start_engine(name: str, fleet: Fleet, tasks: Tasks, edges: Ints) -> Engine:
    """Start the engine of a name on a fleet cut into blocks.

    Raises
    ------
    InputError
        When there is none of that name, Ray is not installed, or torch sees no CUDA device.
    """
    require_engine(name)
    return _STARTED[name](fleet, tasks, edges)
