"""Scenarios, plans, replays and backends in words for a person and in digests for a machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mafl_opt.core.check import CheckReport
from mafl_opt.core.fields import FIELDS, GROUPS, Field, StalenessWeight
from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.status import Termination
from mafl_opt.formulations.radio import uplink_rate
from mafl_opt.report.table import format_number, format_percent, format_table

if TYPE_CHECKING:
    from mafl_opt.solvers.registry import BackendInfo
    from mafl_opt.validation.replay import Replay

__all__ = [
    "backend_digest",
    "describe_backends",
    "describe_plan",
    "describe_replay",
    "describe_scenario",
    "plan_digest",
    "replay_digest",
]


def describe_scenario(scenario: Scenario) -> str:
    """Return the sizes, the tasks field by field, and the range of every other field."""
    horizon = float(scenario.time.slot_s.sum())
    head = (
        f"{scenario.num_devices} devices, {scenario.num_tasks} tasks, {scenario.num_slots} slots "
        f"over {format_number(horizon)} s\nsha256 {scenario.sha256}"
    )
    return "\n\n".join([head, _task_table(scenario), _range_table(scenario)])


def _task_table(scenario: Scenario) -> str:
    rows = [
        [path, *(_cell(value) for value in _value(scenario, path)), _units(FIELDS[path])]
        for path in GROUPS["tasks"]
        if path != "tasks.name"
    ]
    names = scenario.tasks.name
    return format_table(["field", *names, "meaning"], rows, align="l" + "r" * len(names) + "l")


def _range_table(scenario: Scenario) -> str:
    rows = []
    for path, field in FIELDS.items():
        if field.group != "tasks":
            rows.append([path, *_range(_value(scenario, path)), _units(field)])
    rate = ["(uplink rate)", *_range(uplink_rate(scenario)), "by gain, power and width, bit/s"]
    at = 1 + [row[0] for row in rows].index("network.gain")
    return format_table(
        ["field", "lowest", "median", "highest", "meaning"],
        [*rows[:at], rate, *rows[at:]],
        align="lrrrl",
    )


def _value(scenario: Scenario, path: str) -> Any:
    field = FIELDS[path]
    return getattr(getattr(scenario, field.group) if field.group else scenario, field.name)


def _range(values: Any) -> list[str]:
    array = np.asarray(values, dtype=float)
    return [format_number(float(f(array))) for f in (np.min, np.median, np.max)]


def _cell(value: Any) -> str:
    if isinstance(value, StalenessWeight):
        entries = value.to_dict()
        return " ".join([entries.pop("kind"), *(f"{k}={v:g}" for k, v in entries.items())])
    return format_number(float(value))


def _units(field: Field) -> str:
    return f"{field.meaning}, {field.unit}" if field.unit else field.meaning


def plan_digest(plan: Plan, report: CheckReport) -> dict[str, Any]:
    """Return the header of a plan without trace and certificate, with what the check adds."""
    header = plan.header()
    del header["trace"], header["certificate"]
    return {
        **header,
        "sessions": len(plan.sessions),
        "stale_sessions": int((plan.sessions.staleness >= 1).sum()),
        "energy_j": _finite(math.fsum(report.device_energy_j)),
        "check_ok": report.ok,
    }


def _stalled_by(plan: Plan) -> str:
    """Say what gave up, where the trace ends with it."""
    last = str(plan.trace[-1].get("event", "")) if plan.trace else ""
    return f" It was {last}." if plan.termination is Termination.STALLED and last else ""


def describe_plan(plan: Plan, report: CheckReport) -> str:
    """Return what the backend claims, what it means, and whether the check agrees."""
    digest = plan_digest(plan, report)
    bound = "unproven" if plan.bound is None else format_number(plan.bound, 6)
    lines = [
        f"{plan.backend}: {plan.termination}. {plan.termination.explanation}{_stalled_by(plan)}",
        f"point     {plan.point}. {plan.point.explanation}",
        f"objective {format_number(plan.objective, 6)}",
        f"bound     {bound}",
        f"gap       {format_percent(plan.gap)}",
        f"energy    {format_number(digest['energy_j'])} J",
        f"sessions  {digest['sessions']}, {digest['stale_sessions']} of them stale",
        f"seconds   {plan.seconds:.1f}",
        f"check     {'passed' if report.ok else 'FAILED'}",
    ]
    lines += [f"  {violation}" for violation in report.violations[:_SHOWN]]
    if len(report.violations) > _SHOWN:
        lines.append(f"  and {len(report.violations) - _SHOWN} more; see mafl-opt check")
    return "\n".join(lines)


def describe_proof(report: CheckReport) -> str:
    """Return what became of the bound in the header of a plan."""
    derived = report.certified_bound
    if report.bound is None:
        return "proof     none: the plan claims no bound"
    if derived is None:
        return "proof     none: the plan carries no certificate that can be read"
    if report.is_proved:
        return f"proof     proved: no feasible plan lies below {report.bound:.8g}"
    return f"proof     lower than claimed: {derived:.8g} is proved, {report.bound:.8g} claimed"


#: Violations that a summary prints; `mafl-opt check` prints more.
_SHOWN = 5


def replay_digest(replay: Replay) -> dict[str, Any]:
    """Return the final accuracy and loss of every task and the energy spent."""
    return {
        "accuracy": {name: _finite(value) for name, value in replay.accuracy.items()},
        "loss": {name: _finite(value) for name, value in replay.loss.items()},
        "energy_j": _finite(replay.energy_j),
    }


def describe_replay(replay: Replay) -> str:
    """Return a table of final accuracy and loss, then the energy spent."""
    rows = [
        [name, format_percent(accuracy), format_number(replay.loss[name])]
        for name, accuracy in replay.accuracy.items()
    ]
    table = format_table(["task", "test accuracy", "test loss"], rows, align="lrr")
    notes = [f"note: {text}" for text in replay.notes]
    return "\n".join([table, f"energy {format_number(replay.energy_j)} J", *notes])


def backend_digest(info: BackendInfo) -> dict[str, Any]:
    """Return what `mafl-opt backends --json` says of a backend."""
    return {
        "name": info.name,
        "summary": info.summary,
        "proves_bound": info.proves_bound,
        "accepts": sorted(info.accepts),
        "available": info.available,
        "missing": info.missing,
    }


def describe_backends(found: Sequence[BackendInfo]) -> str:
    """Return a table of backends."""
    rows = [
        [
            info.name,
            "yes" if info.proves_bound else "no",
            " ".join(f"--{name.replace('_', '-')}" for name in sorted(info.accepts)) or "-",
            info.summary if info.available else f"{info.summary} (missing: {info.missing})",
        ]
        for info in found
    ]
    return format_table(["backend", "proves a bound", "flags", "what it does"], rows, align="llll")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
