"""What a replay leaves behind: a record an aggregation and task, one a session, and the totals."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from mafl_opt.core.arguments import require_known
from mafl_opt.core.errors import InputError
from mafl_opt.core.files import write_text
from mafl_opt.core.frames import data_frame
from mafl_opt.core.notebook import html_table, short_number
from mafl_opt.validation.holdings import DriftScheme
from mafl_opt.validation.models import MODELS
from mafl_opt.validation.partition import PartitionScheme

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "AggregationRecord",
    "LostSession",
    "Replay",
    "ReplayOptions",
    "SessionRecord",
    "Strain",
    "plain_values",
    "units_of",
]

_CHOICES = {
    "aggregation": ("delta", "mixing"),
    "model": MODELS,
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
    model : {"auto", "logistic", "mlp", "cnn", "lenet5", "resnet"}
        ``auto`` takes a network by the kind of data.
    device : {"cpu", "cuda"}
        Where tensors live; only the CPU promises equal bits for equal seeds.
    dtype : {"float32", "float64"}
    partition : PartitionScheme, optional
        Label skew other than the Dirichlet draw of `dirichlet`.
    drift : DriftScheme
        How the devices' data changes over the slots.
    warm_steps : dict
        Task name to SGD steps on its whole training part before the plan begins: a warm start.
        Other tasks start cold.
    batched : bool
        Train sessions together where that is faster; the same up to rounding.
    """

    aggregation: str = "delta"
    dirichlet: float = 0.5
    evaluate_every: int = 1
    model: str = "auto"
    device: str = "cpu"
    dtype: str = "float32"
    partition: PartitionScheme | None = None
    drift: DriftScheme = field(default_factory=DriftScheme)
    warm_steps: Mapping[str, int] = field(default_factory=dict)
    batched: bool = True

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"options.{name}", " or ".join(choices), getattr(self, name))
        if not self.dirichlet > 0:
            raise InputError("options.dirichlet", "a number > 0 or infinity", self.dirichlet)
        if self.evaluate_every < 1:
            raise InputError("options.evaluate_every", "an integer >= 1", self.evaluate_every)
        for name, steps in self.warm_steps.items():
            if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
                raise InputError(f"options.warm_steps[{name}]", "an integer >= 1", steps)

    @property
    def scheme(self) -> PartitionScheme:
        """How the data is spread over the devices."""
        return self.partition or PartitionScheme(concentration=self.dirichlet)


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
class LostSession:
    """A session whose work was not used.

    Attributes
    ----------
    client, task : int
    version : int
        Aggregations that the received model had behind it (plans: the instant of reception).
    time_s : float
        When the server gave it up, virtual s.
    reason : str
        ``raised``, ``late``, ``not finite``, ``stale`` or ``busy``.
    detail : str
    """

    client: int
    task: int
    version: int
    time_s: float
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strain:
    """What broke in a replay.

    Attributes
    ----------
    sessions : int
        Of the plan.
    late : int
        Sessions that missed their deadline, whether their work was used or not.
    lost : dict
        Reason to the number of sessions whose work was not used.
    over_budget : tuple of int
        Devices that spent more than their energy budget.
    crowded : tuple of int
        Aggregations with more uploads than sub-channels.
    """

    sessions: int
    late: int
    lost: Mapping[str, int]
    over_budget: tuple[int, ...]
    crowded: tuple[int, ...]


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
    lost : tuple of LostSession
        Sessions whose work was not used.
    strain : Strain
        Deadlines, budgets and uplinks that broke.
    models : dict
        Task name to the parameters at the end; not part of `to_dict`.
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
    lost: tuple[LostSession, ...] = ()
    strain: Strain | None = None
    models: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; a number that is not finite (a diverged loss) becomes ``None``."""
        out: dict[str, Any] = plain_values(asdict(replace(self, models={})))
        del out["models"]
        if math.isinf(self.options.dirichlet):
            out["options"]["dirichlet"] = "infinity"
        return out

    def __repr__(self) -> str:
        reached = ", ".join(f"{name} {100 * a:.2f} %" for name, a in self.accuracy.items())
        lost = f", {len(self.lost)} lost" if self.lost else ""
        return (
            f"Replay({reached}; {len(self.sessions)} sessions{lost}, "
            f"{short_number(self.energy_j)} J, seed {self.seed})"
        )

    def _repr_html_(self) -> str:
        heads = ("task", "test accuracy", "test loss", "parameters")
        rows = [
            (name, accuracy, self.loss[name], self.parameters[name])
            for name, accuracy in self.accuracy.items()
        ]
        return html_table(repr(self), heads, rows, [f"note: {text}" for text in self.notes])

    def to_pandas(self, table: str = "records") -> pd.DataFrame:
        """Return the records as a table, with units in ``attrs``.

        Parameters
        ----------
        table : {"records", "sessions", "lost"}
            A row a task and aggregation, a session, or a session whose work was not used.
        """
        kinds = {"records": AggregationRecord, "sessions": SessionRecord, "lost": LostSession}
        require_known("table", table, kinds)
        names = [entry.name for entry in fields(kinds[table])]
        columns = {name: [getattr(row, name) for row in getattr(self, table)] for name in names}
        return data_frame(columns, units_of(names), seed=self.seed)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the replay as JSON, whole or not at all."""
        target = Path(path)
        if target.suffix != ".json":
            raise InputError(str(target), "a name ending in .json", target.suffix)
        write_text(target, json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")


def units_of(names: Iterable[str]) -> dict[str, str]:
    """Return the units that names of columns carry, ``time_s`` in s and ``energy_j`` in J."""
    units = {"s": "s", "j": "J"}
    ends = {name: name.rpartition("_")[2] for name in names if "_" in name}
    return {name: units[end] for name, end in ends.items() if end in units}


def plain_values(value: Any) -> Any:
    """Return nested values as JSON takes them; numbers that are not finite become ``None``."""
    if isinstance(value, dict):
        return {key: plain_values(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_values(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
