"""What one session takes and what it adds to the bound, in plain Python (model page, 3 and 5).

The reference for every other reading of the model page: formulations, checker and certificates are
compared with these loops over single numbers, which share no code with any of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mafl_opt.core.scenario import Scenario

__all__ = ["Facts", "SessionError", "divide", "local_steps"]


def divide(top: float, bottom: float) -> float:
    """Return top / bottom, and infinity where the bottom is zero (a rate of 0 takes forever)."""
    return top / bottom if bottom else math.inf


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
class SessionError:
    """Parts of phi_s = staleness + dissimilarity + local_drift + noise * nu(B).

    The square X_k^2 of the three systematic parts is shared out by X_k * part, so that the parts
    add up to phi_s exactly; both terms with the gradient variance are in `noise`.
    """

    staleness: float
    dissimilarity: float
    local_drift: float
    noise: float

    @property
    def systematic(self) -> float:
        """The part of phi_s that no mini-batch size changes."""
        return self.staleness + self.dissimilarity + self.local_drift


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A scenario as nested lists of plain numbers, with the formulas that read them.

    Indices are those of the model page: device i, task j, reception r, upload u, iterations l.
    Slot g of the model is entry g - 1 of a list.
    """

    time: dict[str, Any]
    devices: dict[str, Any]
    tasks: dict[str, Any]
    pairs: dict[str, Any]
    network: dict[str, Any]
    loss_drift: list[list[float]]
    energy_weight: float
    samples_total: tuple[int, ...]
    noise_peak: tuple[float, ...]

    @classmethod
    def of(cls, scenario: Scenario) -> Facts:
        """Read a scenario."""
        data = scenario.to_dict()
        tasks, pairs = data["tasks"], data["pairs"]
        totals, peaks = [], []
        for j in range(len(tasks["name"])):
            total = sum(row[j] for row in pairs["samples"])
            step = tasks["server_rate"][j] * tasks["learning_rate"][j]
            totals.append(total)
            peaks.append(
                max(
                    step * (samples[j] / total) * sigma[j] * sigma[j]
                    for samples, sigma in zip(pairs["samples"], pairs["gradient_std"], strict=True)
                )
            )
        return cls(**data, samples_total=tuple(totals), noise_peak=tuple(peaks))

    @property
    def num_devices(self) -> int:
        """Number of devices."""
        return len(self.devices["f_min_hz"])

    @property
    def num_tasks(self) -> int:
        """Number of tasks."""
        return len(self.tasks["name"])

    @property
    def num_slots(self) -> int:
        """Number of slots."""
        return len(self.time["slot_s"])

    # -- delays and energies (section 3) ---------------------------------------------------

    def window_s(self, r: int, u: int) -> float:
        """Time t_u - t_r between reception and use, s."""
        return float(sum(self.time["slot_s"][r:u]))

    def receive_s(self, i: int, j: int, r: int) -> float:
        """Time t_D to receive model j in slot r + 1, s."""
        return divide(self.tasks["model_bits"][j], self.network["downlink_bps"][r][i])

    def upload_s(self, i: int, j: int, u: int) -> float:
        """Time t_U to upload model j in slot u, s."""
        width = self.devices["bandwidth_hz"][i]
        received_w = self.devices["tx_power_w"][i] * self.network["gain"][u - 1][i]
        signal_to_noise = divide(received_w, self.network["noise_w_per_hz"] * width)
        return divide(self.tasks["model_bits"][j], width * math.log2(1.0 + signal_to_noise))

    def radio_j(self, i: int, receive_s: float, upload_s: float) -> float:
        """Energy E_D + E_U of the two transfers, J; infinite when one never ends."""
        if math.isinf(receive_s + upload_s):
            return math.inf
        power = self.devices
        return float(power["rx_power_w"][i] * receive_s + power["tx_power_w"][i] * upload_s)

    def compute_j(self, i: int, cycles: float, cpu_hz: float) -> float:
        """Energy E_C of `cycles` CPU cycles at `cpu_hz`, J."""
        return float(self.devices["capacitance"][i] * cycles * cpu_hz * cpu_hz)

    def is_available(self, i: int, r: int, u: int) -> bool:
        """Whether device i is reachable in all slots r + 1..u."""
        return all(self.network["available"][g][i] for g in range(r, u))

    # -- learning (sections 4 and 5) -------------------------------------------------------

    def largest_batch(self, i: int, j: int) -> int:
        """Upper end of the mini-batch box, min(B_max, D_ij)."""
        return int(min(self.tasks["batch_max"][j], self.pairs["samples"][i][j]))

    def decay(self, j: int) -> float:
        """Factor b = 1 - eta * rho of one proximal step."""
        return float(1.0 - self.tasks["learning_rate"][j] * self.tasks["proximal"][j])

    def step(self, i: int, j: int, tau: int) -> float:
        """c_s = alpha * eta * q_i * s(tau)."""
        share = self.pairs["samples"][i][j] / self.samples_total[j]
        rates = self.tasks["server_rate"][j] * self.tasks["learning_rate"][j]
        return float(rates * share * self.staleness_weight(j, tau))

    def staleness_weight(self, j: int, tau: int) -> float:
        """s(tau), in [0, 1]."""
        rule = self.tasks["staleness_weight"][j]
        if rule["kind"] == "polynomial":
            return float((1.0 + tau) ** -rule["a"])
        if rule["kind"] == "hinge" and tau > rule["b"]:
            return float(1.0 / (rule["a"] * (tau - rule["b"]) + 1.0))
        return 1.0

    def steps_sum(self, j: int, iterations: int) -> float:
        """C1(l) = sum of the weights of the local steps."""
        return sum(weight for _, weight, _, _ in local_steps(self.decay(j), iterations))

    def constant_gap(self, j: int) -> float:
        """Gamma' = Gamma + sum of the loss drift: the part of N_j no plan changes."""
        return float(self.tasks["initial_gap"][j] + self.total_drift(j))

    def total_drift(self, j: int) -> float:
        """Sum over the slots of the loss drift Delta_F."""
        return float(sum(row[j] for row in self.loss_drift))

    def error(self, i: int, j: int, tau: int, iterations: int) -> SessionError:
        """Parts of phi_s of a session of staleness tau with l iterations."""
        tasks, pairs = self.tasks, self.pairs
        smooth, slope = tasks["smoothness"][j], tasks["gradient_bound"][j]
        eta, theta, split = tasks["learning_rate"][j], tasks["step_cap"][j], tasks["error_split"][j]
        variance = pairs["gradient_std"][i][j] * pairs["gradient_std"][i][j]
        c, decay = self.step(i, j, tau), self.decay(j)
        moved = tau * theta * slope + math.sqrt(tau * theta * self.noise_peak[j])
        stale = smooth * moved
        differs = pairs["dissimilarity"][i][j] + pairs["gradient_drift"][i][j] * (tau + 1)
        staleness = dissimilarity = local_drift = scatter = c1 = c4 = 0.0
        for k, weight, first, second in local_steps(decay, iterations):
            local = smooth * eta * first * slope
            pull = (c / 2) * weight * (1 + split if k >= 1 else 1) * (stale + differs + local)
            staleness += pull * stale
            dissimilarity += pull * differs
            local_drift += pull * local
            scatter += weight * second
            c1 += weight
            c4 += weight * weight
        inner = (c / 2) * (1 + 1 / split) * smooth * smooth * eta * eta * scatter
        cross = (c4 - 1) * smooth * c * (c1 - decay ** (iterations - 1)) / (1 - smooth * theta)
        noise = variance * (inner + (smooth / 2) * c * c * (c4 + cross))
        return SessionError(
            staleness=staleness, dissimilarity=dissimilarity, local_drift=local_drift, noise=noise
        )
