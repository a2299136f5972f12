"""Devices of a large fleet solved together on a GPU, through torch.

Batch by batch, all devices are asked at energy prices in lockstep. Those whose plan takes more
than the budget go to the compiled kernel, which solves them from where they set out and adds up
the plans of all; so the answers are those of the other engines.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mafl_opt.core.errors import InputError
from mafl_opt.solvers.prices.fleet.arcs import SLACK
from mafl_opt.solvers.prices.fleet.arrays import Fleet, Tasks
from mafl_opt.solvers.prices.fleet.engines import BlockAnswer, Known, LocalEngine, Question
from mafl_opt.solvers.prices.fleet.torch_arcs import (
    put_fleet,
    put_table,
    put_tasks,
    solve_devices,
)

__all__ = ["TorchEngine", "require_cuda"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Columns of a batch: enough to keep a GPU busy, few enough for the caches of a processor.
_CUDA_COLUMNS, _CPU_COLUMNS = 1 << 23, 1 << 16
# Of a column while it is weighed: some twenty arrays of float64 at a time, and what is kept.
_COLUMN_BYTES = 8 * 32


def require_cuda() -> None:
    """Make sure that torch sees a CUDA device.

    Raises
    ------
    InputError
        When it does not.
    """
    if not torch.cuda.is_available():
        raise InputError("engine", "a CUDA device that torch sees", "none", "leave engine out")


class _Search(NamedTuple):
    """Devices on the way to their energy price; one entry each.

    device : which of the batch
    price : the last one tried
    bound : what it proves
    cost, plan : of the best plan within the budget so far, see `Solved`
    """

    device: Tensor
    price: Tensor
    bound: Tensor
    cost: Tensor
    plan: Tensor


def _take(record: Any, index: Tensor) -> Any:
    return record._make(entries[..., index] for entries in record)


def _search(
    fleet: Any, tasks: Any, table: Any, start: Tensor, rounds: int, tolerance: float
) -> _Search:
    """Search for energy prices as the kernel does, until a plan takes more than the budget.

    Until then prices fall, so that the last one proves the most.
    """
    slots, devices = fleet.up_rate.shape
    at = _Search(
        device=torch.arange(devices, device=start.device), price=start,
        bound=torch.zeros_like(start), cost=torch.zeros_like(start),
        plan=torch.zeros(5, slots, devices, dtype=torch.int64, device=start.device),
    )  # fmt: skip
    ended = []
    for attempt in range(rounds):
        if attempt:
            at = at._replace(price=0.7 * at.price if attempt == 1 else torch.zeros_like(at.price))
        asked = _take(fleet, at.device) if attempt else fleet
        solved = solve_devices(asked, tasks, table, at.price)
        value = solved.cost + at.price * (solved.energy - asked.budget)
        within = solved.energy <= asked.budget * (1.0 + SLACK)
        better = within & (solved.cost < at.cost)
        at = at._replace(
            bound=value,
            cost=torch.where(better, solved.cost, at.cost),
            plan=torch.where(better, solved.plan, at.plan),
        )
        cheaper = within & (at.cost - at.bound > tolerance)
        ended.append(_take(at, ~cheaper))
        at = _take(at, cheaper)
        if not at.device.numel():
            break
    together = _Search._make(torch.cat(parts, dim=-1) for parts in zip(*ended, at, strict=True))
    result: _Search = _take(together, together.device.argsort())
    return result


class TorchEngine:
    """A torch device, and threads of this process for what is left.

    Parameters
    ----------
    fleet, tasks, edges
        As for `LocalEngine`.
    device : str
        Of torch.

    Raises
    ------
    InputError
        When the fleet does not fit into the device's memory.
    """

    def __init__(self, fleet: Fleet, tasks: Tasks, edges: Ints, device: str = "cuda") -> None:
        self._device = torch.device(device)
        widest = max(int(tasks.most_iterations.max()), tasks.moved.shape[1])
        columns = tasks.capacity.size * widest
        self._batch = max(1, _columns_at_a_time(fleet, self._device) // columns)
        self._fleet = put_fleet(fleet, self._device)
        self._tasks = put_tasks(tasks, self._device)
        self._local = LocalEngine(fleet, tasks, edges)

    def solve_blocks(self, question: Question, energy_price: Floats) -> list[BlockAnswer]:
        """Solve all blocks; Ctrl-C waits for the operation that has begun."""
        table = put_table(question.table, self._device)
        found = [
            self._solve_batch(slice(first, first + self._batch), table, question, energy_price)
            for first in range(0, energy_price.size, self._batch)
        ]
        *devices, count, sessions = map(np.concatenate, zip(*found, strict=True))
        price, bound, cost, solved = devices
        ends = np.concatenate([[0], np.cumsum(count)])
        known = Known(solved=solved, bound=bound, cost=cost, ends=ends, sessions=sessions)
        # Where the kernel starts anew, so that it ends where it does without this engine.
        start = np.where(solved, price, energy_price)
        return self._local.solve_blocks(question, start, known)

    def _solve_batch(
        self, batch: slice, table: Any, question: Question, energy_price: Floats
    ) -> tuple[NDArray[Any], ...]:
        """Return price, bound, cost, whether solved and number of sessions of devices; sessions."""
        fleet = self._fleet._make(entries[..., batch] for entries in self._fleet)
        start = torch.tensor(energy_price[batch], device=self._device)
        rounds, tolerance = question.rounds, question.accuracy
        at = _search(fleet, self._tasks, table, start, rounds, tolerance)
        solved = at.cost - at.bound <= tolerance if rounds > 1 else torch.ones_like(at.cost).bool()
        # In the order of the kernel: device by device, the last upload first.
        plan = at.plan.permute(2, 1, 0).flip(1)
        used = plan[..., 2] > 0
        parts = (at.price, at.bound, at.cost, solved, used.sum(dim=1), plan[used])
        return tuple(part.cpu().numpy() for part in parts)

    def close(self) -> None:
        """End the threads and give back the device's memory."""
        self._local.close()
        self._fleet = self._tasks = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _columns_at_a_time(fleet: Fleet, device: torch.device) -> int:
    """Count the columns that are weighed together, beside a fleet that is yet to be put there."""
    if device.type != "cuda":
        return _CPU_COLUMNS
    free, _ = torch.cuda.mem_get_info(device)
    # What torch holds and does not use is free as well.
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    needed = sum(8 * array.size for array in fleet) + _CPU_COLUMNS * _COLUMN_BYTES
    if needed > free:
        expected = f"{needed / 2**30:.2f} GiB of free memory on the CUDA device"
        raise InputError("engine", expected, f"{free / 2**30:.2f} GiB", "leave engine out")
    return min(_CUDA_COLUMNS, _CPU_COLUMNS + (free - needed) // _COLUMN_BYTES)
