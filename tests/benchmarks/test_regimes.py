"""The benchmark of regimes: always the same fleets, times and flaws found, runs kept."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from tolerances import SAME_FORMULA

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
#: Of the numbers of seed 1 at 4x2x5 of each regime, in the order in which they are written.
FINGERPRINTS = {
    "stale": 2342.0404472548876,
    "mixed": 1712.3915089246937,
    "tight": 4641.540819908798,
    "drift": -11345.569086080219,
    "fast": 3087.453546413989,
}


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import regime_figures
    import regime_fleets

    return regime_fleets, regime_figures


def run_script(*arguments):
    command = [sys.executable, str(BENCHMARKS / "regimes.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from numbers(part)
    elif not isinstance(value, str):
        yield float(value)


@pytest.mark.parametrize("regime", FINGERPRINTS)
def test_fleet_of_a_seed_is_always_the_same(modules, regime):
    fleets, _ = modules
    drawn = fleets.draw_numbers(regime, 1, devices=4, tasks=2, slots=5)
    found = math.fsum(k * math.log(v) for k, v in enumerate(numbers(drawn), start=1) if v > 0)
    assert found == pytest.approx(FINGERPRINTS[regime], rel=SAME_FORMULA)


def test_regimes_differ_in_what_they_are_named_after(modules):
    fleets, _ = modules
    drawn = {
        name: fleets.draw_fleet(name, 3, devices=40, tasks=2, slots=6) for name in FINGERPRINTS
    }
    budget = {name: s.devices.energy_budget_j.mean() for name, s in drawn.items()}
    assert budget["tight"] < 0.3 * budget["mixed"]
    slow = {name: (s.devices.f_max_hz < 3e8).mean() for name, s in drawn.items()}
    assert slow["fast"] == 0.0 < slow["mixed"] < slow["stale"]
    assert [name for name, s in drawn.items() if not s.network.available.all()] == ["drift"]
    assert [name for name, s in drawn.items() if s.loss_drift.any()] == ["drift"]


def run(backend, curve, *, seed=0, derived=None, termination="TIME_LIMIT", **more):
    """Return a run as the script keeps it, with what its curve ends in."""
    _, objective, bound = curve[-1]
    return {
        "size": "4x2x5", "regime": "mixed", "seed": seed, "backend": backend, "ending": "done",
        "message": "", "termination": termination, "check_ok": True, "objective": objective,
        "claimed_bound": bound, "derived_bound": derived, "solve_s": curve[-1][0],
        "process_s": curve[-1][0] + 1.0, "cpu_s": curve[-1][0], "peak_memory_bytes": 1,
        "derive_s": None if derived is None else 0.5, "derive_cpu_s": None, "time_limit": 10.0,
        "gap_asked": 0.001, "curve": curve, **more,
    }  # fmt: skip


PROVES = [[0.5, 110.0, None], [1.0, 102.0, 90.0], [2.0, 100.0, 99.2], [5.0, 100.0, 99.95]]
CLAIMS = [[0.1, 104.0, 80.0], [8.0, 104.0, 99.0]]
PLANS = [[0.25, 100.4, None], [1.5, 100.1, None]]
GAPS = (0.01, 0.005, 0.001)


def test_seconds_are_those_of_the_first_entry_within_the_gap(modules):
    _, figures = modules
    (row,) = figures.run_rows([run("prices", PROVES, derived=99.95)], GAPS)
    assert row["proved_s"] == {0.01: 2.0, 0.005: 5.0, 0.001: 5.0}
    assert row["gap"] == pytest.approx(0.0005)
    assert row["first_plan_s"] == 0.5
    assert row["above_best_early"] == pytest.approx(0.02)


def test_bound_counts_for_no_more_than_was_derived(modules):
    _, figures = modules
    (row,) = figures.run_rows([run("prices", PROVES, derived=99.4)], GAPS)
    assert row["proved_s"] == {0.01: 2.0, 0.005: None, 0.001: None}
    assert row["gap"] == pytest.approx(0.006)


def test_plan_without_a_bound_is_held_against_the_best_derived_one(modules):
    _, figures = modules
    runs = [run("prices", PROVES, derived=99.95), run("scip", CLAIMS), run("sca", PLANS)]
    rows = {row["backend"]: row for row in figures.run_rows(runs, GAPS)}
    assert rows["sca"]["proved_s"] == {g: None for g in GAPS}
    assert rows["sca"]["near_s"] == {0.01: 0.25, 0.005: 0.25, 0.001: None}
    assert rows["sca"]["above_best"] == pytest.approx(0.001)
    assert [rows[name]["bounds"] for name in rows] == list(figures.KINDS)
    summary = figures.summarise(list(rows.values()), GAPS, ["prices", "scip", "sca"])
    assert [row["seconds"][0.01] for row in summary] == [(2.0, 2.0), (math.inf,) * 2, (0.25,) * 2]
    _, cells = figures.table_cells(summary, GAPS)
    assert [row[1] for row in cells] == ["prices", "scip *", "sca †"]
    # 5 s to 0.1 % against a limit of 10 s.
    assert (summary[1]["ratio"], summary[1]["ratio_at_least"]) == (pytest.approx(2.0), True)


def test_fleet_that_was_not_reached_is_the_worst(modules):
    _, figures = modules
    runs = [run("prices", PROVES, seed=k, derived=99.95) for k in range(2)]
    runs.append(run("prices", PROVES, seed=2, derived=99.0))
    (row,) = figures.summarise(figures.run_rows(runs, GAPS), GAPS, ["prices"])
    assert row["seconds"][0.001] == (5.0, math.inf)
    assert row["reached"] == {0.01: 3, 0.005: 2, 0.001: 2}
    _, ((_, _, *cells),) = figures.table_cells([row], GAPS)
    assert cells[2:4] == ["5.00 / >10", "2/3"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, None),
        ({"claimed_bound": 100.2}, "claimed_bound 100.2 is above a plan of 100.1"),
        ({"derived": 101.0}, "derived_bound 101 is above a plan of 100.1"),
        ({"derived": 99.0, "termination": "GAP_REACHED"}, "says GAP_REACHED at a gap of 1.0000 %"),
        ({"derived": 99.95, "termination": "GAP_REACHED"}, None),
        ({"ending": "crashed", "message": "SIGSEGV"}, "crashed, SIGSEGV"),
        ({"check_ok": False, "message": "uplink"}, "its plan fails the check, uplink"),
    ],
)
def test_what_must_not_be_is_named(modules, more, expected):
    _, figures = modules
    curve = [*PROVES[:-1], [5.0, 100.0, 99.95]] if "derived" in more else [[5.0, 100.3, 99.95]]
    runs = [run("prices", curve, **more), run("sca", [[1.0, 100.1, None]])]
    runs[0]["objective"] = 100.0 if "GAP_REACHED" in more.values() else 100.3
    found = figures.problems(runs, figures.run_rows(runs, GAPS))
    assert [line.partition("mixed 0 prices: ")[2] for line in found] == (
        [expected] if expected else []
    )


def test_help_names_the_regimes():
    done = run_script("--help")
    assert done.returncode == 0, done.stderr
    assert all(regime in done.stdout for regime in FINGERPRINTS)


def test_bad_size_is_refused_in_a_line():
    done = run_script("--sizes", "10x3")
    assert done.returncode == 2
    assert "devices x tasks x slots" in done.stderr


@pytest.mark.slow
def test_script_runs_keeps_and_goes_on(tmp_path):
    out = tmp_path / "out"
    asked = ("--sizes", "3x1x3", "--regimes", "mixed", "--seeds", "0", "--limit", "30", "--gap",
             "0.02", "--out", out)  # fmt: skip
    done = run_script(*asked, "--backends", "conic")
    assert done.returncode == 0, done.stderr
    done = run_script(*asked, "--backends", "conic", "greedy", "--markdown")
    assert done.returncode == 0, done.stderr
    assert "greedy: COMPLETED" in done.stderr
    assert "conic" not in done.stderr
    assert done.stdout.startswith("| fleets | backend | 2 %: s |")
    with open(out / "runs.csv", newline="", encoding="utf-8") as lines:
        rows = {row["backend"]: row for row in csv.DictReader(lines)}
    assert list(rows) == ["conic", "greedy"]
    assert rows["conic"]["bounds"] == "derived"
    kept = json.loads((out / "3x1x3-mixed-0" / "conic.run.json").read_text())
    assert kept["derived_bound"] <= kept["objective"] <= kept["curve"][0][1]
    assert float(rows["greedy"]["above_best"]) >= 0.0
    assert (out / "proved-3x1x3.svg").stat().st_size and (out / "proved-3x1x3.png").exists()
    done = run_script(*asked, "--backends", "conic", "--gap", "0.03")
    assert done.returncode != 0
    assert "made with another gap_asked; name another folder" in done.stderr
