from __future__ import annotations

import json

import pytest
from instances.make import names, read
from small_scenarios import plain_scenario

import mafl_opt as mo
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.dcp import compile_lifted, compile_natural

CONVEX = {"flow", "exclusive", "uplink", "staleness", "available", "box"}


@pytest.mark.parametrize("scenario", [plain_scenario(), mo.Scenario.default()])
def test_convex_blocks_compile_and_the_others_are_refused(scenario):
    natural = compile_natural(Problem(scenario=scenario))
    assert {name for name, shown in natural.items() if shown.compiled} == CONVEX
    assert set(natural) == {block.id for block in Problem(scenario=scenario).blocks}


def test_lifted_form_compiles_for_all_but_integrality():
    lifted = compile_lifted(Problem(scenario=plain_scenario()))
    assert set(lifted) == {"ratio", "deadline", "energy", "step_cap"}
    assert all(shown.compiled for shown in lifted.values())


def test_every_block_of_the_default_scenario_is_what_it_is_declared_to_be():
    for verdict in mo.classify(mo.Scenario.default()):
        assert verdict.computed is verdict.declared
        assert verdict.convex == (verdict.id in CONVEX)
        json.dumps(verdict.to_dict(), allow_nan=False)


@pytest.mark.parametrize("name", names())
def test_no_instance_contradicts_the_declared_classes(name):
    for verdict in mo.classify(read(name)[0]):
        assert verdict.computed in (verdict.declared, None)
        if verdict.convex:
            assert verdict.computed is verdict.declared
