"""``mo.study``: all runs of a study, its table, its picture and its reading."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mafl_opt.core.errors import InputError
from mafl_opt.core.files import make_folder, parse_json, read_text, remove_leftovers, write_text
from mafl_opt.core.locks import claim
from mafl_opt.report.canvas import SUFFIXES, save_figure
from mafl_opt.studies.cell import LAYOUT
from mafl_opt.studies.description import Description, describe
from mafl_opt.studies.engines import ENGINES, Job, run_jobs
from mafl_opt.studies.experiment import Row, get_experiment
from mafl_opt.studies.results import TABLES, Results
from mafl_opt.studies.run_files import RunFile, load_run, run_path

__all__ = ["StudyResult", "StudyState", "study"]

Progress = Callable[[str, "float | None"], None]

#: Says whose folder it is.
_MARK = "study.json"
#: Held while the mark or the outputs are written.
_LOCK = "study.lock"
_READING = "reading.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyState:
    """How far a study is.

    Attributes
    ----------
    runs, reused, computed : int
        Runs in all, found finished, and finished since.
    """

    runs: int
    reused: int
    computed: int

    @property
    def finished(self) -> int:
        """Runs that are there."""
        return self.reused + self.computed


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """A finished study.

    Attributes
    ----------
    name, title, question : str
    folder : Path
        Holds ``results.csv``, ``results.parquet``, ``timings.csv``, the picture as PNG and SVG,
        ``reading.md`` and the runs.
    results : Results
    reading : str
        One paragraph.
    state : StudyState
    notes : tuple of str
        Run files that were damaged and done again.
    cpu_seconds : float
        What all runs took, those found finished included.
    """

    name: str
    title: str
    question: str
    folder: Path
    results: Results
    reading: str
    state: StudyState
    notes: tuple[str, ...]
    cpu_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values without the rows."""
        return {
            "study": self.name,
            "folder": str(self.folder),
            "runs": self.state.runs,
            "reused": self.state.reused,
            "cpu_seconds": self.cpu_seconds,
            "rows": len(self.results),
            "notes": list(self.notes),
            "reading": self.reading,
        }


def study(
    name: str,
    *,
    out: str | os.PathLike[str],
    seeds: int | None = None,
    engine: str = "local",
    workers: int | None = None,
    data: str | os.PathLike[str] | None = None,
    tiny: bool = False,
    progress: Progress | None = None,
    watch: Callable[[StudyState], None] | None = None,
) -> StudyResult:
    """Run a study, or what is left of it, and write its table, picture and reading.

    A run that is finished in the folder is not done again, whoever did it; several processes may
    work on one folder. Whatever ends the process, the same call goes on, and the results are those
    of an undisturbed study.

    Parameters
    ----------
    name : str
        See `mafl_opt.studies.description.studies`.
    out : folder
        Made if missing. A folder belongs to one study.
    seeds : int, optional
        Runs of every point of the grid, seeds 0, 1, ...; the study's own number by default.
    engine : {"local", "processes"}
        ``processes`` starts Python anew for its workers: guard a script that calls it by
        ``if __name__ == "__main__"``.
    workers : int, optional
        Processes of the engine ``processes``.
    data : folder, optional
        Image files, MNIST say, in place of embedded digits (studies of the second paper).
    tiny : bool
        The smallest size, which shows that the study runs and nothing else.
    progress : callable, optional
        Called with a message and the fraction done.
    watch : callable, optional
        Told how far the study is, at the start and at every run that is finished.

    Returns
    -------
    StudyResult

    Raises
    ------
    InputError
        For an unknown study or engine, a folder of another study, or data that a study cannot use.
    """
    description = describe(name, tiny=tiny)
    _check(description, seeds, engine, data)
    folder = make_folder(out)
    make_folder(folder / "runs")
    _mark(folder, description)
    experiment = get_experiment(name)
    source = None if data is None else os.fspath(data)
    jobs: list[Job] = [
        (folder, cell, experiment.world(cell))
        for cell in description.cells(seeds=seeds, data=source)
    ]
    notes: list[str] = []
    todo = [job for job in jobs if not _is_finished(job, notes)]
    state = StudyState(runs=len(jobs), reused=len(jobs) - len(todo), computed=0)
    _tell(state, None, progress, watch)

    def done(job: Job) -> None:
        nonlocal state
        state = StudyState(runs=state.runs, reused=state.reused, computed=state.computed + 1)
        _tell(state, job, progress, watch)

    def wait_for(count: int) -> None:
        if progress is not None:
            progress(f"{count} runs are with another process", state.finished / state.runs)

    run_jobs(todo, engine, workers, done, wait_for)
    runs = [_finished(job) for job in jobs]
    results = Results(rows=tuple(row for job, run in runs for row in _rows(job, run)))
    reading = experiment.read(results)
    figure = experiment.draw(results)
    pictures = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    with claim(folder / _LOCK, wait=True):
        for path in (*(folder / file for file in (*TABLES, _READING)), *pictures):
            remove_leftovers(path)
        results.save(folder)
        for path in pictures:
            save_figure(figure, path)
        write_text(folder / _READING, f"# {description.title}\n\n{reading}\n")
    return StudyResult(
        name=name, title=description.title, question=description.question, folder=folder,
        results=results, reading=reading, state=state, notes=tuple(notes),
        cpu_seconds=math.fsum(run.cpu_seconds for _, run in runs),
    )  # fmt: skip


def _check(
    description: Description,
    seeds: int | None,
    engine: str,
    data: str | os.PathLike[str] | None,
) -> None:
    if seeds is not None and (isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1):
        raise InputError("seeds", "an integer >= 1", seeds)
    if engine not in ENGINES:
        raise InputError("engine", " or ".join(ENGINES), engine)
    if data is not None and not description.takes_data:
        hint = "its tasks train on embedded data"
        raise InputError("data", f"nothing for the study {description.name}", str(data), hint)


def _mark(folder: Path, description: Description) -> None:
    """Say whose folder it is; refuse that of another study."""
    path = folder / _MARK
    mine = {"study": description.name, "layout": LAYOUT}
    with claim(folder / _LOCK, wait=True):
        if not path.exists():
            write_text(path, json.dumps(mine) + "\n")
        found = parse_json(read_text(path, limit=1 << 16), str(path))
    if found != mine:
        name = found.get("study") if isinstance(found, dict) else found
        hint = "take another folder"
        raise InputError(str(folder), f"a folder of the study {description.name}", name, hint)


def _is_finished(job: Job, notes: list[str]) -> bool:
    folder, cell, world = job
    try:
        return load_run(run_path(folder, cell.key(world)), cell, world) is not None
    except InputError as error:
        notes.append(f"a damaged run file was done again: {error}")
        return False


def _finished(job: Job) -> tuple[Job, RunFile]:
    folder, cell, world = job
    path = run_path(folder, cell.key(world))
    run = load_run(path, cell, world)
    if run is None:
        raise InputError(str(path), "a finished run", "none", "somebody removed it; run again")
    return job, run


def _rows(job: Job, run: RunFile) -> list[Row]:
    cell = job[1]
    times = {"run_cpu_seconds": run.cpu_seconds, "run_wall_seconds": run.wall_seconds}
    return [{**cell.axes, "seed": cell.seed, **row, **times} for row in run.rows]


def _tell(
    state: StudyState,
    job: Job | None,
    progress: Progress | None,
    watch: Callable[[StudyState], None] | None,
) -> None:
    if watch is not None:
        watch(state)
    if progress is not None:
        last = "" if job is None else f" ({job[1]})"
        share = state.finished / state.runs
        progress(f"{state.finished} of {state.runs} runs{last}", share)
