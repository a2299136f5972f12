"""Fleet tables and traces, CSV and Parquet."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from mafl_opt.core import fleet_table
from mafl_opt.core.errors import InputError
from mafl_opt.core.fields import FIELDS
from mafl_opt.core.fleet_table import read_fleet, read_traces
from mafl_opt.core.scenario import Scenario

TASKS = ["digits", "my.task"]


def write(path: Path, columns: dict[str, Any]) -> Path:
    table = pa.table(columns)
    (pq.write_table if path.suffix == ".parquet" else pyarrow.csv.write_csv)(table, path)
    return path


def csv(folder: Path, text: str) -> Path:
    path = folder / "fleet.csv"
    path.write_text(text)
    return path


def traces_of(scenario: Scenario) -> dict[str, Any]:
    slots, devices = scenario.network.gain.shape
    return {
        "slot": np.repeat(np.arange(1, slots + 1), devices),
        "device": np.tile(np.arange(devices), slots),
        "gain": scenario.network.gain.ravel(),
        "downlink_bps": scenario.network.downlink_bps.ravel(),
        "available": scenario.network.available.ravel(),
    }


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_scenario_survives_being_cut_into_tables(tmp_path: Path, suffix: str) -> None:
    whole = Scenario.draw(devices=5, tasks=2, slots=4, seed=3)
    columns = {
        field.name: getattr(whole.devices, field.name)
        for field in FIELDS.values()
        if field.group == "devices"
    }
    for field in FIELDS.values():
        if field.group == "pairs":
            for j, name in enumerate(whole.tasks.name):
                columns[f"{field.name}.{name}"] = getattr(whole.pairs, field.name)[:, j]
    write(tmp_path / f"fleet{suffix}", columns)
    traces = traces_of(whole)
    order = np.random.default_rng(0).permutation(20)
    write(tmp_path / f"traces{suffix}", {name: column[order] for name, column in traces.items()})
    lines = [f'fleet = {{ table = "fleet{suffix}", traces = "traces{suffix}" }}']
    for path, field in FIELDS.items():
        if field.group not in ("devices", "pairs") and "I" not in field.dims:
            value = getattr(getattr(whole, field.group) if field.group else whole, field.name)
            lines.append(f"{path} = {toml_value(value)}")
    (tmp_path / "a.toml").write_text("\n".join(lines))
    assert Scenario.load(tmp_path / "a.toml") == whole


def toml_value(value: Any) -> str:
    if isinstance(value, tuple):
        inner = (v if isinstance(v, str) else v.kind for v in value)
        quoted = [f'"{v}"' if v != "constant" else '{ kind = "constant" }' for v in inner]
        return f"[{', '.join(quoted)}]"
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)


def test_table_columns_reach_their_fields(tmp_path: Path) -> None:
    path = csv(
        tmp_path,
        "\ufefff_max_hz,samples.digits,samples.my.task,gradient_std,gain,available\n"
        "1e9,10,20,3,1e-9,true\n2000000000,30,40,4.5,2e-9,false\n",
    )
    arrays = read_fleet(path, TASKS)
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "devices.f_max_hz": [1e9, 2e9],
        "pairs.samples": [[10, 20], [30, 40]],
        "pairs.gradient_std": [[3.0, 3.0], [4.5, 4.5]],
        "network.gain": [1e-9, 2e-9],
        "network.available": [True, False],
    }
    assert arrays["pairs.samples"].dtype == np.int64


def test_column_types_do_not_depend_on_the_first_rows(tmp_path: Path) -> None:
    rows = ["1"] * 200_000 + ["0.5"]
    arrays = read_fleet(csv(tmp_path, "tx_power_w\n" + "\n".join(rows) + "\n"), TASKS)
    assert arrays["devices.tx_power_w"][-1] == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"fleet\.csv: expected a csv table"),
        ("tx_power_w\n", r"fleet\.csv: expected at least one row"),
        ("tx_power\n1\n", r"fleet\.csv: tx_power: expected a field of devices.*unknown column"),
        ("slot_s\n1\n", r"fleet\.csv: slot_s: .*unknown column"),
        ("samples.other\n1\n", r"fleet\.csv: samples\.other: .*unknown column"),
        ("tx_power_w.digits\n1\n", r"fleet\.csv: tx_power_w\.digits: .*unknown column"),
        ("tx_power_w,tx_power_w\n1,2\n", r"fleet\.csv: tx_power_w: expected each column once"),
        ("tx_power_w,rx_power_w\n1,1\n1\n", r"fleet\.csv: expected a csv table.*Row #3"),
        ("tx_power_w\n1\nx\n", r"fleet\.csv: expected a csv table.*column #0.*Row #3"),
        ("samples\n1\n2.5\n", r"fleet\.csv: expected a csv table.*column #0.*Row #3"),
        ("available\n1\nyes\n", r"fleet\.csv: expected a csv table.*column #0.*Row #3"),
        ("rx_power_w,tx_power_w\n1,1\n2,\n", r"fleet\.csv: tx_power_w\[1\]: .*value is missing"),
        ("tx_power_w\n1\nnan\n", r"fleet\.csv: tx_power_w\[1\]: expected a finite number >= 0"),
        ("tx_power_w\n1\ninf\n", r"fleet\.csv: tx_power_w\[1\]: .*found inf"),
        ("tx_power_w\n1\n-2\n", r"fleet\.csv: tx_power_w\[1\]: .*found -2\.0"),
        ("samples.digits\n1\n-2\n", r"fleet\.csv: samples\.digits\[1\]: .*found -2"),
        ("samples.digits\n1\n", r"fleet\.csv: samples\.my\.task: .*other tasks have theirs"),
        ("samples,samples.digits\n1,1\n", r"fleet\.csv: samples\.digits: expected either samples"),
    ],
)
def test_bad_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_fleet(csv(tmp_path, text), TASKS)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"tx_power_w": ["a"]}, r"tx_power_w: expected a column of float, found 'string'"),
        ({"samples": [1.0]}, r"samples: expected a column of int, found 'double'"),
        ({"available": [1]}, r"available: expected a column of bool, found 'int64'"),
        ({"tx_power_w": [[1.0]]}, r"tx_power_w: expected a column of float, found 'list"),
        ({"tx_power_w": [1.0, None]}, r"tx_power_w\[1\]: .*value is missing"),
        ({"tx_power_w": [1.0, float("nan")]}, r"tx_power_w\[1\]: .*found nan"),
        ({"f_min": [1.0]}, r"f_min: .*unknown column"),
    ],
)
def test_bad_parquet_is_named(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=rf"fleet\.parquet: {message}"):
        read_fleet(write(tmp_path / "fleet.parquet", columns), TASKS)


def test_parquet_takes_narrow_types(tmp_path: Path) -> None:
    columns = {
        "tx_power_w": pa.array([1, 2], pa.int8()),
        "samples": pa.array([3, 4], pa.uint16()),
        "gain": pa.array([0.5, 0.25], pa.float32()),
    }
    arrays = read_fleet(write(tmp_path / "fleet.parquet", columns), TASKS)
    assert arrays["devices.tx_power_w"].tolist() == [1.0, 2.0]
    assert arrays["pairs.samples"].tolist() == [[3, 3], [4, 4]]
    assert arrays["network.gain"].tolist() == [0.5, 0.25]


def test_bad_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"none\.csv: expected a readable file"):
        read_fleet(tmp_path / "none.csv", TASKS)
    with pytest.raises(InputError, match=r"fleet\.xlsx: expected a table ending in"):
        read_fleet(tmp_path / "fleet.xlsx", TASKS)
    (tmp_path / "fleet.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(InputError, match=r"fleet\.parquet: expected a parquet table"):
        read_fleet(tmp_path / "fleet.parquet", TASKS)
    (tmp_path / "fleet.csv").write_bytes(b"tx_power_w\xff\n1\n")
    with pytest.raises(InputError, match=r"fleet\.csv: expected UTF-8 text"):
        read_fleet(tmp_path / "fleet.csv", TASKS)
    (tmp_path / "fleet.csv").write_bytes(b"a" * 200_000)
    with pytest.raises(InputError, match=r"fleet\.csv: expected a line of column names"):
        read_fleet(tmp_path / "fleet.csv", TASKS)
    write(tmp_path / "long.parquet", {"tx_power_w": np.zeros(101)})
    monkeypatch.setattr(fleet_table, "MAX_NUMBERS", 100)
    with pytest.raises(InputError, match=r"long\.parquet: expected at most 100 values, found 101"):
        read_fleet(tmp_path / "long.parquet", TASKS)
    monkeypatch.setattr(fleet_table, "MAX_CSV_BYTES", 10)
    with pytest.raises(InputError, match=r"fleet\.csv: expected at most 10 bytes"):
        read_fleet(tmp_path / "fleet.csv", TASKS)


# -- traces ------------------------------------------------------------------------------------


def trace_rows(**changes: Any) -> dict[str, Any]:
    return {
        "slot": [1, 1, 2, 2, 3, 3],
        "device": [0, 1, 0, 1, 0, 1],
        "gain": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
    } | changes


def test_traces_are_slots_by_devices(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", trace_rows())
    arrays = read_traces(path, slots=3, devices=2)
    assert list(arrays) == ["network.gain"]
    assert arrays["network.gain"].tolist() == [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slot": [0, 1, 2, 2, 3, 3]}, r"slot\[0\]: expected an integer >= 1, found 0"),
        ({"slot": [1, 1, 2, 2, 3, 4]}, r"slot\[5\]: expected at most 3, found 4"),
        ({"device": [0, 1, 0, 2, 0, 1]}, r"device\[3\]: expected at most 1, found 2"),
        ({"slot": [1, 1, 2, 2, 3, 2]}, r"slot\[5\]: expected each slot and device once.*\(2, 1\)"),
        ({"samples": [1] * 6}, r"samples: .*unknown column"),
        ({"slot": [1.0] * 6}, r"slot: expected a column of int, found 'double'"),
        ({"gain": [1, 2, 3, None, 5, 6]}, r"gain\[3\]: .*value is missing"),
        ({"gain": [1.0, 2.0, 3.0, -1.0, 5.0, 6.0]}, r"gain\[3\]: .*found -1\.0"),
    ],
)
def test_bad_traces_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "t.parquet", trace_rows(**changes))
    with pytest.raises(InputError, match=rf"t\.parquet: {message}"):
        read_traces(path, slots=3, devices=2)


@pytest.mark.parametrize("gap", range(6))
def test_missing_trace_row_is_named(tmp_path: Path, gap: int) -> None:
    rows = {name: [v for k, v in enumerate(col) if k != gap] for name, col in trace_rows().items()}
    path = write(tmp_path / "t.csv", rows)
    expected = f"none for slot {gap // 2 + 1}, device {gap % 2}"
    with pytest.raises(InputError, match=rf"t\.csv: expected a row for each.*{expected}"):
        read_traces(path, slots=3, devices=2)


def test_traces_without_an_index_column_are_named(tmp_path: Path) -> None:
    for name in ("slot", "device"):
        rows = trace_rows()
        del rows[name]
        with pytest.raises(InputError, match=rf"t\.csv: {name}: expected a column"):
            read_traces(write(tmp_path / "t.csv", rows), slots=3, devices=2)


# -- in a scenario file ------------------------------------------------------------------------


def scenario_text(*, fleet: str, drop: tuple[str, ...] = ()) -> str:
    scenario = Scenario.draw(devices=2, tasks=1, slots=3)
    lines = [f"fleet = {fleet}"]
    for path, field in FIELDS.items():
        if field.default is None and path not in drop:
            value = getattr(getattr(scenario, field.group) if field.group else scenario, field.name)
            lines.append(f"{path} = {toml_value(value)}")
    return "\n".join(lines)


def load(folder: Path, text: str) -> Scenario:
    (folder / "a.toml").write_text(text)
    return Scenario.load(folder / "a.toml")


def test_field_in_two_places_is_an_error(tmp_path: Path) -> None:
    csv(tmp_path, "gain,tx_power_w\n1,1\n2,2\n")
    write(tmp_path / "t.csv", trace_rows())
    power = ("devices.tx_power_w",)
    with pytest.raises(InputError, match=r"^network\.gain: expected the field in one place"):
        load(tmp_path, scenario_text(fleet='{ table = "fleet.csv" }', drop=power))
    both = '{ table = "fleet.csv", traces = "t.csv" }'
    with pytest.raises(InputError, match=r"^network\.gain: .*the fleet table and the traces"):
        load(tmp_path, scenario_text(fleet=both, drop=(*power, "network.gain")))
    with pytest.raises(InputError, match=r"^network\.gain: expected the field in one place"):
        load(tmp_path, scenario_text(fleet='{ traces = "t.csv" }'))


def test_table_constant_over_slots_and_its_rows_give_the_devices(tmp_path: Path) -> None:
    csv(tmp_path, "gain,tx_power_w\n1,1\n2,2\n")
    drop = ("devices.tx_power_w", "network.gain")
    text = scenario_text(fleet='{ table = "fleet.csv" }', drop=drop)
    assert load(tmp_path, text).network.gain.tolist() == [[1.0, 2.0]] * 3
    with pytest.raises(InputError, match=r"^size\.devices: expected 2, the rows of the fleet"):
        load(tmp_path, text + "\nsize.devices = 3")


@pytest.mark.parametrize(
    ("fleet", "message"),
    [
        ("3", "fleet: expected a table"),
        ('{ tables = "a.csv" }', r"fleet\.tables: expected one of table, traces"),
        ("{ table = 3 }", r"fleet\.table: expected the name of a \.csv or \.parquet file"),
        ('{ table = "a\\u0000.csv" }', r"fleet\.table: expected the name"),
        ('{ table = "" }', r"fleet\.table: expected the name"),
        ('{ table = "none.csv" }', r".*none\.csv: expected a readable file"),
    ],
)
def test_bad_fleet_section_is_named(tmp_path: Path, fleet: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        load(tmp_path, scenario_text(fleet=fleet))


def test_table_needs_a_folder_and_task_names(tmp_path: Path) -> None:
    from mafl_opt.core.scenario_files import scenario_from_toml

    csv(tmp_path, "tx_power_w\n1\n2\n")
    text = scenario_text(fleet='{ table = "fleet.csv" }', drop=("tasks.name",))
    with pytest.raises(InputError, match=r"^fleet\.table: expected no tables"):
        scenario_from_toml(text, "x.toml")
    with pytest.raises(InputError, match=r"^tasks\.name: expected a list of names, found None"):
        scenario_from_toml(text, "x.toml", tmp_path)


def test_column_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "fleet.parquet", {"tx_power_w": [0.1, 0.2]})
    path.write_bytes(path.read_bytes().replace(b"tx_power_w", b"tx_power_\x80"))
    with pytest.raises(InputError, match=r"fleet\.parquet: expected a parquet table"):
        read_fleet(path, TASKS)


def test_long_texts_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 1000), ["x" * 100_000])
    table = pa.table({"tx_power_w": words})
    pq.write_table(table, tmp_path / "fleet.parquet", store_schema=False)
    monkeypatch.setattr(pq.ParquetFile, "read", None)
    with pytest.raises(InputError, match=r"tx_power_w: expected a column of float, found '?\w*str"):
        read_fleet(tmp_path / "fleet.parquet", TASKS)
