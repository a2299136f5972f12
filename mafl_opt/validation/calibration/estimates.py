"""What calibration finds: figures with intervals, and the options it works with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from mafl_opt.core.errors import InputError
from mafl_opt.validation.holdings import DriftScheme
from mafl_opt.validation.partition import PartitionScheme

__all__ = [
    "CalibrationOptions",
    "Estimate",
    "TaskCalibration",
    "largest_of_runs",
    "options_to_dict",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationOptions:
    """How the figures of the bound are estimated.

    Attributes
    ----------
    partition : PartitionScheme
        Who holds what; a replay with the same seed and scheme trains on the same partition.
    drift : DriftScheme
        How that changes over the slots.
    model : str
        Network of the tasks for which the caller gives none, see `build_model`.
    warm_steps : dict
        Task name to SGD steps on its whole training part before the plan begins, as for a replay.
    runs : int
        Probe runs a task, at least 2.
    points : int
        Aggregations of a run at which models are measured.
    samples : int
        Per-sample gradients a device and point, for sigma.
    rows : int
        Samples that the Hessian is taken of.
    products : int
        Most Hessian-vector products a point.
    minimise : int
        Iterations of L-BFGS that look for a low loss, for Gamma.
    confidence : float
        Of the intervals.
    upper : bool
        Write the upper ends of the intervals into the scenario instead of the values.
    operations_per_cycle : float, optional
        Write model sizes and cycles a sample too, for processors that do so many floating-point
        operations in a cycle.
    dtype : {"float32", "float64"}
    """

    partition: PartitionScheme = field(default_factory=PartitionScheme)
    drift: DriftScheme = field(default_factory=DriftScheme)
    model: str = "auto"
    warm_steps: Mapping[str, int] = field(default_factory=dict)
    runs: int = 4
    points: int = 4
    samples: int = 128
    rows: int = 1024
    products: int = 24
    minimise: int = 100
    confidence: float = 0.95
    upper: bool = False
    operations_per_cycle: float | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for name, least in (("runs", 2), ("points", 1), ("samples", 2), ("rows", 1),
                            ("products", 1), ("minimise", 0)):  # fmt: skip
            if getattr(self, name) < least:
                raise InputError(f"options.{name}", f"an integer >= {least}", getattr(self, name))
        if not 0 < self.confidence < 1:
            raise InputError("options.confidence", "a number in (0, 1)", self.confidence)
        if self.dtype not in ("float32", "float64"):
            raise InputError("options.dtype", "float32 or float64", self.dtype)
        rate = self.operations_per_cycle
        if rate is not None and not (math.isfinite(rate) and rate > 0):
            raise InputError("options.operations_per_cycle", "a number > 0", rate)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """A figure, or an array of figures, and where it is thought to lie.

    Attributes
    ----------
    value, low, high : arrays of one shape
        ``low <= value <= high``.
    """

    value: Floats
    low: Floats
    high: Floats

    def to_dict(self) -> dict[str, Any]:
        """Return nested lists; what is not finite becomes ``None``."""
        return {part.name: _plain(getattr(self, part.name).tolist()) for part in fields(self)}


def largest_of_runs(found: Sequence[Floats], confidence: float) -> Estimate:
    """Sum up what several runs needed of a constant that must hold in all of them.

    The value is the largest; the interval is where one more run would lie with the given
    confidence if runs are normally distributed, mean -+ t s sqrt(1 + 1/R) with the runs' standard
    deviation s, widened to hold the value.

    Parameters
    ----------
    found : one array a run, at least 2, entries >= 0
    confidence : float
    """
    runs = np.stack([np.asarray(values, dtype=float) for values in found])
    count = len(runs)
    reach = stdtrit(count - 1, 0.5 + 0.5 * confidence) * math.sqrt(1 + 1 / count)
    centre, spread = runs.mean(axis=0), reach * runs.std(axis=0, ddof=1)
    value = runs.max(axis=0)
    return Estimate(
        value=value,
        low=np.minimum(value, np.maximum(0.0, centre - spread)),
        high=np.maximum(value, centre + spread),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskCalibration:
    """One task's figures of the bound (model page, section 5.1).

    Attributes
    ----------
    name : str
    parameters, samples : int
        Length of the model and samples of all devices together.
    smoothness, gradient_bound, initial_gap : Estimate of shape ()
        L, V, Gamma. The interval of Gamma is no matter of chance: between the loss at the start
        minus the least loss found, and minus what no loss is below.
    gradient_std, dissimilarity, gradient_drift : Estimate of shape (devices,)
        sigma_i, delta_i and Delta_i; zero where a device holds no samples.
    loss_drift : Estimate of shape (slots,)
        Delta_F at aggregations 1..G.
    """

    name: str
    parameters: int
    samples: int
    smoothness: Estimate
    gradient_bound: Estimate
    initial_gap: Estimate
    gradient_std: Estimate
    dissimilarity: Estimate
    gradient_drift: Estimate
    loss_drift: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            part.name: entry.to_dict() if isinstance(entry, Estimate) else entry
            for part in fields(self)
            for entry in (getattr(self, part.name),)
        }


def options_to_dict(options: CalibrationOptions) -> dict[str, Any]:
    """Return plain values; an infinite concentration becomes the word."""
    out = asdict(options)
    if math.isinf(options.partition.concentration):
        out["partition"]["concentration"] = "infinity"
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value if math.isfinite(value) else None
