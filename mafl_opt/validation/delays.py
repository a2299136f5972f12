"""How long sessions take when no plan says it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mafl_opt.core.errors import InputError
from mafl_opt.validation.trained_task import DELAY, SPEED, random_stream

__all__ = ["Delays"]

_KINDS = ("constant", "uniform", "exponential", "lognormal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """Virtual time from hand-out to delivery, drawn a session.

    Attributes
    ----------
    kind : {"uniform", "constant", "exponential", "lognormal"}
        ``uniform``: 0 to twice the mean, as in the public code of arXiv 2508.01675; ``lognormal``:
        with standard deviation `spread` of the logarithm.
    mean_s : float
    spread : float
    heterogeneity : float
        Standard deviation of the logarithm of a factor that each client keeps for the whole run.
    loss : float
        Probability that a result never comes.
    """

    kind: str = "uniform"
    mean_s: float = 1.0
    spread: float = 0.5
    heterogeneity: float = 0.0
    loss: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise InputError("delays.kind", "one of " + ", ".join(_KINDS), self.kind)
        if not 0 < self.mean_s < math.inf:
            raise InputError("delays.mean_s", "a finite number > 0", self.mean_s)
        for name in ("spread", "heterogeneity"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"delays.{name}", "a finite number >= 0", getattr(self, name))
        if not 0 <= self.loss <= 1:
            raise InputError("delays.loss", "a probability", self.loss)

    def draw(self, seed: int, client: int, count: int) -> float:
        """Draw the delay of a client's session number `count`; s, infinity if it is lost."""
        generator = random_stream(seed, DELAY, client, count)
        lost = generator.random() < self.loss
        if self.kind == "uniform":
            delay = 2.0 * generator.random()
        elif self.kind == "exponential":
            delay = float(generator.exponential())
        elif self.kind == "lognormal":
            delay = math.exp(self.spread * generator.standard_normal() - self.spread**2 / 2.0)
        else:
            delay = 1.0
        speed = float(random_stream(seed, SPEED, client).standard_normal())
        factor = math.exp(self.heterogeneity * speed)
        return math.inf if lost else self.mean_s * factor * delay
