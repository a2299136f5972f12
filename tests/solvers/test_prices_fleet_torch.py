"""The engine `torch` beside threads: the same answers, device by device and at the end."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from price_tables import table_of
from tolerances import CANCELLED

from mafl_opt.core.errors import InputError
from mafl_opt.core.scenario import Scenario
from mafl_opt.solvers.prices.fleet import engines, sample, torch_engine
from mafl_opt.solvers.prices.fleet.arrays import fleet_of, tasks_of
from mafl_opt.solvers.prices.fleet.engines import LocalEngine, Question
from mafl_opt.solvers.prices.fleet.torch_engine import TorchEngine
from mafl_opt.solvers.registry import solve

on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
DEVICES = 60
GAP = 0.02


def with_gains(scenario, change):
    gain = np.asarray(scenario.network.gain)
    return scenario.replace(**{"network.gain": change(gain, np.random.default_rng(0))})


def still(scenario):
    return with_gains(scenario, lambda gain, _: np.tile(gain[:1], (gain.shape[0], 1)))


def fading(scenario):
    return with_gains(scenario, lambda gain, random: gain * random.exponential(size=gain.shape))


def silent(scenario):
    """A fifth of the uplinks has no gain, another fifth of the slots is out of reach."""
    random = np.random.default_rng(1)
    away = random.random((scenario.num_slots, scenario.num_devices)) < 0.2
    scenario = scenario.replace(**{"network.available": ~away})
    return with_gains(scenario, lambda gain, random: gain * (random.random(gain.shape) > 0.2))


def budgets(factor):
    def change(scenario):
        budget = factor * scenario.devices.energy_budget_j
        return scenario.replace(**{"devices.energy_budget_j": budget})

    return change


def few_samples(scenario):
    """None, or fewer than a mini-batch, on most devices."""
    samples = np.random.default_rng(2).integers(0, 6, np.shape(scenario.pairs.samples))
    assert (samples == 0).any()
    return scenario.replace(**{"pairs.samples": samples})


def unlike_tasks(scenario):
    return scenario.replace(**{
        "tasks.weight": [0.0, 1.0, 3.0], "tasks.iterations_max": [7, 1, 3],
        "tasks.batch_max": [1, 64, 9], "tasks.staleness_max": [5, 0, 2],
    })  # fmt: skip


def no_uplinks(scenario):
    return scenario.replace(**{"network.uplink_capacity": [0, 9, 9, 0, 9, 9, 9, 9]})


def energy(factor):
    return lambda scenario: scenario.replace(energy_weight=factor * scenario.energy_weight)


def slow(scenario):
    """Most sessions last several slots, which not all tasks admit."""
    f_max = scenario.devices.f_max_hz
    return scenario.replace(**{
        "devices.f_max_hz": 0.05 * f_max, "devices.f_min_hz": 0.01 * f_max,
        "tasks.staleness_max": [3, 0, 1],
    })  # fmt: skip


def slow_links(scenario):
    """Transmissions that a slot is too short for, though a session of two is not."""
    random, shape = np.random.default_rng(3), np.shape(scenario.network.downlink_bps)
    gain = scenario.network.gain * 10.0 ** random.uniform(-3.0, 0.0, shape)
    return scenario.replace(**{
        "network.downlink_bps": 2e6 / random.uniform(0.5, 1.6, shape), "network.gain": gain,
        "tasks.model_bits": [2e6, 2e6, 2e6],
    })  # fmt: skip


def drifting(scenario):
    shape = np.shape(scenario.pairs.samples)
    drift = np.random.default_rng(4).uniform(0.0, 3.0, shape)
    return scenario.replace(**{"pairs.gradient_drift": drift})


def noiseless(scenario):
    """Gradients without noise, energy without a price: any batch size is as good."""
    scenario = energy(0.0)(budgets(0.15)(scenario))
    return scenario.replace(**{"pairs.gradient_std": scenario.pairs.gradient_std * [0.0, 1.0, 0.0]})


def eager(scenario):
    """Devices too fast to save energy, so that budgets cut batches."""
    scenario = budgets(0.1)(scenario)
    return scenario.replace(**{"devices.f_min_hz": 0.9 * scenario.devices.f_max_hz})


def one_column(scenario):
    """Sessions of one slot, one task and one step in still channels, as large as may be.

    Returns the scenario, time and work of a sample, and energy of the transmissions.
    """
    scenario = energy(0.0)(still(scenario)).replace(**{
        "tasks.staleness_max": [0, 0, 0], "tasks.iterations_max": [1, 1, 1],
        "tasks.weight": [1.0, 0.0, 0.0], "devices.f_min_hz": np.full(DEVICES, 1e5),
    })  # fmt: skip
    down, up = (
        scenario.tasks.model_bits[0] / rate[:, 0]
        for rate in (fleet_of(scenario).down_rate, fleet_of(scenario).up_rate)
    )
    radio = scenario.devices.tx_power_w * up + scenario.devices.rx_power_w * down
    return scenario, 1.0 - down - up, scenario.pairs.cycles_per_sample[:, 0], radio


def just_in_time(scenario):
    """Whole batches that last, at top speed, exactly as long as there is time."""
    scenario, time, work, _ = one_column(budgets(100.0)(scenario))
    batch = np.random.default_rng(5).integers(2, 9, DEVICES)
    return scenario.replace(**{"devices.f_max_hz": np.where(time > 0.0, work * batch / time, 2e9)})


def just_in_budget(scenario):
    """Whole batches that take exactly what there is, or a little more; one session at most."""
    scenario, time, work, radio = one_column(scenario)
    random = np.random.default_rng(6)
    batch, f_min = random.integers(2, 9, DEVICES), np.where(np.arange(DEVICES) % 2, 1e5, 1e11)
    f = np.maximum(f_min, work / time * batch)
    spent = radio + scenario.devices.capacitance * work * batch * f * f
    short = 1.0 - random.choice([0.0, 3e-13], DEVICES)
    return scenario.replace(**{
        "devices.f_max_hz": np.full(DEVICES, 1e12), "devices.f_min_hz": f_min,
        "devices.energy_budget_j": spent * short,
        "network.uplink_capacity": [0, 0, 9, 0, 0, 0, 0, 0],
    })  # fmt: skip


FLEETS = {
    "still": still, "fading": fading, "silent": silent, "poor": budgets(0.15),
    "poorest": budgets(0.02), "rich": budgets(100.0), "few samples": few_samples,
    "unlike tasks": unlike_tasks, "no uplinks": no_uplinks, "all act": energy(10.0 / DEVICES),
    "few act": energy(300.0), "free energy": energy(0.0), "slow": slow, "slow links": slow_links,
    "drifting": drifting, "noiseless": noiseless, "eager": eager,
    "just in time": just_in_time, "just in budget": just_in_budget,
}  # fmt: skip


def asked(scenario, table, device, *, rounds, start, accuracy=1e-9):
    """Answers of threads and of torch, a block a device."""
    fleet, tasks = fleet_of(scenario), tasks_of(scenario)
    edges, answers = np.arange(fleet.size + 1), []
    for engine in (LocalEngine(fleet, tasks, edges), TorchEngine(fleet, tasks, edges, device)):
        blocks = engine.solve_blocks(Question(table, rounds, accuracy), start)
        answers.append({
            name: np.array([getattr(block, name) for block in blocks])
            for name in ("bound", "cost", "totals", "acts", "energy_price")
        })  # fmt: skip
        engine.close()
    return answers


def assert_same(local, torch_):
    """Whichever of equally good plans is taken: bounds, costs and totals that bear the costs."""
    for name in ("bound", "cost", "energy_price"):
        assert torch_[name] == pytest.approx(local[name], rel=CANCELLED, abs=CANCELLED)
    assert (torch_["acts"] == local["acts"]).all()


def cost_of_totals(scenario, table, totals):
    prices = [[scenario.energy_weight], table.error, -table.progress, table.uplink]
    return totals @ np.concatenate([*prices, table.step.ravel()])


def assert_answered_alike(change, rounds, device):
    scenario = change(Scenario.draw(devices=DEVICES, tasks=3, slots=8, seed=5))
    table = table_of(scenario, 5)
    random = np.random.default_rng(rounds)
    # Some devices set out from 0, as all do at first.
    start = random.uniform(0.0, 5.0, DEVICES) * (random.random(DEVICES) < 0.7)
    local, torch_ = asked(scenario, table, device, rounds=rounds, start=start)
    assert (local["bound"] < -CANCELLED).any()
    assert_same(local, torch_)
    expected = cost_of_totals(scenario, table, torch_["totals"])
    assert torch_["cost"] == pytest.approx(expected, rel=CANCELLED, abs=CANCELLED)
    return local, torch_


@pytest.mark.parametrize("rounds", [1, 2, 8])
@pytest.mark.parametrize("change", FLEETS.values(), ids=FLEETS)
def test_every_device_is_answered_as_by_the_compiled_kernel(change, rounds):
    local, torch_ = assert_answered_alike(change, rounds, "cpu")
    # Operation by operation the same arithmetic: also the same plans.
    assert torch_["totals"] == pytest.approx(local["totals"], rel=CANCELLED, abs=CANCELLED)


@on_cuda
def test_every_device_is_answered_alike_by_a_cuda_device():
    for change in FLEETS.values():
        for rounds in (1, 2, 8):
            assert_answered_alike(change, rounds, "cuda")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000), devices=st.integers(1, 7), slots=st.integers(1, 7),
    budget=st.floats(0.01, 2.0), weight=st.floats(0.0, 3.0), start=st.floats(0.0, 20.0),
    rounds=st.integers(1, 10), accuracy=st.floats(0.0, 1.0),
)  # fmt: skip
def test_small_fleets_are_answered_alike_whatever_they_are_asked(
    seed, devices, slots, budget, weight, start, rounds, accuracy
):
    scenario = silent(Scenario.draw(devices=devices, tasks=2, slots=slots, seed=seed))
    scenario = energy(weight)(budgets(budget)(scenario))
    prices = np.full(devices, start)
    table = table_of(scenario, seed)
    assert_same(*asked(scenario, table, "cpu", rounds=rounds, start=prices, accuracy=accuracy))


def left_to_the_kernel(scenario, rounds, monkeypatch):
    """Devices whose answer torch has not found, of all."""
    left, solve_blocks = [], LocalEngine.solve_blocks

    def watch(engine, question, energy_price, known=None):
        left.append(known is None or ~known.solved)
        return solve_blocks(engine, question, energy_price, known)

    fleet, tasks = fleet_of(scenario), tasks_of(scenario)
    engine = TorchEngine(fleet, tasks, np.array([0, DEVICES]), "cpu")
    with monkeypatch.context() as patch:
        patch.setattr(LocalEngine, "solve_blocks", watch)
        question = Question(table_of(scenario, 5), rounds, 1e-9)
        engine.solve_blocks(question, np.linspace(0.0, 5.0, DEVICES))
    engine.close()
    return np.concatenate(left)


def test_devices_are_left_to_the_kernel_only_where_budgets_bind(monkeypatch):
    scenario = Scenario.draw(devices=DEVICES, tasks=3, slots=8, seed=5)
    assert not left_to_the_kernel(budgets(100.0)(scenario), 8, monkeypatch).any()
    assert not left_to_the_kernel(budgets(0.15)(scenario), 1, monkeypatch).any()
    assert left_to_the_kernel(budgets(0.15)(scenario), 8, monkeypatch).mean() > 0.5


def test_batches_change_nothing(monkeypatch):
    scenario = budgets(0.15)(Scenario.draw(devices=23, tasks=3, slots=8, seed=1))
    fleet, tasks = fleet_of(scenario), tasks_of(scenario)
    question, start = Question(table_of(scenario, 1), 8, 1e-9), np.linspace(0.0, 3.0, 23)
    edges, found = np.array([0, 5, 17, 23]), []
    for columns in (1, 600, 1 << 20):
        monkeypatch.setattr(torch_engine, "_CPU_COLUMNS", columns)
        engine = TorchEngine(fleet, tasks, edges, "cpu")
        found.append(engine.solve_blocks(question, start))
        engine.close()
    for other in found[1:]:
        for block, same in zip(found[0], other, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(block, same, strict=True))


@pytest.fixture
def torch_on_cpu(monkeypatch):
    """Let the engine `torch` compute where there is no CUDA device; returns its questions."""
    begun = []

    class OnProcessor(TorchEngine):
        def __init__(self, fleet, tasks, edges):
            super().__init__(fleet, tasks, edges, "cpu")

        def solve_blocks(self, question, energy_price):
            begun.append(question)
            return super().solve_blocks(question, energy_price)

    monkeypatch.setattr(torch_engine, "require_cuda", lambda: None)
    monkeypatch.setattr(torch_engine, "TorchEngine", OnProcessor)
    return begun


@pytest.mark.parametrize("times", [10.0 / 240.0, 40.0], ids=["all act", "few act"])
def test_whole_searches_end_alike(times, torch_on_cpu, monkeypatch):
    # Prices learned on some devices, so that the engine gets the others as well.
    monkeypatch.setattr(sample, "_LEAST", 100)
    monkeypatch.setattr(sample, "_MOST", 100)
    scenario = energy(times)(Scenario.draw(devices=240, tasks=2, slots=6, seed=3))
    local, torch_ = (solve(scenario, "prices", gap=GAP, engine=name) for name in ("local", "torch"))
    assert len(torch_on_cpu) > 2
    assert 0 < local.gap < GAP
    assert torch_.bound == pytest.approx(local.bound, rel=CANCELLED)
    assert torch_.objective == pytest.approx(local.objective, rel=CANCELLED)


@on_cuda
def test_a_whole_search_on_a_cuda_device_ends_alike():
    scenario = Scenario.draw(devices=240, tasks=2, slots=6, seed=3)
    local, torch_ = (solve(scenario, "prices", gap=GAP, engine=name) for name in ("local", "torch"))
    assert torch_.bound == pytest.approx(local.bound, rel=CANCELLED)
    assert torch_.objective == pytest.approx(local.objective, rel=CANCELLED)


def test_a_missing_cuda_device_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    scenario = Scenario.draw(devices=70, tasks=1, slots=3, seed=0)
    with pytest.raises(
        InputError, match=r"engine: .*CUDA device that torch sees.*leave engine out"
    ):
        solve(scenario, "prices", engine="torch")


def test_a_fleet_beyond_the_memory_of_the_device_is_refused(monkeypatch):
    free = 1 << 20
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 1 << 34))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 1 << 19)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 1 << 18)
    scenario = Scenario.draw(devices=10, tasks=1, slots=2, seed=0)
    with pytest.raises(InputError, match=r"engine: expected 0\.02 GiB of free memory on the CUDA"):
        TorchEngine(fleet_of(scenario), tasks_of(scenario), np.array([0, 10]))


def test_batches_are_as_large_as_memory_admits(monkeypatch):
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 0)
    fleet = fleet_of(Scenario.draw(devices=1000, tasks=1, slots=2, seed=0))
    columns = []
    for free in (1 << 25, 1 << 28, 1 << 36):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 1 << 37))
        columns.append(torch_engine._columns_at_a_time(fleet, torch.device("cuda")))
        assert columns[-1] * torch_engine._COLUMN_BYTES < free
    assert columns == sorted(set(columns))
    assert columns[-1] == torch_engine._CUDA_COLUMNS


def test_other_engines_do_not_load_torch():
    code = (
        "import sys; from mafl_opt.solvers.prices.fleet import search, engines; "
        "engines.require_engine('local'); print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
    assert "torch" in engines._STARTED
