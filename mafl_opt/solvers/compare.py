"""Backends side by side: each on the same scenario, in a process of its own, one after the other.

A backend that is refused, raises, dies or does not come to an end is a result like any other.
Every plan is checked here, in the process that did not make it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mafl_opt.core.arguments import (
    did_you_mean,
    require_callable,
    require_known,
    require_number,
)
from mafl_opt.core.check import check
from mafl_opt.core.errors import InputError
from mafl_opt.core.files import parse_json, read_text, write_text
from mafl_opt.core.inputs import require_scenario
from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario
from mafl_opt.solvers.base import Progress
from mafl_opt.solvers.registry import backends as list_backends
from mafl_opt.solvers.trial import COST, JOB, PLAN, REFUSED, SCENARIO, peak_memory
from mafl_opt.solvers.trial_files import TrialFiles
from mafl_opt.solvers.trials import Comparison, Ending, Trial

__all__ = ["Comparison", "Ending", "Trial", "compare_backends"]

#: Seconds a process has beyond the time limit to start, to finish its step and to write the plan.
GRACE_S = 30.0
_POLL_S = 0.02
_MESSAGE_LENGTH = 300


def compare_backends(
    scenario: Scenario,
    backends: Sequence[str] | None = None,
    *,
    time_limit: float | None = 60.0,
    grace: float = GRACE_S,
    progress: Progress | None = None,
    keep: Path | None = None,
    resume: bool = False,
    **options: Any,
) -> Comparison:
    """Run backends on a scenario, each in a process of its own, one after the other.

    Parameters
    ----------
    scenario : Scenario
    backends : sequence of str, optional
        All that are available by default.
    time_limit : float or None, s
        Given to the backends that take one. Each process is ended `grace` seconds later at the
        latest, whether its backend takes one or not; None: never.
    grace : float, s
    progress : callable, optional
        ``progress(message, fraction)``.
    keep : Path, optional
        Folder in which each trial is kept as soon as it ends.
    resume : bool
        Take the trials that are kept there already, if they are of this comparison.
    **options
        Options of `solve`, each given to the backends that can use it.

    Returns
    -------
    Comparison
        One trial a backend, whatever became of it.

    Raises
    ------
    InputError
        For an unknown or repeated backend, an option that none of them can use, or kept trials
        that are damaged.
    """
    require_scenario(scenario)
    if isinstance(backends, str):
        raise InputError("backends", "a list of names", backends, f"{[backends]} is one")
    if backends is not None and not isinstance(backends, Sequence):
        raise InputError("backends", "a list of names", backends)
    if time_limit is not None:
        require_number("time_limit", time_limit)
    require_number("grace", grace)
    require_callable("progress", progress)
    known = {info.name: info for info in list_backends()}
    names = [n for n, i in known.items() if i.available] if backends is None else list(backends)
    for k, name in enumerate(names):
        require_known(f"backends[{k}]", name, known)
        if name in names[:k]:
            raise InputError(f"backends[{k}]", "each backend once", name)
    if not names:
        raise InputError("backends", "at least one backend", names)
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if not any(key in known[name].accepts for name in names):
            near = did_you_mean(key, {option for info in known.values() for option in info.accepts})
            raise InputError(key, "an option one of the backends can use", key, near)
    if time_limit is not None:
        given["time_limit"] = time_limit
    if resume and keep is None:
        raise InputError("resume", "a folder in which trials are kept", keep)
    files = None if keep is None else TrialFiles(folder=keep, scenario=scenario)
    trials: list[Trial] = []
    for k, name in enumerate(names):
        if progress is not None:
            progress(name, k / len(names))
        info = known[name]
        usable = {key: value for key, value in given.items() if key in info.accepts}
        if not info.available:
            trials.append(Trial(backend=name, ending=Ending.MISSING, message=info.missing))
            continue
        end = None if time_limit is None else time_limit + grace
        trial = files.load(name, usable, end) if files is not None and resume else None
        if trial is None:
            trial = _try(scenario, name, usable, end)
            if files is not None:
                files.save(trial, usable, end)
        trials.append(trial)
    return Comparison(scenario_sha256=scenario.sha256, time_limit=time_limit, trials=tuple(trials))


def _try(scenario: Scenario, name: str, options: dict[str, Any], end: float | None) -> Trial:
    with tempfile.TemporaryDirectory(prefix="mafl-opt-") as folder_name:
        folder = Path(folder_name)
        write_text(folder / SCENARIO, scenario.to_json())
        write_text(folder / JOB, json.dumps({"backend": name, "options": options}))
        with open(folder / "output.txt", "w+", encoding="utf-8", errors="replace") as output:
            code, seconds, memory = _run(folder, output, end)
            output.seek(0)
            lines = [line.strip() for line in output.read().splitlines() if line.strip()]
        taken: dict[str, Any] = {"seconds": seconds, "peak_memory_bytes": memory}
        if code == 0 and (folder / COST).exists():
            taken.update(parse_json(read_text(folder / COST), COST))
            try:
                plan = Plan.load(folder / PLAN)
            except InputError as error:
                message = f"its plan cannot be read: {error}"[:_MESSAGE_LENGTH]
                return Trial(backend=name, ending=Ending.FAILED, message=message, **taken)
            report = check(scenario, plan) if plan.objective is not None else None
            return Trial(backend=name, ending=Ending.DONE, plan=plan, report=report, **taken)
    last = lines[-1][:_MESSAGE_LENGTH] if lines else "it said nothing"
    if code is None:
        ending, message = Ending.OVERRAN, f"ended after {seconds:.0f} s"
    elif code < 0:
        ending, message = Ending.CRASHED, f"{_signal_name(-code)}; {last}"
    elif code == REFUSED:
        ending, message = Ending.REFUSED, last
    else:
        ending, message = Ending.FAILED, f"exit code {code}; {last}"
    return Trial(backend=name, ending=ending, message=message, **taken)


def _run(folder: Path, output: Any, end: float | None) -> tuple[int | None, float, int | None]:
    """Run a trial; return its exit code (None: ended by us), seconds and largest memory seen."""
    # The child must import what this process imports, wherever that comes from.
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    began = time.monotonic()
    memory: int | None = None
    # In a session of its own, so that solvers it starts end with it.
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "mafl_opt.solvers.trial", str(folder), str(os.getpid())],
        stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
    )  # fmt: skip
    try:
        while process.poll() is None:
            seen = peak_memory(process.pid)
            memory = seen if memory is None else max(memory, seen or 0)
            if end is not None and time.monotonic() - began >= end:
                return None, time.monotonic() - began, memory
            time.sleep(_POLL_S)
        return process.returncode, time.monotonic() - began, memory
    finally:
        # What the process started may outlive it; mostly, nothing is left to end.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
