"""The plans side by side: one table, and how fast each came to what it reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mafl_opt.core.plan import Plan
from mafl_opt.report.comparison import comparison_digest
from mafl_opt.report.gap_curves import LEAST_GAP, LEAST_S, finite_number, gap_curves
from mafl_opt.report.page.charts import Curve, draw_chart
from mafl_opt.report.page.material import Material
from mafl_opt.report.page.parts import Chart, Row, Table
from mafl_opt.report.page.verdicts import judge_certificate, judge_plan
from mafl_opt.report.table import format_number, format_percent
from mafl_opt.solvers.compare import Comparison

__all__ = [
    "describe_failures",
    "gap_charts",
    "gap_table",
    "plan_table",
    "trace_charts",
    "trace_table",
]

#: What backends add to their traces and how a reader calls it.
_EXTRA = {
    "relaxed": "objective of the relaxation",
    "merit": "merit",
    "kkt": "KKT residual",
    "violation": "largest violation",
}
#: Most trace entries in a table; the others lie between those shown.
_MOST_ENTRIES = 300
#: A quotient of largest and smallest value above which an axis is logarithmic.
_WIDE = 20.0


def plan_table(material: Material) -> Table:
    """Return a row a plan."""
    rows = []
    digests = comparison_digest(material.comparison)["backends"]
    for subject, digest in zip(material.subjects, digests, strict=False):
        plan, report = subject.plan, subject.report
        cells = (
            subject.name,
            judge_plan(subject).word,
            format_number(report.objective, 6),
            format_number(plan.bound, 6),
            judge_certificate(subject).word,
            format_percent(report.gap),
            format_percent(digest["gap_to_best_bound"]),
            format_number(sum(report.device_energy_j)),
            str(len(plan.sessions)),
            str(int((plan.sessions.staleness >= 1).sum())),
            str(plan.termination),
            format_number(plan.seconds, 3),
        )
        rows.append(Row(cells=cells))
    headers = ("plan", "check", "objective", "bound", "certificate", "gap", "gap to best bound",
               "energy (J)", "sessions", "stale", "stopped", "solve (s)")  # fmt: skip
    return Table(caption="Plans", headers=headers, rows=tuple(rows), align="llrrlrrrrrlr")


def describe_failures(material: Material) -> tuple[str, ...]:
    """Return a line for every trial that left no plan."""
    return tuple(
        f"{trial.backend} left no plan. {trial.ending.explanation} {trial.message}".rstrip()
        for trial in material.comparison.trials[len(material.subjects) :]
    )


def gap_charts(comparison: Comparison) -> tuple[Chart, ...]:
    """Return the distance of plans and of bounds from the best over time, as far as known."""
    rows = gap_curves(comparison)
    charts = (
        _gap_chart(rows, comparison, "gap_to_best_bound", "plan above the best bound of all"),
        _gap_chart(rows, comparison, "bound_gap", "own bound below the best plan of all"),
    )
    return tuple(chart for chart in charts if chart is not None)


def _gap_chart(
    rows: Sequence[dict[str, Any]], comparison: Comparison, column: str, title: str
) -> Chart | None:
    curves = []
    for style, trial in enumerate(comparison.trials):
        points = [
            (max(row["seconds"], LEAST_S), max(row[column], LEAST_GAP))
            for row in rows
            if row["backend"] == trial.backend and None not in (row["seconds"], row[column])
        ]
        x, y = zip(*points, strict=True) if points else ((), ())
        curves.append(Curve(name=trial.backend, style=style, x=x, y=y))
    return draw_chart(
        title, "seconds of the solve", curves, log_x=True, log_y=True, percent=True, steps=True
    )


def gap_table(comparison: Comparison) -> Table:
    """Return the rows behind `gap_charts`, the ends of each curve and what lies between."""
    rows = gap_curves(comparison)
    shown = rows[:: max(1, -(-len(rows) // _MOST_ENTRIES))]
    columns = ("seconds", "objective", "bound", "gap_to_best_bound", "bound_gap")
    heads = (*columns[:3], "gap to best bound", "bound below best plan")
    return Table(
        caption="Time to gap",
        headers=("plan", "event", *heads),
        rows=tuple(
            Row(
                cells=(
                    row["backend"],
                    str(row["event"] or ""),
                    *(format_number(row[name], 6) for name in columns[:3]),
                    *(format_percent(row[name]) for name in columns[3:]),
                )
            )
            for row in shown
        ),
        align="ll" + "r" * 5,
    )


def trace_charts(plan: Plan) -> tuple[Chart, ...]:
    """Return objective and bound over the seconds of the solve, and what else was traced."""
    pairs = [("objective", 0), ("bound", 1)]
    curves = [_traced(plan, key, key, style) for key, style in pairs]
    charts = [_trace_chart("objective and bound", curves)]
    charts += [_trace_chart(title, [_traced(plan, key, title, 0)]) for key, title in _EXTRA.items()]
    return tuple(chart for chart in charts if chart is not None)


def _traced(plan: Plan, key: str, name: str, style: int) -> Curve:
    points = [(finite_number(e.get("seconds")), finite_number(e.get(key))) for e in plan.trace]
    known = [(x, y) for x, y in points if x is not None and y is not None]
    # What a plan ends with holds until then; a point alone is in the tables.
    if len(known) > 1 and key in ("objective", "bound"):
        end = getattr(plan, key)
        known.append((max(plan.seconds, known[-1][0]), known[-1][1] if end is None else end))
    x, y = zip(*known, strict=True) if known else ((), ())
    return Curve(name=name, style=style, x=x, y=y)


def _trace_chart(title: str, curves: Sequence[Curve]) -> Chart | None:
    values = [y for curve in curves for y in curve.y]
    if max((len(curve.x) for curve in curves), default=0) < 2:
        return None
    log = min(values) > 0 and max(values) > _WIDE * min(values)
    return draw_chart(title, "seconds of the solve", curves, log_y=log, steps=True)


def trace_table(plan: Plan) -> Table | None:
    """Return the trace of a plan; ``None`` when it has none."""
    if not plan.trace:
        return None
    extra = [key for key in _EXTRA if any(key in entry for entry in plan.trace)]
    keys = ("seconds", "objective", "bound", *extra)
    entries = plan.trace[:: max(1, -(-len(plan.trace) // _MOST_ENTRIES))]
    return Table(
        caption="Trace",
        headers=("event", "seconds", "objective", "bound", *(_EXTRA[key] for key in extra)),
        rows=tuple(
            Row(
                cells=(
                    str(entry.get("event") or ""),
                    *(format_number(finite_number(entry.get(key)), 6) for key in keys),
                )
            )
            for entry in entries
        ),
        align="l" + "r" * len(keys),
    )
