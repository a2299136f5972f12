"""Every session that the devices of a fleet can run, for the certificate.

One row for each (device, task, receive, upload, l) that some feasible plan may hold; what breaks a
step cap, a budget or an uplink by itself is in none. The limits of a row are widened by the
tolerance of the checker, so that whatever the checker accepts is among the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.proof.guards import ROUNDING, WIDENING
from mafl_opt.core.proof.local_sums import LocalSums
from mafl_opt.core.scenario import Scenario

__all__ = ["SessionTable", "fleet_blocks", "possible_sessions"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Possible rows that are worked on at a time: some ten megabytes of temporary arrays.
_BLOCK = 200_000


def possible_sessions(scenario: Scenario) -> int:
    """Return how many rows a device can have at most."""
    tasks, slots = scenario.tasks, scenario.num_slots
    width = min(int(tasks.staleness_max.max()), slots - 1) + 1
    return slots * width * scenario.num_tasks * int(tasks.iterations_max.max())


def fleet_blocks(scenario: Scenario) -> Iterator[slice]:
    """Cut the fleet into blocks of devices of bounded size."""
    size = max(1, _BLOCK // possible_sessions(scenario))
    for start in range(0, scenario.num_devices, size):
        yield slice(start, min(start + size, scenario.num_devices))


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTable:
    """The rows, all of shape (rows,), sorted by device, receive, upload, task and iterations.

    Attributes
    ----------
    devices : slice
        The devices of the table.
    systematic, noise : the two parts of phi_s = systematic + noise * nu(B)
    step : c_s C1(l); a_s is half of it
    radio_j : J, energy of the two transfers
    work : l * cyc, CPU cycles for one unit of mini-batch
    capacitance : J s^2
    f_min_hz, time_s : Hz and s; lowest frequency and time left to compute, both widened
    batch_min, batch_max : mini-batches that box, deadline and the budget alone admit
    samples : D_ij
    """

    devices: slice
    device: Ints
    task: Ints
    receive: Ints
    upload: Ints
    iterations: Ints
    systematic: Floats
    noise: Floats
    step: Floats
    radio_j: Floats
    work: Floats
    capacitance: Floats
    f_min_hz: Floats
    time_s: Floats
    batch_min: Floats
    batch_max: Floats
    samples: Floats

    @classmethod
    def of(cls, scenario: Scenario, sums: LocalSums, devices: slice) -> SessionTable:
        """List the rows of some devices."""
        sent = _Transfers.of(scenario, sums, devices)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            batch_max, work = sent.largest_batches(scenario, devices)
        parts = sums.sessions(scenario, devices)
        _, tasks, width, longest = parts[2].shape
        # Energy and time only get worse with more iterations, so no row is an island.
        alone = parts[2] <= (scenario.tasks.step_cap * (1 + WIDENING))[:, None, None]
        allowed = np.arange(1, longest + 1) <= scenario.tasks.iterations_max[:, None]
        alone = (alone & allowed[:, None]).transpose(0, 2, 1, 3)
        rows = np.nonzero((batch_max >= 1) & alone[:, sent.staleness])
        i, pair, j, l = rows  # noqa: E741 - the model page's letter
        # Figures of a session depend on the pair by its staleness alone.
        place = ((i * tasks + j) * width + sent.staleness[pair]) * longest + l
        systematic, noise, step = (part.ravel().take(place) for part in parts)
        pairs, fleet = scenario.pairs, scenario.devices
        return cls(
            devices=devices, device=i + devices.start, task=j, receive=sent.receive[pair],
            upload=sent.upload[pair], iterations=l + 1, systematic=systematic,
            noise=noise, step=step, radio_j=sent.radio_j[i, pair, j],
            work=work[i, j, l], capacitance=fleet.capacitance[devices][i],
            f_min_hz=fleet.f_min_hz[devices][i] * (1 - WIDENING), time_s=sent.time_s[i, pair, j],
            batch_min=np.ones(i.size), batch_max=batch_max[rows],
            samples=pairs.samples[devices][i, j].astype(float),
        )  # fmt: skip

    def __len__(self) -> int:
        return int(self.device.size)

    @property
    def progress(self) -> Floats:
        """a_s; shape (rows,)."""
        return 0.5 * self.step

    def take(self, rows: Ints | Bools) -> SessionTable:
        """Return the table of some rows."""
        picked: dict[str, Any] = {
            field.name: getattr(self, field.name)[rows]
            for field in fields(self)
            if field.name != "devices"
        }
        return replace(self, **picked)

    @classmethod
    def joined(cls, tables: Sequence[SessionTable]) -> SessionTable:
        """Return the rows of tables of consecutive devices, in this order."""
        first, last = tables[0], tables[-1]
        rows: dict[str, Any] = {
            field.name: np.concatenate([getattr(one, field.name) for one in tables])
            for field in fields(cls)
            if field.name != "devices"
        }
        return replace(first, devices=slice(first.devices.start, last.devices.stop), **rows)

    def cut_batches(self, low: Floats, high: Floats) -> SessionTable:
        """Return the rows with other limits of the mini-batch, (rows,) each."""
        return replace(self, batch_min=low, batch_max=high)

    def keys(self, tasks: int, slots: int, iterations: int) -> Ints:
        """Return one number for each row, increasing with the rows."""
        key = (self.device * slots + self.receive) * (slots + 1) + self.upload
        return (key * tasks + self.task) * (iterations + 1) + self.iterations

    def best_batch(self, error_price: Floats, joule_price: Floats) -> Floats:
        """Return a real mini-batch of least cost, in [batch_min, batch_max]; shape (rows,).

        Model page, section 6, fact 2: lam Q / B + e kappa cyc l B max(f_min, cyc l B / T')^2 is
        convex in B and kinked where f leaves f_min; the best integer is beside the minimiser.

        Parameters
        ----------
        error_price : (rows,)
            lam of the row's task.
        joule_price : (rows,), 1/J
            e = xi + omega of the row's device.
        """
        weight = joule_price * self.capacitance * self.work
        pull = error_price * self.noise
        ratio = np.where(pull > 0, np.inf, 0.0)
        np.divide(pull, weight, out=ratio, where=weight > 0)
        slow = np.sqrt(ratio) / self.f_min_hz
        fast = np.sqrt(np.sqrt(ratio / 3.0) * (self.time_s / self.work))
        kink = self.f_min_hz * self.time_s / self.work
        best: Floats = np.clip(
            np.minimum(slow, np.maximum(kink, fast)), self.batch_min, self.batch_max
        )
        return best

    def floors(self) -> tuple[Floats, Floats]:
        """Return the least that phi and energy can be, rounded downwards; (rows,), the latter J."""
        spread = 1.0 / self.batch_max - 1.0 / self.samples - ROUNDING
        phi = self.systematic + self.noise * spread
        return phi - ROUNDING * self.systematic, self.energy_j(self.batch_min)

    def energy_j(self, batch: Floats) -> Floats:
        """Return the energy of the rows at some mini-batches, rounded downwards; (rows,), J."""
        frequency = np.maximum(self.f_min_hz, self.work * batch / self.time_s)
        joules = self.radio_j + self.capacitance * self.work * batch * frequency**2
        lowered: Floats = joules * (1 - ROUNDING)
        return lowered


@dataclass(frozen=True, slots=True, kw_only=True)
class _Transfers:
    """Pairs (receive, upload) with what device and task leave of them to compute.

    receive, upload, staleness : (pairs,), sorted by receive, then upload
    time_s, radio_j : (devices, pairs, tasks); -1 s where there is no session
    """

    receive: Ints
    upload: Ints
    staleness: Ints
    time_s: Floats
    radio_j: Floats

    @classmethod
    def of(cls, scenario: Scenario, sums: LocalSums, devices: slice) -> _Transfers:
        slots, tasks, fleet = scenario.num_slots, scenario.tasks, scenario.devices
        network, slot_s = scenario.network, scenario.time.slot_s
        pairs = [
            (r, r + t) for r in range(slots) for t in range(min(sums.rate.shape[1], slots - r))
        ]
        r, last = np.array(pairs, dtype=np.int64).T
        window = np.array([sum(slot_s[a : b + 1].tolist()) for a, b in pairs])
        band = fleet.bandwidth_hz[devices]
        with np.errstate(divide="ignore", invalid="ignore"):
            heard = network.gain[:, devices] * fleet.tx_power_w[devices]
            ratio = _divide(heard, network.noise_w_per_hz * band)
            up = _divide(tasks.model_bits[:, None, None], band * np.log2(1.0 + ratio))
            down = _divide(tasks.model_bits[:, None, None], network.downlink_bps[:, devices])
        fits_up = up <= slot_s[:, None] * (1 + WIDENING)
        fits_up &= (network.uplink_capacity >= 1)[:, None]
        fits_down = down <= slot_s[:, None] * (1 + WIDENING)
        up, down = np.where(fits_up, up, 0.0), np.where(fits_down, down, 0.0)
        away = np.concatenate([np.zeros((1, band.size)), ~network.available[:, devices]]).cumsum(0)
        fits = fits_down[:, r] & fits_up[:, last] & (away[last + 1] == away[r])
        fits &= (last - r <= tasks.staleness_max[:, None])[:, :, None]
        left = window[:, None] * (1 + WIDENING) - down[:, r] - up[:, last]
        radio = down[:, r] * fleet.rx_power_w[devices] + up[:, last] * fleet.tx_power_w[devices]
        return cls(
            receive=r, upload=last + 1, staleness=last - r,
            time_s=np.where(fits & (left > 0), left, -1.0).transpose(2, 1, 0),
            radio_j=radio.transpose(2, 1, 0),
        )  # fmt: skip

    def largest_batches(self, scenario: Scenario, devices: slice) -> tuple[Floats, Floats]:
        """Return the mini-batch each row can have, and its work.

        Returns
        -------
        batch : (devices, pairs, tasks, iterations)
            A whole number, 0 or less where there is no row. The plan's own budget may be all that
            a session takes: one that needs more is in no feasible plan.
        work : (devices, tasks, iterations)
        """
        fleet, pairs, tasks = scenario.devices, scenario.pairs, scenario.tasks
        counts = np.arange(1, int(tasks.iterations_max.max()) + 1)
        work = pairs.cycles_per_sample[devices, :, None] * counts
        cap = np.minimum(tasks.batch_max, pairs.samples[devices])[:, None, :, None]
        f_max = (fleet.f_max_hz[devices] * (1 + WIDENING))[:, None, None]
        batch = np.minimum(cap, (f_max * self.time_s)[..., None] / work[:, None])
        budget = (fleet.energy_budget_j[devices] * (1 + WIDENING))[:, None, None]
        joules = (budget - self.radio_j)[..., None]
        unit = fleet.capacitance[devices, None, None] * work
        flat = unit * (fleet.f_min_hz[devices, None, None] * (1 - WIDENING)) ** 2
        for paid in (
            _divide(joules, flat[:, None]),
            np.cbrt(_divide(joules, (unit * work**2)[:, None]) * (self.time_s**2)[..., None]),
        ):
            batch = np.minimum(batch, paid * (1 + WIDENING))
        exists = (self.time_s > 0)[..., None] & (joules >= 0)
        return np.where(exists, np.floor(batch), 0.0), work


def _divide(top: Floats, bottom: Floats) -> Floats:
    """Return top / bottom, and infinity where the bottom is zero (a rate of 0 takes forever)."""
    return np.where(bottom == 0.0, np.inf, np.divide(top, bottom))
