"""Sessions when the world is not as planned: channels, processors and reachability drawn anew."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.arguments import did_you_mean
from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.formulations.radio import compute_energy, downlink_times, uplink_times
from mafl_opt.validation.trained_task import WEATHER, random_stream

__all__ = ["Course", "Uncertainty", "Weather", "draw_weather", "planned_weather"]

Floats = NDArray[np.float64]

LATE = ("wait", "drop")
#: A deadline that is met with equality is met, up to rounding; a part of the window.
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertainty:
    """How far the world strays from the plan's values, which are its medians.

    Attributes
    ----------
    gain_db : float
        Standard deviation of the uplink gain of a slot and device, dB (lognormal).
    downlink_db : float
        The same of the downlink rate, in dB of the rate.
    speed : float
        Standard deviation of the logarithm of a processor's speed in a slot; it never runs faster
        than its highest frequency.
    outage : float
        Probability that a device cannot be reached in a slot: what it would send or receive then
        waits for the next slot in which it can.
    headroom : float
        Devices run so much faster than planned, up to their highest frequency: plans with the best
        frequencies have no time to spare, and this buys some with energy.
    late : {"wait", "drop"}
        A result that misses its deadline enters the next aggregation, unless its staleness is then
        above the task's bound; or the device gives it up at the deadline.
    """

    gain_db: float = 0.0
    downlink_db: float = 0.0
    speed: float = 0.0
    outage: float = 0.0
    headroom: float = 0.0
    late: str = "wait"

    def __post_init__(self) -> None:
        for name in ("gain_db", "downlink_db", "speed", "headroom"):
            value = getattr(self, name)
            if not (_is_number(value) and 0 <= value < math.inf):
                raise InputError(f"uncertainty.{name}", "a finite number >= 0", value)
        if not (_is_number(self.outage) and 0 <= self.outage <= 1):
            raise InputError("uncertainty.outage", "a probability", self.outage)
        if self.late not in LATE:
            near = did_you_mean(self.late, LATE)
            raise InputError("uncertainty.late", " or ".join(LATE), self.late, near)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a session goes, as phases of time and power.

    Attributes
    ----------
    download_s, compute_s, upload_s : float
        Without the waiting between them.
    starts_s : (download, compute, upload)
        When each phase begins, s since t_0; infinity if it never does.
    powers_w : (download, compute, upload)
    due_s : float
        When the result is with the server; infinity: never.
    slack_s : float
        What is left of t_u - t_r; negative when the deadline is missed.
    """

    download_s: float
    compute_s: float
    upload_s: float
    starts_s: tuple[float, float, float]
    powers_w: tuple[float, float, float]
    due_s: float
    slack_s: float

    def energy_until(self, time_s: float) -> float:
        """Energy spent by a time, J."""
        lengths = (self.download_s, self.compute_s, self.upload_s)
        spent = 0.0
        for start, length, power in zip(self.starts_s, lengths, self.powers_w, strict=True):
            if start < math.inf and start < time_s:
                done = time_s >= start + length
                spent += power * (length if done else time_s - start)
        return spent


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weather:
    """One draw of the world, or the plan's.

    Attributes
    ----------
    upload_s, download_s : (slots, devices, tasks)
        Infinite without a link.
    speed : (slots, devices)
        Factor on the CPU frequency.
    reachable : (slots, devices)
    late : {"wait", "drop"}
    planned : bool
        The world of the plan: every session arrives by its deadline, even one that could not.
    """

    scenario: Scenario
    upload_s: Floats
    download_s: Floats
    speed: Floats
    reachable: NDArray[np.bool_]
    late: str
    planned: bool

    def course(self, sessions: Sessions, k: int, receive: int) -> Course:
        """Work out how session k goes if the device takes it up at instant `receive`.

        Phases follow each other (model page, section 3). Each transfer takes what the slot in
        which it begins allows. The upload begins in the slot before the planned aggregation, or
        later if the work is not done.
        """
        s = self.scenario
        i, j, u = int(sessions.device[k]), int(sessions.task[k]), int(sessions.upload[k])
        instants = s.time.instants_s
        begun = float(instants[receive])
        down_slot: int | None = receive + 1
        if not self.planned:
            down_slot = self._slot(receive + 1, i, self.download_s[:, i, j])
        down_start = max(begun, self._opens(down_slot))
        download_s = self._time(self.download_s, down_slot, i, j)
        f = float(sessions.cpu_hz[k]) * float(self.speed[receive, i])
        f = min(f, max(float(s.devices.f_max_hz[i]), float(sessions.cpu_hz[k])))
        cycles = float(
            s.pairs.cycles_per_sample[i, j] * sessions.iterations[k] * sessions.batch_size[k]
        )
        compute_s = cycles / f
        ready = down_start + download_s + compute_s
        up_slot: int | None = u
        if not self.planned:
            # Slot g holds the times from t_(g-1) on and below t_g.
            slot = int(np.searchsorted(instants, ready, side="right"))
            up_slot = self._slot(max(u, slot), i, self.upload_s[:, i, j])
        up_start = max(ready, self._opens(up_slot))
        upload_s = self._time(self.upload_s, up_slot, i, j)
        due = up_start + upload_s
        window = float(instants[u]) - begun
        slack = window - download_s - compute_s - upload_s
        if self.planned or abs(due - float(instants[u])) <= ROUNDING * window:
            due = min(due, float(instants[u]))
        elif due > float(instants[u]):
            slack = min(slack, float(instants[u]) - due)
        energy = float(compute_energy(s.devices.capacitance[i], np.array(cycles), np.array(f)))
        powers = (
            float(s.devices.rx_power_w[i]),
            energy / compute_s,
            float(s.devices.tx_power_w[i]),
        )
        return Course(
            download_s=download_s,
            compute_s=compute_s,
            upload_s=upload_s,
            starts_s=(down_start, down_start + download_s, up_start),
            powers_w=powers,
            due_s=due,
            slack_s=slack,
        )

    def _slot(self, first: int, device: int, times: Floats) -> int | None:
        """First slot from `first` on in which a device can transfer."""
        good = self.reachable[first - 1 :, device] & np.isfinite(times[first - 1 :])
        found = np.flatnonzero(good)
        return first + int(found[0]) if len(found) else None

    def _opens(self, slot: int | None) -> float:
        return math.inf if slot is None else float(self.scenario.time.instants_s[slot - 1])

    @staticmethod
    def _time(times: Floats, slot: int | None, device: int, task: int) -> float:
        return math.inf if slot is None else float(times[slot - 1, device, task])


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def planned_weather(scenario: Scenario) -> Weather:
    """Return the world that the plan was made for."""
    shape = (scenario.num_slots, scenario.num_devices)
    return Weather(
        scenario=scenario,
        upload_s=uplink_times(scenario),
        download_s=downlink_times(scenario),
        speed=np.ones(shape),
        reachable=np.ones(shape, dtype=bool),
        late="wait",
        planned=True,
    )


def draw_weather(scenario: Scenario, uncertainty: Uncertainty, seed: int) -> Weather:
    """Draw gains, rates, speeds and outages of every slot and device; the plan has no say in it."""
    shape = (scenario.num_slots, scenario.num_devices)
    gain, rate, speed = (
        random_stream(seed, WEATHER, part).standard_normal(shape) for part in range(3)
    )
    out = random_stream(seed, WEATHER, 3).random(shape) < uncertainty.outage
    gains = scenario.network.gain * 10.0 ** (uncertainty.gain_db * gain / 10.0)
    rates = scenario.network.downlink_bps * 10.0 ** (uncertainty.downlink_db * rate / 10.0)
    changed = scenario.replace(**{"network.gain": gains, "network.downlink_bps": rates})
    return Weather(
        scenario=scenario,
        upload_s=uplink_times(changed),
        download_s=downlink_times(changed),
        speed=(1.0 + uncertainty.headroom) * np.exp(uncertainty.speed * speed),
        reachable=scenario.network.available & ~out,
        late=uncertainty.late,
        planned=False,
    )
