"""Backends side by side on fleets of five regimes: time to a proved gap, median and worst.

    python benchmarks/regimes.py --sizes 6x2x6 10x3x12 --seeds 0-4 --backends prices conic scip

Fleet by fleet every backend solves the same scenario, each in a process of its own, one after the
other, so that what disturbs the machine disturbs them alike. The checker derives every bound again.
A run is kept in --out as soon as it ends, and is not made again. See README.md beside this file and
docs/regimes.md.
"""

import argparse
import csv
import io
import json
import re
import sys

from regime_figures import problems, run_rows, summarise, table_cells, text
from regime_fleets import REGIMES
from regime_picture import draw_shares
from regime_runs import Runs

import mafl_opt as mo
from mafl_opt.core.files import make_folder, write_text
from mafl_opt.core.locks import sole_use
from mafl_opt.report.gap_curves import finite_number

GAPS = (0.01, 0.005, 0.001)


def report(given, runs):
    """Write tables and pictures into --out, print the table; return the exit code."""
    gaps = sorted({gap for gap in (*GAPS, given.gap) if gap >= given.gap}, reverse=True)
    rows = run_rows(runs, gaps)
    summary = summarise(rows, gaps, given.backends, per_regime=given.per_regime)
    sizes = ["x".join(map(str, size)) for size in given.sizes]
    summary.sort(key=lambda row: sizes.index(row["size"]))
    headers, cells = table_cells(summary, gaps)
    write_text(given.out / "runs.csv", _csv(rows))
    write_text(given.out / "summary.json", json.dumps(_plain(summary), indent=1) + "\n")
    write_text(given.out / "summary.md", text(headers, cells, markdown=True) + "\n")
    for size in sizes:
        mine = [row for row in rows if row["size"] == size]
        if mine:
            paths = [given.out / f"proved-{size}.{suffix}" for suffix in ("svg", "png")]
            draw_shares(mine, gaps, given.backends, paths)
    print(text(headers, cells, markdown=given.markdown))
    for run in runs:
        if run["ending"] in ("refused", "missing"):
            print("{size} {regime} {seed} {backend}: {message}".format(**run), file=sys.stderr)
    found = problems(runs, rows)
    for line in found:
        print(f"PROBLEM {line}", file=sys.stderr)
    return 1 if found else 0


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
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)", given)
    if match is None:
        raise argparse.ArgumentTypeError(f"devices x tasks x slots, such as 10x3x12, not {given!r}")
    return tuple(map(int, match.groups()))


def _seeds(given):
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", given)
    if match is None or not (seeds := range(int(match[1]), int(match[2] or match[1]) + 1)):
        raise argparse.ArgumentTypeError(f"a seed or a range such as 0-4, not {given!r}")
    return seeds


def _positive(given):
    value = finite_number(float(given))
    if value is None or value <= 0:
        raise argparse.ArgumentTypeError(f"a number above 0, not {given!r}")
    return value


def _count(given):
    if not re.fullmatch(r"[1-9]\d*", given):
        raise argparse.ArgumentTypeError(f"a whole number from 1, not {given!r}")
    return int(given)


def parse(arguments=None):
    """Read the command line."""
    known = {info.name: info for info in mo.backends()}
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--regimes", nargs="+", choices=REGIMES, default=list(REGIMES))
    add("--seeds", nargs="+", type=_seeds, default=[range(5)],
        help="seeds or ranges of them, such as 0-4, which is the default")  # fmt: skip
    add("--sizes", nargs="+", type=_size, default=[(10, 3, 12)],
        help="devices x tasks x slots, such as 10x3x12, which is the default")  # fmt: skip
    add("--backends", nargs="+", choices=known,
        default=[name for name, info in known.items() if info.available],
        help="times are set against the first; all that are installed by default")  # fmt: skip
    add("--limit", type=_positive, default=60.0, help="seconds for each run (default 60)")
    add("--gap", type=_positive, default=GAPS[-1],
        help="relative gap at which backends may stop (default 0.001)")  # fmt: skip
    add("--out", default="out/regimes", help="folder of the results (default out/regimes)")
    add("--jobs", type=_count, default=1,
        help="fleets at a time (default 1); more than one disturb each other")  # fmt: skip
    add("--per-regime", action="store_true", help="a row for each regime")
    add("--markdown", action="store_true", help="print the table in Markdown")
    given = parser.parse_args(arguments)
    given.seeds = [seed for seeds in given.seeds for seed in seeds]
    for name in ("regimes", "seeds", "sizes", "backends"):
        setattr(given, name, list(dict.fromkeys(getattr(given, name))))
    return given


def main():
    """Make the runs that are missing, then report on all that are there."""
    given = parse()
    given.out = make_folder(given.out)
    fleets = [
        (size, regime, seed)
        for size in given.sizes
        for seed in given.seeds
        for regime in given.regimes
    ]
    runs = Runs(given.out, fleets, given.backends, given.limit, given.gap)
    with sole_use(given.out):
        try:
            runs.make(given.jobs)
        except KeyboardInterrupt:
            print("interrupted; the same command goes on from here", file=sys.stderr)
            report(given, runs.made)
            sys.exit(130)
        sys.exit(report(given, runs.made))


if __name__ == "__main__":
    main()
