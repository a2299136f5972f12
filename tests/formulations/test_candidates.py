"""Columns: exactly the sessions that exist, with the largest batches that fit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from enumeration import session_options
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_terms import Facts
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import SAME_FORMULA

import mafl_opt.formulations.candidates as candidates
from mafl_opt.core.check import check
from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.formulations.candidates import enumerate_candidates

KEYS = ("device", "receive", "upload", "task", "iterations")
WIDE = {
    "tasks.iterations_max": [3, 4],
    "tasks.batch_max": [9, 30],
    "pairs.samples": [[0, 25], [7, 60], [40, 5]],
}


def scenarios():
    for seed in range(6):
        yield drawn_scenario(seed, devices=3, tasks=2, slots=4, **WIDE)
    yield plain_scenario()
    yield plain_scenario(**{"devices.f_max_hz": [1.0e8, 1.5e8]})
    yield plain_scenario(**{"network.downlink_bps": [[1.1e6, 4.9e5], [0.0, 9e6], [1e6, 1e6]]})


@pytest.mark.parametrize("s", list(scenarios()), ids=lambda s: s.sha256[:6])
def test_columns_are_the_sessions_that_exist(s):
    facts, found = Facts.of(s), enumerate_candidates(s)
    batches = {}
    for i in range(s.num_devices):
        for options in session_options(facts, i).values():
            for row, _ in options:
                key = tuple(row[name] for name in KEYS)
                batches[key] = max(batches.get(key, 0), row["batch_size"])
    columns = list(zip(*(getattr(found, name).tolist() for name in KEYS), strict=True))
    assert columns == sorted(batches)
    assert found.batch_hi.tolist() == [batches[key] for key in columns]


def test_no_column_where_nobody_is_reachable():
    s = plain_scenario(**{"network.available": [[True, False], [False, True], [True, True]]})
    c = enumerate_candidates(s)
    spans = {(i, r, u) for i, r, u in zip(c.device, c.receive, c.upload, strict=True)}
    assert spans == {(0, 0, 1), (0, 2, 3), (1, 1, 2), (1, 1, 3), (1, 2, 3)}


def test_a_transfer_must_fit_its_own_slot():
    # 1e6 bits at 0.9e6 bit/s take more than the first slot though the window is long enough.
    s = plain_scenario(**{"network.downlink_bps": [[9e5, 9e5], [6e6, 9e6], [7e6, 7e6]]})
    c = enumerate_candidates(s)
    assert not ((c.task == 0) & (c.receive == 0)).any()
    assert ((c.task == 1) & (c.receive == 0)).any()


def test_columns_meet_the_checker_at_the_largest_batch():
    s = drawn_scenario(
        2, devices=3, tasks=2, slots=4, **WIDE,
        **{"devices.energy_budget_j": [1e3] * 3, "network.available": [[True] * 3] * 4},
    )  # fmt: skip
    c = enumerate_candidates(s)
    for k in range(len(c)):
        rows = c.sessions(np.array([k]), c.batch_hi[[k]])
        report = check(s, plan_of(rows))
        assert not {v.constraint for v in report.violations} - {"ratio", "step_cap"}
        spent = report.device_energy_j[c.device[k]]
        assert c.take(np.array([k])).energy(c.batch_hi[[k]])[0] == pytest.approx(
            spent, rel=SAME_FORMULA
        )
        phi = report.tasks[c.task[k]]
        inside = phi.numerator - sum(
            phi.parts[name] * phi.progress for name in ("initial_gap", "loss_drift")
        )
        assert c.take(np.array([k])).error_at(c.batch_hi[[k]])[0] == pytest.approx(inside)


def test_one_more_sample_misses_the_deadline_the_budget_or_the_box():
    s = drawn_scenario(3, devices=3, tasks=2, slots=4, **WIDE)
    c = enumerate_candidates(s)
    most = np.minimum(s.tasks.batch_max[c.task], c.samples)
    cut = np.flatnonzero(c.batch_hi < most)
    assert cut.size
    needed = c.cycles[cut] * (c.batch_hi[cut] + 1) / c.time_s[cut]
    dearer = c.energy(c.batch_hi + 1)[cut] > s.devices.energy_budget_j[c.device[cut]]
    assert ((needed > c.f_max_hz[cut]) | dearer).all()
    assert dearer.any()
    assert not dearer.all()


def plan_of(rows):
    return Plan(
        sessions=rows, backend="t", termination=Termination.COMPLETED, point=PointStatus.FEASIBLE
    )


@settings(max_examples=80, derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 7),
    power=st.floats(-4.0, 1.0),
    capacitance=st.sampled_from([0.0, 1e-40, 3e-28, 1e-24]),
)
def test_batch_within_is_the_largest_batch_an_energy_pays_for(seed, power, capacitance):
    s = drawn_scenario(
        seed, devices=3, tasks=2, slots=3, **WIDE, **{"devices.capacitance": [capacitance] * 3}
    )
    c = enumerate_candidates(s)
    energy = 10.0**power
    found = c.batch_within(energy)
    most = np.zeros(len(c), dtype=int)
    for batch in range(1, int(c.batch_hi.max(initial=0)) + 1):
        pays = (batch <= c.batch_hi) & (c.energy(np.full(len(c), batch)) <= energy)
        most[pays] = batch
    assert found.tolist() == most.tolist()


def test_batch_within_takes_an_exact_fit():
    c = enumerate_candidates(plain_scenario())
    for batch in (1, 2):
        fits = c.batch_hi >= batch
        energy = c.energy(np.full(len(c), batch))
        assert (c.batch_within(energy)[fits] >= batch).all()


def test_locate_finds_every_column_and_nothing_else():
    c = enumerate_candidates(plain_scenario())
    rng = np.random.default_rng(0)
    index = np.sort(rng.permutation(len(c))[:10])
    # `sessions` sorts by device, receive, upload, task: the order columns already have.
    assert c.locate(c.sessions(index, c.batch_hi[index])).tolist() == index.tolist()
    row = dict(device=0, task=0, receive=0, upload=1, cpu_hz=1e8, batch_size=1, iterations=9)
    assert c.locate(Sessions.from_rows([row])).tolist() == [-1]


def test_frequency_is_never_below_the_lowest():
    c = enumerate_candidates(plain_scenario())
    assert (c.frequency(np.ones(len(c))) >= c.f_min_hz).all()
    assert (c.frequency(c.batch_hi) <= c.f_max_hz).all()


def test_too_many_columns_are_refused(monkeypatch):
    monkeypatch.setattr(candidates, "MAX_COLUMNS", 10)
    with pytest.raises(InputError, match="at most 10 columns"):
        enumerate_candidates(plain_scenario())


def test_columns_are_ordered_for_the_device_programs():
    c = enumerate_candidates(drawn_scenario(1, devices=3, tasks=2, slots=4, **WIDE))
    keys = list(zip(*(getattr(c, name).tolist() for name in KEYS), strict=True))
    assert all(a < b for a, b in itertools.pairwise(keys))
