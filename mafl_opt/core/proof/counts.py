"""Which sessions are counted, by splits and by prices of a certificate of kind patterns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.core.proof.entries import table, whole
from mafl_opt.core.proof.session_table import SessionTable
from mafl_opt.core.scenario import Scenario

__all__ = ["Counted", "split_batches"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Sized(Protocol):
    """Sessions, one an entry."""

    @property
    def device(self) -> Ints:
        """Device, from 0."""

    @property
    def task(self) -> Ints:
        """Task, from 0."""

    @property
    def receive(self) -> Ints:
        """Instant of reception, from 0."""

    @property
    def upload(self) -> Ints:
        """Aggregation, from 1."""

    @property
    def iterations(self) -> Ints:
        """Number of local iterations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Sessions of a device, task, reception and upload, each unless ``None``, with l and B above.

    Attributes
    ----------
    device, task, receive, upload : int or None
    iterations_above, batch_above : int
        Only sessions with more are counted.
    """

    device: int | None = None
    task: int | None = None
    receive: int | None = None
    upload: int | None = None
    iterations_above: int = 0
    batch_above: int = 0

    @classmethod
    def read(cls, scenario: Scenario, path: str, entry: Any) -> Counted:
        """Read which sessions are counted.

        Raises
        ------
        InputError
            With the path of the entry; also when all sessions would be counted.
        """
        data = table(path, entry, ("device", "task"))
        counted = cls(
            device=_one_of(path, data, "device", 0, scenario.num_devices - 1),
            task=_one_of(path, data, "task", 0, scenario.num_tasks - 1),
            receive=_one_of(path, data, "receive", 0, scenario.num_slots - 1),
            upload=_one_of(path, data, "upload", 1, scenario.num_slots),
            **{
                name: whole(f"{path}.{name}", data.get(name, 0), 0, 2**53)
                for name in ("iterations_above", "batch_above")
            },
        )
        if counted == cls():
            expected = "a device, or a task, receive, upload, iterations_above or batch_above"
            raise InputError(f"{path}.device", expected, None)
        return counted

    def among(self, sessions: Sized, batch: NDArray[Any]) -> Bools:
        """Return which sessions are counted at some mini-batches; (sessions,)."""
        mine: Bools = batch > self.batch_above
        if self.iterations_above:
            mine &= sessions.iterations > self.iterations_above
        for wanted, found in (
            (self.device, sessions.device), (self.task, sessions.task),
            (self.receive, sessions.receive), (self.upload, sessions.upload),
        ):  # fmt: skip
            if wanted is not None:
                mine &= found == wanted
        return mine


def split_batches(rows: SessionTable, counts: Iterable[Counted]) -> SessionTable:
    """Return rows of which each is counted at all its mini-batches or at none, sorted by device.

    What a session costs is convex in B only as long as the counts do not change.
    """
    size = len(rows)
    for counted in counts:
        at = float(counted.batch_above)
        across = counted.among(rows, rows.batch_max) & (rows.batch_min <= at)
        if across.any():
            above = rows.take(across)
            below = rows.cut_batches(rows.batch_min, np.where(across, at, rows.batch_max))
            above = above.cut_batches(np.full(len(above), at + 1.0), above.batch_max)
            rows = SessionTable.joined([below, above])
    return rows if len(rows) == size else rows.take(np.argsort(rows.device, kind="stable"))


def _one_of(path: str, data: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    value = data.get(name)
    return None if value is None else whole(f"{path}.{name}", value, low, high)
