from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from small_plans import hand_made_plan
from small_scenarios import plain_scenario

from mafl_opt.cli.demo import BACKENDS
from mafl_opt.cli.main import main
from mafl_opt.core.files import write_text
from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario


class FakeReplay:
    """Accuracy that depends on the seed alone."""

    def __init__(self, seed):
        self.accuracy = {"digits": 0.5 + 0.1 * seed, "signals": 0.8}
        self.loss = {"digits": 1.0, "signals": 0.5}
        self.energy_j = 0.05

    def save(self, path):
        write_text(path, json.dumps(self.accuracy))


@pytest.fixture
def small_world(monkeypatch):
    """The demo on a small scenario, with stand-ins for solving, replaying and the slow picture."""
    seeds = []

    def solve(scenario, backend, *, time_limit, progress=None):
        changes = {"objective": 1.0} if backend == solve.liar else {}
        return hand_made_plan(scenario, backend=backend, **changes)

    def replay(_scenario, _plan, *, seed, progress=None):
        seeds.append(seed)
        if progress is not None:
            progress("training", 0.5)
        return FakeReplay(seed)

    def draw_schedule(_scenario, plan, path):
        write_text(path, plan.backend)

    solve.liar = None
    monkeypatch.setattr(Scenario, "default", classmethod(lambda cls: plain_scenario()))
    monkeypatch.setattr("mafl_opt.solvers.registry.solve", solve)
    monkeypatch.setattr("mafl_opt.validation.replay.replay", replay)
    monkeypatch.setattr("mafl_opt.report.schedule.draw_schedule", draw_schedule)
    solve.seeds = seeds
    return solve


def run(*arguments):
    return CliRunner().invoke(main, ["demo", "--quiet", *map(str, arguments)])


def test_demo_prints_one_row_a_backend_and_writes_everything(tmp_path, small_world):
    out = tmp_path / "deep" / "demo"
    result = run("--out", out, "--seeds", 2)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[2:7]] == list(BACKENDS)
    for word in ("objective", "bound", "gap", "energy J", "sessions", "digits acc.", "check"):
        assert word in lines[0]
    # The mean of seeds 0 and 1.
    assert "55.00 %" in lines[2]
    assert str(out) in lines[-1]
    names = {path.name for path in out.iterdir()}
    assert names == {
        "scenario.json", "accuracy_energy.png", "report.html",
        *(f"{name}.json" for name in BACKENDS),
        *(f"schedule_{name}.png" for name in BACKENDS),
        *(f"replay_{name}_{seed}.json" for name in BACKENDS for seed in (0, 1)),
    }  # fmt: skip
    assert small_world.seeds == [0, 1] * len(BACKENDS)


def test_demo_files_pass_the_check_command(tmp_path, small_world):
    run("--out", tmp_path)
    arguments = ["check", str(tmp_path / "scenario.json"), str(tmp_path / "conic.json")]
    assert CliRunner().invoke(main, arguments).exit_code == 0


def test_demo_fails_and_says_why_when_a_check_fails(tmp_path, small_world):
    small_world.liar = "greedy"
    result = run("--out", tmp_path, "--seeds", 1)
    assert result.exit_code == 1
    assert "greedy: objective" in result.stderr
    assert "FAILED" in result.stdout
    assert len(small_world.seeds) == len(BACKENDS) - 1
    assert not (tmp_path / "schedule_greedy.png").exists()
    assert Plan.load(tmp_path / "greedy.json").objective == 1.0


def test_demo_shows_its_progress(tmp_path, small_world):
    result = CliRunner().invoke(main, ["demo", "--out", str(tmp_path), "--seeds", "1"])
    assert result.stderr == "demo: 15% conic: training\n"


def test_demo_runs_on_real_solvers_and_replays(tmp_path, monkeypatch):
    scenario = Scenario.draw(devices=4, tasks=2, slots=4, seed=1)
    monkeypatch.setattr(Scenario, "default", classmethod(lambda cls: scenario))
    result = run("--out", tmp_path, "--seeds", 1)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()[2:7]]
    objectives = {row[0]: float(row[1]) for row in rows}
    assert min(objectives, key=objectives.get) == "conic"
    assert {row[-1] for row in rows} == {"ok"}


def test_demo_refuses_a_file_as_folder(tmp_path, small_world):
    (tmp_path / "out").write_text("", encoding="utf-8")
    result = run("--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "a folder" in result.stderr
    assert small_world.seeds == []
