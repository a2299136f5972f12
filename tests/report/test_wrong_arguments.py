"""What every public function says to wrong arguments: where, what was expected, what to do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from small_plans import hand_made_plan
from small_scenarios import plain_numbers, plain_scenario

import mafl_opt as mo
from mafl_opt.core.arguments import did_you_mean
from mafl_opt.formulations.problem import Problem

NAN = math.nan
S = plain_scenario()
P = hand_made_plan(S)
U = mo.Uncertainty()

#: Functions that take a scenario first, with good other arguments.
TAKES_SCENARIO = {
    "bound_report": lambda s: mo.bound_report(s, plans=[P]),
    "calibrate": lambda s: mo.calibrate(s),
    "check": lambda s: mo.check(s, P),
    "classify": lambda s: mo.classify(s),
    "compare": lambda s: mo.compare(s, ["greedy"]),
    "explain": lambda s: mo.explain(s, P),
    "Problem": lambda s: mo.Problem(scenario=s),
    "replay": lambda s: mo.replay(s, P),
    "solve": lambda s: mo.solve(s, "greedy"),
    "stress": lambda s: mo.stress(s, P, U),
}
#: Functions that take a plan second.
TAKES_PLAN = {
    "check": lambda p: mo.check(S, p),
    "explain": lambda p: mo.explain(S, p),
    "replay": lambda p: mo.replay(S, p),
    "stress": lambda p: mo.stress(S, p, U),
    "solve": lambda p: mo.solve(S, "conic", start=p),
    "bound_report": lambda p: mo.bound_report(S, plans=[p]),
}


@pytest.mark.parametrize("name", TAKES_SCENARIO)
@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("fleet.toml", "mo.Scenario.load('fleet.toml')"),
        (plain_numbers(), "mo.Scenario.from_dict"),
        (P, "the scenario comes first"),
        (None, "mo.Scenario.default()"),
        (3, "mo.Scenario.default()"),
    ],
    ids=["path", "dict", "plan", "none", "number"],
)
def test_what_is_no_scenario_is_refused(name, wrong, hint):
    with pytest.raises(mo.InputError, match=r"^scenario: expected a Scenario, found") as error:
        TAKES_SCENARIO[name](wrong)
    assert hint in str(error.value)


@pytest.mark.parametrize("name", sorted(set(TAKES_SCENARIO) - {"solve", "classify"}))
def test_problem_in_place_of_its_scenario_is_refused(name):
    with pytest.raises(mo.InputError, match="give its attribute scenario"):
        TAKES_SCENARIO[name](Problem(scenario=S))


@pytest.mark.parametrize("name", TAKES_PLAN)
@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("plan.json", "mo.Plan.load('plan.json')"),
        ({"sessions": []}, "mo.Plan.from_dict"),
        (S, "the scenario comes first"),
        (3, "mo.solve(scenario)"),
    ],
    ids=["path", "dict", "scenario", "number"],
)
def test_what_is_no_plan_is_refused(name, wrong, hint):
    with pytest.raises(mo.InputError, match=r"^(plan|start|plans\[0\]): expected a Plan") as error:
        TAKES_PLAN[name](wrong)
    assert hint in str(error.value)


#: A call, the path it is refused with, and words of the refusal.
WRONG = {
    "solve backend misspelt": (lambda: mo.solve(S, "connic"), "backend", "did you mean conic"),
    "solve backend upper case": (lambda: mo.solve(S, "GREEDY"), "backend", "did you mean greedy"),
    "solve backend none": (lambda: mo.solve(S, None), "backend", "one of"),
    "solve backend number": (lambda: mo.solve(S, 3), "backend", "one of"),
    "solve option misspelt": (
        lambda: mo.solve(S, "conic", time_limt=3), "time_limt", "did you mean time_limit"),
    "solve option of another": (
        lambda: mo.solve(S, "greedy", gap=0.1), "gap", "an option greedy can use"),
    "solve time limit negative": (
        lambda: mo.solve(S, "greedy", time_limit=-1), "time_limit", "a number >= 0"),
    "solve time limit nan": (
        lambda: mo.solve(S, "greedy", time_limit=NAN), "time_limit", "a number >= 0"),
    "solve time limit text": (
        lambda: mo.solve(S, "greedy", time_limit="10"), "time_limit", "a number >= 0"),
    "solve seed fraction": (lambda: mo.solve(S, "random", seed=1.5), "seed", "an integer >= 0"),
    "solve gap nan": (lambda: mo.solve(S, "conic", gap=NAN), "gap", "a number >= 0"),
    "solve progress": (lambda: mo.solve(S, "greedy", progress=True), "progress", "callable"),
    "check certificate": (lambda: mo.check(S, P, certificate="yes"), "certificate", "True, False"),
    "explain top": (lambda: mo.explain(S, P, top=-1), "top", "an integer >= 0"),
    "compare one word": (lambda: mo.compare(S, "conic"), "backends", "['conic']"),
    "compare misspelt": (
        lambda: mo.compare(S, ["greedy", "prizes"]), "backends[1]", "did you mean prices"),
    "compare twice": (lambda: mo.compare(S, ["greedy"] * 2), "backends[1]", "each backend once"),
    "compare none": (lambda: mo.compare(S, []), "backends", "at least one"),
    "compare number": (lambda: mo.compare(S, 3), "backends", "a list of names"),
    "compare time limit": (
        lambda: mo.compare(S, ["greedy"], time_limit=NAN), "time_limit", "a number >= 0"),
    "compare option misspelt": (
        lambda: mo.compare(S, ["conic"], gapp=0.1), "gapp", "did you mean gap"),
    "compare folder": (lambda: mo.compare(S, ["greedy"], out=3), "out", "the name of a file"),
    "replay seed": (lambda: mo.replay(S, P, seed=-1), "seed", "an integer >= 0"),
    "replay options": (lambda: mo.replay(S, P, options={}), "options", "a ReplayOptions"),
    "replay world": (lambda: mo.replay(S, P, uncertainty=1.0), "uncertainty", "an Uncertainty"),
    "replay data": (lambda: mo.replay(S, P, data=3), "data", "a folder"),
    "replay data of a task": (lambda: mo.replay(S, P, data={"digits": 3}), "data.digits.train",
        "a map-style Dataset"),
    "replay data misspelt": (
        lambda: mo.replay(S, P, data={"digit": 3}), "data", "did you mean digits"),
    "replay clock": (lambda: mo.replay(S, P, clock=1.0), "clock", "a RealTime"),
    "replay checkpoint": (
        lambda: mo.replay(S, P, checkpoint=3), "checkpoint", "the name of a file"),
    "replay initial": (
        lambda: mo.replay(S, P, initial={"digit": np.zeros(3)}), "initial", "did you mean digits"),
    "stress world": (lambda: mo.stress(S, P, 0.1), "uncertainty", "an Uncertainty"),
    "stress draws": (lambda: mo.stress(S, P, U, draws=0), "draws", "an integer >= 1"),
    "stress draws nan": (lambda: mo.stress(S, P, U, draws=NAN), "draws", "an integer >= 1"),
    "federate misspelt": (
        lambda: mo.federate("fedavgg", rounds=1), "system", "did you mean fedavg"),
    "federate number": (lambda: mo.federate(3, rounds=1), "system", "a System or its name"),
    "federate data misspelt": (
        lambda: mo.federate("fedavg", "digitz", rounds=1), "data", "did you mean digits"),
    "federate data none": (lambda: mo.federate("fedavg", None, rounds=1), "data", "a DataSet"),
    "federate model misspelt": (
        lambda: mo.federate("fedavg", model="lenet", rounds=1), "model", "did you mean lenet5"),
    "federate model number": (
        lambda: mo.federate("fedavg", model=3, rounds=1), "model", "a Module"),
    "federate clients negative": (
        lambda: mo.federate("fedavg", clients=-1, rounds=1), "clients", "an integer from 1"),
    "federate clients fraction": (
        lambda: mo.federate("fedavg", clients=2.5, rounds=1), "clients", "an integer from 1"),
    "federate clients text": (
        lambda: mo.federate("fedavg", clients="ten", rounds=1), "clients", "an integer from 1"),
    "federate clients list": (
        lambda: mo.federate("fedavg", clients=[5, NAN], rounds=1), "clients[1]", "an integer >= 1"),
    "federate rounds negative": (
        lambda: mo.federate("fedavg", rounds=-2), "rounds", "an integer >= 1"),
    "federate rounds nan": (lambda: mo.federate("fedavg", rounds=NAN), "rounds", "an integer >= 1"),
    "federate rounds text": (
        lambda: mo.federate("fedavg", rounds="3"), "rounds", "an integer >= 1"),
    "federate no end": (lambda: mo.federate("fedavg"), "rounds", "either rounds or sessions"),
    "federate options": (
        lambda: mo.federate("fedavg", rounds=1, options={}), "options", "a FederationOptions"),
    "federate every": (
        lambda: mo.federate("fedavg", rounds=1, checkpoint_every=0), "checkpoint_every",
        "an integer >= 1"),
    "calibrate seed": (lambda: mo.calibrate(S, seed=NAN), "seed", "an integer >= 0"),
    "calibrate options": (lambda: mo.calibrate(S, options={}), "options", "a CalibrationOptions"),
    "calibrate task": (
        lambda: mo.calibrate(S, models={"signal": None}), "models", "did you mean signals"),
    "calibrate model": (
        lambda: mo.calibrate(S, models={"digits": 3}), "models[digits]", "Objective"),
    "bound report few": (lambda: mo.bound_report(S, plans=2), "plans", "an integer >= 3"),
    "bound report text": (lambda: mo.bound_report(S, plans="many"), "plans", "an integer >= 3"),
    "bound report nan": (lambda: mo.bound_report(S, plans=NAN), "plans", "an integer >= 3"),
    "bound report seed": (lambda: mo.bound_report(S, seed=-1), "seed", "an integer >= 0"),
    "bound report options": (
        lambda: mo.bound_report(S, options={}), "options", "a ReplayOptions"),
    "uncertainty negative": (
        lambda: mo.Uncertainty(gain_db=-1.0), "uncertainty.gain_db", "a finite number >= 0"),
    "uncertainty nan": (lambda: mo.Uncertainty(speed=NAN), "uncertainty.speed", "a finite number"),
    "uncertainty text": (lambda: mo.Uncertainty(speed="1"), "uncertainty.speed", "a finite number"),
    "uncertainty outage": (lambda: mo.Uncertainty(outage="often"), "uncertainty.outage",
                           "a probability"),
    "uncertainty late": (
        lambda: mo.Uncertainty(late="dorp"), "uncertainty.late", "did you mean drop"),
    "scenario path": (lambda: mo.Scenario.load(3), "scenario", "the name of a file"),
    "scenario suffix": (lambda: mo.Scenario.load("a.yaml"), "a.yaml", ".toml or .json"),
    "scenario list": (lambda: mo.Scenario.from_dict([]), "scenario", "a table of sections"),
    "scenario section misspelt": (
        lambda: mo.Scenario.from_dict({"device": {}}), "device", "did you mean devices"),
    "scenario key misspelt": (
        lambda: mo.Scenario.from_dict({"devices": {"f_min": 1}}), "devices.f_min",
        "did you mean f_min_hz"),
    "scenario field misspelt": (
        lambda: S.replace(**{"devices.tx_power": 1}), "devices.tx_power",
        "did you mean devices.tx_power_w"),
    "scenario draw": (lambda: mo.Scenario.draw(devices=-1), "devices", "an integer >= 1"),
    "scenario draw nan": (lambda: mo.Scenario.draw(slots=NAN), "slots", "an integer >= 1"),
    "scenario draw seed": (lambda: mo.Scenario.draw(seed="x"), "seed", "integer"),
    "plan path": (lambda: mo.Plan.load(3), "plan", "the name of a file"),
    "plan suffix": (lambda: P.save("plan.txt"), "plan.txt", ".json or .parquet"),
    "plan save": (lambda: P.save(3), "plan", "the name of a file"),
    "plan dict": (lambda: mo.Plan.from_dict([]), "plan", "a table"),
    "plan key misspelt": (
        lambda: mo.Plan.from_dict({"sessions": [], "objectve": 1}), "plan.objectve",
        "did you mean objective"),
    "plan sessions": (
        lambda: mo.Plan(sessions=[], backend="x", termination=mo.Termination.COMPLETED,
                        point=mo.PointStatus.NONE), "sessions", "a Sessions"),
    "plan change misspelt": (lambda: P.replace(objectiv=1), "objectiv", "did you mean objective"),
    "plan tensors": (lambda: P.to_xarray("fleet.toml"), "scenario", "mo.Scenario.load"),
    "sessions number": (lambda: mo.Sessions.from_rows(3), "sessions", "a list"),
    "sessions key misspelt": (
        lambda: mo.Sessions.from_rows([{"devise": 0}]), "sessions[0].devise",
        "did you mean device"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_argument_is_refused_with_its_path_and_a_way_out(case):
    call, path, words = WRONG[case]
    with pytest.raises(mo.InputError) as error:
        call()
    assert error.value.path == path, str(error.value)
    assert words in str(error.value)
    assert isinstance(error.value, ValueError)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [name for name in mo.__all__ if not name.startswith("_")])
def test_misspelt_public_name_names_the_nearest(name):
    with pytest.raises(AttributeError, match=rf"has no attribute '{name}x'; did you mean {name}\?"):
        getattr(mo, name + "x")


@pytest.mark.parametrize(
    ("word", "hint"), [("connic", "did you mean conic?"), ("zzz", ""), (3, ""), (None, "")]
)
def test_hint_names_only_what_is_near(word, hint):
    assert did_you_mean(word, ["conic", "greedy"]) == hint
