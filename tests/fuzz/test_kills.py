"""Killed at any moment, work goes on from its checkpoint to the result of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from federated_runs import small_run, small_system
from fuzz_cases import NIGHTLY
from kills import killed_after, leftovers
from replay_inputs import plan_of, point_clouds, replay_scenario
from small_scenarios import plain_scenario

from mafl_opt.core.files import parse_json, read_text
from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.status import Termination
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Options, Run
from mafl_opt.solvers.prices import fleet, patterns
from mafl_opt.solvers.prices.fleet import checkpoint, sample
from mafl_opt.solvers.prices.patterns import checkpoint as patterns_checkpoint
from mafl_opt.validation.replay import replay

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

KILLS = 50 if NIGHTLY else 6
GAP = 1e-3


def kill_often(work, path, *, seconds, kills, seed=0):
    """Kill work `kills` times at random moments, resuming it each time; returns how many hit.

    `work` gets the file to resume from, or None. When a run comes to its end before its time, the
    file is removed and the work begins anew.
    """
    moments = random.Random(seed)
    hit = 0
    while hit < kills:
        source = path if path.exists() else None
        if killed_after(moments.uniform(0, seconds), lambda source=source: work(source)):
            path.unlink()
            continue
        hit += 1
        assert len([name for name in leftovers(path.parent) if not name.endswith(".lock")]) <= 1
    return path if path.exists() else None


def test_prices_resume_after_kills_as_if_undisturbed(tmp_path, monkeypatch):
    # Both oracles have a log, and the file is written at every answer.
    monkeypatch.setattr(sample, "_LEAST", 100)
    monkeypatch.setattr(sample, "_MOST", 100)
    monkeypatch.setattr(checkpoint, "_EVERY_S", 0.0)
    problem = Problem(scenario=Scenario.draw(devices=240, tasks=2, slots=6, seed=3))
    path = tmp_path / "search.npz"

    def solve(source=None, **options):
        run = Run(problem=problem, options=Options(gap=2e-4, **options))
        return run, fleet.solve(run)[0]

    whole, certificate = solve()
    began = time.monotonic()
    solve(checkpoint=str(path))
    seconds = time.monotonic() - began
    path.unlink()

    def work(source):
        solve(**({"checkpoint": str(path)} if source is None else {"resume": str(source)}))

    source = kill_often(work, path, seconds=seconds, kills=KILLS)
    resumed, found = solve(**({} if source is None else {"resume": str(source)}))
    assert found == certificate
    assert resumed.objective == whole.objective and resumed.bound == whole.bound
    assert resumed.best.sessions() == whole.best.sessions()
    assert leftovers(tmp_path) == []


def test_branching_resumes_after_kills_and_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(patterns_checkpoint, "_EVERY_S", 0.0)
    problem = Problem(scenario=Scenario.draw(devices=3, tasks=2, slots=4, seed=1))
    path = tmp_path / "search.json"

    def solve(source=None, **options):
        run = Run(problem=problem, options=Options(gap=GAP, **options))
        return run, patterns.solve(run)

    whole, _ = solve()
    began = time.monotonic()
    solve(checkpoint=str(path))
    seconds = time.monotonic() - began
    path.unlink()

    def work(source):
        solve(**({"checkpoint": str(path)} if source is None else {"resume": str(source)}))

    source = kill_often(work, path, seconds=seconds, kills=KILLS)
    resumed, certificate = solve(**({} if source is None else {"resume": str(source)}))
    # Another order of nodes finds another of the plans within the gap.
    assert resumed.objective == pytest.approx(whole.objective, rel=GAP)
    plan = resumed.plan("prices", Termination.GAP_REACHED, certificate)
    assert plan.termination is Termination.GAP_REACHED
    assert leftovers(tmp_path) == []


ROWS = ((0, 0, 0, 1, 12, 3), (1, 0, 0, 3, 7, 4), (0, 0, 1, 4, 12, 1), (2, 0, 4, 9, 9, 5),
        (1, 0, 3, 8, 7, 9), (0, 0, 5, 10, 12, 9))  # fmt: skip


def test_replay_resumes_after_kills_with_equal_bits(tmp_path):
    scenario, path = replay_scenario(slots=12), tmp_path / "replay.npz"
    common = {"data": {"points": point_clouds()}, "seed": 4}
    whole = replay(scenario, plan_of(*ROWS), **common)

    def work(source):
        replay(scenario, plan_of(*ROWS), checkpoint=path, resume=source, **common)

    began = time.monotonic()
    work(None)
    seconds = time.monotonic() - began
    path.unlink()
    source = kill_often(work, path, seconds=seconds, kills=KILLS)
    resumed = replay(scenario, plan_of(*ROWS), resume=source, checkpoint=path, **common)
    assert resumed.to_dict() == whole.to_dict()
    assert np.array_equal(resumed.models["points"], whole.models["points"])
    assert leftovers(tmp_path) == []


def test_federated_run_resumes_after_kills_with_equal_bits(tmp_path):
    path, system = tmp_path / "run.npz", small_system("fedbuff")
    whole = small_run(system, rounds=20)

    def work(source):
        small_run(system, rounds=20, checkpoint=path, checkpoint_every=1, resume=source)

    began = time.monotonic()
    work(None)
    seconds = time.monotonic() - began
    path.unlink()
    source = kill_often(work, path, seconds=seconds, kills=KILLS)
    resumed = small_run(system, rounds=20, resume=source, checkpoint=path)
    assert resumed.to_dict() == whole.to_dict() and resumed.same_course(whole)
    assert leftovers(tmp_path) == []


def compare(scenario, folder, *words):
    command = [sys.executable, "-c", "from mafl_opt.cli.main import main; main()"]
    return subprocess.Popen(
        [*command, "compare", str(scenario), "--backends", "greedy,fedavg,random", "--quiet",
         "--out", str(folder), *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def processes_of(word):
    """Command lines of running processes that hold a word."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as stream:
                    line = stream.read()
            except OSError:
                continue
            if word.encode() in line:
                found.append(entry)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc")
def test_killed_comparison_goes_on_and_leaves_no_process(tmp_path, monkeypatch):
    scenario, whole, cut = tmp_path / "s.json", tmp_path / "whole", tmp_path / "cut"
    scenario.write_text(plain_scenario().to_json(), encoding="utf-8")
    # Trials work in folders under this one, which their command lines name.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    began = time.monotonic()
    assert compare(scenario, whole).wait() == 0
    seconds = time.monotonic() - began
    moments = random.Random(1)
    for _ in range(8 if NIGHTLY else 2):
        process = compare(scenario, cut, "--resume")
        with process:
            time.sleep(moments.uniform(0.3, 1.0) * seconds)
            os.kill(process.pid, signal.SIGKILL)
        end = time.monotonic() + 20
        while processes_of(str(tmp_path)) and time.monotonic() < end:
            time.sleep(0.1)
        assert processes_of(str(tmp_path)) == []
        for name in os.listdir(cut):
            if name.endswith(".json"):
                parse_json(read_text(cut / name), name)
    kept = {name: os.stat(cut / name).st_mtime_ns for name in os.listdir(cut) if "trial" in name}
    assert compare(scenario, cut, "--resume").wait() == 0
    assert {name: os.stat(cut / name).st_mtime_ns for name in kept} == kept
    assert set(os.listdir(cut)) == set(os.listdir(whole))
    for name in ("greedy", "fedavg", "random"):
        plans = [Plan.load(folder / f"{name}.json") for folder in (whole, cut)]
        assert plans[0].sessions == plans[1].sessions
        assert plans[0].objective == plans[1].objective
