"""What sessions take and what they add to the bound, over columns of sessions (model page, 3, 5).

The checker reads the model through this module alone. It shares no code with the formulations and
the solvers, so that an error there cannot hide itself here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.scenario import Scenario

__all__ = ["Facts", "LocalSums", "SessionErrors", "divide", "local_steps"]

Array = NDArray[Any]
Floats = NDArray[np.float64]


def divide(top: Any, bottom: Any) -> Floats:
    """Return top / bottom, and infinity where the bottom is zero (a rate of 0 takes forever)."""
    top, bottom = np.broadcast_arrays(np.asarray(top, float), np.asarray(bottom, float))
    return np.asarray(np.divide(top, bottom, out=np.full(top.shape, np.inf), where=bottom != 0))


def local_steps(decay: float, iterations: int) -> Iterator[tuple[int, float, float, float]]:
    """Yield (k, w_k, k1(k), k2(k)) for the local steps k = 0..l-1 (model page, section 5).

    Parameters
    ----------
    decay : float
        b = 1 - eta * rho, in (0, 1].
    iterations : int
        SGD iterations l >= 1.
    """
    first = second = 0.0
    power = 1.0
    for k in range(iterations):
        yield k, decay ** (iterations - 1 - k), first, second
        first += power
        second += power * power
        power *= decay


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSums:
    """Sums over the local steps k = 0..l-1 of one task; a number, or an entry for each session.

    steps, squares : C1 = sum w_k and C4 = sum w_k^2
    oldest : b^(l-1), the weight of the first step
    pull : sum of W_k = w_k (1 + h [k >= 1])
    drift, drift_square : sums of W_k Y_k and W_k Y_k^2 with Y_k = L eta k1(k) V
    scatter : sum of w_k k2(k)
    """

    steps: Any
    squares: Any
    oldest: Any
    pull: Any
    drift: Any
    drift_square: Any
    scatter: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionErrors:
    """Parts of phi_s = staleness + dissimilarity + local_drift + noise * nu(B); (sessions,) each.

    The square X_k^2 of the three systematic parts is shared out by X_k * part, so that the parts
    add up to phi_s exactly; both terms with the gradient variance are in `noise`.
    """

    staleness: Floats
    dissimilarity: Floats
    local_drift: Floats
    noise: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A scenario with the formulas of the model page over columns of sessions.

    Indices are those of the model page, all of shape (sessions,): device i, task j, reception r,
    upload u, staleness tau, iterations l. Slot g of the model is entry g - 1 of an array.

    samples_total : (tasks,), samples of all devices
    noise_peak : (tasks,), m_j = max_i alpha eta q_i sigma_i^2
    """

    scenario: Scenario
    samples_total: Array
    noise_peak: Floats

    @classmethod
    def of(cls, scenario: Scenario) -> Facts:
        """Read a scenario."""
        pairs, rates = scenario.pairs, scenario.tasks.server_rate * scenario.tasks.learning_rate
        totals = pairs.samples.sum(axis=0)
        peaks = np.array([
            (rates[j] * (pairs.samples[:, j] / totals[j]) * pairs.gradient_std[:, j] ** 2).max()
            for j in range(scenario.num_tasks)
        ])  # fmt: skip
        return cls(scenario=scenario, samples_total=totals, noise_peak=peaks)

    # -- delays and energies (section 3) ---------------------------------------------------

    def window_s(self, r: Array, u: Array) -> Floats:
        """Time t_u - t_r between reception and use, s."""
        # Slot by slot: a difference of t_u and t_r loses digits late in a long horizon.
        window = np.zeros(r.shape)
        for after in range(int((u - r).max(initial=0))):
            inside = r + after < u
            window[inside] += self.scenario.time.slot_s[r[inside] + after]
        return window

    def receive_s(self, i: Array, j: Array, r: Array) -> Floats:
        """Time t_D to receive model j in slot r + 1, s."""
        return divide(self.scenario.tasks.model_bits[j], self.scenario.network.downlink_bps[r, i])

    def upload_s(self, i: Array, j: Array, u: Array) -> Floats:
        """Time t_U to upload model j in slot u, s."""
        devices, network = self.scenario.devices, self.scenario.network
        width = devices.bandwidth_hz[i]
        received_w = devices.tx_power_w[i] * network.gain[u - 1, i]
        signal_to_noise = divide(received_w, network.noise_w_per_hz * width)
        return divide(self.scenario.tasks.model_bits[j], width * np.log2(1.0 + signal_to_noise))

    def radio_j(self, i: Array, receive_s: Floats, upload_s: Floats) -> Floats:
        """Energy E_D + E_U of the two transfers, J; infinite when one never ends."""
        devices = self.scenario.devices
        # No power times an endless transfer is NaN, which the infinity below replaces.
        with np.errstate(invalid="ignore"):
            spent = devices.rx_power_w[i] * receive_s + devices.tx_power_w[i] * upload_s
        return np.where(np.isinf(receive_s + upload_s), np.inf, spent)

    def compute_j(self, i: Array, cycles: Floats, cpu_hz: Floats) -> Floats:
        """Energy E_C of `cycles` CPU cycles at `cpu_hz`, J."""
        return np.asarray(self.scenario.devices.capacitance[i] * cycles * cpu_hz * cpu_hz)

    # -- learning (sections 4 and 5) -------------------------------------------------------

    def largest_batch(self, i: Array, j: Array) -> Array:
        """Upper end of the mini-batch box, min(B_max, D_ij)."""
        return np.minimum(self.scenario.tasks.batch_max[j], self.scenario.pairs.samples[i, j])

    def step(self, i: Array, j: Array, tau: Array) -> Floats:
        """c_s = alpha * eta * q_i * s(tau)."""
        tasks = self.scenario.tasks
        share = self.scenario.pairs.samples[i, j] / self.samples_total[j]
        return np.asarray(
            tasks.server_rate[j] * tasks.learning_rate[j] * share * self.staleness_weight(j, tau)
        )

    def staleness_weight(self, j: Array, tau: Array) -> Floats:
        """s(tau), in [0, 1]."""
        weight = np.ones(tau.shape)
        for task, rule in enumerate(self.scenario.tasks.staleness_weight):
            mine = j == task
            if rule.kind == "polynomial":
                weight[mine] = (1.0 + tau[mine]) ** -rule.a
            elif rule.kind == "hinge":
                late = mine & (tau > rule.b)
                weight[late] = 1.0 / (rule.a * (tau[late] - rule.b) + 1.0)
        return weight

    def local_sums(self, j: Array, iterations: Array) -> LocalSums:
        """Return the sums over the local steps, found once for a task and an iteration count."""
        counts, of_count = np.unique(iterations, return_inverse=True)
        found, inverse = np.unique(j * counts.size + of_count, return_inverse=True)
        table = np.array([
            self._sums(int(key) // counts.size, int(counts[key % counts.size])) for key in found
        ]).reshape(-1, len(LocalSums.__slots__))  # fmt: skip
        return LocalSums(**dict(zip(LocalSums.__slots__, table[inverse].T, strict=True)))

    def _sums(self, j: int, iterations: int) -> list[float]:
        tasks = self.scenario.tasks
        eta, split = float(tasks.learning_rate[j]), float(tasks.error_split[j])
        speed = float(tasks.smoothness[j]) * eta
        decay = 1.0 - eta * float(tasks.proximal[j])
        c1 = c4 = pull = drift = drift_square = scatter = 0.0
        for k, weight, first, second in local_steps(decay, iterations):
            moved = speed * first * float(tasks.gradient_bound[j])
            heavy = weight * (1 + split if k >= 1 else 1)
            c1 += weight
            c4 += weight * weight
            pull += heavy
            drift += heavy * moved
            drift_square += heavy * moved * moved
            scatter += weight * second
        return [c1, c4, decay ** (iterations - 1), pull, drift, drift_square, scatter]

    def total_drift(self) -> Floats:
        """Sum over the slots of the loss drift Delta_F; shape (tasks,)."""
        return np.asarray(self.scenario.loss_drift.sum(axis=0))

    def errors(self, i: Array, j: Array, tau: Array, sums: LocalSums) -> SessionErrors:
        """Parts of phi_s of sessions of staleness tau with these local steps."""
        tasks, pairs = self.scenario.tasks, self.scenario.pairs
        smooth, slope, theta = tasks.smoothness[j], tasks.gradient_bound[j], tasks.step_cap[j]
        eta, split = tasks.learning_rate[j], tasks.error_split[j]
        c = self.step(i, j, tau)
        stale = smooth * (tau * theta * slope + np.sqrt(tau * theta * self.noise_peak[j]))
        differs = pairs.dissimilarity[i, j] + pairs.gradient_drift[i, j] * (tau + 1)
        pull = (c / 2) * ((stale + differs) * sums.pull + sums.drift)
        inner = (c / 2) * (1 + 1 / split) * smooth * smooth * eta * eta * sums.scatter
        cross = (sums.squares - 1) * smooth * c * (sums.steps - sums.oldest) / (1 - smooth * theta)
        return SessionErrors(
            staleness=pull * stale,
            dissimilarity=pull * differs,
            local_drift=(c / 2) * ((stale + differs) * sums.drift + sums.drift_square),
            noise=pairs.gradient_std[i, j] ** 2
            * (inner + (smooth / 2) * c * c * (sums.squares + cross)),
        )
