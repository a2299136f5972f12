"""Every reader of files, with a valid file for it and what must hold of whatever it accepts.

`READERS` maps a name to a `Reader`. Its `use` gets the path of a damaged file: it must return, when
what was read can be used and read back, or raise `InputError`, and do nothing else.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import torch
from federated_runs import small_run, small_system
from replay_inputs import plan_of, point_clouds, replay_scenario
from scipy.io import savemat
from small_plans import hand_made_plan
from small_scenarios import plain_numbers, plain_scenario

from mafl_opt.cli.main import main
from mafl_opt.core.certificate import certified_bound
from mafl_opt.core.check import check
from mafl_opt.core.errors import InputError
from mafl_opt.core.files import parse_json, read_text
from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Options, Run
from mafl_opt.solvers.prices.fleet.arcs import Table
from mafl_opt.solvers.prices.fleet.checkpoint import Journal
from mafl_opt.solvers.prices.fleet.logs import Answer
from mafl_opt.solvers.prices.patterns import solve as branch
from mafl_opt.validation.checkpoint import decode_snapshot
from mafl_opt.validation.cifar import read_cifar
from mafl_opt.validation.idx import read_idx
from mafl_opt.validation.image_folders import read_image_folder
from mafl_opt.validation.replay import SNAPSHOT_CLASSES, replay
from mafl_opt.validation.svhn import read_svhn

__all__ = ["READERS", "Reader", "run_command"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """One reader.

    file : name that the damaged file must have
    whole : makes the valid content
    use : reads and uses a file
    kind : ``bytes``, ``text``, ``json`` or ``npz``: what there is to damage
    """

    file: str
    whole: Callable[[], bytes]
    use: Callable[[Path], None]
    kind: str = "bytes"


def run_command(*words: object) -> int:
    """Run ``mafl-opt`` in this process; its exit code is 0, 1 or, in one line of stderr, 2."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main.main([str(word) for word in words])
    except SystemExit as end:
        code = end.code
    assert code in (0, 1, 2), code
    if code == 2:
        assert err.getvalue().startswith("mafl-opt: ") and err.getvalue().count("\n") == 1
    return int(code)


# -- scenarios and fleets -------------------------------------------------------------------


def use_scenario(path: Path) -> None:
    accepted = run_command("show", path) == 0
    scenario = Scenario.load(path)
    assert accepted
    again = Scenario.from_dict(parse_json(scenario.to_json(), "again"))
    assert again.sha256 == scenario.sha256


TOML = """\
seed = 3
energy_weight = 0.02
loss_drift = { uniform = [0.0, 0.01] }

[size]
devices = 2
tasks = 2
slots = 3

[time]
slot_s = [1.0, 1.0, 1.5]

[devices]
f_min_hz = 1e8
f_max_hz = { log_uniform = [4e8, 6e8] }
capacitance = [4e-28, 2e-28]
tx_power_w = { normal = [0.1, 0.02], min = 0.05, max = 0.2 }
rx_power_w = 0.02
bandwidth_hz = { choice = [1e6, 2e6] }
energy_budget_j = 0.09

[tasks]
name = ["digits", "signals"]
weight = [1.0, 2.0]
model_bits = 1e6
smoothness = [5.0, 4.0]
gradient_bound = 4.5
learning_rate = [0.005, 0.008]
server_rate = 3.0
step_cap = 0.025
initial_gap = 2.0
iterations_max = 2
batch_max = { integers = [2, 3] }
staleness_max = [2, 1]
staleness_weight = { kind = "hinge", a = 0.5, b = 1 }

[pairs]
samples = { total = 100, dirichlet = 0.5, min = 2 }
cycles_per_sample = 4e7
gradient_std = { uniform = [8.0, 12.0], per = "task" }
dissimilarity = [[0.5, 0.8], [0.7, 0.4]]

[network]
gain = { path_loss_db = { intercept = 128.1, slope = 37.6, distance_km = [0.1, 0.5] } }
noise_w_per_hz = 4e-21
downlink_bps = 8e6
uplink_capacity = [1, 2, 2]
available = { probability = 0.9 }
"""


@cache
def _path_loss() -> str:
    """The embedded scenario's own words for gains, so that the text above stays valid."""
    from mafl_opt.core.scenario_files import default_text

    (line,) = [text for text in default_text().splitlines() if text.startswith("gain =")]
    return line


def toml_text() -> bytes:
    lines = [_path_loss() if line.startswith("gain =") else line for line in TOML.splitlines()]
    return ("\n".join(lines) + "\n").encode()


def _fleet(scenario: Scenario) -> dict[str, Any]:
    d = scenario.devices
    names = ("f_min_hz", "f_max_hz", "capacitance", "tx_power_w", "rx_power_w", "bandwidth_hz",
             "energy_budget_j")  # fmt: skip
    return {name: getattr(d, name) for name in names} | {
        "samples.digits": scenario.pairs.samples[:, 0],
        "samples.signals": scenario.pairs.samples[:, 1],
        "available": np.array([True, True]),
    }


def _traces(scenario: Scenario) -> dict[str, Any]:
    slots, devices = scenario.network.gain.shape
    return {
        "slot": np.repeat(np.arange(1, slots + 1), devices),
        "device": np.tile(np.arange(devices), slots),
        "gain": scenario.network.gain.ravel(),
        "downlink_bps": scenario.network.downlink_bps.ravel(),
    }


def _table(columns: dict[str, Any], suffix: str) -> bytes:
    out = io.BytesIO()
    (pq.write_table if suffix == ".parquet" else pyarrow.csv.write_csv)(pa.table(columns), out)
    return out.getvalue()


def _fleet_toml(key: str, file: str) -> str:
    text = toml_text().decode()
    gone = {"table": [*_fleet(plain_scenario())], "traces": ["gain", "downlink_bps"]}[key]
    gone = [name.partition(".")[0] for name in gone]
    lines = [line for line in text.splitlines() if line.partition(" =")[0] not in gone]
    return "\n".join(lines) + f'\n[fleet]\n{key} = "{file}"\n'


def use_table(key: str) -> Callable[[Path], None]:
    def use(path: Path) -> None:
        scenario = path.with_name(f"{key}.toml")
        scenario.write_text(_fleet_toml(key, path.name), encoding="utf-8")
        use_scenario(scenario)

    return use


# -- plans and certificates -----------------------------------------------------------------


@cache
def proved_plan() -> Plan:
    """A plan of the plain scenario with a certificate of kind tree."""
    run = Run(problem=Problem(scenario=plain_scenario()), options=Options(gap=0.05))
    certificate = branch(run)
    assert run.best is not None
    plan = hand_made_plan(plain_scenario())
    return plan.replace(certificate=certificate, bound=certificate["bound"])


@cache
def _attained() -> float:
    """No certificate proves more than a plan attains."""
    run = Run(problem=Problem(scenario=plain_scenario()), options=Options(gap=1e-6))
    branch(run)
    return run.objective


def boxes() -> dict[str, Any]:
    """A certificate of kind lagrangian, of no great worth."""
    box = {
        "progress_min": [0.0, 0.0], "progress_max": [1.0, 1.0],
        "prices": {
            "numerator": [1.0, 2.0], "progress": [3.0, 4.0], "uplink": [0.0, 0.5, 0.0],
            "step_cap": [[0.0, 1.0], [0.5, 0.0], [0.0, 0.0]], "energy": [1.0, 0.0],
        },
    }  # fmt: skip
    leaves = {"kind": "lagrangian", "bound": 5.0, "leaves": [box, box]}
    return {"kind": "milp", "bound": 6.0, "claimed_by": "HiGHS", "proved": leaves}


def patterns() -> dict[str, Any]:
    """A certificate of kind patterns, of no great worth."""
    table = {
        "numerator": [30.0, 50.0], "progress": [2e3, 3e3], "uplink": [0.0, 0.5, 0.0],
        "energy": [1.0, 0.0], "device_slot": [[1.0, 0.0, 2.0], [0.0, 0.0, 0.5]],
        "counts": [
            {"device": 0, "task": None, "price": 1.5}, {"device": None, "task": 1, "price": -0.5},
            {"device": None, "task": 0, "upload": 2, "iterations_above": 1, "batch_above": 1,
             "price": -2.5},
        ],
        "whole_slots": True,
    }  # fmt: skip
    count = {"device": 0, "task": None, "upload": 1, "batch_above": 1, "sessions": 1}
    tree = {
        "split": {"excess": 1, "at": 40.0}, "high": {"prices": [0, 1], "weights": [1.0, 2.0]},
        "low": {"split": count, "low": {"prices": 0}, "high": {"prices": 1}},
    }  # fmt: skip
    return {
        "kind": "patterns", "version": 2, "bound": 300.0, "prices": [table, table], "tree": tree,
    }  # fmt: skip


def use_plan(path: Path) -> None:
    scenario = path.with_name("plain.json")
    if not scenario.exists():
        scenario.write_text(plain_scenario().to_json(), encoding="utf-8")
    accepted = run_command("check", scenario, path) != 2
    plan = Plan.load(path)
    assert accepted
    text = plan.to_json()
    again = Plan.from_dict(parse_json(text, "again"))
    assert again.sessions == plan.sessions and again.header() == plan.header()
    report = check(plain_scenario(), plan)
    json.dumps(report.to_dict(), allow_nan=False)
    for suffix in (".json", ".parquet"):
        plan.save(path.with_name(f"again{suffix}"))
        assert Plan.load(path.with_name(f"again{suffix}")).sessions == plan.sessions


def use_certificate(path: Path) -> None:
    bound = certified_bound(plain_scenario(), parse_json(read_text(path), str(path)))
    assert not math.isnan(bound)
    assert bound <= _attained() * (1 + 1e-9)


# -- checkpoints ----------------------------------------------------------------------------


@cache
def _fleet_problem() -> Problem:
    return Problem(scenario=Scenario.draw(devices=60, tasks=2, slots=4, seed=3))


def fleet_checkpoint() -> bytes:
    """A checkpoint as a search would write it; made by hand, which compiles nothing."""
    problem, path = _fleet_problem(), _scratch() / "fleet.npz"
    devices, tasks, slots = (getattr(problem.scenario, f"num_{n}") for n in NOUNS)
    journal = Journal(Run(problem=problem, options=Options(checkpoint=str(path))))
    width = 1 + 2 * tasks + slots * (1 + tasks)
    table = Table(
        np.ones(tasks), np.ones(tasks), np.zeros(slots), np.full((slots, tasks), 0.5)
    )  # fmt: skip
    for name in ("sample", "full"):
        log = journal.answers(name, devices)
        assert log is not None
        for value in (1.0, 2.0):
            answer = Answer(value=value, gap=0.0, size=3.0, totals=np.ones((4, width)))
            log.keep(table, 3, answer, np.full(devices, value))
    sweeps = journal.sweeps()
    assert sweeps is not None
    rows = np.tile(np.array([0, 0, 1, 1, 1], dtype=np.int32), (devices, 1))
    sweeps.keep(table, np.ones(width), rows, np.ones(devices, dtype=np.int32))
    journal.save()
    return path.read_bytes()


NOUNS = ("devices", "tasks", "slots")


def use_fleet_checkpoint(path: Path) -> None:
    options = Options(resume=str(path), checkpoint=str(path.with_name("next.npz")))
    journal = Journal(Run(problem=_fleet_problem(), options=options))
    journal.answers("sample", 60)
    journal.answers("full", 60)
    journal.sweeps()


def patterns_checkpoint() -> bytes:
    path = _scratch() / "small.json"
    branch(Run(problem=_plain_problem(), options=Options(checkpoint=str(path), gap=0.05)))
    return path.read_bytes()


def use_patterns_checkpoint(path: Path) -> None:
    # The tree is read, and with such a gap not searched any further.
    options = Options(resume=str(path), checkpoint=str(path.with_name("next.json")), gap=1.0)
    run = Run(problem=_plain_problem(), options=options)
    certificate = branch(run)
    assert certificate is not None
    assert certified_bound(plain_scenario(), certificate) <= _attained() * (1 + 1e-9)


@cache
def _plain_problem() -> Problem:
    return Problem(scenario=plain_scenario())


_REPLAY = {
    "plan": plan_of((0, 0, 0, 1, 12, 3), (1, 0, 0, 3, 7, 4), (0, 0, 1, 4, 12, 1)),
    "data": {"points": point_clouds(samples=60)},
}


def replay_checkpoint() -> bytes:
    path = _scratch() / "replay.npz"

    def stop(_text: str, done: float | None) -> None:
        if done == 0.5:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        replay(replay_scenario(), checkpoint=path, progress=stop, **_REPLAY)  # type: ignore[arg-type]
    return path.read_bytes()


def use_replay_checkpoint(path: Path) -> None:
    replay(replay_scenario(), resume=path, **_REPLAY)  # type: ignore[arg-type]


def run_checkpoint() -> bytes:
    path = _scratch() / "run.npz"
    small_run(small_system("fedbuff"), rounds=4, checkpoint=path, checkpoint_every=3)
    return path.read_bytes()


def use_run_checkpoint(path: Path) -> None:
    small_run(small_system("fedbuff"), rounds=4, resume=path)


def snapshot() -> bytes:
    with np.load(io.BytesIO(replay_checkpoint()), allow_pickle=False) as found:
        return _json(json.loads(bytes(found["text"]))["snapshot"])


def use_snapshot(path: Path) -> None:
    tensors = {f"tensor{k}": torch.zeros(3) for k in range(8)}
    decode_snapshot(parse_json(read_text(path), str(path)), str(path), tensors, SNAPSHOT_CLASSES)


@cache
def _scratch() -> Path:
    import atexit
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="mafl-opt-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


# -- data -----------------------------------------------------------------------------------


def idx(images: bool) -> bytes:
    generator = np.random.default_rng(0)
    shape = (12, 5, 6) if images else (12,)
    top = 256 if images else 10
    head = b"\0\0\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return head + generator.integers(top, size=shape).astype(np.uint8).tobytes()


def cifar() -> bytes:
    generator = np.random.default_rng(0)
    rows = generator.integers(256, size=(12, 3073)).astype(np.uint8)
    rows[:, 0] = np.arange(12) % 10
    return rows.tobytes()


def svhn(*, packed: bool) -> bytes:
    generator = np.random.default_rng(0)
    pixels = generator.integers(256, size=(8, 8, 3, 12)).astype(np.uint8)
    labels = (np.arange(12) % 10 + 1).astype(np.uint8)[:, None]
    out = io.BytesIO()
    savemat(out, {"X": pixels, "y": labels}, do_compression=packed)
    return out.getvalue()


def use_idx(path: Path) -> None:
    array = read_idx(path)
    assert array.dtype == np.uint8
    _use_folder(path)


def use_cifar(path: Path) -> None:
    images, labels = read_cifar(path)
    assert images.shape == (len(labels), 3, 32, 32) and labels.max() < 10
    _use_folder(path)


def use_svhn(path: Path) -> None:
    images, labels = read_svhn(path)
    assert images.shape[:2] == (len(labels), 3) and labels.max() < 10
    _use_folder(path)


def _use_folder(path: Path) -> None:
    data = read_image_folder(path.parent, "images")
    assert np.isfinite(data.train_inputs).all() and np.isfinite(data.test_inputs).all()


def _beside_labels(use: Callable[[Path], None]) -> Callable[[Path], None]:
    def with_labels(path: Path) -> None:
        labels = path.with_name("t10k-labels-idx1-ubyte")
        if not labels.exists():
            labels.write_bytes(idx(images=False))
        use(path)

    return with_labels


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


READERS: dict[str, Reader] = {
    "scenario_json": Reader(
        file="scenario.json", whole=lambda: _json(plain_numbers()), use=use_scenario, kind="json"
    ),
    "scenario_json_bytes": Reader(
        file="scenario.json", whole=lambda: _json(plain_numbers()), use=use_scenario
    ),
    "scenario_toml": Reader(file="scenario.toml", whole=toml_text, use=use_scenario, kind="text"),
    "fleet_csv": Reader(
        file="fleet.csv", whole=lambda: _table(_fleet(plain_scenario()), ".csv"),
        use=use_table("table"), kind="text",
    ),
    "fleet_parquet": Reader(
        file="fleet.parquet", whole=lambda: _table(_fleet(plain_scenario()), ".parquet"),
        use=use_table("table"),
    ),
    "traces_csv": Reader(
        file="traces.csv", whole=lambda: _table(_traces(plain_scenario()), ".csv"),
        use=use_table("traces"), kind="text",
    ),
    "traces_parquet": Reader(
        file="traces.parquet", whole=lambda: _table(_traces(plain_scenario()), ".parquet"),
        use=use_table("traces"),
    ),
    "plan_json": Reader(
        file="plan.json", whole=lambda: proved_plan().to_json().encode(), use=use_plan, kind="json"
    ),
    "plan_parquet": Reader(file="plan.parquet", whole=lambda: _parquet_plan(), use=use_plan),
    "certificate_tree": Reader(
        file="certificate.json", whole=lambda: _json(proved_plan().certificate),
        use=use_certificate, kind="json",
    ),
    "certificate_boxes": Reader(
        file="certificate.json", whole=lambda: _json(boxes()), use=use_certificate, kind="json"
    ),
    "certificate_patterns": Reader(
        file="certificate.json", whole=lambda: _json(patterns()), use=use_certificate, kind="json"
    ),
    "checkpoint_fleet": Reader(
        file="fleet.npz", whole=fleet_checkpoint, use=use_fleet_checkpoint, kind="npz"
    ),
    "checkpoint_patterns": Reader(
        file="small.json", whole=patterns_checkpoint, use=use_patterns_checkpoint, kind="json"
    ),
    "checkpoint_replay": Reader(
        file="replay.npz", whole=replay_checkpoint, use=use_replay_checkpoint, kind="npz"
    ),
    "checkpoint_federate": Reader(
        file="run.npz", whole=run_checkpoint, use=use_run_checkpoint, kind="npz"
    ),
    "checkpoint_snapshot": Reader(
        file="snapshot.json", whole=snapshot, use=use_snapshot, kind="json"
    ),
    "idx": Reader(
        file="t10k-images-idx3-ubyte", whole=lambda: idx(images=True), use=_beside_labels(use_idx)
    ),
    "idx_gz": Reader(
        file="t10k-images-idx3-ubyte.gz", whole=lambda: gzip.compress(idx(images=True), mtime=0),
        use=_beside_labels(use_idx),
    ),
    "cifar": Reader(file="test_batch.bin", whole=cifar, use=use_cifar),
    "svhn": Reader(file="test_32x32.mat", whole=lambda: svhn(packed=False), use=use_svhn),
    "svhn_packed": Reader(file="test_32x32.mat", whole=lambda: svhn(packed=True), use=use_svhn),
}  # fmt: skip


def _parquet_plan() -> bytes:
    path = _scratch() / "plan.parquet"
    proved_plan().save(path)
    return path.read_bytes()


def accepted(reader: Reader, path: Path) -> bool:
    """Whether a file is read; whatever is raised besides `InputError` goes on."""
    try:
        reader.use(path)
    except InputError:
        return False
    return True
