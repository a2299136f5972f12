"""Columns of numbers packed into the page, from which its script looks up single devices."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.scenario import Scenario
from mafl_opt.core.verdict import CheckReport
from mafl_opt.report.page.sessions import WorkedSessions

__all__ = ["Lookup", "pack_devices", "pack_sessions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """Rows sorted by device.

    Attributes
    ----------
    caption : str
    layout : dict
        ``rows``, and for each of ``columns`` ``head``, ``type`` and, for indices, ``names``.
    data : str
        The columns one after the other, little-endian, deflated, in base64.
    """

    caption: str
    layout: dict[str, Any]
    data: str


def pack_devices(report: CheckReport, sessions: NDArray[np.int64]) -> Lookup:
    """Pack energy, budget and number of sessions of every device."""
    count = len(report.device_energy_j)
    return _pack(
        "Energy by device",
        [
            ("device", np.arange(count, dtype="<u4"), None),
            ("energy (J)", np.array(report.device_energy_j, dtype="<f4"), None),
            ("budget (J)", np.array(report.device_budget_j, dtype="<f4"), None),
            ("sessions", sessions.astype("<u4"), None),
        ],
    )


def pack_sessions(scenario: Scenario, worked: WorkedSessions) -> Lookup:
    """Pack every session: who, when, how stale, how hard, and its energy."""
    return _pack(
        "Sessions",
        [
            ("device", worked.device.astype("<u4"), None),
            ("task", worked.task.astype("<u2"), scenario.tasks.name),
            ("receive at", worked.receive.astype("<u4"), None),
            ("used at", worked.upload.astype("<u4"), None),
            ("staleness", worked.staleness.astype("<u4"), None),
            ("energy (J)", worked.energy_j.astype("<f4"), None),
            ("iterations", worked.iterations.astype("<u4"), None),
            ("mini-batch", worked.batch_size.astype("<f4"), None),
            ("CPU (GHz)", (worked.cpu_hz / 1e9).astype("<f4"), None),
        ],
    )


def _pack(
    caption: str, columns: Sequence[tuple[str, NDArray[Any], tuple[str, ...] | None]]
) -> Lookup:
    layout = {
        "rows": int(columns[0][1].size),
        "columns": [
            {"head": head, "type": column.dtype.str[1:], **({"names": names} if names else {})}
            for head, column, names in columns
        ],
    }
    raw = b"".join(column.tobytes() for _, column, _ in columns)
    return Lookup(
        caption=caption,
        layout=layout,
        data=base64.b64encode(zlib.compress(raw, 6)).decode("ascii"),
    )
