"""MA-FL (arXiv 2305.13503): partial aggregation at fixed instants; the rule of the model page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mafl_opt.core.errors import InputError
from mafl_opt.validation.systems.base import (
    KINDS,
    System,
    Upload,
    add_differences,
    mix_models,
    require_number,
    staleness_discount,
)

__all__ = ["RULES", "MaFl", "merge_weights", "merge_with"]

RULES = ("delta", "mixing")


def merge_weights(
    rule: str, rate: float, uploads: Sequence[Upload], discount: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weights of uploads by either rule (model page, section 4); shape (uploads,).

    ``delta``: alpha q_i s(tau), on differences of models; ``mixing``: alpha p_s, on local models,
    p_s = D_i s(tau) over its sum.
    """
    if rule == "delta":
        return np.asarray(rate * np.array([upload.share for upload in uploads]) * discount)
    held = np.array([upload.samples for upload in uploads]) * discount
    return np.asarray(rate * held / held.sum())


def merge_with(
    rule: str,
    rate: float,
    parameters: Tensor,
    uploads: Sequence[Upload],
    weights: NDArray[np.float64],
) -> Tensor:
    """Return w^(u) of w^(u-1), uploads and `merge_weights`; shape (parameters,)."""
    if rule == "delta":
        return add_differences(parameters, uploads, weights)
    return mix_models(parameters, uploads, weights, keep=1.0 - rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaFl(System):
    """Aggregation at fixed instants of whatever has arrived; nobody is waited for.

    A plan's replay follows the same rule with the plan's sessions. Without a plan every client that
    is at work starts again as soon as it has uploaded, from the newest model.

    Attributes
    ----------
    period : float
        Virtual seconds between aggregations.
    concurrency : int
        Clients at work at once, cut to the number of clients.
    rule : {"delta", "mixing"}
    server_rate : float
        alpha; at most 1 for ``mixing``. With the delta rule uploads weigh alpha q_i, so alpha is of
        the order of clients over uploads an aggregation.
    staleness, staleness_a, staleness_b
        s(tau).
    staleness_max : int or None
        K: uploads of larger staleness are not used.
    """

    name: ClassVar[str] = "mafl"
    summary: ClassVar[str] = "aggregation at fixed instants, delta or mixing, staleness bound"
    refills_at_once: ClassVar[bool] = True

    period: float = 1.0
    concurrency: int = 10
    rule: str = "delta"
    server_rate: float = 1.0
    staleness: str = "constant"
    staleness_a: float = 0.5
    staleness_b: int = 4
    staleness_max: int | None = None

    def validate(self) -> None:
        """Check period, rule, rates and staleness."""
        require_number("period", self.period, 0, above=True)
        require_number("concurrency", self.concurrency, 1)
        if self.rule not in RULES:
            raise InputError("system.rule", " or ".join(RULES), self.rule)
        most = 1.0 if self.rule == "mixing" else np.inf
        require_number("server_rate", self.server_rate, 0, most, above=True)
        require_number("staleness_a", self.staleness_a, 0)
        require_number("staleness_b", self.staleness_b, 0)
        if self.staleness_max is not None:
            require_number("staleness_max", self.staleness_max, 0)
        if self.staleness not in KINDS:
            raise InputError("system.staleness", "one of " + ", ".join(KINDS), self.staleness)

    @property
    def period_s(self) -> float | None:
        """Virtual seconds between aggregations."""
        return self.period

    @property
    def staleness_bound(self) -> int | None:
        """K."""
        return self.staleness_max

    def crew(self, num_clients: int) -> int:
        """As many as work at once."""
        return min(self.concurrency, num_clients)

    def quota(self, num_clients: int) -> int:
        """Any number: aggregations go by the clock."""
        return 1

    def merge(self, parameters: Tensor, uploads: Sequence[Upload]) -> Tensor:
        """Merge by the model page's rule."""
        staleness = np.array([upload.staleness for upload in uploads])
        discount = staleness_discount(self.staleness, self.staleness_a, self.staleness_b, staleness)
        weights = merge_weights(self.rule, self.server_rate, uploads, discount)
        return merge_with(self.rule, self.server_rate, parameters, uploads, weights)
