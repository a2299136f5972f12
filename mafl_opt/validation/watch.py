"""Looking on at a run: progress for whoever waits, checkpoints, and what identifies the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from os import PathLike
from typing import Any, Generic, TypeVar

from mafl_opt.core.errors import InputError
from mafl_opt.validation.checkpoint import require_checkpoint_name, save_checkpoint
from mafl_opt.validation.engine.virtual_time import Snapshot
from mafl_opt.validation.trained_task import TrainedTask

__all__ = ["Progress", "Watch", "identify_run"]

State = TypeVar("State")

#: Takes a message and the fraction done.
Progress = Callable[[str, "float | None"], None]


class Watch(Generic[State]):
    """Called by the clock after every event.

    Parameters
    ----------
    count : callable
        Aggregations of a state; what follows happens when it changes.
    describe : callable
        Message and fraction done of a state.
    progress : callable, optional
    checkpoint : path, optional
        Written at every `every`-th aggregation.
    identity : str
        See `identify_run`.

    Raises
    ------
    InputError
        If the file could not be written, before anything is computed.
    """

    def __init__(
        self,
        *,
        count: Callable[[State], int],
        describe: Callable[[State], tuple[str, float]],
        progress: Progress | None,
        checkpoint: str | PathLike[str] | None,
        every: int,
        identity: str,
    ) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise InputError("checkpoint_every", "an integer >= 1", every)
        self.count, self.describe, self.progress = count, describe, progress
        self.checkpoint = None if checkpoint is None else require_checkpoint_name(checkpoint)
        self.every, self.identity, self.seen = every, identity, 0

    def __call__(self, state: State, snapshot: Callable[[], Snapshot[State]]) -> None:
        """Report and keep a state if it has one more aggregation behind it."""
        if self.count(state) == self.seen:
            return
        self.seen = self.count(state)
        if self.checkpoint is not None and self.seen % self.every == 0:
            save_checkpoint(self.checkpoint, snapshot(), self.identity)
        if self.progress is not None:
            self.progress(*self.describe(state))


def identify_run(facts: Any, tasks: Iterable[TrainedTask]) -> str:
    """Digest of what a run depends on: facts as plain values, data, who holds it, first models."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for task in tasks:
        dataset = task.dataset
        for array in (dataset.train_inputs, dataset.train_labels, dataset.test_inputs,
                      dataset.test_labels):  # fmt: skip
            digest.update(array.tobytes())
        digest.update(task.parameters.cpu().numpy().tobytes())
        for stages in task.holdings.stages:
            for stage in stages:
                digest.update(stage.rows.tobytes() + stage.names.tobytes())
    return digest.hexdigest()
