"""Comparisons that were cut short go on from the trials that had ended."""

from __future__ import annotations

import json

import pytest
from small_plans import hand_made_plan
from small_scenarios import plain_scenario

from mafl_opt.core.errors import InputError
from mafl_opt.solvers import compare
from mafl_opt.solvers.compare import compare_backends
from mafl_opt.solvers.trials import Ending, Trial

BACKENDS = ("greedy", "fedavg", "random")


@pytest.fixture
def tried(monkeypatch):
    """Names of the backends whose process was started; `fedavg` fails."""
    names = []

    def start(scenario, name, options, end):
        names.append(name)
        if name == "fedavg":
            return Trial(backend=name, ending=Ending.FAILED, message="no luck", seconds=1.0)
        if name == "random":
            return Trial(backend=name, ending=Ending.OVERRAN, message="ended", seconds=2.0)
        plan = hand_made_plan(scenario, seconds=0.5)
        report = compare.check(scenario, plan)
        return Trial(
            backend=name, ending=Ending.DONE, plan=plan, report=report, seconds=3.0,
            cpu_seconds=2.5, peak_memory_bytes=10**8,
        )  # fmt: skip

    monkeypatch.setattr(compare, "_try", start)
    return names


def run(folder, *, resume=True, scenario=None, backends=BACKENDS, **options):
    return compare_backends(
        scenario or plain_scenario(), backends, keep=folder, resume=resume, **options
    )


def test_kept_trials_are_not_repeated_and_say_the_same(tmp_path, tried):
    first = run(tmp_path, resume=False)
    assert tried == list(BACKENDS)
    again = run(tmp_path)
    # What failed is tried again; what ran out of time would again.
    assert tried[3:] == ["fedavg"]
    for one, other in zip(first.trials, again.trials, strict=True):
        for name in ("backend", "ending", "message", "seconds", "cpu_seconds", "peak_memory_bytes",
                     "objective"):  # fmt: skip
            assert getattr(one, name) == getattr(other, name)
    assert again.trials[0].plan.sessions == first.trials[0].plan.sessions
    assert again.trials[0].report.ok
    run(tmp_path, backends=["random", "greedy"])
    assert tried[4:] == []


def test_trials_of_another_comparison_are_not_taken(tmp_path, tried):
    run(tmp_path)
    for changes in (
        {"resume": False},
        {"time_limit": 7.0},
        {"seed": 3},
        {"scenario": plain_scenario().replace(energy_weight=100.0)},
    ):
        tried.clear()
        run(tmp_path, **changes)
        assert "greedy" in tried


def test_nothing_is_resumed_without_a_folder(tried):
    with pytest.raises(InputError, match="resume: expected a folder"):
        run(None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: [], "a trial"),
        (lambda c: {**c, "ending": "failed"}, "ending"),
        (lambda c: {**c, "ending": []}, "ending"),
        (lambda c: {**c, "seconds": True}, "seconds"),
        (lambda c: {**c, "message": 3}, "message"),
        (lambda c: {**c, "cpu_seconds": "2"}, "cpu_seconds"),
    ],
)
def test_damaged_trial_is_refused(tmp_path, tried, change, words):
    run(tmp_path)
    path = tmp_path / "greedy.trial.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(InputError, match=words):
        run(tmp_path)


def test_trial_without_its_plan_is_refused(tmp_path, tried):
    run(tmp_path)
    (tmp_path / "greedy.json").unlink()
    with pytest.raises(InputError, match=r"greedy\.json"):
        run(tmp_path)
