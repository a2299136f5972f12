"""Plans as a line, as HTML for notebooks, and as tables and tensors of other packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mafl_opt.core.frames import data_frame
from mafl_opt.core.inputs import require_scenario
from mafl_opt.core.notebook import html_table, short_number
from mafl_opt.core.plan import COLUMNS, Plan, Sessions
from mafl_opt.core.tensors import check_size, session_tensors

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from mafl_opt.core.scenario import Scenario

__all__ = ["plan_frame", "plan_html", "plan_line", "plan_tensors", "sessions_html"]

_UNITS = {"cpu_hz": "Hz", "batch_size": "samples"}
#: Sessions that a notebook shows.
_SHOWN = 10


def plan_line(plan: Plan) -> str:
    """Return what a plan is and claims, in a line."""
    words = [f"{plan.backend}: {len(plan.sessions)} sessions", str(plan.point)]
    if plan.objective is not None:
        words.append(f"objective {short_number(plan.objective)}")
    if plan.bound is not None:
        words.append(f"bound {short_number(plan.bound)}")
    if plan.gap is not None:
        words.append(f"gap {100 * plan.gap:.3g} %")
    return ", ".join([*words, str(plan.termination)])


def plan_html(plan: Plan) -> str:
    """Return the header of a plan as a table, and its first sessions as another."""
    gap = "-" if plan.gap is None else f"{100 * plan.gap:.3g} %"
    rows = (
        ("termination", f"{plan.termination}: {plan.termination.explanation}"),
        ("point", f"{plan.point}: {plan.point.explanation}"),
        ("objective", plan.objective),
        ("bound", "unproven" if plan.bound is None else plan.bound),
        ("gap", gap),
        ("seconds", f"{plan.seconds:.1f}"),
        ("scenario", plan.scenario_sha256[:12] or "-"),
    )
    return html_table(f"Plan by {plan.backend}", (), rows) + "\n" + sessions_html(plan.sessions)


def sessions_html(sessions: Sessions) -> str:
    """Return the first sessions as a table."""
    first = [getattr(sessions, name)[:_SHOWN].tolist() for name in COLUMNS]
    more = len(sessions) - _SHOWN
    notes = [f"... and {more} more"] if more > 0 else []
    return html_table(f"{len(sessions)} sessions", COLUMNS, zip(*first, strict=True), notes)


def plan_frame(plan: Plan) -> pd.DataFrame:
    """Return a row a session; ``attrs`` hold the units and the header without trace and proof."""
    header = plan.header()
    del header["trace"], header["certificate"]
    columns = {name: getattr(plan.sessions, name) for name in COLUMNS}
    columns["staleness"] = plan.sessions.staleness
    return data_frame(columns, _UNITS, **header)


def plan_tensors(plan: Plan, scenario: Scenario | None) -> xr.Dataset:
    """Return the sessions as tensors; see `Plan.to_xarray`."""
    sessions = plan.sessions
    if scenario is not None:
        require_scenario(scenario)
    if scenario is None:
        slots, devices, tasks = (
            int(column.max(initial=low)) + 1 - low
            for column, low in ((sessions.upload, 1), (sessions.device, 0), (sessions.task, 0))
        )
        check_size(slots, devices, tasks)
        names = [str(j) for j in range(tasks)]
        out = session_tensors(sessions, slots=slots, devices=devices, tasks=names)
    else:
        out = session_tensors(
            sessions, slots=scenario.num_slots, devices=scenario.num_devices,
            tasks=scenario.tasks.name,
        )  # fmt: skip
    out.attrs.update(backend=plan.backend, scenario_sha256=plan.scenario_sha256)
    return out
