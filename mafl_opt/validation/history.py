"""What a federated run leaves behind: a record a round, the sessions that were lost, totals."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.core.files import write_text
from mafl_opt.core.frames import data_frame
from mafl_opt.core.notebook import html_table, short_number
from mafl_opt.validation.record import LostSession, plain_values, units_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["History", "RoundRecord"]

#: Rounds that a notebook shows.
_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """The model after an aggregation; round 0 is the start.

    Attributes
    ----------
    round : int
    time_s : float
        Virtual s.
    loss, accuracy : float or None
        On the test part; ``None`` where it was not evaluated.
    clients : tuple of int
        Whose uploads were merged, in the order of merging.
    staleness : tuple of int
        Of these uploads.
    sessions : int
        Uploads merged by now.
    """

    round: int
    time_s: float
    loss: float | None
    accuracy: float | None
    clients: tuple[int, ...]
    staleness: tuple[int, ...]
    sessions: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class History:
    """A federated run.

    Attributes
    ----------
    records : tuple of RoundRecord
    lost : tuple of LostSession
    accuracy, loss : float
        On the test part at the end.
    rounds, sessions : int
        Aggregations, and uploads they used.
    time_s : float
        Virtual time of the last aggregation, s.
    seed : int
    settings : dict
        System, data, model and options, as plain values.
    notes : tuple of str
    versions : dict
    parameters : (parameters,)
        The model at the end; not part of `to_dict`.
    """

    records: tuple[RoundRecord, ...]
    lost: tuple[LostSession, ...]
    accuracy: float
    loss: float
    rounds: int
    sessions: int
    time_s: float
    seed: int
    settings: Mapping[str, Any]
    notes: tuple[str, ...]
    versions: Mapping[str, str]
    parameters: NDArray[Any] = field(repr=False)

    def __repr__(self) -> str:
        lost = f", {len(self.lost)} lost" if self.lost else ""
        name = self.settings.get("system", "no system named")
        return (
            f"History({name}: accuracy {100 * self.accuracy:.2f} %, loss "
            f"{short_number(self.loss)}; {self.rounds} rounds, {self.sessions} sessions{lost}, "
            f"{short_number(self.time_s)} s, seed {self.seed})"
        )

    def _repr_html_(self) -> str:
        shown = [r for r in self.records if r.accuracy is not None]
        # First, last, and some in between.
        places = np.unique(np.linspace(0, len(shown) - 1, min(len(shown), _SHOWN)).astype(int))
        rows = [
            (shown[k].round, shown[k].time_s, shown[k].accuracy, shown[k].loss, shown[k].sessions)
            for k in places
        ]
        heads = ("round", "time, s", "test accuracy", "test loss", "uploads")
        return html_table(repr(self), heads, rows, [f"note: {text}" for text in self.notes])

    def to_pandas(self) -> pd.DataFrame:
        """Return a row a round, with units in ``attrs``; clients and staleness are tuples."""
        names = [entry.name for entry in fields(RoundRecord)]
        columns = {name: [getattr(row, name) for row in self.records] for name in names}
        return data_frame(columns, units_of(names), seed=self.seed)

    def rounds_to(self, accuracy: float) -> int | None:
        """First evaluated round with at least this test accuracy; ``None`` if there is none."""
        for record in self.records:
            if record.accuracy is not None and record.accuracy >= accuracy:
                return record.round
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values without the parameters; what is not finite becomes ``None``."""
        out = {name: getattr(self, name) for name in self.__slots__ if name != "parameters"}
        out["records"] = [asdict(record) for record in self.records]
        out["lost"] = [asdict(session) for session in self.lost]
        plain: dict[str, Any] = plain_values(out)
        return plain

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the history as JSON, whole or not at all."""
        target = Path(path)
        if target.suffix != ".json":
            raise InputError(str(target), "a name ending in .json", target.suffix)
        write_text(target, json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")

    def same_course(self, other: History) -> bool:
        """Whether another run has the same records, losses and, bit for bit, the same model."""
        same = self.records == other.records and self.lost == other.lost
        return same and np.array_equal(self.parameters, other.parameters)
