"""What an explanation holds, apart from the words for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = [
    "IdleDevice",
    "IdleFleet",
    "Limit",
    "LimitFamily",
    "PricedSession",
    "Sign",
    "TaskFinding",
]

_UNITS = {"uplink": "upload", "step_cap": "unit of step", "energy": "J"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFinding:
    """One task: which part of Xi_j = N_j / A_j is largest, and who works on it.

    Attributes
    ----------
    name : str
    weight, bound, trivial_bound : float
        gamma_j, Xi_j (infinite when the task is never trained) and V_j^2.
    parts : dict
        Parts of `bound`, as the checker derives them.
    progress, progress_limit : float
        A_j, and the most that the step caps admit, G theta_j / 2 (model page, section 6, fact 6).
    sessions, devices : int
        Sessions of the task, and devices that run one.
    data_share : float
        Share of the task's samples that these devices hold.
    mean_staleness : float or None
        ``None`` without sessions.
    max_staleness : int or None
    staleness_limit : int
        K_j.
    """

    name: str
    weight: float
    bound: float
    trivial_bound: float
    parts: Mapping[str, float]
    progress: float
    progress_limit: float
    sessions: int
    devices: int
    data_share: float
    mean_staleness: float | None
    max_staleness: int | None
    staleness_limit: int

    def share(self, *parts: str) -> float:
        """Share of some parts in the bound; 0 where the bound is 0 or infinite."""
        if not 0 < self.bound < math.inf:
            return 0.0
        return sum(self.parts[part] for part in parts) / self.bound

    @property
    def dominant(self) -> str | None:
        """Name of the largest part; ``None`` where the bound is 0 or infinite."""
        if not 0 < self.bound < math.inf:
            return None
        return max(self.parts, key=lambda part: self.parts[part])


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit of P and how much of it the plan uses.

    Attributes
    ----------
    kind : {"uplink", "step_cap", "energy"}
    where : str
    used, limit : float
        Uploads, sum of c_s C1(l), or J.
    price : float or None
        Price of the limit in the bound, in units of the objective per upload, per unit of step or
        per J; ``None`` without prices.
    """

    kind: str
    where: str
    used: float
    limit: float
    price: float | None

    @property
    def share(self) -> float:
        """Used share of the limit; infinite where something is used of nothing."""
        if self.limit > 0:
            return self.used / self.limit
        return math.inf if self.used > 0 else 0.0

    @property
    def unit(self) -> str:
        """What the limit is counted in."""
        return _UNITS[self.kind]

    @property
    def step(self) -> float:
        """A step by which one would raise the limit: an upload, or a tenth of the limit."""
        return 1.0 if self.kind == "uplink" else 0.1 * self.limit

    @property
    def worth(self) -> float | None:
        """Most by which `step` more can lower the bound of the chosen leaf; of the objective."""
        return None if self.price is None else self.price * self.step


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitFamily:
    """All limits of one kind.

    Attributes
    ----------
    kind : {"uplink", "step_cap", "energy"}
    count, tight, priced : int
        How many there are, how many the plan uses up to 95 % or more (uplinks: all of them), and
        how many have a price above 0.
    listed : tuple of Limit
        Those that matter most: by worth, then by used share.
    """

    kind: str
    count: int
    tight: int
    priced: int
    listed: tuple[Limit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedSession:
    """The cheapest session of a device at the prices of a certificate, in units of the objective.

    `brings` is what its progress is worth; `error`, `energy`, `uplink`, `step_cap` and `slots`,
    the slots of its device with what counts of sessions cost, are what it costs (model page, eqs.
    45a and 45d).
    """

    brings: float
    error: float
    energy: float
    uplink: float
    step_cap: float
    slots: float

    @property
    def net(self) -> float:
        """Costs less what it brings; below 0 it pays."""
        costs = self.error + self.energy + self.uplink + self.step_cap + self.slots
        return costs - self.brings


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleDevice:
    """A device without a session, and why.

    Attributes
    ----------
    device : int
    reason : str
        One of `mafl_opt.report.explain.idle.REASONS`.
    detail : str
        The reason with its figures, in words.
    data_share : float
        Its share of the samples, weighted by the tasks' weights.
    change : float or None
        By how much its best session, added to the plan, would change the objective: the best one
        that fits if that lowers the objective, otherwise the best of all, room or not. ``None``
        when it can run none.
    priced : PricedSession or None
        ``None`` without prices, or when it can run none.
    """

    device: int
    reason: str
    detail: str
    data_share: float
    change: float | None
    priced: PricedSession | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleFleet:
    """All devices without a session.

    Attributes
    ----------
    devices : int
    reasons : dict
        Reason to the number of devices, most frequent first.
    wanted : int or None
        Idle devices with a session that costs less than it brings at the prices of the
        certificate; ``None`` without prices.
    listed : tuple of IdleDevice
        Those with most data.
    """

    devices: int
    reasons: Mapping[str, int]
    wanted: int | None
    listed: tuple[IdleDevice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """A way in which asynchronous federated learning is known to fail, looked for in a plan.

    Attributes
    ----------
    name : {"participation", "staleness", "energy", "divergence"}
    task : str or None
        ``None`` where it concerns the whole plan.
    raised : bool
        Whether the plan shows it.
    text : str
        What was found, with the figures.
    """

    name: str
    task: str | None
    raised: bool
    text: str


def plain(value: Any) -> Any:
    """Return nested values as JSON takes them; what is not finite becomes ``None``."""
    if isinstance(value, Limit):
        return plain({**asdict(value), "unit": value.unit, "worth": value.worth})
    if isinstance(value, TaskFinding):
        return plain({**asdict(value), "dominant": value.dominant})
    if isinstance(value, PricedSession):
        return plain({**asdict(value), "net": value.net})
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
