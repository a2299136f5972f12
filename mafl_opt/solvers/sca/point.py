"""The natural form at a point: totals, merit and KKT residual, in numpy alone.

Columns enumerate the iteration counts, so the variables a column has are x in [0, 1], log B and
log f. With logarithms the deadline is linear and 1 / B and B f^2 are convex; what stays non-convex
are the products of these with x, the ratio and integrality.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from mafl_opt.formulations.lifted import LiftedForm, lift
from mafl_opt.formulations.pricing import Prices, best_batches
from mafl_opt.formulations.problem import Problem

__all__ = ["Multipliers", "NaturalForm", "Point", "Weights"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Below this a column is idle: its batch size and frequency are of no account.
_IDLE = 1e-6
# A_j, as a share of the largest possible, below which a start is not near any useful point.
_LEAST_PROGRESS = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Point:
    """Variables of the kept columns; arrays of shape (kept columns,).

    x : in [0, 1]
    log_batch : log B
    log_speed : log of f by the frequency at which the largest batch meets the deadline
    """

    x: Floats
    log_batch: Floats
    log_speed: Floats

    @property
    def inverse(self) -> Floats:
        """1 / B."""
        return np.exp(-self.log_batch)

    def towards(self, other: Point, step: float) -> Point:
        """Go the `step`-fold way to another point (48)."""
        pairs = (
            (self.x, other.x), (self.log_batch, other.log_batch),
            (self.log_speed, other.log_speed),
        )  # fmt: skip
        x, batch, speed = (a + step * (b - a) for a, b in pairs)
        return Point(x=x, log_batch=batch, log_speed=speed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What the merit is made of.

    objective : 1, or 0 while only feasibility is sought
    integrality : of sum x - x^2
    elastic : of violations of exclusive, uplink, step_cap and energy, rows scaled to limits near 1;
        in scaled objectives, far above any row's multiplier
    """

    objective: float
    integrality: float
    elastic: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Multipliers:
    """Of the scaled rows, in scaled objectives, all >= 0.

    exclusive : (slots * devices,); uplink : (slots,); step_cap : (slots * tasks,)
    energy : (devices,); deadline : (kept columns,)
    """

    exclusive: Floats
    uplink: Floats
    step_cap: Floats
    energy: Floats
    deadline: Floats


class NaturalForm:
    """The natural form on some columns, scaled as the lifted form is.

    Parameters
    ----------
    problem : Problem
    kept : (kept columns,)
    scale : float
        Typical objective, by which objectives are divided.

    Attributes
    ----------
    noise : (kept columns,)
        Factor of x / B in N of the column's task.
    compute : (kept columns,)
        Factor of x B f^2, scaled to 1 at the largest batch, in the energy of the column's device.
    by_task : (tasks, kept columns), by_device : (devices, kept columns)
        Ones where a column belongs.
    factor : (tasks,)
        Of the scaled ratio in the scaled objective; energy_price : (devices,) of scaled energy.
    batch_high : (kept columns,), log; speed_low, speed_high, lag : (kept columns,)
        The deadline is ``log_batch - log_speed <= lag``.
    """

    def __init__(self, problem: Problem, kept: Ints, scale: float) -> None:
        s, c = problem.scenario, problem.columns.take(kept)
        self.problem, self.kept, self.scale, self.columns = problem, kept, scale, c
        self.rows: LiftedForm = lift(s, c)
        every, n = np.arange(kept.size), kept.size
        self.used = np.flatnonzero(s.tasks.weight > 0)
        self.by_task = sp.csr_array((np.ones(n), (c.task, every)), shape=(s.num_tasks, n))
        self.by_device = sp.csr_array((np.ones(n), (c.device, every)), shape=(s.num_devices, n))
        self.noise = c.noise / self.rows.numerator_scale[c.task]
        full = c.frequency(c.batch_hi)
        most = c.capacitance * c.cycles * c.batch_hi * full**2
        self.compute = most / self.rows.energy_scale[c.device]
        self.factor = s.tasks.weight * self.rows.numerator_scale / self.rows.progress_scale / scale
        self.energy_price = s.energy_weight * self.rows.energy_scale / scale
        self.batch_high = np.log(c.batch_hi.astype(np.float64))
        self.speed_low, self.speed_high = np.log(c.f_min_hz / full), np.log(c.f_max_hz / full)
        self.lag = np.log(c.time_s * full / c.cycles)

    # -- points ----------------------------------------------------------------------------

    def point(self, x: Floats, batch: Floats) -> Point:
        """Take x and B, the frequency at its best (fact 1)."""
        log_batch = np.log(batch)
        return self.project(Point(x=x, log_batch=log_batch, log_speed=log_batch - self.lag))

    def project(self, v: Point) -> Point:
        """Move into the box and behind the deadline, which hold for every point."""
        batch = np.clip(v.log_batch, 0.0, self.batch_high)
        speed = np.clip(np.maximum(v.log_speed, batch - self.lag), self.speed_low, self.speed_high)
        return Point(x=np.clip(v.x, 0.0, 1.0), log_batch=batch, log_speed=speed)

    def trained(self, v: Point) -> Point:
        """Give tasks without progress a little of every column; A = 0 has no surrogate."""
        lacking = self.progress(v) < _LEAST_PROGRESS
        lacking &= self.problem.scenario.tasks.weight > 0
        own = lacking[self.columns.task]
        if not own.any():
            return v
        share = 1.0 / np.bincount(self.columns.task)[self.columns.task]
        x = np.where(own, np.maximum(v.x, share), v.x)
        return Point(x=x, log_batch=v.log_batch, log_speed=v.log_speed)

    def refresh(self, v: Point, prices: Prices) -> Point:
        """Give idle columns the batch size that their prices call for."""
        c = self.columns
        e = self.problem.scenario.energy_weight + prices.energy[c.device]
        wish = self.point(v.x, best_batches(c, prices.numerator[c.task], e).astype(np.float64))
        idle = v.x < _IDLE
        return Point(
            x=v.x, log_batch=np.where(idle, wish.log_batch, v.log_batch),
            log_speed=np.where(idle, wish.log_speed, v.log_speed),
        )  # fmt: skip

    def no_multipliers(self) -> Multipliers:
        """All zero."""
        rows = self.rows
        return Multipliers(
            exclusive=np.zeros(rows.exclusive.shape[0]), uplink=np.zeros(rows.uplink.shape[0]),
            step_cap=np.zeros(rows.step_cap.shape[0]), energy=np.zeros(rows.energy_x.shape[0]),
            deadline=np.zeros(self.kept.size),
        )  # fmt: skip

    # -- functions -------------------------------------------------------------------------

    def load(self, v: Point) -> Floats:
        """B f^2 by its largest value; (kept columns,)."""
        return np.asarray(np.exp(v.log_batch - self.batch_high + 2.0 * v.log_speed))

    def numerator(self, v: Point) -> Floats:
        """Scaled N_j; (tasks,)."""
        start = self.rows.numerator_start
        return np.asarray(
            start + self.rows.error_x @ v.x + self.by_task @ (self.noise * v.x * v.inverse)
        )

    def progress(self, v: Point) -> Floats:
        """Scaled A_j; (tasks,)."""
        return np.asarray(self.rows.progress @ v.x)

    def energy(self, v: Point) -> Floats:
        """Scaled energy; (devices,)."""
        return np.asarray(
            self.rows.energy_x @ v.x + self.by_device @ (self.compute * v.x * self.load(v))
        )

    def objective(self, v: Point) -> float:
        """O by `scale`; inf while a weighted task makes no progress."""
        progress = self.progress(v)[self.used]
        if not (progress > 0).all():
            return np.inf
        ratio = self.numerator(v)[self.used] / progress
        return float(self.factor[self.used] @ ratio + self.energy_price @ self.energy(v))

    def excess(self, v: Point) -> dict[str, Floats]:
        """Left side minus limit of every scaled row, by block."""
        rows = self.rows
        return {
            "exclusive": rows.exclusive @ v.x - 1.0,
            "uplink": rows.uplink @ v.x - rows.uplink_limit,
            "step_cap": rows.step_cap @ v.x - 1.0,
            "energy": self.energy(v) - rows.energy_limit,
        }

    def violation(self, v: Point) -> float:
        """Largest violation of a scaled row."""
        return max(float(part.max(initial=0.0)) for part in self.excess(v).values())

    def merit(self, v: Point, weights: Weights) -> float:
        """Return what falls from iterate to iterate, in scaled objectives."""
        over = sum(float(np.maximum(part, 0.0).sum()) for part in self.excess(v).values())
        total = weights.elastic * over + weights.integrality * float((v.x - v.x**2).sum())
        return total + (weights.objective * self.objective(v) if weights.objective else 0.0)

    # -- stationarity ----------------------------------------------------------------------

    def prices(self, v: Point, multipliers: Multipliers) -> Prices:
        """Prices of what devices share: derivatives of the ratios, and the rows' multipliers."""
        s, rows = self.problem.scenario, self.rows
        lam, mu = np.zeros(s.num_tasks), np.zeros(s.num_tasks)
        n, a = (
            part[self.used] * unit[self.used]
            for part, unit in (
                (self.numerator(v), rows.numerator_scale), (self.progress(v), rows.progress_scale),
            )
        )  # fmt: skip
        weight = s.tasks.weight[self.used]
        lam[self.used], mu[self.used] = weight / a, weight * n / a**2
        step = multipliers.step_cap.reshape(s.num_slots, s.num_tasks) * self.scale
        return Prices(
            numerator=lam, progress=mu, uplink=multipliers.uplink * self.scale,
            step_cap=step / s.tasks.step_cap,
            energy=multipliers.energy * self.scale / rows.energy_scale,
        )  # fmt: skip

    def slopes(self, v: Point, multipliers: Multipliers, weights: Weights) -> Point:
        """Gradient of the Lagrangian of the objective and penalty, in scaled objectives.

        Returned as the `Point` whose parts are the derivatives by x, log B and log f.
        """
        prices, c = self.prices(v, multipliers), self.columns
        lam = prices.numerator[c.task]
        e = self.problem.scenario.energy_weight + prices.energy[c.device]
        compute = e * self.compute * self.rows.energy_scale[c.device] * self.load(v)
        noise = lam * c.noise * v.inverse
        by_x = lam * (c.error - c.noise / c.samples) + noise + e * c.fixed_energy_j + compute
        by_x += prices.uplink[c.upload - 1] - prices.progress[c.task] * c.progress
        by_x += prices.step_cap[c.upload - 1, c.task] * c.step
        slope = by_x / self.scale + self.rows.exclusive.T @ multipliers.exclusive
        return Point(
            x=slope + weights.integrality * (1.0 - 2.0 * v.x),
            log_batch=v.x * (compute - noise) / self.scale + multipliers.deadline,
            log_speed=2.0 * v.x * compute / self.scale - multipliers.deadline,
        )

    def kkt(self, v: Point, multipliers: Multipliers, weights: Weights) -> float:
        """Largest violation of the KKT conditions at full objective, in scaled objectives.

        Stationarity as the step to the projected gradient step, and complementarity; feasibility
        is `violation`.
        """
        slope = self.slopes(v, multipliers, weights)
        parts = [
            _projected(v.x, slope.x, 0.0, 1.0),
            _projected(v.log_batch, slope.log_batch, 0.0, self.batch_high),
            _projected(v.log_speed, slope.log_speed, self.speed_low, self.speed_high),
            multipliers.deadline * np.abs(v.log_batch - v.log_speed - self.lag),
        ]
        excess = self.excess(v)
        parts += [getattr(multipliers, name) * np.abs(part) for name, part in excess.items()]
        return max(float(np.abs(part).max(initial=0.0)) for part in parts)

    def left_out(self, prices: Prices, multipliers: Multipliers) -> Floats:
        """Reduced cost of every column of the problem, in scaled objectives; (columns,).

        A column that is not kept has x = 0 and is stationary when this is not negative.
        """
        s, c = self.problem.scenario, self.problem.columns
        e = s.energy_weight + prices.energy[c.device]
        batch = best_batches(c, prices.numerator[c.task], e)
        busy = multipliers.exclusive.reshape(s.num_slots, s.num_devices)
        until = np.concatenate([np.zeros((1, s.num_devices)), np.cumsum(busy, axis=0)])
        toll = until[c.upload, c.device] - until[c.receive, c.device]
        return np.asarray(prices.reduced_costs(s, c, batch) / self.scale + toll)


def _projected(v: Floats, slope: Floats, low: Floats | float, high: Floats | float) -> Floats:
    return np.asarray(v - np.clip(v - slope, low, high))
