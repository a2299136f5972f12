"""Digests that name scenarios: the same for the same numbers, however they lie in memory."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from small_plans import hand_made_plan
from small_scenarios import drawn_scenario, plain_numbers, plain_scenario

from mafl_opt.core import digest as digest_module
from mafl_opt.core.check import check
from mafl_opt.core.digest import array_digest, text_digest
from mafl_opt.core.fields import FIELDS
from mafl_opt.core.scenario import Scenario

#: Digest of `plain_scenario`; it may change only together with the layout's number.
PLAIN = "904f1da4fb8b70aed06b3341b0c869aa55ae4583472f67c94684241e5c43f5a3"


def former_digest(scenario):
    """The digest that plans carried before, written out."""
    text = json.dumps(scenario.to_dict(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def test_digest_of_a_scenario_stays_what_it_is():
    assert plain_scenario().sha256 == PLAIN


@pytest.mark.parametrize("block", [1, 3, 1000])
def test_digests_do_not_depend_on_the_block_size(monkeypatch, block):
    scenario = drawn_scenario(3, tasks=2)
    monkeypatch.setattr(digest_module, "_BLOCK", block)
    assert plain_scenario().sha256 == PLAIN
    again = Scenario.from_dict(scenario.to_dict())
    assert again.sha256 == scenario.sha256
    assert again.is_named_by(former_digest(scenario))


def test_array_digest_is_the_hash_of_the_layout_written_out():
    array = np.array([[1.5, -0.0], [2.0, 3.0]])
    raw = b"mafl-opt scenario 2\n" + b'["a.b", "<f8", [2, 2]]\n'
    raw += np.array([1.5, 0.0, 2.0, 3.0]).tobytes() + b'["n", ["x"]]\n'
    raw += b'["flag", "|u1", [3]]\n' + bytes([1, 0, 1])
    entries = {"a.b": array, "n": ("x",), "flag": np.array([True, False, True])}
    assert array_digest(entries) == hashlib.sha256(raw).hexdigest()
    assert array_digest(entries | {"a.b": np.asfortranarray(array)}) == array_digest(entries)


def test_text_digest_is_that_of_the_json_text():
    groups = {"b": {"y": np.arange(6).reshape(3, 2), "x": np.array([0.1, 1e300])}, "a": 2.5}
    text = '{"a":2.5,"b":{"x":[0.1,1e+300],"y":[[0,1],[2,3],[4,5]]}}'
    assert text_digest(groups) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("path", sorted(FIELDS))
def test_digest_changes_with_every_field(path):
    changed = {
        "bool": lambda old: ~old,
        "str": lambda old: [f"new {name}" for name in old],
        "staleness": lambda old: [{"kind": "hinge", "a": 3.0, "b": 1}] * len(old),
        "int": lambda old: old + 1,
        "float": lambda old: old * (1 - 1e-15),
    }[FIELDS[path].kind]
    group, _, name = path.rpartition(".")
    scenario = plain_scenario()
    old = getattr(getattr(scenario, group) if group else scenario, name)
    if FIELDS[path].kind == "float" and not np.any(old):
        old = old + 1e-3
    new = scenario.replace(**{path: changed(old)})
    assert new.sha256 != scenario.sha256
    assert not new.is_named_by(scenario.sha256)
    assert not new.is_named_by(former_digest(scenario))


def test_scenario_of_arrays_equals_that_of_lists():
    scenario = plain_scenario()
    numbers = plain_numbers()
    gain = np.array(numbers["network"]["gain"])
    numbers["network"]["gain"] = np.broadcast_to(gain[:, :, None], (3, 2, 4))[:, :, 1]
    assert Scenario.from_dict(numbers) == scenario
    assert scenario.replace() == scenario


def test_check_takes_a_plan_that_carries_the_former_digest():
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    former = plan.replace(scenario_sha256=former_digest(scenario))
    assert check(scenario, former) == check(scenario, plan)
    other = plan.replace(scenario_sha256=former_digest(scenario.replace(energy_weight=1.0)))
    assert any("made for scenario" in text for text in check(scenario, other).warnings)
