"""No reader falls over a damaged file: it reads something usable or raises `InputError`.

200 cases a reader, 10,000 with HYPOTHESIS_PROFILE=nightly (`make nightly`).
"""

from __future__ import annotations

import json

import pytest
from damage import bytes_damaged, json_damaged, text_damaged, zip_damaged
from fuzz_cases import CASES
from hypothesis import given
from readers import READERS, accepted


def damaged(reader, whole):
    if reader.kind == "text":
        return text_damaged(whole.decode()) | bytes_damaged(whole)
    if reader.kind == "json":
        return json_damaged(json.loads(whole))
    if reader.kind == "npz":
        text = "header" if reader.file == "fleet.npz" else "text"
        return zip_damaged(whole, text) | bytes_damaged(whole)
    return bytes_damaged(whole)


@pytest.mark.parametrize("name", READERS)
def test_damaged_file_is_refused_or_usable(name, tmp_path):
    reader = READERS[name]
    whole, path = reader.whole(), tmp_path / reader.file
    path.write_bytes(whole)
    assert accepted(reader, path)

    @CASES
    @given(content=damaged(reader, whole))
    def read(content):
        path.write_bytes(content)
        accepted(reader, path)

    read()
