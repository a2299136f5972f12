"""Making and keeping the runs of `regimes.py`: a file a run, none made twice."""

import hashlib
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from regime_fleets import draw_fleet

import mafl_opt as mo
from mafl_opt.core.files import make_folder, parse_json, read_text, write_text
from mafl_opt.report.gap_curves import finite_number
from mafl_opt.solvers.compare import compare_backends

__all__ = ["Runs", "measure"]

#: Backends that run compiled code. Compiling it, once on a machine, is not what is measured: one of
#: them, which uses all of it, solves a fleet of each size before, to a wide gap in ample time.
COMPILED, COMPILES = ("prices", "conic", "sca", "minlp"), "prices"
COMPILING_S, WIDE_GAP = 180.0, 0.05
#: Parts of the package that decide what a run gives.
_PARTS = ("core", "formulations", "solvers")
#: What is no matter of luck; other runs are made again.
_FINISHED = ("done", "refused", "overran")


class Runs:
    """The runs that were asked for: those that are kept, and the making of the others.

    Parameters
    ----------
    out : Path
        Folder of a folder a fleet: its scenario, and plan and record of every backend.
    fleets : sequence of (size, regime, seed)
        Where a size is devices, tasks and slots.
    backends : sequence of str
    limit : float, s
    gap : float
    """

    def __init__(self, out, fleets, backends, limit, gap):
        self.out, self.fleets, self.backends = out, fleets, backends
        self.limit, self.gap = limit, gap
        self.made = []
        self._accepts = {info.name: info.accepts for info in mo.backends()}
        self._program = _program_digest()
        self._lock = threading.Lock()

    def make(self, jobs=1):
        """Make the runs that are missing, on so many fleets at a time."""
        work = []
        for fleet in self.fleets:
            kept = {backend: self._kept(fleet, backend) for backend in self.backends}
            self.made += [run for run in kept.values() if run is not None]
            work.append((fleet, [backend for backend, run in kept.items() if run is None]))
        self._compile([fleet for fleet, missing in work if not set(COMPILED).isdisjoint(missing)])
        if jobs == 1:
            for fleet, missing in work:
                self._solve(fleet, missing)
            return
        with ThreadPoolExecutor(jobs) as pool:
            futures = [pool.submit(self._solve, *entry) for entry in work]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                self._say("waiting for the runs in progress")
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _folder(self, fleet):
        size, regime, seed = fleet
        return self.out / f"{_named(size)}-{regime}-{seed}"

    def _identity(self, backend):
        """Return what a kept run must agree with."""
        return {
            "program": self._program,
            "time_limit": self.limit,
            "gap_asked": self.gap if "gap" in self._accepts[backend] else None,
        }

    def _kept(self, fleet, backend):
        """Return a run that is kept; None if there is none."""
        path = self._folder(fleet) / f"{backend}.run.json"
        if not path.exists():
            return None
        run = parse_json(read_text(path), str(path))
        for name, value in self._identity(backend).items():
            if run.get(name) != value:
                sys.exit(f"{path}: made with another {name}; name another folder with --out")
        return run

    def _compile(self, fleets):
        """Solve a fleet of each size, unrecorded, so that everything is compiled."""
        for size in dict.fromkeys(size for size, *_ in fleets):
            fleet = next(fleet for fleet in fleets if fleet[0] == size)
            self._say(f"{self._folder(fleet).name}: once without being measured, to compile")
            compare_backends(
                _drawn(fleet), [COMPILES], time_limit=COMPILING_S, gap=WIDE_GAP, grace=COMPILING_S
            )

    def _solve(self, fleet, backends):
        if not backends:
            return
        scenario, folder = _drawn(fleet), make_folder(self._folder(fleet))
        write_text(folder / "scenario.json", scenario.to_json())
        size, regime, seed = fleet
        for backend in backends:
            gap = {"gap": self.gap} if "gap" in self._accepts[backend] else {}
            facts, plan = measure(scenario, backend, self.limit, **gap)
            run = {
                "size": _named(size), "regime": regime, "seed": seed, "backend": backend,
                "scenario_sha256": scenario.sha256, **self._identity(backend), **facts,
            }  # fmt: skip
            if plan is not None:
                plan.save(folder / f"{backend}.json")
            if run["ending"] in _FINISHED:
                content = json.dumps(run, indent=1, allow_nan=False)
                write_text(folder / f"{backend}.run.json", content + "\n")
            with self._lock:
                self.made.append(run)
            self._say(f"{folder.name} {backend}: {_outcome(run)}")

    def _say(self, message):
        total = len(self.fleets) * len(self.backends)
        print(f"[{len(self.made)}/{total}] {message}", file=sys.stderr, flush=True)


def measure(scenario, backend, limit, **options):
    """Solve in a process of its own; return its facts, with a curve, and its plan."""
    (trial,) = compare_backends(scenario, [backend], time_limit=limit, **options).trials
    facts = {
        "ending": str(trial.ending), "message": trial.message, "termination": None,
        "check_ok": None, "objective": None, "claimed_bound": None, "derived_bound": None,
        "solve_s": None, "process_s": trial.seconds, "cpu_s": trial.cpu_seconds,
        "peak_memory_bytes": trial.peak_memory_bytes, "derive_s": None, "derive_cpu_s": None,
        "curve": [],
    }  # fmt: skip
    plan = trial.plan
    if plan is None:
        return facts, None
    facts.update(termination=str(plan.termination), solve_s=plan.seconds)
    if plan.objective is None:
        return facts, plan
    wall, cpu = time.perf_counter(), time.thread_time()
    report = mo.check(scenario, plan, certificate=True)
    wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
    if plan.certificate is not None:
        facts.update(derive_s=wall, derive_cpu_s=cpu)
    facts.update(check_ok=report.ok, objective=plan.objective, claimed_bound=plan.bound)
    if not report.ok:
        facts["message"] = str(report.violations[0])
    derived = finite_number(report.certified_bound)
    if derived is not None and plan.bound is not None:
        facts["derived_bound"] = min(derived, plan.bound)
    curve = [
        [finite_number(entry.get(key)) for key in ("seconds", "objective", "bound")]
        for entry in plan.trace
    ]
    curve.append([plan.seconds, plan.objective, plan.bound])
    facts["curve"] = [point for point in curve if point[0] is not None]
    return facts, plan


def _program_digest():
    """Digest of the code that is measured, so that results of two states are not mixed."""
    root = Path(mo.__file__).parent
    digest = hashlib.sha256(mo.__version__.encode())
    for part in _PARTS:
        for path in sorted((root / part).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def _drawn(fleet):
    size, regime, seed = fleet
    return draw_fleet(regime, seed, *size)


def _named(size):
    return "x".join(map(str, size))


def _outcome(run):
    if run["objective"] is None:
        return f"{run['termination'] or run['ending']} {run['message']}".strip()
    bound = run["derived_bound"] if run["derived_bound"] is not None else run["claimed_bound"]
    gap = "" if bound is None else f", gap {100 * (1 - bound / run['objective']):.4f} %"
    cpu = "" if run["cpu_s"] is None else f", CPU {run['cpu_s']:.1f} s"
    return (
        f"{run['termination']}, objective {run['objective']:.6g}{gap}, {run['solve_s']:.1f} s{cpu}"
    )
