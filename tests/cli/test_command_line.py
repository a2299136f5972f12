from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from click.testing import CliRunner
from small_plans import hand_made_plan
from small_scenarios import plain_scenario

from mafl_opt.cli.main import main
from mafl_opt.core.certificate import certified_bound
from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.solvers.registry import solve as solve_scenario

HEAVY = ("torch", "cvxpy", "pyomo", "numpy", "matplotlib")


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def program(*arguments, folder):
    """Run the installed console script; return exit code, stdout and stderr."""
    script = Path(sysconfig.get_path("scripts")) / "mafl-opt"
    done = subprocess.run(
        [script, *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def assert_refused(result, *words):
    """Bad input: exit code 2, one line on stderr that holds `words`, nothing on stdout."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("mafl-opt: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


@pytest.fixture
def files(tmp_path):
    """A folder with a small scenario and a feasible plan."""
    scenario = plain_scenario()
    (tmp_path / "scenario.json").write_text(scenario.to_json(), encoding="utf-8")
    hand_made_plan(scenario).save(tmp_path / "plan.json")
    return tmp_path


@pytest.fixture
def solver(monkeypatch):
    """A stand-in for `solve` that records its options and returns `solver.plan` or raises it."""

    class Stub:
        plan = None
        calls = ()

        def __call__(self, scenario, backend="conic", *, progress=None, **options):
            self.calls = (*self.calls, {"backend": backend, **options})
            if progress is not None:
                progress("half way", 0.5)
            answer = self.plan if self.plan is not None else hand_made_plan(scenario)
            if isinstance(answer, BaseException):
                raise answer
            return answer

    stub = Stub()
    monkeypatch.setattr("mafl_opt.solvers.registry.solve", stub)
    return stub


# -- start ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", ["import mafl_opt", "from mafl_opt.cli.main import main; main(['--help'])"]
)
def test_start_imports_nothing_heavy(code):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "mafl_opt" in imported
    assert not [name for name in imported if name.partition(".")[0] in HEAVY]


def test_help_lists_every_command():
    result = run("--help")
    assert result.exit_code == 0
    for name in ("init", "show", "solve", "check", "replay", "demo", "backends"):
        assert f"\n  {name} " in result.stdout
    assert run().stdout == result.stdout


def test_version_is_the_packages():
    import mafl_opt

    assert run("--version").stdout == f"mafl-opt, version {mafl_opt.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--bogus",), "--bogus"),
        (("nonsense",), "nonsense"),
        (("solve",), "SCENARIO"),
        (("solve", "default"), "--out"),
        (("solve", "default", "--out", "p.json", "--time-limit", "nan"), "--time-limit"),
        (("solve", "default", "--out", "p.json", "--time-limit", "-1"), "--time-limit"),
        (("solve", "default", "--out", "p.json", "--gap", "inf"), "--gap"),
        (("solve", "default", "--out", "p.json", "--seed", "-1"), "--seed"),
        (("demo", "--seeds", "0"), "--seeds"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_flag(arguments, words):
    assert_refused(run(*arguments), words, "--help")


# -- scenarios -----------------------------------------------------------------------------


def test_init_writes_the_default_scenario(tmp_path):
    result = run("init", tmp_path / "mine.toml")
    assert result.exit_code == 0
    assert Scenario.load(tmp_path / "mine.toml") == Scenario.default()


def test_init_overwrites_only_when_forced(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("precious", encoding="utf-8")
    assert_refused(run("init", path), "mine.toml", "--force")
    assert path.read_text(encoding="utf-8") == "precious"
    assert run("init", path, "--force").exit_code == 0
    assert Scenario.load(path) == Scenario.default()


def test_init_refuses_another_suffix(tmp_path):
    assert_refused(run("init", tmp_path / "mine.yaml"), ".toml")


def test_show_prints_json_that_is_a_scenario_file(tmp_path):
    result = run("show", "default", "--json")
    assert result.exit_code == 0
    (tmp_path / "again.json").write_text(result.stdout, encoding="utf-8")
    assert Scenario.load(tmp_path / "again.json") == Scenario.default()
    assert run("show", tmp_path / "again.json", "--json").stdout == result.stdout


def test_show_prints_a_table_for_people(files):
    result = run("show", files / "scenario.json")
    assert result.exit_code == 0
    assert "2 devices, 2 tasks, 3 slots" in result.stdout


def test_show_names_the_field_that_is_wrong(files):
    data = json.loads((files / "scenario.json").read_text(encoding="utf-8"))
    data["devices"]["tx_power_w"][1] = -0.5
    (files / "scenario.json").write_text(json.dumps(data), encoding="utf-8")
    assert_refused(run("show", files / "scenario.json"), "devices.tx_power_w[1]", "-0.5")


@pytest.mark.parametrize(
    "command", [("show",), ("check", "PLAN"), ("replay", "PLAN", "--out", "OUT")]
)
def test_missing_files_are_named(files, command):
    rest = [{"PLAN": files / "plan.json", "OUT": files / "r.json"}.get(x, x) for x in command[1:]]
    assert_refused(run(command[0], files / "no.json", *rest), "no.json")


# -- solve ---------------------------------------------------------------------------------


def test_solve_writes_the_plan_and_passes_on_only_given_flags(files, solver):
    result = run("solve", files / "scenario.json", "--backend", "greedy", "--seed", 0,
                 "--out", files / "out.json")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert solver.calls == ({"backend": "greedy", "seed": 0},)
    assert len(Plan.load(files / "out.json").sessions) == 4
    assert "check     passed" in result.stdout


def test_solve_passes_every_flag_on(files, solver):
    result = run(
        "solve", files / "scenario.json", "--time-limit", 2.5, "--gap", 0.01, "--start",
        files / "plan.json", "--solver", "ecos", "--out", files / "out.parquet",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (call,) = solver.calls
    assert call.pop("start").sessions == Plan.load(files / "plan.json").sessions
    assert call == {"backend": "conic", "time_limit": 2.5, "gap": 0.01, "solver": "ecos"}
    assert len(Plan.load(files / "out.parquet").sessions) == 4


def test_solve_passes_engine_and_checkpoints_on(files, solver):
    result = run(
        "solve", files / "scenario.json", "--backend", "prices", "--engine", "ray", "--checkpoint",
        files / "b.npz", "--resume", files / "a.npz", "--out", files / "out.json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (call,) = solver.calls
    assert call == {
        "backend": "prices", "engine": "ray", "checkpoint": str(files / "b.npz"),
        "resume": str(files / "a.npz"),
    }  # fmt: skip


def test_solve_on_a_gpu_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    scenario = Scenario.draw(devices=70, tasks=1, slots=3, seed=0)
    (tmp_path / "fleet.json").write_text(scenario.to_json(), encoding="utf-8")
    result = run(
        "solve", tmp_path / "fleet.json", "--backend", "prices", "--engine", "torch", "--quiet",
        "--out", tmp_path / "out.json",
    )  # fmt: skip
    assert_refused(result, "engine", "a CUDA device that torch sees", "leave engine out")


@pytest.mark.parametrize(
    ("name", "words"), [("b.txt", "ending in .json or .npz"), ("no/b.npz", "existing folder")]
)
def test_solve_refuses_a_bad_checkpoint_name_before_solving(files, solver, name, words):
    result = run("solve", files / "scenario.json", "--checkpoint", files / name,
                 "--out", files / "out.json")  # fmt: skip
    assert_refused(result, words)
    assert solver.calls == ()


def test_solve_prints_one_json_object_and_no_progress(files, solver):
    result = run("solve", files / "scenario.json", "--out", files / "out.json", "--json")
    answer = json.loads(result.stdout)
    assert result.stderr == ""
    assert answer["plan"] == str(files / "out.json")
    assert answer["point"] == "FEASIBLE"
    assert answer["sessions"] == 4


def test_solve_shows_progress_on_stderr_unless_quiet(files, solver):
    arguments = ("solve", files / "scenario.json", "--out", files / "out.json")
    loud, quiet = run(*arguments), run(*arguments, "--quiet")
    assert loud.stderr == "conic: 50% half way\n"
    assert quiet.stderr == ""
    assert loud.stdout == quiet.stdout


def test_solve_without_a_feasible_plan_still_writes_it_and_fails(files, solver):
    solver.plan = hand_made_plan(
        plain_scenario(), sessions=Sessions.empty(), objective=None, point=PointStatus.NONE,
        termination=Termination.INFEASIBLE,
    )  # fmt: skip
    result = run("solve", files / "scenario.json", "--out", files / "out.json", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["termination"] == "INFEASIBLE"
    assert Plan.load(files / "out.json").termination is Termination.INFEASIBLE


def test_solve_fails_when_the_check_does(files, solver):
    solver.plan = hand_made_plan(plain_scenario(), objective=1.0)
    result = run("solve", files / "scenario.json", "--out", files / "out.json")
    assert result.exit_code == 1
    assert "check     FAILED" in result.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [("out.txt", ".json"), ("nowhere/out.json", "nowhere"), ("folder.json", "a folder")],
)
def test_solve_refuses_a_bad_output_name_before_solving(files, solver, name, words):
    (files / "folder.json").mkdir()
    before = sorted(files.iterdir())
    assert_refused(run("solve", files / "scenario.json", "--out", files / name), words)
    assert solver.calls == ()
    assert sorted(files.iterdir()) == before


def test_results_never_overwrite_their_input(files, solver):
    scenario, plan = files / "scenario.json", files / "plan.json"
    before = scenario.read_bytes(), plan.read_bytes()
    assert_refused(run("solve", scenario, "--out", scenario), "scenario.json", "input")
    assert_refused(run("replay", scenario, plan, "--out", plan), "plan.json", "input")
    assert (scenario.read_bytes(), plan.read_bytes()) == before


def test_solve_refuses_a_closed_folder_before_solving(files, solver, monkeypatch):
    # Root may write anywhere, so a closed folder is played.
    monkeypatch.setattr("mafl_opt.cli.arguments.os.access", lambda _path, _mode: False)
    result = run("solve", files / "scenario.json", "--out", files / "out.json")
    assert_refused(result, "a folder one may write to")
    assert solver.calls == ()


def test_interrupted_work_exits_130_and_leaves_no_file(files, solver):
    solver.plan = KeyboardInterrupt()
    result = run("solve", files / "scenario.json", "--out", files / "out.json")
    assert result.exit_code == 130
    assert result.stderr.endswith("mafl-opt: interrupted\n")
    assert not (files / "out.json").exists()


def test_full_disk_is_one_line_and_keeps_the_old_file(files, solver, monkeypatch):
    def full(*_arguments, **_named):
        raise OSError(28, "No space left on device", "out.json")

    (files / "out.json").write_text("old", encoding="utf-8")
    monkeypatch.setattr(Path, "write_text", full)
    assert_refused(
        run("solve", files / "scenario.json", "--out", files / "out.json", "--quiet"),
        "out.json: No space left on device",
    )
    assert (files / "out.json").read_text(encoding="utf-8") == "old"
    assert not list(files.glob(".out*"))


@pytest.mark.parametrize(
    ("flags", "word"),
    [(("--backend", "nobody"), "nobody"), (("--backend", "fedavg", "--gap", "0.1"), "gap")],
)
def test_solve_refuses_unknown_backends_and_unusable_flags_by_name(files, flags, word):
    result = run("solve", files / "scenario.json", *flags, "--out", files / "out.json", "--quiet")
    assert_refused(result, word)
    assert not (files / "out.json").exists()


# -- check ---------------------------------------------------------------------------------


def test_check_passes_a_good_plan(files):
    result = run("check", files / "scenario.json", files / "plan.json", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["ok"] is True
    assert report["violations"] == []


def test_check_fails_a_broken_plan_and_names_the_constraint(files):
    data = json.loads((files / "plan.json").read_text(encoding="utf-8"))
    data["sessions"][0]["cpu_hz"] = 9e9
    (files / "plan.json").write_text(json.dumps(data), encoding="utf-8")
    result = run("check", files / "scenario.json", files / "plan.json")
    assert result.exit_code == 1
    assert "box" in result.stdout
    as_json = run("check", files / "scenario.json", files / "plan.json", "--json")
    assert as_json.exit_code == 1
    assert "box" in {entry["constraint"] for entry in json.loads(as_json.stdout)["violations"]}


@pytest.mark.parametrize(
    ("share", "bound", "words", "code"),
    [
        (0.99, 0.99, "proof     proved: no feasible plan lies below", 0),
        (0.99, 1.01, "proof     lower than claimed", 1),
        (None, 0.99, "proof     none: the plan carries no certificate", 1),
        (0.99, None, "proof     none: the plan claims no bound", 1),
    ],
)
def test_check_of_a_certificate_says_what_became_of_the_bound(files, share, bound, words, code):
    """The floor, which needs no prices, is what an empty list of leaves proves."""
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    empty = {"kind": "lagrangian", "bound": 1e9, "leaves": []}
    floor = certified_bound(scenario, empty)
    certificate = None if share is None else {**empty, "bound": share * floor}
    stated = None if bound is None else bound * floor
    plan.replace(bound=stated, certificate=certificate).save(files / "plan.json")
    arguments = ("check", files / "scenario.json", files / "plan.json", "--certificate")
    result = run(*arguments)
    assert result.exit_code == code
    assert words in result.stdout
    as_json = run(*arguments, "--json")
    assert as_json.exit_code == code
    assert json.loads(as_json.stdout)["is_proved"] is (code == 0)


def test_check_refuses_an_unreadable_plan_with_the_path_of_the_entry(files):
    data = json.loads((files / "plan.json").read_text(encoding="utf-8"))
    data["sessions"][2]["batch_size"] = "two"
    (files / "plan.json").write_text(json.dumps(data), encoding="utf-8")
    result = run("check", files / "scenario.json", files / "plan.json")
    assert_refused(result, "sessions[2].batch_size", "'two'")


# -- replay --------------------------------------------------------------------------------


def test_replay_refuses_a_plan_that_fails_the_check(files):
    hand_made_plan(plain_scenario(), objective=1.0).save(files / "plan.json")
    result = run("replay", files / "scenario.json", files / "plan.json", "--out", files / "r.json")
    assert result.exit_code == 1
    assert "fails the check: objective" in result.stderr
    assert not (files / "r.json").exists()


def test_replay_refuses_a_bad_output_name(files):
    result = run("replay", files / "scenario.json", files / "plan.json", "--out", files / "r.csv")
    assert_refused(result, ".json")


def test_replay_writes_what_it_prints(files):
    arguments = ("replay", files / "scenario.json", files / "plan.json", "--out", files / "r.json")
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert result.stderr == ""
    assert set(answer["accuracy"]) == set(answer["loss"]) == {"digits", "signals"}
    assert answer["energy_j"] == pytest.approx(0.0567665, rel=1e-5)
    assert json.loads((files / "r.json").read_text(encoding="utf-8"))
    people = run(*arguments, "--quiet")
    assert "test accuracy" in people.stdout


# -- the installed program -----------------------------------------------------------------


def test_backends_are_listed_for_people_and_machines():
    listed = json.loads(run("backends", "--json").stdout)
    names = {entry["name"] for entry in listed}
    assert {"conic", "greedy", "fedavg", "fedasync", "random"} <= names
    text = run("backends").stdout
    assert all(name in text for name in names)


def test_program_solves_checks_and_refuses_from_a_shell(files):
    code, out, _ = program("solve", "scenario.json", "--backend", "greedy", "--out", "g.json",
                           "--json", folder=files)  # fmt: skip
    assert (code, json.loads(out)["check_ok"]) == (0, True)
    assert program("check", "scenario.json", "g.json", folder=files)[0] == 0
    data = json.loads((files / "g.json").read_text(encoding="utf-8"))
    data["sessions"][0]["iterations"] = 99
    (files / "g.json").write_text(json.dumps(data), encoding="utf-8")
    assert program("check", "scenario.json", "g.json", folder=files)[0] == 1
    code, out, err = program("check", "scenario.json", "none.json", folder=files)
    assert (code, out) == (2, "")
    assert "none.json" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("devices", "chosen", "told"),
    [
        (41, (), True),
        (40, (), False),
        (41, ("--backend", "conic"), False),
        (41, ("--quiet",), False),
    ],
)
def test_the_default_on_a_large_fleet_points_to_prices(solver, tmp_path, devices, chosen, told):
    scenario = Scenario.draw(devices=devices, tasks=2, slots=3, seed=0)
    (tmp_path / "many.json").write_text(scenario.to_json(), encoding="utf-8")
    solver.plan = solve_scenario(scenario, "greedy")
    result = run("solve", tmp_path / "many.json", "--out", tmp_path / "p.json", *chosen)
    assert result.exit_code == 0, result.output
    assert ("--backend prices" in result.stderr) == told
