from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from calibration_cases import Moved, Quadratic, known_hessian, known_points
from replay_inputs import plan_of, replay_scenario, stream
from scipy.optimize import minimize
from tolerances import CALIBRATED, SAME_TRAINING

import mafl_opt as mo
from mafl_opt.core.errors import InputError
from mafl_opt.validation.bound_trace import trace_bound
from mafl_opt.validation.calibration.calibrate import CalibrationOptions, calibrate
from mafl_opt.validation.calibration.estimates import largest_of_runs
from mafl_opt.validation.holdings import DriftScheme, draw_holdings
from mafl_opt.validation.partition import PartitionScheme
from mafl_opt.validation.record import ReplayOptions
from mafl_opt.validation.replay import replay

SIZES = (30, 0, 22, 41)
HESSIAN = known_hessian()
START = np.full(6, 3.0)
POINTS = known_points()
PRECISE = {"dtype": "float64", "points": 3, "runs": 3}


def scenario(**tasks):
    return replay_scenario(("points",), tuple((size,) for size in SIZES), **tasks)


def calibrated(objective=None, base=None, drift=None, **options):
    objective = objective or Quadratic(HESSIAN, START)
    chosen = CalibrationOptions(**{**PRECISE, "drift": drift or DriftScheme(), **options})
    return calibrate(
        base or scenario(), data={"points": POINTS}, models={"points": objective}, options=chosen
    )


def held(drift=None):
    """What each device holds, drawn as a replay draws it."""
    return draw_holdings(
        POINTS.train_labels, np.array(SIZES), 4, partition=PartitionScheme(),
        drift=drift or DriftScheme(), generator=stream(0, 0, 0),
    )  # fmt: skip


def own_points():
    return [POINTS.train_inputs[stages[0].rows] for stages in held().stages]


HAVING = [i for i, size in enumerate(SIZES) if size]


def test_calibration_finds_the_constants_of_quadratics():
    found = calibrated().tasks[0]
    points = own_points()
    every = np.concatenate(points)
    centre = every.mean(axis=0)
    assert found.smoothness.value == pytest.approx(3.0, rel=CALIBRATED)
    # Both are the same at every model, so the exact figures must come out.
    for i in HAVING:
        apart = (points[i] - points[i].mean(axis=0)) @ HESSIAN
        sigma = np.sqrt((apart**2).sum() / (len(apart) - 1))
        delta = np.linalg.norm(HESSIAN @ (points[i].mean(axis=0) - centre))
        assert found.gradient_std.value[i] == pytest.approx(sigma, rel=SAME_TRAINING)
        assert found.dissimilarity.value[i] == pytest.approx(delta, rel=SAME_TRAINING)
    # The start is so far out that gradients are largest there.
    steepest = max(np.linalg.norm(HESSIAN @ (START - points[i].mean(axis=0))) for i in HAVING)
    assert found.gradient_bound.value == pytest.approx(steepest, rel=CALIBRATED)
    gap = 0.5 * (START - centre) @ HESSIAN @ (START - centre)
    assert found.initial_gap.value == pytest.approx(gap, rel=CALIBRATED)
    assert found.initial_gap.high == pytest.approx(
        0.5 * np.einsum("na,ab,nb->n", START - every, HESSIAN, START - every).mean()
    )
    assert not found.gradient_drift.value.any()
    assert not found.loss_drift.value.any()
    assert found.samples == sum(SIZES)


def test_calibration_of_drift_finds_how_far_gradients_jump():
    step = np.array([0.5, -0.2, 0.3, 0.0, 0.4, 0.1])
    drift = DriftScheme(kind="label", period=2)
    result = calibrated(Moved(HESSIAN, START, step), drift=drift)
    found = result.tasks[0]
    for i in HAVING:
        ones = POINTS.train_labels[held(drift).stages[i][0].rows].mean()
        # Swapping both names moves the device's centre by (1 - 2 ones) step.
        jump = abs(1 - 2 * ones) * np.linalg.norm(HESSIAN @ step)
        assert found.gradient_drift.value[i] == pytest.approx(jump, rel=CALIBRATED)
    changes = {g - 1 for g in held(drift).changes()}
    assert changes
    assert set(np.flatnonzero(found.loss_drift.value).tolist()) <= changes
    assert found.loss_drift.value.max() > 0
    np.testing.assert_array_equal(result.scenario.loss_drift[:, 0], found.loss_drift.value)


def augmented():
    every = np.concatenate(own_points())
    return np.hstack([every, np.ones((len(every), 1))])


def test_calibration_finds_the_constants_of_logistic_regression():
    found = calibrate(
        scenario(), data={"points": POINTS},
        options=CalibrationOptions(**PRECISE, model="logistic"),
    ).tasks[0]  # fmt: skip
    x = augmented()
    # Two classes with weights each: the Hessian at 0 is (x'x / n) times [[1, -1], [-1, 1]] / 4,
    # and nowhere larger.
    exact = np.linalg.eigvalsh(x.T @ x / len(x))[-1] / 2
    assert found.smoothness.value == pytest.approx(exact, rel=CALIBRATED)
    labels = np.concatenate([POINTS.train_labels[s[0].rows] for s in held().stages])
    signs = 1 - 2 * labels

    def loss(w):
        return np.logaddexp(0.0, signs * (x @ w)).mean()

    least = minimize(loss, np.zeros(x.shape[1]), method="BFGS").fun
    assert found.initial_gap.value == pytest.approx(np.log(2) - least, rel=CALIBRATED)
    assert found.initial_gap.high == pytest.approx(np.log(2))
    # At 0 both probabilities are 1/2; sample gradients are -+x/2 in both rows of weights.
    edges = np.cumsum((0, *SIZES))
    rows = [0.5 * (signs[:, None] * x)[a:b] for a, b in pairwise(edges)]
    both = np.sqrt(2)
    for i in HAVING:
        own = rows[i].mean(axis=0)
        sigma = both * np.sqrt(((rows[i] - own) ** 2).sum() / (SIZES[i] - 1))
        assert found.gradient_std.value[i] == pytest.approx(sigma, rel=CALIBRATED)
        delta = both * np.linalg.norm(own - np.concatenate(rows).mean(axis=0))
        assert found.dissimilarity.value[i] == pytest.approx(delta, rel=CALIBRATED)
    steep = both * max(np.linalg.norm(rows[i].mean(axis=0)) for i in HAVING)
    assert found.gradient_bound.value == pytest.approx(steep, rel=CALIBRATED)


def test_calibration_from_a_part_of_the_samples_has_the_truth_in_its_intervals():
    exact = calibrated().tasks[0].gradient_std.value
    found = calibrated(samples=12, runs=6).tasks[0].gradient_std
    for i in HAVING:
        assert found.low[i] <= exact[i] <= found.high[i]
        assert found.high[i] > found.low[i]


def test_calibration_keeps_everything_else_of_the_scenario():
    base = scenario()
    before, after = base.to_dict(), calibrated(base=base).scenario.to_dict()
    measured = {
        "tasks": {"smoothness", "gradient_bound", "initial_gap"},
        "pairs": {"gradient_std", "dissimilarity", "gradient_drift"},
    }
    for group, names in measured.items():
        for name in names:
            before[group].pop(name)
            after[group].pop(name)
    assert before.pop("loss_drift") == after.pop("loss_drift")
    assert before == after


def test_calibration_keeps_figures_of_devices_without_samples():
    result = calibrated()
    assert result.scenario.pairs.gradient_std[1, 0] == scenario().pairs.gradient_std[1, 0]
    assert result.scenario.pairs.dissimilarity[1, 0] == scenario().pairs.dissimilarity[1, 0]
    assert result.tasks[0].gradient_std.value[1] == 0


def test_calibration_lowers_a_step_cap_the_smoothness_does_not_allow():
    base = scenario(smoothness=[1.0], step_cap=[0.4])
    result = calibrated(base=base)
    smooth = result.scenario.tasks.smoothness[0]
    assert result.scenario.tasks.step_cap[0] == pytest.approx(1 / (2 * smooth))
    assert any("step_cap lowered from 0.4" in note for note in result.notes)
    assert not calibrated().notes


def test_calibration_repeats_itself_and_leaves_torch_alone():
    torch.manual_seed(5)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    first, again = (calibrated().to_dict() for _ in range(2))
    assert first == again
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_calibration_writes_a_scenario_file_and_the_figures(tmp_path):
    result = calibrated(samples=12, upper=True)
    result.save(tmp_path / "s.json")
    assert mo.Scenario.load(tmp_path / "s.json") == result.scenario
    figures = result.tasks[0].gradient_std
    np.testing.assert_array_equal(
        result.scenario.pairs.gradient_std[HAVING, 0], figures.high[HAVING]
    )
    result.save_figures(tmp_path / "f.json")
    assert '"gradient_std": {"value": [' in (tmp_path / "f.json").read_text()
    with pytest.raises(InputError, match=r"a name ending in \.json"):
        result.save(tmp_path / "s.toml")


def test_calibration_takes_any_module_and_writes_its_costs():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    result = calibrate(
        scenario(), data={"points": POINTS}, models={"points": module},
        options=CalibrationOptions(**PRECISE, operations_per_cycle=2.0),
    )  # fmt: skip
    assert result.tasks[0].parameters == 38
    assert result.scenario.tasks.model_bits.tolist() == [32 * 38]
    operations = 2 * (2 * 6 * 4 + 3 * 4 * 2)
    assert set(result.scenario.pairs.cycles_per_sample.ravel()) == {operations / 2}
    with pytest.raises(InputError, match="only networks with operations_per_cycle"):
        calibrated(operations_per_cycle=1.0)


def test_calibration_starts_where_a_replay_with_the_same_seed_starts():
    chosen = {"dtype": "float64", "model": "logistic", "warm_steps": {"points": 30}}
    base, plan = scenario(), plan_of((0, 0, 0, 1, 4, 2))
    found = calibrate(
        base, data={"points": POINTS}, seed=4, options=CalibrationOptions(**chosen, runs=2)
    ).tasks[0]
    (trace,) = trace_bound(
        base, plan, data={"points": POINTS}, seed=4, options=ReplayOptions(**chosen)
    )
    seen = []

    def observe(slot, task):
        if slot == 0:
            inputs, labels = (part[torch.cat(task.rows)] for part in task.train)
            seen.append(float(task.model.loss(task.parameters, inputs, labels)))

    replay(
        base, plan, data={"points": POINTS}, seed=4, options=ReplayOptions(**chosen),
        observe=observe,
    )  # fmt: skip
    # No cross-entropy is below 0, so the upper end of the gap is the loss at the start itself.
    assert found.initial_gap.high == pytest.approx(seen[0], rel=SAME_TRAINING)
    assert trace.squares[0] <= found.gradient_bound.value**2


def test_calibration_refuses_what_it_cannot_measure():
    with pytest.raises(InputError, match="models: expected one of points"):
        calibrate(scenario(), models={"dots": Quadratic(HESSIAN, START)})
    with pytest.raises(InputError, match=r"options\.warm_steps: expected one of points"):
        calibrated(warm_steps={"dots": 3})
    with pytest.raises(InputError, match="only networks with warm_steps"):
        calibrated(warm_steps={"points": 3})
    with pytest.raises(InputError, match="a run that stays finite"):
        calibrated(base=scenario(learning_rate=[1e300], server_rate=[1e-301]))
    for entries in ({"runs": 1}, {"confidence": 1.0}, {"dtype": "float16"}, {"samples": 1},
                    {"operations_per_cycle": 0.0}):  # fmt: skip
        (name,) = entries
        with pytest.raises(InputError, match=rf"options\.{name}"):
            CalibrationOptions(**entries)


def test_interval_of_runs_is_where_one_more_run_lies():
    generator = np.random.default_rng(0)
    runs = generator.normal(10.0, 1.0, size=(4, 4000))
    estimate = largest_of_runs(list(runs), 0.9)
    more = generator.normal(10.0, 1.0, size=4000)
    inside = (estimate.low <= more) & (more <= estimate.high)
    # Widened to the largest run, so a little more than 90 %.
    assert 0.88 < inside.mean() < 0.96
    np.testing.assert_array_equal(estimate.value, runs.max(axis=0))
    same = largest_of_runs([np.array(2.0)] * 3, 0.95)
    assert same.low == same.value == same.high == 2.0
