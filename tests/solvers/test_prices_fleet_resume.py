"""Checkpoints, resumed searches and Ctrl-C of large fleets; engines that change no number."""

import io
import os
import signal
import zipfile

import numpy as np
import pytest

from mafl_opt.core.certificate import certified_bound
from mafl_opt.core.check import check
from mafl_opt.core.errors import InputError
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.status import Termination
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Options, Run
from mafl_opt.solvers.prices import fleet
from mafl_opt.solvers.prices.fleet import engines, sample
from mafl_opt.solvers.prices.fleet.arcs import Table
from mafl_opt.solvers.prices.fleet.checkpoint import Journal
from mafl_opt.solvers.prices.fleet.logs import Answer, AnswerLog, SweepLog
from mafl_opt.solvers.prices.fleet.opening import untrainable_task
from mafl_opt.solvers.registry import solve

# Prices learned on this many devices of all, so that both oracles have a log.
SAMPLE = 100
# Messages of a search in the order of its phases.
PHASES = ("learning", "first plan", "sweep", "price table 1", "price table 2")


@pytest.fixture(autouse=True, scope="module")
def small_sample():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "_LEAST", SAMPLE)
        patch.setattr(sample, "_MOST", SAMPLE)
        yield


def drawn(times):
    """Draw a fleet; few of its devices act where energy is dear."""
    scenario = Scenario.draw(devices=240, tasks=2, slots=6, seed=3)
    return Problem(scenario=scenario.replace(energy_weight=times * scenario.energy_weight))


@pytest.fixture(scope="module", params=[1.0, 40.0], ids=["all act", "few act"])
def problem(request):
    return drawn(request.param)


@pytest.fixture(scope="module")
def sparse():
    return drawn(40.0)


@pytest.fixture(scope="module")
def undisturbed(problem):
    return solved(problem)


def solved(problem, *, cut=None, progress=None, **options):
    """Run the search; `cut` is called with the run when the message at hand begins a phase."""

    def tell(message, _fraction):
        if cut is not None and message.startswith(cut[0]):
            cut[1](run)

    run = Run(
        problem=problem, options=Options(gap=2e-4, **options), progress=progress or tell
    )  # fmt: skip
    return run, fleet.solve(run)[0]


def interrupt(_run):
    raise KeyboardInterrupt


def time_out(run):
    run.termination = Termination.TIME_LIMIT


def assert_same(result, expected):
    (run, certificate), (other, wanted) = result, expected
    assert certificate == wanted
    assert run.bound == other.bound
    assert run.objective == other.objective
    assert run.best.sessions() == other.best.sessions()


@pytest.mark.parametrize("cut", [interrupt, time_out])
@pytest.mark.parametrize("phase", PHASES)
def test_resumed_search_ends_like_an_undisturbed_one(tmp_path, problem, undisturbed, phase, cut):
    file = str(tmp_path / "a.npz")
    run, _ = solved(problem, cut=(phase, cut), checkpoint=file)
    assert run.termination is not None
    assert_same(solved(problem, resume=file), undisturbed)


def test_search_cut_twice_still_ends_alike(tmp_path, problem, undisturbed):
    first, second = str(tmp_path / "a.npz"), str(tmp_path / "b.npz")
    solved(problem, cut=("first plan", interrupt), checkpoint=first)
    solved(problem, cut=("price table 2", time_out), resume=first, checkpoint=second)
    assert_same(solved(problem, resume=second), undisturbed)


def test_finished_search_is_resumed_without_a_question(tmp_path, problem, undisturbed, monkeypatch):
    file = str(tmp_path / "a.npz")
    assert_same(solved(problem, checkpoint=file), undisturbed)

    def asked(*_):
        raise AssertionError("asked again")

    monkeypatch.setattr(engines, "solve_block", asked)
    assert_same(solved(problem, resume=file), undisturbed)


def test_resumed_search_keeps_its_plan_when_it_is_cut_at_once(tmp_path, problem):
    file = str(tmp_path / "a.npz")
    run, _ = solved(problem, cut=("sweep", interrupt), checkpoint=file)
    later, _ = solved(problem, resume=file, time_limit=0)
    assert later.objective == run.objective
    assert later.termination is Termination.TIME_LIMIT


def test_ctrl_c_in_the_middle_of_an_answer_leaves_plan_and_proved_bound(problem, monkeypatch):
    tables, solve_block = [], engines.solve_block

    def count(message, _fraction):
        if message.startswith("price table"):
            tables.append(message)

    def press(*arguments):
        if len(tables) == 2:
            tables.append("pressed")
            os.kill(os.getpid(), signal.SIGINT)
        return solve_block(*arguments)

    monkeypatch.setattr(engines, "solve_block", press)
    run, certificate = solved(problem, progress=count)
    assert run.termination is Termination.INTERRUPTED
    assert tables[-1] == "pressed"
    assert np.isfinite(run.objective)
    assert certified_bound(problem.scenario, certificate) >= certificate["bound"]
    assert certificate["bound"] < run.objective
    plan = run.plan("prices", Termination.COMPLETED, certificate, derive_s=0.0)
    assert check(problem.scenario, plan).ok


@pytest.mark.parametrize("workers", [1, 3])
def test_number_of_threads_changes_nothing(problem, undisturbed, monkeypatch, workers):
    monkeypatch.setattr(os, "cpu_count", lambda: workers)
    assert_same(solved(problem), undisturbed)


@pytest.mark.slow
def test_ray_gives_the_same_though_a_worker_dies(tmp_path, problem, undisturbed, monkeypatch):
    pytest.importorskip("ray")
    mark, driver = str(tmp_path / "died"), os.getpid()
    asked = tmp_path / "asked"
    asked.mkdir()
    folder = str(asked)

    def solve_or_die(part, tasks, question, energy_price):
        import os
        import signal
        import time

        from mafl_opt.solvers.prices.fleet import engines

        if os.getpid() != driver and not os.path.exists(mark):
            open(os.path.join(folder, str(time.time_ns())), "w").close()
            # At the third question of twenty blocks each: what it starts from must come back too.
            if len(os.listdir(folder)) > 45:
                open(mark, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
        # In a worker nothing is patched, in this process the sample is asked too.
        solve_block = getattr(engines, "unpatched", engines.solve_block)
        return solve_block(part, tasks, question, energy_price)

    monkeypatch.setattr(engines, "unpatched", engines.solve_block, raising=False)
    monkeypatch.setattr(engines, "solve_block", solve_or_die)
    result = solved(problem, engine="ray")
    assert os.path.exists(mark)
    assert_same(result, undisturbed)


def test_ctrl_c_while_prices_are_learned_leaves_a_plan_and_a_bound(problem, undisturbed):
    run, certificate = solved(problem, cut=("prices", interrupt))
    assert run.termination is Termination.INTERRUPTED
    plan = run.plan("prices", Termination.COMPLETED, certificate)
    report = check(problem.scenario, plan)
    assert report.ok and report.is_proved
    assert 0 < plan.bound == certificate["bound"] < undisturbed[0].objective < plan.objective
    assert [entry["event"] for entry in run.trace] == ["opening", "prices"]


def test_fleet_that_cannot_train_a_task_is_infeasible(sparse, monkeypatch):
    monkeypatch.setattr(Problem, "is_listable", False)
    scenario = sparse.scenario
    for changes in (
        {"pairs.cycles_per_sample": scenario.pairs.cycles_per_sample * [1.0, 1e9]},
        {"devices.energy_budget_j": scenario.devices.energy_budget_j * 1e-9},
        {"network.uplink_capacity": scenario.network.uplink_capacity * 0},
        {"network.available": np.zeros_like(scenario.network.available)},
    ):
        said = []
        plan = solve(
            scenario.replace(**changes), "prices", progress=lambda text, _, to=said: to.append(text)
        )
        assert plan.termination is Termination.INFEASIBLE
        assert any("no device can ever train it" in text for text in said)


def test_task_is_called_untrainable_where_its_columns_say_so(sparse):
    scenario = sparse.scenario
    for power in range(4, 14):
        changed = scenario.replace(
            **{"pairs.cycles_per_sample": scenario.pairs.cycles_per_sample * 2.0**power}
        )
        assert untrainable_task(changed) == Problem(scenario=changed).untrainable_task


def test_unknown_engine_is_refused(sparse):
    with pytest.raises(InputError, match=r"engine: .*local, ray.*'spark'"):
        solved(sparse, engine="spark")


def test_missing_ray_is_named(sparse, monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="pip install mafl-opt"):
        solved(sparse, engine="ray")


@pytest.fixture(scope="module")
def written(tmp_path_factory, sparse):
    """The bytes of a checkpoint with everything in it."""
    file = tmp_path_factory.mktemp("written") / "a.npz"
    solved(sparse, cut=("price table 2", interrupt), checkpoint=str(file))
    return file.read_bytes()


def resume(problem, path, content=None, **options):
    if content is not None:
        path.write_bytes(content)
    return Journal(Run(problem=problem, options=Options(resume=str(path), **options)))


def changed(content, **arrays):
    """Replace arrays of an .npz; keys have an underscore for the dot."""
    with np.load(io.BytesIO(content), allow_pickle=False) as found:
        all_of_them = dict(found)
    for name, change in arrays.items():
        key = name.replace("_", ".", 1)
        all_of_them[key] = change(all_of_them[key].copy())
    out = io.BytesIO()
    np.savez(out, **all_of_them)
    return out.getvalue()


def test_checkpoint_of_another_scenario_is_refused(tmp_path, written):
    other = Problem(scenario=Scenario.draw(devices=240, tasks=2, slots=6, seed=4))
    with pytest.raises(InputError, match="scenario_sha256"):
        resume(other, tmp_path / "a.npz", written)


def test_checkpoint_of_another_seed_is_refused(tmp_path, sparse, written):
    with pytest.raises(InputError, match="seed"):
        resume(sparse, tmp_path / "a.npz", written, seed=1)


def test_missing_checkpoint_is_refused(tmp_path, sparse):
    with pytest.raises(InputError, match=r"a\.npz"):
        resume(sparse, tmp_path / "a.npz")


def test_checkpoint_in_a_missing_folder_is_refused_before_any_work(tmp_path, sparse):
    with pytest.raises(InputError, match="existing folder"):
        solved(sparse, checkpoint=str(tmp_path / "no" / "a.npz"))


def test_truncated_checkpoint_is_refused(tmp_path, sparse, written):
    for part in np.linspace(0, len(written) - 1, 25).astype(int):
        with pytest.raises(InputError):
            resume(sparse, tmp_path / "a.npz", written[:part])


def test_damaged_checkpoint_is_read_right_or_refused(tmp_path, sparse, written):
    random = np.random.default_rng(0)
    refused = 0
    for place in random.integers(len(written), size=120):
        damaged = bytearray(written)
        damaged[place] ^= 1 << int(random.integers(8))
        try:
            resume(sparse, tmp_path / "a.npz", bytes(damaged))
        except InputError:
            refused += 1
    # Nearly all bytes are in arrays, under a checksum.
    assert refused > 100


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"plan_rows": lambda a: a + np.int32([9, 0, 0, 0, 0])}, "sessions that can exist"),
        ({"plan_rows": lambda a: a + np.int32([0, 0, 0, 99, 0])}, "sessions that can exist"),
        ({"plan_rows": lambda a: a + np.int32([0, 0, 99, 0, 0])}, "sessions that can exist"),
        ({"plan_rows": lambda a: -a}, "integers from"),
        ({"plan_counts": lambda a: a + np.int32(1)}, "plan.counts"),
        ({"plan_counts": lambda a: a // 2}, "plan.rows"),
        ({"plan_counts": lambda a: a.astype(np.float64)}, "plan.counts"),
        ({"everyone_energy_price": lambda a: a - 1e9}, "numbers >= 0"),
        ({"everyone_energy_price": lambda a: a[:-1]}, "240 devices"),
        ({"everyone_figures": lambda a: a * np.nan}, "finite"),
        ({"everyone_totals": lambda a: a[:, :, :-1]}, "everyone.totals"),
        ({"scout_tables": lambda a: a[:-1]}, "scout.rounds"),
        ({"sweeps_totals": lambda a: a[:-1]}, "sweeps.totals"),
    ],
)
def test_checkpoint_out_of_range_is_refused(tmp_path, sparse, written, arrays, words):
    content = changed(written, **arrays)
    with pytest.raises(InputError, match=words):
        resume(sparse, tmp_path / "a.npz", content).answers("everyone", 240)


def test_compressed_checkpoint_is_refused(tmp_path, sparse, written):
    out = io.BytesIO()
    with np.load(io.BytesIO(written), allow_pickle=False) as found:
        np.savez_compressed(out, **dict(found))
    with pytest.raises(InputError, match="not compressed"):
        resume(sparse, tmp_path / "a.npz", out.getvalue())


def test_checkpoint_holds_nothing_pickled(written):
    with zipfile.ZipFile(io.BytesIO(written)) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                np.lib.format.read_array(file, allow_pickle=False)


def table(value):
    return Table(np.full(1, value), np.zeros(1), np.zeros(2), np.zeros((2, 1)))


def answer(value):
    return Answer(value=value, gap=0.0, size=1.0, totals=np.zeros((1, 7)))


def test_answer_log_drops_what_does_not_fit_unless_the_search_is_ending():
    ending = []
    log = AnswerLog(lambda: bool(ending), lambda: None)
    for value in (1.0, 2.0, 3.0):
        assert log.recall(table(value), 3) is None
        log.keep(table(value), 3, answer(value), np.zeros(4))
    again = AnswerLog(lambda: bool(ending), lambda: None, list(log.entries), log.energy_price)
    assert again.recall(table(1.0), 3).value == 1.0
    assert again.recall(table(2.0), 1) is None
    assert [entry.answer.value for entry in again.entries] == [1.0]
    again.keep(table(2.0), 1, answer(5.0), np.ones(4))
    ending.append(True)
    assert again.recall(table(7.0), 3) is None
    again.keep(table(7.0), 3, answer(7.0), np.full(4, 2.0))
    assert [entry.answer.value for entry in again.entries] == [1.0, 5.0]
    assert again.energy_price.max() == 1.0


def test_sweep_log_lets_its_last_plan_stand_for_a_sweep_at_other_prices():
    log = SweepLog(lambda: None)
    rows, counts = np.ones((1, 5), dtype=np.int32), np.ones(1, dtype=np.int32)
    for value in (1.0, 2.0):
        assert log.recall(table(value)) is None
        log.keep(table(value), np.full(7, value), rows, counts)
    again = SweepLog(lambda: None, list(log.entries), log.rows, log.counts)
    assert again.recall(table(4.0)).max() == 2.0
    assert again.recall(table(2.0)) is None
    assert len(again.entries) == 1
