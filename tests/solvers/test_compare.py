from __future__ import annotations

import os
import time

import pytest
from compare_plugins import install_plugins
from small_scenarios import plain_scenario

from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan
from mafl_opt.solvers import registry
from mafl_opt.solvers.compare import Comparison, Ending, Trial, compare_backends
from mafl_opt.solvers.trial import COST, JOB, PLAN, SCENARIO, peak_memory, run_trial


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """The registry with backends that end badly."""
    install_plugins(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    registry._found.cache_clear()
    yield
    registry._found.cache_clear()


def only(comparison) -> Trial:
    (trial,) = comparison.trials
    return trial


def test_backends_run_in_other_processes_and_are_checked_here():
    comparison = compare_backends(plain_scenario(), ["conic", "greedy"], gap=1e-9)
    conic, greedy = comparison.trials
    assert (conic.backend, greedy.backend) == ("conic", "greedy")
    assert all(trial.ending is Ending.DONE for trial in comparison.trials)
    assert conic.report.ok
    assert greedy.report.ok
    assert conic.certified_bound == conic.plan.bound == comparison.best_bound
    assert greedy.claimed_bound is None
    assert comparison.best_objective == min(conic.objective, greedy.objective)
    expected = (greedy.objective - comparison.best_bound) / greedy.objective
    assert comparison.gap(greedy.objective) == pytest.approx(expected)
    assert conic.seconds >= conic.plan.seconds
    assert conic.cpu_seconds > 0
    # An interpreter with numpy takes some 30 MiB, and the conic backend brings cvxpy.
    assert 2e7 < greedy.peak_memory_bytes < conic.peak_memory_bytes < 2e9


def test_same_plan_as_in_this_process():
    scenario = plain_scenario()
    there = only(compare_backends(scenario, ["random"], seed=5)).plan
    here = registry.solve(scenario, "random", seed=5)
    assert there.sessions == here.sessions
    assert there.scenario_sha256 == scenario.sha256


@pytest.mark.parametrize(
    ("backend", "ending", "words"),
    [
        ("raises", Ending.FAILED, "ValueError: no luck today"),
        ("exits", Ending.FAILED, "exit code 7"),
        ("dies", Ending.CRASHED, "SIGSEGV"),
        ("refuses", Ending.REFUSED, "scenario: expected a smaller one, found 12"),
        ("lacks", Ending.MISSING, "pip install something"),
        ("garbles", Ending.FAILED, "its plan cannot be read: plan.backend"),
    ],
)
def test_bad_ending_is_a_trial_that_says_what_happened(plugins, backend, ending, words):
    comparison = compare_backends(plain_scenario(), [backend, "greedy"])
    trial, greedy = comparison.trials
    assert trial.ending is ending
    assert words in trial.message
    assert "\n" not in trial.message
    assert (trial.plan, trial.report, trial.objective) == (None, None, None)
    assert greedy.ending is Ending.DONE


def test_exit_without_error_and_without_plan_is_a_failure(plugins, monkeypatch):
    monkeypatch.setenv("EXITS_WITH", "0")
    assert only(compare_backends(plain_scenario(), ["exits"])).ending is Ending.FAILED


def test_process_that_overruns_is_ended(plugins):
    began = time.monotonic()
    trial = only(compare_backends(plain_scenario(), ["sleeps"], time_limit=1.0, grace=9.0))
    assert trial.ending is Ending.OVERRAN
    assert 10.0 <= trial.seconds <= time.monotonic() - began < 60.0
    # What it held when it was ended is known all the same.
    assert trial.peak_memory_bytes > 80_000_000


def test_false_claims_fail_the_check_and_count_for_nothing(plugins):
    comparison = compare_backends(plain_scenario(), ["lies", "greedy"])
    lies, greedy = comparison.trials
    assert lies.ending is Ending.DONE
    assert not lies.report.ok
    assert lies.objective is None
    assert lies.claimed_bound is None
    assert comparison.best_objective == greedy.objective
    assert comparison.best_bound is None
    assert comparison.gap(greedy.objective) is None


def test_claim_without_certificate_is_shown_but_is_no_best_bound(plugins):
    comparison = compare_backends(plain_scenario(), ["claims"])
    trial = only(comparison)
    assert trial.report.ok
    assert trial.claimed_bound == trial.objective
    assert trial.certified_bound is None
    assert comparison.best_bound is None


def test_all_available_backends_by_default(plugins):
    infos = registry.backends()
    assert "lacks" in {info.name for info in infos}
    available = [info.name for info in infos if info.available]
    kept = {name: registry._found()[name] for name in ("greedy", "lacks", "raises")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_found", lambda: kept)
        comparison = compare_backends(plain_scenario())
    assert [trial.backend for trial in comparison.trials] == ["greedy", "raises"]
    assert set(available) > {"greedy", "raises"}


def test_infeasible_scenario_is_a_trial_without_objective():
    scenario = plain_scenario(**{"devices.energy_budget_j": [0.0, 0.0]})
    trial = only(compare_backends(scenario, ["greedy"]))
    assert trial.ending is Ending.DONE
    assert (trial.objective, trial.report) == (None, None)


@pytest.mark.parametrize(
    ("backends", "options", "path"),
    [
        (["greedy", "nobody"], {}, r"backends\[1\]"),
        (["greedy", "greedy"], {}, r"backends\[1\]"),
        ([], {}, "backends"),
        (["greedy"], {"gap": 0.1}, "gap"),
        (["greedy"], {"colour": 1}, "colour"),
    ],
)
def test_bad_call_is_refused_before_anything_runs(backends, options, path):
    with pytest.raises(InputError, match=f"^{path}: "):
        compare_backends(plain_scenario(), backends, **options)


def test_option_goes_to_the_backends_that_take_it():
    # `greedy` refuses a seed, `random` takes one.
    comparison = compare_backends(plain_scenario(), ["greedy", "random"], seed=3)
    assert [trial.ending for trial in comparison.trials] == [Ending.DONE, Ending.DONE]


def test_progress_names_the_backends():
    told = []
    compare_backends(
        plain_scenario(),
        ["greedy", "fedavg"],
        progress=lambda text, part: told.append((text, part)),
    )
    assert told == [("greedy", 0.0), ("fedavg", 0.5)]


def test_trial_leaves_plan_and_cost(tmp_path):
    scenario = plain_scenario()
    (tmp_path / SCENARIO).write_text(scenario.to_json())
    (tmp_path / JOB).write_text('{"backend": "greedy", "options": {}}')
    run_trial(tmp_path)
    assert Plan.load(tmp_path / PLAN).backend == "greedy"
    assert (tmp_path / COST).exists()


def test_peak_memory_is_that_of_the_process_or_none():
    assert peak_memory() > 1e7
    assert peak_memory(os.getpid()) == pytest.approx(peak_memory(), rel=0.1)
    assert peak_memory(2**30) is None


def test_gap_needs_objective_and_bound():
    empty = Comparison(scenario_sha256="", time_limit=None, trials=())
    assert empty.gap(1.0) is None
    assert empty.best_objective is None
