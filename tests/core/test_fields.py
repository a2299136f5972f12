"""The table of fields, the arrays made from it, and its page in the documentation."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import SAME_FORMULA

from mafl_opt.core.errors import InputError
from mafl_opt.core.fields import FIELDS, GROUPS, Field, StalenessWeight, array_from, weights_from
from mafl_opt.core.scenario import Scenario

PAGE = Path(__file__).parents[2] / "docs" / "scenario.md"


def field_row(field: Field) -> str:
    """Row of one field in the page's table."""
    shape = "".join(f"[{axis}]" for axis in field.dims) or "one"
    missing = "required" if field.default is None else f"`{json.dumps(field.default)}`"
    cells = (f"`{field.path}`", shape, field.unit, field.expected, field.meaning, missing)
    return "| " + " | ".join(cells) + " |"


def test_page_table_matches_the_fields() -> None:
    rows = re.findall(r"^\| `[a-z_.]+` \|.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [field_row(field) for field in FIELDS.values()]


def test_groups_hold_every_field_once() -> None:
    assert [path for paths in GROUPS.values() for path in paths] == sorted(
        FIELDS, key=list(FIELDS).index
    )
    assert list(GROUPS) == ["time", "devices", "tasks", "pairs", "network", ""]


def test_scenario_dict_has_exactly_the_fields() -> None:
    data = Scenario.draw(devices=2, tasks=1, slots=3).to_dict()
    found = [
        f"{key}.{name}" if isinstance(value, dict) else key
        for key, value in data.items()
        for name in (value if isinstance(value, dict) else (key,))
    ]
    assert found == list(FIELDS)


def sizes(**known: int) -> dict[str, int | None]:
    return {"G": None, "I": None, "J": None} | known


def test_array_is_read_only_and_a_copy() -> None:
    source = np.array([1.0, 2.0])
    array = array_from(FIELDS["time.slot_s"], source, sizes())
    source[0] = 9.0
    assert array.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 3.0


def test_first_field_of_an_axis_fixes_its_size() -> None:
    known = sizes()
    array_from(FIELDS["pairs.samples"], [[1, 2], [3, 4], [5, 6]], known)
    assert known == {"G": None, "I": 3, "J": 2}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("time.slot_s", [1.0, 0.0], r"time\.slot_s\[1\]: expected a finite number > 0, found 0\.0"),
        ("pairs.samples", [[1, 2], [3, -4]], r"pairs\.samples\[1\]\[1\]: .*>= 0.*found -4"),
        ("pairs.samples", [[1, 2.0]], r"pairs\.samples\[0\]\[1\]: expected an integer"),
        ("pairs.samples", [[1, 10**30]], r"pairs\.samples: .*below 2\^63"),
        ("pairs.samples", [[1, 2], [3]], r"pairs\.samples\[1\]: expected 2 entries.*1 entries"),
        ("time.slot_s", [True], r"time\.slot_s\[0\]: expected a finite number > 0, found True"),
        ("time.slot_s", ["1"], r"time\.slot_s\[0\]: .*found '1'"),
        ("time.slot_s", [], r"time\.slot_s: expected at least one entry"),
        ("time.slot_s", 1.0, r"time\.slot_s: expected a list"),
        ("network.available", [[1]], r"network\.available\[0\]\[0\]: expected true or false"),
        ("time.slot_s", np.array(["a"]), r"time\.slot_s: expected an array of float"),
        ("pairs.samples", np.array([[1.0]]), r"pairs\.samples: expected an array of int"),
        (
            "network.gain",
            np.ones(3),
            r"network\.gain: expected 2 axes \[GI\], found 'shape \(3,\)'",
        ),
        ("time.slot_s", np.array([1.0, np.nan]), r"time\.slot_s\[1\]: .*found nan"),
    ],
)
def test_array_error_names_the_entry(path: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        array_from(FIELDS[path], value, sizes())


def test_expected_puts_limits_in_words() -> None:
    assert FIELDS["tasks.batch_max"].expected == "an integer >= 1"
    assert FIELDS["time.slot_s"].expected == "a finite number > 0"
    assert FIELDS["pairs.samples"].expected == "an integer >= 0 and <= 1e+12"


@settings(derandomize=True, deadline=None)
@given(a=st.floats(0, 10), b=st.integers(0, 6), tau=st.integers(0, 12))
def test_staleness_weights_follow_their_formulas(a: float, b: int, tau: int) -> None:
    constant = StalenessWeight()
    polynomial = StalenessWeight(kind="polynomial", a=a)
    hinge = StalenessWeight(kind="hinge", a=a, b=b)
    assert constant(tau) == 1.0
    assert polynomial(tau) == pytest.approx((1.0 + tau) ** -a, rel=SAME_FORMULA)
    late = 1.0 if tau <= b else 1.0 / (a * (tau - b) + 1.0)
    assert hinge(tau) == pytest.approx(late, rel=SAME_FORMULA)
    for weight in (constant, polynomial, hinge):
        assert StalenessWeight.from_dict(weight.to_dict(), "w") == weight


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("constant", r"w: expected a table"),
        ({}, r"w\.kind: expected constant, polynomial or hinge, found None"),
        ({"kind": "linear"}, r"w\.kind: .*found 'linear'"),
        ({"kind": ["hinge"]}, r"w\.kind: "),
        ({"kind": "constant", "a": 1}, r"w\.a: expected only kind"),
        ({"kind": "polynomial"}, r"w\.a: expected a finite number >= 0, found None"),
        ({"kind": "polynomial", "a": -1}, r"w\.a: .*found -1"),
        ({"kind": "polynomial", "a": float("nan")}, r"w\.a: .*found nan"),
        ({"kind": "polynomial", "a": float("inf")}, r"w\.a: .*found inf"),
        ({"kind": "hinge", "a": 1, "b": 1.5}, r"w\.b: expected an integer >= 0, found 1\.5"),
        ({"kind": "hinge", "a": True, "b": 1}, r"w\.a: .*found True"),
    ],
)
def test_staleness_weight_error_names_the_key(value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        StalenessWeight.from_dict(value, "w")


def test_staleness_weights_need_one_a_task() -> None:
    with pytest.raises(InputError, match=r"tasks\.staleness_weight: expected 2 entries"):
        weights_from([{"kind": "constant"}], 2)
