"""What a session adds to progress and error, for many devices at once (model page, section 5).

As the rest of this package it shares no code with the formulations. The sums over the local steps
do not depend on the device: with X = L M(tau) + d_s, the systematic part of phi_s is
(c_s / 2) (S0 X^2 + 2 S1 X + S2), and its noise part a polynomial in c_s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.scenario import Scenario
from mafl_opt.core.terms import local_steps

__all__ = ["LocalSums"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSums:
    """The parts of eqs. (14) to (20) that are the same on all devices.

    Attributes
    ----------
    rate : (tasks, staleness)
        c_s for a data share of one.
    moved : (tasks, staleness)
        L M(tau).
    first : (tasks, iterations)
        C1(l).
    square, mixed, rest : (tasks, iterations)
        S0, S1 and S2.
    noise : (3, tasks, iterations)
        Factors of c_s, c_s^2 and c_s^3 in the noise part, for a variance of one.
    share : (devices, tasks)
        q_i.
    """

    rate: Floats
    moved: Floats
    first: Floats
    square: Floats
    mixed: Floats
    rest: Floats
    noise: Floats
    share: Floats

    @classmethod
    def of(cls, scenario: Scenario) -> LocalSums:
        """Compute the sums of a scenario."""
        tasks, pairs = scenario.tasks, scenario.pairs
        width = int(min(tasks.staleness_max.max(), scenario.num_slots - 1)) + 1
        longest = int(tasks.iterations_max.max())
        share = pairs.samples / pairs.samples.sum(axis=0)
        speed = tasks.server_rate * tasks.learning_rate
        peak = (speed * share * pairs.gradient_std**2).max(axis=0)
        tau = np.arange(width)
        stale = np.array([weight(tau) for weight in tasks.staleness_weight])
        slope = (tasks.step_cap * tasks.gradient_bound)[:, None]
        moved = tau * slope + np.sqrt(tau * (tasks.step_cap * peak)[:, None])
        sums = np.zeros((7, scenario.num_tasks, longest))
        for j in range(scenario.num_tasks):
            for l in range(longest):  # noqa: E741 - the model page's letter
                sums[:, j, l] = _sums(scenario, j, l + 1)
        return cls(
            rate=speed[:, None] * stale, moved=tasks.smoothness[:, None] * moved, first=sums[0],
            square=sums[1], mixed=sums[2], rest=sums[3], noise=sums[4:], share=share,
        )  # fmt: skip

    def sessions(self, scenario: Scenario, devices: slice) -> tuple[Floats, Floats, Floats]:
        """Return systematic and noise part of phi_s and the step c_s C1(l) of some devices.

        Returns
        -------
        systematic, noise, step : (devices, tasks, staleness, iterations)
        """
        pairs = scenario.pairs
        tau = np.arange(self.rate.shape[1])
        c = (self.rate * self.share[devices, :, None])[..., None]
        differs = pairs.dissimilarity[devices, :, None]
        differs = differs + pairs.gradient_drift[devices, :, None] * (tau + 1)
        apart = (self.moved + differs)[..., None]
        square, mixed, rest, first = (
            part[:, None, :] for part in (self.square, self.mixed, self.rest, self.first)
        )
        systematic = 0.5 * c * (square * apart**2 + 2.0 * mixed * apart + rest)
        once, twice, thrice = self.noise[:, :, None, :]
        variance = (pairs.gradient_std[devices] ** 2)[:, :, None, None]
        noise = variance * c * (once + c * (twice + c * thrice))
        return systematic, noise, c * first


def _sums(scenario: Scenario, j: int, iterations: int) -> tuple[float, ...]:
    tasks = scenario.tasks
    smooth, eta, split = (
        float(column[j]) for column in (tasks.smoothness, tasks.learning_rate, tasks.error_split)
    )
    decay = float(1.0 - eta * tasks.proximal[j])
    first = squares = square = mixed = rest = scatter = 0.0
    for k, weight, moved, spread in local_steps(decay, iterations):
        factor = weight * (1 + split if k >= 1 else 1)
        local = smooth * eta * moved * float(tasks.gradient_bound[j])
        first += weight
        squares += weight * weight
        square += factor
        mixed += factor * local
        rest += factor * local * local
        scatter += weight * spread
    inner = 0.5 * (1 + 1 / split) * smooth * smooth * eta * eta * scatter
    cross = (squares - 1) * smooth * (first - decay ** (iterations - 1))
    cross /= 1 - smooth * float(tasks.step_cap[j])
    return first, square, mixed, rest, inner, 0.5 * smooth * squares, 0.5 * smooth * cross
