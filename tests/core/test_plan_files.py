"""Plans on disk: the same in JSON and Parquet, and clear about what is wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mafl_opt.core import plan_table
from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import COLUMNS, Plan, Sessions
from mafl_opt.core.status import PointStatus, Termination

ROW = {
    "device": 1, "task": 0, "receive": 2, "upload": 5,
    "cpu_hz": 1.1e9, "batch_size": 4, "iterations": 7,
}  # fmt: skip

counts = st.integers(0, 2**61)
finite = st.floats(-1e300, 1e300)
rows = st.fixed_dictionaries(
    {name: counts for name in COLUMNS if name != "cpu_hz"} | {"cpu_hz": finite}
)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
plans = st.builds(
    lambda table, **header: Plan(sessions=Sessions.from_rows(table), **header),
    st.lists(rows, max_size=5),
    backend=words,
    termination=st.sampled_from(Termination),
    point=st.sampled_from(PointStatus),
    objective=st.none() | finite,
    bound=st.none() | finite,
    seconds=st.floats(0, 1e9),
    scenario_sha256=words,
    versions=st.dictionaries(words, words, max_size=3),
    trace=st.lists(st.fixed_dictionaries({"seconds": finite, "event": words}), max_size=3).map(
        tuple
    ),
    certificate=st.none() | st.fixed_dictionaries({"kind": words, "leaves": st.lists(finite)}),
)


def assert_same(one: Plan, two: Plan) -> None:
    assert one.sessions == two.sessions
    assert one.header() == two.header()
    for name in COLUMNS:
        if len(one.sessions):
            assert getattr(one.sessions, name).dtype == getattr(two.sessions, name).dtype, name


@settings(derandomize=True, deadline=None, max_examples=60)
@given(plans)
def test_plan_survives_both_kinds_of_file(tmp_path_factory: Any, plan: Plan) -> None:
    folder = tmp_path_factory.mktemp("plans")
    for name in ("a.json", "a.parquet"):
        plan.save(folder / name)
        assert_same(Plan.load(folder / name), plan)
    assert_same(Plan.from_dict(json.loads(plan.to_json())), plan)


def test_json_file_has_the_names_of_the_model_page(tmp_path: Path) -> None:
    plan = Plan(
        sessions=Sessions.from_rows([ROW]),
        backend="conic",
        termination=Termination.OPTIMAL,
        point=PointStatus.FEASIBLE,
        objective=4.0,
        bound=3.0,
    )
    data = json.loads(plan.to_json())
    assert list(data) == [
        "backend", "termination", "point", "objective", "bound", "gap", "seconds",
        "scenario_sha256", "versions", "trace", "certificate", "sessions",
    ]  # fmt: skip
    assert data["termination"] == "OPTIMAL" and data["point"] == "FEASIBLE"
    assert data["gap"] == 0.25
    assert data["sessions"] == [ROW]


def test_only_sessions_are_required() -> None:
    plan = Plan.from_dict({"sessions": [ROW]})
    assert plan.sessions.rows() == [ROW]
    assert plan.sessions.staleness.tolist() == [2]
    assert plan.objective is None and plan.bound is None and plan.gap is None


@pytest.mark.parametrize(
    ("objective", "bound", "gap"),
    [(4.0, 3.0, 0.25), (4.0, 4.0, 0.0), (0.0, 0.0, 0.0), (4.0, None, None), (None, 3.0, None)],
)
def test_gap_is_relative_to_the_objective(
    objective: float | None, bound: float | None, gap: float | None
) -> None:
    assert Plan.from_dict({"sessions": [], "objective": objective, "bound": bound}).gap == gap


def test_sessions_sort_by_device_then_reception() -> None:
    table = [ROW | {"device": d, "receive": r} for d, r in ((1, 3), (0, 4), (1, 0))]
    found = Sessions.from_rows(table).sorted()
    assert found.device.tolist() == [0, 1, 1] and found.receive.tolist() == [4, 0, 3]


def test_fraction_is_kept_for_the_check_to_find() -> None:
    sessions = Sessions.from_rows([ROW | {"batch_size": 2.5}, ROW])
    assert sessions.batch_size.tolist() == [2.5, 4.0]
    assert Sessions.from_rows([ROW | {"batch_size": 2.0}]).batch_size.dtype == np.int64


def test_sessions_are_read_only() -> None:
    sessions = Sessions.from_rows([ROW])
    for name in COLUMNS:
        assert not getattr(sessions, name).flags.writeable


@pytest.mark.parametrize("name", COLUMNS)
def test_bad_entry_of_a_session_is_named(name: str) -> None:
    for value in ("3", True, None, [1], {}):
        with pytest.raises(InputError, match=rf"^sessions\[1\]\.{name}: expected a number"):
            Plan.from_dict({"sessions": [ROW, ROW | {name: value}]})
    for number in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(InputError, match=rf"^sessions\[1\]\.{name}: expected a finite number"):
            Plan.from_dict({"sessions": [ROW, ROW | {name: number}]})
    for number in (10**400, 2**63, -(2**63), 1e300):
        if name == "cpu_hz" and abs(number) <= 1e300:
            continue
        with pytest.raises(InputError, match=rf"^sessions\.{name}: "):
            Plan.from_dict({"sessions": [ROW, ROW | {name: number}]})
    missing = {key: value for key, value in ROW.items() if key != name}
    with pytest.raises(InputError, match=rf"^sessions\[0\]\.{name}: expected a number, found None"):
        Plan.from_dict({"sessions": [missing]})
    with pytest.raises(InputError, match=rf"^sessions\[0\]\.{name}_: expected one of device"):
        Plan.from_dict({"sessions": [ROW | {name + "_": 1}]})


@pytest.mark.parametrize("name", ["device", "task", "receive", "upload"])
def test_fraction_in_an_index_is_named(name: str) -> None:
    with pytest.raises(InputError, match=rf"^sessions\[0\]\.{name}: expected an integer"):
        Plan.from_dict({"sessions": [ROW | {name: 0.5}]})


HEADER_ERRORS = [
    ("backend", 3, "expected a string"),
    ("termination", "FINE", "expected one of OPTIMAL, GAP_REACHED"),
    ("termination", None, "expected a string"),
    ("point", "OPTIMAL", "expected one of FEASIBLE, INFEASIBLE, NONE"),
    ("objective", "1", "expected a number or null"),
    ("objective", True, "expected a number or null"),
    ("objective", 10**400, "expected a finite number or null"),
    ("bound", float("inf"), "expected a finite number or null"),
    ("gap", [], "expected a number or null"),
    ("seconds", "1", "expected a number or null"),
    ("scenario_sha256", 3, "expected a string"),
    ("versions", [], "expected a dict or null"),
    ("trace", {}, "expected a list or null"),
    ("certificate", [], "expected a dict or null"),
    ("objectiv", 1.0, "expected one of backend"),
]


@pytest.mark.parametrize(("name", "value", "message"), HEADER_ERRORS)
def test_bad_header_is_named(name: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"^plan\.{name}: {message}"):
        Plan.from_dict({"sessions": [ROW], name: value})


def test_bad_part_of_a_header_is_named() -> None:
    with pytest.raises(InputError, match=r"^plan\.trace\[1\]: expected a table, found 3"):
        Plan.from_dict({"sessions": [], "trace": [{}, 3]})
    with pytest.raises(InputError, match=r"^plan\.versions\.numpy: expected a string"):
        Plan.from_dict({"sessions": [], "versions": {"numpy": 2}})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "plan: expected a table with the key sessions"),
        ({}, r"plan\.sessions: expected a list of sessions, found None"),
        ({"sessions": {}}, r"plan\.sessions: expected a list of sessions"),
        ({"sessions": [3]}, r"sessions\[0\]: expected a table with device, task"),
    ],
)
def test_what_is_no_plan_is_named(data: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        Plan.from_dict(data)


def test_columns_of_unequal_length_are_named() -> None:
    columns = {name: np.ones(2) for name in COLUMNS} | {"task": np.ones(3)}
    with pytest.raises(InputError, match=r"^sessions\.task: expected 2 entries, found 3"):
        Sessions(**columns)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": None}, r"a\.parquet: task: expected the columns device, task"),
        ({"extra": [1, 2]}, r"a\.parquet: extra: expected the columns device, task"),
        ({"task": [1, None]}, r"sessions\[1\]\.task: expected a finite number"),
        ({"task": ["a", "b"]}, r"sessions\.task: expected a column of numbers"),
        ({"task": [True, False]}, r"sessions\.task: expected a column of numbers"),
        ({"task": [[1], [2]]}, r"sessions\.task: expected a column of numbers"),
    ],
)
def test_bad_parquet_column_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    columns: dict[str, Any] = {name: [value, value] for name, value in ROW.items()} | change
    table = {name: column for name, column in columns.items() if column is not None}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=message):
        Plan.load(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{", "expected JSON"),
        (b"[]", "plan: expected a table"),
        (b"\xff", "expected a Parquet plan"),
        (b'{"objective": "1"}', r"plan\.objective: expected a number or null"),
        (b'{"objectiv": 1}', r"plan\.objectiv: expected one of backend"),
    ],
)
def test_bad_parquet_header_is_named(tmp_path: Path, header: bytes, message: str) -> None:
    table = pa.table({name: [value] for name, value in ROW.items()})
    table = table.replace_schema_metadata({"mafl_opt": header})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=message):
        Plan.load(tmp_path / "a.parquet")


def test_bad_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.json: expected a readable file"):
        Plan.load(tmp_path / "a.json")
    with pytest.raises(InputError, match=r"a\.parquet: expected a Parquet plan"):
        Plan.load(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(b"no")
    with pytest.raises(InputError, match=r"a\.parquet: expected a Parquet plan"):
        Plan.load(tmp_path / "a.parquet")
    plan = Plan.from_dict({"sessions": [ROW]})
    with pytest.raises(InputError, match=r"a\.txt: expected a name ending in \.json or \.parquet"):
        plan.save(tmp_path / "a.txt")
    with pytest.raises(InputError, match="expected a file in an existing folder"):
        plan.save(tmp_path / "none" / "a.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet"]


# -- many sessions -------------------------------------------------------------------------------


def plan_of(size: int) -> Plan:
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {name: rng.integers(0, 2**40, size) for name in COLUMNS}
    columns["cpu_hz"] = rng.random(size)
    columns["iterations"] = columns["iterations"] + 0.5
    return Plan(
        sessions=Sessions(**columns), backend="x", termination=Termination.COMPLETED,
        point=PointStatus.FEASIBLE,
    )  # fmt: skip


@pytest.mark.parametrize("size", [0, 1, 9, 10, 25])
def test_parquet_plans_are_written_and_read_some_rows_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(plan_table, "_ROWS", 10)
    plan = plan_of(size)
    plan.save(tmp_path / "a.parquet")
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == -(-size // 10)
    assert_same(Plan.load(tmp_path / "a.parquet"), plan)


def test_parquet_plan_with_rows_missing_in_a_later_group_names_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_table, "_ROWS", 4)
    columns: dict[str, Any] = {name: [value] * 11 for name, value in ROW.items()}
    columns["device"][9] = None
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"sessions\[9\]\.device: expected a finite number"):
        Plan.load(tmp_path / "a.parquet")


def test_parquet_plan_of_too_many_rows_is_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_of(5).save(tmp_path / "a.parquet")

    def read(*_: Any, **__: Any) -> None:
        raise AssertionError("rows were read")

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", read)
    monkeypatch.setattr(plan_table, "MAX_ROWS", 4)
    with pytest.raises(InputError, match=r"a\.parquet: expected at most 4 sessions, found 5"):
        Plan.load(tmp_path / "a.parquet")


@pytest.mark.parametrize("given", [3, 5])
def test_parquet_plan_that_declares_another_number_of_rows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: int
) -> None:
    columns: dict[str, Any] = {name: [value] * given for name, value in ROW.items()}
    plan_of(4).save(tmp_path / "a.parquet")
    batches = pa.table(columns).to_batches()
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_, **__: batches)
    with pytest.raises(InputError, match=r"a\.parquet: expected 4 sessions, as it declares"):
        Plan.load(tmp_path / "a.parquet")
