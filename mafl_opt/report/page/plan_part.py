"""One plan on the page: verdict, schedule, energies, trace."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.scenario import Scenario
from mafl_opt.report.page.crowd import (
    busy_devices,
    busy_strips,
    busy_table,
    staleness_bars,
    staleness_table,
)
from mafl_opt.report.page.energy import (
    bar_scale,
    budget_shares,
    device_bars,
    device_table,
    share_histogram,
)
from mafl_opt.report.page.lookup import Lookup, pack_devices, pack_sessions
from mafl_opt.report.page.material import Subject
from mafl_opt.report.page.objective import bound_table
from mafl_opt.report.page.overview import trace_charts, trace_table
from mafl_opt.report.page.parts import Chart, StripRow, Table, Verdict
from mafl_opt.report.page.sessions import WorkedSessions, session_table, work_out
from mafl_opt.report.page.timeline import Timeline, draw_timeline
from mafl_opt.report.page.verdicts import judge_certificate, judge_plan

__all__ = ["Crowd", "PlanPart", "Room", "make_part"]

#: Most devices, and most sessions, that are drawn one by one.
MOST_DEVICES = 300
MOST_SESSIONS = 4000
#: Of a larger fleet, the devices that spend the most of their budget, and most of their sessions.
_TOP_DEVICES = 40
_TOP_SESSIONS = 500
#: What a device and a session that are drawn add to the page, row of the table included.
_DEVICE_BYTES = 900
_SESSION_BYTES = 800
#: Violations that are listed.
_MOST_VIOLATIONS = 200


@dataclass(slots=True)
class Room:
    """What plans may still add to the page, in bytes."""

    left: int = 7_500_000

    def take(self, amount: int) -> bool:
        """Take so many bytes, if they are left."""
        if amount > self.left:
            return False
        self.left -= amount
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """What stands for the single devices of a large fleet."""

    busy: tuple[StripRow, ...]
    busy_table: Table
    staleness: tuple[StripRow, ...]
    staleness_table: Table
    shares: tuple[StripRow, ...]
    lookups: tuple[Lookup, ...]
    left_out: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPart:
    """One plan, laid out.

    Attributes
    ----------
    subject : Subject
    style : int
        Of its curves.
    number : int
        From 0, in ids.
    verdicts : tuple of Verdict
        Of the check and of the certificate.
    violations : tuple of str
    more_violations : int
        How many are not listed.
    bounds : Table
    timeline : Timeline
        Of all devices, or of some of a crowd.
    sessions, devices : Table
        Of the same devices.
    energy : tuple of StripRow
    budget_at : float
        Where the budget lies on the bars, percent.
    crowd : Crowd or None
    left_out : int
        Sessions without meaning.
    traces : tuple of Chart
    trace : Table or None
    """

    subject: Subject
    style: int
    number: int
    verdicts: tuple[Verdict, ...]
    violations: tuple[str, ...]
    more_violations: int
    bounds: Table
    timeline: Timeline
    sessions: Table
    devices: Table
    energy: tuple[StripRow, ...]
    budget_at: float
    crowd: Crowd | None
    left_out: int
    traces: tuple[Chart, ...]
    trace: Table | None


def make_part(scenario: Scenario, subject: Subject, number: int, room: Room) -> PlanPart:
    """Lay out the plan `number`, taking what it needs of the page's `room`."""
    report = subject.report
    worked = work_out(scenario, subject.plan.sessions)
    counts = np.bincount(worked.device, minlength=scenario.num_devices)
    small = scenario.num_devices <= MOST_DEVICES and len(worked) <= MOST_SESSIONS
    cost = scenario.num_devices * _DEVICE_BYTES + len(worked) * _SESSION_BYTES
    if small and room.take(cost):
        devices, shown = list(range(scenario.num_devices)), worked
        crowd = None
    else:
        devices = _top_devices(budget_shares(report), counts)
        shown = worked.of_devices(np.array(devices, dtype=np.int64))
        crowd = _make_crowd(scenario, subject, worked, counts, room)
    prefix = f"p{number}"
    return PlanPart(
        subject=subject,
        style=number,
        number=number,
        verdicts=(judge_plan(subject), judge_certificate(subject)),
        violations=tuple(map(str, report.violations[:_MOST_VIOLATIONS])),
        more_violations=max(0, len(report.violations) - _MOST_VIOLATIONS),
        bounds=bound_table(report),
        timeline=draw_timeline(scenario, shown, devices, f"{prefix}s"),
        sessions=session_table(scenario, shown, f"{prefix}s"),
        devices=device_table(report, counts, devices, f"{prefix}d"),
        energy=device_bars(report, devices, f"{prefix}d"),
        budget_at=round(100.0 / bar_scale(budget_shares(report)), 2),
        crowd=crowd,
        left_out=worked.left_out,
        traces=trace_charts(subject.plan),
        trace=trace_table(subject.plan),
    )


def _top_devices(shares: NDArray[np.float64], counts: NDArray[np.int64]) -> list[int]:
    """Return those that spend the largest share of their budget, until they are enough to draw."""
    top = np.argsort(-shares, kind="stable")[:_TOP_DEVICES]
    fits = np.cumsum(counts[top]) <= _TOP_SESSIONS
    fits[0] = True
    return [int(i) for i in top[fits]]


def _make_crowd(
    scenario: Scenario, subject: Subject, worked: WorkedSessions, counts: NDArray[np.int64],
    room: Room,
) -> Crowd:  # fmt: skip
    busy, uploads = busy_devices(scenario, worked)
    offered = (pack_devices(subject.report, counts), pack_sessions(scenario, worked))
    lookups = tuple(lookup for lookup in offered if room.take(len(lookup.data)))
    missing = [lookup.caption for lookup in offered if lookup not in lookups]
    return Crowd(
        busy=busy_strips(scenario, busy, uploads),
        busy_table=busy_table(scenario, busy, uploads),
        staleness=staleness_bars(scenario, worked),
        staleness_table=staleness_table(scenario, worked),
        shares=share_histogram(subject.report),
        lookups=lookups,
        left_out=" and ".join(missing),
    )
