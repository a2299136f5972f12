"""The runner: nothing done twice, nothing lost, nothing mixed, whatever ends the process."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mafl_opt as mo
from mafl_opt.core.errors import InputError
from mafl_opt.core.locks import claim
from mafl_opt.studies.cell import Cell
from mafl_opt.studies.description import describe, studies
from mafl_opt.studies.engines import compute
from mafl_opt.studies.run_files import run_path
from mafl_opt.studies.worlds import scenario_digest

#: Plans only, so that a run takes milliseconds.
STUDY = "heterogeneity"
FILES = ("results.csv", "results.parquet", "reading.md", f"{STUDY}.png", f"{STUDY}.svg")
COMMAND = [sys.executable, "-c", "from mafl_opt.cli.main import main; main()", "study", STUDY,
           "--tiny", "--quiet"]  # fmt: skip


def contents(folder):
    return {name: (Path(folder) / name).read_bytes() for name in FILES}


def runs(folder):
    return sorted(p for p in (Path(folder) / "runs").glob("*.json") if p.name[0] != ".")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the folder of an undisturbed study."""
    folder = tmp_path_factory.mktemp("whole")
    mo.study(STUDY, out=folder, tiny=True, seeds=6)
    return folder


def test_study_does_no_run_twice(whole, tmp_path):
    first = mo.study(STUDY, out=tmp_path, tiny=True, seeds=3)
    assert (first.state.runs, first.state.computed) == (6, 6)
    stamps = {path: path.stat().st_mtime_ns for path in runs(tmp_path)}
    again = mo.study(STUDY, out=tmp_path, tiny=True, seeds=6)
    assert (again.state.runs, again.state.reused, again.state.computed) == (12, 6, 6)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert contents(tmp_path) == contents(whole)


def test_study_with_processes_equals_one_without(whole, tmp_path):
    mo.study(STUDY, out=tmp_path, tiny=True, seeds=6, engine="processes", workers=2)
    assert contents(tmp_path) == contents(whole)


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "another"])
def test_damaged_run_is_done_again_and_said(whole, tmp_path, damage):
    mo.study(STUDY, out=tmp_path, tiny=True, seeds=6)
    path, other = runs(tmp_path)[:2]
    text = path.read_text()
    path.write_text({
        "cut": text[: len(text) // 2],
        "changed": text.replace('"objective": ', '"objective": 1', 1),
        "empty": "",
        "another": other.read_text(),
    }[damage])  # fmt: skip
    assert path.read_text() != text
    result = mo.study(STUDY, out=tmp_path, tiny=True, seeds=6)
    assert (result.state.reused, result.state.computed) == (11, 1)
    (note,) = result.notes
    assert path.name in note
    assert contents(tmp_path) == contents(whole)


def test_run_that_another_process_is_at_is_left_to_it(tmp_path):
    cell = next(describe(STUDY, tiny=True).cells())
    world = scenario_digest(cell)
    (tmp_path / "runs").mkdir()
    path = run_path(tmp_path, cell.key(world))
    with claim(path.with_suffix(".lock")):
        assert compute((tmp_path, cell, world)) is False
        assert not path.exists()
    assert compute((tmp_path, cell, world)) is True
    assert path.exists()


def test_study_says_that_it_waits_for_another_process(tmp_path):
    """And goes on when the other one is gone, whether or not that finished its run."""
    cell = next(describe(STUDY, tiny=True).cells())
    (tmp_path / "runs").mkdir()
    held = run_path(tmp_path, cell.key(scenario_digest(cell))).with_suffix(".lock")
    stack, said = contextlib.ExitStack(), []
    assert stack.enter_context(claim(held))

    def progress(message, fraction):
        said.append(message)
        if "another process" in message:
            stack.close()

    result = mo.study(STUDY, out=tmp_path, tiny=True, seeds=1, progress=progress)
    assert result.state.computed == 2
    assert "1 runs are with another process" in said


def test_two_studies_at_once_do_not_mix(whole, tmp_path):
    both = [subprocess.Popen([*COMMAND, "--seeds", "6", "--out", str(tmp_path)]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert contents(tmp_path) == contents(whole)
    assert len(list((tmp_path / "runs").iterdir())) == 12


def test_killed_study_goes_on_where_it_was(whole, tmp_path):
    generator = random.Random(20230513)
    kills = 0
    while kills < 5:
        before = len(runs(tmp_path))
        process = subprocess.Popen([*COMMAND, "--seeds", "6", "--out", str(tmp_path)])
        # By what is there, not by the clock: a slow machine would only ever be killed at the start.
        aim = before + generator.randint(1, 2)
        while process.poll() is None and len(runs(tmp_path)) < aim:
            time.sleep(0.001)
        time.sleep(generator.uniform(0.0, 0.02))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
        assert len(runs(tmp_path)) >= before
        if len(runs(tmp_path)) == 12:
            for path in runs(tmp_path)[::2]:
                path.unlink()
    # As of a kill in the middle of a write.
    path = runs(tmp_path)[0]
    half = [path.with_name(f".{path.name}.ab12_xyz.json"), tmp_path / ".results.csv.ab12_xyz.csv"]
    path.unlink()
    for left in half:
        left.write_text("{")
    mo.study(STUDY, out=tmp_path, tiny=True, seeds=6)
    assert contents(tmp_path) == contents(whole)
    assert not any(left.exists() for left in half)


def children(process):
    """Return the processes that a process has started."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not listed.exists():
        pytest.skip("the system does not list children")
    return [int(word) for word in listed.read_text().split()]


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_worker_processes_end_with_the_study(tmp_path, end):
    process = subprocess.Popen(
        [*COMMAND, "--seeds", "400", "--engine", "processes", "--workers", "2",
         "--out", str(tmp_path)],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (tmp_path / "runs").exists() or not runs(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = children(process)
    assert workers
    process.send_signal(end)
    _, said = process.communicate()
    if end is signal.SIGINT:
        assert process.returncode == 130
        assert "of 800 runs are finished and kept" in said
    while any(is_there(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_interrupted_planning_is_no_result(tmp_path, monkeypatch):
    """Backends return what they have on Ctrl-C; that must not be kept as if it were finished."""
    from mafl_opt.solvers import greedy

    def interrupted(schedule, stop=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(greedy, "fill", interrupted)
    cell = Cell(study=STUDY, axes={"scale": 0.5}, seed=77,
                settings=describe(STUDY, tiny=True).settings)  # fmt: skip
    (tmp_path / "runs").mkdir()
    with pytest.raises(KeyboardInterrupt):
        compute((tmp_path, cell, scenario_digest(cell)))
    assert list((tmp_path / "runs").iterdir()) == []


def test_folder_of_another_study_is_refused(whole):
    with pytest.raises(
        InputError, match="a folder of the study scalability, found 'heterogeneity'"
    ):
        mo.study("scalability", out=whole, tiny=True)


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"seeds": 0}, "seeds"),
        ({"seeds": True}, "seeds"),
        ({"engine": "cloud"}, "engine"),
        ({"workers": 2}, "workers"),
        ({"workers": 0, "engine": "processes"}, "workers"),
        ({"data": "somewhere"}, "data"),
    ],
)
def test_bad_option_names_itself(tmp_path, options, where):
    with pytest.raises(InputError) as caught:
        mo.study(STUDY, out=tmp_path, tiny=True, **options)
    assert caught.value.path == where


def test_unknown_study_names_the_known_ones(tmp_path):
    with pytest.raises(InputError, match="energy-accuracy"):
        mo.study("alchemy", out=tmp_path)


def test_key_depends_on_everything_that_decides_the_result():
    settings = {"devices": 3}
    cell = Cell(study="a", axes={"x": 1.0}, settings=settings, seed=1, data="here")
    keys = {
        cell.key("w"),
        Cell(study="b", axes={"x": 1.0}, settings=settings, seed=1).key("w"),
        Cell(study="a", axes={"x": 2.0}, settings=settings, seed=1).key("w"),
        Cell(study="a", axes={"x": 1.0}, settings={"devices": 4}, seed=1).key("w"),
        Cell(study="a", axes={"x": 1.0}, settings=settings, seed=2).key("w"),
        cell.key("another world"),
    }
    assert len(keys) == 6
    moved = Cell(study="a", axes={"x": 1.0}, settings=settings, seed=1, data="there")
    assert moved.key("w") == cell.key("w")


def test_run_file_says_what_it_is_of(whole):
    body = json.loads(runs(whole)[0].read_text())
    assert body["inputs"]["study"] == STUDY
    assert body["inputs"]["mafl_opt"] == mo.__version__
    assert {"seed", "axes", "settings", "world", "versions"} <= set(body["inputs"])


def test_times_are_apart_from_results(whole):
    import pyarrow.parquet as pq

    table = pq.read_table(whole / "results.parquet")
    assert table.num_rows == 12
    assert not [name for name in table.column_names if "seconds" in name]
    head = (whole / "results.csv").read_text().splitlines()[0].split(",")
    assert head == table.column_names
    assert "run_cpu_seconds" in (whole / "timings.csv").read_text().splitlines()[0]


def test_every_study_has_a_description_and_a_module():
    from mafl_opt.studies.experiment import get_experiment

    assert len(studies()) == 12
    for name in studies():
        description = describe(name)
        assert description.question.endswith("?")
        assert get_experiment(name).run
        assert list(describe(name, tiny=True).cells())
