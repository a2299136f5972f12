"""The certificate's sessions against brute force and against the plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
from enumeration import session_options
from plain_terms import Facts
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import SAME_FORMULA

from mafl_opt.core.proof import session_table
from mafl_opt.core.proof.local_sums import LocalSums
from mafl_opt.core.proof.session_table import SessionTable, fleet_blocks
from mafl_opt.core.scenario import Scenario


def whole_table(scenario):
    return SessionTable.of(scenario, LocalSums.of(scenario), slice(0, scenario.num_devices))


@pytest.mark.parametrize("seed", range(12))
def test_table_holds_the_sessions_that_exist_and_no_others(seed):
    scenario = drawn_scenario(seed, tasks=2, **{"tasks.iterations_max": [1, 3]})
    table = whole_table(scenario)
    columns = (table.device, table.receive, table.upload, table.task, table.iterations)
    rows = dict(zip(zip(*columns, strict=True), table.batch_max, strict=True))
    listed = {}
    for i in range(scenario.num_devices):
        for (r, u), options in session_options(Facts.of(scenario), i).items():
            for row, _ in options:
                key = (i, r, u, row["task"], row["iterations"])
                listed[key] = max(listed.get(key, 0), row["batch_size"])
    assert rows == listed


@pytest.mark.parametrize("seed", range(6))
def test_figures_of_every_row_are_those_of_the_plain_formulas(seed):
    scenario = drawn_scenario(seed, tasks=2, **{"tasks.iterations_max": [4, 3]})
    facts, table = Facts.of(scenario), whole_table(scenario)
    assert len(table) > 10
    for n in range(len(table)):
        i, j, r, u, count = (
            int(getattr(table, name)[n])
            for name in ("device", "task", "receive", "upload", "iterations")
        )
        error = facts.error(i, j, u - 1 - r, count)
        down, up = facts.receive_s(i, j, r), facts.upload_s(i, j, u)
        for found, wanted in (
            (table.systematic[n], error.systematic),
            (table.noise[n], error.noise),
            (table.step[n], facts.step(i, j, u - 1 - r) * facts.steps_sum(j, count)),
            (table.radio_j[n], facts.radio_j(i, down, up)),
            (table.work[n], facts.pairs["cycles_per_sample"][i][j] * count),
        ):
            assert found == pytest.approx(wanted, rel=SAME_FORMULA)


def test_links_that_just_fit_their_slot_leave_their_sessions_in_the_table():
    """Downloads take 0.95 of slot 1 on device 0 and a little more than all of it on device 1."""
    down = [[1e6 / 0.95, 0.99e6], [1e7, 1e7], [1e7, 1e7]]
    changes = {"network.downlink_bps": down, "tasks.staleness_max": [2, 2]}
    table = whole_table(plain_scenario(**changes))
    first = (table.task == 0) & (table.receive == 0)
    assert set(table.device[first]) == {0}
    assert set(table.upload[first]) == {2, 3}


def test_dead_links_and_free_computing_leave_a_finite_table():
    gain = [[0.0, 1e-12], [1e-12, 0.0], [0.0, 2e-12]]
    changes = {"network.gain": gain, "devices.capacitance": [0.0, 0.0]}
    table = whole_table(plain_scenario(**changes))
    assert set(zip(table.device, table.upload, strict=True)) == {(0, 2), (1, 1), (1, 3)}
    assert np.isfinite(table.radio_j).all()
    poor = plain_scenario(**{**changes, "devices.energy_budget_j": [1e-9, 0.05]})
    assert set(whole_table(poor).device) == {1}


def test_blocks_list_the_same_rows_as_the_whole_fleet(monkeypatch):
    scenario = Scenario.draw(devices=7, tasks=2, slots=5, seed=1)
    whole, sums = whole_table(scenario), LocalSums.of(scenario)
    monkeypatch.setattr(session_table, "_BLOCK", 700)
    blocks = list(fleet_blocks(scenario))
    assert len(blocks) > 2
    tables = [SessionTable.of(scenario, sums, block) for block in blocks]
    for name in ("device", "task", "upload", "systematic", "time_s", "batch_max", "samples"):
        parts = np.concatenate([getattr(table, name) for table in tables])
        assert np.array_equal(parts, getattr(whole, name))
    keys = whole.keys(2, 5, int(scenario.tasks.iterations_max.max()))
    assert (np.diff(keys) > 0).all()
