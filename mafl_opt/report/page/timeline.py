"""The schedule as rows of bars, a row a device, for fleets small enough to look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mafl_opt.core.scenario import Scenario
from mafl_opt.report.page.sessions import WorkedSessions
from mafl_opt.report.table import format_number

__all__ = ["Bar", "DeviceRow", "Timeline", "draw_timeline"]

#: Width that the bars of a schedule always have, px: narrower screens scroll (page.css).
_MIN_WIDTH = 560
#: A digit of the texts in the bars, px.
_DIGIT = 6.2
#: Most instants with a line and a number.
_MOST_LINES = 24
#: Up to so many devices bars are tall enough for text.
_MOST_TALL = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A session; places and widths in percent of the horizon.

    `x` and `width` of the whole; `receive` is the width of the strip at its start, `compute` and
    `busy` where computing begins and how wide it is, `send` the width of the strip at its end.
    """

    id: str
    task: int
    stale: bool
    x: float
    width: float
    receive: float
    compute: float
    busy: float
    send: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRow:
    """A device: its sessions, and (place, width) of the times out of reach."""

    device: int
    bars: tuple[Bar, ...]
    gaps: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Rows of devices under instants; `ticks` are (place, number of the instant, s)."""

    rows: tuple[DeviceRow, ...]
    ticks: tuple[tuple[float, str, str], ...]
    row_height: int


def draw_timeline(
    scenario: Scenario, worked: WorkedSessions, devices: list[int], prefix: str
) -> Timeline:
    """Lay the sessions of `devices` out over the horizon.

    Parameters
    ----------
    scenario : Scenario
    worked : WorkedSessions
        Of these devices alone, as `session_table` numbers them.
    devices : list of int
        From top to bottom.
    prefix : str
        As given to `session_table`.
    """
    instants = scenario.time.instants_s
    percent = 100.0 / float(instants[-1])
    tall = len(devices) <= _MOST_TALL
    bars: dict[int, list[Bar]] = {device: [] for device in devices}
    start, end = instants[worked.receive] * percent, instants[worked.upload] * percent
    # A session that misses its deadline must not run into the next one.
    width = end - start
    receive = np.minimum(worked.receive_s * percent, width)
    busy = np.minimum(worked.compute_s * percent, width - receive)
    send = np.minimum(worked.send_s * percent, width)
    for k, device in enumerate(worked.device.tolist()):
        text = f"{worked.iterations[k]:g}\N{MULTIPLICATION SIGN}{worked.batch_size[k]:g}"
        if worked.staleness[k]:
            text += f" τ{worked.staleness[k]}"
        room = _MIN_WIDTH * float(width[k]) / 100.0
        bars[device].append(
            Bar(
                id=f"{prefix}{k}",
                task=int(worked.task[k]),
                stale=bool(worked.staleness[k] > 0),
                text=text if tall and room > _DIGIT * len(text) + 6 else "",
                x=_short(start[k]),
                width=_short(width[k]),
                receive=_short(receive[k]),
                compute=_short(start[k] + receive[k]),
                busy=_short(busy[k]),
                send=_short(send[k]),
            )
        )
    step = max(1, -(-instants.size // _MOST_LINES))
    ticks = tuple(
        (_short(instants[g] * percent), str(g), format_number(float(instants[g]), 3))
        for g in range(0, instants.size, step)
    )
    return Timeline(
        rows=tuple(
            DeviceRow(device=i, bars=tuple(bars[i]), gaps=_gaps(scenario, i, percent))
            for i in devices
        ),
        ticks=ticks,
        row_height=22 if tall else 12,
    )


def _gaps(scenario: Scenario, device: int, percent: float) -> tuple[tuple[float, float], ...]:
    """Return the runs of slots in which a device is out of reach."""
    instants = scenario.time.instants_s
    away = np.concatenate([[False], ~scenario.network.available[:, device], [False]]).astype(int)
    turns = np.flatnonzero(np.diff(away))
    return tuple(
        (_short(instants[a] * percent), _short((instants[b] - instants[a]) * percent))
        for a, b in zip(turns[::2], turns[1::2], strict=True)
    )


def _short(value: float) -> float:
    return round(float(value), 2)
