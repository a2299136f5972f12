"""A task that is trained: data as tensors, who holds what, the first model; the random streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mafl_opt.core.errors import InputError
from mafl_opt.validation.data import DataSet
from mafl_opt.validation.engine.jobs import Work
from mafl_opt.validation.holdings import DriftScheme, Holdings, draw_holdings
from mafl_opt.validation.minibatches import draw_batches
from mafl_opt.validation.models import Model, build_model, wrap_module
from mafl_opt.validation.partition import PartitionScheme
from mafl_opt.validation.training import LocalSession, train_sessions

__all__ = [
    "DELAY",
    "INITIAL_MODEL",
    "PARTITION",
    "SELECTION",
    "SESSION",
    "SPEED",
    "WARM_START",
    "WEATHER",
    "TrainedTask",
    "random_stream",
]

#: Streams of random numbers; the numbers of one never depend on how many another has drawn.
PARTITION, INITIAL_MODEL, SESSION, SELECTION, DELAY, SPEED, WARM_START, WEATHER = range(8)

#: Mini-batch of a warm start.
_WARM_BATCH = 32


def random_stream(*key: int) -> np.random.Generator:
    """Return the generator of a key: (seed, stream, ...)."""
    return np.random.default_rng(np.random.SeedSequence(key))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedTask:
    """One task of a run; nothing in it changes.

    Attributes
    ----------
    index : int
    name : str
    dataset : DataSet
    model : Model
    train, test : (inputs, labels)
        Tensors on the run's device.
    holdings : Holdings
        Which data a client holds when.
    stage_rows : one tuple of tensors a client
        Rows of its stages, on the run's device.
    parameters : (parameters,)
        The first model w^(0); `replay` shows observers a copy of the task that has w^(g) here.
    """

    index: int
    name: str
    dataset: DataSet
    model: Model
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    holdings: Holdings
    stage_rows: tuple[tuple[Tensor, ...], ...]
    parameters: Tensor

    @property
    def rows(self) -> tuple[Tensor, ...]:
        """Rows of the training part that each client holds at first; one tensor a client."""
        return tuple(stages[0] for stages in self.stage_rows)

    def held(self, client: int, version: int) -> tuple[Tensor, NDArray[np.int64]]:
        """Return what a session that receives model `version` trains on.

        Returns
        -------
        rows : (samples,)
        names : (classes,)
            What the client calls each class then.
        """
        stage = self.holdings.at(client, version + 1)
        place = self.holdings.stages[client].index(stage)
        return self.stage_rows[client][place], stage.names

    @classmethod
    def prepare(
        cls,
        *,
        index: int,
        name: str,
        dataset: DataSet,
        model: str | nn.Module | Model,
        sizes: NDArray[np.int64],
        num_slots: int,
        partition: PartitionScheme,
        drift: DriftScheme,
        seed: int,
        device: str,
        dtype: str,
    ) -> TrainedTask:
        """Partition the data and draw the initial model w^(0)."""
        where, kind = torch.device(device), getattr(torch, dtype)
        network = as_model(dataset, model)
        holdings = draw_holdings(
            dataset.train_labels,
            sizes,
            num_slots,
            partition=partition,
            drift=drift,
            generator=random_stream(seed, PARTITION, index),
        )
        initial = network.initial_parameters(random_stream(seed, INITIAL_MODEL, index))

        def tensors(inputs: NDArray[Any], labels: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
            # Copied: torch warns about the read-only arrays of a data set.
            return (
                torch.tensor(inputs, dtype=kind, device=where),
                torch.tensor(labels, device=where),
            )

        return cls(
            index=index,
            name=name,
            dataset=dataset,
            model=network,
            train=tensors(dataset.train_inputs, dataset.train_labels),
            test=tensors(dataset.test_inputs, dataset.test_labels),
            holdings=holdings,
            stage_rows=tuple(
                tuple(torch.tensor(stage.rows, device=where) for stage in stages)
                for stages in holdings.stages
            ),
            parameters=torch.tensor(initial, dtype=kind, device=where),
        )

    def start_from(self, parameters: NDArray[Any] | Tensor) -> Tensor:
        """Return a given first model as a tensor of the run; shape (parameters,).

        Raises
        ------
        InputError
            If it has another shape or is not finite.
        """
        given = torch.tensor(np.asarray(parameters)).to(self.parameters)
        if given.shape != self.parameters.shape:
            expected = f"{len(self.parameters)} numbers for task {self.name}"
            raise InputError("initial", expected, f"shape {tuple(given.shape)}")
        if not bool(torch.isfinite(given).all()):
            raise InputError("initial", f"finite numbers for task {self.name}", "NaN or infinity")
        return given

    def warm_start(self, steps: int, learning_rate: float, seed: int) -> Tensor:
        """Return the first model after SGD steps on the whole training part: a warm start."""
        work = Work(batch_size=_WARM_BATCH, steps=steps, learning_rate=learning_rate)
        count = len(self.train[1])
        drawn = draw_batches(work, count, random_stream(seed, WARM_START, self.index))
        session = LocalSession(
            start=self.parameters,
            batches=tuple(torch.from_numpy(rows).to(self.parameters.device) for rows in drawn),
            learning_rate=learning_rate,
        )
        return train_sessions(self.model, *self.train, [session])[0]


def as_model(dataset: DataSet, model: str | nn.Module | Model) -> Model:
    """Return the model of a kind, of a module, or the model itself."""
    if isinstance(model, str):
        return build_model(dataset, model)
    return wrap_module(model) if isinstance(model, nn.Module) else model
