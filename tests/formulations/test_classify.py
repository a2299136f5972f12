"""Witnesses are recomputed here in plain arithmetic, by the model page and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import SAME_FORMULA

import mafl_opt as mo
from mafl_opt.formulations.classify import ClassError, Evidence
from mafl_opt.formulations.problem import ConstraintClass, Problem
from mafl_opt.formulations.session_figures import forbidden_sessions, steps_total

NON_CONVEX = {"integral", "ratio", "deadline", "energy", "step_cap"}
SCENARIOS = {
    "plain": plain_scenario(),
    # Room for one device's sessions only in part, so that budgets and caps bind.
    "tight": plain_scenario(**{"devices.energy_budget_j": [0.03, 0.02]}),
    "default": mo.Scenario.default(),
    "drawn": drawn_scenario(3, devices=3, tasks=2, slots=4),
}


@pytest.fixture(scope="module", params=sorted(SCENARIOS))
def classified(request):
    scenario = SCENARIOS[request.param]
    return scenario, {v.id: v for v in Problem(scenario=scenario).classify()}


def three(witness):
    """First, second and middle point as dicts of arrays."""
    points = (witness.first, witness.second, witness.middle)
    return [{name: np.array(values) for name, values in point.items()} for point in points]


def test_no_convex_block_has_a_witness(classified):
    _, verdicts = classified
    assert {name for name, v in verdicts.items() if v.witness is not None} <= NON_CONVEX
    assert all(v.computed is None for name, v in verdicts.items() if name not in NON_CONVEX)


def test_every_non_convex_block_of_the_default_scenario_has_a_witness():
    verdicts = Problem(scenario=SCENARIOS["default"]).classify()
    assert {v.id for v in verdicts if v.witness is not None} == NON_CONVEX
    for v in verdicts:
        if v.id in NON_CONVEX:
            assert v.computed is v.declared
            assert v.surrogate
            assert v.lifted


def test_integral_witness_holds(classified):
    _, verdicts = classified
    first, second, middle = three(verdicts["integral"].witness)
    assert {first["x"][0], second["x"][0]} == {0.0, 1.0}
    assert verdicts["integral"].witness.amount == middle["x"][0] - middle["x"][0] ** 2 == 0.25


def test_ratio_witness_holds(classified):
    _, verdicts = classified
    witness = verdicts["ratio"].witness
    first, second, middle = three(witness)
    for point in (first, second):
        assert point["Xi"][0] * point["A"][0] == pytest.approx(point["N"][0], rel=SAME_FORMULA)
    off = abs(middle["Xi"][0] * middle["A"][0] - middle["N"][0])
    assert off == pytest.approx(witness.amount, rel=SAME_FORMULA)
    assert off > 1e-6 * middle["N"][0]


def test_deadline_witness_holds(classified):
    scenario, verdicts = classified
    witness = verdicts["deadline"].witness
    words = witness.where.replace(",", "").split()
    i, j = int(words[1]), scenario.tasks.name.index(words[3])
    r, u = int(words[5]), int(words[7])
    d = scenario.devices
    slots = scenario.time.slot_s
    noise = scenario.network.noise_w_per_hz * d.bandwidth_hz[i]
    snr = d.tx_power_w[i] * scenario.network.gain[u - 1, i] / noise
    bits = scenario.tasks.model_bits[j]
    up = bits / (d.bandwidth_hz[i] * np.log2(1 + snr))
    down = bits / scenario.network.downlink_bps[r, i]
    cycles = scenario.pairs.cycles_per_sample[i, j]

    def late(point):
        return (down + cycles * point["l"] * point["B"] / point["f"] + up)[0] - slots[r:u].sum()

    first, second, middle = three(witness)
    for point in (first, second, middle):
        assert d.f_min_hz[i] * (1 - 1e-12) <= point["f"][0] <= d.f_max_hz[i] * (1 + 1e-12)
        most = min(scenario.tasks.batch_max[j], scenario.pairs.samples[i, j])
        assert 1 <= point["B"][0] <= most
        assert 1 <= point["l"][0] <= scenario.tasks.iterations_max[j]
    assert max(late(first), late(second)) <= 1e-9
    assert late(middle) == pytest.approx(witness.amount, rel=1e-9)
    assert late(middle) > 0


def test_energy_witness_holds_without_its_radio_part():
    """With free radio, the energy of the witness is kappa cyc l B f^2 and nothing else."""
    scenario = plain_scenario(
        **{
            "devices.energy_budget_j": [0.03, 0.02],
            "devices.tx_power_w": [1e-9, 1e-9],
            "devices.rx_power_w": [0.0, 0.0],
            "network.gain": [[1.0, 1.0]] * 3,
            # One task, so that every session of a device has the same cycles.
            "pairs.cycles_per_sample": [[4e7, 4e7], [3e7, 3e7]],
        }
    )
    (witness,) = (v.witness for v in Problem(scenario=scenario).classify() if v.id == "energy")
    i = int(witness.where.split()[1].rstrip(","))
    d = scenario.devices
    unit = d.capacitance[i] * scenario.pairs.cycles_per_sample[i, 0]

    def spent(point):
        return float(point["x"] @ (unit * point["l"] * point["B"] * point["f"] ** 2))

    first, second, middle = three(witness)
    budget = d.energy_budget_j[i]
    assert witness.limit == budget
    assert max(spent(first), spent(second)) <= budget * (1 + 1e-6)
    assert spent(middle) - budget == pytest.approx(witness.amount, rel=1e-4)
    assert spent(middle) > budget * 1.0001


def test_step_cap_witness_holds():
    scenario = plain_scenario(**{"tasks.step_cap": [0.01, 0.01], "tasks.iterations_max": [5, 5]})
    (witness,) = (v.witness for v in Problem(scenario=scenario).classify() if v.id == "step_cap")
    words = witness.where.replace(",", "").split()
    j = scenario.tasks.name.index(words[3])
    assert words[4:] == ["1", "sessions"]
    tasks = scenario.tasks
    decay = 1 - tasks.learning_rate[j] * tasks.proximal[j]

    def taken(point):
        steps = point["l"] if decay == 1 else (1 - decay ** point["l"]) / (1 - decay)
        return float(point["x"] @ steps)

    first, second, middle = three(witness)
    # The coefficient c_s is the same in all three points; the end that takes more lies on the cap.
    share = taken(middle) / max(taken(first), taken(second)) - 1
    assert share == pytest.approx(witness.amount / witness.limit, rel=1e-6)
    assert share > 1e-6


def test_slack_constraints_have_no_witness_and_no_class():
    scenario = plain_scenario(
        **{
            "devices.energy_budget_j": [1e6, 1e6],
            "tasks.iterations_max": [1, 1],
            "tasks.batch_max": [1, 1],
        }
    )
    verdicts = {v.id: v for v in Problem(scenario=scenario).classify()}
    for name in ("energy", "deadline", "step_cap"):
        assert (verdicts[name].witness, verdicts[name].computed) == (None, None)
        assert verdicts[name].declared is ConstraintClass.NIE


def test_single_column_has_a_ratio_witness():
    """x is relaxed, so one session with one iteration count has a range of N and A."""
    changes = {"tasks.iterations_max": [1], "tasks.staleness_max": [0],
               "devices.energy_budget_j": [9.0]}  # fmt: skip
    drawn = (drawn_scenario(seed, devices=1, slots=1, **changes) for seed in range(20))
    problems = (Problem(scenario=scenario) for scenario in drawn)
    problem = next(p for p in problems if len(p.columns) == 1)
    verdicts = {verdict.id: verdict for verdict in problem.classify()}
    assert verdicts["ratio"].computed is ConstraintClass.NEQ


def test_same_seed_gives_the_same_witnesses():
    problem = Problem(scenario=plain_scenario())
    assert problem.classify(seed=4) == problem.classify(seed=4)


def declared(problem, name, kind):
    """The problem with a false declaration of one block."""
    blocks = tuple(replace(b, kind=kind) if b.id == name else b for b in problem.blocks)
    problem.__dict__["blocks"] = blocks
    return problem


@pytest.mark.parametrize(
    ("name", "kind"),
    [("integral", ConstraintClass.CEQ), ("ratio", ConstraintClass.CEQ),
     ("deadline", ConstraintClass.CIE), ("energy", ConstraintClass.CIE),
     ("step_cap", ConstraintClass.CIE)],
)  # fmt: skip
def test_witness_against_a_convex_declaration_is_an_error(name, kind):
    problem = declared(Problem(scenario=SCENARIOS["default"]), name, kind)
    with pytest.raises(ClassError, match=f"block {name} is declared convex"):
        problem.classify()


def test_convex_declaration_that_does_not_compile_is_an_error():
    refused = {"uplink": Evidence(expression="sqrt(x) <= 1", compiled=False)}
    with pytest.raises(ClassError, match="does not compile: sqrt"):
        Problem(scenario=plain_scenario()).classify(refused)


def test_witness_against_an_expression_that_compiled_is_an_error():
    wrong = {"ratio": Evidence(expression="0 == 0", compiled=True)}
    with pytest.raises(ClassError, match="block ratio is shown to be convex"):
        Problem(scenario=plain_scenario()).classify(wrong)


def test_class_is_computed_from_the_evidence_and_the_kind_of_relation():
    problem = declared(Problem(scenario=plain_scenario()), "uplink", ConstraintClass.CEQ)
    shown = {"uplink": Evidence(expression="M x <= n", compiled=True)}
    (verdict,) = (v for v in problem.classify(shown) if v.id == "uplink")
    assert verdict.computed is ConstraintClass.CEQ


@pytest.mark.parametrize("seed", range(8))
def test_forbidden_sessions_are_those_without_columns(seed):
    scenario = drawn_scenario(seed, devices=3, tasks=2, slots=4)
    (i, j, r, u), forbidden = forbidden_sessions(Problem(scenario=scenario))
    out = {
        key
        for key, *bad in zip(zip(i, j, r, u, strict=True), *forbidden.values(), strict=True)
        if any(bad)
    }
    columns = Problem(scenario=scenario).columns
    held = set(zip(columns.device, columns.task, columns.receive, columns.upload, strict=True))
    assert not held & out
    assert len(i) == 3 * 2 * 10


def test_sum_of_local_steps_extends_the_table():
    for decay in (1.0, 0.9):
        table = [sum(decay**k for k in range(count)) for count in (1, 2, 7)]
        found = steps_total(np.full(3, decay), np.array([1.0, 2.0, 7.0]))
        assert found == pytest.approx(table, rel=SAME_FORMULA)
