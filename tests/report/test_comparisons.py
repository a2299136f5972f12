from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace

import pytest
from small_plans import hand_made_plan
from small_scenarios import plain_scenario

import mafl_opt as mo
from mafl_opt.core.errors import InputError
from mafl_opt.report import gap_curves as curves_module
from mafl_opt.report.comparison import comparison_digest, describe_comparison, save_comparison
from mafl_opt.report.gap_curves import draw_gap_curves, gap_curves
from mafl_opt.solvers.compare import Comparison, Ending, Trial


def hand_made(*, proofs=True):
    """A prover, a heuristic that reaches the prover's objective, and one that died."""
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    report = mo.check(scenario, plan)
    plan = plan.replace(objective=report.objective)
    high = report.objective
    bound = 0.5 * high
    trace = (
        {"seconds": 0.001, "objective": None, "bound": 0.25 * high, "event": "box"},
        {"seconds": 1.0, "objective": 2 * high, "bound": 0.25 * high, "event": "found"},
        {"seconds": 4.0, "objective": high, "bound": bound, "event": "box"},
    )
    proof = {
        "plan": plan.replace(backend="prover", seconds=5.0, trace=trace, bound=bound),
        "report": replace(report, bound=bound, certified_bound=bound if proofs else None),
    }
    trials = (
        Trial(backend="prover", ending=Ending.DONE, seconds=6.0, cpu_seconds=4.0,
              peak_memory_bytes=2**27, **proof),
        Trial(backend="rule", ending=Ending.DONE, seconds=1.0, plan=plan.replace(
              backend="rule", trace=(), seconds=0.5), report=report),
        Trial(backend="dead", ending=Ending.CRASHED, seconds=0.3, message="SIGSEGV; oh"),
    )  # fmt: skip
    return Comparison(scenario_sha256=scenario.sha256, time_limit=60.0, trials=trials), high


@pytest.fixture
def figure(monkeypatch):
    """Figures as they would be written."""
    figures = []
    monkeypatch.setattr(curves_module, "save_figure", lambda figure, path: figures.append(figure))
    return figures


def test_curves_hold_every_trace_entry_and_the_end():
    comparison, high = hand_made()
    rows = gap_curves(comparison)
    assert [(row["backend"], row["seconds"]) for row in rows] == [
        ("prover", 0.001), ("prover", 1.0), ("prover", 4.0), ("prover", 5.0), ("rule", 0.5),
    ]  # fmt: skip
    assert [row["gap_to_best_bound"] for row in rows] == [
        None, pytest.approx(0.75), pytest.approx(0.5), pytest.approx(0.5), pytest.approx(0.5),
    ]  # fmt: skip
    assert [row["bound_gap"] for row in rows] == [
        pytest.approx(0.75), pytest.approx(0.75), pytest.approx(0.5), pytest.approx(0.5), None,
    ]  # fmt: skip
    assert rows[-1]["objective"] == high
    assert rows[-1]["event"] == "end"


def test_digest_has_a_row_a_backend():
    comparison, high = hand_made()
    digest = comparison_digest(comparison)
    prover, rule, dead = digest["backends"]
    assert digest["best_bound"] == 0.5 * high == prover["best_bound"]
    assert prover["certified_bound"] == prover["bound"] == 0.5 * high
    assert prover["own_gap"] == prover["gap_to_best_bound"] == pytest.approx(0.5)
    assert (rule["bound"], rule["own_gap"], rule["iterations"]) == (None, None, 0)
    assert rule["gap_to_best_bound"] == pytest.approx(0.5)
    assert prover["iterations"] == 3
    assert (dead["ending"], dead["objective"], dead["check_ok"]) == ("crashed", None, None)
    json.dumps(digest, allow_nan=False)


def test_table_says_what_happened_to_each():
    text = describe_comparison(hand_made()[0])
    assert "SIGSEGV; oh" in text
    assert "CRASHED" in text
    (line,) = (line for line in text.splitlines() if line.startswith("prover"))
    assert "128" in line.split()
    assert "*" not in text


def test_claim_without_certificate_is_marked():
    text = describe_comparison(hand_made(proofs=False)[0])
    assert "only as far as it was derived again" in text
    assert "best bound -" in text


def test_claim_that_was_derived_in_part_counts_in_part():
    comparison, high = hand_made()
    prover = comparison.trials[0]
    partly = replace(prover, report=replace(prover.report, certified_bound=0.3 * high))
    comparison = replace(comparison, trials=(partly, *comparison.trials[1:]))
    assert comparison.best_bound == 0.3 * high
    assert comparison_digest(comparison)["backends"][0]["bound"] == 0.5 * high
    assert "derived again" in describe_comparison(comparison)


def test_files_of_a_comparison(tmp_path):
    comparison, high = hand_made()
    save_comparison(comparison, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "comparison.json", "comparison.csv", "curves.csv", "time_to_gap.png", "prover.json",
        "rule.json",
    }  # fmt: skip
    digest = json.loads((tmp_path / "comparison.json").read_text())
    rows = list(csv.DictReader(io.StringIO((tmp_path / "comparison.csv").read_text())))
    assert [row["backend"] for row in rows] == [row["backend"] for row in digest["backends"]]
    assert float(rows[0]["objective"]) == high
    assert rows[2]["objective"] == ""
    curves = list(csv.DictReader(io.StringIO((tmp_path / "curves.csv").read_text())))
    assert len(curves) == len(gap_curves(comparison))
    assert mo.Plan.load(tmp_path / "prover.json").bound == 0.5 * high


def test_picture_has_both_gaps_on_logarithmic_axes(figure):
    comparison, _ = hand_made()
    draw_gap_curves(comparison, "any.png")
    left, right = figure[0].axes
    assert all(axes.get_xscale() == axes.get_yscale() == "log" for axes in (left, right))
    assert [line.get_label() for line in left.lines] == ["prover", "rule"]
    assert [line.get_label() for line in right.lines] == ["prover"]
    assert left.lines[0].get_ydata() == pytest.approx([0.75, 0.5, 0.5])
    # The first entry came too early for the axis.
    assert right.lines[0].get_xdata() == pytest.approx([0.01, 1.0, 4.0, 5.0])


def test_picture_without_any_bound_is_drawn_too(tmp_path):
    comparison, _ = hand_made(proofs=False)
    draw_gap_curves(comparison, tmp_path / "gaps.svg")
    assert (tmp_path / "gaps.svg").stat().st_size > 1000


def test_many_backends_look_different(figure):
    comparison, _ = hand_made()
    rule = comparison.trials[1]
    trials = (comparison.trials[0], *(replace(rule, backend=f"rule{k}") for k in range(11)))
    draw_gap_curves(replace(comparison, trials=trials), "any.png")
    looks = {
        (str(x.get_color()), x.get_linestyle(), x.get_marker()) for x in figure[0].axes[0].lines
    }
    assert len(looks) == 12


def test_compare_writes_into_a_new_folder(tmp_path):
    comparison = mo.compare(plain_scenario(), ["greedy", "fedavg"], out=tmp_path / "a" / "b")
    assert len(comparison.trials) == 2
    assert math.isfinite(comparison.best_objective)
    assert (tmp_path / "a" / "b" / "comparison.json").exists()


def test_folder_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a folder that can be made"):
        mo.compare(plain_scenario(), ["greedy"], out=tmp_path / "file")
