"""Files that claim far more than they hold take no more memory than what they hold."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import claiming
from readers import READERS
from small_scenarios import plain_numbers

from mafl_opt.core.errors import InputError
from mafl_opt.solvers.trial import peak_memory

#: Bytes beyond what reading the whole files took; the claims below are of gigabytes and more.
MOST_BYTES = 100 << 20

ALIKE = 1 << 20


def alike(columns, *, parts=4):
    """A Parquet table of rows that are all alike: some kB for millions."""
    out = io.BytesIO()
    table = pa.table(columns)
    with pq.ParquetWriter(out, table.schema, store_schema=False) as writer:
        for _ in range(parts):
            writer.write_table(table)
    return out.getvalue()


def claims():
    """Reader and content of every such file."""
    for shape in ((2**32 - 1,) * 3, (1000, 32768, 32767)):
        head = b"\0\0\x08\x03" + struct.pack(">3I", *shape)
        yield "idx", head + bytes(1000)
        yield "idx_gz", gzip.compress(head + bytes(10**6))
    whole = bytearray(READERS["svhn"].whole())
    for at in range(128, 240, 4):
        yield "svhn", bytes(whole[:at]) + struct.pack("<i", 2**31 - 1) + bytes(whole[at + 4 :])
    for name in ("checkpoint_fleet", "checkpoint_replay"):
        whole = READERS[name].whole()
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            members = {entry: archive.read(entry) for entry in archive.namelist()}
        for entry, content in members.items():
            out = io.BytesIO()
            with zipfile.ZipFile(out, "w") as archive:
                for other, kept in members.items():
                    claimed = claiming(content, 10**12) if other == entry else kept
                    archive.writestr(other, claimed)
            yield name, out.getvalue()
    ints = pa.array(np.zeros(ALIKE, dtype=np.int64))
    columns = ("device", "task", "receive", "upload", "cpu_hz", "batch_size", "iterations")
    yield "plan_parquet", alike(dict.fromkeys(columns, ints))
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 100), ["x" * 10**6])
    yield "fleet_parquet", alike({"tx_power_w": words})
    yield (
        "scenario_toml",
        READERS["scenario_toml"].whole().replace(b"slots = 3", b"slots = 1000000000000"),
    )
    for name, value in (("iterations_max", 2**40), ("staleness_max", 2**40), ("batch_max", 2**62)):
        numbers = plain_numbers()
        numbers["tasks"][name][0] = value
        yield "scenario_json", json.dumps(numbers).encode()


def probe(folder: Path) -> int:
    """Read the whole files, then those that claim; return what the latter took beside, bytes."""
    before = None
    for place in sorted(folder.iterdir()):
        if before is None and place.name >= "1":
            before = peak_memory()
        reader = READERS[place.name.partition("-")[2]]
        with contextlib.suppress(InputError):
            reader.use(place / reader.file)
    return peak_memory() - before


@pytest.mark.slow
@pytest.mark.skipif(peak_memory() is None, reason="no /proc")
def test_claims_take_no_memory(tmp_path):
    contents = [(f"0-{name}", reader.whole()) for name, reader in READERS.items()]
    contents += [(f"1{k:04}-{name}", content) for k, (name, content) in enumerate(claims())]
    for name, content in contents:
        (tmp_path / name).mkdir()
        (tmp_path / name / READERS[name.partition("-")[2]].file).write_bytes(content)
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), *(entry or "." for entry in sys.path)])
    # In a process of its own: the peak of this one says nothing about the files.
    words = "import sys, pathlib, test_claims as t; print(t.probe(pathlib.Path(sys.argv[1])))"
    done = subprocess.run(
        [sys.executable, "-c", words, str(tmp_path)], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert int(done.stdout) < MOST_BYTES
