"""Small feasible plans made by hand, for tests of what reads plans."""

from __future__ import annotations

from typing import Any

from mafl_opt.core.check import check
from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.status import PointStatus, Termination

#: Device, task, receive, upload, cpu_hz, batch_size, iterations; feasible in `plain_scenario`.
ROWS = [
    (0, 0, 0, 1, 3.0e8, 2, 2),
    (0, 1, 1, 3, 1.0e8, 1, 1),
    (1, 1, 0, 2, 1.5e8, 2, 2),
    (1, 0, 2, 3, 2.0e8, 2, 1),
]


def rows() -> list[dict[str, Any]]:
    """The sessions of `hand_made_plan` as a file holds them."""
    names = ("device", "task", "receive", "upload", "cpu_hz", "batch_size", "iterations")
    return [dict(zip(names, row, strict=True)) for row in ROWS]


def hand_made_plan(scenario: Scenario, **changes: Any) -> Plan:
    """Four sessions, two of them stale, with the objective the checker derives."""
    plan = Plan(
        sessions=Sessions.from_rows(rows()),
        backend="hand",
        termination=Termination.COMPLETED,
        point=PointStatus.FEASIBLE,
        scenario_sha256=scenario.sha256,
    )
    return plan.replace(objective=check(scenario, plan).objective).replace(**changes)
