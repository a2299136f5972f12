"""What a replay leaves behind: a record an aggregation and task, one a session, and the totals."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mafl_opt.core.errors import InputError
from mafl_opt.core.files import write_text

__all__ = ["AggregationRecord", "Replay", "ReplayOptions", "SessionRecord"]

_CHOICES = {
    "aggregation": ("delta", "mixing"),
    "model": ("auto", "logistic"),
    "device": ("cpu", "cuda"),
    "dtype": ("float32", "float64"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """How a plan is replayed.

    Attributes
    ----------
    aggregation : {"delta", "mixing"}
        Aggregation rule of the model page, section 4. ``mixing`` needs server rates of at most 1.
    dirichlet : float
        Label skew of the partition: small gives a device few classes, infinity none.
    evaluate_every : int
        Test the models at every so-manieth aggregation; the first and the last are always tested.
    model : {"auto", "logistic"}
        ``auto`` takes a network by the kind of data.
    device : {"cpu", "cuda"}
        Where tensors live; only the CPU promises equal bits for equal seeds.
    dtype : {"float32", "float64"}
    """

    aggregation: str = "delta"
    dirichlet: float = 0.5
    evaluate_every: int = 1
    model: str = "auto"
    device: str = "cpu"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"options.{name}", " or ".join(choices), getattr(self, name))
        if not self.dirichlet > 0:
            raise InputError("options.dirichlet", "a number > 0 or infinity", self.dirichlet)
        if self.evaluate_every < 1:
            raise InputError("options.evaluate_every", "an integer >= 1", self.evaluate_every)


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregationRecord:
    """One task at one aggregation instant, after it.

    Attributes
    ----------
    slot : int
        Aggregation g; 0 is the start.
    task : str
    time_s : float
        t_g.
    loss, accuracy : float or None
        On the test part; ``None`` where it was not evaluated.
    energy_j : float
        Energy of the task's sessions that ended by now.
    uploads : int
        Sessions that ended here.
    mean_staleness, max_staleness : float, int or None
        Over these uploads; ``None`` without one.
    progress : float
        Sum of a_s = c_s C1(l) / 2 over the task's sessions that ended by now.
    """

    slot: int
    task: str
    time_s: float
    loss: float | None
    accuracy: float | None
    energy_j: float
    uploads: int
    mean_staleness: float | None
    max_staleness: int | None
    progress: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """One session of the plan: what it took (model page, section 3).

    `slack_s` is what is left of t_u - t_r; negative when the session misses its deadline. `weight`
    is the factor on its model (mixing) or on its difference of models (delta).
    """

    device: int
    task: str
    receive: int
    upload: int
    download_s: float
    compute_s: float
    upload_s: float
    slack_s: float
    energy_j: float
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A plan executed in virtual time on real data.

    Attributes
    ----------
    records : tuple of AggregationRecord
        By slot, then task; slot 0 is the start.
    sessions : tuple of SessionRecord
        By upload, then device.
    accuracy, loss : dict
        Task name to the value on the test part after the last aggregation.
    energy_j : float
        Energy of all sessions.
    seed : int
    options : ReplayOptions
    parameters : dict
        Task name to the number of parameters of the model that was trained.
    notes : tuple of str
        What a reader should know before believing the numbers.
    scenario_sha256, plan_sha256 : str
        Digests of the resolved scenario and of the plan's sessions, in any order.
    versions : dict
    """

    records: tuple[AggregationRecord, ...]
    sessions: tuple[SessionRecord, ...]
    accuracy: Mapping[str, float]
    loss: Mapping[str, float]
    energy_j: float
    seed: int
    options: ReplayOptions
    parameters: Mapping[str, int]
    notes: tuple[str, ...]
    scenario_sha256: str
    plan_sha256: str
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; a number that is not finite (a diverged loss) becomes ``None``."""
        out: dict[str, Any] = _plain(asdict(self))
        if math.isinf(self.options.dirichlet):
            out["options"]["dirichlet"] = "infinity"
        return out

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the replay as JSON, whole or not at all."""
        target = Path(path)
        if target.suffix != ".json":
            raise InputError(str(target), "a name ending in .json", target.suffix)
        write_text(target, json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
