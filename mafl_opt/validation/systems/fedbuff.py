"""FedBuff (Nguyen et al. 2022): asynchronous clients, a buffer of uploads at the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from mafl_opt.validation.systems.base import System, Upload, add_differences, require_number

__all__ = ["FedBuff"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FedBuff(System):
    """w <- w + (alpha / K) sum of (y - received model) / sqrt(1 + tau) over a buffer of K uploads.

    Attributes
    ----------
    concurrency : int
        Clients at work at once, cut to the number of clients.
    buffer : int
        K.
    server_rate : float
        alpha.
    """

    name: ClassVar[str] = "fedbuff"
    summary: ClassVar[str] = "asynchronous clients, aggregation of every K uploads"
    refills_at_once: ClassVar[bool] = True

    concurrency: int = 5
    buffer: int = 3
    server_rate: float = 1.0

    def validate(self) -> None:
        """Check concurrency, buffer and server rate."""
        require_number("concurrency", self.concurrency, 1)
        require_number("buffer", self.buffer, 1)
        require_number("server_rate", self.server_rate, 0, above=True)

    def crew(self, num_clients: int) -> int:
        """As many as work at once."""
        return min(self.concurrency, num_clients)

    def quota(self, num_clients: int) -> int:
        """K: a client may have several uploads in one buffer."""
        return self.buffer

    def merge(self, parameters: Tensor, uploads: Sequence[Upload]) -> Tensor:
        """Add the buffer's mean difference of models, stale ones damped."""
        staleness = np.array([upload.staleness for upload in uploads], dtype=float)
        weights = self.server_rate / len(uploads) / np.sqrt(1.0 + staleness)
        return add_differences(parameters, uploads, weights)
