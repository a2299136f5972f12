"""What a report is made from: folders and files, told apart by what they hold."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mafl_opt.core.errors import InputError
from mafl_opt.core.files import parse_json, read_text
from mafl_opt.core.plan import COLUMNS, Plan
from mafl_opt.core.scenario import Scenario
from mafl_opt.report.page.replays import ReplayCurves, is_replay
from mafl_opt.solvers.trial_files import SUFFIX

__all__ = ["Sources", "read_sources"]

_SCENARIO = "scenario.json"


@dataclass(slots=True, kw_only=True)
class Sources:
    """Everything found, in the order found.

    Attributes
    ----------
    plans : list of (str, Plan)
        With the name each is called by, no two alike.
    replays : list of (ReplayCurves, bool)
        With whether it was named by itself rather than found in a folder.
    trials : list of dict
        Rows of the comparisons.
    scenarios : list of Scenario
    skipped : list of str
        Files of the folders that are neither plan, replay, comparison nor scenario.
    """

    plans: list[tuple[str, Plan]] = field(default_factory=list)
    replays: list[tuple[ReplayCurves, bool]] = field(default_factory=list)
    trials: list[dict[str, Any]] = field(default_factory=list)
    scenarios: list[Scenario] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add_plan(self, name: str, plan: Plan) -> None:
        """Add a plan under a name that no other has."""
        taken = {known for known, _ in self.plans}
        free, count = name, 1
        while free in taken:
            count += 1
            free = f"{name} ({count})"
        self.plans.append((free, plan))

    def scenario(self) -> Scenario:
        """Return the scenario of the plans: one of a folder, or the embedded one.

        Raises
        ------
        InputError
            When neither is the one that the plans name, or folders disagree.
        """
        if len(set(self.scenarios)) > 1:
            found = ", ".join(scenario.sha256[:12] for scenario in self.scenarios)
            raise InputError("sources", "folders of one scenario", found, "make a page of each")
        if self.scenarios:
            return self.scenarios[0]
        embedded = Scenario.default()
        if all(embedded.is_named_by(plan.scenario_sha256) for _, plan in self.plans):
            return embedded
        raise InputError(
            "scenario", "the scenario of the plans", None,
            "no folder has a scenario.json: name the scenario (--scenario FILE)",
        )  # fmt: skip


def read_sources(sources: Sequence[str | os.PathLike[str]], *, scenario: bool) -> Sources:
    """Read folders and files.

    Parameters
    ----------
    sources : sequence of paths
        Folders as `mafl-opt compare` and `mafl-opt demo` write them, plan files, replay files.
    scenario : bool
        Whether to look for the scenario in the folders.

    Raises
    ------
    InputError
        When something cannot be read, a file named by itself is neither plan nor replay, or there
        is no plan at all.
    """
    out = Sources()
    for source in map(Path, sources):
        if not source.is_dir():
            if not _take(source, out, alone=True):
                raise InputError(str(source), "a plan, a replay or a folder", source.name)
            continue
        if scenario and (source / _SCENARIO).exists():
            out.scenarios.append(Scenario.load(source / _SCENARIO))
        for path in _ordered(source, out):
            if not _take(path, out, alone=False):
                out.skipped.append(str(path))
    if not out.plans:
        raise InputError("sources", "at least one plan", ", ".join(map(str, sources)) or None)
    return out


def _ordered(folder: Path, out: Sources) -> Iterator[Path]:
    """Yield the files that may be plans or replays, those of a comparison in its order."""
    table = folder / "comparison.json"
    first: list[str] = []
    if table.exists():
        rows = parse_json(read_text(table), str(table))
        rows = rows.get("backends") if isinstance(rows, dict) else None
        if not isinstance(rows, list) or not all(
            isinstance(row, dict) and isinstance(row.get("backend"), str) for row in rows
        ):
            raise InputError(f"{table}: backends", "a list of rows, each with its backend", rows)
        out.trials += rows
        first = [f"{row['backend']}.json" for row in rows]
    files = (p for p in folder.iterdir() if p.suffix in (".json", ".parquet") and p.is_file())
    known = {name: place for place, name in enumerate(first)}
    for path in sorted(files, key=lambda p: (known.get(p.name, len(known)), p.name)):
        if path.name not in (_SCENARIO, table.name) and not path.name.endswith(SUFFIX):
            yield path


def _take(path: Path, out: Sources, *, alone: bool) -> bool:
    """Take a file in; false when it is neither a plan nor a replay."""
    if path.suffix == ".parquet":
        if not (alone or _has_sessions(path)):
            return False
        out.add_plan(path.stem, Plan.load(path))
        return True
    data = parse_json(read_text(path), str(path))
    if is_replay(data):
        out.replays.append((ReplayCurves.from_dict(data, path.stem), alone))
    elif isinstance(data, dict) and "sessions" in data:
        out.add_plan(path.stem, Plan.from_dict(data))
    else:
        return False
    return True


def _has_sessions(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return sorted(pq.read_schema(path).names) == sorted(COLUMNS)
    except (OSError, pa.ArrowException) as error:
        raise InputError(str(path), "a Parquet file", str(error)) from error
