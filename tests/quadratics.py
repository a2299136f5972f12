"""Federations of quadratics whose constants and moments are known exactly.

Device i holds samples n with losses y'H_n y / 2 - c_n(g)'y + o(g), g the aggregation whose data it
has. Gradients are affine in y and mini-batch noise is uncorrelated with everything it is not fed
into, so first and second moments of every iterate follow exactly: a random vector is kept as an
array of shape (dim, 1 + sources), column 0 its mean, the others its loadings on uncorrelated
sources of zero mean and variance one. E|x|^2 is then the sum of the squares of its entries.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.fields import StalenessWeight

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One session of one task. `data[k]` is the aggregation whose data local step k sees."""

    device: int
    receive: int
    upload: int
    batch: int
    steps: int
    data: tuple[int, ...]

    @property
    def staleness(self) -> int:
        return self.upload - 1 - self.receive


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """One task: data, learning rule, plan.

    hessians[i] : (samples, dim, dim); linears[i] : (slots + 1, samples, dim); offset : (slots + 1,)
    """

    hessians: tuple[Floats, ...]
    linears: tuple[Floats, ...]
    offset: Floats
    start: Floats
    sessions: tuple[Session, ...]
    eta: float
    rho: float = 0.0
    alpha: float = 1.0
    weight: StalenessWeight = field(default_factory=StalenessWeight)
    mixing: bool = False

    @property
    def num_slots(self) -> int:
        return self.offset.size - 1

    @property
    def samples(self) -> list[int]:
        return [len(h) for h in self.hessians]

    @property
    def share(self) -> Floats:
        return np.array(self.samples) / sum(self.samples)

    def loss(self, g: int) -> tuple[Floats, Floats]:
        """Hessian and linear term of the global loss at aggregation g."""
        hessian = sum(q * h.mean(0) for q, h in zip(self.share, self.hessians, strict=True))
        linear = sum(q * c[g].mean(0) for q, c in zip(self.share, self.linears, strict=True))
        return np.asarray(hessian), np.asarray(linear)

    def coefficient(self, session: Session) -> float:
        """c_s: what one local gradient of the session moves the global model by."""
        weight = float(self.weight(session.staleness))
        return self.alpha * self.eta * self.share[session.device] * weight

    def steps_to(self, g: int) -> float:
        """Sum of c_s C1(l_s) over the sessions ending at g, which the step cap limits."""
        b = 1 - self.eta * self.rho
        ending = [s for s in self.sessions if s.upload == g]
        return sum(self.coefficient(s) * sum(b**k for k in range(s.steps)) for s in ending)

    def pull(self, g: int) -> float:
        """Sum of alpha p_s tau_s over the sessions ending at g, below one under the mixing rule."""
        ending = [s for s in self.sessions if s.upload == g]
        return sum(self.coefficient(s) / self.eta * s.staleness for s in ending)


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """The constants the bound needs, and what it bounds, of one run.

    smoothness L, gradient_bound V, step_cap theta, initial_gap Gamma; loss_drift : (slots,);
    gradient_std, dissimilarity, gradient_drift : (devices,);
    measured : progress-weighted mean of E|grad F^(u)(w^(u-1))|^2
    """

    smoothness: float
    gradient_bound: float
    step_cap: float
    initial_gap: float
    loss_drift: Floats
    gradient_std: Floats
    dissimilarity: Floats
    gradient_drift: Floats
    measured: float


def _shift(x: Floats, vector: Floats) -> Floats:
    out = x.copy()
    out[:, 0] -= vector
    return out


def _root(covariance: Floats) -> Floats:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def norm(x: Floats) -> float:
    """Root of E|x|^2."""
    return float(np.sqrt((x**2).sum()))


class Run:
    """The learning rule on a federation with exact moments.

    models[g] : the global model w^(g); iterates[s][k] : local iterate y_k of session s;
    result[s] : y_l; spread[s][k] : root of the expected variance of one sample's gradient at y_k
    """

    def __init__(self, fed: Federation) -> None:
        dim = fed.start.size
        sources = 1 + dim * sum(s.steps for s in fed.sessions)
        self.fed, self.used = fed, 1
        first = np.zeros((dim, sources))
        first[:, 0] = fed.start
        self.models = [first]
        self.iterates: dict[Session, list[Floats]] = {}
        self.result: dict[Session, Floats] = {}
        self.spread: dict[Session, list[float]] = {}
        for g in range(1, fed.num_slots + 1):
            here = [s for s in fed.sessions if s.upload == g]
            for session in here:
                self._train(session)
            now = self.models[-1]
            step = np.zeros_like(now)
            for s in here:
                rate = fed.alpha * fed.share[s.device] * float(fed.weight(s.staleness))
                origin = now if fed.mixing else self.models[s.receive]
                step += rate * (self.result[s] - origin)
            self.models.append(now + step)

    def _train(self, s: Session) -> None:
        fed, origin = self.fed, self.models[s.receive]
        hessians, y = fed.hessians[s.device], origin
        count, dim = len(hessians), origin.shape[0]
        self.iterates[s], self.spread[s] = [], []
        for k in range(s.steps):
            self.iterates[s].append(y)
            linear = fed.linears[s.device][s.data[k]]
            each = hessians @ y
            each[:, :, 0] -= linear
            gradient = each.mean(0)
            each = each - gradient
            spread = np.einsum("nax,nbx->ab", each, each) / max(count - 1, 1)
            self.spread[s].append(float(np.sqrt(np.trace(spread))))
            noisy = gradient.copy()
            noise = _root(spread * (1 / s.batch - 1 / count))
            noisy[:, self.used : self.used + dim] += noise
            self.used += dim
            y = y - fed.eta * (noisy + fed.rho * (y - origin))
        self.result[s] = y

    def gradient(self, g: int) -> Floats:
        """Gradient of F^(g) at w^(g-1)."""
        hessian, linear = self.fed.loss(g)
        return _shift(hessian @ self.models[g - 1], linear)

    def expected_loss(self, g: int, model: Floats) -> float:
        """E F^(g) at a random model."""
        hessian, linear = self.fed.loss(g)
        square = 0.5 * np.einsum("ax,ab,bx->", model, hessian, model)
        return float(square - linear @ model[:, 0] + self.fed.offset[g])

    def constants(self) -> Constants:
        """The smallest constants for which the assumptions of the bound hold on this run."""
        fed, slots = self.fed, self.fed.num_slots
        count = len(fed.hessians)
        hessian, linear = fed.loss(slots)
        least = -0.5 * linear @ np.linalg.solve(hessian, linear) + fed.offset[slots]
        apart, noise, norms = np.zeros(count), np.zeros(count), [1e-9]
        for s, iterates in self.iterates.items():
            i, own = s.device, fed.hessians[s.device].mean(0)
            noise[i] = max(noise[i], *self.spread[s])
            whole, pull = fed.loss(s.upload)
            at_upload = fed.linears[i][s.upload].mean(0)
            for k, y in enumerate(iterates):
                norms.append(norm(_shift(own @ y, fed.linears[i][s.data[k]].mean(0))))
                apart[i] = max(apart[i], norm(_shift((own - whole) @ y, at_upload - pull)))
        moved = [np.linalg.norm(np.diff(c.mean(1), axis=0), axis=1).max() for c in fed.linears]
        drift = [
            self.expected_loss(g, self.models[g - 1])
            - self.expected_loss(g - 1, self.models[g - 1])
            for g in range(1, slots + 1)
        ]
        steps = np.array([fed.steps_to(g) for g in range(1, slots + 1)])
        squares = np.array([norm(self.gradient(g)) ** 2 for g in range(1, slots + 1)])
        return Constants(
            smoothness=float(np.linalg.eigvalsh(hessian)[-1]),
            gradient_bound=max(norms),
            step_cap=steps.max(),
            initial_gap=max(0.0, self.expected_loss(0, self.models[0]) - float(least)),
            loss_drift=np.maximum(drift, 0.0),
            gradient_std=noise,
            dissimilarity=apart,
            gradient_drift=np.array(moved),
            measured=float(steps @ squares / steps.sum()),
        )


def plain_bound(
    fed: Federation,
    known: Constants,
    split: float,
    *,
    error_scale: float = 1.0,
    staleness: bool = True,
) -> float:
    """Xi in plain loops (model page, section 5), with two switches that cut an error term.

    error_scale multiplies every X_k^2; staleness=False takes M(tau) = 0.
    """
    big_l, v, theta, eta = known.smoothness, known.gradient_bound, known.step_cap, fed.eta
    b = 1 - eta * fed.rho
    numerator, progress = known.initial_gap + sum(known.loss_drift), 0.0
    loudest = max(fed.alpha * eta * fed.share * known.gradient_std**2)
    pull = max(fed.pull(g) for g in range(1, fed.num_slots + 1))
    for s in fed.sessions:
        i, c, tau = s.device, fed.coefficient(s), s.staleness
        w = [b ** (s.steps - 1 - k) for k in range(s.steps)]
        c1, c4 = sum(w), sum(x * x for x in w)
        variance = known.gradient_std[i] ** 2 * (1 / s.batch - 1 / fed.samples[i])
        moved, stale_smoothness = tau * theta * v + (tau * theta * loudest) ** 0.5, big_l
        if fed.mixing:
            moved = tau * (theta * v + (theta * loudest) ** 0.5) / (1 - pull)
            stale_smoothness = big_l + 1 / (eta * c1)
        apart = known.dissimilarity[i] + known.gradient_drift[i] * (s.upload - s.receive)
        for k in range(s.steps):
            k1, k2 = sum(b**m for m in range(k)), sum(b ** (2 * m) for m in range(k))
            x = stale_smoothness * moved * staleness + apart + big_l * eta * k1 * v
            local = (1 + 1 / split) * (big_l * eta) ** 2 * k2 * variance
            x_split = 1 + split if k else 1
            numerator += 0.5 * c * w[k] * (x_split * x * x * error_scale + local)
        cross = (c4 - 1) * big_l * c * (c1 - w[0]) / (1 - big_l * theta)
        numerator += 0.5 * big_l * c * c * variance * (c4 + cross)
        progress += 0.5 * c * c1
    return numerator / progress
