"""Federated runs and stressed plans in words and in digests."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from mafl_opt.report.table import format_number, format_percent, format_table

if TYPE_CHECKING:
    from mafl_opt.validation.history import History
    from mafl_opt.validation.stress import StressReport

__all__ = ["describe_history", "describe_stress", "history_digest"]

#: Rows of the table of rounds.
_SHOWN = 12


def history_digest(history: History) -> dict[str, Any]:
    """Return a history without its records."""
    digest = history.to_dict()
    del digest["records"], digest["lost"]
    digest["lost"] = dict(Counter(session.reason for session in history.lost))
    return digest


def describe_history(history: History) -> str:
    """Return a table of some rounds, then what the run reached."""
    tested = [record for record in history.records if record.accuracy is not None]
    step = max(1, -(-len(tested) // _SHOWN))
    # Counted from the end, so that the last round is shown.
    shown = tested[::-1][::step][::-1]
    rows = [
        [
            str(record.round),
            format_number(record.time_s),
            str(record.sessions),
            str(max(record.staleness)) if record.staleness else "-",
            format_percent(record.accuracy),
            format_number(record.loss),
        ]
        for record in shown
    ]
    headers = ["round", "time s", "uploads", "staleness", "test accuracy", "test loss"]
    table = format_table(headers, rows, align="rrrrrr")
    notes = [f"note: {text}" for text in history.notes]
    what = f"{history.settings['system']} on {history.settings['data']}"
    return "\n".join([table, f"{what}: {format_percent(history.accuracy)}", *notes])


def describe_stress(report: StressReport) -> str:
    """Return how often what broke."""
    low, mean, high = (format_number(value) for value in report.energy_j)
    lost = [f"  {reason:<13}{format_percent(share)}" for reason, share in report.lost.items()]
    worst = max(report.over_budget, default=0.0)
    crowded = max(report.crowded, default=0.0)
    return "\n".join([
        f"{report.draws} draws of {report.sessions} sessions",
        f"sessions that miss their deadline  {format_percent(report.late)}",
        f"draws in which one does            {format_percent(report.any_late)}",
        f"sessions whose work is lost        {format_percent(sum(report.lost.values()))}",
        *lost,
        f"device most often over budget      {format_percent(worst)} of the draws",
        f"aggregation most often crowded     {format_percent(crowded)} of the draws",
        f"energy  {mean} J on average, 5 % below {low} J, 5 % above {high} J",
    ])  # fmt: skip
