"""Backends side by side on fleets of five regimes: time to a proved gap, median and worst.

    python benchmarks/regimes.py --sizes 6x2x6 10x3x12 --seeds 0-4 --backends prices conic scip

Fleet by fleet every backend solves the same scenario, each in a process of its own, one after the
other, so that what disturbs the machine disturbs them alike. The checker derives every bound again.
A run is kept in --out as soon as it ends, and is not made again. See README.md beside this file and
docs/regimes.md.
"""

import argparse
import csv
import hashlib
import io
import json
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from regime_figures import problems, run_rows, summarise, table_cells, text
from regime_fleets import REGIMES, draw_fleet
from regime_picture import draw_shares

import mafl_opt as mo
from mafl_opt.core.files import make_folder, parse_json, read_text, write_text
from mafl_opt.core.locks import sole_use
from mafl_opt.report.gap_curves import finite_number
from mafl_opt.solvers.compare import compare_backends

GAPS = (0.01, 0.005, 0.001)
#: Backends that compile on their first run, which is not what is measured.
COMPILED = ("prices",)
#: Seconds that compiling may take beyond the time limit, on a busy machine too.
COMPILING_S = 900.0
#: Parts of the package that decide what a run gives.
_PARTS = ("core", "formulations", "solvers")


def program_digest():
    """Digest of the code that is measured, so that results of two states are not mixed."""
    root = Path(mo.__file__).parent
    digest = hashlib.sha256(mo.__version__.encode())
    for part in _PARTS:
        for path in sorted((root / part).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def measure(scenario, backend, limit, gap):
    """Solve in a process of its own; return its facts, with a curve, and its plan."""
    info = next(info for info in mo.backends() if info.name == backend)
    options = {"gap": gap} if "gap" in info.accepts else {}
    (trial,) = compare_backends(scenario, [backend], time_limit=limit, **options).trials
    run = {
        "ending": str(trial.ending), "message": trial.message, "termination": None,
        "check_ok": None, "objective": None, "claimed_bound": None, "derived_bound": None,
        "solve_s": None, "process_s": trial.seconds, "cpu_s": trial.cpu_seconds,
        "peak_memory_bytes": trial.peak_memory_bytes, "derive_s": None, "derive_cpu_s": None,
        "curve": [],
    }  # fmt: skip
    plan = trial.plan
    if plan is None:
        return run, None
    run.update(termination=str(plan.termination), solve_s=plan.seconds)
    if plan.objective is None:
        return run, plan
    wall, cpu = time.perf_counter(), time.thread_time()
    report = mo.check(scenario, plan, certificate=True)
    wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
    if plan.certificate is not None:
        run.update(derive_s=wall, derive_cpu_s=cpu)
    run.update(check_ok=report.ok, objective=plan.objective, claimed_bound=plan.bound)
    if not report.ok:
        run["message"] = str(report.violations[0])
    derived = finite_number(report.certified_bound)
    if derived is not None and plan.bound is not None:
        run["derived_bound"] = min(derived, plan.bound)
    curve = [
        [finite_number(entry.get(key)) for key in ("seconds", "objective", "bound")]
        for entry in plan.trace
    ]
    curve.append([plan.seconds, plan.objective, plan.bound])
    run["curve"] = [point for point in curve if point[0] is not None]
    return run, plan


class Benchmark:
    """The runs that were asked for, those that are there, and the making of the others."""

    def __init__(self, given):
        self.given, self.out = given, make_folder(given.out)
        self.fleets = [
            (size, regime, seed)
            for size in given.sizes
            for seed in given.seeds
            for regime in given.regimes
        ]
        self.program = program_digest()
        self.done, self.runs = 0, []
        self._lock = threading.Lock()

    def folder(self, size, regime, seed):
        """Folder of a fleet: its scenario, and plan and record of every backend."""
        return self.out / "{}x{}x{}-{}-{}".format(*size, regime, seed)

    def identity(self, backend):
        """Return what a kept run must agree with."""
        accepts = next(info for info in mo.backends() if info.name == backend).accepts
        return {
            "program": self.program,
            "time_limit": self.given.limit,
            "gap_asked": self.given.gap if "gap" in accepts else 0.0,
        }

    def kept(self, fleet, backend):
        """Return a run that is kept; None if there is none."""
        path = self.folder(*fleet) / f"{backend}.run.json"
        if not path.exists():
            return None
        run = parse_json(read_text(path), str(path))
        for name, value in self.identity(backend).items():
            if run.get(name) != value:
                sys.exit(f"{path}: made with another {name}; name another folder with --out")
        return run

    def make(self):
        """Make the runs that are missing."""
        work = []
        for fleet in self.fleets:
            kept = [(backend, self.kept(fleet, backend)) for backend in self.given.backends]
            self.runs += [run for _, run in kept if run is not None]
            work.append((fleet, [backend for backend, run in kept if run is None]))
        self.done = len(self.runs)
        self._compile([fleet for fleet, missing in work if missing])
        with ThreadPoolExecutor(self.given.jobs) as pool:
            try:
                for future in [pool.submit(self._fleet, *entry) for entry in work]:
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _compile(self, fleets):
        """Run what compiles once for every size, unrecorded."""
        names = [name for name in COMPILED if name in self.given.backends]
        for size in dict.fromkeys(size for size, *_ in fleets) if names else ():
            fleet = next(fleet for fleet in fleets if fleet[0] == size)
            self._say(f"{self.folder(*fleet).name}: once without being measured, to compile")
            limit = self.given.limit
            compare_backends(_drawn(*fleet), names, time_limit=limit, grace=COMPILING_S)

    def _fleet(self, fleet, backends):
        if not backends:
            return
        scenario, folder = _drawn(*fleet), make_folder(self.folder(*fleet))
        write_text(folder / "scenario.json", scenario.to_json())
        for backend in backends:
            run, plan = measure(scenario, backend, self.given.limit, self.given.gap)
            size, regime, seed = fleet
            run = {
                "size": "x".join(map(str, size)), "regime": regime, "seed": seed,
                "backend": backend, "scenario_sha256": scenario.sha256,
                **self.identity(backend), **run,
            }  # fmt: skip
            if plan is not None:
                plan.save(folder / f"{backend}.json")
            content = json.dumps(run, indent=1, allow_nan=False)
            write_text(folder / f"{backend}.run.json", content + "\n")
            with self._lock:
                self.runs.append(run)
                self.done += 1
            self._say(f"{folder.name} {backend}: {_outcome(run)}")

    def _say(self, message):
        total = len(self.fleets) * len(self.given.backends)
        print(f"[{self.done}/{total}] {message}", file=sys.stderr, flush=True)

    def report(self):
        """Write tables and pictures; return the exit code."""
        given = self.given
        gaps = sorted({g for g in (*GAPS, given.gap) if g >= given.gap}, reverse=True)
        rows = run_rows(self.runs, gaps)
        summary = summarise(rows, gaps, given.backends, per_regime=given.per_regime)
        order = ["x".join(map(str, size)) for size in given.sizes]
        summary.sort(key=lambda row: order.index(row["size"]))
        headers, cells = table_cells(summary, gaps)
        write_text(self.out / "runs.csv", _csv(rows))
        write_text(self.out / "summary.json", json.dumps(_plain(summary), indent=1) + "\n")
        write_text(self.out / "summary.md", text(headers, cells, markdown=True) + "\n")
        for size in order:
            mine = [row for row in rows if row["size"] == size]
            if mine:
                paths = [self.out / f"proved-{size}.{suffix}" for suffix in ("svg", "png")]
                draw_shares(mine, gaps, given.backends, paths)
        print(text(headers, cells, markdown=given.markdown))
        for run in self.runs:
            if run["ending"] in ("refused", "missing"):
                print("{size} {regime} {seed} {backend}: {message}".format(**run), file=sys.stderr)
        found = problems(self.runs, rows)
        for line in found:
            print(f"PROBLEM {line}", file=sys.stderr)
        return 1 if found else 0


def _drawn(size, regime, seed):
    return draw_fleet(regime, seed, *size)


def _outcome(run):
    if run["objective"] is None:
        return f"{run['ending']} {run['message']}".strip()
    bound = run["derived_bound"] if run["derived_bound"] is not None else run["claimed_bound"]
    shown = "" if bound is None else f", gap {100 * (1 - bound / run['objective']):.4f} %"
    cpu = "" if run["cpu_s"] is None else f", CPU {run['cpu_s']:.1f} s"
    return (
        f"{run['termination']}, objective {run['objective']:.6g}{shown}, {run['solve_s']:.1f} s"
        + cpu
    )


def _csv(rows):
    """Return rows as CSV; times by gap become columns of their own."""
    flat = []
    for row in rows:
        cells = {key: value for key, value in row.items() if not isinstance(value, dict)}
        for key in ("proved_s", "near_s"):
            cells |= {f"{key}_{100 * gap:g}%": value for gap, value in row[key].items()}
        flat.append(cells)
    out = io.StringIO()
    if flat:
        writer = csv.DictWriter(out, fieldnames=list(flat[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
    return out.getvalue()


def _plain(value):
    """Return a summary as JSON has it: None for what never came."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return finite_number(value) if isinstance(value, float) else value


def _size(given):
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)", given)
    if match is None or min(sizes := tuple(map(int, match.groups()))) < 1:
        raise argparse.ArgumentTypeError(f"devices x tasks x slots, such as 10x3x12, not {given!r}")
    return sizes


def _seeds(given):
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", given)
    if match is None:
        raise argparse.ArgumentTypeError(f"a seed or a range such as 0-4, not {given!r}")
    first = int(match[1])
    return range(first, int(match[2] or first) + 1)


def _positive(given):
    value = float(given)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"a number above 0, not {given!r}")
    return value


def parse(arguments=None):
    """Read the command line."""
    known = {info.name: info for info in mo.backends()}
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--regimes", nargs="+", choices=REGIMES, default=list(REGIMES))
    parser.add_argument("--seeds", nargs="+", type=_seeds, default=[range(5)],
                        help="seeds or ranges of them, such as 0-4")  # fmt: skip
    parser.add_argument("--sizes", nargs="+", type=_size, default=[(10, 3, 12)],
                        help="devices x tasks x slots, such as 10x3x12")  # fmt: skip
    parser.add_argument("--backends", nargs="+", choices=known,
                        default=[name for name, info in known.items() if info.available],
                        help="times are set against the first; all by default")  # fmt: skip
    parser.add_argument("--limit", type=_positive, default=60.0, help="seconds for each run")
    parser.add_argument("--gap", type=_positive, default=GAPS[-1],
                        help="relative gap at which backends may stop")  # fmt: skip
    parser.add_argument("--out", default="out/regimes", help="folder of the results")
    parser.add_argument("--jobs", type=int, default=1,
                        help="fleets at a time; more than one disturb each other")  # fmt: skip
    parser.add_argument("--per-regime", action="store_true", help="a row for each regime")
    parser.add_argument("--markdown", action="store_true", help="the table in Markdown")
    given = parser.parse_args(arguments)
    given.seeds = list(dict.fromkeys(seed for seeds in given.seeds for seed in seeds))
    for name in ("regimes", "sizes", "backends"):
        setattr(given, name, list(dict.fromkeys(getattr(given, name))))
    return given


def main():
    """Make the runs that are missing, then report on all that are there."""
    given = parse()
    benchmark = Benchmark(given)
    with sole_use(benchmark.out):
        try:
            benchmark.make()
        except KeyboardInterrupt:
            print("interrupted; the same command goes on from here", file=sys.stderr)
            benchmark.report()
            sys.exit(130)
        sys.exit(benchmark.report())


if __name__ == "__main__":
    main()
