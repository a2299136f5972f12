"""What a learning system is: who is drawn, what a client does, how uploads are merged.

A system holds settings and nothing else. `mafl_opt.validation.federation` runs it, on any clock.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mafl_opt.core.errors import InputError
from mafl_opt.validation.engine.jobs import Work

__all__ = [
    "KINDS",
    "System",
    "Upload",
    "add_differences",
    "mix_models",
    "require_number",
    "staleness_discount",
]

#: Kinds of staleness weight s(tau).
KINDS = ("constant", "polynomial", "hinge", "inverse")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Upload:
    """A local model at the server.

    Attributes
    ----------
    client : int
    samples : int
        D_i.
    share : float
        q_i = D_i / sum of D over all clients.
    staleness : int
        Aggregations between reception and this one, tau.
    start, result : (parameters,)
        The received model and the local model made of it.
    """

    client: int
    samples: int
    share: float
    staleness: int
    start: Tensor
    result: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class System(ABC):
    """A learning system without its clients.

    Attributes
    ----------
    batch_size, epochs, steps, learning_rate, proximal, optimizer
        Local work, see `Work`; `steps` counts if given, `epochs` otherwise.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    #: Wait until nobody is at work before a round ends.
    synchronous: ClassVar[bool] = False
    #: Draw the next client as soon as one is free, not only when a round ends.
    refills_at_once: ClassVar[bool] = False

    batch_size: int = 32
    epochs: int = 1
    steps: int | None = None
    learning_rate: float = 0.05
    proximal: float = 0.0
    optimizer: str = "sgd"

    def __post_init__(self) -> None:
        self.work(version=0, staleness=0)
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"system.{field.name}", "a finite number", value)
        self.validate()

    @abstractmethod
    def validate(self) -> None:
        """Check the system's own settings; raises InputError."""

    @abstractmethod
    def crew(self, num_clients: int) -> int:
        """How many clients are put to work at the start."""

    @abstractmethod
    def quota(self, num_clients: int) -> int:
        """How many uploads an aggregation waits for."""

    @abstractmethod
    def merge(self, parameters: Tensor, uploads: Sequence[Upload]) -> Tensor:
        """Make the next model of the present one and at least one upload.

        parameters : (parameters,), left as it is
        """

    @property
    def period_s(self) -> float | None:
        """Virtual seconds between aggregations if they go by the clock, not by uploads."""
        return None

    @property
    def staleness_bound(self) -> int | None:
        """Uploads of larger staleness are not used; ``None``: all are."""
        return None

    @property
    def with_replacement(self) -> bool:
        """Whether a client may be drawn while it is still at work."""
        return False

    def work(self, *, version: int, staleness: int) -> Work:
        """Local training for a session.

        Parameters
        ----------
        version : int
            Aggregations so far, t.
        staleness : int
            Of the client's last upload; 0 before it.
        """
        return Work(
            batch_size=self.batch_size,
            steps=self.steps,
            epochs=None if self.steps is not None else self.epochs,
            learning_rate=self.rate(version=version, staleness=staleness),
            proximal=self.proximal,
            optimizer=self.optimizer,
        )

    def rate(self, *, version: int, staleness: int) -> float:
        """Learning rate of a session."""
        return self.learning_rate

    def to_dict(self) -> dict[str, Any]:
        """Return name and settings as plain values."""
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"system": self.name, **settings}


def staleness_discount(
    kind: str, a: float, b: int, staleness: NDArray[np.int64] | int
) -> NDArray[np.float64]:
    """Weight s(tau) of uploads (model page, section 4, and ``inverse`` of arXiv 2508.01675).

    ``constant`` 1, ``polynomial`` (1 + tau)^-a, ``hinge`` 1 up to b and 1/(a (tau - b) + 1) beyond,
    ``inverse`` 1/(1 + a tau).

    Returns
    -------
    weights : shape of `staleness`, in (0, 1]
    """
    tau = np.asarray(staleness, dtype=float)
    if kind == "polynomial":
        return np.asarray((1.0 + tau) ** -a)
    if kind == "hinge":
        return np.asarray(1.0 / (a * np.maximum(tau - b, 0.0) + 1.0))
    if kind == "inverse":
        return np.asarray(1.0 / (1.0 + a * tau))
    return np.ones_like(tau)


def require_number(
    name: str, value: float, low: float, high: float = math.inf, *, above: bool = False
) -> None:
    """Refuse a setting outside [low, high], or (low, high] with `above`."""
    good = value > low if above else value >= low
    if not (good and value <= high):
        words = f"a number {'>' if above else '>='} {low:g}"
        words += "" if high == math.inf else f" and <= {high:g}"
        raise InputError(f"system.{name}", words, value)


def mix_models(
    parameters: Tensor, uploads: Sequence[Upload], weights: NDArray[np.float64], keep: float
) -> Tensor:
    """Return keep * w + sum of weight * y (mixing rule); shape (parameters,)."""
    merged = keep * parameters
    for weight, upload in zip(weights.tolist(), uploads, strict=True):
        merged = merged + weight * upload.result
    return merged


def add_differences(
    parameters: Tensor, uploads: Sequence[Upload], weights: NDArray[np.float64]
) -> Tensor:
    """Return w + sum of weight * (y - received model) (delta rule); shape (parameters,)."""
    merged = parameters
    for weight, upload in zip(weights.tolist(), uploads, strict=True):
        merged = merged + weight * (upload.result - upload.start)
    return merged
