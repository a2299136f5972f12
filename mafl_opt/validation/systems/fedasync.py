"""FedAsync (Xie et al. 2019): every upload is merged when it comes."""

from __future__ import annotations

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
    mix_models,
    require_number,
    staleness_discount,
)

__all__ = ["FedAsync"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FedAsync(System):
    """w <- (1 - alpha s(tau)) w + alpha s(tau) y for one upload y after the other.

    Attributes
    ----------
    concurrency : int
        Clients at work at once, cut to the number of clients.
    mixing : float
        alpha, in (0, 1].
    staleness : {"constant", "polynomial", "hinge", "inverse"}
    staleness_a, staleness_b : float, int
        a and b of s(tau).
    """

    name: ClassVar[str] = "fedasync"
    summary: ClassVar[str] = "every upload is mixed in on arrival, less when stale"
    refills_at_once: ClassVar[bool] = True

    concurrency: int = 5
    mixing: float = 0.6
    staleness: str = "polynomial"
    staleness_a: float = 0.5
    staleness_b: int = 4

    def validate(self) -> None:
        """Check concurrency, mixing rate and staleness weight."""
        require_number("concurrency", self.concurrency, 1)
        require_number("mixing", self.mixing, 0, 1, above=True)
        require_number("staleness_a", self.staleness_a, 0)
        require_number("staleness_b", self.staleness_b, 0)
        if self.staleness not in KINDS:
            raise InputError("system.staleness", "one of " + ", ".join(KINDS), self.staleness)

    def crew(self, num_clients: int) -> int:
        """As many as work at once."""
        return min(self.concurrency, num_clients)

    def quota(self, num_clients: int) -> int:
        """One."""
        return 1

    def merge(self, parameters: Tensor, uploads: Sequence[Upload]) -> Tensor:
        """Mix uploads in, one after the other."""
        for upload in uploads:
            discount = staleness_discount(
                self.staleness, self.staleness_a, self.staleness_b, upload.staleness
            )
            rate = self.mixing * float(discount)
            parameters = mix_models(parameters, [upload], np.array([rate]), keep=1.0 - rate)
        return parameters
