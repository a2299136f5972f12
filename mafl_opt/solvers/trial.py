"""One backend on one scenario in a process of its own: ``python -m mafl_opt.solvers.trial``.

The process reads the job, solves, and leaves the plan and what it took in the job's folder.
`compare` starts it; whatever happens here, a crash included, stays here.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from mafl_opt.core.errors import MaflError
from mafl_opt.core.files import parse_json, read_text, write_text
from mafl_opt.core.scenario import Scenario
from mafl_opt.solvers.registry import solve

__all__ = [
    "COST",
    "JOB",
    "PLAN",
    "REFUSED",
    "SCENARIO",
    "end_with_parent",
    "peak_memory",
    "run_trial",
]

#: Files in the folder of a job: what to do, on what, the plan that came of it, what it took.
JOB, SCENARIO, PLAN, COST = "job.json", "scenario.json", "plan.json", "cost.json"

#: Exit code for a refusal in one line, such as an option the backend cannot use.
REFUSED = 2
_LOOK_S = 0.5


def run_trial(folder: Path) -> None:
    """Do the job in a folder.

    Parameters
    ----------
    folder : Path
        Holds the scenario and the job, ``{"backend": name, "options": {name: value}}``.
    """
    job = parse_json(read_text(folder / JOB), JOB)
    scenario = Scenario.load(folder / SCENARIO)
    plan = solve(scenario, job["backend"], **job["options"])
    used = os.times()
    cost = {
        "cpu_seconds": used.user + used.system + used.children_user + used.children_system,
        "peak_memory_bytes": peak_memory(),
    }
    plan.save(folder / PLAN)
    write_text(folder / COST, json.dumps(cost))


def peak_memory(process: int | str = "self") -> int | None:
    """Largest memory a process has had so far, without its children.

    Unlike ``ru_maxrss`` this leaves out the memory of the process it was forked from.

    Returns
    -------
    memory : int or None, bytes
        ``None`` when the process is gone or the system has no ``/proc``.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return None


def end_with_parent(parent: int, folder: Path) -> None:
    """End this process, and all it started, as soon as the one that started it is gone.

    Parameters
    ----------
    parent : int
        Its number, from itself: it may be gone already.
    folder : Path
        Of the job; removed, since nobody else will.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        shutil.rmtree(folder, ignore_errors=True)
        # `compare` puts every trial into a process group of its own.
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    place = Path(sys.argv[1])
    end_with_parent(int(sys.argv[2]), place)
    try:
        run_trial(place)
    except MaflError as error:
        print(error, file=sys.stderr)
        sys.exit(REFUSED)
