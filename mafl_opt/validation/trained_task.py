"""A task while it is replayed: data as tensors, partition, global model; and the random streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mafl_opt.core.scenario import Scenario
from mafl_opt.validation.data import DataSet
from mafl_opt.validation.models import Model, build_model
from mafl_opt.validation.partition import partition_labels
from mafl_opt.validation.record import ReplayOptions

__all__ = ["INITIAL_MODEL", "PARTITION", "SESSION", "TrainedTask", "random_stream"]

#: Streams of random numbers; the numbers of one never depend on how many another has drawn.
PARTITION, INITIAL_MODEL, SESSION = 0, 1, 2


def random_stream(*key: int) -> np.random.Generator:
    """Return the generator of a key: (seed, stream, ...)."""
    return np.random.default_rng(np.random.SeedSequence(key))


@dataclass(slots=True, kw_only=True)
class TrainedTask:
    """One task of a replay; only `parameters`, `score` and the two sums change.

    Attributes
    ----------
    index, name
        Of the task in the scenario.
    train, test : (inputs, labels)
        Tensors on the replay's device.
    rows : one tensor a device
        Rows of the training part that the device holds.
    parameters : (parameters,)
        The global model now, w^(g).
    score : (loss, accuracy) or None
        Of the model now; ``None`` until it is tested.
    energy_j, progress : float
        Sums over the sessions that ended by now.
    """

    index: int
    name: str
    dataset: DataSet
    model: Model
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    rows: tuple[Tensor, ...]
    parameters: Tensor
    score: tuple[float, float] | None = None
    energy_j: float = 0.0
    progress: float = 0.0

    @classmethod
    def start(
        cls, scenario: Scenario, index: int, dataset: DataSet, options: ReplayOptions, seed: int
    ) -> TrainedTask:
        """Partition the data and draw the initial model w^(0)."""
        device = torch.device(options.device)
        dtype = getattr(torch, options.dtype)
        model = build_model(dataset, options.model)
        rows = partition_labels(
            dataset.train_labels,
            scenario.pairs.samples[:, index],
            options.dirichlet,
            random_stream(seed, PARTITION, index),
        )
        initial = model.initial_parameters(random_stream(seed, INITIAL_MODEL, index))

        def tensors(inputs: NDArray[Any], labels: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
            # Copied: torch warns about the read-only arrays of a data set.
            return (
                torch.tensor(inputs, dtype=dtype, device=device),
                torch.tensor(labels, device=device),
            )

        return cls(
            index=index,
            name=scenario.tasks.name[index],
            dataset=dataset,
            model=model,
            train=tensors(dataset.train_inputs, dataset.train_labels),
            test=tensors(dataset.test_inputs, dataset.test_labels),
            rows=tuple(torch.tensor(held, device=device) for held in rows),
            parameters=torch.tensor(initial, dtype=dtype, device=device),
        )
