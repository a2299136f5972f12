"""Checkpoints: runs go on with equal bits, and damaged files are refused."""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile

import numpy as np
import pytest
import torch
from federated_runs import small_run, small_system
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_inputs import plan_of, point_clouds, replay_scenario

from mafl_opt.core.errors import InputError
from mafl_opt.validation.checkpoint import _digest, load_checkpoint, save_checkpoint
from mafl_opt.validation.engine.jobs import Failure
from mafl_opt.validation.replay import ReplayOptions, replay
from mafl_opt.validation.systems.registry import SYSTEMS
from mafl_opt.validation.uncertainty import Uncertainty


class Stop(Exception):
    """Ends a run from its progress callback."""


def stop_at(fraction):
    def progress(_text, done):
        if done is not None and done >= fraction:
            raise Stop

    return progress


@pytest.mark.parametrize("name", SYSTEMS)
def test_federated_run_goes_on_with_equal_bits(name, tmp_path):
    system, rounds = small_system(name), 20 if name == "fedasync" else 8
    whole = small_run(system, rounds=rounds)
    path = tmp_path / "run.npz"
    with pytest.raises(Stop):
        small_run(system, rounds=rounds, checkpoint=path, checkpoint_every=1, progress=stop_at(0.5))
    resumed = small_run(system, rounds=rounds, resume=path)
    assert whole.same_course(resumed)
    assert whole.to_dict() == resumed.to_dict()


@pytest.mark.parametrize("uncertainty", [None, Uncertainty(gain_db=3.0, speed=0.3, outage=0.2)])
@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.75])
def test_replay_goes_on_with_equal_bits(uncertainty, fraction, tmp_path):
    names = ("points", "more")
    scenario = replay_scenario(names, ((12, 5), (7, 8), (9, 9)))
    data = {"points": point_clouds(), "more": point_clouds("more", seed=9)}
    plan = plan_of(
        (0, 0, 0, 1, 12, 3), (0, 1, 1, 3, 5, 5), (1, 1, 0, 2, 7, 4), (2, 0, 0, 3, 9, 2),
        (0, 0, 3, 4, 12, 1), (1, 0, 2, 4, 7, 6), (2, 1, 3, 4, 9, 3),
    )  # fmt: skip
    common = {"data": data, "seed": 4, "uncertainty": uncertainty}
    whole = replay(scenario, plan, **common)
    path = tmp_path / "replay.npz"
    with pytest.raises(Stop):
        replay(scenario, plan, checkpoint=path, progress=stop_at(fraction), **common)
    resumed = replay(scenario, plan, resume=path, **common)
    assert whole.to_dict() == resumed.to_dict()
    for name in names:
        assert np.array_equal(whole.models[name], resumed.models[name])


def test_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    small_run(small_system("fedavg"), checkpoint=path, checkpoint_every=1)
    for system, changes in (
        (small_system("fedavg"), {"seed": 1}),
        (small_system("fedavg"), {"rounds": 9}),
        (small_system("fedprox"), {}),
        (small_system("fedavg", learning_rate=0.2), {}),
        (small_system("fedavg"), {"clients": 5}),
    ):
        with pytest.raises(InputError, match="a checkpoint of this run, found 'one of another"):
            small_run(system, resume=path, **changes)
    plan, data = plan_of((0, 0, 0, 1, 12, 3)), {"points": point_clouds()}
    replay(replay_scenario(), plan, data=data, checkpoint=path)
    for changes in ({"seed": 1}, {"uncertainty": Uncertainty()},
                    {"options": ReplayOptions(dirichlet=1.0)}):  # fmt: skip
        with pytest.raises(InputError, match="a checkpoint of this run"):
            replay(replay_scenario(), plan, data=data, resume=path, **changes)


def read(path, *, shapes=((2,),), like=None, identity="me", classes=(Failure,)):
    like = torch.zeros(2) if like is None else like
    return load_checkpoint(path, classes, identity, shapes=shapes, like=like)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5)
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(st.integers() | st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(derandomize=True, deadline=None, max_examples=60)
@given(value=values)
def test_checkpoint_round_trip_is_the_identity(value, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "value.npz"
    save_checkpoint(path, {"value": value, "why": Failure(reason="late")}, "me")
    assert read(path) == {"value": value, "why": Failure(reason="late")}


def test_checkpoint_stores_shared_tensors_once_and_every_bit(tmp_path):
    tensor = torch.tensor([1.0 / 3.0, -0.0])
    save_checkpoint(tmp_path / "c.npz", (tensor, tensor, math.nan), "me")
    one, other, nan = read(tmp_path / "c.npz")
    assert one is other and math.isnan(nan)
    assert one.numpy().tobytes() == tensor.numpy().tobytes()
    assert len(zipfile.ZipFile(tmp_path / "c.npz").namelist()) == 2


def archive(path, *, compress=False, **arrays):
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as made:
        for name, array in arrays.items():
            stream = io.BytesIO()
            np.save(stream, array, allow_pickle=True)
            made.writestr(f"{name}.npy", stream.getvalue())


def text_of(snapshot, **tensors):
    content = {"format": "mafl-opt checkpoint 2", "identity": "me", "snapshot": snapshot}
    content["digest"] = _digest(snapshot, tensors)
    return np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)


TENSOR = {"type": "Tensor", "value": "tensor0"}


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"text": text_of(None), "compress": True}, "an archive that is not compressed"),
        ({"tensor0": np.zeros(2, np.float32)}, "text: expected this array"),
        ({"text": np.frombuffer(b"[1, 2]", np.uint8)}, "text: expected an object"),
        ({"text": np.frombuffer(b"{}", np.uint8)}, "expected mafl-opt checkpoint 2"),
        ({"text": np.frombuffer(b"{", np.uint8)}, "expected JSON"),
        ({"text": np.frombuffer(b"\xff\xfe", np.uint8)}, "UTF-8 text"),
        ({"text": text_of(TENSOR), "tensor0": np.zeros(3, np.float32)}, r"of shape up to \(2,\)"),
        ({"text": text_of(TENSOR), "tensor0": np.zeros(2)}, "expected float32 of shape"),
        ({"text": text_of(TENSOR), "tensor0": np.zeros(2, np.float32)}, "digest of what the file"),
        ({"text": text_of(TENSOR)}, "Tensor: expected part of a snapshot"),
        ({"text": text_of({"type": "Popen", "value": {"args": "true"}})}, "Popen: expected part"),
        ({"text": text_of({"type": "Failure", "value": {"reason": "x"}})}, "Failure: expected"),
        ({"text": text_of({"type": "float", "value": "1e5"})}, "float: expected part"),
        ({"text": text_of({"type": "dict", "value": [1]})}, "dict: expected part of a snapshot"),
        (
            {"text": text_of({"type": "dict", "value": [[{"type": "dict", "value": []}, 1]]})},
            "dict",
        ),
        ({"text": np.array([{"a": 1}], dtype=object)}, "expected uint8"),
    ],
)
def test_damaged_checkpoint_is_refused(arrays, text, tmp_path):
    archive(tmp_path / "c.npz", **arrays)
    with pytest.raises(InputError, match=text):
        read(tmp_path / "c.npz")


def test_checkpoint_that_claims_what_it_does_not_hold_takes_no_memory(tmp_path):
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117)
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + head + b"\n" + b"12345678"
    for name in ("text", "tensor0"):
        archive(tmp_path / "c.npz", **({} if name == "text" else {"text": text_of(TENSOR)}))
        with zipfile.ZipFile(tmp_path / "c.npz", "a") as made:
            made.writestr(f"{name}.npy", member)
        with pytest.raises(InputError, match=f"{name}: expected"):
            read(tmp_path / "c.npz")


def test_what_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "c.npz").write_bytes(b"not a zip file")
    with pytest.raises(InputError, match="a checkpoint"):
        read(tmp_path / "c.npz")
    with pytest.raises(InputError, match="a readable file"):
        read(tmp_path / "missing.npz")
    with pytest.raises(InputError, match=r"a name ending in \.npz"):
        read(tmp_path / "c.pt")
    save_checkpoint(tmp_path / "d.npz", torch.zeros(2), "me")
    whole = (tmp_path / "d.npz").read_bytes()
    for cut in (10, 100, len(whole) - 30):
        (tmp_path / "d.npz").write_bytes(whole[:cut])
        with pytest.raises(InputError):
            read(tmp_path / "d.npz")
    with pytest.raises(TypeError, match="cannot hold set"):
        save_checkpoint(tmp_path / "e.npz", {1, 2}, "me")
    assert not (tmp_path / "e.npz").exists()
