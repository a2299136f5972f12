"""Comparisons of backends: the table, the files, and the one call that makes them all."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mafl_opt.core.arguments import require_path
from mafl_opt.core.check import CLAIM_TOLERANCE
from mafl_opt.core.files import make_folder, remove_leftovers, write_text
from mafl_opt.core.inputs import require_scenario
from mafl_opt.core.locks import sole_use
from mafl_opt.core.scenario import Scenario
from mafl_opt.report.gap_curves import draw_gap_curves, gap_curves
from mafl_opt.report.table import format_number, format_percent, format_table
from mafl_opt.solvers.base import Progress
from mafl_opt.solvers.compare import compare_backends
from mafl_opt.solvers.trials import Comparison, Ending, Trial

__all__ = ["compare", "comparison_digest", "describe_comparison", "save_comparison"]

_MIB = 1024.0**2
_CURVES = "time_to_gap.png"


def compare(
    scenario: Scenario,
    backends: Sequence[str] | None = None,
    *,
    time_limit: float | None = 60.0,
    out: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    **options: Any,
) -> Comparison:
    """Run backends on a scenario, each in a process of its own, and write what came of it.

    Parameters
    ----------
    scenario : Scenario
    backends : sequence of str, optional
        All that are available by default.
    time_limit : float or None, s
        For each backend; see `mafl_opt.solvers.compare.compare_backends`.
    out : path, optional
        Folder for ``scenario.json`` and the files of `save_comparison`; made if missing.
    progress : callable, optional
    resume : bool
        Run only the backends that an earlier, cut-short run of the same comparison has left no
        trial of in `out`.
    **options
        Options of `solve`, each given to the backends that can use it.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        For an unknown backend or option, or a folder that cannot be written or is in use.
    """
    require_scenario(scenario)
    if out is not None:
        require_path("out", out)
    folder = None if out is None else make_folder(out)
    with sole_use(folder):
        result = compare_backends(
            scenario, backends, time_limit=time_limit, progress=progress, keep=folder,
            resume=resume, **options,
        )  # fmt: skip
        if folder is not None:
            write_text(folder / "scenario.json", scenario.to_json())
            save_comparison(result, folder)
    return result


def save_comparison(comparison: Comparison, folder: Path) -> None:
    """Write the files of a comparison into a folder.

    ``comparison.json`` and ``comparison.csv`` hold a row a backend, ``curves.csv`` a row a trace
    entry, ``time_to_gap.png`` the curves, and ``BACKEND.json`` the plan of each backend that has
    one. What a killed process left half-written of them is removed; for whoever alone writes there.
    """
    plans = {f"{t.backend}.json": t.plan for t in comparison.trials if t.plan is not None}
    for name in ("comparison.json", "comparison.csv", "curves.csv", _CURVES, *plans):
        remove_leftovers(folder / name)
    digest = comparison_digest(comparison)
    write_text(folder / "comparison.json", json.dumps(digest, indent=1, allow_nan=False) + "\n")
    write_text(folder / "comparison.csv", _csv(digest["backends"]))
    write_text(folder / "curves.csv", _csv(gap_curves(comparison)))
    for name, plan in plans.items():
        plan.save(folder / name)
    draw_gap_curves(comparison, folder / _CURVES)


def comparison_digest(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as plain values; what is missing or not finite is ``None``."""
    return {
        "scenario_sha256": comparison.scenario_sha256,
        "time_limit": comparison.time_limit,
        "best_objective": comparison.best_objective,
        "best_bound": comparison.best_bound,
        "backends": comparison.rows(),
    }


def describe_comparison(comparison: Comparison) -> str:
    """Return a table of backends, then what its marks mean and what went wrong."""
    rows = []
    for trial, row in zip(comparison.trials, comparison.rows(), strict=True):
        memory = trial.peak_memory_bytes
        mark = "" if row["bound"] is None or _derived(trial) else "*"
        rows.append([
            trial.backend,
            format_number(row["objective"], 6),
            format_number(row["bound"], 6) + mark,
            format_percent(row["own_gap"]) + mark,
            format_percent(row["gap_to_best_bound"]),
            _seconds(row["solve_seconds"]),
            _seconds(trial.seconds),
            _seconds(trial.cpu_seconds),
            "-" if memory is None else f"{memory / _MIB:.0f}",
            "-" if row["iterations"] is None else str(row["iterations"]),
            row["termination"] or trial.ending.upper(),
            {True: "ok", False: "FAILED", None: "-"}[row["check_ok"]],
        ])  # fmt: skip
    headers = ["backend", "objective", "bound", "own gap", "gap to best bound", "solve s",
               "process s", "CPU s", "MiB", "iterations", "stopped", "check"]  # fmt: skip
    lines = [format_table(headers, rows, align="l" + "r" * 9 + "ll"), ""]
    lines.append(
        f"best objective {format_number(comparison.best_objective, 6)}, "
        f"best bound {format_number(comparison.best_bound, 6)}"
    )
    if any("*" in row[2] for row in rows):
        lines.append(
            "* claimed by the backend; counts as a best bound only as far as it was derived again"
        )
    for trial in comparison.trials:
        if trial.ending is not Ending.DONE:
            lines.append(f"{trial.backend}: {trial.ending.explanation} {trial.message}")
        elif trial.report is not None and not trial.report.ok:
            lines.append(f"{trial.backend}: {trial.report.violations[0]}")
    return "\n".join(lines)


def _derived(trial: Trial) -> bool:
    """Whether the whole of a claimed bound was derived again, but for what a check lets pass."""
    claimed, derived = trial.claimed_bound, trial.certified_bound
    if claimed is None or derived is None:
        return False
    return claimed - derived <= CLAIM_TOLERANCE * abs(claimed)


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as CSV with a header line; ``None`` becomes an empty cell."""
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
