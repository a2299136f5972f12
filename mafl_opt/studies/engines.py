"""Who works out the runs of a study: this process, or several."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path

from mafl_opt.core.errors import InputError, MaflError
from mafl_opt.core.locks import claim
from mafl_opt.studies.cell import Cell
from mafl_opt.studies.experiment import get_experiment
from mafl_opt.studies.run_files import RunFile, load_run, run_path, save_run

__all__ = ["ENGINES", "Job", "compute", "run_jobs"]

ENGINES = ("local", "processes")
#: Between two looks at a run that another process works on.
_POLL_S = 0.2

#: Folder of the study, run, digest of its world.
Job = tuple[Path, Cell, str]
Engine = Callable[[Sequence[Job]], Iterator[tuple[Job, bool]]]


def compute(job: Job) -> bool:
    """Work out a run unless it is there; ``False`` if another process is at it.

    A damaged run file is replaced.
    """
    folder, cell, world = job
    path = run_path(folder, cell.key(world))
    with claim(path.with_suffix(".lock")) as is_mine:
        if not is_mine:
            return False
        try:
            done = load_run(path, cell, world) is not None
        except InputError:
            done = False
        if not done:
            cpu, wall = time.process_time(), time.perf_counter()
            rows = get_experiment(cell.study).run(cell)
            run = RunFile(
                rows=tuple(rows),
                cpu_seconds=time.process_time() - cpu,
                wall_seconds=time.perf_counter() - wall,
            )
            save_run(path, cell, world, run)
    return True


def run_jobs(
    jobs: Sequence[Job],
    engine: str,
    workers: int | None,
    done: Callable[[Job], None],
    wait_for: Callable[[int], None],
) -> None:
    """Work out all jobs; those that other processes are at are waited for, or taken over.

    Parameters
    ----------
    jobs : sequence of Job
    engine : {"local", "processes"}
    workers : int, optional
        Processes; as many as there are processors by default.
    done : callable
        Told of every job as it is finished.
    wait_for : callable
        Told how many jobs are left when all of these are in other hands.

    Raises
    ------
    InputError
        For another engine, or a number of workers that cannot be.
    MaflError
        When a worker process dies.
    """
    if engine not in ENGINES:
        raise InputError("engine", " or ".join(ENGINES), engine)
    if workers is not None and (isinstance(workers, bool) or workers < 1):
        raise InputError("workers", "an integer >= 1", workers)
    if workers is not None and engine == "local":
        raise InputError("workers", "the engine processes", engine)
    if engine == "local":
        _until_done(jobs, _in_turn, done, wait_for)
    elif jobs:
        with _Pool(min(workers or _processors(), len(jobs))) as pool:
            _until_done(jobs, lambda left: _spread(pool, left), done, wait_for)


def _until_done(
    jobs: Sequence[Job],
    engine: Engine,
    done: Callable[[Job], None],
    wait_for: Callable[[int], None],
) -> None:
    """Go through the jobs, and again through those that others were at."""
    left = list(jobs)
    while left:
        waiting = []
        for job, is_finished in engine(left):
            if is_finished:
                done(job)
            else:
                waiting.append(job)
        if len(waiting) == len(left):
            wait_for(len(left))
            time.sleep(_POLL_S)
        left = waiting


def _in_turn(jobs: Sequence[Job]) -> Iterator[tuple[Job, bool]]:
    for job in jobs:
        yield job, compute(job)


def _spread(pool: ProcessPoolExecutor, jobs: Sequence[Job]) -> Iterator[tuple[Job, bool]]:
    futures: dict[Future[bool], Job] = {pool.submit(compute, job): job for job in jobs}
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise MaflError(
            "a worker process of the study was ended from outside; finished runs are kept"
        ) from error


class _Pool:
    """A pool of processes that end with this one, at once when it is interrupted."""

    def __init__(self, workers: int) -> None:
        context = get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._pool = ProcessPoolExecutor(
            workers, mp_context=context, initializer=_end_with_parent, initargs=(theirs,)
        )

    def __enter__(self) -> ProcessPoolExecutor:
        return self._pool

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        if kind is not None:
            # The workers end at the end of this pipe; a run is written whole or not at all.
            self._ours.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._ours.close()


def _end_with_parent(pipe: Connection) -> None:
    """Leave Ctrl-C to the parent, and end this process when it has, or says so."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([pipe, parent.sentinel])
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
