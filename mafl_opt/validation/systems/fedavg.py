"""Synchronous federated averaging (McMahan et al. 2017) and FedProx (Li et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from mafl_opt.validation.systems.base import System, Upload, mix_models, require_number

__all__ = ["FedAvg", "FedProx"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FedAvg(System):
    """Rounds of J clients; the next model is the mean of theirs, by samples.

    Attributes
    ----------
    clients_per_round : int
        J, cut to the number of clients.
    """

    name: ClassVar[str] = "fedavg"
    summary: ClassVar[str] = "synchronous rounds of J clients, mean by samples"
    synchronous: ClassVar[bool] = True

    clients_per_round: int = 5

    def validate(self) -> None:
        """Check the number of clients of a round."""
        require_number("clients_per_round", self.clients_per_round, 1)

    def crew(self, num_clients: int) -> int:
        """J."""
        return min(self.clients_per_round, num_clients)

    def quota(self, num_clients: int) -> int:
        """J; fewer when a session is lost, for then nobody is left at work."""
        return self.crew(num_clients)

    def merge(self, parameters: Tensor, uploads: Sequence[Upload]) -> Tensor:
        """Return the mean of the local models, by samples."""
        samples = np.array([upload.samples for upload in uploads], dtype=float)
        return mix_models(parameters, uploads, samples / samples.sum(), keep=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FedProx(FedAvg):
    """FedAvg whose clients are held near the received model by rho/2 |y - w|^2."""

    name: ClassVar[str] = "fedprox"
    summary: ClassVar[str] = "fedavg with a proximal term"

    proximal: float = 0.1
