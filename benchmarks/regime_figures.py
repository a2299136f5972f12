"""Figures of the runs of `regimes.py`: times to gaps, a row a run, medians and worst cases."""

import math
import statistics
from itertools import groupby

from mafl_opt.core.check import CLAIM_TOLERANCE
from mafl_opt.report.table import format_table

__all__ = ["DERIVED", "KINDS", "marked", "problems", "run_rows", "summarise", "table_cells", "text"]

#: What a backend's bounds are: derived again by the checker, its word, or none. A plan without a
#: bound is held against the best derived bound of all backends on its fleet.
DERIVED, CLAIMED, NONE = KINDS = ("derived", "claimed", "none")
_MARKS = {DERIVED: "", CLAIMED: " *", NONE: " †"}

#: At which the plan in hand is looked at.
EARLY_S = 1.0


def run_rows(runs, gaps):
    """Return a flat row for every run; what is missing is None.

    ``proved_s`` and ``near_s`` hold, by gap, the seconds until the plan in hand was within the gap
    of the backend's own bound, and of the best derived bound of all backends on that fleet.
    """
    rows = []
    runs = sorted(runs, key=_fleet)
    for _, group in groupby(runs, key=_fleet):
        fleet = list(group)
        best = min((r["objective"] for r in fleet if r["check_ok"]), default=None)
        bounds = (r["derived_bound"] for r in fleet if r["check_ok"])
        bound = max((b for b in bounds if b is not None), default=None)
        rows += [_row(run, gaps, best, bound) for run in fleet]
    return rows


def _fleet(run):
    return run["size"], run["regime"], run["seed"]


def _row(run, gaps, best, best_bound):
    curve = _believed(run)
    objective = run["objective"] if run["check_ok"] else None
    bound = curve[-1][2] if curve else None
    early = [o for t, o, _ in curve if t <= EARLY_S and o is not None]
    plain = ("size", "regime", "seed", "backend", "ending", "termination", "check_ok", "objective",
             "claimed_bound", "derived_bound", "solve_s", "process_s", "cpu_s",
             "peak_memory_bytes", "derive_s", "derive_cpu_s", "time_limit")  # fmt: skip
    return {
        **{name: run[name] for name in plain},
        "bounds": _kind(run),
        "gap": _relative(objective, bound, objective),
        "above_best": _relative(objective, best, best),
        "above_best_early": _relative(min(early, default=None), best, best),
        "first_plan_s": min((t for t, o, _ in curve if o is not None), default=None),
        "proved_s": {g: _first(curve, g) for g in gaps},
        "near_s": {g: _first([(t, o, best_bound) for t, o, _ in curve], g) for g in gaps},
    }


def _kind(run):
    if run["derived_bound"] is not None:
        return DERIVED
    return NONE if run["claimed_bound"] is None else CLAIMED


def _believed(run):
    """Return the curve of a run with no bound above what the checker derived in the end."""
    if not run["check_ok"]:
        return []
    most = math.inf if run["derived_bound"] is None else run["derived_bound"]
    return [(t, o, None if b is None else min(b, most)) for t, o, b in run["curve"]]


def _first(curve, gap):
    """Seconds at which objective and bound were within a gap for the first time, or None."""
    return min(
        (t for t, o, b in curve if None not in (o, b) and o - b <= gap * abs(o)), default=None
    )


def _relative(value, reference, scale):
    return None if None in (value, reference) or not scale else (value - reference) / abs(scale)


def problems(runs, rows):
    """Return what must not be, a line each: failed runs and checks, bounds and words untrue."""
    found = []
    for run, row in zip(sorted(runs, key=_fleet), rows, strict=True):
        name = "{size} {regime} {seed} {backend}".format(**run)
        if run["ending"] in ("failed", "crashed", "overran"):
            found.append(f"{name}: {run['ending']}, {run['message']}")
        if run["check_ok"] is False:
            found.append(f"{name}: its plan fails the check, {run['message']}")
        best = min(
            (r["objective"] for r in rows if _fleet(r) == _fleet(row) and r["check_ok"]),
            default=math.inf,
        )
        for kind in ("claimed_bound", "derived_bound"):
            bound = run[kind]
            if bound is not None and bound > best + CLAIM_TOLERANCE * abs(best):
                found.append(f"{name}: {kind} {bound:.9g} is above a plan of {best:.9g}")
        said = run["termination"] in ("OPTIMAL", "GAP_REACHED") and row["bounds"] == DERIVED
        if said and row["gap"] > (run["gap_asked"] or 0.0) + CLAIM_TOLERANCE:
            found.append(f"{name}: says {run['termination']} at a gap of {100 * row['gap']:.4f} %")
    return found


def summarise(rows, gaps, backends, *, per_regime=False):
    """Return a row of medians and worst cases for every size and backend, and regime if asked.

    Times that were not reached are infinite. ``ratio`` is the geometric mean over the fleets of the
    time to the smallest gap, relative to the first backend's on the same fleet: both are of one
    run on one machine. Where the other was not reached its limit stands in, so it is at least that.
    """
    out = []

    def place(row):
        return row["size"], row["regime"] if per_regime else ""

    first = {_fleet(r): r for r in rows if r["backend"] == backends[0]}
    # The best of its runs: one that ended without a bound proved nothing in time.
    kinds = {
        backend: min((r["bounds"] for r in rows if r["backend"] == backend), key=KINDS.index)
        for backend in {r["backend"] for r in rows}
    }
    for (size, regime), group in groupby(sorted(rows, key=place), key=place):
        members = list(group)
        for backend in backends:
            mine = [row for row in members if row["backend"] == backend]
            if not mine:
                continue
            kind = kinds[backend]
            times = {g: [_or_never(_time(row, kind, g)) for row in mine] for g in gaps}
            ratio, at_least = _ratio(mine, first, kind, gaps[-1])
            shares = [_relative(r["derive_s"], 0.0, r["solve_s"]) for r in mine]
            out.append({
                "size": size, "regime": regime, "backend": backend, "bounds": kind,
                "fleets": len(mine), "time_limit": max(row["time_limit"] for row in mine),
                "seconds": {g: _middle_and_worst(times[g]) for g in gaps},
                "reached": {g: sum(map(math.isfinite, times[g])) for g in gaps},
                "ratio": ratio, "ratio_at_least": at_least,
                **{name: _middle_and_worst([_or_never(row[name]) for row in mine])
                   for name in ("gap", "above_best", "above_best_early", "first_plan_s", "cpu_s")},
                "cpu_share": _middle_and_worst(
                    [_relative(r["cpu_s"], 0.0, r["process_s"]) for r in mine], worst=min),
                "derive_s": _middle_and_worst([r["derive_s"] for r in mine]),
                "derive_share": _middle_and_worst(shares),
            })  # fmt: skip
    return out


def _time(row, kind, gap):
    return row["near_s" if kind == NONE else "proved_s"][gap]


def _or_never(value):
    return math.inf if value is None else value


def _middle_and_worst(values, worst=max):
    known = [v for v in values if v is not None]
    return (statistics.median(known), worst(known)) if known else None


def _ratio(mine, first, kind, gap):
    """Geometric mean of times relative to the first backend, and whether it is a least value."""
    logs, at_least = [], False
    for row in mine:
        other = first.get(_fleet(row))
        theirs = None if other is None else other["proved_s"][gap]
        if kind == NONE or not theirs:
            continue
        own = row["proved_s"][gap]
        at_least |= own is None
        # Traces have milliseconds.
        logs.append(math.log(max(row["time_limit"] if own is None else own, 1e-3) / theirs))
    return (math.exp(statistics.fmean(logs)), at_least) if logs else (None, False)


def table_cells(summary, gaps):
    """Return headers and cells of a summary; pairs are median / worst."""
    headers = [
        "fleets", "backend", *(f"{100 * g:g} %: s" for g in gaps), "reached", "times",
        "gap %", "above best %", f"at {EARLY_S:g} s %", "first plan s", "CPU s", "CPU / wall",
        "derived in s", "of solve %",
    ]  # fmt: skip
    cells = []
    for row in summary:
        limit, smallest = row["time_limit"], gaps[-1]
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.3g}"
        cells.append([
            row["size"] + (f" {row['regime']}" if row["regime"] else ""),
            row["backend"] + _MARKS[row["bounds"]],
            *(_pair(row["seconds"][g], seconds_text, limit) for g in gaps),
            f"{row['reached'][smallest]}/{row['fleets']}",
            (">" if row["ratio_at_least"] else "") + ratio,
            _pair(row["gap"], _percent) if row["bounds"] != NONE else "-",
            _pair(row["above_best"], _percent), _pair(row["above_best_early"], _percent),
            _pair(row["first_plan_s"], seconds_text), _pair(row["cpu_s"], seconds_text),
            _pair(row["cpu_share"], seconds_text), _pair(row["derive_s"], seconds_text),
            _pair(row["derive_share"], _percent),
        ])  # fmt: skip
    return headers, cells


def text(headers, cells, *, markdown=False):
    """Return a summary as an aligned table or as one in Markdown, with what its marks mean."""
    rule = ["---"] * 2 + ["---:"] * (len(headers) - 2)
    if not markdown:
        lines = format_table(headers, cells, align="ll" + "r" * (len(headers) - 2))
    else:
        lines = "\n".join("| " + " | ".join(row) + " |" for row in [headers, rule, *cells])
    return f"{lines}\n\n{marked(cells)}".rstrip()


def marked(cells):
    """Return what the marks in a table mean."""
    named = "".join(row[1] for row in cells)
    meanings = ["Pairs are median / worst."]
    if "*" in named:
        meanings.append("* By the backend's own word: its bounds cannot be derived again.")
    if "†" in named:
        meanings.append(
            "† Proves no bound: seconds until its plan was within the gap of the best bound that"
            " any backend derived on that fleet."
        )
    return "  \n".join(meanings)


def seconds_text(value):
    """Write seconds with two or three digits."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _percent(value):
    return f"{100 * value:.3f}"


def _pair(values, write, limit=None):
    """Write median and worst; what is infinite took longer than the limit, or is not there."""
    if values is None:
        return "-"
    never = "-" if limit is None else f">{limit:g}"
    shown = [write(v) if math.isfinite(v) else never for v in values]
    return never if shown == [never, never] else " / ".join(shown)
