"""Reading with limits, writing whole or not at all."""

import json
import stat
from pathlib import Path

import pytest

from mafl_opt.core.errors import InputError
from mafl_opt.core.files import atomic_path, parse_json, read_text, write_text


def test_write_replaces_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_text(target, "old")
    write_text(target, "new é")
    assert read_text(target) == "new é"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_text(target, "old")
    with pytest.raises(RuntimeError, match="half way"), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("half way")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_written_file_has_ordinary_permissions(tmp_path: Path) -> None:
    plain, atomic = tmp_path / "plain", tmp_path / "atomic"
    plain.write_text("")
    write_text(atomic, "")
    assert stat.S_IMODE(atomic.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_write_names_a_bad_target(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a file name, found 'a folder'"):
        write_text(tmp_path, "x")
    with pytest.raises(InputError, match=r"missing/a\.json: expected a file in an existing folder"):
        write_text(tmp_path / "missing" / "a.json", "x")


def test_read_checks_size_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("12345")
    assert read_text(path, limit=5) == "12345"
    with pytest.raises(InputError, match="expected at most 4 bytes, found 5"):
        read_text(path, limit=4)


def test_read_names_a_bad_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.txt: .*No such file"):
        read_text(tmp_path / "none.txt")
    with pytest.raises(InputError, match="Is a directory"):
        read_text(tmp_path)
    (tmp_path / "b.txt").write_bytes(b"ab\xff")
    with pytest.raises(InputError, match=r"b\.txt: expected UTF-8 text, found 'byte 2 is not'"):
        read_text(tmp_path / "b.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,\n "b" 2}', r"x\.json:2: expected JSON"),
        ('{"a": 1, "a": 2}', r"x\.json: a: expected each key once"),
        ('{"a": NaN}', r"x\.json: expected finite numbers, found 'NaN'"),
        ("[-Infinity]", r"x\.json: expected finite numbers, found '-Infinity'"),
        ("[" * 100_000, r"x\.json: expected JSON nested a few levels deep"),
        ("9" * 5000, r"x\.json: expected numbers of a sane length"),
        ("", r"x\.json:1: expected JSON"),
    ],
)
def test_parse_refuses_what_json_does_not_allow(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_json(text, "x.json")


def test_error_shows_a_short_text_of_deep_and_long_values() -> None:
    deep = json.loads("[" * 900 + "]" * 900)
    assert len(InputError("a", "b", deep).found) <= 80
    assert len(InputError("a", "b", list(range(10**6))).found) <= 80
    assert str(InputError("a[1]", "a number", "x", "try 3")) == (
        "a[1]: expected a number, found 'x' (try 3)"
    )
