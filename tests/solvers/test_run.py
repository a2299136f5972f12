"""What a run prints at its end is what the certificate bears, never more."""

from __future__ import annotations

import numpy as np
import pytest
from small_scenarios import plain_scenario

import mafl_opt as mo
from mafl_opt.core.certificate import certified_bound
from mafl_opt.core.check import CLAIM_TOLERANCE
from mafl_opt.core.status import Termination
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Options, Run
from mafl_opt.solvers.improve import fill
from mafl_opt.solvers.schedule import Schedule


def ended(termination, gap=0.1):
    """End a run on a greedy plan whose certificate, without leaves, proves only the floor."""
    run = Run(problem=Problem(scenario=plain_scenario()), options=Options(gap=gap))
    schedule = Schedule(run.problem)
    fill(schedule)
    run.offer(schedule, "greedy")
    claim = {"kind": "lagrangian", "bound": 2 * run.objective, "leaves": []}
    return run.plan("t", termination, claim), run.problem.scenario


@pytest.mark.parametrize("word", [Termination.OPTIMAL, Termination.GAP_REACHED])
def test_plan_takes_back_a_word_its_bound_does_not_bear(word):
    plan, scenario = ended(word)
    assert plan.termination is Termination.STALLED
    assert plan.certificate["bound"] == plan.objective
    assert plan.bound == certified_bound(scenario, plan.certificate)
    assert plan.bound < 0.9 * plan.objective


def test_optimal_becomes_gap_reached_when_only_the_gap_is_borne():
    assert ended(Termination.OPTIMAL, gap=1.0)[0].termination is Termination.GAP_REACHED


@pytest.mark.parametrize(
    ("seconds", "word"),
    [(np.inf, Termination.OPTIMAL), (1e-9, Termination.GAP_REACHED), (0, Termination.GAP_REACHED)],
)
def test_optimal_is_said_only_of_a_bound_that_was_derived(seconds, word):
    run = Run(problem=Problem(scenario=plain_scenario()), options=Options())
    schedule = Schedule(run.problem)
    fill(schedule)
    run.offer(schedule, "greedy")
    scenario = run.problem.scenario
    proof = mo.solve(scenario, backend="prices", gap=0.0)
    run.offer(Schedule.from_sessions(run.problem, proof.sessions), "optimum")
    plan = run.plan("t", Termination.OPTIMAL, proof.certificate, derive_s=seconds)
    assert plan.termination is word
    assert plan.bound == pytest.approx(plan.objective, rel=CLAIM_TOLERANCE)


def test_other_words_stand():
    assert ended(Termination.LOCALLY_OPTIMAL)[0].termination is Termination.LOCALLY_OPTIMAL
