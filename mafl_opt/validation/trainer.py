"""Clients at work: from jobs to local models, and what is lost when a client fails."""

from __future__ import annotations

import copy
import math
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mafl_opt.core.errors import InputError
from mafl_opt.validation.engine.jobs import Failure, Job
from mafl_opt.validation.minibatches import draw_batches
from mafl_opt.validation.torch_state import adopt_threads
from mafl_opt.validation.trained_task import TrainedTask, random_stream
from mafl_opt.validation.training import LocalSession, train_sessions

__all__ = ["PATIENCE_S", "LocalTraining", "Trainer"]

#: Far more than a session takes that is not stuck; real s.
PATIENCE_S = 600.0

#: A client of the user's own: from a job and its mini-batches to the local model.
LocalTraining = Callable[[Job, LocalSession], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trainer:
    """Trains jobs with the built-in local training or the user's.

    Attributes
    ----------
    tasks : sequence of TrainedTask
        By index.
    batched : bool
        Train sessions together; see `train_sessions`.
    training : callable, optional
        Used instead of `train_sessions`, a session at a time. What it raises, or returns wrong,
        costs that session and nothing else; what it gets and returns are copies.
    patience_s : float
        Real seconds that `training` may take for a session; then it is left behind, in a thread of
        its own that nothing waits for. Infinity: it is waited for, in the thread that called.
    concurrent : bool
        Whether several threads call at once: torch swaps the parameters of a module in place, so
        each call then takes a module of its own.
    """

    tasks: Sequence[TrainedTask]
    batched: bool = True
    training: LocalTraining | None = None
    patience_s: float = math.inf
    concurrent: bool = False

    def __post_init__(self) -> None:
        patience = self.patience_s
        number = isinstance(patience, (int, float)) and not isinstance(patience, bool)
        if not number or not (0 < patience <= threading.TIMEOUT_MAX or patience == math.inf):
            expected = f"a number > 0 and <= {threading.TIMEOUT_MAX:g}, or infinity"
            raise InputError("patience_s", expected, patience)

    def __call__(self, jobs: Sequence[Job]) -> list[Tensor | Failure]:
        """Train jobs; one result or failure each, in order."""
        if self.concurrent:
            adopt_threads()
        sessions = [self._session(job) for job in jobs]
        results: list[Tensor | Failure] = [Failure(reason="raised")] * len(jobs)
        if self.training is not None:
            for k, (job, session) in enumerate(zip(jobs, sessions, strict=True)):
                results[k] = self._guarded(self.training, job, session)
        else:
            groups: dict[tuple[int, tuple[int, ...]], list[int]] = defaultdict(list)
            for k, job in enumerate(jobs):
                called = self.tasks[job.task].held(job.client, job.version)[1]
                groups[job.task, tuple(called.tolist())].append(k)
            for (index, names), mine in groups.items():
                task = self.tasks[index]
                labels = _renamed(task.train[1], names)
                model = task.model
                if self.concurrent:
                    model = replace(model, module=copy.deepcopy(model.module))
                found = train_sessions(
                    model,
                    task.train[0],
                    labels,
                    [sessions[k] for k in mine],
                    batched=self.batched,
                )
                for k, result in zip(mine, found, strict=True):
                    results[k] = result
        return [_finite(result) for result in results]

    def _guarded(
        self, training: LocalTraining, job: Job, session: LocalSession
    ) -> Tensor | Failure:
        """Call a client of the user's own and take what comes of it."""
        # The received model is also others'; a client that was left behind may still write to it.
        start = job.start.clone()
        mine = replace(job, start=start), replace(session, start=start)

        def work() -> Tensor | Failure:
            try:
                return _taken(training(*mine), job)
            # Whatever a client raises is that client's failure.
            except (Exception, SystemExit) as error:
                return Failure(reason="raised", detail=f"{type(error).__name__}: {error}"[:200])

        return work() if self.patience_s == math.inf else _with_patience(work, self.patience_s)

    def _session(self, job: Job) -> LocalSession:
        rows, _ = self.tasks[job.task].held(job.client, job.version)
        drawn = draw_batches(job.work, len(rows), random_stream(*job.stream))
        batches: Tensor | tuple[Tensor, ...]
        if len({len(batch) for batch in drawn}) == 1:
            batches = rows[torch.from_numpy(np.stack(drawn)).to(rows.device)]
        else:
            batches = tuple(rows[torch.from_numpy(batch).to(rows.device)] for batch in drawn)
        return LocalSession(
            start=job.start,
            batches=batches,
            learning_rate=job.work.learning_rate,
            proximal=job.work.proximal,
            optimizer=job.work.optimizer,
        )


def _renamed(labels: Tensor, names: tuple[int, ...]) -> Tensor:
    """Labels under other names for the classes (label drift)."""
    if names == tuple(range(len(names))):
        return labels
    return torch.tensor(names, device=labels.device)[labels]


def _taken(result: Any, job: Job) -> Tensor | Failure:
    """Check and copy what a client returns: it may use the same memory again."""
    if not isinstance(result, Tensor) or result.shape != job.start.shape:
        found = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        return Failure(reason="raised", detail=f"returned {found}, not {tuple(job.start.shape)}")
    return _finite(result.detach().to(job.start, copy=True))


def _with_patience(work: Callable[[], Tensor | Failure], patience_s: float) -> Tensor | Failure:
    """Call in a thread that is not waited for any longer than this; real s."""
    results: list[Tensor | Failure] = []

    def run() -> None:
        adopt_threads()
        results.append(work())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(patience_s)
    if results:
        return results[0]
    return Failure(reason="late", detail=f"no answer in {patience_s:g} s of real time")


def _finite(result: Tensor | Failure) -> Tensor | Failure:
    if isinstance(result, Tensor) and not bool(torch.isfinite(result).all()):
        return Failure(reason="not finite", detail="NaN or infinity in the local model")
    return result
