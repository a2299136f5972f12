"""AFL (arXiv 2508.01675): staleness-aware aggregation and a learning rate that falls with delay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from mafl_opt.core.errors import InputError
from mafl_opt.validation.systems.base import (
    KINDS,
    System,
    Upload,
    add_differences,
    require_number,
    staleness_discount,
)

__all__ = ["Afl"]

_SCHEDULES = ("dividing", "multiplying", "constant")
_SAMPLINGS = ("without", "with")


@dataclass(frozen=True, slots=True, kw_only=True)
class Afl(System):
    """Rounds that end with the J-th upload, whoever else is still at work.

    The next model is w + sum of p_c (y_c - received model), with weights p_c proportional to
    D_c s(tau_c) that sum to one. Then J clients are drawn; they receive the new model. A session's
    learning rate is

        gamma_t = gamma_0 / (sqrt(t + 1) (1 + a tau))

    with the rounds so far t and the staleness tau of the client's last upload: its next one is not
    known when it starts.

    Attributes
    ----------
    clients_per_round : int
        J, cut to the number of clients.
    concurrency : int
        Clients at work at once, at least J and cut to the number of clients. With J no upload is
        stale.
    sampling : {"without", "with"}
        Draw clients without replacement among those that are free; or with replacement among all,
        in which case one that is busy, or drawn twice, works its sessions off in a row.
    staleness, staleness_a, staleness_b
        s(tau): ``constant``, ``polynomial``, ``hinge`` or ``inverse``.
    learning_rate : float
        gamma_0. The article has 0.001 and ten local epochs; with one epoch and a rate that falls by
        the round, 0.003 gets further.
    schedule : {"dividing", "multiplying", "constant"}
        The article prints gamma_0 / sqrt(t + 1) * (1 + a tau) and says that delay reduces the step,
        so it divides here; ``multiplying`` is the formula as printed.
    delay_factor : float
        a of the schedule.
    """

    name: ClassVar[str] = "afl"
    summary: ClassVar[str] = "rounds of J uploads, staleness-aware weights and learning rate, Adam"

    learning_rate: float = 3e-3
    optimizer: str = "adam"
    clients_per_round: int = 5
    concurrency: int = 10
    sampling: str = "without"
    staleness: str = "inverse"
    staleness_a: float = 0.2
    staleness_b: int = 4
    schedule: str = "dividing"
    delay_factor: float = 0.01

    def validate(self) -> None:
        """Check numbers of clients, sampling, staleness weight and schedule."""
        require_number("clients_per_round", self.clients_per_round, 1)
        require_number("concurrency", self.concurrency, self.clients_per_round)
        require_number("staleness_a", self.staleness_a, 0)
        require_number("staleness_b", self.staleness_b, 0)
        require_number("delay_factor", self.delay_factor, 0)
        choices = {"sampling": _SAMPLINGS, "staleness": KINDS, "schedule": _SCHEDULES}
        for field, allowed in choices.items():
            value = getattr(self, field)
            if value not in allowed:
                raise InputError(f"system.{field}", "one of " + ", ".join(allowed), value)

    @property
    def with_replacement(self) -> bool:
        """Whether a client may be drawn while it is still at work."""
        return self.sampling == "with"

    def crew(self, num_clients: int) -> int:
        """As many as work at once."""
        return min(self.concurrency, num_clients)

    def quota(self, num_clients: int) -> int:
        """J."""
        return min(self.clients_per_round, num_clients)

    def rate(self, *, version: int, staleness: int) -> float:
        """gamma_t of a session."""
        if self.schedule == "constant":
            return self.learning_rate
        delay = 1.0 + self.delay_factor * staleness
        falling = self.learning_rate / math.sqrt(version + 1.0)
        return falling * delay if self.schedule == "multiplying" else falling / delay

    def merge(self, parameters: Tensor, uploads: Sequence[Upload]) -> Tensor:
        """Add the weighted mean difference of models."""
        staleness = np.array([upload.staleness for upload in uploads])
        weights = staleness_discount(self.staleness, self.staleness_a, self.staleness_b, staleness)
        weights = weights * np.array([upload.samples for upload in uploads], dtype=float)
        return add_differences(parameters, uploads, weights / weights.sum())
